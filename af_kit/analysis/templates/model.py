"""A model of binned templates: channels, processes, their uncertainties, and its pyhf workspace."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from af_kit.errors import InputError, nearest

__all__ = ["Channel", "FreeNorm", "Norm", "Process", "Shape", "TemplateModel"]

Floats = NDArray[np.float64]


class Shape(NamedTuple):
    """The expected events in each bin when a source is moved by one standard deviation up or down."""

    up: Floats
    down: Floats


class Norm(NamedTuple):
    """The factors on a process when a source is moved up or down: a log-normal uncertainty.

    ``Norm.of(1.12)`` is Combine's ``lnN`` of 1.12: up 1.12, down 1/1.12.
    """

    up: float
    down: float

    @classmethod
    def of(cls, kappa: float) -> Norm:
        """Return a symmetric log-normal uncertainty."""
        return cls(kappa, 1 / kappa)


class FreeNorm(NamedTuple):
    """A factor that the data determine: its start and its limits."""

    start: float
    low: float
    high: float


@dataclass(frozen=True, eq=False)
class Process:
    """One process in one channel.

    Attributes
    ----------
    name
        Name of the process, such as "DY".
    values, variances
        Expected events in each bin, and the variance of each because the simulation is finite.
    shapes
        Source to varied templates. They change the shape and the yield.
    norms
        Source to log-normal factors on the yield.
    free
        Names of the free factors on the yield (`TemplateModel.free`), such as the signal strength.
    """

    name: str
    values: Floats
    variances: Floats
    shapes: Mapping[str, Shape] = field(default_factory=dict)
    norms: Mapping[str, Norm] = field(default_factory=dict)
    free: tuple[str, ...] = ()

    @property
    def total(self) -> float:
        """Expected events in all bins."""
        return float(self.values.sum())


@dataclass(frozen=True, eq=False)
class Channel:
    """One set of events: a variable in bins, its processes, and the data.

    Attributes
    ----------
    name, variable
        Name of the channel, and label of the axis.
    edges
        Edges of the bins.
    processes
        All of them with the same bins.
    data
        Observed events in each bin; None: there are none, such as before unblinding.
    """

    name: str
    edges: Floats
    processes: tuple[Process, ...]
    data: Floats | None = None
    variable: str = ""

    @property
    def total(self) -> Floats:
        """Expected events of all processes in each bin."""
        return np.asarray(sum(process.values for process in self.processes), float)

    def process(self, name: str) -> Process:
        """Return the process of this name."""
        for process in self.processes:
            if process.name == name:
                return process
        names = [process.name for process in self.processes]
        raise InputError(f"Channel {self.name!r} has no process {name!r}.{nearest(name, names)}")


@dataclass(frozen=True, eq=False)
class TemplateModel:
    """Channels that share parameters.

    Attributes
    ----------
    channels
        The channels.
    free
        The free factors and their limits, the signal strength among them.
    poi
        The parameter of interest: the name of the signal strength in ``free``.
    statistical
        Whether each bin has one parameter for the finite simulation of all its processes together
        (Barlow-Beeston's method in its light form; ``autoMCStats 0 1 1`` in Combine).
    """

    channels: tuple[Channel, ...]
    free: Mapping[str, FreeNorm]
    poi: str = "mu"
    statistical: bool = True

    def __post_init__(self) -> None:
        check(self)

    @property
    def sources(self) -> tuple[str, ...]:
        """Names of the constrained sources of uncertainty, without the statistical ones of the bins."""
        every = (process for channel in self.channels for process in channel.processes)
        return tuple(dict.fromkeys(name for process in every for name in (*process.shapes, *process.norms)))

    @property
    def signals(self) -> tuple[str, ...]:
        """Names of the processes that the parameter of interest scales."""
        every = (process for channel in self.channels for process in channel.processes)
        return tuple(dict.fromkeys(process.name for process in every if self.poi in process.free))

    @property
    def has_data(self) -> bool:
        """Whether every channel has data."""
        return all(channel.data is not None for channel in self.channels)

    def replace(self, **changes: Any) -> TemplateModel:
        """Return the model with some attributes changed."""
        return dataclasses.replace(self, **changes)

    def channel(self, name: str) -> Channel:
        """Return the channel of this name."""
        for channel in self.channels:
            if channel.name == name:
                return channel
        names = [channel.name for channel in self.channels]
        raise InputError(f"There is no channel {name!r}.{nearest(name, names)}")

    def without_data(self) -> TemplateModel:
        """Return the model without its data."""
        return self.replace(channels=tuple(dataclasses.replace(channel, data=None) for channel in self.channels))

    def scaled(self, factor: float) -> TemplateModel:
        """Return the model for ``factor`` times the luminosity, without data.

        The relative statistical uncertainty of the simulation stays what it is.
        """

        def one(process: Process) -> Process:
            shapes = {name: Shape(shape.up * factor, shape.down * factor) for name, shape in process.shapes.items()}
            return dataclasses.replace(
                process, values=process.values * factor, variances=process.variances * factor**2, shapes=shapes
            )

        channels = tuple(
            dataclasses.replace(channel, processes=tuple(map(one, channel.processes)), data=None)
            for channel in self.channels
        )
        return self.replace(channels=channels)

    def workspace(self) -> dict[str, Any]:
        """Return the pyhf workspace of the model.

        Each varied template becomes a shape with the nominal yield (``histosys``) and a factor (``normsys``) that share
        one parameter, so that yields stay positive for any value of it, as in Combine. Channels without data get those
        expected from the model.
        """
        channels = [
            {"name": channel.name, "samples": [_sample(channel, process, self) for process in channel.processes]}
            for channel in self.channels
        ]
        observations = [
            {"name": channel.name, "data": _plain(channel.total if channel.data is None else channel.data)}
            for channel in self.channels
        ]
        parameters = [
            {"name": name, "bounds": [[free.low, free.high]], "inits": [free.start]} for name, free in self.free.items()
        ]
        return {
            "channels": channels,
            "observations": observations,
            "measurements": [{"name": "fit", "config": {"poi": self.poi, "parameters": parameters}}],
            "version": "1.0.0",
        }

    @classmethod
    def from_workspace(
        cls, workspace: Mapping[str, Any], *, edges: Mapping[str, Any] | None = None, measurement: str | None = None
    ) -> TemplateModel:
        """Return the model of a pyhf workspace that :meth:`workspace` wrote.

        Parameters
        ----------
        edges
            Channel to edges of its bins, which a workspace does not have; by default 0, 1, 2, ...

        Raises
        ------
        InputError
            The workspace has a modifier that these models do not have, or no such measurement.
        """
        return _from_workspace(cls, workspace, edges or {}, measurement)

    @property
    def digest(self) -> str:
        """Return a number that is equal for equal models, whatever their data."""
        content = self.without_data().workspace()
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def check(model: TemplateModel) -> None:
    """Raise an InputError if a model contradicts itself or has numbers that no likelihood can use."""
    if not model.channels:
        raise InputError("A model needs at least one channel.")
    names = [channel.name for channel in model.channels]
    if len(set(names)) < len(names):
        raise InputError(f"Two channels have the same name: {', '.join(names)}.")
    if model.poi not in model.free:
        raise InputError(
            f"The parameter of interest {model.poi!r} is not a free factor.{nearest(model.poi, model.free)}"
        )
    for name, free in model.free.items():
        if not free.low < free.start < free.high:
            raise InputError(f"{name} starts at {free.start:g}, which is not between {free.low:g} and {free.high:g}.")
    for channel in model.channels:
        _check_channel(channel, model)
    for name in model.free:
        if not any(name in process.free for channel in model.channels for process in channel.processes):
            raise InputError(f"No process has the free factor {name!r}, so that the data cannot determine it.")


def _check_channel(channel: Channel, model: TemplateModel) -> None:
    bins = len(channel.edges) - 1
    if bins < 1 or not np.all(np.diff(channel.edges) > 0):
        raise InputError(f"The edges of channel {channel.name!r} do not increase.")
    if not channel.processes:
        raise InputError(f"Channel {channel.name!r} has no process.")
    if channel.data is not None and (len(channel.data) != bins or not np.all(channel.data >= 0)):
        raise InputError(f"Channel {channel.name!r} has {bins} bins: its data need as many numbers of 0 or more.")
    names = [process.name for process in channel.processes]
    if len(set(names)) < len(names):
        raise InputError(f"Channel {channel.name!r} has two processes of the same name: {', '.join(names)}.")
    for process in channel.processes:
        where = f"Process {process.name!r} in channel {channel.name!r}"
        for title, values in _arrays(process):
            if len(values) != bins or not np.isfinite(values).all():
                raise InputError(f"{where}: {title} needs {bins} finite numbers, one for each bin.")
        if both := set(process.shapes) & set(process.norms):
            raise InputError(f"{where}: {', '.join(sorted(both))} is both a shape and a normalisation.")
        if unknown := set(process.free) - set(model.free):
            name = unknown.pop()
            raise InputError(f"{where}: {name!r} is not a free factor of the model.{nearest(name, model.free)}")
        if used := set(model.free) & {*process.shapes, *process.norms}:
            raise InputError(f"{where}: {', '.join(sorted(used))} is both a free factor and a source of uncertainty.")
        for name, norm in process.norms.items():
            if not (norm.up > 0 and norm.down > 0):
                raise InputError(f"{where}: the factors of {name} are {norm.up:g} and {norm.down:g}, not positive.")
        if (process.values < 0).any() or process.total <= 0:
            low = int(np.argmin(process.values))
            raise InputError(
                f"{where}: bin {low} of {bins} has {process.values[low]:.4g} expected events, and all bins together "
                f"{process.total:.4g}. Call prepare(), which removes negative bins and empty processes and says so."
            )
        for name, shape in process.shapes.items():
            if not min(shape.up.sum(), shape.down.sum()) > 0:
                raise InputError(
                    f"{where}: {name} moves the yield to {shape.up.sum():.4g} (up) and {shape.down.sum():.4g} (down), "
                    f"from {process.total:.4g}: not positive. There are too few simulated events; merge bins or leave "
                    "the source out."
                )
    empty = np.flatnonzero(channel.total <= 0)
    if empty.size:
        raise InputError(
            f"No process has events in bin {empty[0]} of channel {channel.name!r} (from {channel.edges[empty[0]]:g}), "
            "so that any observed event is impossible. Merge it with its neighbour: prepare(merge=...)."
        )


def _arrays(process: Process) -> list[tuple[str, Floats]]:
    found = [("values", process.values), ("variances", process.variances)]
    for name, shape in process.shapes.items():
        found += [(f"{name} up", shape.up), (f"{name} down", shape.down)]
    return found


def _plain(values: Any) -> list[float]:
    return [float(value) for value in values]


def _sample(channel: Channel, process: Process, model: TemplateModel) -> dict[str, Any]:
    modifiers: list[dict[str, Any]] = [{"name": name, "type": "normfactor", "data": None} for name in process.free]
    for name, norm in process.norms.items():
        modifiers.append({"name": name, "type": "normsys", "data": {"hi": norm.up, "lo": norm.down}})
    for name, shape in process.shapes.items():
        factors = [float(values.sum()) / process.total for values in shape]
        high, low = (values / factor for values, factor in zip(shape, factors, strict=True))
        modifiers.append(
            {"name": name, "type": "histosys", "data": {"hi_data": _plain(high), "lo_data": _plain(low)}},
        )
        if any(abs(factor - 1) > 1e-12 for factor in factors):
            modifiers.append({"name": name, "type": "normsys", "data": {"hi": factors[0], "lo": factors[1]}})
    if model.statistical:
        data = _plain(np.sqrt(process.variances))
        modifiers.append({"name": f"stat_{channel.name}", "type": "staterror", "data": data})
    return {"name": process.name, "data": _plain(process.values), "modifiers": modifiers}


def _from_workspace(
    cls: type[TemplateModel], workspace: Mapping[str, Any], edges: Mapping[str, Any], measurement: str | None
) -> TemplateModel:
    try:
        measurements = {one["name"]: one["config"] for one in workspace["measurements"]}
        chosen = measurements[next(iter(measurements)) if measurement is None else measurement]
        observed = {one["name"]: np.asarray(one["data"], float) for one in workspace["observations"]}
        settings = {one["name"]: one for one in chosen["parameters"]}
        names = list(dict.fromkeys(_free_names(workspace)))
        free = {name: _free_norm(settings.get(name, {})) for name in settings if name in names}
        free |= {name: _free_norm({}) for name in names if name not in free}
        channels, statistical = [], False
        for one in workspace["channels"]:
            processes = tuple(map(_process, one["samples"]))
            statistical |= any(mod["type"] == "staterror" for sample in one["samples"] for mod in sample["modifiers"])
            bins = np.asarray(edges.get(one["name"], range(len(processes[0].values) + 1)), float)
            channels.append(Channel(one["name"], bins, processes, observed[one["name"]]))
        return cls(tuple(channels), free, chosen["poi"], statistical)
    except (KeyError, StopIteration, TypeError) as error:
        raise InputError(f"This is not a pyhf workspace that can be read: {error!r} is missing.") from error


def _free_names(workspace: Mapping[str, Any]) -> list[str]:
    samples = (sample for channel in workspace["channels"] for sample in channel["samples"])
    return [mod["name"] for sample in samples for mod in sample["modifiers"] if mod["type"] == "normfactor"]


def _free_norm(settings: Mapping[str, Any]) -> FreeNorm:
    low, high = settings.get("bounds", [[0, 10]])[0]
    return FreeNorm(float(settings.get("inits", [1.0])[0]), float(low), float(high))


def _process(sample: Mapping[str, Any]) -> Process:
    values = np.asarray(sample["data"], float)
    variances = np.zeros_like(values)
    free: list[str] = []
    factors: dict[str, Norm] = {}
    morphs: dict[str, Shape] = {}
    for modifier in sample["modifiers"]:
        name, kind, data = modifier["name"], modifier["type"], modifier["data"]
        if kind == "normfactor":
            free.append(name)
        elif kind == "normsys":
            factors[name] = Norm(float(data["hi"]), float(data["lo"]))
        elif kind == "histosys":
            morphs[name] = Shape(np.asarray(data["hi_data"], float), np.asarray(data["lo_data"], float))
        elif kind == "staterror":
            variances = np.asarray(data, float) ** 2
        else:
            raise InputError(
                f"Sample {sample['name']!r} has a modifier of type {kind!r}, and these models have none."
                f"{nearest(kind, ['normfactor', 'normsys', 'histosys', 'staterror'])}"
            )
    one = Norm(1.0, 1.0)
    shapes = {
        name: Shape(shape.up * factors.get(name, one).up, shape.down * factors.get(name, one).down)
        for name, shape in morphs.items()
    }
    norms = {name: norm for name, norm in factors.items() if name not in morphs}
    return Process(sample["name"], values, variances, shapes, norms, tuple(free))
