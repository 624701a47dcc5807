"""The data of a fit: counts in bins, or a list of values; with or without weights."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from af_kit.analysis.variances import variances_of
from af_kit.errors import InputError

# Tolerance for the position of a bin edge, relative to the range.
_ROUNDING = 1e-9


@dataclass(frozen=True, eq=False)
class Binned:
    """Counts, or sums of weights, in bins.

    ``variances`` are the sums of squared weights, or None for plain counts.
    """

    edges: np.ndarray
    counts: np.ndarray
    variances: np.ndarray | None = None

    kind = "binned"

    def __post_init__(self) -> None:
        if self.variances is not None and np.any((self.counts < 0) | ((self.counts != 0) & (self.variances <= 0))):
            raise InputError(
                "A bin has a negative sum of weights, or no sum of squared weights, and therefore no likelihood. "
                "Use wider bins, so that positive weights outweigh negative ones."
            )
        if self.variances is None and np.any(self.counts < 0):
            raise InputError(
                "A bin has a negative count. For weighted events, pass the sums of squared weights as variances."
            )

    @property
    def weighted(self) -> bool:
        """Whether the counts are sums of weights."""
        return self.variances is not None

    @property
    def total(self) -> float:
        """Sum over all bins."""
        return float(self.counts.sum())

    @classmethod
    def weighted_sum(
        cls, edges: np.ndarray, values: np.ndarray, weights: np.ndarray, *, effective: float = 0.0
    ) -> tuple[Binned, int]:
        """Fill weighted values into bins, and merge bins until all have positive sums of weights.

        Bins are merged from the left, and a remainder at the right with the last bin.

        Parameters
        ----------
        effective
            Each bin must have the statistical precision of at least so many events of equal weights,
            (sum w)^2 / sum w^2. With 0, empty bins remain.

        Returns
        -------
        Binned, int
            The bins and the number of bins that disappeared.
        """
        sums = np.column_stack([np.histogram(values, edges, weights=w)[0] for w in (weights, weights**2)])

        def is_enough(total: np.ndarray) -> bool:
            if effective == 0 and total[1] == 0:
                return True
            return bool(total[0] > 0 and total[0] ** 2 >= effective * total[1])

        bins, ends, total = [], [edges[0]], np.zeros(2)
        for upper, one in zip(edges[1:], sums, strict=True):
            total = total + one
            if is_enough(total):
                bins.append(total)
                ends.append(upper)
                total = np.zeros(2)
        while bins and ends[-1] < edges[-1]:
            total = total + bins.pop()
            ends.pop()
            if is_enough(total):
                bins.append(total)
                ends.append(edges[-1])
        if not bins:
            raise InputError("The weights are too few, or their sum is not positive: there is no histogram to fit.")
        counts, variances = np.array(bins).T
        return cls(np.array(ends), counts, variances), len(edges) - len(ends)

    def inside(self, low: float, high: float) -> Binned:
        """Return the bins in a range, which must start and end at bin edges."""
        tolerance = _ROUNDING * (high - low)
        first, last = np.searchsorted(self.edges, [low - tolerance, high - tolerance])
        edges = self.edges[first : last + 1]
        if len(edges) < 2 or abs(edges[0] - low) > tolerance or abs(edges[-1] - high) > tolerance:
            raise InputError(
                f"The range {low:g} to {high:g} does not start and end at bin edges "
                f"({len(self.edges) - 1} bins from {self.edges[0]:g} to {self.edges[-1]:g}). "
                f"Fit another range, or fill another histogram."
            )
        variances = None if self.variances is None else self.variances[first:last]
        return Binned(edges, self.counts[first:last], variances)


@dataclass(frozen=True, eq=False)
class Unbinned:
    """A list of values and their weights; ``weights=None`` means that all weights are 1."""

    values: np.ndarray
    weights: np.ndarray | None = None

    kind = "unbinned"

    @property
    def weighted(self) -> bool:
        """Whether the values have weights."""
        return self.weights is not None

    @property
    def total(self) -> float:
        """Number of values, or sum of their weights."""
        return float(len(self.values) if self.weights is None else self.weights.sum())

    def inside(self, low: float, high: float) -> Unbinned:
        """Return the values in a range, without its upper edge."""
        keep = (self.values >= low) & (self.values < high)
        return Unbinned(self.values[keep], None if self.weights is None else self.weights[keep])

    def binned(self, edges: np.ndarray) -> Binned:
        """Fill the values into bins."""
        counts, _ = np.histogram(self.values, edges, weights=self.weights)
        if self.weights is None:
            return Binned(edges, counts.astype(float))
        return Binned(edges, counts, np.histogram(self.values, edges, weights=self.weights**2)[0])


def as_data(data: Any, weights: Any = None) -> Binned | Unbinned:
    """Convert a one-dimensional histogram to :class:`Binned`, or an array of values to :class:`Unbinned`.

    Weights are dropped if all of them are 1. A histogram that has weights but not their squares (``Double`` storage) is
    refused.
    """
    if isinstance(data, (Binned, Unbinned)):
        return data
    if hasattr(data, "axes") and callable(getattr(data, "values", None)):  # not a column of pandas
        return _from_histogram(data)
    values = np.asarray(data, dtype=float)
    if values.ndim != 1:
        raise InputError(
            f"A fit takes a list of values or a histogram with one axis, not an array of {values.ndim} dimensions."
        )
    if not np.isfinite(values).all():
        raise InputError(f"{np.count_nonzero(~np.isfinite(values))} of {len(values)} values are not finite numbers.")
    if weights is None:
        return Unbinned(values)
    weights = np.asarray(weights, dtype=float)
    if weights.shape != values.shape or not np.isfinite(weights).all():
        raise InputError(f"{len(values)} values need as many finite weights; the weights have shape {weights.shape}.")
    return Unbinned(values, None if np.all(weights == 1) else weights)


def _from_histogram(histogram: Any) -> Binned:
    if len(histogram.axes) != 1:
        names = ", ".join(axis.name or str(i) for i, axis in enumerate(histogram.axes))
        raise InputError(
            f"The histogram has the axes {names}, but a fit takes one: select a bin of the others, or sum over them."
        )
    counts = np.asarray(histogram.values(), dtype=float)
    return Binned(np.asarray(histogram.axes[0].edges), counts, variances_of(histogram))
