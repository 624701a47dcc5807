r"""Tests of a signal strength: the significance of a signal, and upper limits by CLs.

The test statistics are those of G. Cowan, K. Cranmer, E. Gross and O. Vitells, EPJC 71 (2011) 1554, for a strength
:math:`\mu` that may be negative: :math:`q_0` for the significance, :math:`q_\mu` for upper limits.
(:math:`\tilde q_\mu` is for strengths that cannot be negative.) CLs: A. L. Read, J. Phys. G 28 (2002) 2693.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from af_kit.analysis.fit.strength import asymptotic_cls
from af_kit.analysis.templates.fit import TemplateFit, fit, profiled
from af_kit.analysis.templates.likelihood import Data, Likelihood
from af_kit.errors import FitError

__all__ = ["Limit", "Significance", "Statistic", "cls", "significance", "statistic", "upper_limit"]

_BANDS = (-2, -1, 0, 1, 2)


class Statistic(NamedTuple):
    """The test statistic of a strength: that of the data, and that of data without signal (for the asymptotic law)."""

    strength: float
    observed: float
    asimov: float


class Significance(NamedTuple):
    """The significance of a signal: standard deviations, one-sided p-value, and the significance that is expected from
    data with a strength of 1. A strength of 0 or less has significance 0 and p-value 0.5."""

    observed: float
    p_value: float
    expected: float


@dataclass(frozen=True)
class Limit:
    """The upper limit on a strength.

    Attributes
    ----------
    observed
        From the data.
    expected
        From data without signal: at -2, -1, 0, 1, 2 standard deviations of the fluctuations of the background.
    level
        Confidence level.
    scan
        The points at which CLs was computed: strength, observed CLs, and expected CLs for the five bands.
    """

    observed: float
    expected: tuple[float, ...]
    level: float
    scan: tuple[tuple[float, ...], ...]

    def to_dict(self) -> dict[str, Any]:
        """Return the limit as plain values."""
        return {
            "observed": self.observed,
            "expected": dict(zip(("-2", "-1", "0", "1", "2"), self.expected, strict=True)),
            "level": self.level,
            "scan": [list(point) for point in self.scan],
        }


def significance(result: TemplateFit) -> Significance:
    """Return the significance of a signal from a fit: the asymptotic one, :math:`\\sqrt{q_0}`."""
    from scipy.stats import norm

    compiled, poi = result.likelihood, result.likelihood.model.poi
    observed = _root_q0(result)
    expected = _root_q0(fit(compiled, compiled.asimov(compiled.parameters(**{poi: 1.0})), minos=False))
    return Significance(observed, float(norm.sf(observed)), expected)


def _root_q0(result: TemplateFit) -> float:
    if result.strength.value <= 0:
        return 0.0
    rise = profiled(result, result.likelihood.model.poi, 0.0).value - result.minimum.value
    return float(np.sqrt(max(rise, 0.0)))


def statistic(result: TemplateFit, strength: float) -> float:
    """Return :math:`q_\\mu`: how much worse this strength fits than the best one; 0 if the best one is larger."""
    if result.strength.value >= strength:
        return 0.0
    return max(profiled(result, result.likelihood.model.poi, strength).value - result.minimum.value, 0.0)


def cls(values: Statistic, *, bands: bool = False) -> tuple[float, ...]:
    """Return CLs by the asymptotic formulas: the observed one and, with ``bands``, those expected."""

    root, root_asimov = np.sqrt(values.observed), np.sqrt(values.asimov)
    found = [asymptotic_cls(root, root_asimov)]
    if bands:
        # A background that fluctuates up by n standard deviations raises the limit.
        found += [asymptotic_cls(root_asimov - n, root_asimov) for n in _BANDS]
    return tuple(float(value) for value in found)


def background_only(result: TemplateFit) -> TemplateFit:
    """Return the fit to the data that a background without signal, fitted to the data of ``result``, expects."""
    compiled = result.likelihood
    without = profiled(result, compiled.model.poi, 0.0).parameters
    return fit(compiled, compiled.asimov(without), start=_named(compiled, without), minos=False)


def upper_limit(result: TemplateFit, *, level: float = 0.95, precision: float = 1e-3) -> Limit:
    """Return the upper limit on the strength, by CLs and the asymptotic formulas.

    Parameters
    ----------
    result
        The fit to the data, or to pseudo-data.
    level
        Confidence level.
    precision
        Precision of the limits, relative to the error of the strength.

    Raises
    ------
    FitError
        A limit is beyond the largest strength that the model allows, or a fit is not valid.
    """
    from scipy.optimize import brentq

    asimov = background_only(result)
    error, high = asimov.strength.error, result.likelihood.limits[result.likelihood.poi, 1]
    points: dict[float, tuple[float, ...]] = {}

    def at(strength: float) -> tuple[float, ...]:
        if strength not in points:
            values = Statistic(strength, statistic(result, strength), statistic(asimov, strength))
            points[strength] = cls(values, bands=True)
        return points[strength]

    def solve(column: int, start: float) -> float:
        low, upper = 0.0, start
        while at(upper)[column] > 1 - level:
            low, upper = upper, upper + error
            if upper >= high:
                reason = f"the upper limit is beyond the largest strength allowed, {high:g}"
                raise FitError(f"There is no upper limit: {reason}. Allow larger strengths.", reasons=[reason])
        while low > 0 and at(low)[column] < 1 - level:
            low = max(0.0, low - error)

        def distance(strength: float) -> float:
            return float(np.log(max(at(strength)[column], 1e-12) / (1 - level)))  # smoother than CLs

        return float(brentq(distance, low + 1e-9 * error, upper, xtol=precision * error))

    expected = tuple(solve(1 + i, 1.96 * error + max(0, n) * error) for i, n in enumerate(_BANDS))
    observed = solve(0, max(result.strength.value, 0.0) + 1.64 * error)
    scan = tuple((strength, *points[strength]) for strength in sorted(points))
    return Limit(observed, expected, level, scan)


def toy_cls(
    result: TemplateFit, strength: float, number: int, *, seed: int, observed: float | None = None
) -> tuple[float, float, float]:
    """Return CLs of one strength from toys, its statistical error, and the median CLs of background-only toys.

    Each hypothesis is drawn with the parameters that fit the data best under it; the auxiliary measurements fluctuate
    as well. It checks the asymptotic formulas: `upper_limit` needs no toys.

    Parameters
    ----------
    number
        Toys of each hypothesis.
    observed
        The test statistic of the data; None: that of ``result``.
    """
    compiled, poi = result.likelihood, result.likelihood.model.poi
    measured = statistic(result, strength) if observed is None else observed
    found = []
    for value, child in zip((0.0, strength), np.random.SeedSequence(seed).spawn(2), strict=True):
        truth = profiled(result, poi, value).parameters
        found.append([_toy(compiled, truth, strength, one) for one in child.spawn(number)])
    background, signal = (np.array([value for value in one if np.isfinite(value)]) for one in found)

    def ratio(limit: float) -> float:
        return float(np.mean(signal >= limit)) / max(float(np.mean(background >= limit)), 1 / background.size)

    upper, lower = float(np.mean(signal >= measured)), max(float(np.mean(background >= measured)), 1e-9)
    error = ratio(measured) * np.sqrt(
        (1 - upper) / max(upper * signal.size, 1) + (1 - lower) / max(lower * background.size, 1)
    )
    return ratio(measured), float(error), ratio(float(np.median(background)))


def _toy(compiled: Likelihood, truth: np.ndarray, strength: float, seed: np.random.SeedSequence) -> float:
    data: Data = compiled.draw(truth, np.random.default_rng(seed))
    try:
        return statistic(fit(compiled, data, start=_named(compiled, truth), minos=False), strength)
    except FitError:
        return np.nan


def _named(compiled: Likelihood, parameters: np.ndarray) -> dict[str, float]:
    return dict(zip(compiled.names, map(float, parameters), strict=True))
