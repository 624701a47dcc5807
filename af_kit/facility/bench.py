"""Measure a grid: shapes of the cluster x workloads x sizes."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from af_kit.errors import AfKitError
from af_kit.facility.limits import in_short
from af_kit.facility.measure import first_result, measure
from af_kit.facility.point import Point
from af_kit.facility.workloads import Workload

__all__ = ["Job", "Shape", "run_grid"]

# A run that takes longer than this [s] is not done twice: imports and compilations are a small part of it.
_LONG_S = 60.0


@dataclass(frozen=True)
class Shape:
    """A cluster to measure on: worker processes, and threads of each (None: those that there are)."""

    workers: int | None = None
    threads: int | None = None

    def __str__(self) -> str:
        if self.workers is None:
            return "the cluster as it is"
        return f"{self.workers} x {self.threads or 1}"


@dataclass(frozen=True)
class Job:
    """A workload, and its filesets by their approximate number of events."""

    workload: Workload
    filesets: dict[int, Any]


def run_grid(
    shapes: Sequence[Shape],
    jobs: Sequence[Job],
    connect: Callable[[Shape], contextlib.AbstractContextManager[Any]],
    *,
    on_point: Callable[[Point], None],
    on_failure: Callable[[str], None],
    repeat: int = 1,
    **options: Any,
) -> None:
    """Measure all points, one after the other.

    Parameters
    ----------
    shapes, jobs
        The grid.
    connect : callable
        Returns a ``with`` block of a client for a shape. Each shape gets a cluster of its own, so that no worker
        knows the workload yet.
    on_point, on_failure : callable
        Called with each point as soon as it is measured, and with a sentence for each that could not be measured. The
        others are measured all the same.
    repeat : int
        Runs of each point; that with the median rate counts.
    **options
        As for `measure`.
    """
    for shape in shapes:
        try:
            with connect(shape) as client:
                for job in jobs:
                    _run_job(job, shape, client, on_point, on_failure, repeat, options)
        except Exception as error:  # noqa: BLE001 - the next shape may work
            on_failure(f"{shape}: {_reason(error)}")


def _run_job(
    job: Job,
    shape: Shape,
    client: Any,
    on_point: Callable[[Point], None],
    on_failure: Callable[[str], None],
    repeat: int,
    options: dict[str, Any],
) -> None:
    first_s: float | None = None
    rate = 0.0
    for events, fileset in sorted(job.filesets.items()):
        try:
            if first_s is None:
                first_s = first_result(job.workload, fileset, client, **options)
            points = [
                measure(
                    job.workload,
                    fileset,
                    client,
                    first_result_s=first_s,
                    warm_up=number == 0 and (not rate or events <= rate * _LONG_S),
                    **options,
                )
                for number in range(repeat)
            ]
        except Exception as error:  # noqa: BLE001 - the next point may work
            on_failure(f"{job.workload.name}, {shape}, {in_short(events)} events: {_reason(error)}")
            continue
        point = median(points)
        rate = point.events_per_s
        if shape.workers is not None and point.workers != shape.workers:
            asked = f"{shape.workers} workers were asked for, and there were {point.workers}"
            point = replace(point, notes=(*point.notes, asked))
        on_point(point)


def median(points: Sequence[Point]) -> Point:
    """Return the point with the median rate, with a note on the range of the rates."""
    ordered = sorted(points, key=lambda point: point.events_per_s)
    chosen = ordered[(len(ordered) - 1) // 2]
    if len(ordered) == 1:
        return chosen
    low, high = in_short(ordered[0].events_per_s), in_short(ordered[-1].events_per_s)
    return replace(chosen, notes=(*chosen.notes, f"the median of {len(ordered)} runs, from {low} to {high} events/s"))


def _reason(error: BaseException) -> str:
    text = " ".join(str(error).split())
    return text if isinstance(error, AfKitError) else f"{type(error).__name__}: {text}"


def powers_of_two(most: int) -> list[int]:
    """Return 1, 2, 4, ... and ``most``."""
    numbers: Iterable[int] = (2**i for i in range(most.bit_length()))
    return sorted({*(n for n in numbers if n < most), most})
