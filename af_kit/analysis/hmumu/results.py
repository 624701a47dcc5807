"""Numbers from a merged result: sums over datasets, yields, efficiencies of the steps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from hist import Hist

from af_kit.analysis.hmumu.preselection import STEPS
from af_kit.analysis.hmumu.regions import CHANNELS, REGIONS
from af_kit.analysis.hmumu.sample import GROUPS
from af_kit.analysis.hmumu.variations import NOMINAL
from af_kit.errors import InputError, nearest

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["EFFICIENCY_STEPS", "cutflow_table", "efficiency_table", "groups", "spectrum", "summary", "yields"]

EFFICIENCY_STEPS = {
    "all": "in",
    "two_muons": "after mask, trigger and two muons",
    "electron_veto": "after muon selections",
    "two_jets": "with two jets",
    "vbf": "VBF",
}
"""The steps of the efficiency table: their names in the cutflow, and in the table."""


def groups(result: Mapping[str, Any]) -> dict[str, list[str]]:
    """Return the datasets of each group of processes that the result has, in the order of `GROUPS`."""
    samples = result["samples"]
    found = {
        group: [name for name, sample in samples.items() if sample["process"] in processes]
        for group, processes in GROUPS.items()
    }
    return {group: names for group, names in found.items() if names}


def spectrum(
    result: Mapping[str, Any],
    name: str,
    *,
    datasets: Sequence[str],
    region: str | None = None,
    channel: str | None = None,
    variation: str = NOMINAL,
) -> Hist:
    """Return the sum of a histogram over datasets, of one region and channel.

    Parameters
    ----------
    result
        A result of `process`.
    name
        The variable.
    datasets
        The datasets to add up.
    region, channel
        One of `REGIONS` and of `CHANNELS`; None: all together.
    variation
        A systematic variation. A dataset that does not have it, such as data, contributes its nominal histogram.

    Raises
    ------
    InputError
        There is no such histogram, region or channel; or no dataset has this variation.
    """
    for value, known in ((region, REGIONS), (channel, CHANNELS)):
        if value is not None and value not in known:
            raise InputError(f"{value!r} is not one of {', '.join(known)}.{nearest(value, known)}")
    total: Hist | None = None
    has_variation = variation == NOMINAL
    for dataset in datasets:
        if name not in result["histograms"][dataset]:
            raise InputError(f"There is no histogram {name!r}.{nearest(name, result['histograms'][dataset])}")
        histogram = result["histograms"][dataset][name]
        labels = list(histogram.axes["variation"])
        has_variation |= variation in labels
        column = labels.index(variation if variation in labels else NOMINAL)
        view = histogram.view(flow=True)
        rows = slice(len(REGIONS)) if region is None else slice(REGIONS.index(region), REGIONS.index(region) + 1)
        columns = (
            slice(len(CHANNELS)) if channel is None else slice(CHANNELS.index(channel), CHANNELS.index(channel) + 1)
        )
        if total is None:
            total = Hist(histogram.axes[name], storage=histogram.storage_type())
        for field in ("value", "variance"):
            total.view(flow=True)[field] += view[field][rows, columns, column].sum(axis=(0, 1))
    if total is None:
        raise InputError("spectrum() needs at least one dataset.")
    if not has_variation:
        raise InputError(f"None of the datasets {', '.join(datasets)} has the variation {variation!r} of {name!r}.")
    return total


def yields(result: Mapping[str, Any], *, variation: str = NOMINAL) -> pd.DataFrame:
    """Return the expected and observed events of each group in each region and channel.

    Returns
    -------
    pandas.DataFrame
        One row per group, region and channel: ``events``, and ``error``, the statistical one.
    """
    import pandas as pd

    rows = []
    for group, datasets in groups(result).items():
        for region in REGIONS:
            for channel in CHANNELS:
                chosen = NOMINAL if group == "data" else variation
                total = spectrum(
                    result, "dimuon_mass", datasets=datasets, region=region, channel=channel, variation=chosen
                )
                view = total.view(flow=True)
                events, error = float(view["value"].sum()), float(np.sqrt(view["variance"].sum()))
                rows.append((group, region, channel, events, error))
    return pd.DataFrame(rows, columns=["group", "region", "channel", "events", "error"])


def cutflow_table(result: Mapping[str, Any], dataset: str) -> pd.DataFrame:
    """Return the cutflow of a dataset.

    Returns
    -------
    pandas.DataFrame
        Index: the steps. ``events``; ``weighted``, the sum of their generator weights; ``efficiency`` of the step, and
        ``total`` of all steps so far (events).
    """
    import pandas as pd

    own = result["cutflow"][dataset]
    table = pd.DataFrame(
        {"events": own["events"].values().astype(np.int64), "weighted": own["weighted"].values()},
        index=pd.Index(list(STEPS), name="step"),
    )
    with np.errstate(invalid="ignore", divide="ignore"):
        table["efficiency"] = table["events"] / table["events"].shift(1, fill_value=table["events"].iloc[0])
        table["total"] = table["events"] / table["events"].iloc[0]
    return table


def efficiency_table(result: Mapping[str, Any]) -> pd.DataFrame:
    """Return the events of each dataset after the five main steps (`EFFICIENCY_STEPS`), one row per dataset."""
    import pandas as pd

    rows = {
        dataset: {title: int(own["events"][step]) for step, title in EFFICIENCY_STEPS.items()}
        for dataset, own in result["cutflow"].items()
    }
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("dataset")


def summary(result: Mapping[str, Any]) -> str:
    """Return the efficiency table as text."""
    return efficiency_table(result).to_string(index_names=False)
