"""Check whether a fit is valid; if not, say why, which parameters are at a limit, and what to do."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from af_kit.errors import FitError

# A parameter is at a limit if the distance is less than this fraction of its error.
NEAR_LIMIT = 0.5

# If an eigenvalue of the correlation matrix is smaller, a combination of the parameters is dominated by rounding.
MIN_EIGENVALUE = 1e-4


class Problem(NamedTuple):
    """A problem of a fit, and what to do about it."""

    reason: str
    advice: str


def check(minuit: Any, more: Sequence[Problem] = ()) -> None:
    """Raise a :class:`~af_kit.errors.FitError` unless the minimum and its covariance are valid.

    Parameters
    ----------
    minuit : iminuit.Minuit
        After ``migrad`` and ``hesse``.
    more
        Problems of the model at the minimum that Minuit does not know.
    """
    found = [*more, *problems(minuit)]
    if not found:
        return
    advice = dict.fromkeys(problem.advice for problem in found)
    raise FitError(
        f"The fit is not valid: {'; '.join(problem.reason for problem in found)}. {' '.join(advice)}",
        reasons=[problem.reason for problem in found],
        at_limit=[name for name, _ in at_limits(minuit)],
        status=status(minuit),
    )


def problems(minuit: Any) -> list[Problem]:
    """Return all problems, the most informative first; empty for a valid fit."""
    minimum = minuit.fmin
    if minimum is None:
        return [Problem("nothing was minimised", "Call migrad first.")]
    found = [_at_limit(minuit, name, side) for name, side in at_limits(minuit)]
    not_finite = [name for name in _free(minuit) if not np.isfinite([minuit.values[name], minuit.errors[name]]).all()]
    if not_finite or not np.isfinite(minimum.fval):
        found.append(
            Problem(
                f"the likelihood is NaN or infinite at the minimum ({', '.join(not_finite) or 'its value'})",
                "Check the starting values and limits: the model is undefined for some values within the limits.",
            )
        )
    if minimum.has_reached_call_limit:
        found.append(
            Problem(
                f"the call limit was reached ({minimum.nfcn} calls)",
                "Start closer to the minimum, or increase max_calls.",
            )
        )
    if minimum.is_above_max_edm or not minimum.is_valid:
        found.append(
            Problem(
                f"the minimum was not reached (estimated distance {minimum.edm:.2g}, goal {minimum.edm_goal:.2g})",
                "Start closer to the minimum, or fix parameters that the data do not constrain.",
            )
        )
    found += _covariance(minuit)
    return found


def _covariance(minuit: Any) -> list[Problem]:
    minimum = minuit.fmin
    advice = "Two parameters may be degenerate, or the data may not constrain one: fix it, or take it from simulation."
    if minimum.hesse_failed or not minimum.has_covariance:
        return [Problem("Hesse found no covariance", advice)]
    if minimum.has_made_posdef_covar or not minimum.has_posdef_covar:
        return [Problem("the covariance is not positive definite, or was forced to be", advice)]
    if not minimum.has_accurate_covar:
        return [Problem("the covariance is not accurate", advice)]
    covariance = np.asarray(minuit.covariance)
    free = [minuit.parameters.index(name) for name in _free(minuit)]
    if not np.isfinite(covariance).all() or np.any(np.diag(covariance)[free] <= 0):
        return [Problem("the covariance has variances that are not positive and finite", advice)]
    return _degenerate(covariance[np.ix_(free, free)], _free(minuit), advice)


def _degenerate(covariance: np.ndarray, names: list[str], advice: str) -> list[Problem]:
    """Find degenerate parameters; because of rounding, Minuit can call their covariance accurate."""
    errors = np.sqrt(np.diag(covariance))
    correlation = covariance / np.outer(errors, errors)
    if np.linalg.eigvalsh(correlation)[0] > MIN_EIGENVALUE:
        return []
    pairs = np.abs(correlation - np.eye(len(names)))
    one, other = sorted(np.unravel_index(pairs.argmax(), pairs.shape))
    reason = f"{names[one]} and {names[other]} cannot be distinguished (correlation {correlation[one, other]:.6f})"
    return [Problem(reason, advice)]


def at_limits(minuit: Any) -> list[tuple[str, str]]:
    """Return the free parameters at a limit, each with "lower" or "upper"."""
    at_limit = []
    for name in _free(minuit):
        value, error, (low, high) = minuit.values[name], minuit.errors[name], minuit.limits[name]
        for side, distance in (("lower", value - low), ("upper", high - value)):
            if distance < NEAR_LIMIT * error or distance <= 1e-6 * abs(
                high - low if np.isfinite(high - low) else value
            ):
                at_limit.append((name, side))
                break
    return at_limit


def _at_limit(minuit: Any, name: str, side: str) -> Problem:
    low, high = minuit.limits[name]
    limit = low if side == "lower" else high
    value = f"{minuit.values[name]:.6g} +- {minuit.errors[name]:.2g}"
    is_at = abs(minuit.values[name] - limit) < 0.1 * minuit.errors[name]
    where = f"is at its {side} limit {limit:g}" if is_at else f"has its {side} limit {limit:g} within half its error"
    if name.startswith("n_") and limit == 0:
        advice = f"There may be no such signal ({name}): remove its component, or use more data."
    else:
        advice = f"Widen the limits of {name} if physics allows, or fix it."
    return Problem(f"{name} = {value} {where}", advice)


def status(minuit: Any) -> int:
    """Return the status of Minuit2; see :class:`~af_kit.errors.FitError`."""
    minimum = minuit.fmin
    for number, is_set in (
        (4, minimum.has_reached_call_limit),
        (3, minimum.is_above_max_edm),
        (2, minimum.hesse_failed),
        (1, minimum.has_made_posdef_covar),
    ):
        if is_set:
            return number
    return 0 if minimum.is_valid else 5


def _free(minuit: Any) -> list[str]:
    return [name for name in minuit.parameters if not minuit.fixed[name]]
