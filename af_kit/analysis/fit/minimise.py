"""Fit a model to data: extended likelihood, binned or unbinned, by Minuit."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np

from af_kit.analysis.fit import goodness
from af_kit.analysis.fit.data import Binned, Unbinned
from af_kit.analysis.fit.model import Model
from af_kit.analysis.fit.result import FitResult
from af_kit.analysis.fit.validity import check, problems
from af_kit.errors import FitError, InputError

Limits = Mapping[str, tuple[float | None, float | None]]


def fit(
    model: Model,
    data: Binned | Unbinned,
    *,
    start: Mapping[str, float],
    limits: Limits | None = None,
    fixed: Mapping[str, float] | None = None,
    minos: bool | Collection[str] = False,
    max_calls: int | None = None,
) -> FitResult:
    """Fit a model to what of the data lies in its range.

    Binned data enter by the integral of the model over each bin. Weighted ones by sums of weights and of their squares:
    in bins a scaled Poisson likelihood, unbinned a weighted likelihood whose covariance is corrected for the weights.

    Parameters
    ----------
    start, limits
        Where each parameter starts, and between which numbers it may go (None: without end).
    fixed
        Parameters that stay at a value.
    minos
        Whether to find asymmetric errors, of all free parameters or of some. Not for weighted unbinned data, where the
        likelihood's shape does not give errors.
    max_calls
        Calls of the likelihood, of each try, after which to give up; None: Minuit's own number.

    Returns
    -------
    FitResult
        Of a valid fit, always.

    Raises
    ------
    FitError
        If the fit is not valid, also not after a second try from where the first ended, and a third from the start
        with Minuit's slowest strategy; or where Minos found no interval.
    """
    data = data.inside(*model.window)
    if not data.total > 0:
        raise FitError(
            f"There is nothing to fit between {model.window[0]:g} and {model.window[1]:g}.", reasons=["no events"]
        )
    if minos and isinstance(data, Unbinned) and data.weighted:
        raise InputError("Minos has no meaning for weighted unbinned data: fit without it, or in bins.")
    minuit = _minimise(model, data, {**start, **(fixed or {})}, limits or {}, fixed or {}, max_calls)
    check(minuit)
    asymmetric = _minos(minuit, minos)
    free = tuple(name for name in minuit.parameters if not minuit.fixed[name])
    values = list(minuit.values)
    covariance = np.array([[minuit.covariance[a, b] for b in free] for a in free])
    if isinstance(data, Unbinned) and data.weighted:
        covariance = corrected(model, data, dict(zip(minuit.parameters, values, strict=True)), free, covariance)
    return FitResult(
        model=model,
        kind=data.kind,
        values=dict(zip(minuit.parameters, values, strict=True)),
        free=free,
        covariance=covariance,
        minos=asymmetric,
        limits={name: tuple(minuit.limits[name]) for name in free},
        start={name: float(start[name]) for name in free},
        entries=len(data.values) if isinstance(data, Unbinned) else None if data.weighted else int(data.total),
        total=data.total,
        weighted=data.weighted,
        bins=len(data.counts) if isinstance(data, Binned) else None,
        minimum=float(minuit.fval),
        edm=float(minuit.fmin.edm),
        calls=int(minuit.nfcn),
        goodness=tuple(goodness.tests(model, data, values, len(free), float(minuit.fval))),
    )


def prefit(
    model: Model,
    data: Binned,
    *,
    start: Mapping[str, float],
    free: Sequence[str],
    windows: Sequence[tuple[float, float]],
    limits: Limits | None = None,
) -> dict[str, float]:
    """Starting values: some parameters fitted in some windows, with all others where they are.

    Nothing is demanded of this fit: what it finds is only where the real one starts.

    Returns
    -------
    dict
        ``start``, with the values found for ``free``.
    """
    data = data.inside(*model.window)
    centres = (data.edges[1:] + data.edges[:-1]) / 2
    mask = np.any([(low <= centres) & (centres < high) for low, high in windows], axis=0)
    if not data.counts[mask].any():
        return dict(start)
    held = {name: start[name] for name in model.parameters if name not in free}
    minuit = _minuit(model, data, start, limits or {}, held, mask)
    minuit.strategy = 0
    minuit.migrad(iterate=1)
    found = {name: minuit.values[name] for name in free}
    return {**start, **{name: value for name, value in found.items() if np.isfinite(value)}}


def cost(model: Model, data: Binned | Unbinned) -> Any:
    """Twice the negative logarithm of the extended likelihood, as one of iminuit's cost functions or in their form."""
    from iminuit.cost import ExtendedBinnedNLL, ExtendedUnbinnedNLL

    if isinstance(data, Binned):
        counts = data.counts if data.variances is None else np.column_stack([data.counts, data.variances])
        return ExtendedBinnedNLL(counts, data.edges, model.integral, name=model.parameters)
    if data.weights is None:

        def density(x: np.ndarray, *values: float) -> tuple[float, np.ndarray]:
            return model.total(*values), model.density(x, *values)

        return ExtendedUnbinnedNLL(data.values, density, name=model.parameters)
    values, weights = data.values, data.weights

    def weighted(*parameters: float) -> float:
        density = model.density(values, *parameters)
        return float(2 * (model.total(*parameters) - np.sum(weights * np.log(np.maximum(density, 1e-300)))))

    return weighted


def corrected(
    model: Model, data: Unbinned, values: Mapping[str, float], free: Sequence[str], covariance: np.ndarray
) -> np.ndarray:
    r"""The covariance of a weighted unbinned fit, from that of its likelihood, :math:`H^{-1}`.

    It is :math:`H^{-1} D H^{-1}` with :math:`D = \sum_i w_i^2 g_i g_i^T`, :math:`g_i` the gradient of the logarithm of
    the density at event i: the variance of the likelihood's own gradient. With weights of one this is
    :math:`H^{-1}` again, up to fluctuations. Derivatives are differences over a hundredth of the errors.
    """
    assert data.weights is not None
    steps = 0.01 * np.sqrt(np.diag(covariance))
    gradient = np.empty((len(free), len(data.values)))
    for i, (name, step) in enumerate(zip(free, steps, strict=True)):
        up, down = (
            np.log(model.density(data.values, *model.ordered({**values, name: values[name] + sign * step})))
            for sign in (1, -1)
        )
        gradient[i] = (up - down) / (2 * step)
    spread = (gradient * data.weights**2) @ gradient.T
    return np.asarray(covariance @ spread @ covariance)


def _minimise(
    model: Model,
    data: Binned | Unbinned,
    start: Mapping[str, float],
    limits: Limits,
    fixed: Mapping[str, float],
    max_calls: int | None,
) -> Any:
    """The best of at most three tries."""
    minuit = _minuit(model, data, start, limits, fixed)
    for number in range(3):
        if number:
            minuit.strategy = 2
        if number == 2:
            minuit.reset()
            minuit.simplex(ncall=max_calls)
        minuit.migrad(ncall=max_calls)
        if not minuit.fmin.has_reached_call_limit:
            minuit.hesse()
        if not problems(minuit):
            break
    return minuit


def _minuit(
    model: Model,
    data: Binned | Unbinned,
    start: Mapping[str, float],
    limits: Limits,
    fixed: Mapping[str, float],
    mask: np.ndarray | None = None,
) -> Any:
    from iminuit import Minuit

    for names in (start, limits, fixed):
        model.check_names(names)
    function = cost(model, data)
    if mask is not None:
        function.mask = mask
    minuit = Minuit(function, *model.ordered(start), name=model.parameters)
    if not hasattr(function, "errordef"):
        minuit.errordef = Minuit.LEAST_SQUARES  # twice a logarithm: at one standard deviation it is higher by one
    for name in model.parameters:
        if name in fixed:
            minuit.fixed[name] = True
        elif name in limits:
            low, high = (np.inf * sign if end is None else end for sign, end in zip((-1, 1), limits[name], strict=True))
            if not low < minuit.values[name] < high:
                # A start at a limit has no gradient there.
                ends = [end for end in (low, high) if np.isfinite(end)]
                inner = sum(ends) / len(ends) if len(ends) == 2 else ends[0] + (1 if ends[0] == low else -1)
                minuit.values[name] = inner
            minuit.limits[name] = (low, high)
        value = abs(minuit.values[name])
        minuit.errors[name] = max(np.sqrt(value), 1.0) if name.startswith("n_") else max(0.01 * value, 1e-4)
    return minuit


def _minos(minuit: Any, wanted: bool | Collection[str]) -> dict[str, tuple[float, float]]:
    free = [name for name in minuit.parameters if not minuit.fixed[name]]
    names = free if wanted is True else [name for name in free if wanted and name in wanted]
    found = {}
    for name in names:
        minuit.minos(name)
        error = minuit.merrors[name]
        # One that stopped at a limit calls itself valid, although the likelihood has not risen enough there.
        if not error.is_valid or error.at_lower_limit or error.at_upper_limit:
            why = _why_not(error)
            raise FitError(
                f"Minos found no interval for {name} = {minuit.values[name]:.6g}: {why}. "
                f"The data may not tell {name}: fix it, widen its limits, or use the parabolic error (minos=False).",
                reasons=[f"no Minos interval for {name}: {why}"],
                at_limit=[name] if "limit" in why else [],
            )
        found[name] = (float(error.lower), float(error.upper))
    return found


def _why_not(error: Any) -> str:
    if error.at_lower_limit or error.at_upper_limit:
        return f"the {'lower' if error.at_lower_limit else 'upper'} limit came first"
    if np.isfinite(error.lower_new_min) or np.isfinite(error.upper_new_min):
        return "it met a lower minimum on its way"
    return "the limit of calls was reached" if error.at_lower_max_fcn or error.at_upper_max_fcn else "it did not close"
