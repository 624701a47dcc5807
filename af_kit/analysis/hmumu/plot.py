"""Figures: data against stacked simulation with its uncertainty and the ratio, and the efficiencies of the steps."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from af_kit.analysis import style
from af_kit.analysis.hmumu.histograms import SCORE
from af_kit.analysis.hmumu.regions import CHANNELS
from af_kit.analysis.hmumu.results import EFFICIENCY_STEPS, efficiency_table, groups, spectrum
from af_kit.analysis.hmumu.variations import DIRECTIONS, label_of

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["compare", "plot"]

BLIND = (120.0, 130.0)
"""The range of the dimuon mass in which data are not drawn [GeV]."""

_WINDOWS = {"z_peak": (76.0, 106.0), "sidebands": (110.0, 150.0), "signal": (115.0, 135.0)}
_REGION_NAMES = {"z_peak": "Z peak", "sidebands": "sidebands", "signal": "signal region"}
CHANNEL_NAMES = {
    "ggh_0jet": "ggH, no jet",
    "ggh_1jet": "ggH, one jet",
    "ggh_2jets": "ggH, two jets",
    "vbf": "VBF",
    "tth_or_vh": "ttH, VH",
}
_COLOURS = {
    "DY": "#5790fc",
    "EWK Zjj": "#f89c20",
    "tt + single top": "#e42536",
    "VV + VVV + ttV": "#964a8b",
    "H": "#7a21dd",
    "other": "#9c9ca1",
}


def plot(
    result: Mapping[str, Any],
    folder: str | Path,
    *,
    metadata: Mapping[str, Any] | None = None,
    blind: tuple[float, float] | None = BLIND,
) -> list[Path]:
    """Draw a result of `process` into a folder, each figure as PNG and as PDF.

    ``dimuon_mass_REGION_CHANNEL``; if there are such histograms ``dijet_mass_REGION_vbf`` and ``dnn_score_REGION_vbf``;
    and ``efficiencies``.

    Parameters
    ----------
    metadata
        For the line above the axes (see :func:`af_kit.analysis.style.experiment_label`).
    blind
        The range of the dimuon mass [GeV] in which data are not drawn, nor are their scores in the signal region; None:
        all data are.
    """
    return style.save_all(_figures(result, metadata or {}, blind), folder)


def _about(result: Mapping[str, Any], metadata: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return the metadata for the label: a campaign that lacks calibrations is not for publication."""
    return {**({"for_publication": False} if result.get("lacking") else {}), **(metadata or {})}


def _figures(
    result: Mapping[str, Any], metadata: Mapping[str, Any], blind: tuple[float, float] | None
) -> Iterator[tuple[str, Figure]]:
    names = set().union(*(own for own in result["histograms"].values()))
    for region in _WINDOWS:
        for channel in CHANNELS if "dimuon_mass" in names else ():
            figure = compare(result, "dimuon_mass", region=region, channel=channel, metadata=metadata, blind=blind)
            if figure is not None:
                yield f"dimuon_mass_{region}_{channel}", figure
        if "dijet_mass" in names and (region != "signal" or blind is None):
            figure = compare(result, "dijet_mass", region=region, channel="vbf", metadata=metadata)
            if figure is not None:
                yield f"dijet_mass_{region}_vbf", figure
        if SCORE in names:
            figure = compare(result, SCORE, region=region, channel="vbf", metadata=metadata, blind=blind)
            if figure is not None:
                yield f"{SCORE}_{region}_vbf", figure
    yield "efficiencies", _efficiencies(result, metadata)


def compare(
    result: Mapping[str, Any],
    name: str,
    *,
    region: str,
    channel: str,
    metadata: Mapping[str, Any] | None = None,
    blind: tuple[float, float] | None = None,
) -> Figure | None:
    """Draw data, the stacked groups of simulation, and the ratio of the two; None if there are no events at all.

    The band is the uncertainty of the simulation: statistical and, if the histogram has variations, systematic, each
    source added in quadrature. The score is drawn on a logarithmic axis, with the signal also as a line.

    Parameters
    ----------
    blind
        The range of the dimuon mass [GeV] in which data are not drawn; given any, their scores are not drawn in the
        signal region.
    """
    members = groups(result)
    stacks = {
        group: spectrum(result, name, datasets=datasets, region=region, channel=channel)
        for group, datasets in members.items()
    }
    data = stacks.pop("data", None)
    first = next(iter(stacks.values()), data)
    if first is None or not any(total.values().any() for total in (*stacks.values(), *([data] if data else []))):
        return None
    edges, factor = first.axes[0].edges, 1
    window = _WINDOWS[region] if name == "dimuon_mass" else (edges[0], edges[-1])
    inside = (edges[:-1] >= window[0] - 1e-9) & (edges[1:] <= window[1] + 1e-9)
    kept = np.append(edges[:-1][inside], edges[1:][inside][-1:])
    factor = 2
    if name == SCORE:
        factor = 1
    elif name == "dimuon_mass":
        factor = next(n for n in (4, 2, 1) if inside.sum() % n == 0)
    edges = kept[::factor]

    def merged(values: Any) -> Any:
        return np.asarray(values)[inside].reshape(-1, factor).sum(axis=1)

    figure, (axes, ratio) = style.subplots(2, 1, size=(10, 10), metadata=_about(result, metadata))
    axes.get_gridspec().set_height_ratios([3, 1])
    bottom = np.zeros(edges.size - 1)
    for group in sorted(stacks, key=lambda one: stacks[one].values().sum()):
        top = bottom + merged(stacks[group].values())
        axes.stairs(top, edges, baseline=bottom, fill=True, color=_COLOURS[group], label=group)
        bottom = top
    error = np.sqrt(_variance(result, name, region, channel, members, merged))
    if stacks:
        axes.stairs(
            bottom + error, edges, baseline=bottom - error, fill=True, color="0.3", alpha=0.4, label="uncertainty"
        )
    centres = (edges[1:] + edges[:-1]) / 2
    highest = (bottom + error).max(initial=0)
    if data is not None:
        counts = merged(data.values())
        shown = np.ones(counts.size, bool)
        if blind is not None and name == SCORE:
            shown[:] = region != "signal"
        elif blind is not None:
            shown = (edges[1:] <= blind[0]) | (edges[:-1] >= blind[1])
        if shown.any():
            axes.errorbar(centres[shown], counts[shown], np.sqrt(counts[shown]), fmt="o", color="black", label="data")
        highest = max(highest, (counts + np.sqrt(counts))[shown].max(initial=0))
        filled = shown & (bottom > 0)
        quotient = counts[filled] / bottom[filled]
        ratio.errorbar(centres[filled], quotient, np.sqrt(counts[filled]) / bottom[filled], fmt="o", color="black")
    relative = np.divide(error, bottom, out=np.zeros_like(error), where=bottom > 0)
    ratio.stairs(1 + relative, edges, baseline=1 - relative, fill=True, color="0.3", alpha=0.4)
    ratio.axhline(1, color="black", linewidth=1)
    axes.set(xlim=(edges[0], edges[-1]), ylim=(0, 1.45 * highest or 1))
    if name == SCORE:
        least = min((one for one in (*bottom, highest) if one > 0), default=1.0)
        axes.set(yscale="log", ylim=(0.02 * least, (highest or 1) * (highest / least or 1) ** 0.5 * 10))
        if "H" in stacks:
            axes.stairs(merged(stacks["H"].values()), edges, color=_COLOURS["H"], linewidth=3, label="H alone")
    axes.tick_params(labelbottom=False)
    ratio.set(xlim=(edges[0], edges[-1]), ylim=(0.4, 1.6), xlabel=first.axes[0].label, ylabel="data / simulation")
    axes.set_ylabel("Events / bin" if name == SCORE else f"Events / {edges[1] - edges[0]:g} GeV")
    axes.legend(loc="upper right", ncols=2, fontsize="x-small")
    axes.text(0.03, 0.95, f"{CHANNEL_NAMES[channel]}\n{_REGION_NAMES[region]}", transform=axes.transAxes, va="top")
    style.place_axes(figure)
    return figure


def _variance(
    result: Mapping[str, Any],
    name: str,
    region: str,
    channel: str,
    members: Mapping[str, list[str]],
    merged: Any,
) -> Any:
    """Return the variance of the whole simulation in each bin: statistics, and every source of its variations."""
    simulated = [dataset for group, datasets in members.items() if group != "data" for dataset in datasets]
    if not simulated:
        return merged(np.zeros(next(iter(result["histograms"].values()))[name].axes[name].size))
    total = functools.partial(spectrum, result, name, datasets=simulated, region=region, channel=channel)
    nominal = total()
    variance = merged(nominal.variances())
    labels = {label for dataset in simulated for label in result["histograms"][dataset][name].axes["variation"]}
    for source in result.get("sources", ()):
        pair = [label_of(source, direction) for direction in DIRECTIONS]
        if labels.issuperset(pair):
            shifts = [merged(total(variation=label).values()) for label in pair]
            variance = variance + np.max([(shift - merged(nominal.values())) ** 2 for shift in shifts], axis=0)
    return variance


def _efficiencies(result: Mapping[str, Any], metadata: Mapping[str, Any]) -> Figure:
    """Draw the share of events that each main step leaves, for each dataset."""
    table = efficiency_table(result)
    figure, axes = style.subplots(size=(12, 9), metadata=_about(result, metadata))
    positions = np.arange(len(EFFICIENCY_STEPS))
    for number, (dataset, row) in enumerate(table.iterrows()):
        counts = row.to_numpy(dtype=float)
        shares = np.divide(counts, counts[0], out=np.zeros_like(counts), where=counts[0] > 0)
        style_of = {"color": f"C{number % 10}", "linestyle": ("-", "--", ":")[number // 10 % 3]}
        axes.plot(positions, np.where(shares > 0, shares, np.nan), marker="o", label=str(dataset), **style_of)
    titles = ["in", "mask, trigger,\ntwo muons", "muon\nselections", "two jets", "VBF"]
    axes.set_xticks(positions, titles, fontsize="x-small")
    axes.tick_params(axis="x", which="both", bottom=False, top=False)
    axes.set(yscale="log", ylabel="Share of events", ylim=(None, 3), xlim=(-0.3, len(positions) + 1.2))
    axes.legend(loc="upper right", fontsize="xx-small")
    style.place_axes(figure)
    return figure
