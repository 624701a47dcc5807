"""What a search for a signal over smooth backgrounds fits: categories with a signal and several background families."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from af_kit.analysis.fit.data import Binned, Unbinned
from af_kit.analysis.fit.families import family
from af_kit.analysis.fit.model import Component, Model
from af_kit.analysis.fit.simultaneous import Simultaneous
from af_kit.errors import InputError

STRENGTH = "strength"
"""The fit parameter that all categories have in common: the signal in units of the expected one."""


@dataclass(frozen=True, eq=False)
class Category:
    """A spectrum with a signal whose shape and expected events are known, and the families for its background.

    Parameters
    ----------
    data
        A histogram, or values.
    signal
        The signal; its ``strength`` must be `STRENGTH`.
    shape
        The values of the signal's shape parameters.
    families
        Names in :data:`~af_kit.analysis.fit.families.FAMILIES`.
    """

    name: str
    data: Binned | Unbinned
    window: tuple[float, float]
    signal: Component
    shape: Mapping[str, float]
    families: tuple[str, ...]

    def __post_init__(self) -> None:
        if self.signal.strength != STRENGTH:
            raise InputError(f"The signal of {self.name} needs strength={STRENGTH!r}, not {self.signal.strength!r}.")
        if not self.signal.expected > 0:
            raise InputError(
                f"{self.name}: {self.signal.expected:g} signal events are expected; leave this category out of the fit."
            )
        if not self.families:
            raise InputError(f"{self.name} has no background family to fit.")

    def model(self, name: str) -> Model:
        """Return signal and one background."""
        return Model((self.signal, family(name).component(self.name)), self.window)

    def start(self, name: str) -> dict[str, float]:
        """Return starting values, for a strength of 1."""
        background = max(self.data.inside(*self.window).total - self.signal.expected, 1.0)
        return {STRENGTH: 1.0, f"n_background_{self.name}": background, **family(name).start(self.name), **self.shape}

    def limits(self, name: str) -> dict[str, tuple[float, float]]:
        """Return the limits of the background's parameters."""
        return {f"n_background_{self.name}": (0.0, np.inf), **family(name).limits(self.name)}


@dataclass(frozen=True, eq=False)
class Setup:
    """A simultaneous model with all that a fit of it needs."""

    model: Simultaneous
    start: Mapping[str, float]
    limits: Mapping[str, tuple[float, float]]
    fixed: Mapping[str, float]


def setup(categories: Mapping[str, Category], families: Mapping[str, str]) -> Setup:
    """Return the simultaneous model with one family for each category."""
    start: dict[str, float] = {}
    limits: dict[str, tuple[float, float]] = {}
    fixed: dict[str, float] = {}
    for name, own in categories.items():
        start |= own.start(families[name])
        limits |= own.limits(families[name])
        fixed |= own.shape
    return Setup(
        Simultaneous({name: own.model(families[name]) for name, own in categories.items()}), start, limits, fixed
    )
