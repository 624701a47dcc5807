"""The likelihood of a template model: pyhf's, compiled once with jax, with its gradient and its second derivatives."""

from __future__ import annotations

import contextlib
import functools
import json
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from af_kit.analysis.templates.model import TemplateModel
from af_kit.errors import InputError, MissingExtraError, nearest

__all__ = ["Data", "Likelihood", "likelihood"]

Floats = NDArray[np.float64]

# Below this fraction of the nominal expectation of a bin, log(expected) continues as a parabola: a minimiser that steps
# to negative expectations finds its way back, and a minimum there is refused.
_FLOOR = 1e-3
_COMPILED = 8


class Data(NamedTuple):
    """What the likelihood compares the model with."""

    main: Floats
    """Observed events in all bins of all channels, in the order of `Likelihood.slices`."""
    auxiliary: Floats
    """The measured values of the constrained parameters, in the order of `Likelihood.constrained`."""


class Likelihood:
    r"""Minus twice the logarithm of the likelihood ratio to the saturated model, as a function of the parameters.

    It is the likelihood of HistFactory (CERN-OPEN-2012-016) from pyhf: Poisson terms of all bins, and Gaussian terms of
    the constrained parameters. The data are an argument of the compiled functions, and a parameter is fixed by leaving
    it where it is, so that nothing is compiled twice.

    Attributes
    ----------
    names
        The parameters: sources of uncertainty (0, in units of their standard deviation), factors, and one factor
        ``stat_CHANNEL[BIN]`` for each bin.
    start, widths
        Nominal value of each parameter, and its uncertainty before the fit; NaN: the data alone determine it.
    limits
        Lower and upper limit of each parameter; infinite: none.
    varied
        Which parameters a fit varies. A bin without statistical uncertainty has a constant factor.
    slices
        Channel to its bins in `Data.main`.
    """

    def __init__(self, model: TemplateModel) -> None:
        self.model = model.without_data()
        workspace = self.model.workspace()
        for parameter in workspace["measurements"][0]["config"]["parameters"]:
            del parameter["bounds"]  # they do not change the functions
        shared = _functions(json.dumps(workspace, sort_keys=True))
        self.names, self.slices, self.processes = shared.names, shared.slices, shared.processes
        self.start, self.varied, self.widths = shared.start.copy(), shared.varied.copy(), shared.widths.copy()
        self.constrained, self._auxiliary = shared.constrained, shared.auxiliary
        self._value_and_gradient, self._hessian = shared.value_and_gradient, shared.hessian
        self._by_process = shared.by_process
        self.poi = self.names.index(self.model.poi)
        self.limits = np.tile([-np.inf, np.inf], (len(self.names), 1))
        for position, name in enumerate(self.names):
            if name in self.model.free:
                self.limits[position] = self.model.free[name].low, self.model.free[name].high
            elif name.startswith("stat_"):
                self.limits[position, 0] = 0.0

    def value_and_gradient(self, parameters: Floats, data: Data) -> tuple[float, Floats]:
        """Return the function and its gradient."""
        value, gradient = self._value_and_gradient(parameters, data.main, data.auxiliary)
        return float(value), np.asarray(gradient)

    def hessian(self, parameters: Floats, data: Data) -> Floats:
        """Return the matrix of second derivatives, exact to rounding."""
        return np.asarray(self._hessian(parameters, data.main, data.auxiliary))

    def by_process(self, parameters: Floats) -> dict[str, Floats]:
        """Return the expected events of each process in all bins; zero in channels that do not have it."""
        values = np.asarray(self._by_process(parameters))
        return {name: values[number].reshape(-1) for number, name in enumerate(self.processes)}

    def expected(self, parameters: Floats) -> Floats:
        """Return the expected events in all bins."""
        return np.asarray(sum(self.by_process(parameters).values()))

    def position(self, name: str) -> int:
        """Return the number of a parameter."""
        if name not in self.names:
            raise InputError(f"There is no parameter {name!r}.{nearest(name, self.names)}")
        return self.names.index(name)

    def parameters(self, **values: float) -> Floats:
        """Return the nominal parameters, with some changed."""
        parameters = self.start.copy()
        for name, value in values.items():
            parameters[self.position(name)] = value
        return parameters

    def data_of(self, model: TemplateModel) -> Data:
        """Return the data of a model, with the auxiliary measurements at their nominal values."""
        if not model.has_data:
            raise InputError("The model has no data. Fit pseudo-data of the model itself: asimov().")
        main = np.empty(sum(one.stop - one.start for one in self.slices.values()))
        for channel in model.channels:
            assert channel.data is not None
            main[self.slices[channel.name]] = channel.data
        return Data(main, self._auxiliary)

    def asimov(self, parameters: Floats | None = None) -> Data:
        """Return the data that the model expects (G. Cowan et al., EPJC 71 (2011) 1554), for its nominal parameters or
        others; the best fit to it has exactly these parameters."""
        parameters = self.start if parameters is None else parameters
        return Data(self.expected(parameters), self._centre(parameters))

    def draw(self, parameters: Floats, random: np.random.Generator) -> Data:
        """Draw pseudo-data: Poisson counts in the bins, and Gaussian auxiliary measurements around the parameters."""
        expected = self.expected(parameters)
        if (expected < 0).any():
            raise InputError(
                f"With {self.model.poi} = {parameters[self.poi]:g} a bin expects {expected.min():.3g} events: pseudo-"
                "data cannot be drawn. Use a strength nearer to zero."
            )
        centre, widths = self._centre(parameters), self.widths[self.constrained]
        return Data(random.poisson(expected).astype(float), random.normal(centre, widths))

    def _centre(self, parameters: Floats) -> Floats:
        return parameters[self.constrained]


def likelihood(model: TemplateModel) -> Likelihood:
    """Return the likelihood of a model. Models with equal templates share one compilation, whatever their data and
    limits."""
    return Likelihood(model)


class _Functions(NamedTuple):
    """What one compilation of a workspace gives."""

    names: tuple[str, ...]
    slices: dict[str, slice]
    processes: tuple[str, ...]
    start: Floats
    varied: NDArray[np.bool_]
    widths: Floats
    constrained: NDArray[np.int64]
    auxiliary: Floats
    value_and_gradient: Any
    hessian: Any
    by_process: Any


@functools.lru_cache(maxsize=_COMPILED)
def _functions(workspace: str) -> _Functions:
    try:
        import jax  # noqa: F401
        import pyhf
    except ImportError as error:
        raise MissingExtraError('Template fits need pyhf and jax: pip install "af-kit[fit]"') from error

    # pyhf prepares the model with numpy, five times faster than with jax, which compiles each operation.
    with _backend("numpy"):
        pdf = pyhf.Workspace(json.loads(workspace)).model(measurement_name="fit")
        config = pdf.config
        start, auxiliary = np.asarray(config.suggested_init(), float), np.asarray(config.auxdata, float)
        widths = np.full(start.size, np.nan)
        constrained: list[int] = []
        for name in config.auxdata_order:
            place = config.par_slice(name)
            widths[place] = config.param_set(name).width()
            constrained += range(place.start, place.stop)
        nominal = np.asarray(pdf.expected_data(start, include_auxdata=False))
        constant = float(np.ravel(pdf.constraint_logpdf(auxiliary, start))[0]) if constrained else 0.0
        with _backend("jax"):
            compiled = _compile(pdf, start, nominal, auxiliary, constant)
    return _Functions(
        tuple(config.par_names),
        dict(config.channel_slices),
        tuple(config.samples),
        start,
        ~np.asarray(config.suggested_fixed(), bool),
        widths,
        np.array(constrained, int),
        auxiliary,
        *compiled,
    )


def _compile(pdf: Any, start: Floats, nominal: Floats, auxiliary: Floats, constant: float) -> tuple[Any, Any, Any]:
    """Return the compiled function with its gradient, its second derivatives, and the events by process."""
    import jax
    import jax.numpy as jnp

    floor = jnp.asarray(_FLOOR * nominal)

    def deviance(parameters: Any, main: Any, measured: Any) -> Any:
        expected = pdf.expected_data(parameters, include_auxdata=False)
        inside = expected > floor
        step = (expected - floor) / floor
        below = jnp.log(floor) + step - step**2 / 2
        logarithm = jnp.where(inside, jnp.log(jnp.where(inside, expected, floor)), below)
        saturated = main * jnp.log(jnp.where(main > 0, main, 1.0))
        poisson = 2 * jnp.sum(expected - main + saturated - main * logarithm)
        # Without any constrained parameter, pyhf has no such term.
        return poisson - 2 * (pdf.constraint_logpdf(measured, parameters) - constant) if auxiliary.size else poisson

    value_and_gradient, hessian = jax.jit(jax.value_and_grad(deviance)), jax.jit(jax.hessian(deviance))
    by_process = jax.jit(lambda parameters: pdf.main_model.expected_data(parameters, return_by_sample=True))
    # Compiled here, where pyhf computes with jax; afterwards its backend does not matter.
    for function in (value_and_gradient, hessian):
        jax.block_until_ready(function(start, nominal, auxiliary))
    by_process(start)
    return value_and_gradient, hessian, by_process


@contextlib.contextmanager
def _backend(name: str) -> Iterator[None]:
    """Let pyhf compute in double precision with a backend, and give it back the one before, such as the user's."""
    import pyhf

    before = pyhf.get_backend()
    pyhf.set_backend(name, precision="64b")
    try:
        yield
    finally:
        pyhf.set_backend(*before)
