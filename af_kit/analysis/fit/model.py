"""A model: the sum of components with a yield each, on a range."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

from af_kit.analysis.fit.shapes import SHAPES
from af_kit.errors import InputError, nearest


@dataclass(frozen=True)
class Component:
    """A part of a model, such as one peak.

    Parameters
    ----------
    name
        The yield is the fit parameter ``n_NAME``, the number of events of this component in the range of the model.
    shape
        A name in :data:`~af_kit.analysis.fit.shapes.SHAPES`.
    parameters
        The names of the fit parameters, in the order of the shape's parameters. Components that use the same name
        share the parameter.
    label
        Its label in a legend.
    strength, expected
        If the yield is not a parameter: the events are ``expected`` times the parameter named ``strength``, such as
        the signal of a channel at a signal strength that several channels have in common.
    """

    name: str
    shape: str
    parameters: tuple[str, ...]
    label: str = ""
    strength: str = ""
    expected: float = 1.0

    def __post_init__(self) -> None:
        if self.shape not in SHAPES:
            raise InputError(f"There is no shape {self.shape!r}.{nearest(self.shape, SHAPES)}")
        wanted = SHAPES[self.shape].parameters
        if len(wanted) != len(self.parameters):
            raise InputError(
                f"{self.name}: the parameters of {self.shape} are {', '.join(wanted)}, but "
                f"{len(self.parameters)} are given: {', '.join(self.parameters)}."
            )

    @property
    def yield_name(self) -> str:
        """Name of the fit parameter of its yield: the strength, or the number of events."""
        return self.strength or f"n_{self.name}"

    @property
    def scale(self) -> float:
        """Events per unit of the parameter :attr:`yield_name`."""
        return self.expected if self.strength else 1.0


class Parametrised:
    """What all models share: values of the fit parameters by name."""

    @property
    def parameters(self) -> tuple[str, ...]:
        """The names of the fit parameters."""
        raise NotImplementedError

    def ordered(self, values: Mapping[str, float]) -> list[float]:
        """Return the values in the order of :attr:`parameters`; every parameter must have one."""
        if missing := [name for name in self.parameters if name not in values]:
            raise InputError(f"Values are missing for {', '.join(missing)}.")
        self.check_names(values)
        return [float(values[name]) for name in self.parameters]

    def check_names(self, names: Mapping[str, Any] | Sequence[str]) -> None:
        """Raise an :class:`InputError` if a name is not a parameter of this model."""
        for name in names:
            if name not in self.parameters:
                raise InputError(f"The model has no parameter {name!r}.{nearest(name, self.parameters)}")


@dataclass(frozen=True)
class Model(Parametrised):
    """The sum of components on the range ``window``, in events per unit of the axis.

    The methods take a value for each of :attr:`parameters`, in that order.
    """

    components: tuple[Component, ...]
    window: tuple[float, float]

    def __post_init__(self) -> None:
        low, high = self.window
        if not low < high:
            raise InputError(f"The range of a fit goes from a smaller to a larger number, not from {low} to {high}.")

    def __getstate__(self) -> dict[str, Any]:
        return {"components": self.components, "window": self.window}  # shapes hold functions that cannot be pickled

    @cached_property
    def parameters(self) -> tuple[str, ...]:
        """All parameters: first the yields, then those of the shapes."""
        yields = [component.yield_name for component in self.components]
        shapes = [name for component in self.components for name in component.parameters]
        return tuple(dict.fromkeys([*yields, *shapes]))

    @cached_property
    def _parts(self) -> tuple[tuple[Any, float, int, tuple[int, ...]], ...]:
        index = {name: i for i, name in enumerate(self.parameters)}
        return tuple(
            (SHAPES[part.shape], part.scale, index[part.yield_name], tuple(index[name] for name in part.parameters))
            for part in self.components
        )

    def density(self, x: np.ndarray, *values: float) -> np.ndarray:
        """Return events per unit at ``x``."""
        total: np.ndarray = np.sum(list(self.densities(x, *values).values()), axis=0)
        return total

    def densities(self, x: np.ndarray, *values: float) -> dict[str, np.ndarray]:
        """Return events per unit at ``x`` for each component."""
        return {
            component.name: scale * values[number] * shape.pdf(x, *self.window, *(values[i] for i in at))
            for component, (shape, scale, number, at) in zip(self.components, self._parts, strict=True)
        }

    def integral(self, x: np.ndarray, *values: float) -> np.ndarray:
        """Return the events of the range below each ``x``."""
        total = np.zeros(len(x))
        for shape, scale, number, at in self._parts:
            total += scale * values[number] * shape.cdf(x, *self.window, *(values[i] for i in at))
        return total

    def total(self, *values: float) -> float:
        """Return the events in the range, the sum of the yields."""
        return float(sum(scale * values[number] for _, scale, number, _ in self._parts))

    def on(self, low: float, high: float) -> Model:
        """Return the same components on another range; their yields are then events in that range."""
        return replace(self, window=(float(low), float(high)))
