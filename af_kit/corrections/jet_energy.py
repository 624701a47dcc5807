"""The jet energy scale: undo the correction of the file, apply another one, and vary it by its sources of uncertainty.

raw = jet_energy.raw(jets.pt, jets.mass, jets.rawFactor)
scale = JetEnergyScale.load(paths)                     # text files; or a correctionlib file and a name in it
pt, mass = scale.corrected(raw.pt, raw.mass, eta=jets.eta, area=jets.area, rho=events.fixedGridRhoFastjetAll)
uncertainties = JetUncertainties.load(path)
shift = uncertainties.relative_all(pt, jets.eta)["Absolute"]
pt * (1 + shift), mass * (1 + shift)                   # the mass scales with pt

The order matters: the energy scale first, then its variations, then the resolution (`jet_resolution`), each on the
result of the one before.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from af_kit.corrections.jet_lib import LibCorrection, read_corrections
from af_kit.corrections.jet_sources import SourceCurves, read_sources
from af_kit.corrections.jet_text import TextTable, read_table
from af_kit.corrections.per_event import numbers
from af_kit.corrections.shapes import flatten
from af_kit.errors import InputError, nearest

__all__ = ["LEVELS", "JetEnergyScale", "JetUncertainties", "Kinematics", "raw"]

LEVELS = ("L1FastJet", "L2Relative", "L3Absolute", "L2L3Residual")
"""The levels in the order in which they are applied; each acts on the pt that the one before returned."""

Paths = str | Path | Sequence[str | Path]


class Kinematics(NamedTuple):
    """Transverse momentum and mass of jets in GeV, in the shape of the inputs."""

    pt: Any
    mass: Any


def raw(pt: Any, mass: Any, raw_factor: Any) -> Kinematics:
    """Undo the correction that is in the file.

    Parameters
    ----------
    pt, mass : array
        As in the file, in GeV.
    raw_factor : array
        NanoAOD's ``Jet_rawFactor``: 1 minus the ratio of uncorrected and corrected pt.
    """
    return Kinematics(pt * (1 - raw_factor), mass * (1 - raw_factor))


@dataclass(frozen=True, eq=False)
class JetEnergyScale:
    """The correction from uncorrected to corrected jets.

    Attributes
    ----------
    periods : tuple
        First run of each period and its corrections, in the order in which they are applied.
    """

    periods: tuple[tuple[int, tuple[TextTable | LibCorrection, ...]], ...]

    @classmethod
    def load(cls, paths: Paths, *, name: str | None = None) -> JetEnergyScale:
        """Read the correction; cached until a file changes.

        Parameters
        ----------
        paths : path or sequence of paths
            The text files of all levels, in any order: their names must contain one of `LEVELS`. Or, with ``name``, one
            correctionlib file.
        name : str, optional
            The correction of the correctionlib file, usually a compound one, such as
            ``"Summer22_22Sep2023_V3_MC_L1L2L3Res_AK4PFPuppi"``.

        Raises
        ------
        InputError
            A file cannot be read, its level is unknown, or a level is there twice.
        """
        return cls.load_periods({0: paths}, name=name)

    @classmethod
    def load_periods(cls, paths: Mapping[int, Paths], *, name: str | Mapping[int, str] | None = None) -> JetEnergyScale:
        """Read one correction for each period of data taking, chosen by the run number of each jet.

        Parameters
        ----------
        paths : mapping
            First run of a period to its files, as for `load`. The last period has no end.
        name : str or mapping, optional
            As for `load`: for all periods, or by first run.
        """
        periods = []
        for first in sorted(paths):
            given = paths[first]
            files = [given] if isinstance(given, (str, Path)) else list(given)
            wanted = name.get(first) if isinstance(name, Mapping) else name
            periods.append((int(first), _levels(files) if wanted is None else _compound(files, wanted)))
        if not periods:
            raise InputError("Pass the files of at least one period.")
        return cls(tuple(periods))

    def corrected(
        self, raw_pt: Any, raw_mass: Any, *, eta: Any, area: Any, rho: Any, phi: Any = None, run: Any = None
    ) -> Kinematics:
        """Correct uncorrected jets.

        Parameters
        ----------
        raw_pt, raw_mass : array
            Uncorrected, in GeV, see `raw`: one value per jet, flat or in lists per event.
        eta, area : array
            Pseudorapidity and catchment area of the jet.
        rho : array
            The event's energy density in GeV, per jet or per event.
        phi, run : array, optional
            Needed by the corrections of some campaigns; ``run`` also where there are several periods.

        Returns
        -------
        Kinematics
            ``pt`` and ``mass``, which scales with pt. Jets outside all bins, |eta| > 5.191, are not corrected.

        Raises
        ------
        InputError
            A value is NaN, a needed input is missing, a run is before the first period, or shapes differ.
        """
        given = {"JetPt": raw_pt, "JetMass": raw_mass, "JetEta": eta, "JetA": area, "Rho": rho}
        given |= {name: value for name, value in (("JetPhi", phi), ("run", run)) if value is not None}
        flat, restore = flatten(given)
        inputs = numbers(flat)
        factor = self._factor(inputs)
        return Kinematics(restore(inputs["JetPt"] * factor), restore(inputs["JetMass"] * factor))

    def _factor(self, inputs: Mapping[str, NDArray[np.float64]]) -> NDArray[np.float64]:
        if len(self.periods) == 1:
            return _apply(self.periods[0][1], inputs)
        if "run" not in inputs:
            raise InputError("The correction depends on the period of data taking: pass run=events.run.")
        runs = inputs["run"]
        period = np.searchsorted([first for first, _ in self.periods], runs, side="right") - 1
        if len(runs) and period.min() < 0:
            raise InputError(f"Run {int(runs.min())} is before the first period, which starts at {self.periods[0][0]}.")
        factor = np.empty(len(runs))
        for index in np.unique(period):
            rows = np.flatnonzero(period == index)
            factor[rows] = _apply(self.periods[index][1], {name: value[rows] for name, value in inputs.items()})
        return factor


def _apply(
    levels: Sequence[TextTable | LibCorrection], inputs: Mapping[str, NDArray[np.float64]]
) -> NDArray[np.float64]:
    """Return the product of all levels, each evaluated at the pt that the one before returned."""
    total = np.ones(len(inputs["JetPt"]))
    for level in levels:
        total = total * level.evaluate({**inputs, "JetPt": inputs["JetPt"] * total}, outside=1.0)
    return total


def _levels(files: Sequence[str | Path]) -> tuple[TextTable, ...]:
    tables: dict[str, TextTable] = {}
    for file in files:
        found = [level for level in LEVELS if level in Path(file).name]
        if len(found) != 1 or found[0] in tables:
            what = "a second file of its level" if found else "not named after a level"
            raise InputError(
                f"{file} is {what}. The levels are {', '.join(LEVELS)}; they are applied in this order, "
                "whatever the order of the files."
            )
        table = read_table(file)
        if table.quantity != "Correction":
            raise InputError(f"{file} holds a {table.quantity}, not a correction of the energy scale.")
        tables[found[0]] = table
    return tuple(tables[level] for level in LEVELS if level in tables)


def _compound(files: Sequence[str | Path], name: str) -> tuple[LibCorrection, ...]:
    if len(files) != 1:
        raise InputError(f"With name={name!r}, pass one correctionlib file, not {len(files)} files.")
    return (read_corrections(files[0], (name,))[name],)


@dataclass(frozen=True, eq=False)
class JetUncertainties:
    """Relative uncertainties of the jet energy scale, by source.

    Attributes
    ----------
    sources : tuple of str
        Their names, in the order of the file or of the request.
    """

    sources: tuple[str, ...]
    _table: SourceCurves | tuple[LibCorrection, ...]

    @classmethod
    def load(
        cls, path: str | Path, sources: Sequence[str] | None = None, *, name: str | None = None
    ) -> JetUncertainties:
        """Read sources of uncertainty; cached until the file changes.

        Parameters
        ----------
        path : path
            A text file of sources, or, with ``name``, a correctionlib file.
        sources : sequence of str, optional
            The sources to read; by default all of a text file but ``Total``, which is their sum in quadrature.
        name : str, optional
            The names of a correctionlib file with ``{source}`` in place of the source, such as
            ``"Summer22_22Sep2023_V3_MC_Regrouped_{source}_AK4PFPuppi"``.

        Raises
        ------
        InputError
            The file cannot be read, or a source is not in it.
        """
        if name is None:
            found = read_sources(path)
            names = tuple(source for source in found.names if source != "Total") if sources is None else tuple(sources)
            return cls(names, found.select(names, path))
        if sources is None or "{source}" not in name:
            raise InputError("For a correctionlib file, pass the sources, and a name that contains {source}.")
        wanted = tuple(name.replace("{source}", source) for source in sources)
        corrections = read_corrections(path, wanted)
        return cls(tuple(sources), tuple(corrections[full] for full in wanted))

    def relative(self, source: str, pt: Any, eta: Any) -> Any:
        """Return the relative uncertainty of one source for each jet; arguments as for `relative_all`."""
        if source not in self.sources:
            raise InputError(f"There is no source {source!r}.{nearest(source, self.sources)}")
        return self._evaluate((self.sources.index(source),), pt, eta)[source]

    def relative_all(self, pt: Any, eta: Any) -> dict[str, Any]:
        """Return the relative uncertainty of every source for each jet, in one go.

        Parameters
        ----------
        pt, eta : array
            Of corrected jets, in GeV, flat or in lists per event.

        Returns
        -------
        dict
            Source to its uncertainty u, in the shape of the inputs: the varied pt is pt (1 + u) and pt (1 - u), and the
            mass scales with it. Beyond the last point in pt, or the last bin in eta, the value at the edge is used.
        """
        return self._evaluate(range(len(self.sources)), pt, eta)

    def _evaluate(self, indices: Sequence[int], pt: Any, eta: Any) -> dict[str, Any]:
        flat, restore = flatten({"JetPt": pt, "JetEta": eta})
        inputs = numbers(flat)
        if isinstance(self._table, SourceCurves):
            values = self._table.evaluate(inputs["JetPt"], inputs["JetEta"], indices)
        else:
            values = [self._table[index].evaluate(inputs, clamp=("JetEta",)) for index in indices]
        return {self.sources[index]: restore(value) for index, value in zip(indices, values, strict=True)}
