"""What a model is fitted to: counts in bins, or single values; with or without weights."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from af_kit.errors import InputError

# Of the range: how far a bin's edge may be from where it should be.
_ROUNDING = 1e-9


@dataclass(frozen=True, eq=False)
class Binned:
    """Counts, or sums of weights, in bins.

    ``variances`` are the sums of squared weights; None for plain counts, whose variance is their expectation.
    """

    edges: np.ndarray
    counts: np.ndarray
    variances: np.ndarray | None = None

    kind = "binned"

    def __post_init__(self) -> None:
        if self.variances is not None and np.any((self.counts < 0) | ((self.counts != 0) & (self.variances <= 0))):
            raise InputError(
                "A bin has a negative sum of weights, or none of its squares: a likelihood cannot take it. "
                "Make the bins wider, so that positive weights outweigh the negative."
            )
        if self.variances is None and np.any(self.counts < 0):
            raise InputError("A bin has a negative count. Weighted events need the sums of their squared weights.")

    @property
    def weighted(self) -> bool:
        """Whether these are sums of weights."""
        return self.variances is not None

    @property
    def total(self) -> float:
        """The sum over all bins."""
        return float(self.counts.sum())

    def inside(self, low: float, high: float) -> Binned:
        """The bins of a range, which must begin and end where bins do."""
        tolerance = _ROUNDING * (high - low)
        first, last = np.searchsorted(self.edges, [low - tolerance, high - tolerance])
        edges = self.edges[first : last + 1]
        if len(edges) < 2 or abs(edges[0] - low) > tolerance or abs(edges[-1] - high) > tolerance:
            raise InputError(
                f"The range {low:g} to {high:g} does not begin and end at edges of the bins "
                f"({len(self.edges) - 1} from {self.edges[0]:g} to {self.edges[-1]:g}). "
                f"Fit a range that does, or make the histogram anew."
            )
        variances = None if self.variances is None else self.variances[first:last]
        return Binned(edges, self.counts[first:last], variances)


@dataclass(frozen=True, eq=False)
class Unbinned:
    """Single values, and the weight of each; None for one each."""

    values: np.ndarray
    weights: np.ndarray | None = None

    kind = "unbinned"

    @property
    def weighted(self) -> bool:
        """Whether the values have weights."""
        return self.weights is not None

    @property
    def total(self) -> float:
        """How many there are, or the sum of their weights."""
        return float(len(self.values) if self.weights is None else self.weights.sum())

    def inside(self, low: float, high: float) -> Unbinned:
        """Those in a range; the upper edge does not belong to it."""
        keep = (self.values >= low) & (self.values < high)
        return Unbinned(self.values[keep], None if self.weights is None else self.weights[keep])

    def binned(self, edges: np.ndarray) -> Binned:
        """The same in bins."""
        counts, _ = np.histogram(self.values, edges, weights=self.weights)
        if self.weights is None:
            return Binned(edges, counts.astype(float))
        return Binned(edges, counts, np.histogram(self.values, edges, weights=self.weights**2)[0])


def as_data(data: Any, weights: Any = None) -> Binned | Unbinned:
    """A one-dimensional histogram as :class:`Binned`, an array of values as :class:`Unbinned`.

    Weights that are all one are none: such events are counted.
    """
    if isinstance(data, (Binned, Unbinned)):
        return data
    if hasattr(data, "axes") and callable(getattr(data, "values", None)):  # not a column of pandas
        return _from_histogram(data)
    values = np.asarray(data, dtype=float)
    if values.ndim != 1:
        raise InputError(f"A fit takes a list of values or a histogram of one axis, not an array of {values.ndim}.")
    if not np.isfinite(values).all():
        raise InputError(f"{np.count_nonzero(~np.isfinite(values))} of {len(values)} values are not finite numbers.")
    if weights is None:
        return Unbinned(values)
    weights = np.asarray(weights, dtype=float)
    if weights.shape != values.shape or not np.isfinite(weights).all():
        raise InputError(f"{len(values)} values need as many finite weights; there are {weights.shape}.")
    return Unbinned(values, None if np.all(weights == 1) else weights)


def _from_histogram(histogram: Any) -> Binned:
    if len(histogram.axes) != 1:
        names = ", ".join(axis.name or str(i) for i, axis in enumerate(histogram.axes))
        raise InputError(f"The histogram has the axes {names}; a fit takes one: choose or sum up the others.")
    counts = np.asarray(histogram.values(), dtype=float)
    variances = histogram.variances()
    plain = variances is None or (np.array_equal(variances, counts) and np.array_equal(counts, np.rint(counts)))
    return Binned(np.asarray(histogram.axes[0].edges), counts, None if plain else np.asarray(variances, dtype=float))
