"""Draw events/s against threads, with the roofline of each workload and published rates."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from af_kit.facility.limits import ceilings, in_short
from af_kit.facility.point import Point
from af_kit.facility.published import published_for

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["draw"]

_COLOURS = ("#1b5e9b", "#c8501e", "#3a8a4f", "#7a4fa3", "#a07a12", "#8a3a5a")
_GREY = "0.55"
# The roofline is drawn up to this many times the largest number of threads.
_BEYOND = 16


def draw(points: Sequence[Point]) -> Figure:
    """Return a figure with a panel for each workload, both axes logarithmic.

    Markers are measured; the line is the roofline of the points with the most events. Grey open markers are rates that
    others published for their largest set.
    """
    from matplotlib.figure import Figure

    workloads = list(dict.fromkeys(point.workload for point in points))
    columns = min(3, len(workloads))
    rows = math.ceil(len(workloads) / columns)
    figure = Figure(figsize=(5.4 * columns, 4.6 * rows), layout="constrained", facecolor="white")
    grid = figure.subplots(rows, columns, squeeze=False)
    for axes in grid.flat[len(workloads) :]:
        axes.set_visible(False)
    for axes, workload in zip(grid.flat, workloads, strict=False):
        _panel(axes, workload, [point for point in points if point.workload == workload])
    return figure


def _panel(axes: Any, workload: str, points: Sequence[Point]) -> None:
    from matplotlib.ticker import LogLocator, NullFormatter

    axes.set(xscale="log", yscale="log", title=workload, xlabel="threads of all workers", ylabel="events/s")
    sizes = sorted({point.events for point in points})
    for colour, size in zip(_COLOURS * len(sizes), sizes, strict=False):
        own = sorted((point for point in points if point.events == size), key=lambda point: point.threads)
        places = [point.threads for point in own], [point.events_per_s for point in own]
        axes.plot(*places, "o", color=colour, label=f"{in_short(size)} events")
    _roofline(axes, [point for point in points if point.events == sizes[-1]])
    for marker, one in zip("sD^v", published_for(workload), strict=False):
        last = [(cores, [cell for cell in cells if cell][-1]) for _, cores, cells in one.rows]
        places = [cores for cores, _ in last], [rate for _, (_, rate) in last]
        axes.plot(*places, marker, color=_GREY, markerfacecolor="none", label="published by others")
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axis.set_major_formatter(lambda value, _: in_short(value))
        axis.set_minor_formatter(NullFormatter())
    axes.grid(which="major", color="0.92")
    axes.legend(fontsize=8, frameon=False, loc="best")


def _roofline(axes: Any, points: Sequence[Point]) -> None:
    roof = ceilings(*points)
    most = _BEYOND * max(point.threads for point in points)
    level = min(roof.scheduler, roof.client)
    turn = level / roof.per_thread
    threads = sorted({1.0, float(most), *([turn] if 1 < turn < most else [])})
    axes.plot(
        threads,
        [roof.at(x) for x in threads],
        "-",
        color="black",
        linewidth=1.2,
        label="roofline",
    )
    if turn < most:
        name = "client: planning and gathering" if roof.client <= roof.scheduler else "scheduler"
        axes.annotate(name, (most, level), xytext=(0, 4), textcoords="offset points", ha="right", fontsize=8)
    if turn > 2:  # else the rising part is too short for a name
        x = math.sqrt(min(turn, most))
        place = {"xytext": (8, -8), "textcoords": "offset points", "fontsize": 8}
        axes.annotate("cores: read, decode, function", (x, roof.at(x)), **place)
