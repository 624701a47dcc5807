"""`draw_graph`: the tasks of a Dask collection and their dependencies, as a matplotlib figure.

Dask's own ``visualize`` needs the graphviz program, which pip does not install.
"""

from __future__ import annotations

import re
from collections.abc import Hashable
from typing import TYPE_CHECKING, Any

from af_kit.errors import InputError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["draw_graph"]

# Inches, at a font size of 9 points.
_LETTER, _MARGIN, _BOX, _ROW, _GAP = 0.085, 0.12, 0.24, 0.34, 0.9
_LONGEST = 40
# What Dask appends to the name of a function to make a key.
_HASH = re.compile(r"-[0-9a-f]{32}|-[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


def draw_graph(collection: Any, *, optimize: bool = True, max_tasks: int = 300) -> Figure:
    """Draw a task graph from left (inputs) to right (results).

    Parameters
    ----------
    collection
        Anything with a task graph: ``dask.delayed``, a bag, a dataframe, an array; or a graph, as a mapping.
    optimize : bool
        Draw the tasks as they will run: consecutive ones are fused, unused ones are left out. False draws them as they
        were written.
    max_tasks : int
        Refuse graphs with more tasks, because the picture would not be readable.

    Returns
    -------
    matplotlib.figure.Figure
        One box per task, with the name of its function and one colour per name; a white box is data in the graph. A
        notebook shows it if it is the last line of a cell.

    Raises
    ------
    InputError
        The argument has no task graph, or it has too many tasks.
    """
    from matplotlib.figure import Figure

    graph = _networkx_graph(collection, optimize)
    if len(graph) > max_tasks:
        raise InputError(
            f"The graph has {len(graph):,} tasks, too many for a readable picture. Draw that of a few chunks or "
            f"partitions, or raise max_tasks={max_tasks}."
        )
    centres, width, height = _centres(graph)
    figure = Figure(figsize=(width, height))
    axes = figure.add_axes((0, 0, 1, 1), xlim=(0, width), ylim=(0, height))
    axes.set_axis_off()
    _draw(axes, graph, centres)
    return figure


def _networkx_graph(collection: Any, optimize: bool) -> Any:
    """Return tasks as nodes with a ``label`` and ``data`` (whether it is data, not a task), in order of computation."""
    import dask
    import networkx
    from dask._task_spec import Alias
    from dask.core import get_dependencies, istask

    if not hasattr(collection, "__dask_graph__") and not isinstance(collection, dict):
        raise InputError(
            f"A {type(collection).__name__} has no task graph: give a dask.delayed object, a bag, a dataframe or an "
            "array."
        )
    if not isinstance(collection, dict):
        if optimize:
            # Dataframes have their own method; dask.optimize fails on their sums.
            own = hasattr(type(collection), "optimize")
            collection = collection.optimize() if own else dask.optimize(collection)[0]
        collection = collection.__dask_graph__()
    tasks = dict(collection)
    graph = networkx.DiGraph()
    for key, task in tasks.items():
        graph.add_node(key, label=_label(key), data=not istask(task))
    for key, task in tasks.items():
        # Sorted, because the order of a set of keys differs in every process.
        graph.add_edges_from((other, key) for other in sorted(get_dependencies(tasks, task=task), key=str))
    for key, task in tasks.items():
        if isinstance(task, Alias) and graph.in_degree(key) == 1:  # another name of a task, not a task
            (origin,) = graph.predecessors(key)
            graph.add_edges_from((origin, user) for user in list(graph.successors(key)))
            graph.remove_node(key)
    return graph


def _label(key: Any) -> str:
    """Return the names of the functions in a task, from its key: one, or several that were fused."""
    text = str(key[0] if isinstance(key, tuple) else key)
    label = _HASH.sub("", text) or text
    return label if len(label) <= _LONGEST else label[: _LONGEST - 1] + "…"


def _box_width(label: str) -> float:
    return _LETTER * len(label) + 2 * _MARGIN


def _centres(graph: Any) -> tuple[dict[Hashable, tuple[float, float]], float, float]:
    """Return the centre of each box, and the width and height of the figure, in inches."""
    import networkx

    # From the end: a task is drawn just before the first one that needs it.
    columns = [list(column) for column in networkx.topological_generations(graph.reverse())][::-1]
    number = {key: i for i, key in enumerate(graph)}
    rows: dict[Hashable, float] = {}
    for column in columns:
        wanted = {}
        for key in column:
            before = [rows[other] for other in graph.predecessors(key)]
            wanted[key] = sum(before) / len(before) if before else float("inf")
        column.sort(key=lambda key: (wanted[key], number[key]))
        rows |= _spread([wanted[key] for key in column], column)
    lowest, highest = min(rows.values(), default=0.0), max(rows.values(), default=0.0)
    height = (highest - lowest) * _ROW + _BOX + 2 * _MARGIN
    centres: dict[Hashable, tuple[float, float]] = {}
    left = _MARGIN
    for column in columns:
        width = max(_box_width(graph.nodes[key]["label"]) for key in column)
        for key in column:
            centres[key] = (left + width / 2, height - _MARGIN - _BOX / 2 - (rows[key] - lowest) * _ROW)
        left += width + _GAP
    return centres, max(left - _GAP + _MARGIN, 1.0), height


def _spread(wanted: list[float], keys: list[Hashable]) -> dict[Hashable, float]:
    """Return a row for each key, in this order and at least one apart, as close as possible to the wanted rows."""
    rows: list[float] = []
    for want in wanted:
        least = rows[-1] + 1 if rows else want
        rows.append(max(least, want) if want != float("inf") else (rows[-1] + 1 if rows else 0.0))
    # The spreading has moved them down on average: undo that.
    moved = [row - want for row, want in zip(rows, wanted, strict=True) if want != float("inf")]
    shift = sum(moved) / len(moved) if moved else 0.0
    return {key: row - shift for key, row in zip(keys, rows, strict=True)}


def _draw(axes: Axes, graph: Any, centres: dict[Hashable, tuple[float, float]]) -> None:
    from matplotlib import colormaps
    from matplotlib.patches import FancyBboxPatch

    names = list(dict.fromkeys(graph.nodes[key]["label"] for key in graph))
    colours = dict(zip(names, [colormaps["Pastel1"](i % 8) for i in range(len(names))], strict=True))
    for start, end in graph.edges:
        (x0, y0), (x1, y1) = centres[start], centres[end]
        x0 += _box_width(graph.nodes[start]["label"]) / 2
        x1 -= _box_width(graph.nodes[end]["label"]) / 2
        arrow = {"arrowstyle": "-|>", "color": "0.6", "linewidth": 0.8, "shrinkA": 0, "shrinkB": 0}
        axes.annotate("", (x1, y1), (x0, y0), arrowprops=arrow)
    for key, (x, y) in centres.items():
        label, is_data = graph.nodes[key]["label"], graph.nodes[key]["data"]
        width = _box_width(label)
        axes.add_patch(
            FancyBboxPatch(
                (x - width / 2, y - _BOX / 2),
                width,
                _BOX,
                boxstyle="round,pad=0,rounding_size=0.06",
                facecolor="white" if is_data else colours[label],
                edgecolor="0.5",
                linewidth=0.8,
            )
        )
        axes.text(x, y, label, ha="center", va="center", fontsize=9)
