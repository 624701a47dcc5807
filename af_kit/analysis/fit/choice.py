"""Choose background families: the order of each by a likelihood-ratio test, and only those that describe the data.

The tests leave the signal's range out, so that the choice does not depend on the signal.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

import numpy as np

from af_kit.analysis.fit.data import Binned
from af_kit.analysis.fit.families import by_kind, family
from af_kit.analysis.fit.model import Model
from af_kit.analysis.fit.simultaneous import Simultaneous, SimultaneousFit, fit_simultaneous
from af_kit.errors import FitError

# A higher order is taken if the improvement would be smaller than the observed one with this probability or less.
ORDER_P = 0.05
# A family is left out if its fit to the sidebands has a smaller p-value.
GOODNESS_P = 0.001
# A family is left out if the sidebands do not keep its parameters so many errors away from their limits.
CONSTRAINED = 2.0


class Candidate(NamedTuple):
    """One family in one category.

    ``improvement_p`` is the probability of at least this improvement over the order below, if that is the true one
    (None for the lowest order); ``goodness_p`` the p-value of the fit to the sidebands. ``reason`` says why the family
    is not chosen; it is empty for a chosen one.
    """

    category: str
    family: str
    parameters: int
    minimum: float | None
    improvement_p: float | None
    goodness_p: float | None
    reason: str


class Sidebands(NamedTuple):
    """The choice for one category: all candidates, and the fits of the chosen ones to the sidebands, the best first.

    The best one has the smallest likelihood ratio to the data, with a penalty of 1 for each parameter.
    """

    candidates: tuple[Candidate, ...]
    fits: Mapping[str, SimultaneousFit]


def choose(
    category: str,
    data: Binned,
    families: Iterable[str],
    *,
    window: tuple[float, float],
    exclude: tuple[float, float] | None,
    goodness: float = GOODNESS_P,
) -> Sidebands:
    """Choose the order of each kind of family, and drop those that do not describe the sidebands.

    Twice the difference of the logarithms of the likelihoods of two orders follows a chi2 distribution if the lower one
    is true. Orders go up as long as the probability of the improvement is below `ORDER_P`. A family whose fit has a
    p-value below ``goodness`` is left out.

    Raises
    ------
    FitError
        No family is left.
    """
    candidates: list[Candidate] = []
    fits: dict[str, SimultaneousFit] = {}
    for names in by_kind(families).values():
        found = list(_of_kind(category, data, names, window, exclude, goodness))
        for candidate, fit in sorted(found, key=lambda pair: names.index(pair[0].family)):
            candidates.append(candidate)
            if not candidate.reason and fit is not None:
                fits[candidate.family] = fit
    if not fits:
        reasons = [f"{one.family}: {one.reason}" for one in candidates]
        raise FitError(
            f"No background family describes the sidebands of {category}: {'; '.join(reasons)}. "
            "Look at the spectrum; try more families or higher orders, or merge the category with another one.",
            reasons=reasons,
        )
    best = sorted(fits, key=lambda name: fits[name].minimum + len(family(name).parameters))
    return Sidebands(tuple(candidates), {name: fits[name] for name in best})


def _of_kind(
    category: str,
    data: Binned,
    names: list[str],
    window: tuple[float, float],
    exclude: tuple[float, float] | None,
    goodness: float,
) -> Iterator[tuple[Candidate, SimultaneousFit | None]]:
    """Yield the orders of one kind, each with its fit."""
    from scipy.stats import chi2

    best: tuple[Candidate, SimultaneousFit] | None = None
    for name in names:
        number = len(family(name).parameters)
        try:
            fit = background_fit(category, data, name, window=window, exclude=exclude)
        except FitError as error:
            reason = f"not valid: {error.reasons[0] if error.reasons else error}"
            yield Candidate(category, name, number, None, None, None, reason), None
            break  # higher orders are even less constrained
        if loose := _unconstrained(fit):
            yield Candidate(category, name, number, fit.minimum, None, None, loose), None
            break
        tests = {test.method: test.p_value for test in fit.by_category[category]}
        p_value = None
        if best is not None:
            gain, more = best[1].minimum - fit.minimum, number - best[0].parameters
            p_value = float(chi2.sf(max(gain, 0.0), more))
        candidate = Candidate(category, name, number, fit.minimum, p_value, tests.get("pearson"), "")
        if best is not None and p_value is not None and p_value > ORDER_P:
            yield candidate._replace(reason=f"no better than {best[0].family} (p = {p_value:.2g})"), fit
            break
        if best is not None:
            yield best[0]._replace(reason=f"{name} is better (p = {p_value:.2g})"), best[1]
        best = candidate, fit
    if best is not None:
        p_value = best[0].goodness_p
        bad = p_value is not None and p_value < goodness
        yield best[0]._replace(reason=f"does not describe the sidebands (p = {p_value:.2g})" if bad else ""), best[1]


def _unconstrained(fit: SimultaneousFit) -> str:
    """Return which parameter the sidebands do not keep away from its limits; otherwise an empty string.

    Fluctuations of such data often end at the limit, where a fit is not valid.
    """
    for name, (low, high) in fit.limits.items():
        value, error = fit.values[name], fit.errors[name]
        for limit in (low, high):
            if abs(value - limit) < CONSTRAINED * error:
                return f"{name} = {value:.4g} +- {error:.2g} is not constrained: a limit is {limit:g}"
    return ""


def background_fit(
    category: str,
    data: Binned,
    name: str,
    *,
    window: tuple[float, float],
    exclude: tuple[float, float] | None,
) -> SimultaneousFit:
    """Fit one background family alone, without signal."""
    background = family(name)
    model = Simultaneous({category: Model((background.component(category),), window)})
    number = f"n_background_{category}"
    inside = data.inside(*window)
    kept = np.ones(len(inside.counts), bool)
    if exclude is not None:  # not even as a starting value
        centres = (inside.edges[1:] + inside.edges[:-1]) / 2
        kept = (centres < exclude[0]) | (centres > exclude[1])
    widths = np.diff(inside.edges)
    events = float(inside.counts[kept].sum() * widths.sum() / widths[kept].sum()) if kept.any() else 0.0
    return fit_simultaneous(
        model,
        {category: data},
        start={number: max(events, 1.0), **background.start(category)},
        limits={number: (0.0, None), **background.limits(category)},
        exclude=exclude,
    )
