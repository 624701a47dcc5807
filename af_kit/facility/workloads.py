"""The runs that a facility is measured with: the kit's analyses, or a function of your own."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from af_kit.data.fileset.datasets import DEFAULT_TREENAME
from af_kit.errors import InputError, nearest

__all__ = ["WORKLOADS", "Workload", "workload"]


@dataclass(frozen=True)
class Workload:
    """Something to run over a fileset.

    Attributes
    ----------
    name : str
        Its name in tables.
    about : str
        What it does.
    run : callable
        ``run(fileset, client, **options)`` with the options of `af_kit.process`; returns its result.
    sample : str
        The kind of simulated files that it reads: see `af_kit.facility.samples`.
    treename : str
        The tree that it reads, if a fileset names none.
    options : tuple of str
        Further options of ``run``: ``calibrations``, ``network``.
    """

    name: str
    about: str
    run: Callable[..., Any]
    sample: str = ""
    treename: str = DEFAULT_TREENAME
    options: tuple[str, ...] = ()

    def given(self, **options: Any) -> Workload:
        """Return the workload with these options set, those that it has."""
        own = {name: value for name, value in options.items() if name in self.options and value is not None}
        return Workload(self.name, self.about, functools.partial(self.run, **own), self.sample, self.treename)


def workload(what: str | Callable[[Any], Any] | Workload) -> Workload:
    """Return a workload of the kit by its name, or that of a function of the events of one chunk.

    Raises
    ------
    InputError
        There is no workload of this name.
    """
    if isinstance(what, Workload):
        return what
    if isinstance(what, str):
        if what not in WORKLOADS:
            raise InputError(f"There is no workload {what!r}.{nearest(what, WORKLOADS)}")
        return WORKLOADS[what]
    return Workload(getattr(what, "__name__", type(what).__name__), "your function", functools.partial(_process, what))


def _process(function: Any, fileset: Any, client: Any, **options: Any) -> Any:
    from af_kit.run.process import process

    return process(function, fileset, client, **options)


def _dimuon(fileset: Any, client: Any, **options: Any) -> Any:
    from af_kit.analysis import dimuon

    return _process(dimuon.histograms, fileset, client, **options)


def _dsphipi(fileset: Any, client: Any, **options: Any) -> Any:
    from af_kit.analysis import dsphipi

    return dsphipi.process(fileset, client, engine="numba", **options)


def _counting(fileset: Any, client: Any, **options: Any) -> Any:
    from af_kit.analysis import counting

    return counting.process(fileset, client, **options)


def _hmumu(variations: str, fileset: Any, client: Any, *, calibrations: Any = None, **options: Any) -> Any:
    from af_kit.analysis import hmumu

    # Without calibration files, only the corrections that need none are applied.
    corrections = "none" if calibrations is None else "all"
    return hmumu.process(
        fileset, client, calibrations=calibrations, corrections=corrections, variations=variations, **options
    )


_CALIBRATED = ("calibrations",)

WORKLOADS: Mapping[str, Workload] = MappingProxyType(
    {
        one.name: one
        for one in (
            Workload("dimuon", "dimuon mass spectrum, histograms only", _dimuon, "dimuon"),
            Workload("dsphipi", "Ds -> phi(mu mu) pi selection", _dsphipi, "dsphipi", "Tree3Mu/ntuple"),
            Workload(
                "hmumu",
                "H -> mu mu selection with corrections",
                functools.partial(_hmumu, "none"),
                "hmumu",
                options=_CALIBRATED,
            ),
            Workload(
                "hmumu-variations",
                "H -> mu mu selection with all systematic variations",
                functools.partial(_hmumu, "all"),
                "hmumu",
                options=_CALIBRATED,
            ),
            Workload(
                "hmumu-dnn",
                "H -> mu mu selection with corrections, scored by a neural network",
                functools.partial(_hmumu, "none"),
                "hmumu",
                options=(*_CALIBRATED, "network"),
            ),
            Workload("counting", "lepton and jet counting for tHq", _counting, "nanoaod"),
        )
    }
)
"""The kit's workloads by name."""
