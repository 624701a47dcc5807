"""Figures of the shape fit: each channel with pulls, the weighted sum without background, the likelihood."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from af_kit.analysis import style
from af_kit.analysis.fit.families import family
from af_kit.analysis.fit.search import STRENGTH
from af_kit.analysis.hmumu.plot import BLIND, CHANNEL_NAMES
from af_kit.analysis.hmumu.shape_fit import ShapeFit
from af_kit.analysis.hmumu.shape_rows import WINDOW

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["plot_shapes"]

_BINS = 40  # 1 GeV each
_RED, _BLUE = "#bd1f01", "#3f90da"


def plot_shapes(result: ShapeFit, folder: str | Path, *, metadata: Mapping[str, Any] | None = None) -> list[Path]:
    """Draw a shape fit into a folder, each figure as PNG and as PDF.

    ``shape_CHANNEL``: the spectrum, signal plus background, and background; below, the pulls of the fit.
    ``shape_weighted``: the sum of the channels, each event weighted by S / (S + B) of its channel; below, without the
    background. ``shape_likelihood``: the profile of the strength. If the fit is blind, data are not drawn between 120
    and 130 GeV, and the curves are those expected for strength 1.

    Parameters
    ----------
    metadata
        For the line above the axes (:func:`af_kit.analysis.style.experiment_label`); by default luminosity and origin.
    """
    about: dict[str, Any] = {"isMC": True} if result.data == "simulation" else {}
    if result.lumi_ifb is not None:
        about["lumi_ifb"] = float(f"{result.lumi_ifb:.4g}")
    return style.save_all(_figures(result, {**about, **(metadata or {})}), folder)


def _figures(result: ShapeFit, metadata: Mapping[str, Any]) -> Iterator[tuple[str, Figure]]:
    spectra = {name: _spectrum(result, name) for name in result.categories}
    for name, spectrum in spectra.items():
        yield f"shape_{name}", _channel(result, name, spectrum, metadata)
    yield "shape_weighted", _weighted(result, spectra, metadata)
    yield "shape_likelihood", _likelihood(result, metadata)


class _Spectrum(NamedTuple):
    """Data and model of a channel in bins of 1 GeV, and the model's curves in events per GeV on a fine grid."""

    edges: np.ndarray
    counts: np.ndarray
    expected: np.ndarray
    shown: np.ndarray
    grid: np.ndarray
    signal: np.ndarray
    background: np.ndarray


def _spectrum(result: ShapeFit, name: str) -> _Spectrum:
    edges = np.linspace(*WINDOW, _BINS + 1)
    data = result.observed[name]
    counts = np.histogram((data.edges[1:] + data.edges[:-1]) / 2, edges, weights=data.counts)[0]
    model = result.envelope.fit.model.models[name]
    ordered = result.envelope.fit.ordered(name)
    grid = np.linspace(*WINDOW, 801)
    parts = model.densities(grid, *ordered)
    shown = np.ones(_BINS, bool)
    if result.blind:
        shown = (edges[1:] <= BLIND[0]) | (edges[:-1] >= BLIND[1])
    return _Spectrum(
        edges,
        counts,
        np.diff(model.integral(edges, *ordered)),
        shown,
        grid,
        parts[f"signal_{name}"],
        parts[f"background_{name}"],
    )


def _channel(result: ShapeFit, name: str, spectrum: _Spectrum, metadata: Mapping[str, Any]) -> Figure:
    figure, (axes, pulls) = _panels(metadata)
    edges, counts, shown = spectrum.edges, spectrum.counts, spectrum.shown
    axes.plot(spectrum.grid, spectrum.background + spectrum.signal, color=_RED, linewidth=2, label=_model_label(result))
    label = f"background: {family(result.families[name]).label}"
    axes.plot(spectrum.grid, spectrum.background, color=_BLUE, linestyle="--", linewidth=2, label=label)
    _points(axes, edges, counts, np.sqrt(counts), shown, _data_label(result))
    _hide(axes, result)
    top = max((counts + np.sqrt(counts))[shown].max(initial=1), (spectrum.background + spectrum.signal).max())
    axes.set_ylim(0, 1.45 * top)
    style.scale_counts(axes, "events / GeV")
    axes.legend(loc="upper right", fontsize="small")
    axes.text(0.04, 0.06, CHANNEL_NAMES[name], transform=axes.transAxes, va="bottom")
    pull = np.divide(counts - spectrum.expected, np.sqrt(spectrum.expected))
    pulls.axhspan(-2, 2, color="0.92", zorder=0)
    pulls.axhline(0, color="0.4", linewidth=1)
    pulls.stairs(np.where(shown, pull, 0), edges, fill=True, color="black", alpha=0.6)
    _hide(pulls, result)
    reach = max(4.0, float(np.ceil(np.abs(pull[shown]).max(initial=0) + 0.5)))
    pulls.set(ylim=(-reach, reach), ylabel="Pull")
    _finish(figure, axes, pulls)
    return figure


def _weighted(result: ShapeFit, spectra: Mapping[str, _Spectrum], metadata: Mapping[str, Any]) -> Figure:
    weights = _weights(result, spectra)
    first = next(iter(spectra.values()))
    counts, variance, signal, background = (
        sum(weights[name] ** power * getattr(one, key) for name, one in spectra.items())
        for power, key in ((1, "counts"), (2, "counts"), (1, "signal"), (1, "background"))
    )
    figure, (axes, below) = _panels(metadata)
    edges, grid, shown, errors = first.edges, first.grid, first.shown, np.sqrt(variance)
    axes.plot(grid, background + signal, color=_RED, linewidth=2, label=_model_label(result))
    axes.plot(grid, background, color=_BLUE, linestyle="--", linewidth=2, label="background")
    _points(axes, edges, counts, errors, shown, _data_label(result))
    _hide(axes, result)
    axes.set_ylim(0, 1.45 * max((counts + errors)[shown].max(initial=0), (background + signal).max()))
    style.scale_counts(axes, "weighted events / GeV")
    axes.legend(loc="upper right", fontsize="small")
    axes.text(0.04, 0.06, "All channels, weighted\nby S / (S + B)", transform=axes.transAxes, va="bottom")
    residual = counts - sum(weights[name] * _background(result, name, one.edges) for name, one in spectra.items())
    _points(below, edges, residual, errors, shown, "")
    below.plot(grid, signal, color=_RED, linewidth=2)
    below.axhline(0, color=_BLUE, linestyle="--", linewidth=2)
    _hide(below, result)
    reach = 1.2 * max(np.abs(residual)[shown].max(initial=0) + errors[shown].max(initial=0), np.abs(signal).max())
    below.set(ylim=(-reach, reach), ylabel="Data $-$ bkg.")
    _finish(figure, axes, below)
    return figure


def _weights(result: ShapeFit, spectra: Mapping[str, _Spectrum]) -> dict[str, float]:
    """Return S / (S + B) of each channel, within 2 GeV of 125 GeV, for strength 1.

    The weights are scaled so that the expected signal of all channels keeps its number of events.
    """
    found = {}
    for name, one in spectra.items():
        near = np.abs(one.grid - 125) < 2
        model = result.envelope.fit.model.models[name]
        unit = model.densities(one.grid, *model.ordered({**_own(result, name), STRENGTH: 1.0}))[f"signal_{name}"]
        found[name] = float(unit[near].sum() / (unit[near].sum() + one.background[near].sum()))
    signal = {name: result.signals[name].expected for name in found}
    scale = sum(signal.values()) / sum(found[name] * signal[name] for name in found)
    return {name: scale * weight for name, weight in found.items()}


def _own(result: ShapeFit, name: str) -> dict[str, float]:
    model = result.envelope.fit.model.models[name]
    return {one: result.envelope.fit.values[one] for one in model.parameters}


def _background(result: ShapeFit, name: str, edges: np.ndarray) -> np.ndarray:
    """Return the background in bins."""
    model = result.envelope.fit.model.models[name]
    values: np.ndarray = np.diff(model.integral(edges, *model.ordered({**_own(result, name), STRENGTH: 0.0})))
    return values


def _likelihood(result: ShapeFit, metadata: Mapping[str, Any]) -> Figure:
    from scipy.interpolate import CubicSpline

    figure, axes = style.subplots(metadata=metadata)
    found = result.envelope
    chosen = np.sum([found.curves[name][one] for name, one in found.families.items()], axis=0)
    curve = CubicSpline(found.nodes, chosen)(found.strengths)
    axes.plot(found.strengths, curve - curve.min(), color=_BLUE, linestyle="--", label="families of the minimum")
    axes.plot(found.strengths, found.rises, color=_RED, linewidth=2.5, label="envelope of all families")
    for rise, text in ((1, "68 %"), (3.841, "95 %")):
        axes.axhline(rise, color="0.6", linewidth=1)
        at = axes.get_yaxis_transform()
        axes.text(0.97, rise, text, transform=at, ha="right", va="bottom", fontsize="small", color="0.4")
    label = "Expected" if result.blind else "Pseudo-data" if result.data == "simulation" else "Observed"
    value = result.strength
    text = f"{label}\n$\\mu$ = {value.value:.2f}$^{{+{value.upper:.2f}}}_{{{value.lower:.2f}}}$"
    axes.text(0.5, 0.72, text, transform=axes.transAxes, ha="center", va="top")
    axes.set(xlim=(found.strengths[0], found.strengths[-1]), ylim=(0, 10))
    axes.set(xlabel=r"Signal strength $\mu$", ylabel=r"$-2\,\Delta \ln L$")
    axes.legend(loc="upper center", fontsize="small")
    style.place_axes(figure)
    return figure


def _panels(metadata: Mapping[str, Any]) -> tuple[Figure, Any]:
    figure, grid = style.subplots(2, 1, size=(10, 10), metadata=metadata)
    grid[0].get_gridspec().set_height_ratios([3, 1])
    return figure, grid


def _points(axes: Any, edges: np.ndarray, values: Any, errors: Any, shown: np.ndarray, label: str) -> None:
    centres = (edges[1:] + edges[:-1]) / 2
    axes.errorbar(
        centres[shown], values[shown], errors[shown], fmt="o", color="black", markersize=4, label=label, zorder=5
    )


def _hide(axes: Any, result: ShapeFit) -> None:
    if result.blind:
        axes.axvspan(*BLIND, color="0.85", zorder=0)


def _model_label(result: ShapeFit) -> str:
    if result.blind:
        return r"expected, $\mu$ = 1"
    return rf"fit, $\mu$ = {result.strength.value:.2f}"


def _data_label(result: ShapeFit) -> str:
    return "pseudo-data" if result.data == "simulation" else "data"


def _finish(figure: Figure, axes: Any, below: Any) -> None:
    axes.set_xlim(*WINDOW)
    axes.tick_params(labelbottom=False)
    below.set(xlim=WINDOW, xlabel=r"$m(\mu\mu)$ [GeV]")
    style.place_axes(figure)
