"""The shape of the signal in each channel: a double-sided Crystal Ball, fitted to simulation."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from af_kit.analysis.fit.choice import GOODNESS_P
from af_kit.analysis.fit.data import Binned, Unbinned
from af_kit.analysis.fit.minimise import fit
from af_kit.analysis.fit.model import Component, Model
from af_kit.analysis.fit.result import FitResult
from af_kit.analysis.fit.search import STRENGTH, Category
from af_kit.analysis.fit.shapes import SHAPES
from af_kit.analysis.hmumu.shape_rows import WINDOW, Masses
from af_kit.errors import FitError, InputError

__all__ = ["EFFECTIVE", "Signal", "fit_signal", "fit_signals"]

EFFECTIVE = 10.0
"""Bins with fewer simulated events are merged: a scaled Poisson likelihood is biased by few or negative weights."""

# Where the signal's shape is fitted: further away, the few events are not of the peak.
_PEAK = np.linspace(115.0, 135.0, 81)

_SHAPE = ("alpha_low", "n_low", "width_low", "alpha_high", "n_high", "width_high", "mean")
_SIGNAL_START = {
    "alpha_low": 1.4, "n_low": 4.0, "width_low": 1.7, "alpha_high": 1.6, "n_high": 5.0, "width_high": 1.7,
    "mean": 124.8,
}  # fmt: skip
_SIGNAL_LIMITS = {
    "alpha_low": (0.3, 5.0), "n_low": (0.1, 100.0), "width_low": (0.5, 5.0), "alpha_high": (0.3, 5.0),
    "n_high": (0.1, 100.0), "width_high": (0.5, 5.0), "mean": (120.0, 130.0),
}  # fmt: skip
# Tried in this order: with few simulated events, the tails are not constrained and keep their starting values.
_SIGNAL_FIXED: tuple[tuple[str, ...], ...] = (
    (), ("n_high",), ("n_low", "n_high"), ("n_low", "n_high", "alpha_low", "alpha_high"),
)  # fmt: skip


class Signal(NamedTuple):
    """The signal of a channel: expected events in the range, their statistical error, and the fit of the shape.

    The events are those between 115 and 135 GeV, where the shape is fitted, and its tails beyond.
    """

    expected: float
    error: float
    fit: FitResult

    def category(self, channel: str, data: Binned | Unbinned, families: tuple[str, ...]) -> Category:
        """Return a channel with this signal, and some families for its background."""
        names = _parameters(channel)
        component = Component(
            f"signal_{channel}", "double_crystal_ball", names, "signal", strength=STRENGTH, expected=self.expected
        )
        shape = {one: self.fit.values[one] for one in names}
        return Category(channel, data, WINDOW, component, shape, families)


def fit_signal(channel: str, values: np.ndarray, weights: np.ndarray) -> tuple[Signal, list[str]]:
    """Fit a double-sided Crystal Ball to the simulated signal of a channel, in bins of 0.25 GeV or wider.

    Exponents and then also the starting points of the tails keep fixed values if the simulated events do not constrain
    them.

    Returns
    -------
    Signal, list of str
        The signal, and notes on what was done.
    """
    notes = []
    inside = (values >= _PEAK[0]) & (values < _PEAK[-1])
    values, weights = values[inside], weights[inside]
    data, _ = Binned.weighted_sum(_PEAK, values, weights, effective=EFFECTIVE)
    names = _parameters(channel)
    model = Model((Component("signal", "double_crystal_ball", names),), (float(_PEAK[0]), float(_PEAK[-1])))
    start = {f"{name}_{channel}": value for name, value in _SIGNAL_START.items()} | {"n_signal": data.total}
    limits = {f"{name}_{channel}": ends for name, ends in _SIGNAL_LIMITS.items()} | {"n_signal": (0.0, np.inf)}
    for held in _SIGNAL_FIXED:
        fixed = {f"{name}_{channel}": _SIGNAL_START[name] for name in held}
        free = {name: ends for name, ends in limits.items() if name not in fixed}
        try:
            result = fit(model, data, start=start, limits=free, fixed=fixed)
        except FitError as error:
            last = error
            continue
        if held:
            held_at = ", ".join(f"{name} = {_SIGNAL_START[name]:g}" for name in held)
            notes.append(f"signal of {channel}: {held_at} fixed, because the simulated events do not constrain them")
        ends = SHAPES["double_crystal_ball"].cdf(_PEAK[[0, -1]], *WINDOW, *(result.values[one] for one in names))
        weights = weights / (ends[1] - ends[0])
        if (p_value := min((test.p_value for test in result.goodness), default=1.0)) < GOODNESS_P:
            notes.append(f"signal of {channel}: the double-sided Crystal Ball describes it poorly (p = {p_value:.2g})")
        return Signal(float(weights.sum()), float(np.sqrt((weights**2).sum())), result), notes
    raise FitError(
        f"The simulated signal of {channel} ({len(values)} events) cannot be fitted: {last} Simulate more signal, or "
        f"leave the channel out.",
        reasons=last.reasons,
        at_limit=last.at_limit,
    )


def fit_signals(masses: Mapping[str, Masses], notes: list[str]) -> dict[str, Signal]:
    """Fit the signal of each channel that has one; add to ``notes`` what was done, and which channels are left out."""
    found: dict[str, Signal] = {}
    for name, own in masses.items():
        if not own.signal_weights.sum() > 0:
            notes.append(f"{name} is left out: no signal is expected")
            continue
        found[name], remarks = fit_signal(name, own.signal, own.signal_weights)
        notes += remarks
    if not found:
        raise InputError(
            "There is no simulated signal in 110 to 150 GeV: the shape fit needs datasets of ggh, vbf, wh, zh or tth."
        )
    return found


def _parameters(channel: str) -> tuple[str, ...]:
    return tuple(f"{name}_{channel}" for name in _SHAPE)
