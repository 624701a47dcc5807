"""The shapes of model components: densities on a range, and their integrals.

A shape is normalised over the range of the fit, so that a yield is a number of events in that range. Add your own with
``SHAPES["name"] = Shape(...)`` before you create a model that uses it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from af_kit.analysis.fit.backgrounds import BACKGROUNDS
from af_kit.analysis.fit.peaks import double_crystal_ball_cdf, double_crystal_ball_pdf

Function = Callable[..., np.ndarray]


class Shape(NamedTuple):
    """A density normalised between ``low`` and ``high``.

    ``pdf(x, low, high, *parameters)`` returns the density at ``x``, and ``cdf(x, low, high, *parameters)`` its integral
    from ``low`` to ``x``, for ``low <= x <= high``. ``parameters`` are their names, in order.
    """

    pdf: Function
    cdf: Function
    parameters: tuple[str, ...]


def _on_range(module: str) -> tuple[Function, Function]:
    """Normalise a density of numba-stats over a range instead of the whole axis."""
    from importlib import import_module

    def functions() -> Any:
        return import_module(f"numba_stats.{module}")  # importing numba takes a second

    def pdf(x: np.ndarray, low: float, high: float, *parameters: float) -> np.ndarray:
        ends = functions().cdf(np.array([low, high]), *parameters)
        density: np.ndarray = functions().pdf(x, *parameters) / (ends[1] - ends[0])
        return density

    def cdf(x: np.ndarray, low: float, high: float, *parameters: float) -> np.ndarray:
        below = functions().cdf(np.concatenate([[low, high], x]), *parameters)
        integral: np.ndarray = (below[2:] - below[0]) / (below[1] - below[0])
        return integral

    return pdf, cdf


SHAPES: dict[str, Shape] = {
    "gauss": Shape(*_on_range("norm"), ("mean", "width")),
    # Gaussian core, and a power law of exponent n from alpha widths below the mean
    # (J. E. Gaiser, SLAC-R-255, 1982, appendix F)
    "crystal_ball": Shape(*_on_range("crystalball"), ("alpha", "n", "mean", "width")),
    # With a separate width and tail on each side
    "double_crystal_ball": Shape(
        double_crystal_ball_pdf,
        double_crystal_ball_cdf,
        ("alpha_low", "n_low", "width_low", "alpha_high", "n_high", "width_high", "mean"),
    ),
    **{name: Shape(*parts) for name, parts in BACKGROUNDS.items()},
}
