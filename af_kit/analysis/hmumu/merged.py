"""What is done with the merged output of all chunks: duplicates of data, normalisation, one table."""

from __future__ import annotations

import dataclasses
import functools
import operator
import warnings
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from af_kit.analysis.hmumu import histograms as hists
from af_kit.analysis.hmumu.calibrations import CORRECTIONS, Calibrations
from af_kit.analysis.hmumu.campaign import Campaign
from af_kit.analysis.hmumu.normalise import Factors, factors_of, normalised
from af_kit.analysis.hmumu.regions import CHANNELS, REGIONS
from af_kit.analysis.hmumu.sample import Sample
from af_kit.analysis.hmumu.variations import NOMINAL

if TYPE_CHECKING:
    from af_kit.corrections.golden import GoldenJSON

__all__ = ["finished", "without_duplicates"]


def finished(
    raw: Mapping[str, Any],
    samples: Mapping[str, Sample],
    campaign: Campaign,
    sumw: Mapping[str, float],
    calibrations: Calibrations,
) -> dict[str, Any]:
    """Return the result of `process` from the merged output of `analyse`."""
    tables, removed = without_duplicates(raw["candidates"], samples)
    histograms, normalisation = {}, {}
    for dataset, own in raw["histograms"].items():
        sample = samples[dataset]
        factors: dict[str, Factors] | None = None
        if sample.is_mc:
            bare = sample.xsec_pb is None  # a file without metadata: events as they are
            factors = factors_of(
                raw["sums"][dataset],
                xsec_pb=1.0 if bare else sample.xsec_pb,
                lumi_ipb=1.0 if bare else sample.lumi_ipb or campaign.lumi_ipb,
                sumw=1.0 if bare else sumw[dataset],
                dataset=dataset,
            )
            normalisation[dataset] = {
                "process": sample.process,
                "xsec_pb": sample.xsec_pb,
                "lumi_ipb": sample.lumi_ipb or campaign.lumi_ipb,
                "sumw": sumw.get(dataset),
                "generated": raw["sums"][dataset]["generated"],
                "factors": {label: factor._asdict() for label, factor in factors.items()},
            }
        elif dataset in removed:
            rows, bins = removed[dataset], campaign.score_bins
            own = {name: _without(histogram, name, rows, score_bins=bins) for name, histogram in own.items()}
        histograms[dataset] = {name: normalised(histogram, factors) for name, histogram in own.items()}
    return {
        "histograms": histograms,
        "cutflow": dict(raw["cutflow"]),
        "candidates": _one_table(tables),
        "normalisation": normalisation,
        "luminosity_blocks": _blocks(raw.get("processed", {}), calibrations.golden_json),
        "duplicates": {dataset: table.num_rows for dataset, table in removed.items()},
        "samples": {dataset: dataclasses.asdict(samples[dataset]) for dataset in histograms},
        "sources": sorted(set().union(*raw["sources"].values())),
        "campaign": campaign.name,
        "lacking": list(campaign.lacking),
        "corrections": sorted(calibrations.switches),
    }


def _blocks(processed: Mapping[str, Any], golden: GoldenJSON | None) -> dict[str, Any]:
    """Return the luminosity blocks of all data, and those of the golden JSON that have no event in the files."""
    if not processed:
        return {}
    whole = functools.reduce(operator.add, processed.values())
    return {"processed": whole} if golden is None else {"processed": whole, "missing": golden.remainder(whole)}


def without_duplicates(
    tables: Mapping[str, pa.Table], samples: Mapping[str, Sample]
) -> tuple[dict[str, pa.Table], dict[str, pa.Table]]:
    """Return the rows of each dataset, without events of data that an earlier row has already, and the rows removed.

    Two primary datasets overlap: an event that fires triggers of both is in both, and counts once.
    """
    data = [name for name in tables if not samples[name].is_mc]
    numbers = ("run", "luminosityBlock", "event")
    kept, removed = dict(tables), {}
    if data:
        import pandas as pd

        frame = pd.concat([tables[name].select(numbers).to_pandas() for name in data], ignore_index=True)
        repeated = frame.duplicated().to_numpy()
        start = 0
        for name in data:
            own = repeated[start : start + tables[name].num_rows]
            start += tables[name].num_rows
            if own.any():
                kept[name], removed[name] = tables[name].filter(pa.array(~own)), tables[name].filter(pa.array(own))
    if removed:
        listed = ", ".join(f"{table.num_rows:,} of {name!r}" for name, table in removed.items())
        warnings.warn(
            f"Selected events of data are in several datasets or files, and count once: {listed} left out. The cutflow "
            "still counts them.",
            stacklevel=2,
        )
    return kept, removed


def _without(histogram: Any, name: str, rows: pa.Table, *, score_bins: tuple[float, ...] | None) -> Any:
    """Return a histogram of data without some of its events."""
    region, channel = (
        np.array([names.index(value) for value in rows[column].to_pylist()], np.int8)
        for column, names in (("region", REGIONS), ("channel", CHANNELS))
    )
    split = hists.split_channel(channel, rows["n_jets"].to_numpy())
    values = rows[name].to_numpy().astype(np.float64)
    entry = region, split, values, np.ones(len(values))
    other = hists.filled(name, [NOMINAL], {NOMINAL: entry}, score_bins=score_bins)
    left = histogram.copy()
    for field in ("value", "variance"):
        left.view(flow=True)[field] -= other.view(flow=True)[field]
    return left


_PARTS = {"weight_generator", *(f"weight_{name}" for name in CORRECTIONS)}


def _one_table(tables: Mapping[str, pa.Table]) -> pa.Table:
    """Return the rows of all datasets. A weight that a dataset does not have is 1, a variation its nominal weight."""
    names: dict[str, pa.Field] = {}
    for table in tables.values():
        names |= {field.name: field for field in table.schema if field.name not in names}
    whole = []
    for table in tables.values():
        for name, field in names.items():
            if name not in table.column_names:
                values = pa.array(np.ones(table.num_rows), field.type) if name in _PARTS else table["weight"]
                table = table.append_column(field, values)
        whole.append(table.select(list(names)))
    return pa.concat_tables(whole).unify_dictionaries() if whole else pa.table({})
