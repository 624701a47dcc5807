"""The envelope over background families: the choice of the family is a discrete nuisance parameter.

P. D. Dauncey, M. Kenzie, N. Wardle and G. J. Davies, JINST 10 (2015) P04015. Minus twice the logarithm of the
likelihood is minimised over the families at each signal strength, after adding a penalty for each background parameter:
here 1, that is 0.5 in minus the logarithm, as is usual. At a fixed strength the categories do not depend on each other,
so each category has an envelope of its own, and their sum is the envelope over all combinations of families.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from af_kit.analysis.fit.categories import CategoryCost
from af_kit.analysis.fit.families import family
from af_kit.analysis.fit.goodness import Goodness
from af_kit.analysis.fit.minimise import minimise, prepare
from af_kit.analysis.fit.search import STRENGTH, Category, setup
from af_kit.analysis.fit.simultaneous import SimultaneousFit, fit_simultaneous
from af_kit.analysis.fit.validity import problems
from af_kit.errors import FitError

PENALTY = 1.0
"""What each background parameter adds to minus twice the logarithm of the likelihood."""

# The strengths at which the likelihood is calculated: so far around the minimum, in such steps, in units of the error.
# Between them it is interpolated by cubic splines.
_REACH, _STEP = 3.5, 0.5
# And so far above the strength without signal: CLs limits are there, however negative the fitted strength.
_ABOVE = 2.5
# The envelope is calculated in this many steps, and so accurate to the reach over it.
_FINE = 4000


@dataclass(frozen=True, eq=False, repr=False)
class Envelope:
    """Minus twice the logarithm of the profile likelihood of the strength, minimised over the families.

    Attributes
    ----------
    fit
        The simultaneous fit with the families of the minimum, with Hesse and Minos errors of the strength.
    families
        The family of each category at the minimum.
    nodes
        The strengths at which the likelihood was calculated.
    curves
        For each category and family, the values at ``nodes``, with the penalty.
    dropped
        For each category, families without a valid fit and the reason.
    """

    fit: SimultaneousFit
    families: Mapping[str, str]
    nodes: np.ndarray
    curves: Mapping[str, Mapping[str, np.ndarray]]
    dropped: Mapping[str, Mapping[str, str]]

    @cached_property
    def strengths(self) -> np.ndarray:
        """Strengths of a fine grid."""
        return np.linspace(self.nodes[0], self.nodes[-1], _FINE + 1)

    @cached_property
    def rises(self) -> np.ndarray:
        """The envelope at :attr:`strengths`, minus its minimum."""
        total = envelope_of(self.nodes, self.curves, self.strengths)
        return total - total.min()

    def __repr__(self) -> str:
        return (
            f"<Envelope: strength {self.value:.4g} +- {self.fit.errors[STRENGTH]:.2g}, {len(self.families)} categories>"
        )

    # What a fit has, for toys
    free = (STRENGTH,)

    @property
    def values(self) -> dict[str, float]:
        """The strength at the minimum, by name."""
        return {STRENGTH: self.value}

    @property
    def errors(self) -> dict[str, float]:
        """The parabolic error of the strength, with the families of the minimum."""
        return {STRENGTH: self.fit.errors[STRENGTH]}

    @property
    def minos(self) -> dict[str, tuple[float, float]]:
        """The errors of the strength from the envelope, by name."""
        return {STRENGTH: self.interval()}

    @property
    def goodness(self) -> tuple[Goodness, ...]:
        """Tests of the fit."""
        return self.fit.goodness

    @property
    def value(self) -> float:
        """The strength at the minimum."""
        return float(self.strengths[self.rises.argmin()])

    def interval(self, rise: float = 1.0) -> tuple[float, float]:
        """Return the errors below (negative) and above, to where the envelope rises by ``rise``.

        If there are several such intervals, the errors reach to the outermost ends.
        """
        inside = np.flatnonzero(self.rises <= rise)
        first, last = inside[0], inside[-1]
        if first == 0 or last == _FINE:
            raise FitError(
                f"The profile likelihood of the strength does not rise by {rise:g} between {self.nodes[0]:.4g} and "
                f"{self.nodes[-1]:.4g}: the data do not constrain it.",
                reasons=["the profile likelihood is too flat"],
            )
        ends = [np.interp(rise, self.rises[[first, first - 1]], self.strengths[[first, first - 1]])]
        ends.append(np.interp(rise, self.rises[[last, last + 1]], self.strengths[[last, last + 1]]))
        return float(ends[0] - self.value), float(ends[1] - self.value)

    def rise(self, strength: float) -> float:
        """Return the value of the envelope at a strength, above the minimum."""
        if not self.nodes[0] <= strength <= self.nodes[-1]:
            raise FitError(
                f"The scan is from {self.nodes[0]:.4g} to {self.nodes[-1]:.4g}, without the strength {strength:.4g}.",
                reasons=["outside the range of the scan"],
            )
        return float(np.interp(strength, self.strengths, self.rises))


def envelope_of(nodes: np.ndarray, curves: Mapping[str, Mapping[str, np.ndarray]], at: np.ndarray) -> np.ndarray:
    """Return the sum over categories of the lowest curve, interpolated at strengths."""
    from scipy.interpolate import CubicSpline

    total = np.zeros(at.size)
    for own in curves.values():
        total += np.min([CubicSpline(nodes, curve)(at) for curve in own.values()], axis=0)
    return total


def envelope(
    categories: Mapping[str, Category], *, penalty: float = PENALTY, minos: bool = True, include: float = 0.0
) -> Envelope:
    """Profile the strength over all families of all categories.

    Parameters
    ----------
    penalty
        What each background parameter adds to minus twice the logarithm of the likelihood.
    minos
        Also find the Minos errors of the strength for the families of the minimum.
    include
        A strength that the scan must reach, by default that without signal.

    Raises
    ------
    FitError
        No family of a category has a valid fit; the fit of the best families is not valid; or the envelope does not
        agree with it.
    """
    profiles, dropped = _valid_profiles(categories, penalty)
    best = {name: min(own.values(), key=lambda one: one.best(1.0)).family for name, own in profiles.items()}
    first = _fit(categories, best, profiles, minos=False)
    centre, error = first.values[STRENGTH], first.errors[STRENGTH]
    low = min(centre - _REACH * error, include)
    high = max(centre + _REACH * error, include + _ABOVE * error)
    nodes = np.linspace(low, high, max(int(np.ceil((high - low) / (_STEP * error))), 2) + 1)
    curves = {name: {one.family: one.scan(nodes, centre) for one in own.values()} for name, own in profiles.items()}
    curves = {name: {key: c for key, c in own.items() if np.isfinite(c).all()} for name, own in curves.items()}
    for name, own in curves.items():
        if not own:
            raise FitError(f"No family of {name} can be profiled.", reasons=[f"{name}: no valid profile"])
        lost = profiles[name].keys() - own.keys()
        dropped[name] |= dict.fromkeys(sorted(lost), "its minimum is not found at some strengths")
    fine = np.linspace(nodes[0], nodes[-1], _FINE + 1)
    minimum = float(fine[envelope_of(nodes, curves, fine).argmin()])
    at_minimum = {
        name: min(own, key=lambda key: float(np.interp(minimum, nodes, own[key]))) for name, own in curves.items()
    }
    fit = _fit(categories, at_minimum, profiles, minos=minos)
    found = Envelope(fit, at_minimum, nodes, curves, dropped)
    if abs(fit.values[STRENGTH] - found.value) > 0.05 * fit.errors[STRENGTH]:
        # The families differ so close to the minimum that interpolation picks another one.
        reason = f"the envelope has its minimum at {found.value:.4g}, the fit of its families at {fit[STRENGTH]}"
        raise FitError(f"The fit is not valid: {reason}. Use fewer families.", reasons=[reason])
    return found


def _fit(
    categories: Mapping[str, Category],
    families: Mapping[str, str],
    profiles: Mapping[str, Mapping[str, _Profile]],
    *,
    minos: bool,
) -> SimultaneousFit:
    own = setup(categories, families)
    start = dict(own.start)
    for name, chosen in families.items():
        start |= profiles[name][chosen].values
    return fit_simultaneous(
        own.model,
        {name: category.data for name, category in categories.items()},
        start={**start, STRENGTH: 1.0},
        limits=own.limits,
        fixed=own.fixed,
        minos=[STRENGTH] if minos else False,
    )


class _Profile:
    """The likelihood of one category with one family as a function of the strength."""

    def __init__(self, category: Category, name: str, penalty: float) -> None:
        self.family, self.penalty = name, penalty * len(family(name).parameters)
        model = category.model(name)
        cost = CategoryCost(model, category.data, name=category.name)
        start = category.start(name)
        fixed = {**category.shape, STRENGTH: start[STRENGTH]}
        self._minuit = prepare(cost.value, model, start=start, limits=category.limits(name), fixed=fixed)
        self._minuit.errordef = 1.0
        minimise(self._minuit)
        self.reasons = [problem.reason for problem in problems(self._minuit)]
        self.values = {key: float(self._minuit.values[key]) for key in model.parameters}
        self._strategy = 0

    def best(self, strength: float) -> float:
        """Return the minimum at a strength over the background's parameters, with the penalty; NaN if there is none."""
        if strength != self._minuit.values[STRENGTH]:
            self._minuit.values[STRENGTH] = strength
            for self._minuit.strategy in (0, 1, 2):
                self._minuit.migrad()
                if self._minuit.fmin.is_valid:
                    break
            else:
                return float("nan")
        return float(self._minuit.fval) + self.penalty

    def scan(self, nodes: np.ndarray, centre: float) -> np.ndarray:
        """Return :meth:`best` at strengths, from the nearest to ``centre`` outwards, each from the one before."""
        found = np.full(nodes.size, np.nan)
        middle = int(np.abs(nodes - centre).argmin())
        for side in (range(middle, nodes.size), range(middle - 1, -1, -1)):
            for name, value in self.values.items():
                self._minuit.values[name] = value
            for i in side:
                found[i] = self.best(float(nodes[i]))
        return found


def _valid_profiles(
    categories: Mapping[str, Category], penalty: float
) -> tuple[dict[str, dict[str, _Profile]], dict[str, dict[str, str]]]:
    profiles: dict[str, dict[str, Any]] = {}
    dropped: dict[str, dict[str, str]] = {}
    for name, category in categories.items():
        every = {one: _Profile(category, one, penalty) for one in category.families}
        profiles[name] = {one: profile for one, profile in every.items() if not profile.reasons}
        dropped[name] = {one: profile.reasons[0] for one, profile in every.items() if profile.reasons}
        if not profiles[name]:
            reasons = [f"{name}, {one}: {reason}" for one, reason in dropped[name].items()]
            raise FitError(
                f"No background family of {name} has a valid fit: {'; '.join(reasons)}. Use families with fewer "
                "parameters, or merge the category with another one.",
                reasons=reasons,
            )
    return profiles, dropped
