"""Normalise after the merge: luminosity, and the weights that must not change a dataset's total.

The weights of pile-up, quark/gluon likelihood and b tags change shapes, not rates. Each is normalised over a whole
dataset: with the weight, the total of the events that it is defined for must be what it is without it. That total is
known only when every chunk has been processed; a normalisation per chunk would make the result depend on the chunks.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from hist import Hist

from af_kit.analysis.hmumu.histograms import SPLIT_CHANNELS
from af_kit.analysis.hmumu.regions import CHANNELS
from af_kit.analysis.hmumu.variations import NOMINAL
from af_kit.errors import InputError

if TYPE_CHECKING:
    from af_kit.analysis.hmumu.analyse import Pass

__all__ = ["Factors", "factors_of", "normalised", "sums_of"]

# Weights that are normalised after the merge, in this order, and the events that define each number.
DEFERRED = {
    "pileup": "all generated events",
    "quark_gluon": "selected events with two jets or more",
    "btag": "selected events that pass the VBF cuts",
}


class Factors(NamedTuple):
    """What multiplies the histograms of one dataset and variation."""

    lumi: float
    """Cross-section times luminosity over the sum of generator weights; 1 for data."""
    pileup: float
    quark_gluon: float
    """Applies to events with two jets or more; the weight of the others is 1."""
    btag: float

    def product(self, *, two_jets: bool) -> float:
        """Return the factor on an event's weight."""
        return self.lumi * self.pileup * self.btag * (self.quark_gluon if two_jets else 1.0)


def sums_of(passes: Mapping[str, Pass]) -> dict[str, dict[str, dict[str, float]]]:
    """Return for one chunk the sums of weights before and after quark/gluon and b-tag weights, for each variation."""
    sums: dict[str, dict[str, dict[str, float]]] = {"quark_gluon": {}, "btag": {}}
    for label, one in passes.items():
        two_jets, vbf = one.variables.n_jets >= 2, one.vbf
        weights = one.weighted
        for name, events, before, after in (
            ("quark_gluon", two_jets, weights.base, weights.with_quark_gluon),
            ("btag", vbf, weights.with_quark_gluon, weights.total),
        ):
            sums[name][label] = {"before": float(before[events].sum()), "after": float(after[events].sum())}
    return sums


def factors_of(
    sums: Mapping[str, Any], *, xsec_pb: float | None, lumi_ipb: float, sumw: float | None, dataset: str
) -> dict[str, Factors]:
    """Return the factors of one simulated dataset for each of its variations.

    Parameters
    ----------
    sums
        The merged sums of the dataset, from `analyse`.
    xsec_pb, lumi_ipb, sumw
        Cross-section [pb], luminosity [1/pb], and the sum of the generator weights of all its files.

    Raises
    ------
    InputError
        The cross-section is missing, or a sum of weights is not a positive number.
    """
    if xsec_pb is None:
        raise InputError(f"Dataset {dataset!r} has no cross-section: its metadata need xsec_pb, in pb.")
    if sumw is None or not math.isfinite(sumw) or sumw <= 0:
        raise InputError(f"Dataset {dataset!r}: the sum of its generator weights is {sumw}; it must be positive.")
    lumi = xsec_pb * lumi_ipb / sumw
    generated = sums["generated"]
    pileup = {
        label: _ratio(generated["weight"], weighted, "pileup", dataset, label)
        for label, weighted in generated["pileup"].items()
    }
    found = {}
    for label in sums["quark_gluon"]:
        ratios = {
            name: _ratio(sums[name][label]["before"], sums[name][label]["after"], name, dataset, label)
            for name in ("quark_gluon", "btag")
        }
        found[label] = Factors(lumi, pileup.get(label, pileup[NOMINAL]), **ratios)
    return found


def _ratio(before: float, after: float, name: str, dataset: str, label: str) -> float:
    if not (math.isfinite(before) and math.isfinite(after)):
        raise InputError(f"Dataset {dataset!r}, {label}: a sum of weights for {name} is not a number.")
    if before == after:  # no such events, or no such weight
        return 1.0
    if before <= 0 or after <= 0:
        warnings.warn(
            f"Dataset {dataset!r}, {label}: {name} is not normalised, because the sum of weights over "
            f"{DEFERRED[name]} is {before:.4g} without it and {after:.4g} with it. More events are needed.",
            stacklevel=2,
        )
        return 1.0
    return before / after


def normalised(histogram: Hist, factors: Mapping[str, Factors] | None) -> Hist:
    """Return a histogram of one dataset with the factors applied, and its channels as in `CHANNELS`.

    Parameters
    ----------
    histogram
        As `analyse` fills it.
    factors
        For each label of its variation axis; None for data, which are not scaled.
    """
    labels = list(histogram.axes["variation"])
    axes = list(histogram.axes)
    new = Hist(
        axes[0],
        type(axes[1])(list(CHANNELS), name="channel", label="Channel"),
        *axes[2:],
        storage=histogram.storage_type(),
    )
    old, view = histogram.view(flow=True), new.view(flow=True)
    for position, name in enumerate(SPLIT_CHANNELS):
        target = min(position, len(CHANNELS) - 1)
        two_jets = name in ("ggh_2jets", "vbf") or name.endswith("two jets or more")
        for column, label in enumerate(labels):
            factor = 1.0 if factors is None else factors[label].product(two_jets=two_jets)
            view["value"][:, target, column] += old["value"][:, position, column] * factor
            view["variance"][:, target, column] += old["variance"][:, position, column] * factor**2
    return new


def row_factors(factors: Factors | None, n_jets: Iterable[int]) -> Any:
    """Return the factor on the weight of each row of the table."""
    if factors is None:
        return np.ones(len(np.asarray(n_jets)))
    return np.where(np.asarray(n_jets) >= 2, factors.product(two_jets=True), factors.product(two_jets=False))
