"""Scale factors of muons: efficiency in data over the one in simulation, for identification, isolation and trigger.

The identification and isolation factors are measured per muon, the trigger's efficiencies too; an event fires if one
of its muons does. Where two periods of a year were measured separately, their average is used, weighted by luminosity.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from af_kit.corrections import correctionset, histogram
from af_kit.corrections.columns import Column, columns
from af_kit.corrections.weight import Pair, Weight
from af_kit.errors import InputError, nearest

__all__ = ["ScaleFactor", "Trigger"]

Source = str | Path | Mapping[str, float] | Mapping[Path, float]
"""One file, or the files of several periods with their luminosities."""

_AXES = (("eta", "pt"), ("pt", "abseta"), ("abseta", "pt"), ("pt", "eta"))
_ROOT = b"root"


class _Table(Protocol):
    def at(self, pt: Column, eta: Column) -> tuple[Column, Column, Column]:
        """Return the factor of each muon, and the factor varied up and down."""
        ...


@dataclass(frozen=True)
class ScaleFactor:
    """The scale factor of an identification or isolation.

    Attributes
    ----------
    source : str
        Name of the systematic source in the weights.
    """

    source: str
    # (share in the luminosity, table) of each period
    _tables: tuple[tuple[float, _Table], ...] = field(repr=False, compare=False)

    @classmethod
    def load(cls, files: Source, name: str, *, source: str) -> ScaleFactor:
        """Read a scale factor.

        Parameters
        ----------
        files : path, or mapping of paths to luminosities
            ROOT files with histograms, or correctionlib files (JSON, or JSON compressed by gzip). Of several periods,
            with the luminosity of each in any unit.
        name : str
            In ROOT files the name of the histogram without its axes, such as ``"NUM_MediumID_DEN_genTracks"``: they are
            ``_eta_pt`` in 2016 and ``_pt_abseta`` later. In correctionlib files the name of the correction.
        source : str
            Name of the systematic source, such as ``"muon_id"``.

        Raises
        ------
        InputError
            A file cannot be read or has no such factor.
        """
        return cls(source, tuple((share, _table(path, name)) for path, share in _shares(files)))

    def per_muon(self, pt: Any, eta: Any) -> Weight:
        """Return the factor of each muon, in the shape of the inputs.

        The variation is the factor plus and minus the bin's error (in correctionlib files ``systup`` and ``systdown``);
        those of two periods are averaged as well, as their systematic errors are common.

        Parameters
        ----------
        pt, eta : array
            Raw, as in the file: pt in GeV. A muon outside the table (pt 20 to 120 GeV) has the factor of the nearest
            edge.
        """
        (pt_, eta_), restore = columns(self.source, {"pt": pt, "eta": eta})
        nominal, up, down = (restore(array) for array in self._average(pt_, eta_))
        return Weight(nominal, {self.source: Pair(up, down)})

    def per_event(self, pt: Any, eta: Any) -> Weight:
        """Return the product of the factors of an event's muons, all varied together.

        Parameters
        ----------
        pt, eta : sequence of arrays, or array
            ``(pt of the first muons, pt of the second)``, each with one number per event; or an array of two
            dimensions, (event, muon), also jagged.
        """
        (pt_, eta_), restore = columns(self.source, {"pt": _together(pt), "eta": _together(eta)})
        nominal, up, down = (_product(restore(array)) for array in self._average(pt_, eta_))
        return Weight(nominal, {self.source: Pair(up, down)})

    def _average(self, pt: Column, eta: Column) -> list[Column]:
        return _averaged([(share, table.at(pt, eta)) for share, table in self._tables])


@dataclass(frozen=True, eq=False)
class _RootTable:
    table: histogram.Histogram
    axes: tuple[str, str]

    def at(self, pt: Column, eta: Column) -> tuple[Column, Column, Column]:
        known = {"pt": pt, "eta": eta, "abseta": np.abs(eta)}
        value, error = self.table.at(*(known[axis] for axis in self.axes))
        return value, value + error, value - error


@dataclass(frozen=True)
class _CorrectionTable:
    """A correctionlib correction as its file's content, which can be pickled."""

    content: bytes = field(repr=False)
    path: str
    name: str
    axis: str
    category: str

    def at(self, pt: Column, eta: Column) -> tuple[Column, Column, Column]:
        correction = correctionset.loads(self.content, self.path)[self.name]
        values = {self.axis: np.abs(eta) if self.axis == "abseta" else eta}
        names = ("nominal", "systup", "systdown")
        varied = correction.variations(vary=self.category, names=names, edges="clamp", pt=pt, **values)
        return varied["nominal"], varied["systup"], varied["systdown"]


@dataclass(frozen=True)
class Trigger:
    """The scale factor of a single-muon trigger.

    Attributes
    ----------
    source : str
        Name of the systematic source in the weights.
    first_pt : float
        The first edge of the efficiencies in GeV: muons below do not fire.
    """

    source: str
    first_pt: float
    _data: tuple[tuple[float, histogram.Histogram], ...] = field(repr=False, compare=False)
    _simulation: tuple[tuple[float, histogram.Histogram], ...] = field(repr=False, compare=False)

    @classmethod
    def load(cls, files: Source, name: str, *, source: str = "muon_trigger") -> Trigger:
        """Read the efficiencies in data and simulation.

        Parameters
        ----------
        files : path, or mapping of paths to luminosities
            ROOT files with the histograms ``{name}_PtEtaBins/efficiencies{DATA,MC}/abseta_pt_{DATA,MC}``; of several
            periods, with the luminosity of each in any unit.
        name : str
            Of the trigger, such as ``"IsoMu24_OR_IsoTkMu24"``.

        Raises
        ------
        InputError
            A file cannot be read or has no such trigger, an efficiency is larger than 1 or smaller than its error, or
            two periods start at a different pt.
        """
        tables: dict[str, tuple[tuple[float, histogram.Histogram], ...]] = {}
        for sample in ("DATA", "MC"):
            full = f"{name}_PtEtaBins/efficiencies{sample}/abseta_pt_{sample}"
            tables[sample] = tuple((share, histogram.read(path, full)) for path, share in _shares(files))
        every = [table for of_sample in tables.values() for _, table in of_sample]
        for table in every:
            if len(table.edges) != 2 or not ((table.values > table.errors) & (table.values <= 1)).all():
                raise InputError(
                    f"{table.name} is not a table of efficiencies in |eta| and pt, larger than their errors."
                )
        first = {float(table.edges[1][0]) for table in every}
        if len(first) > 1:
            raise InputError(f"The efficiencies of {name} start at different pt: {sorted(first)} GeV.")
        return cls(source, first.pop(), histogram.average(tables["DATA"]), histogram.average(tables["MC"]))

    def per_event(self, pt: Any, eta: Any) -> Weight:
        """Return the scale factor of each event.

        An event's efficiency is ``1 - (1 - e1)(1 - e2)``, its scale factor that in data over that in simulation. A muon
        below the first edge has efficiency 0: taking the nearest bin would count muons that cannot fire. Above the last
        edge, and in |eta|, the nearest bin is used. For the variations the efficiencies of all muons are moved by their
        errors, in data and in simulation; these two are independent, so their effects on the factor are added in
        quadrature.

        Parameters
        ----------
        pt, eta : sequence of arrays, or array
            Raw, as in the file: pt in GeV. ``(pt of the first muons, pt of the second)``, or an array (event, muon).

        Raises
        ------
        InputError
            An input is NaN or infinite; or no muon of an event reaches the first edge, so the efficiency is 0: such an
            event cannot pass the selection.
        """
        (pt_, eta_), restore = columns(self.source, {"pt": _together(pt), "eta": _together(eta)})
        fires = pt_ >= self.first_pt
        data, data_up, data_down = self._efficiencies(self._data, pt_, eta_, fires, restore)
        sim, sim_up, sim_down = self._efficiencies(self._simulation, pt_, eta_, fires, restore)
        if (impossible := int(np.sum(sim <= 0))) > 0:
            raise InputError(
                f"{self.source}: in {impossible} events no muon has a pt of {self.first_pt} GeV or more, so the "
                "trigger's efficiency is 0. Apply the cut on the leading muon first."
            )
        nominal = data / sim
        up = nominal + np.hypot(data_up / sim - nominal, data / sim_down - nominal)
        down = nominal - np.hypot(data_down / sim - nominal, data / sim_up - nominal)
        return Weight(nominal, {self.source: Pair(up, down)})

    def _efficiencies(self, tables: Any, pt: Column, eta: Column, fires: Any, restore: Any) -> tuple[Any, Any, Any]:
        """Return the efficiency of each event, and the varied ones."""
        found = []
        for share, table in tables:
            value, error = table.at(np.abs(eta), pt)
            found.append((share, (value, np.minimum(value + error, 1.0), np.maximum(value - error, 0.0))))
        nominal, up, down = (
            1.0 - _product(restore(1.0 - np.where(fires, efficiency, 0.0))) for efficiency in _averaged(found)
        )
        return nominal, up, down


def _shares(files: Source) -> list[tuple[str, float]]:
    """Return the paths, and the share of each in the luminosity."""
    if not isinstance(files, Mapping):
        return [(str(files), 1.0)]
    lumi = {str(path): float(value) for path, value in files.items()}
    if not lumi or not all(np.isfinite(value) and value > 0 for value in lumi.values()):
        raise InputError(f"The luminosities of the periods must be positive numbers, not {dict(files)!r}.")
    return [(path, value / sum(lumi.values())) for path, value in lumi.items()]


def _table(path: str, name: str) -> _Table:
    try:
        with Path(path).open("rb") as file:
            is_root = file.read(4) == _ROOT
    except OSError as error:
        raise InputError(f"The correction file {path} cannot be read: {error.strerror}.") from error
    return _root_table(path, name) if is_root else _correction_table(path, name)


def _root_table(path: str, name: str) -> _RootTable:
    known = histogram.names(path)
    for axes in _AXES:
        suffix = "_" + "_".join(axes)
        full = name if name.endswith(suffix) else name + suffix
        if full in known:
            return _RootTable(histogram.read(path, full), axes)
    raise InputError(
        f"There is no histogram {name}_eta_pt or {name}_pt_abseta in {path}."
        + nearest(name + "_pt_abseta", [key for key in known if "_DEN_" in key])
    )


def _correction_table(path: str, name: str) -> _CorrectionTable:
    correction = correctionset.load(path)[name]
    axis = next((axis for axis in ("abseta", "eta") if axis in correction.inputs), "")
    category = next((key for key, names in correction.choices.items() if "nominal" in names), "")
    if not axis or "pt" not in correction.inputs or "systup" not in correction.choices.get(category, ()):
        raise InputError(
            f"The correction {name!r} in {path} has the inputs {', '.join(correction.inputs)}. A scale factor of muons "
            "has pt, abseta or eta, and one with the choices nominal, systup and systdown."
        )
    return _CorrectionTable(Path(path).read_bytes(), Path(path).name, name, axis, category)


def _averaged(found: list[tuple[float, tuple[Column, Column, Column]]]) -> list[Column]:
    return [np.asarray(sum(share * values[i] for share, values in found)) for i in range(3)]


def _together(muons: Any) -> Any:
    """Return arrays of the first, second, ... muons as one array (event, muon); another array as it is."""
    if isinstance(muons, (tuple, list)):
        return np.stack([np.asarray(one) for one in muons], axis=-1)
    return muons


def _product(per_muon: Any) -> Any:
    if isinstance(per_muon, np.ndarray):
        # np.prod is slow along a short axis
        return functools.reduce(np.multiply, np.moveaxis(per_muon, -1, 0), np.ones(per_muon.shape[:-1]))
    import awkward as ak

    return ak.prod(per_muon, axis=-1)
