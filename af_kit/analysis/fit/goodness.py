"""How well a model describes the data that it was fitted to."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from af_kit.analysis.fit.data import Binned, Unbinned
from af_kit.analysis.fit.model import Model

# Pearson's statistic follows the chi2 distribution where every bin expects at least about so many.
LEAST_EXPECTED = 10.0
# Bins in which unbinned data are compared.
BINS = 60


class Goodness(NamedTuple):
    """One test of the fit: the chance of a worse agreement, were the model true.

    ``method`` is "saturated" (the ratio of the likelihood to that of a model that fits each bin exactly) or "pearson"
    (squared differences over the expected counts).
    """

    method: str
    statistic: float
    ndof: int
    p_value: float

    def __str__(self) -> str:
        return f"{self.method}: {self.statistic:.1f} / {self.ndof} (p = {self.p_value:.2g})"


def tests(model: Model, data: Binned | Unbinned, values: list[float], free: int, minimum: float) -> list[Goodness]:
    """The tests that apply: of binned data both, of unbinned data Pearson's, in bins.

    Parameters
    ----------
    free
        How many parameters were fitted.
    minimum
        The value of the likelihood ratio, for binned data.
    """
    if isinstance(data, Binned):
        found = [_goodness("saturated", minimum, len(data.counts) - free)] if len(data.counts) > free else []
        return [*found, *pearson(model, data, values, free)]
    return pearson(model, data.binned(np.linspace(*model.window, BINS + 1)), values, free)


def pearson(model: Model, data: Binned, values: list[float], free: int) -> list[Goodness]:
    """Pearson's chi2, in bins that are merged until each expects enough; nothing where too few are left.

    For a fit to unbinned data the number of degrees of freedom lies between bins - parameters (used here) and bins:
    the p-value errs towards too small, and a good one is good.
    """
    expected = np.diff(model.integral(data.edges, *values))
    # Weighted events are worth fewer of weight one.
    scale = 1.0 if data.variances is None else data.variances.sum() / data.counts.sum()
    group = _merge(expected / scale)
    n_groups = int(group[-1]) + 1
    if n_groups <= free:
        return []
    counts, expected = (np.bincount(group, column, n_groups) for column in (data.counts, expected))
    variance = expected if data.variances is None else np.bincount(group, data.variances, n_groups)
    if not (variance > 0).all():
        return []
    return [_goodness("pearson", float(np.sum((counts - expected) ** 2 / variance)), n_groups - free)]


def _merge(expected: np.ndarray) -> np.ndarray:
    """For each bin the group that it belongs to, from the left; a rest at the right joins the last."""
    group, number, so_far = np.zeros(len(expected), dtype=int), 0, 0.0
    for i, value in enumerate(expected):
        group[i] = number
        so_far += value
        if so_far >= LEAST_EXPECTED:
            number, so_far = number + 1, 0.0
    return np.minimum(group, max(number - 1, 0))


def _goodness(method: str, statistic: float, ndof: int) -> Goodness:
    from scipy.stats import chi2

    return Goodness(method, float(statistic), ndof, float(chi2.sf(statistic, ndof)))
