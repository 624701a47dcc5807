"""Write any result into a folder: what ``af-kit run`` does for an analysis that has no ``write`` of its own."""

from __future__ import annotations

import inspect
import json
import re
import traceback
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from af_kit.analysis import output, style
from af_kit.analysis.variances import variances_of

if TYPE_CHECKING:
    from hist import Hist
    from matplotlib.figure import Figure

__all__ = ["draw", "save"]


def save(
    result: Mapping[Any, Any],
    folder: str | Path,
    *,
    metadata: Mapping[str, Any] | None = None,
    plots: bool = True,
    plot: Callable[..., Any] | None = None,
) -> tuple[list[Path], list[str]]:
    """Write everything in a result, at any depth of nested mappings.

    ``histograms.json``; each table (pyarrow, pandas, a record array of awkward) as ``NAME.parquet``, each numpy array
    as ``NAME.npy``; all numbers, texts and lists in ``values.json``; ``plots/``. The names are the keys, joined by
    ``_`` if they are nested.

    Parameters
    ----------
    plots : bool
        Whether to draw figures.
    plot : callable, optional
        ``plot(result, folder)``, or ``plot(result, folder, metadata=...)``, which writes figures into a folder.
        :func:`draw` by default.

    Returns
    -------
    files : list of Path
        What was written.
    problems : list of str
        What could not be written or drawn, and why. The rest is written.
    """
    folder = Path(folder)
    files: list[Path] = []
    problems: list[str] = []
    values: dict[str, Any] = {}
    leaves = list(_leaves(result))
    if any(_is_histogram(value) for _, value in leaves):
        files.append(output.write_histograms(result, folder / "histograms.json"))
    for names, value in leaves:
        if _is_histogram(value):
            continue
        try:
            if (written := _written(value, folder, _file_name(names))) is not None:
                files.append(written)
            else:
                _put(values, names, _plain(value))
        except Exception as error:  # noqa: BLE001 - one value must not cost the others
            problems.append(f"{'/'.join(names)} ({type(value).__name__}) is not written: {_one_line(error)}")
    if values:
        files.append(output.write_json(values, folder / "values.json"))
    if plots:
        try:
            files += _drawn(plot, result, folder / "plots", metadata)
        except Exception as error:  # noqa: BLE001 - the user's code; the histograms are on disk
            where = traceback.extract_tb(error.__traceback__)[-1]
            place = f"{where.filename}, line {where.lineno}"
            problems.append(f"plot() failed: {_one_line(error)} ({place}). Everything else is written.")
    return files, problems


def draw(result: Mapping[Any, Any], folder: str | Path, *, metadata: Mapping[str, Any] | None = None) -> list[Path]:
    """Draw every histogram with one or two axes into ``folder``, each as PNG and as PDF.

    Parameters
    ----------
    metadata
        A dataset's metadata, for the line above the axes (see :func:`af_kit.analysis.style.experiment_label`).
    """
    return style.save_all(_figures(result, metadata), folder)


def _figures(result: Mapping[Any, Any], metadata: Mapping[str, Any] | None) -> Iterator[tuple[str, Figure]]:
    for names, value in _leaves(result):
        if _is_histogram(value) and 1 <= len(value.axes) <= 2:
            yield _file_name(names), (_curve if len(value.axes) == 1 else _map)(value, metadata)


def _curve(histogram: Hist, metadata: Mapping[str, Any] | None) -> Figure:
    """Draw the bins of one axis, with statistical errors if they are known."""
    axis, values, variances = histogram.axes[0], np.asarray(histogram.values(), float), variances_of(histogram)
    figure, axes = style.subplots(metadata=metadata)
    edges = _edges(axis)
    axes.stairs(values, edges, fill=True, alpha=0.2)
    axes.stairs(values, edges, color="C0")
    if variances is not None:
        centres = (edges[1:] + edges[:-1]) / 2
        axes.errorbar(centres, values, np.sqrt(np.clip(variances, 0, None)), fmt="none", color="C0", linewidth=1)
    if _is_category(axis):
        axes.set_xticks(np.arange(len(axis)) + 0.5, [str(axis.value(i)) for i in range(len(axis))])
    elif _is_logarithmic(edges):
        axes.set_xscale("log")
    low, high = min(0.0, values.min(initial=0)), values.max(initial=0)
    axes.set(xlim=(edges[0], edges[-1]), ylim=(1.1 * low, 1.25 * high or 1), xlabel=axis.label or axis.name)
    style.scale_counts(axes, "entries")
    style.place_axes(figure)
    return figure


def _map(histogram: Hist, metadata: Mapping[str, Any] | None) -> Figure:
    """Draw two axes as colours."""
    figure, axes = style.subplots(size=(11, 9), metadata=metadata)
    edges = []
    for axis, name in zip(histogram.axes, "xy", strict=True):
        edges.append(_edges(axis))
        axes.set(**{f"{name}label": axis.label or axis.name})
        if _is_category(axis):
            ticks = np.arange(len(axis)) + 0.5
            getattr(axes, f"set_{name}ticks")(ticks, [str(axis.value(i)) for i in range(len(axis))])
    colours = axes.pcolormesh(*edges, np.asarray(histogram.values(), float).T)
    figure.colorbar(colours, ax=axes, label="Entries", use_gridspec=False)  # which place_axes cannot divide
    style.place_axes(figure)
    return figure


def _edges(axis: Any) -> np.ndarray:
    """Return the edges of the bins; the categories of an axis are at 0, 1, 2, ..."""
    return np.arange(len(axis) + 1) if _is_category(axis) else axis.edges


def _is_category(axis: Any) -> bool:
    return "Category" in type(axis).__name__


def _is_logarithmic(edges: np.ndarray) -> bool:
    """Return whether bins have equal width in the logarithm."""
    if edges[0] <= 0 or len(edges) < 3:
        return False
    return bool(np.allclose(np.diff(np.log(edges)), np.log(edges[1] / edges[0])))


def _is_histogram(value: Any) -> bool:
    return hasattr(value, "_to_uhi_")


def _leaves(result: Mapping[Any, Any], above: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Yield every value that is not a mapping, with its keys."""
    for key, value in result.items():
        if isinstance(value, Mapping):
            yield from _leaves(value, (*above, str(key)))
        else:
            yield (*above, str(key)), value


def _written(value: Any, folder: Path, name: str) -> Path | None:
    """Write a table or an array into a file of its own; return None if the value is neither."""
    import pandas as pd
    import pyarrow as pa

    path = folder / f"{name}.parquet"
    if isinstance(value, pd.DataFrame):
        value = pa.Table.from_pandas(value)
    if isinstance(value, pa.Table):
        return output.write_table(value, path)
    if type(value).__module__.startswith("awkward."):
        import awkward as ak

        with output.replacing(path) as part:
            ak.to_parquet(value, part)
        return path
    if isinstance(value, np.ndarray) and value.ndim:
        path = folder / f"{name}.npy"
        with output.replacing(path) as part, part.open("wb") as file:
            np.save(file, value, allow_pickle=False)
        return path
    return None


def _plain(value: Any) -> Any:
    """Return a value as JSON has it; a set as a sorted list."""
    if isinstance(value, np.generic | np.ndarray):
        value = value.tolist()
    if isinstance(value, set | frozenset):
        value = sorted(value)
    json.dumps(value)  # raises if it is something else
    return value


def _put(values: dict[str, Any], names: tuple[str, ...], value: Any) -> None:
    for name in names[:-1]:
        values = values.setdefault(name, {})
    values[names[-1]] = value


def _file_name(names: tuple[str, ...]) -> str:
    return re.sub(r"[^\w.+-]+", "_", "_".join(names)).strip("_.") or "unnamed"


def _drawn(
    plot: Callable[..., Any] | None, result: Mapping[Any, Any], folder: Path, metadata: Mapping[str, Any] | None
) -> list[Path]:
    """Draw the figures, and return their files, also if ``plot`` does not say which they are."""
    if plot is None:
        return draw(result, folder, metadata=metadata)
    folder.mkdir(parents=True, exist_ok=True)
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    takes = inspect.signature(plot).parameters.values()
    wants = any(one.name == "metadata" or one.kind is one.VAR_KEYWORD for one in takes)
    returned = plot(result, folder, **({"metadata": metadata} if wants else {}))
    if isinstance(returned, list | tuple) and returned and all(isinstance(path, str | Path) for path in returned):
        return [Path(path) for path in returned]
    return [
        path for path in sorted(folder.rglob("*")) if path.is_file() and before.get(path) != path.stat().st_mtime_ns
    ]


def _one_line(error: BaseException) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())}"
