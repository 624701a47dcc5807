"""Minimise the likelihood of a template model, and judge the minimum."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from af_kit.analysis.fit.validity import NEAR_LIMIT, Problem
from af_kit.analysis.templates.likelihood import Data, Likelihood
from af_kit.errors import FitError

__all__ = ["Minimum", "conditional", "follow", "minimise", "problems"]

Floats = NDArray[np.float64]

# Goal for the estimated distance to the minimum of -2 log L. Limits and significances are differences of minima, so it
# is stricter than Minuit's 0.0002.
EDM = 1e-6

_STEPS = 60

# The information, scaled to a unit diagonal, has no smaller eigenvalue. A parameter that another one can replace within
# a thousandth of its error has an eigenvalue of 1e-6.
_MARGIN = 1e-7
_DEGENERATE = (
    "Two parameters may be degenerate, or the data may not constrain one: fix it, or leave it out of the model."
)


@dataclass(frozen=True, eq=False)
class Minimum:
    """A minimum: parameters, which of them were varied, value, second derivatives, estimated distance, calls."""

    parameters: Floats
    varied: NDArray[np.bool_]
    value: float
    hessian: Floats
    edm: float
    calls: int

    @property
    def covariance(self) -> Floats:
        """The covariance of all parameters; zero for those that were not varied."""
        covariance = np.zeros((self.parameters.size, self.parameters.size))
        rows = np.ix_(self.varied, self.varied)
        covariance[rows] = 2 * np.linalg.inv(self.hessian[rows])
        return covariance


def minimise(likelihood: Likelihood, data: Data, *, start: Floats, varied: NDArray[np.bool_]) -> Minimum:
    """Find the minimum with Minuit's Migrad and the exact gradient, then with Newton's steps.

    The covariance is the inverse of the exact second derivatives: Minuit's Hesse would need thousands of calls for a
    hundred parameters, and is less accurate.

    Raises
    ------
    FitError
        The minimum is not valid after three tries: from the start, from where that ended, and from a start without
        signal.
    """
    without = start.copy()
    without[likelihood.poi] = np.clip(0.0, *likelihood.limits[likelihood.poi])
    found: list[Problem] = []
    minimum: Minimum | None = None
    for number in range(3):
        begin = start if number == 0 else without if number == 2 or minimum is None else minimum.parameters
        minimum = _try(likelihood, data, begin, varied)
        found = problems(likelihood, minimum)
        if not found:
            return minimum
    assert minimum is not None
    raise _error(likelihood, minimum, found)


def conditional(
    likelihood: Likelihood, data: Data, *, near: Floats, varied: NDArray[np.bool_], hessian: Floats | None = None
) -> Minimum:
    """Find a minimum near known parameters, with those that are not varied where they are: Newton's steps, which need
    a few calls; `minimise` if they do not converge.

    Parameters
    ----------
    hessian
        Second derivatives near the minimum, such as those of the best fit. They save the time to evaluate them again
        (fifty times that of the function), and the minimum that is returned has them, so its errors are approximate.

    Raises
    ------
    FitError
        The minimum is not valid.
    """
    minimum = follow(likelihood, data, near, varied, hessian=hessian)
    if not problems(likelihood, minimum):
        return minimum
    return minimise(likelihood, data, start=near, varied=varied)


def follow(
    likelihood: Likelihood, data: Data, start: Floats, varied: NDArray[np.bool_], *, hessian: Floats | None = None
) -> Minimum:
    """Take Newton's steps until the estimated distance to the minimum is below `EDM`.

    Without ``hessian``, the second derivatives are those at the minimum. They are evaluated again wherever the steps
    do not reduce the distance threefold.
    """
    rows = np.flatnonzero(varied)
    point = _inside(likelihood, start, varied)
    value, gradient = likelihood.value_and_gradient(point, data)
    known, fresh, calls = hessian is not None, hessian is None, 1
    newton = _Newton(likelihood.hessian(point, data) if hessian is None else hessian, rows)
    before = edm = np.inf
    for _ in range(_STEPS):
        step, edm = newton.step(gradient[rows])
        if edm < (EDM if fresh else 0.01 * EDM) and (fresh or known):
            break
        if not fresh and (edm > 0.3 * before or (edm < EDM and not known)):
            newton, fresh, before = _Newton(likelihood.hessian(point, data), rows), True, np.inf
            continue
        before = edm
        length = _room(likelihood, point, step, rows)
        while True:
            trial = point.copy()
            trial[rows] += length * step
            trial_value, trial_gradient = likelihood.value_and_gradient(trial, data)
            calls += 1
            if trial_value <= value + 1e-9 * max(1.0, abs(value)) or length < 1e-4:
                break
            length /= 4
        if not np.isfinite(trial_value) or length < 1e-4:
            if fresh:
                break
            before = 0.0  # evaluate the second derivatives here
            continue
        point, value, gradient, fresh = trial, trial_value, trial_gradient, False
    return Minimum(point, varied.copy(), value, newton.hessian, float(edm), calls)


def problems(likelihood: Likelihood, minimum: Minimum) -> list[Problem]:
    """Return why a minimum is not valid; empty if it is."""
    names, rows = likelihood.names, np.flatnonzero(minimum.varied)
    if not (np.isfinite(minimum.value) and np.isfinite(minimum.parameters).all()):
        return [Problem("the likelihood is NaN or infinite at the minimum", "Check the templates and the limits.")]
    expected = likelihood.expected(minimum.parameters)
    if (expected <= 0).any():
        channel, number = _place(likelihood, int(np.argmin(expected)))
        strength = minimum.parameters[likelihood.poi]
        reason = f"bin {number} of channel {channel} expects {expected.min():.3g} events"
        return [
            Problem(
                f"{reason} at {likelihood.model.poi} = {strength:.3g}",
                "The data have fewer events there than the background alone: merge it with a neighbour.",
            )
        ]
    hessian = minimum.hessian[np.ix_(rows, rows)]
    diagonal = np.diag(hessian)
    if not (np.isfinite(hessian).all() and (diagonal > 0).all()):
        worst = rows[int(np.argmin(np.where(np.isfinite(diagonal), diagonal, -np.inf)))]
        return [Problem(f"the covariance is not positive definite ({names[worst]})", _DEGENERATE)]
    found = []
    scaled = hessian / np.sqrt(np.outer(diagonal, diagonal))
    try:
        # Positive definite with a margin: no eigenvalue of the scaled matrix is below it. Eigenvalues take longer.
        np.linalg.cholesky(scaled - _MARGIN * np.eye(rows.size))
    except np.linalg.LinAlgError:
        smallest, directions = np.linalg.eigh(scaled)
        first, second = np.argsort(-np.abs(directions[:, 0]))[:2] if rows.size > 1 else (0, 0)
        pair = f"{names[rows[first]]} and {names[rows[second]]}"
        kind = "is not positive definite" if smallest[0] <= 0 else "is dominated by rounding"
        return [Problem(f"the covariance {kind}: {pair} cannot be distinguished", _DEGENERATE)]
    if not minimum.edm < EDM:
        found.append(
            Problem(
                f"the minimum was not reached (estimated distance {minimum.edm:.2g}, goal {EDM:.2g})",
                "Start closer to the minimum, or leave out sources that the data do not constrain.",
            )
        )
    for name, side, limit in at_limits(likelihood, minimum):
        error = np.sqrt(minimum.covariance[likelihood.position(name), likelihood.position(name)])
        value = minimum.parameters[likelihood.position(name)]
        found.append(
            Problem(
                f"{name} = {value:.4g} +- {error:.2g} has its {side} limit {limit:g} within half its error",
                f"Widen the limits of {name} if physics allows, or use bins with more events.",
            )
        )
    return found


def at_limits(likelihood: Likelihood, minimum: Minimum) -> list[tuple[str, str, float]]:
    """Return the varied parameters that have a limit within half their error: name, side, limit."""
    errors = np.sqrt(np.diag(minimum.covariance))
    found = []
    for position in np.flatnonzero(minimum.varied):
        for side, limit in zip(("lower", "upper"), likelihood.limits[position], strict=True):
            if abs(minimum.parameters[position] - limit) < NEAR_LIMIT * errors[position]:
                found.append((likelihood.names[position], side, float(limit)))
    return found


def _error(likelihood: Likelihood, minimum: Minimum, found: list[Problem]) -> FitError:
    advice = dict.fromkeys(problem.advice for problem in found)
    # Without a covariance there are no errors to compare with the limits.
    has_limits = any("limit" in problem.reason for problem in found)
    limited = dict.fromkeys(name for name, _, _ in at_limits(likelihood, minimum)) if has_limits else ()
    is_undefined = any("covariance" in problem.reason for problem in found)
    return FitError(
        f"The fit is not valid: {'; '.join(problem.reason for problem in found)}. {' '.join(advice)}",
        reasons=[problem.reason for problem in found],
        at_limit=limited,
        status=2 if is_undefined else 0 if minimum.edm < EDM else 3,
    )


def _try(likelihood: Likelihood, data: Data, start: Floats, varied: NDArray[np.bool_]) -> Minimum:
    from iminuit import Minuit

    last: list[tuple[bytes, tuple[float, Floats]]] = [(b"", (np.nan, start))]

    def both(parameters: Floats) -> tuple[float, Floats]:
        key = np.asarray(parameters).tobytes()
        if last[0][0] != key:
            last[0] = key, likelihood.value_and_gradient(np.asarray(parameters), data)
        return last[0][1]

    minuit = Minuit(
        lambda parameters: both(parameters)[0],
        _inside(likelihood, start, varied),
        grad=lambda parameters: both(parameters)[1],
        name=likelihood.names,
    )
    minuit.errordef = Minuit.LEAST_SQUARES
    minuit.strategy = 0  # the others call Hesse, with thousands of calls; the exact derivatives decide below
    minuit.limits = [tuple(pair) for pair in likelihood.limits]
    minuit.fixed = list(~varied)
    minuit.errors = np.where(np.isfinite(likelihood.widths) & (likelihood.widths > 0), likelihood.widths, 0.5)
    minuit.migrad(iterate=2)
    end = np.asarray(minuit.values)
    minimum = follow(likelihood, data, end if np.isfinite(end).all() else start, varied)
    return Minimum(
        minimum.parameters,
        minimum.varied,
        minimum.value,
        minimum.hessian,
        minimum.edm,
        minimum.calls + int(minuit.nfcn) + int(minuit.ngrad),
    )


class _Newton:
    """The steps that some second derivatives give for any gradient."""

    def __init__(self, hessian: Floats, rows: NDArray[np.int64]) -> None:
        from scipy.linalg import LinAlgError, cho_factor

        self.hessian = hessian
        inner = hessian[np.ix_(rows, rows)]
        scale = np.sqrt(np.maximum(np.abs(np.diag(inner)), 1e-300))
        self._scale, scaled, shift = scale, inner / np.outer(scale, scale), 0.0
        while True:
            try:
                self._factor = cho_factor(scaled + shift * np.eye(rows.size), check_finite=False)
                break
            except LinAlgError:  # not convex here: a step that is more and more along the gradient
                shift = max(1e-3, 4 * shift)
                if shift > 1e6:
                    self._factor = np.eye(rows.size), False  # the derivatives are not numbers
                    break

    def step(self, gradient: Floats) -> tuple[Floats, float]:
        """Return the step to the minimum, and the distance in value: half the product of step and gradient."""
        from scipy.linalg import cho_solve

        step: Floats = -cho_solve(self._factor, gradient / self._scale, check_finite=False) / self._scale
        return step, float(-0.5 * gradient @ step)


def _room(likelihood: Likelihood, point: Floats, step: Floats, rows: NDArray[np.int64]) -> float:
    """Return the part of a step, at most 1, that stays within 90 % of the way to any limit."""
    low, high = likelihood.limits[rows].T
    with np.errstate(divide="ignore", invalid="ignore"):
        to_low = np.where(step < 0, (low - point[rows]) / step, np.inf)
        to_high = np.where(step > 0, (high - point[rows]) / step, np.inf)
    return float(min(1.0, 0.9 * np.min([to_low, to_high])))


def _inside(likelihood: Likelihood, start: Floats, varied: NDArray[np.bool_]) -> Floats:
    """Return parameters whose varied ones are not at a limit, where the gradient of Minuit's own parameter is zero."""
    point = start.copy()
    for position in np.flatnonzero(varied):
        low, high = likelihood.limits[position]
        gap = 0.01 * min(high - low, 1.0)
        point[position] = min(max(point[position], low + gap), high - gap)
    return point


def _place(likelihood: Likelihood, number: int) -> tuple[str, int]:
    """Return channel and bin of a number in `Data.main`."""
    for name, bins in likelihood.slices.items():
        if bins.start <= number < bins.stop:
            return name, number - bins.start
    raise IndexError(number)
