"""Figures of a template fit: templates before and after the fit, pulls, impacts, correlations, the limit."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from af_kit.analysis import style
from af_kit.analysis.templates.fit import TemplateFit, spread
from af_kit.analysis.templates.hypotheses import Limit

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

__all__ = ["draw_channel", "draw_correlation", "draw_impacts", "draw_limit", "draw_pulls"]

_COLOURS = ("#5790fc", "#92dadd", "#f89c20", "#e42536", "#964a8b", "#9c9ca1", "#b9ac70", "#717581")
_SIGNAL = "#7a21dd"


def draw_channel(
    result: TemplateFit,
    channel: str,
    *,
    before: bool = False,
    metadata: Mapping[str, Any] | None = None,
    data_label: str = "data",
    title: str = "",
    labels: Mapping[str, str] | None = None,
    magnify: float | None = None,
) -> Figure:
    """Draw data, the stacked processes and their ratio in one channel, after the fit or before it.

    The band is the uncertainty of the sum: after the fit from its covariance, before it from the nominal uncertainties.
    The signal is on top of the stack, and once more as a line.

    Parameters
    ----------
    before
        Draw the nominal templates (strength 1) instead of the fitted ones.
    magnify
        Factor on the line of the signal; None: 1.
    labels
        Process to name in the legend.
    """
    compiled = result.likelihood
    own, bins = compiled.model.channel(channel), compiled.slices[channel]
    parameters = compiled.start if before else result.parameters
    if before:
        known = np.isfinite(compiled.widths) & compiled.varied
        covariance = np.diag(np.where(known, np.nan_to_num(compiled.widths) ** 2, 0.0))
        error = spread(compiled, parameters, covariance, known)[channel]
    else:
        error = result.uncertainty()[channel]
    contents = {process.name: compiled.by_process(parameters)[process.name][bins] for process in own.processes}
    signals = [name for name in contents if name in compiled.model.signals]
    backgrounds = sorted((name for name in contents if name not in signals), key=lambda name: contents[name].sum())
    colours = dict(
        zip([process.name for process in own.processes if process.name not in signals], _COLOURS, strict=False)
    )
    widths = np.diff(own.edges)
    regular = np.allclose(widths, widths[0])
    density = 1.0 if regular else 1 / widths

    figure, (axes, ratio) = style.subplots(2, 1, size=(10, 10), metadata=metadata)
    axes.get_gridspec().set_height_ratios([3, 1])
    bottom = np.zeros(widths.size)
    for name in backgrounds:
        top = bottom + contents[name]
        label = (labels or {}).get(name, name)
        axes.stairs(
            top * density, own.edges, baseline=bottom * density, fill=True, color=colours.get(name, "0.7"), label=label
        )
        bottom = top
    signal = np.sum([contents[name] for name in signals], axis=0)
    total = bottom + signal
    if (signal > 0).any():
        text = rf"signal, $\mu$ = {parameters[compiled.poi]:.2f}"
        axes.stairs(total * density, own.edges, baseline=bottom * density, fill=True, color=_SIGNAL, label=text)
    factor = magnify or 1.0
    nominal = np.sum([own.process(name).values for name in signals], axis=0) * factor
    line = f"expected signal{f' x {factor:g}' if factor != 1 else ''}"
    axes.stairs(nominal * density, own.edges, color="black", linestyle="--", linewidth=2, label=line)
    axes.stairs(
        (total + error) * density, own.edges, baseline=(total - error) * density, fill=True, color="0.3", alpha=0.4,
        label="uncertainty",
    )  # fmt: skip
    counts = result.data.main[bins]
    centres = (own.edges[1:] + own.edges[:-1]) / 2
    axes.errorbar(
        centres, counts * density, np.sqrt(counts) * density, widths / 2, fmt="o", color="black", label=data_label
    )
    highest = float(np.max(np.append((total + error) * density, (counts + np.sqrt(counts)) * density)))
    lowest = float(np.min((total * density)[total > 0]))
    logarithmic = highest > 100 * lowest
    if logarithmic:
        bottom_of = min(lowest, float(np.min(nominal[nominal > 0], initial=lowest))) / 3
        axes.set_yscale("log")
        axes.set_ylim(max(bottom_of, 1e-4 * highest), highest * (highest / max(bottom_of, 1e-4 * highest)) ** 0.6)
    else:
        axes.set_ylim(0, 1.6 * highest)
    axes.set_xlim(own.edges[0], own.edges[-1])
    axes.set_ylabel(_events_label(own.variable, widths, regular=regular))
    axes.tick_params(labelbottom=False)
    axes.legend(loc="upper right", ncols=2, fontsize="x-small")
    where = f"{title or channel}\n{'before' if before else 'after'} the fit"
    axes.text(0.03, 0.95, where, transform=axes.transAxes, va="top", fontsize="small")
    relative = error / total
    ratio.stairs(1 + relative, own.edges, baseline=1 - relative, fill=True, color="0.3", alpha=0.4)
    ratio.errorbar(centres, counts / total, np.sqrt(counts) / total, widths / 2, fmt="o", color="black")
    ratio.axhline(1, color="black", linewidth=1)
    reach = float(
        np.clip(np.max(np.append(np.abs(counts / total - 1) + np.sqrt(counts) / total, relative)) * 1.2, 0.1, 2)
    )
    ratio.set(xlim=(own.edges[0], own.edges[-1]), ylim=(max(1 - reach, 0), 1 + reach), ylabel="data / fit")
    ratio.set_xlabel(own.variable)
    style.place_axes(figure)
    return figure


def draw_impacts(
    result: TemplateFit, table: pd.DataFrame, *, number: int = 25, metadata: Mapping[str, Any] | None = None
) -> Figure:
    """Draw the largest impacts on the strength, with the pull of each parameter.

    Left: the fitted value, in units of the uncertainty before the fit (a factor that only the data determine: its value
    is written). Right: how far the strength moves for plus (filled) and minus (open) one standard deviation after the
    fit.
    """
    shown = table.head(number)[::-1]
    compiled = result.likelihood
    figure, (left, right) = style.subplots(1, 2, size=(15, 3 + 0.42 * len(shown)), metadata=metadata)
    rows = np.arange(len(shown))
    for row, (name, one) in zip(rows, shown.iterrows(), strict=True):
        position = compiled.position(str(name))
        width = compiled.widths[position]
        if np.isfinite(width):
            pull = (one["value"] - compiled.start[position]) / width
            left.errorbar(pull, row, xerr=one["error"] / width, fmt="o", color="black")
        else:
            left.text(0, row, f"{one['value']:.2f} ± {one['error']:.2f}", ha="center", va="center", fontsize="x-small")
    left.set_yticks(rows, list(shown.index), fontsize="xx-small")
    right.barh(rows, shown["post_up"], height=0.6, color="#5790fc", alpha=0.9, label=r"$+1\sigma$")
    right.barh(
        rows, shown["post_down"], height=0.6, facecolor="none", edgecolor="#e42536", linewidth=2, label=r"$-1\sigma$"
    )
    right.set_yticks([])
    for axes in (left, right):
        axes.set_ylim(-0.8, len(shown) - 0.2)
        axes.tick_params(axis="y", which="both", left=False, right=False)
        axes.axvline(0, color="black", linewidth=1)
    for bound in (-1, 1):
        left.axvline(bound, color="0.6", linestyle="--", linewidth=1)
    pulls = np.abs(result.pulls["pull"].reindex(shown.index).dropna())
    left.set_xlim(*np.array([-1, 1]) * max(2.2, float(pulls.max() if len(pulls) else 0) + 1.2))
    left.set_xlabel(r"$(\hat{\theta} - \theta_0)\, /\, \Delta\theta$")
    right.set_xlabel(
        rf"$\Delta\hat{{\mu}}$   ($\hat{{\mu}}$ = {result.strength.value:.2f} ± {result.strength.error:.2f})"
    )
    reach = 1.25 * max(float(shown[["post_up", "post_down"]].abs().to_numpy().max(initial=0)), 1e-9)
    right.set_xlim(-reach, reach)
    right.legend(loc="lower right", fontsize="x-small")
    style.place_axes(figure)
    return figure


def draw_pulls(result: TemplateFit, *, number: int = 60, metadata: Mapping[str, Any] | None = None) -> Figure:
    """Draw the pulls and constraints of the sources of uncertainty, without the statistical factors of bins; the ones
    furthest from 0 ± 1 if there are more than ``number``."""
    table = result.pulls
    table = table[[not str(name).startswith("stat_") for name in table.index]]
    if len(table) > number:
        interest = np.maximum(table["pull"].abs().to_numpy(), 1 - table["constraint"].to_numpy())
        table = table.iloc[np.sort(np.argsort(-interest, kind="stable")[:number])]
    figure, axes = style.subplots(size=(4 + 0.3 * max(len(table), 12), 9), metadata=metadata)
    columns = np.arange(len(table))
    axes.axhspan(-2, 2, color="#ffdf7f", alpha=0.7)
    axes.axhspan(-1, 1, color="#85d1a4")
    axes.axhline(0, color="black", linewidth=1)
    axes.errorbar(columns, table["pull"], table["constraint"], fmt="o", color="black")
    axes.set_xticks(columns, list(table.index), rotation=90, fontsize="xx-small")
    axes.tick_params(axis="x", which="minor", bottom=False, top=False)
    reach = max(2.4, float((table["pull"].abs() + table["constraint"]).max()) + 0.3) if len(table) else 2.4
    axes.set(xlim=(-1, len(table)), ylim=(-reach, reach))
    axes.set_ylabel(r"$(\hat{\theta} - \theta_0)\, /\, \Delta\theta$")
    style.place_axes(figure)
    return figure


def draw_correlation(result: TemplateFit, *, number: int = 20, metadata: Mapping[str, Any] | None = None) -> Figure:
    """Draw the correlations of the strength and of the parameters that are most correlated with any other."""
    matrix = result.correlation
    off = matrix.abs().to_numpy().copy()
    np.fill_diagonal(off, 0)
    poi = result.likelihood.model.poi
    order = [name for name in matrix.index[np.argsort(-off.max(axis=1), kind="stable")] if name != poi][: number - 1]
    chosen = [poi, *order]
    values = matrix.loc[chosen, chosen].to_numpy()
    figure, axes = style.subplots(size=(13, 11.5), metadata=metadata)
    image = axes.imshow(values, vmin=-1, vmax=1, cmap="RdBu_r")
    places = np.arange(len(chosen))
    axes.set_xticks(places, chosen, rotation=90, fontsize="xx-small")
    axes.set_yticks(places, chosen, fontsize="xx-small")
    axes.tick_params(which="both", length=0)
    for i in places:
        for j in places:
            colour = "white" if abs(values[i, j]) > 0.6 else "black"
            axes.text(j, i, f"{round(100 * values[i, j]):d}", ha="center", va="center", fontsize=11, color=colour)
    figure.colorbar(image, cax=axes.inset_axes((1.02, 0, 0.035, 1)), label="Correlation (numbers in %)")
    style.place_axes(figure)
    return figure


def draw_limit(limit: Limit, *, metadata: Mapping[str, Any] | None = None, data_label: str = "observed") -> Figure:
    """Draw CLs as a function of the strength, observed and expected; the limits are where it crosses the line."""
    scan = np.array(limit.scan)
    strengths, observed, bands = scan[:, 0], scan[:, 1], scan[:, 2:]
    figure, axes = style.subplots(size=(11, 9), metadata=metadata)
    axes.fill_between(strengths, bands[:, 0], bands[:, 4], color="#ffdf7f", label=r"expected $\pm 2\sigma$")
    axes.fill_between(strengths, bands[:, 1], bands[:, 3], color="#85d1a4", label=r"expected $\pm 1\sigma$")
    axes.plot(strengths, bands[:, 2], color="black", linestyle="--", label="expected")
    axes.plot(strengths, observed, color="black", marker="o", markersize=4, label=data_label)
    axes.axhline(1 - limit.level, color="#e42536", linewidth=2, label=f"{100 * limit.level:g} % CL")
    lowest = 0.2 * (1 - limit.level)
    axes.set(yscale="log", ylim=(lowest, 3), xlim=(0, 1.1 * max(limit.observed, limit.expected[-1])))
    axes.set_xlabel(r"Signal strength $\mu$")
    axes.set_ylabel(r"CL$_s$")
    text = f"$\\mu$ < {limit.observed:.2f} ({data_label})\n$\\mu$ < {limit.expected[2]:.2f} (expected)"
    axes.text(0.03, 0.97, text, transform=axes.transAxes, va="top", fontsize="small")  # above 1, where no curve is
    axes.legend(loc="upper right", fontsize="x-small")
    style.place_axes(figure)
    return figure


def _events_label(variable: str, widths: Any, *, regular: bool) -> str:
    """Return the label of the y axis: with the width of the bins, or of a density."""
    unit = variable.rpartition("[")[2].partition("]")[0] if "[" in variable else ""
    if regular:
        return f"Events / {widths[0]:g} {unit}" if unit else "Events"
    return f"Events / {unit or 'unit of the axis'}"
