"""Throughputs that facilities have published, to stand beside measured ones. They are not measurements of this kit."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["PUBLISHED", "Published", "published_for"]


@dataclass(frozen=True)
class Published:
    """A published table of one workload.

    Attributes
    ----------
    about : str
        What ran where.
    workloads : tuple of str
        The kit's workloads that do similar work.
    sizes : tuple of int
        Events of each column.
    rows : tuple of (str, int, tuple)
        For each row what it is, its cores, and per size a pair of time [s] and events/s; the time is None where it was
        not published, and the pair is None where there was no run.
    """

    about: str
    workloads: tuple[str, ...]
    sizes: tuple[int, ...]
    rows: tuple[tuple[str, int, tuple[tuple[float | None, float] | None, ...]], ...]


PUBLISHED = (
    Published(
        "VBF H -> mu mu with corrections, NanoAOD, coffea with Dask on a Slurm farm",
        ("hmumu", "hmumu-variations"),
        (144_000, 136_000_000, 769_000_000),
        (
            ("one node, 1", 1, ((21, 7e3), (12100, 11e3), None)),
            ("one node, 48", 48, ((13, 11e3), (328, 415e3), (2097, 367e3))),
            ("Slurm, 48", 48, ((8, 17e3), (253, 537e3), (1347, 570e3))),
            ("Slurm, 300", 300, ((11, 13e3), (46, 2.9e6), (406, 1.9e6))),
            ("Slurm, 500", 500, ((8, 17e3), (35, 3.8e6), (231, 3.3e6))),
        ),
    ),
    Published(
        "the same with the evaluation of a DNN",
        ("hmumu-dnn",),
        (144_000, 136_000_000, 769_000_000),
        (("Slurm, 500", 500, ((25, 6e3), (74, 1.8e6), (563, 1.4e6))),),
    ),
    Published(
        "object counting for tHq, NanoAOD, coffea with Dask workers in containers",
        ("counting",),
        (3_500_000, 30_300_000, 91_000_000),
        (
            ("dedicated nodes, 64", 64, ((None, 45.6e3), (None, 64.1e3), (None, 65.4e3))),
            ("dedicated nodes, 256", 256, ((None, 105.6e3), (None, 192.2e3), (None, 171.7e3))),
            ("HTCondor, 64", 64, ((None, 57.8e3), (None, 43.9e3), (None, 65.3e3))),
            ("HTCondor, 256", 256, ((None, 154.0e3), (None, 96.0e3), (None, 116.7e3))),
        ),
    ),
)
"""The published tables."""


def published_for(workload: str) -> tuple[Published, ...]:
    """Return the published tables to show beside a workload's."""
    return tuple(one for one in PUBLISHED if workload in one.workloads)
