"""Tables of points in the form in which facilities publish theirs, as Markdown."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from af_kit.facility.limits import in_short, limit_of
from af_kit.facility.point import Point
from af_kit.facility.published import Published, published_for

__all__ = ["details", "page", "throughput"]


def throughput(points: Sequence[Point]) -> str:
    """Return the table of one workload: a row for each shape of the cluster, a column for each size."""
    sizes = sorted({point.events for point in points})
    rows = []
    for shape in dict.fromkeys(_by_size(points)):
        own = {point.events: point for point in points if point.shape == shape}
        cells = [_cell(own[size].wall_s, own[size].events_per_s) if size in own else "-" for size in sizes]
        rows.append([shape, *cells])
    return _table(["workers x threads", *(f"{in_short(size)} events" for size in sizes)], rows)


def published_table(one: Published) -> str:
    """Return a published table in the same form."""
    rows = [[name, *("-" if cell is None else _cell(*cell) for cell in cells)] for name, _, cells in one.rows]
    return _table(["processes", *(f"{in_short(size)} events" for size in one.sizes)], rows)


def details(points: Sequence[Point]) -> str:
    """Return a table with a row for each point: its costs, and what limits it."""
    head = ["workers x threads", "events", "first result", "CPU per event", "read", "idle", "memory", "scheduler"]
    head += ["sent", "load", "limit"]
    rows = [
        [
            point.shape,
            in_short(point.events),
            f"{point.first_result_s:.1f} s",
            f"{1e6 * point.cpu_per_event:.2f} us",
            f"{point.bytes_per_s / 1e6:,.1f} MB/s",
            f"{point.idle:.0%}",
            f"{point.worker_memory / 2**20:,.0f} MiB",
            f"{point.scheduler_load:.0%}",
            f"{point.sent / 1e6:,.1f} MB",
            f"{point.load:.1f}",
            limit_of(point).part,
        ]
        for point in points
    ]
    return _table(head, rows)


def page(points: Sequence[Point], failures: Iterable[str] = ()) -> str:
    """Return everything about the points: for each workload its tables, its limits, and what others published."""
    parts = ["# Throughput", _LEGEND]
    for workload in dict.fromkeys(point.workload for point in points):
        own = [point for point in points if point.workload == workload]
        parts += [f"## {workload}", throughput(own), details(own)]
        parts.append("\n".join(f"- {_name(point)}: {limit_of(point).sentence}" for point in own))
        if notes := [f"- {_name(point)}: {note}." for point in own for note in point.notes]:
            parts.append("\n".join(["Notes:", "", *notes]))
        for one in published_for(workload):
            parts += [f"Published by others, not measured here: {one.about}.", published_table(one)]
    if listed := [f"- {failure}" for failure in failures]:
        parts += ["## Failed", "\n".join(listed)]
    return "\n\n".join(parts) + "\n"


_LEGEND = """\
A cell has the time (minutes:seconds) from the call to the result, and the events per second. First result: the time to
the result of one chunk, on workers that had not run this workload before. CPU per event: of the worker processes. Idle:
the share of the threads' time without a task. Memory: the largest worker process. Scheduler: the share of a core that
its event loop used. Sent: results that workers sent to each other and to the client. Load: the load average of the
busiest host when the run began, per core; above 0.5 the figures are those of a machine that others use as well."""


def clock(seconds: float) -> str:
    """Return a time as minutes and seconds, with a decimal below ten seconds unless they are whole."""
    if seconds < 9.95 and seconds != round(seconds):
        return f"0:0{seconds:.1f}"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes}:{rest:02d}"


def _cell(seconds: float | None, rate: float) -> str:
    return in_short(rate) if seconds is None else f"{clock(seconds)}, {in_short(rate)}"


def _name(point: Point) -> str:
    return f"{point.shape}, {in_short(point.events)} events"


def _by_size(points: Sequence[Point]) -> list[str]:
    return [point.shape for point in sorted(points, key=lambda point: (point.threads, point.workers))]


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
