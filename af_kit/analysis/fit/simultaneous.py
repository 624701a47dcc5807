"""Fit several spectra at once: categories with a model each, and parameters in common, such as a signal strength."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from af_kit.analysis.fit.categories import CategoryCost, Cost
from af_kit.analysis.fit.data import Binned, Unbinned
from af_kit.analysis.fit.goodness import Goodness, goodness_of
from af_kit.analysis.fit.minimise import Limits, free_covariance, free_parameters, minimise, minos_errors, prepare
from af_kit.analysis.fit.model import Model, Parametrised
from af_kit.analysis.fit.result import Fitted, components_to_list
from af_kit.analysis.fit.validity import NEAR_LIMIT, Problem, check
from af_kit.errors import FitError, InputError

Data = Mapping[str, Binned | Unbinned]


@dataclass(frozen=True)
class Simultaneous(Parametrised):
    """Categories with a model each; parameters of the same name are one parameter."""

    models: Mapping[str, Model]

    def __post_init__(self) -> None:
        if not self.models:
            raise InputError("A simultaneous fit needs at least one category.")

    @cached_property
    def parameters(self) -> tuple[str, ...]:
        """All parameters: strengths first, then category by category."""
        strengths = [part.strength for model in self.models.values() for part in model.components if part.strength]
        return tuple(
            dict.fromkeys([*strengths, *(name for model in self.models.values() for name in model.parameters)])
        )

    def values_of(self, category: str, values: Mapping[str, float]) -> list[float]:
        """Return the values of one category's parameters, in the order of its model."""
        return [float(values[name]) for name in self.models[category].parameters]


@dataclass(frozen=True, eq=False, repr=False)
class SimultaneousFit(Fitted):
    """A valid fit of several categories.

    Attributes
    ----------
    model
        The categories.
    values, free, covariance, minos, limits, start
        As in :class:`~af_kit.analysis.fit.result.FitResult`.
    exclude
        The range that was left out, or None.
    minimum
        Binned: likelihood ratio to the saturated model. Unbinned: minus twice the logarithm of the likelihood ratio to
        a uniform density.
    goodness
        Tests of all categories together (binned fits).
    by_category
        The tests of each category.
    """

    model: Simultaneous
    values: Mapping[str, float]
    free: tuple[str, ...]
    covariance: np.ndarray
    minos: Mapping[str, tuple[float, float]]
    limits: Mapping[str, tuple[float, float]]
    start: Mapping[str, float]
    exclude: tuple[float, float] | None
    minimum: float
    edm: float
    calls: int
    goodness: tuple[Goodness, ...]
    by_category: Mapping[str, tuple[Goodness, ...]]

    def ordered(self, category: str) -> list[float]:
        """Return the values of one category's parameters, in the order of its model."""
        return self.model.values_of(category, self.values)

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, for JSON."""
        return {
            "valid": True,
            "categories": {
                name: {
                    "range": list(model.window),
                    "components": components_to_list(model),
                    "goodness": [test._asdict() for test in self.by_category[name]],
                }
                for name, model in self.model.models.items()
            },
            "exclude": None if self.exclude is None else list(self.exclude),
            "values": dict(self.values),
            "errors": self.errors,
            "minos": {name: list(pair) for name, pair in self.minos.items()},
            "free": list(self.free),
            "covariance": self.covariance.tolist(),
            "start": dict(self.start),
            "minimum": self.minimum,
            "edm": self.edm,
            "calls": self.calls,
            "goodness": [test._asdict() for test in self.goodness],
        }

    def _summary(self) -> str:
        tests = "; ".join(map(str, self.goodness))
        return f"valid fit of {', '.join(self.model.models)}{f'; {tests}' if tests else ''}"


def fit_simultaneous(
    model: Simultaneous,
    data: Data,
    *,
    start: Mapping[str, float],
    limits: Limits | None = None,
    fixed: Mapping[str, float] | None = None,
    minos: bool | Collection[str] = False,
    exclude: tuple[float, float] | None = None,
    max_calls: int | None = None,
) -> SimultaneousFit:
    """Fit all categories to their data, with an extended likelihood.

    The density must be positive everywhere. It may fall below zero for a negative strength: the likelihood then rises
    steeply, and a fit is not valid if its density is not positive, or if it would not be within half an error of a
    strength (as for any limit, :mod:`af_kit.analysis.fit.validity`).

    Parameters
    ----------
    data
        For each category a histogram (:class:`Binned`; with or without weights) or values without weights
        (:class:`Unbinned`).
    start, limits, fixed, minos, max_calls
        As for :func:`~af_kit.analysis.fit.minimise.fit`.
    exclude
        A range that is left out, from bin edge to bin edge (histograms only). Yields are still of the whole range.

    Raises
    ------
    FitError
        If the fit is not valid, as for :func:`~af_kit.analysis.fit.minimise.fit`.
    """
    terms = category_costs(model, data, exclude)
    first, steps = _each_alone(terms, {**start, **(fixed or {})}, limits or {}, fixed or {})
    cost = Cost(model.parameters, terms.values())
    minuit = prepare(cost, model, start=first, limits=limits, fixed=fixed)
    for name, step in steps.items():
        minuit.errors[name] = step
    minimise(minuit, max_calls)
    values = dict(zip(minuit.parameters, map(float, minuit.values), strict=True))
    check(minuit, list(_not_positive(model, values, minuit)))
    asymmetric = minos_errors(minuit, minos)
    _check_intervals(model, values, asymmetric)
    free = free_parameters(minuit)
    minimum = float(minuit.fval)
    by_category = {name: tuple(term.goodness(model.values_of(name, values), set(free))) for name, term in terms.items()}
    return SimultaneousFit(
        model=model,
        values=values,
        free=free,
        covariance=free_covariance(minuit),
        minos=asymmetric,
        limits={name: tuple(minuit.limits[name]) for name in free},
        start={name: float(start[name]) for name in free},
        exclude=exclude,
        minimum=minimum,
        edm=float(minuit.fmin.edm),
        calls=int(minuit.nfcn),
        goodness=tuple(_together(by_category, model, free)),
        by_category=by_category,
    )


def _each_alone(
    terms: Mapping[str, CategoryCost], start: Mapping[str, float], limits: Limits, fixed: Mapping[str, float]
) -> tuple[dict[str, float], dict[str, float]]:
    """Fit each category with the common parameters fixed: better starting values, and errors as first steps.

    From such a start, Minuit finds the minimum and covariance of many parameters reliably.
    """
    counts = Counter(name for term in terms.values() for name in term.model.parameters)
    values, errors = dict(start), dict[str, float]()
    for term in terms.values() if len(terms) > 1 else ():
        names = term.model.parameters
        held = {name: values[name] for name in names if name in fixed or counts[name] > 1}
        if len(held) == len(names):
            continue
        own = {name: limits[name] for name in names if name in limits}
        minuit = prepare(term.value, term.model, start={name: values[name] for name in names}, limits=own, fixed=held)
        minuit.errordef = Cost.errordef
        minuit.migrad()
        minuit.hesse()
        if minuit.valid:
            values |= {name: float(minuit.values[name]) for name in names}
            errors |= {name: float(minuit.errors[name]) for name in names if name not in held}
    return values, {name: error for name, error in errors.items() if np.isfinite(error) and error > 0}


def _together(
    by_category: Mapping[str, Sequence[Goodness]], model: Simultaneous, free: Collection[str]
) -> Iterator[Goodness]:
    """Yield the tests that all categories have, added up; a common parameter counts once."""
    counted = sum(sum(name in free for name in own.parameters) for own in model.models.values())
    for method in ("saturated", "pearson"):
        tests = [test for own in by_category.values() for test in own if test.method == method]
        if len(tests) == len(by_category):
            ndof = sum(test.ndof for test in tests) + counted - len(free)
            yield goodness_of(method, sum(test.statistic for test in tests), ndof)


def category_costs(
    model: Simultaneous, data: Data, exclude: tuple[float, float] | None = None
) -> dict[str, CategoryCost]:
    """Return minus twice the logarithm of the likelihood of each category."""
    if missing := [name for name in model.models if name not in data]:
        raise InputError(f"There are no data for the categories {', '.join(missing)}.")
    return {name: CategoryCost(own, data[name], exclude=exclude, name=name) for name, own in model.models.items()}


def strength_bounds(model: Simultaneous, values: Mapping[str, float]) -> dict[str, tuple[float, str]]:
    """Return for each strength the value below which the density of a category is negative, and that category.

    All other parameters keep their values.
    """
    bounds: dict[str, tuple[float, str]] = {}
    for category, own in model.models.items():
        x = np.linspace(*own.window, 401)
        parts = own.densities(x, *model.values_of(category, values))
        total = np.sum(list(parts.values()), axis=0)
        for name in dict.fromkeys(part.strength for part in own.components if part.strength):
            one = own.densities(x, *model.values_of(category, {**values, name: 1.0}))
            unit = np.sum([one[part.name] for part in own.components if part.strength == name], axis=0)
            seen = unit > 1e-9 * unit.max(initial=0)
            if not seen.any():
                continue
            bound = float(values[name] - np.min(total[seen] / unit[seen]))
            if name not in bounds or bound > bounds[name][0]:
                bounds[name] = (bound, category)
    return bounds


def _not_positive(model: Simultaneous, values: Mapping[str, float], minuit: Any) -> Iterator[Problem]:
    if not np.isfinite(list(values.values())).all():
        return
    advice = "Use another background family, or wider bins of categories with more events."
    for category, own in model.models.items():
        x = np.linspace(*own.window, 401)
        density = own.density(x, *model.values_of(category, values))
        if not density.min() > 1e-6 * density.mean():
            yield Problem(f"the density of {category} is not positive at {x[density.argmin()]:.4g}", advice)
    for name, (bound, category) in strength_bounds(model, values).items():
        if not minuit.fixed[name] and values[name] - bound < NEAR_LIMIT * minuit.errors[name]:
            yield Problem(
                f"{name} = {values[name]:.4g} +- {minuit.errors[name]:.2g} is within half its error of "
                f"{bound:.4g}, below which the density of {category} is negative",
                f"Merge {category} with another category, or leave it out.",
            )


def _check_intervals(
    model: Simultaneous, values: Mapping[str, float], intervals: Mapping[str, tuple[float, float]]
) -> None:
    for name, (bound, category) in strength_bounds(model, values).items():
        if name in intervals and values[name] + intervals[name][0] < bound:
            reason = f"the interval of {name} reaches {bound:.4g}, where the density of {category} is negative"
            raise FitError(
                f"Minos found no interval for {name} = {values[name]:.6g}: {reason}. Merge {category} with another "
                "category, or leave it out.",
                reasons=[reason],
                at_limit=[name],
            )
