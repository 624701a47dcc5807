"""The likelihood of one category, and their sum: fast, because what did not change is not calculated again."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Any

import numpy as np

from af_kit.analysis.fit.data import Binned, Unbinned
from af_kit.analysis.fit.goodness import BINS, MIN_EXPECTED, Goodness, goodness_of, pearson_in_bins
from af_kit.analysis.fit.model import Component, Model
from af_kit.analysis.fit.shapes import SHAPES
from af_kit.errors import FitError, InputError

# Where the expected events fall below this fraction of the mean, the logarithm is continued by a parabola. A density
# may then pass through zero on the way to a minimum; a fit that ends there is refused.
_FLOOR = 1e-3
# Numerical derivatives change one parameter at a time and come back: so many values are kept.
_KEPT = 8
# Intervals of the range in which an unbinned likelihood requires a positive density.
_GRID = 200


class CategoryCost:
    """Minus twice the logarithm of the extended likelihood of one category.

    Binned: the ratio to the saturated model; weighted counts have a scaled Poisson likelihood (G. Bohm and G. Zech,
    Nucl. Instrum. Meth. A 748 (2014) 1), with the mean scale in empty bins. Unbinned: the ratio to a uniform density.

    Attributes
    ----------
    bins
        Number of bins that are fitted; 0 if unbinned.
    """

    def __init__(
        self, model: Model, data: Binned | Unbinned, *, exclude: tuple[float, float] | None = None, name: str = ""
    ) -> None:
        self.model, self.name = model, name
        self.data = data.inside(*model.window)
        if not self.data.total > 0:
            low, high = model.window
            raise FitError(f"There is nothing to fit in {name} between {low:g} and {high:g}.", reasons=["no events"])
        index = {parameter: i for i, parameter in enumerate(model.parameters)}
        self._parts = [
            (part.scale, index[part.yield_name], tuple(index[own] for own in part.parameters), self._memo(part))
            for part in model.components
        ]
        self._one: Any
        if isinstance(self.data, Binned):
            self._prepare_binned(self.data, exclude)
            self._one = self._binned
        else:
            if self.data.weighted or exclude is not None:
                what = "weighted values" if self.data.weighted else "values with a range left out"
                raise InputError(f"{name}: a simultaneous fit takes {what} in bins only: pass a histogram.")
            self.bins, self._floor = 0, _FLOOR * self.data.total / (model.window[1] - model.window[0])
            self._one = self._unbinned
        self.value = lru_cache(maxsize=_KEPT)(self._one)

    def _prepare_binned(self, data: Binned, exclude: tuple[float, float] | None) -> None:
        centres = (data.edges[1:] + data.edges[:-1]) / 2
        self.kept = np.ones(centres.size, bool)
        if exclude is not None:
            self.kept = (centres < exclude[0]) | (centres > exclude[1])
        self.counts = data.counts[self.kept]
        if not self.counts.sum() > 0:
            raise FitError(f"There is nothing to fit in {self.name} outside {exclude}.", reasons=["no events"])
        self.bins = self.counts.size
        self.variances = None if data.variances is None else data.variances[self.kept]
        self._scale: Any = 1.0
        if self.variances is not None:
            mean = self.counts.sum() / self.variances.sum()
            self._scale = np.divide(self.counts, self.variances, out=np.full(self.bins, mean), where=self.variances > 0)
        self._floor = _FLOOR * self.counts.mean()
        filled = np.where(self.counts > 0, self.counts, 1.0)
        self._constant = self.counts * np.log(filled) - self.counts

    def _memo(self, part: Component) -> Any:
        """Return a function of the shape's parameters that remembers its latest values."""
        shape, (low, high) = SHAPES[part.shape], self.model.window
        if isinstance(self.data, Binned):
            edges = self.data.edges
            return lru_cache(maxsize=_KEPT)(lambda *values: np.diff(shape.cdf(edges, low, high, *values)))
        # The values, and then a grid on which the density must be positive
        x = np.concatenate([self.data.values, np.linspace(low, high, _GRID + 1)])
        return lru_cache(maxsize=_KEPT)(lambda *values: shape.pdf(x, low, high, *values))

    def expected(self, *values: float) -> np.ndarray:
        """Return the expected events in each bin, or the density at each value and on a grid after them."""
        total: Any = 0.0
        for scale, number, at, memo in self._parts:
            total = total + scale * values[number] * memo(*(values[i] for i in at))
        return np.asarray(total)

    def _binned(self, *values: float) -> float:
        expected = self.expected(*values)[self.kept]
        safe = np.maximum(expected, self._floor)
        terms = expected + self._constant - self.counts * np.log(safe)
        low = expected < self._floor
        if low.any():
            t = expected[low] / self._floor - 1
            terms[low] += self.counts[low] * (t * t / 2 - t) + t * t
        return float(2 * np.sum(self._scale * terms))

    def _unbinned(self, *values: float) -> float:
        density = self.expected(*values)
        at_values = density[: -_GRID - 1]
        result = self.model.total(*values) - np.log(np.maximum(at_values, self._floor) / (self._floor / _FLOOR)).sum()
        if density.min() < self._floor:
            t = at_values[at_values < self._floor] / self._floor - 1
            on_grid = density[-_GRID - 1 :]
            u = on_grid[on_grid < self._floor] / self._floor - 1
            result += (t * t / 2 - t).sum() + (u * u).sum()
        return float(2 * result)

    def goodness(self, values: Sequence[float], free: set[str]) -> list[Goodness]:
        """Return the tests of this category; its parameters that are in ``free`` count, also common ones.

        The ratio to the saturated model is one of them only where enough events are expected in each bin.
        """
        number = sum(name in free for name in self.model.parameters)
        if isinstance(self.data, Unbinned):
            binned = self.data.binned(np.linspace(*self.model.window, BINS + 1))
            expected = np.diff(self.model.integral(binned.edges, *values))
            return pearson_in_bins(expected, binned.counts, None, number)
        expected = self.expected(*values)[self.kept]
        tests = pearson_in_bins(expected, self.counts, self.variances, number)
        if self.bins > number and np.min(expected * self._scale) >= MIN_EXPECTED:
            tests.insert(0, goodness_of("saturated", self.value(*values), self.bins - number))
        return tests


class Cost:
    """The sum of the likelihoods of categories, as a function of all ``parameters``."""

    errordef = 1.0  # minus twice a logarithm rises by 1 at one standard deviation

    def __init__(self, parameters: Sequence[str], terms: Iterable[CategoryCost]) -> None:
        index = {name: i for i, name in enumerate(parameters)}
        self._terms = [(term.value, tuple(index[name] for name in term.model.parameters)) for term in terms]

    def __call__(self, *values: float) -> float:
        """Return minus twice the logarithm of the likelihood."""
        return float(sum(value(*(values[i] for i in at)) for value, at in self._terms))
