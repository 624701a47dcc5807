"""Draw the figures of a result."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from af_kit.analysis import style
from af_kit.analysis.counting.analyse import FLAVOURS
from af_kit.analysis.counting.objects import LEVELS
from af_kit.analysis.counting.select import CHANNELS

if TYPE_CHECKING:
    from hist import Hist
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def plot(result: Mapping[str, Any], folder: str | Path, *, metadata: Mapping[str, Any] | None = None) -> list[Path]:
    """Draw the histograms of a result into ``folder``, each figure as PNG and as PDF.

    All datasets are drawn together: leptons of each quality per event, jets per event, and the pt of the leading lepton
    in the two channels.

    Parameters
    ----------
    metadata
        The datasets' metadata, for the line above the axes (see :func:`af_kit.analysis.style.experiment_label`).

    Returns
    -------
    list of Path
        The files that were written.
    """
    return style.save_all(_figures(result, metadata), folder)


def _figures(result: Mapping[str, Any], metadata: Mapping[str, Any] | None) -> Iterator[tuple[str, Figure]]:
    yield "leptons", _leptons(result["leptons"], metadata)
    yield "jets", _jets(result["jets"], metadata)
    yield "leading_pt", _leading_pt(result["leading_pt"], metadata)


def _leptons(leptons: Hist, metadata: Mapping[str, Any] | None) -> Figure:
    """Draw the number of muons and of electrons per event, one line for each quality."""
    figure, panels = style.subplots(1, 2, size=(18, 8), metadata=metadata)
    for axes, flavour in zip(panels, FLAVOURS, strict=True):
        lines = {level: leptons[::sum, flavour, level, :] for level in LEVELS}
        _multiplicities(axes, lines, f"{flavour.capitalize()} per event")
    style.place_axes(figure)
    return figure


def _jets(jets: Hist, metadata: Mapping[str, Any] | None) -> Figure:
    figure, axes = style.subplots(metadata=metadata)
    lines = {"selected": jets.project("jets"), "b-tagged": jets.project("btagged")}
    _multiplicities(axes, lines, "Jets per event")
    style.place_axes(figure)
    return figure


def _multiplicities(axes: Axes, lines: Mapping[str, Hist], label: str) -> None:
    """Draw numbers per event on a logarithmic axis; the last bin has all larger numbers, too."""
    top = 1.0
    for name, histogram in lines.items():
        counts = histogram.values(flow=True)[1:]  # a number is never negative: the underflow is empty
        counts = np.append(counts[:-2], counts[-2:].sum())
        axes.stairs(counts, np.arange(len(counts) + 1) - 0.5, label=name, linewidth=2)
        top = max(top, counts.max())
    number = np.arange(len(counts))
    axes.set_ylim(0.5, 20 * top)
    axes.set(yscale="log", xlim=(-0.5, number[-1] + 0.5), xlabel=label, ylabel="Events")
    axes.set_xticks(number, [*map(str, number[:-1]), rf"$\geq$ {number[-1]}"])
    axes.tick_params(axis="x", which="minor", bottom=False, top=False)
    axes.legend(loc="upper right")


def _leading_pt(leading_pt: Hist, metadata: Mapping[str, Any] | None) -> Figure:
    """Draw the pt of the leading tight lepton in both channels; the overflow is not shown."""
    figure, axes = style.subplots(metadata=metadata)
    edges, top = leading_pt.axes["pt"].edges, 0.0
    for channel in CHANNELS:
        counts = leading_pt[::sum, channel, :].values()
        axes.stairs(counts, edges, label=channel.capitalize(), linewidth=2)
        top = max(top, counts.max())
    axes.set(xlim=(edges[0], edges[-1]), xlabel=leading_pt.axes["pt"].label)
    axes.set_ylim(0, 1.3 * top or 1)
    style.scale_counts(axes, f"events / {edges[1] - edges[0]:g} GeV")
    axes.legend(loc="upper right")
    style.place_axes(figure)
    return figure
