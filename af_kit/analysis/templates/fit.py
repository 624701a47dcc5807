"""Fit a template model: the signal strength, its uncertainties and their parts."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from af_kit.analysis.fit.result import Measured
from af_kit.analysis.templates.likelihood import Data, Likelihood, likelihood
from af_kit.analysis.templates.minimise import Minimum, conditional, minimise
from af_kit.analysis.templates.model import TemplateModel
from af_kit.display.tables import Markup, panel, table
from af_kit.errors import FitError, InputError

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Goodness", "TemplateFit", "fit", "interval"]

Floats = NDArray[np.float64]


class Goodness(NamedTuple):
    """The likelihood ratio to the saturated model, its degrees of freedom, and its asymptotic p-value."""

    statistic: float
    degrees: int
    p_value: float


@dataclass(frozen=True, eq=False, repr=False)
class TemplateFit:
    """A valid fit.

    Attributes
    ----------
    likelihood, data
        What was fitted.
    minimum
        Parameters, second derivatives, and the value of -2 log L relative to the saturated model.
    minos
        Parameter to lower (negative) and upper error, where the profile likelihood has risen by 1.
    """

    likelihood: Likelihood
    data: Data
    minimum: Minimum
    minos: Mapping[str, tuple[float, float]] = field(default_factory=dict)

    @property
    def names(self) -> tuple[str, ...]:
        """Names of all parameters."""
        return self.likelihood.names

    @property
    def parameters(self) -> Floats:
        """Values of all parameters."""
        return self.minimum.parameters

    @functools.cached_property
    def covariance(self) -> Floats:
        """Covariance of all parameters; zero for those that were not varied."""
        return self.minimum.covariance

    @property
    def errors(self) -> Floats:
        """Errors of all parameters."""
        return np.sqrt(np.diag(self.covariance))

    @property
    def strength(self) -> Measured:
        """The parameter of interest."""
        return self[self.likelihood.model.poi]

    def __getitem__(self, name: str) -> Measured:
        position = self.likelihood.position(name)
        low, high = self.minos.get(name, (None, None))
        return Measured(float(self.parameters[position]), float(self.errors[position]), low, high)

    @property
    def goodness(self) -> Goodness:
        """How well the best fit describes the data; asymptotic, so optimistic where bins have few events."""
        from scipy.stats import chi2

        unconstrained = self.minimum.varied & ~np.isfinite(self.likelihood.widths)
        degrees = self.data.main.size - int(unconstrained.sum())
        return Goodness(self.minimum.value, degrees, float(chi2.sf(self.minimum.value, degrees)) if degrees > 0 else 1)

    @property
    def correlation(self) -> pd.DataFrame:
        """Correlation of the varied parameters."""
        import pandas as pd

        rows = np.flatnonzero(self.minimum.varied)
        matrix = self.covariance[np.ix_(rows, rows)] / np.outer(self.errors[rows], self.errors[rows])
        names = [self.names[row] for row in rows]
        return pd.DataFrame(matrix, index=names, columns=names)

    @property
    def pulls(self) -> pd.DataFrame:
        """The constrained parameters: ``pull``, (fitted - nominal value) / uncertainty before the fit, and
        ``constraint``, uncertainty after the fit / before."""
        import pandas as pd

        rows = np.flatnonzero(self.minimum.varied & np.isfinite(self.likelihood.widths))
        widths = self.likelihood.widths[rows]
        return pd.DataFrame(
            {
                "pull": (self.parameters - self.likelihood.start)[rows] / widths,
                "constraint": self.errors[rows] / widths,
            },
            index=[self.names[row] for row in rows],
        )

    def error_without(self, names: Sequence[str]) -> float:
        """Return the error of the strength if some parameters were known exactly."""
        kept = self.minimum.varied.copy()
        kept[[self.likelihood.position(name) for name in names]] = False
        rows = np.flatnonzero(kept)
        covariance = 2 * np.linalg.inv(self.minimum.hessian[np.ix_(rows, rows)])
        position = int(np.flatnonzero(rows == self.likelihood.poi)[0])
        return float(np.sqrt(covariance[position, position]))

    def by_process(self) -> dict[str, dict[str, Floats]]:
        """Return the fitted events of each process in each channel."""
        whole = self.likelihood.by_process(self.parameters)
        return {
            channel: {name: values[bins] for name, values in whole.items()}
            for channel, bins in self.likelihood.slices.items()
        }

    def uncertainty(self) -> dict[str, Floats]:
        """Return the uncertainty of the fitted sum of all processes in each bin, by channel, with the covariance."""
        return spread(self.likelihood, self.parameters, self.covariance, self.minimum.varied)

    def _summary(self) -> str:
        goodness = self.goodness
        ratio = round(goodness.statistic, 1) + 0.0  # no -0.0
        return (
            f"valid fit: {self.likelihood.model.poi} = {self.strength}; likelihood ratio {ratio:.1f} for "
            f"{goodness.degrees} degrees of freedom, p = {goodness.p_value:.2g}"
        )

    def __repr__(self) -> str:
        return f"<TemplateFit: {self._summary()}>"

    def _repr_html_(self) -> str:
        return panel("TemplateFit", self._summary(), self.parameter_table())

    def parameter_table(self) -> Markup:
        """Return the varied parameters as an HTML table: the strength first, then as in the model."""
        poi, before, widths = self.likelihood.poi, self.likelihood.start, self.likelihood.widths
        varied = np.flatnonzero(self.minimum.varied)
        rows = []
        for row in (*varied[varied == poi], *varied[varied != poi]):
            name = self.names[row]
            pull, constraint = "", ""
            if np.isfinite(widths[row]):
                pull = f"{(self.parameters[row] - before[row]) / widths[row]:+.2f}"
                constraint = f"{self.errors[row] / widths[row]:.2f}"
            rows.append((name, *self[name].columns(), pull, constraint))
        head = ("parameter", "value", "error", "Minos", "pull", "constraint")
        return table(rows, head=head, numbers=range(1, 6))

    def to_dict(self) -> dict[str, Any]:
        """Return the fit as plain values."""
        rows = np.flatnonzero(self.minimum.varied)
        return {
            "valid": True,
            "minimum": self.minimum.value,
            "edm": self.minimum.edm,
            "calls": self.minimum.calls,
            "goodness": self.goodness._asdict(),
            "parameters": {
                self.names[row]: {
                    "value": float(self.parameters[row]),
                    "error": float(self.errors[row]),
                    "before": [float(self.likelihood.start[row]), _finite(self.likelihood.widths[row])],
                    **({"minos": list(self.minos[self.names[row]])} if self.names[row] in self.minos else {}),
                }
                for row in rows
            },
        }


def fit(
    model: TemplateModel | Likelihood,
    data: Data | None = None,
    *,
    fixed: Mapping[str, float] | None = None,
    start: Mapping[str, float] | None = None,
    minos: Sequence[str] | bool = True,
) -> TemplateFit:
    """Fit a model to its data, or to other data.

    Parameters
    ----------
    model
        A model, or its compiled likelihood (:func:`likelihood`).
    data
        Such as ``likelihood(model).asimov()``; None: the data in the model.
    fixed
        Values of parameters that are not fitted.
    start
        Starting values of others than the nominal ones.
    minos
        Parameters with asymmetric errors; True: the parameter of interest.

    Raises
    ------
    FitError
        The fit is not valid: it did not converge, parameters cannot be distinguished, one is at a limit, or a bin
        expects no event or fewer.

    Examples
    --------
    >>> import numpy as np
    >>> from af_kit.analysis.templates import Channel, FreeNorm, Process, TemplateModel, fit
    >>> signal = Process("signal", np.array([2.0, 20.0]), np.array([0.1, 1.0]), free=("mu",))
    >>> background = Process("background", np.array([100.0, 50.0]), np.array([1.0, 0.5]))
    >>> channel = Channel("sr", np.array([0.0, 1.0, 2.0]), (signal, background), data=np.array([103.0, 72.0]))
    >>> result = fit(TemplateModel((channel,), {"mu": FreeNorm(1.0, -5.0, 5.0)}))
    >>> round(result.strength.value, 1)
    1.1
    """
    compiled = model if isinstance(model, Likelihood) else likelihood(model)
    if data is None:
        if isinstance(model, Likelihood):
            raise InputError("A likelihood has no data: pass some, such as likelihood.asimov().")
        data = compiled.data_of(model)
    if not data.main.sum() > 0:
        raise FitError("There is nothing to fit: the data have no events in any bin.", reasons=["no events"])
    parameters = compiled.parameters(**{**(start or {}), **(fixed or {})})
    varied = compiled.varied.copy()
    varied[[compiled.position(name) for name in fixed or {}]] = False
    minimum = minimise(compiled, data, start=parameters, varied=varied)
    result = TemplateFit(compiled, data, minimum)
    poi = compiled.model.poi
    names = [poi] if minos is True else list(minos or ())
    intervals = {name: interval(result, name) for name in names if minimum.varied[compiled.position(name)]}
    return TemplateFit(compiled, data, minimum, intervals)


def profiled(result: TemplateFit, name: str, value: float, *, near: Floats | None = None) -> Minimum:
    """Return the minimum with one parameter fixed, found from the best fit along the direction that its covariance
    predicts, or from other parameters."""
    compiled, position = result.likelihood, result.likelihood.position(name)
    if near is None:
        row = result.covariance[position]
        near = result.parameters + row / row[position] * (value - result.parameters[position])
    near = near.copy()
    near[position] = value
    varied = result.minimum.varied.copy()
    varied[position] = False
    return conditional(compiled, result.data, near=near, varied=varied, hessian=result.minimum.hessian)


def interval(result: TemplateFit, name: str, *, rise: float = 1.0) -> tuple[float, float]:
    """Return the errors of a parameter, minus and plus, at which the profile likelihood has risen (Minos).

    Raises
    ------
    FitError
        There is no such point within the limits of the parameter.
    """
    position = result.likelihood.position(name)
    best, error = float(result.parameters[position]), float(result.errors[position])
    low, high = result.likelihood.limits[position]
    ends = []
    for sign, limit in ((-1, low), (1, high)):
        distance = np.sqrt(rise) * error
        for _ in range(12):
            value = best + sign * distance
            if not low < value < high:
                reason = f"no Minos interval for {name}: it reached the limit {limit:g} of the parameter"
                raise FitError(
                    f"The fit is not valid: {reason}. Widen the limits of {name}.", reasons=[reason], at_limit=[name]
                )
            risen = profiled(result, name, value).value - result.minimum.value
            if abs(risen - rise) < 1e-4 * rise:
                break
            # The square root of the rise is almost linear in the distance.
            distance *= float(np.clip(np.sqrt(rise / max(risen, 1e-12)), 0.3, 3.0))
        else:
            reason = f"no Minos interval for {name}: it did not converge"
            raise FitError(f"The fit is not valid: {reason}.", reasons=[reason])
        ends.append(float(sign * distance))
    return ends[0], ends[1]


def spread(
    compiled: Likelihood, parameters: Floats, covariance: Floats, varied: NDArray[np.bool_]
) -> dict[str, Floats]:
    """Return the uncertainty of the sum of all processes in each bin, by linear propagation of a covariance."""
    rows = np.flatnonzero(varied & (np.diag(covariance) > 0))
    gradient = np.empty((compiled.expected(parameters).size, rows.size))
    for column, row in enumerate(rows):
        step = 0.05 * np.sqrt(covariance[row, row])
        up, down = parameters.copy(), parameters.copy()
        up[row] += step
        down[row] -= step
        gradient[:, column] = (compiled.expected(up) - compiled.expected(down)) / (2 * step)
    variance = np.einsum("bi,ij,bj->b", gradient, covariance[np.ix_(rows, rows)], gradient)
    error = np.sqrt(np.maximum(variance, 0))
    return {channel: error[bins] for channel, bins in compiled.slices.items()}


def _finite(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None
