"""The processes of the template fit and their uncertainties, from a YAML file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from af_kit.analysis.hmumu.sample import PROCESSES
from af_kit.errors import InputError, nearest

__all__ = ["Uncertainties", "load_uncertainties"]

_PATH = Path(__file__).parent / "statistics.yaml"
_JETS = ("matched", "unmatched")


@dataclass(frozen=True)
class TemplateProcess:
    """A template: which samples, which of their events, limits of a free yield, and whether it is signal."""

    of: tuple[str, ...]
    jets: str | None = None
    free: tuple[float, float] | None = None
    signal: bool = False


@dataclass(frozen=True)
class Sources:
    """How sources of varied templates are used: the beginnings of their names."""

    shape_only: tuple[str, ...] = ()
    by_process: tuple[str, ...] = ()
    all_years: tuple[str, ...] = ()
    of_objects: tuple[str, ...] = ()


@dataclass(frozen=True)
class Uncertainties:
    """What the kit does not find in histograms.

    Attributes
    ----------
    processes, unsplit
        Name to template; ``unsplit`` replaces those with ``jets`` if the histograms do not have the split.
    normalisation
        Template to year to log-normal factor.
    luminosity
        Component to year to per cent. The first is independent between years.
    sources
        How the sources of variations are used.
    """

    processes: Mapping[str, TemplateProcess]
    unsplit: Mapping[str, TemplateProcess]
    normalisation: Mapping[str, Mapping[int, float]]
    luminosity: Mapping[str, Mapping[int, float]]
    sources: Sources

    def factor(self, process: str, year: int) -> float | None:
        """Return the log-normal factor of a process; None: it has none."""
        return self._of_year(self.normalisation[process], year) if process in self.normalisation else None

    def luminosities(self, year: int) -> dict[str, float]:
        """Return the components of the luminosity's uncertainty, as log-normal factors, without those that are 1."""
        found = {name: self._of_year(years, year) for name, years in self.luminosity.items()}
        return {name: 1 + percent / 100 for name, percent in found.items() if percent}

    @staticmethod
    def _of_year(years: Mapping[int, float], year: int) -> float:
        if year not in years:
            raise InputError(
                f"There are no uncertainties of the normalisation for {year}, but for {', '.join(map(str, years))}. "
                f"Copy {_PATH}, add them, and pass its path: uncertainties=PATH (--uncertainties PATH)."
            )
        return years[year]


def load_uncertainties(path: str | Path | None = None) -> Uncertainties:
    """Load the processes and uncertainties of the template fit.

    Parameters
    ----------
    path
        A file like ``statistics.yaml`` in this folder, which is the default.

    Raises
    ------
    InputError
        The file cannot be read; a key is unknown or missing, or a value cannot be used.
    """
    import yaml

    path = _PATH if path is None else Path(path)
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise InputError(f"The uncertainties {path} cannot be read: {' '.join(str(error).split())}") from error
    _check_keys(path, "", content, [one.name for one in fields(Uncertainties)])
    for one in fields(Uncertainties):
        if one.name not in content:
            raise InputError(f"{path}: the key {one.name} is missing.")
    processes, unsplit = (
        {str(name): _process(path, str(name), value) for name, value in content[key].items()}
        for key in ("processes", "unsplit")
    )
    for name in content["normalisation"]:
        if name not in {*processes, *unsplit}:
            raise InputError(f"{path}: normalisation of {name!r}, which is not a process.{nearest(name, processes)}")
    _check_keys(path, "sources.", content["sources"], [one.name for one in fields(Sources)])
    sources = {name: tuple(map(str, values)) for name, values in content["sources"].items()}
    return Uncertainties(
        processes,
        unsplit,
        _years(path, "normalisation", content["normalisation"], least=1.0, most=10.0),
        _years(path, "luminosity", content["luminosity"], least=0.0, most=50.0),
        Sources(**sources),
    )


def _check_keys(path: Path, where: str, content: Any, known: Sequence[str]) -> None:
    if not isinstance(content, Mapping):
        raise InputError(f"{path}: {where.rstrip('.') or 'the file'} must be a mapping of names to values.")
    for key in content:
        if key not in known:
            raise InputError(f"{path}: unknown key {where}{key}.{nearest(str(key), known)}")


def _process(path: Path, name: str, content: Any) -> TemplateProcess:
    _check_keys(path, f"{name}.", content, [one.name for one in fields(TemplateProcess)])
    of = tuple(map(str, content.get("of", ())))
    for one in of:
        if one not in PROCESSES:
            raise InputError(f"{path}: {name} is of {one!r}, which is not a process.{nearest(one, PROCESSES)}")
    if not of:
        raise InputError(f"{path}: {name} needs `of`, the processes of its samples.")
    jets, free, signal = content.get("jets"), content.get("free"), content.get("signal", False)
    if jets is not None and jets not in _JETS:
        raise InputError(f"{path}: {name}.jets is {jets!r}, not one of {', '.join(_JETS)}.{nearest(str(jets), _JETS)}")
    if free is not None:
        if not (isinstance(free, list) and len(free) == 2 and 0 <= free[0] < 1 < free[1]):
            raise InputError(f"{path}: {name}.free is {free!r}; it must be two factors, one on each side of 1.")
        free = (float(free[0]), float(free[1]))
    return TemplateProcess(of, jets, free, bool(signal))


def _years(path: Path, where: str, content: Any, *, least: float, most: float) -> dict[str, dict[int, float]]:
    found: dict[str, dict[int, float]] = {}
    for name, years in content.items():
        for year, value in years.items():
            if isinstance(value, bool) or not isinstance(value, int | float) or not least <= value <= most:
                raise InputError(
                    f"{path}: {where}.{name}.{year} is {value!r}; it must be a number from {least:g} to {most:g}."
                )
        found[str(name)] = {int(year): float(value) for year, value in years.items()}
    return found
