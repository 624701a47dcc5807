"""Fit a model to data: extended likelihood, binned or unbinned, by Minuit."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any, Protocol

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
    """Fit a model to the data in its range.

    For binned data, the model is integrated over each bin. Weighted data are fitted with a scaled Poisson likelihood
    (binned), or with a weighted likelihood whose covariance is corrected for the weights (unbinned).

    Parameters
    ----------
    start, limits
        Starting value of each parameter, and its lower and upper limit (None: no limit).
    fixed
        Values of parameters that are not fitted.
    minos
        Find asymmetric errors of all free parameters (True) or of those named. Not possible for weighted unbinned data,
        for which the shape of the likelihood does not determine the errors.
    max_calls
        Largest number of calls of the likelihood in each try; None: Minuit's default.

    Returns
    -------
    FitResult
        The valid fit.

    Raises
    ------
    FitError
        If the fit is not valid after a second try, which continues from the first with Minuit's slowest strategy, and a
        third from the starting values with Simplex first; or if Minos finds no interval.

    Examples
    --------
    >>> import numpy as np
    >>> from af_kit.analysis.fit import Component, Model, as_data, fit
    >>> mass = np.random.default_rng(1).normal(91.0, 2.5, 1000)
    >>> model = Model((Component("Z", "gauss", ("mean", "width")),), window=(80.0, 100.0))
    >>> result = fit(model, as_data(mass), start={"n_Z": 900, "mean": 90, "width": 2})
    >>> round(result.values["mean"], 1), round(result.errors["mean"], 2)
    (90.9, 0.08)
    """
    data = data.inside(*model.window)
    if not data.total > 0:
        raise FitError(
            f"There is nothing to fit between {model.window[0]:g} and {model.window[1]:g}.", reasons=["no events"]
        )
    if minos and isinstance(data, Unbinned) and data.weighted:
        raise InputError("Minos has no meaning for weighted unbinned data: use minos=False, or fit in bins.")
    function = cost(model, data)
    minuit = prepare(function, model, start={**start, **(fixed or {})}, limits=limits, fixed=fixed)
    minimise(minuit, max_calls)
    check(minuit)
    asymmetric = minos_errors(minuit, minos)
    free = free_parameters(minuit)
    values = list(minuit.values)
    covariance = free_covariance(minuit)
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
    """Find starting values by fitting some parameters in some windows, with all others fixed.

    The fit need not be valid, because its result is only a start.

    Returns
    -------
    dict
        ``start``, with the fitted values of ``free``.
    """
    data = data.inside(*model.window)
    centres = (data.edges[1:] + data.edges[:-1]) / 2
    mask = np.any([(low <= centres) & (centres < high) for low, high in windows], axis=0)
    if not data.counts[mask].any():
        return dict(start)
    fixed = {name: start[name] for name in model.parameters if name not in free}
    function = cost(model, data)
    function.mask = mask
    minuit = prepare(function, model, start=start, limits=limits, fixed=fixed)
    minuit.strategy = 0
    minuit.migrad(iterate=1)
    fitted = {name: minuit.values[name] for name in free}
    return {**start, **{name: value for name, value in fitted.items() if np.isfinite(value)}}


def cost(model: Model, data: Binned | Unbinned) -> Any:
    """Return minus twice the logarithm of the extended likelihood, as a cost function for Minuit."""
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
    r"""Correct the covariance of a weighted unbinned likelihood, :math:`H^{-1}`, for the weights.

    The result is :math:`H^{-1} D H^{-1}`. :math:`D = \sum_i w_i^2 g_i g_i^T` is the variance of the gradient of the
    likelihood, with :math:`g_i` the gradient of the logarithm of the density at event i. If all weights are 1, it is
    equal to :math:`H^{-1}` up to fluctuations. Derivatives are finite differences over a hundredth of the errors.
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


def minimise(minuit: Any, max_calls: int | None = None) -> None:
    """Minimise in up to three tries, until the fit is valid."""
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


class HasParameters(Protocol):
    """A model, or several: names of parameters, and values in their order."""

    @property
    def parameters(self) -> tuple[str, ...]:
        """Names of all parameters."""

    def ordered(self, values: Mapping[str, float]) -> list[float]:
        """Return values in the order of the parameters."""

    def check_names(self, names: Mapping[str, Any] | Sequence[str]) -> None:
        """Raise an InputError for an unknown name."""


def prepare(
    function: Any,
    model: HasParameters,
    *,
    start: Mapping[str, float],
    limits: Limits | None = None,
    fixed: Mapping[str, float] | None = None,
) -> Any:
    """Return a Minuit object for a cost function, with starting values, limits and fixed parameters set."""
    from iminuit import Minuit

    limits, fixed = limits or {}, fixed or {}
    for names in (start, limits, fixed):
        model.check_names(names)
    minuit = Minuit(function, *model.ordered(start), name=model.parameters)
    if not hasattr(function, "errordef"):
        minuit.errordef = Minuit.LEAST_SQUARES  # minus twice a logarithm rises by 1 at one standard deviation
    for name in model.parameters:
        if name in fixed:
            minuit.fixed[name] = True
        elif name in limits:
            low, high = (np.inf * sign if end is None else end for sign, end in zip((-1, 1), limits[name], strict=True))
            if not low < minuit.values[name] < high:
                # At a limit, the gradient with respect to Minuit's internal parameter is zero.
                ends = [end for end in (low, high) if np.isfinite(end)]
                inner = sum(ends) / len(ends) if len(ends) == 2 else ends[0] + (1 if ends[0] == low else -1)
                minuit.values[name] = inner
            minuit.limits[name] = (low, high)
        value = abs(minuit.values[name])
        minuit.errors[name] = max(np.sqrt(value), 1.0) if name.startswith("n_") else max(0.01 * value, 1e-4)
    return minuit


def free_parameters(minuit: Any) -> tuple[str, ...]:
    """Return the names of the parameters that are not fixed."""
    return tuple(name for name in minuit.parameters if not minuit.fixed[name])


def free_covariance(minuit: Any) -> np.ndarray:
    """Return the covariance of the free parameters."""
    free = [minuit.parameters.index(name) for name in free_parameters(minuit)]
    covariance: np.ndarray = np.asarray(minuit.covariance)[np.ix_(free, free)]
    return covariance


def minos_errors(minuit: Any, requested: bool | Collection[str]) -> dict[str, tuple[float, float]]:
    """Return the asymmetric errors of all free parameters (True) or of those named; a FitError if there is none."""
    free = free_parameters(minuit)
    names = free if requested is True else [name for name in free if requested and name in requested]
    intervals = {}
    for name in names:
        minuit.minos(name)
        error = minuit.merrors[name]
        # Minos reports an interval that ends at a limit as valid, although the likelihood has not risen enough.
        if not error.is_valid or error.at_lower_limit or error.at_upper_limit:
            reason = _minos_problem(error)
            raise FitError(
                f"Minos found no interval for {name} = {minuit.values[name]:.6g}: {reason}. "
                f"The data may not constrain {name}: fix it, widen its limits, or use the parabolic error "
                "(minos=False).",
                reasons=[f"no Minos interval for {name}: {reason}"],
                at_limit=[name] if "limit" in reason else [],
            )
        intervals[name] = (float(error.lower), float(error.upper))
    return intervals


def _minos_problem(error: Any) -> str:
    if error.at_lower_limit or error.at_upper_limit:
        return f"it reached the {'lower' if error.at_lower_limit else 'upper'} limit of the parameter"
    if np.isfinite(error.lower_new_min) or np.isfinite(error.upper_new_min):
        return "it found a lower minimum"
    return "it reached the call limit" if error.at_lower_max_fcn or error.at_upper_max_fcn else "it did not converge"
