"""Goodness-of-fit tests."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from af_kit.analysis.fit.data import Binned, Unbinned
from af_kit.analysis.fit.model import Model

# Pearson's statistic follows the chi2 distribution if at least about this many events are expected in each bin.
MIN_EXPECTED = 10.0
# Number of bins for unbinned data.
BINS = 60


class Goodness(NamedTuple):
    """A goodness-of-fit test; ``p_value`` is the probability of worse agreement if the model is true.

    ``method`` is "saturated" (the likelihood ratio to a model that fits each bin exactly) or "pearson" (squared
    differences over the expected counts).
    """

    method: str
    statistic: float
    ndof: int
    p_value: float

    def __str__(self) -> str:
        return f"{self.method}: {self.statistic:.1f} / {self.ndof} (p = {self.p_value:.2g})"


def tests(model: Model, data: Binned | Unbinned, values: list[float], free: int, minimum: float) -> list[Goodness]:
    """Return the tests of a fit: both methods for binned data, Pearson's in bins for unbinned data.

    Parameters
    ----------
    free
        Number of free parameters.
    minimum
        Value of the likelihood ratio, for binned data.
    """
    if isinstance(data, Binned):
        saturated = [goodness_of("saturated", minimum, len(data.counts) - free)] if len(data.counts) > free else []
        return [*saturated, *pearson(model, data, values, free)]
    edges = np.linspace(*model.window, BINS + 1)
    if data.weights is None:
        return pearson(model, data.binned(edges), values, free)
    return pearson(model, Binned.weighted_sum(edges, data.values, data.weights)[0], values, free)


def pearson(model: Model, data: Binned, values: list[float], free: int) -> list[Goodness]:
    """Return Pearson's chi2, in bins that are merged until enough events are expected; empty if too few bins are left.

    For a fit to unbinned data, the number of degrees of freedom is between bins - parameters (used here) and bins: the
    p-value is too small rather than too large.
    """
    return pearson_in_bins(np.diff(model.integral(data.edges, *values)), data.counts, data.variances, free)


def pearson_in_bins(
    expected: np.ndarray, counts: np.ndarray, variances: np.ndarray | None, free: int
) -> list[Goodness]:
    """Return :func:`pearson` for expected counts; ``variances`` are the sums of squared weights, or None for counts."""
    # Expected number of events of weight 1 with the same relative error.
    scale = 1.0 if variances is None else variances.sum() / counts.sum()
    group = _merge(expected / scale)
    n_groups = int(group[-1]) + 1
    if n_groups <= free:
        return []
    counts, expected = (np.bincount(group, column, n_groups) for column in (counts, expected))
    variance = expected if variances is None else np.bincount(group, variances, n_groups)
    if not (variance > 0).all():
        return []
    return [goodness_of("pearson", float(np.sum((counts - expected) ** 2 / variance)), n_groups - free)]


def _merge(expected: np.ndarray) -> np.ndarray:
    """Return the group of each bin, from the left; a remainder at the right joins the last group."""
    group, number, total = np.zeros(len(expected), dtype=int), 0, 0.0
    for i, value in enumerate(expected):
        group[i] = number
        total += value
        if total >= MIN_EXPECTED:
            number, total = number + 1, 0.0
    return np.minimum(group, max(number - 1, 0))


def goodness_of(method: str, statistic: float, ndof: int) -> Goodness:
    """Return a test whose statistic follows a chi2 distribution."""
    from scipy.stats import chi2

    return Goodness(method, float(statistic), ndof, float(chi2.sf(statistic, ndof)))
