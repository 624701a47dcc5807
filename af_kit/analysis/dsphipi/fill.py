"""The histogram of the mass, in every variation."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from hist import Hist

BINS, LOW, HIGH = 62, 1.65, 2.01


def empty(dataset: str = "") -> Hist:
    """The histogram before any event, with under- and overflow; the upper edge belongs to the overflow."""
    return (
        Hist.new.StrCat([dataset], growth=True, name="dataset", label="Dataset")
        .StrCat(["nominal"], growth=True, name="variation", label="Variation")
        .Reg(BINS, LOW, HIGH, name="mass", label=r"$m(\mu\mu\pi)$ [GeV]")
        .Weight()
    )


def fill(mass: np.ndarray, weights: Mapping[str, Any], dataset: str = "") -> Hist:
    """The mass of the chosen candidates, once for each of the ``weights``."""
    histogram = empty(dataset)
    for variation, weight in weights.items():
        histogram.fill(dataset=dataset, variation=variation, mass=mass, weight=weight)
    return histogram


def spectrum(result: Mapping[str, Any], *, datasets: list[str] | None = None, variation: str = "nominal") -> Hist:
    """The mass histogram of some datasets together, in one variation: one axis, ready to plot and to fit.

    Parameters
    ----------
    result
        With ``mass``, as :func:`analyse` and ``process`` give it.
    datasets
        The datasets to add up; all by default.
    """
    histogram = result["mass"]
    names = list(histogram.axes["dataset"])
    rows = [names.index(name) for name in (names if datasets is None else datasets)]
    column = list(histogram.axes["variation"]).index(variation)
    one = Hist(histogram.axes["mass"], storage=histogram.storage_type())
    for row in rows:
        one.view(flow=True)["value"] += histogram.view(flow=True)[row, column]["value"]
        one.view(flow=True)["variance"] += histogram.view(flow=True)[row, column]["variance"]
    return one
