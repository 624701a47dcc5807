"""Significance and upper limit of a signal strength, from the envelope of the profile likelihood.

Asymptotic formulas of G. Cowan, K. Cranmer, E. Gross and O. Vitells, Eur. Phys. J. C 71 (2011) 1554. The strength
may be negative, so the likelihood has no boundary at zero.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np

from af_kit.analysis.fit.data import Binned
from af_kit.analysis.fit.envelope import Envelope
from af_kit.analysis.fit.search import STRENGTH, Category, setup
from af_kit.analysis.fit.simultaneous import Simultaneous, fit_simultaneous
from af_kit.errors import FitError

# Width of the bins of Asimov data for unbinned fits, as a fraction of the range: narrower than the resolution.
_BINS = 400


class Significance(NamedTuple):
    """Test of no signal: ``q0`` is the rise of the likelihood at 0, and 0 for a negative strength.

    ``sigma`` is its root, and ``p_value`` the probability of this or more signal if there is none.
    """

    q0: float
    sigma: float
    p_value: float


class Limit(NamedTuple):
    """Upper limits on the strength at a confidence level, by CLs.

    ``expected`` are the limits for -2, -1, 0, 1 and 2 standard deviations of the data without signal. ``observed`` is
    None if the data are blinded.
    """

    observed: float | None
    expected: tuple[float, float, float, float, float]
    level: float


def significance(found: Envelope) -> Significance:
    """Return the significance of the signal."""
    from scipy.stats import norm

    q0 = found.rise(0.0) if found.value > 0 else 0.0
    return Significance(q0, float(np.sqrt(q0)), float(norm.sf(np.sqrt(q0))))


def asimov(
    categories: Mapping[str, Category], families: Mapping[str, str], values: Mapping[str, float]
) -> dict[str, Category]:
    """Return the categories with the expected events as data, and only the families that these were calculated with."""
    found = {}
    for name, category in categories.items():
        model = category.model(families[name])
        data = category.data
        edges = data.inside(*category.window).edges if isinstance(data, Binned) else None
        if edges is None:
            edges = np.linspace(*category.window, _BINS + 1)
        counts = np.diff(model.integral(edges, *(values[one] for one in model.parameters)))
        found[name] = replace(category, data=Binned(edges, counts), families=(families[name],))
    return found


def at_strength(
    categories: Mapping[str, Category], families: Mapping[str, str], start: Mapping[str, float], strength: float
) -> Mapping[str, float]:
    """Return all parameters of a fit at a fixed strength."""
    own = setup(categories, families)
    data = {name: category.data for name, category in categories.items()}
    begin = {name: start.get(name, value) for name, value in own.start.items()}
    fixed = {**own.fixed, STRENGTH: strength}
    return fit_simultaneous(Simultaneous(own.model.models), data, start=begin, limits=own.limits, fixed=fixed).values


def upper_limit(background: Envelope, observed: Envelope | None, *, level: float = 0.95) -> Limit:
    r"""Return the CLs limit.

    With :math:`q_\mu` the rise of the likelihood above its minimum (0 below it) and :math:`q_{\mu,A}` that of the
    expected data without signal, :math:`CL_s = (1 - \Phi(\sqrt{q_\mu})) / \Phi(\sqrt{q_{\mu,A}} - \sqrt{q_\mu})`.
    The expected band is :math:`\sigma (\Phi^{-1}(1 - \alpha \Phi(N)) + N)`, with
    :math:`\sigma = \mu / \sqrt{q_{\mu,A}}` at the median.

    Parameters
    ----------
    background
        The envelope of the expected data without signal.
    observed
        The envelope of the data; None if they are blinded.
    """
    from scipy.stats import norm

    alpha = 1 - level
    grid = background.strengths[background.strengths > 0]
    root = np.sqrt(np.interp(grid, background.strengths, background.rises))
    at_median = float(norm.isf(alpha / 2))
    if root[-1] < at_median:
        raise FitError("The expected data do not limit the strength.", reasons=["the profile likelihood is too flat"])
    sigma = float(np.interp(at_median, root, grid)) / at_median
    bands = [float(sigma * (norm.isf(alpha * norm.cdf(n)) + n)) for n in (-2, -1, 0, 1, 2)]
    limit = None if observed is None else _observed(background, observed, sigma, alpha)
    return Limit(limit, (bands[0], bands[1], bands[2], bands[3], bands[4]), level)


def _observed(background: Envelope, observed: Envelope, sigma: float, alpha: float) -> float:
    grid = observed.strengths[observed.strengths > max(observed.value, 0)]
    root = np.sqrt(np.interp(grid, observed.strengths, observed.rises))
    # Beyond the scan without signal, its likelihood is a parabola to a good approximation.
    inside = grid <= background.strengths[-1]
    asimov_root = np.where(inside, np.sqrt(np.interp(grid, background.strengths, background.rises)), grid / sigma)
    cls = asymptotic_cls(root, asimov_root)
    below = np.flatnonzero(cls < alpha)
    if below.size == 0:
        raise FitError(
            f"The limit is above {observed.strengths[-1]:.4g}, where the scan of the strength ends.",
            reasons=["the scan ends below the limit"],
        )
    i = int(below[0])
    if i == 0:
        return float(grid[0])
    return float(np.interp(-alpha, -cls[[i - 1, i]], grid[[i - 1, i]]))


def asymptotic_cls(root: Any, asimov_root: Any) -> Any:
    r"""Return :math:`CL_s` from :math:`\sqrt{q_\mu}` of the data and of the expected data without signal."""
    from scipy.stats import norm

    return norm.sf(root) / norm.cdf(asimov_root - root)
