"""Pictures of many histograms at once: quick to draw, to watch them while they fill."""

from __future__ import annotations

import functools
import io
import time
from collections.abc import Mapping
from typing import Any

import numpy as np

__all__ = ["MOST_PANELS", "axes_of", "is_histogram", "panel_s", "picture", "png"]

MOST_PANELS = 12
"""Panels of a picture: with more, nothing could be read."""

_LINES = 8
_COLUMNS = 3
# Size of a panel in inches, and pixels per inch.
_WIDTH, _HEIGHT, _TITLE, _DPI = 4.4, 3.1, 0.4, 90
# A spectrum that spans more than this, from its median to its highest bin, is drawn with a logarithmic scale.
_SPAN = 20.0
# Categories with a name below their bin.
_NAMED = 20


def is_histogram(value: Any) -> bool:
    """Return whether a value is a histogram of boost-histogram or hist, without importing these."""
    return any(
        kind.__name__ == "Histogram" and kind.__module__.partition(".")[0] == "boost_histogram"
        for kind in type(value).__mro__
    )


def axes_of(histogram: Any) -> tuple[Any, ...]:
    """Return the axes of a histogram; histograms with the same ones can share a panel."""
    return tuple(histogram.axes)


def picture(panels: Mapping[str, Mapping[str, Any]], title: str) -> bytes:
    """Draw histograms of one dimension.

    Parameters
    ----------
    panels : mapping
        For each panel its title, and its histograms by their names in the legend. They have the same axis.
    title : str
        The line above all panels.

    Returns
    -------
    bytes
        A PNG. Of more than 12 panels, or 8 histograms in a panel, only the first ones are drawn, and the title or the
        legend says so.
    """
    from matplotlib.figure import Figure

    shown = dict(list(panels.items())[:MOST_PANELS])
    columns = min(len(shown), _COLUMNS)
    rows = -(-len(shown) // columns)
    width, height = _WIDTH * columns, _HEIGHT * rows + _TITLE
    figure = Figure(figsize=(width, height))
    # Fixed margins: a layout that measures all texts takes three times as long to draw.
    figure.subplots_adjust(
        left=0.75 / width,
        right=1 - 0.15 / width,
        bottom=0.65 / height,
        top=1 - (_TITLE + 0.3) / height,
        wspace=0.9 / (_WIDTH - 0.9),
        hspace=0.95 / (_HEIGHT - 0.95),
    )
    grid = figure.subplots(rows, columns, squeeze=False).ravel()
    for axes, (name, histograms) in zip(grid, shown.items(), strict=False):
        _draw(axes, name, histograms)
    for axes in grid[len(shown) :]:
        axes.remove()
    hidden = len(panels) - len(shown)
    figure.suptitle(title + (f", and {hidden} more histograms" if hidden else ""), fontsize=11, y=1 - 0.1 / height)
    return png(figure)


@functools.cache
def panel_s() -> float:
    """Return the CPU time that a panel takes to draw, in seconds; the first call in a process loads matplotlib."""
    from hist import Hist

    histogram = Hist.new.Log(100, 1, 1000, label="$m$ [GeV]").Int64()
    for _ in range(2):  # the first one also loads fonts
        begin = time.thread_time()
        picture({"": {"": histogram}}, "")
    return time.thread_time() - begin


def png(figure: Any) -> bytes:
    """Return a figure of matplotlib as a PNG."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=_DPI)
    return buffer.getvalue()


def _draw(axes: Any, name: str, histograms: Mapping[str, Any]) -> None:
    from matplotlib.patches import StepPatch
    from matplotlib.ticker import NullFormatter

    axis = axes_of(next(iter(histograms.values())))[0]
    categories = _categories(axis)
    edges = np.arange(len(axis) + 1) if categories is not None else np.asarray(axis.edges, dtype=float)
    lowest, highest, least, median = 0.0, 0.0, np.inf, np.inf
    for number, (label, histogram) in enumerate(list(histograms.items())[:_LINES]):
        values = np.asarray(histogram.values(), dtype=float)
        # axes.stairs() does the same, and then takes long to find the limits of each line.
        axes.add_artist(
            StepPatch(values, edges, label=label or None, linewidth=1.2, edgecolor=f"C{number}", fill=False)
        )
        finite = values[np.isfinite(values)]
        lowest, highest = min(lowest, finite.min(initial=0.0)), max(highest, finite.max(initial=0.0))
        if (filled := finite[finite > 0]).size:
            least, median = min(least, filled.min()), min(median, np.median(filled))
    if highest > _SPAN * median:
        axes.set_yscale("log")
        axes.set_ylim(least / 2, highest * 2)
    elif lowest < highest:
        axes.set_ylim(1.05 * lowest, 1.05 * highest)
    if categories is None and _is_logarithmic(edges):
        axes.set_xscale("log")
    elif categories is not None and len(categories) <= _NAMED:
        axes.set_xticks(edges[:-1] + 0.5, categories, rotation=30, ha="right", fontsize=8)
    if len(axis):
        axes.set_xlim(edges[0], edges[-1])
    for each, (low, high) in ((axes.xaxis, axes.get_xlim()), (axes.yaxis, axes.get_ylim())):
        if each.get_scale() == "log" and high > 100 * low:
            each.set_minor_formatter(NullFormatter())  # no labels between the powers of ten, so none are measured
    axes.set_xlabel(getattr(axis, "label", "") or getattr(axis, "name", "") or "bin")
    axes.set_ylabel(_quantity(next(iter(histograms.values()))))
    axes.set_title(name, fontsize=10, y=1)  # given y, it is not measured where the title has room
    if any(histograms):
        more = len(histograms) - _LINES
        axes.legend(fontsize=7, title=f"and {more} more" if more > 0 else None, title_fontsize=7)


def _categories(axis: Any) -> list[str] | None:
    """Return the names of the bins of an axis of categories, of integers or of booleans; None for other axes."""
    if type(axis).__name__ in ("StrCategory", "IntCategory", "Boolean"):
        return [str(axis.bin(i)) for i in range(len(axis))]
    return None


def _is_logarithmic(edges: np.ndarray) -> bool:
    """Return whether the bins have the same width on a logarithmic scale."""
    return (
        len(edges) > 2 and edges[0] > 0 and bool(np.ptp(np.diff(np.log(edges))) < 1e-6 * np.log(edges[-1] / edges[0]))
    )


def _quantity(histogram: Any) -> str:
    """Return what the bins hold."""
    storage = histogram.storage_type.__name__
    if "Mean" in storage:
        return "mean per bin"
    return "entries per bin" if "Int" in storage else "weight per bin"
