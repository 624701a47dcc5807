"""Draw a fit: data, the model and its components, and the pulls below them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from af_kit.analysis import style
from af_kit.analysis.fit.data import Binned, Unbinned, as_data
from af_kit.analysis.fit.result import FitResult

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Distinguishable with any colour vision; in the order of the components.
_COLOURS = ("#3f90da", "#ffa90e", "#94a4a2", "#bd1f01", "#832db6")


def draw_fit(
    result: FitResult,
    data: Any,
    *,
    xlabel: str,
    unit: str = "GeV",
    bins: int | None = None,
    name: str = "data",
    metadata: Mapping[str, Any] | None = None,
    text: Sequence[str] = (),
) -> Figure:
    """Draw a fit over its data.

    Parameters
    ----------
    data
        The fitted data: a histogram, an array, or the result of :func:`~af_kit.analysis.fit.data.as_data`.
    xlabel, unit
        Label of the axis without its unit, and the unit, such as "mass" and "GeV".
    bins
        Number of bins for unbinned data; None: 60.
    name
        Label of the points in the legend: "data", or "simulation".
    metadata
        The dataset's metadata, for the line above the axes.
    text
        More lines of text next to the legend.

    Returns
    -------
    matplotlib.figure.Figure
        Save it with :func:`af_kit.analysis.style.save`. Call both inside :func:`~af_kit.analysis.style.cms_style`.
    """
    binned = _binned(result, data, bins)
    figure, (axes, pulls) = _panels(metadata or {})
    _draw_components(axes, result, binned)
    _draw_data(axes, binned, name)
    _draw_pulls(pulls, result, binned)
    width = np.diff(binned.edges)[0]
    per = f"{1000 * width:.3g} MeV" if unit == "GeV" else f"{width:.3g} {unit}"
    axes.set_ylim(0, 1.45 * max((binned.counts + _errors(binned)[1]).max(), 1))
    style.scale_counts(axes, f"candidates / {per}")
    handles, labels = axes.get_legend_handles_labels()
    order = sorted(range(len(labels)), key=lambda i: (labels[i] != name, labels[i] != "fit"))
    axes.legend([handles[i] for i in order], [labels[i] for i in order], loc="upper left", fontsize="small")
    tests = [
        f"$\\chi^2$ / ndof = {test.statistic:.1f} / {test.ndof} ({test.method}), p = {test.p_value:.2g}"
        for test in result.goodness[:1]
    ]
    axes.text(0.97, 0.95, "\n".join([*text, *tests]), transform=axes.transAxes, ha="right", va="top", fontsize="small")
    pulls.set(xlabel=f"{xlabel} [{unit}]", xlim=result.model.window)
    style.place_axes(figure)
    return figure


def _binned(result: FitResult, data: Any, bins: int | None) -> Binned:
    sample = as_data(data).inside(*result.model.window)
    if isinstance(sample, Unbinned):
        return sample.binned(np.linspace(*result.model.window, (bins or 60) + 1))
    return sample


def _panels(metadata: Mapping[str, Any]) -> tuple[Figure, tuple[Axes, Axes]]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 10))
    axes, pulls = figure.subplots(2, 1, sharex=True, height_ratios=[3, 1])
    style.experiment_label(axes, metadata)
    return figure, (axes, pulls)


def _draw_components(axes: Axes, result: FitResult, data: Binned) -> None:
    """Draw the model in events per bin, as a smooth curve: a good approximation if bins are narrower than the peaks."""
    low, high = result.model.window
    x = np.linspace(low, high, 1001)
    width = float(np.diff(data.edges)[0])
    parts = {name: width * part for name, part in result.model.densities(x, *result.ordered).items()}
    total = np.sum(list(parts.values()), axis=0)
    # Peaks are drawn on top of the background.
    background = {part.name: parts[part.name] for part in result.model.components if part.shape == "exponential"}
    base = np.sum(list(background.values()), axis=0) if background else np.zeros_like(x)
    for component, colour in zip(result.model.components, _COLOURS, strict=False):
        label = f"{component.label or component.name}: {_rounded(result, component.yield_name)}"
        if component.name in background:
            axes.fill_between(x, parts[component.name], color=colour, alpha=0.45, linewidth=0, label=label)
        else:
            axes.fill_between(x, base, base + parts[component.name], color=colour, alpha=0.5, linewidth=0, label=label)
    axes.plot(x, total, color="#bd1f01", label="fit", linewidth=2)


def _rounded(result: FitResult, name: str) -> str:
    measured = result[name]
    digits = max(int(np.floor(np.log10(max(measured.error, 1)))) - 1, 0)
    return f"{round(measured.value, -digits):,.0f} $\\pm$ {round(measured.error, -digits):,.0f}"


def _errors(data: Binned) -> np.ndarray:
    """Return the errors below and above each count; for plain counts, the central 68 % Poisson interval."""
    if data.variances is not None:
        return np.sqrt([data.variances, data.variances])
    from scipy.stats import chi2

    tail = 0.158655
    low = np.where(data.counts > 0, chi2.ppf(tail, 2 * data.counts) / 2, 0)
    high = chi2.isf(tail, 2 * (data.counts + 1)) / 2
    return np.array([data.counts - low, high - data.counts])


def _draw_data(axes: Axes, data: Binned, name: str) -> None:
    centres = (data.edges[1:] + data.edges[:-1]) / 2
    axes.errorbar(centres, data.counts, _errors(data), fmt="o", color="black", markersize=4, label=name, zorder=5)


def _draw_pulls(axes: Axes, result: FitResult, data: Binned) -> None:
    pulls = result.pulls(data.edges, data.counts, data.variances)
    largest = np.nanmax(np.abs(pulls), initial=0)
    reach = max(4.0, float(np.ceil(largest + 0.5)))
    axes.axhspan(-2, 2, color="0.92", zorder=0)
    axes.axhline(0, color="0.4", linewidth=1)
    axes.stairs(np.nan_to_num(pulls), data.edges, fill=True, color="black", alpha=0.6)
    axes.set(ylim=(-reach, reach), ylabel="Pull")
    axes.set_yticks([-2, 0, 2] if reach < 8 else [-round(reach / 2), 0, round(reach / 2)])
