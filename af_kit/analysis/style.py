"""Make, label and save figures in the CMS style.

A figure is a plain :class:`matplotlib.figure.Figure`; pyplot and the user's settings do not change.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from af_kit.analysis.output import replacing
from af_kit.analysis.variances import variances_of

if TYPE_CHECKING:
    from hist import Hist
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_SETTINGS: dict[Any, Any] = {
    "font.size": 20,
    "axes.linewidth": 1.5,
    "lines.linewidth": 1.5,
    "xtick.major.size": 9,
    "xtick.minor.size": 4.5,
    "ytick.major.size": 9,
    "ytick.minor.size": 4.5,
}


@contextlib.contextmanager
def cms_style() -> Iterator[None]:
    """Use the CMS style inside a ``with`` block, and restore the user's settings after it."""
    import matplotlib as mpl
    import mplhep

    with mpl.rc_context({**mplhep.style.CMS, **_SETTINGS}):
        yield


def subplots(
    rows: int = 1,
    columns: int = 1,
    *,
    size: tuple[float, float] = (10, 8),
    metadata: Mapping[str, Any] | None = None,
) -> tuple[Figure, Any]:
    """Return a figure of ``size`` inches and its axes, like pyplot, but without adding it to the open figures.

    ``metadata`` is for :func:`experiment_label` above the (first) axes.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=size)
    grid = figure.subplots(rows, columns)
    experiment_label(np.ravel(grid)[0], metadata or {})
    return figure, grid


def place_axes(figure: Figure) -> None:
    """Fit the axes and their labels into the figure, once instead of at each saving."""
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    ConstrainedLayoutEngine(w_pad=0.08, h_pad=0.08).execute(figure)


def save(figure: Figure, folder: str | Path, name: str) -> list[Path]:
    """Write ``name.png`` and ``name.pdf`` without a date, so that equal figures are identical files."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    png, pdf = folder / f"{name}.png", folder / f"{name}.pdf"
    with replacing(png) as part:
        figure.savefig(part, format="png", dpi=100)
    with replacing(pdf) as part:
        figure.savefig(part, format="pdf", metadata={"CreationDate": None})
    return [png, pdf]


def save_all(figures: Iterable[tuple[str, Figure]], folder: str | Path) -> list[Path]:
    """Draw figures in the CMS style, one after the other, and `save` each under its name."""
    with cms_style():
        return [path for name, figure in figures for path in save(figure, folder, name)]


def common_metadata(datasets: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """Return the metadata that all datasets share, for the label of a figure of all of them.

    The luminosities of datasets of different eras are added up.
    """
    every = [dict(metadata) for metadata in datasets]
    first, *others = every or [{}]
    common = {key: value for key, value in first.items() if all(key in o and o[key] == value for o in others)}
    eras = {metadata.get("era") for metadata in every}
    if len(eras) == len(every) > 1 and None not in eras and all("lumi_ifb" in metadata for metadata in every):
        common["lumi_ifb"] = round(sum(metadata["lumi_ifb"] for metadata in every), 6)
    return common


def experiment_label(axes: Axes, metadata: Mapping[str, Any]) -> None:
    """Label the axes with the experiment, "Open data" or "Simulation", luminosity and energy.

    Parameters
    ----------
    metadata
        A dataset's metadata: ``experiment``, ``label`` (by default "Simulation" or "Open data", according to
        ``isMC``), ``lumi_ifb`` [1/fb] and ``sqrt_s_TeV``. Missing values are left out. If ``for_publication`` is False,
        the right edge of the axes says so.
    """
    import mplhep

    simulated = metadata.get("isMC")
    origin = "Simulation" if simulated is True else "Open data" if simulated is False else ""
    luminosity = f"{metadata['lumi_ifb']:.4g} fb$^{{-1}}$" if "lumi_ifb" in metadata else ""
    energy = f"{metadata['sqrt_s_TeV']} TeV" if "sqrt_s_TeV" in metadata else ""
    mplhep.label.exp_text(
        exp=str(metadata.get("experiment", "")),
        text=str(metadata.get("label", origin)),
        lumi=f"{luminosity} ({energy})" if luminosity and energy else luminosity or energy,
        ax=axes,
        scilocator_adjust=False,  # it would open a figure in pyplot; see scale_counts
    )
    if metadata.get("for_publication") is False:
        about: dict[str, Any] = {"transform": axes.transAxes, "rotation": "vertical", "ha": "left", "va": "top"}
        axes.text(1.01, 1.0, "not for publication", fontsize="small", color="#e42536", **about)


def scale_counts(axes: Axes, label: str) -> None:
    """Label a linear y axis that starts at zero, with a power of 1000 in the label of large counts."""
    top = axes.get_ylim()[1]
    power = 3 * int(np.log10(top) // 3) if top >= 1e4 else 0
    axes.yaxis.set_major_formatter(lambda y, _: f"{y / 10**power:g}")
    axes.set_ylabel(f"$10^{power}$ {label}" if power else label[0].upper() + label[1:])


class Density(NamedTuple):
    """A histogram per unit of its axis, comparable between bins of different width."""

    edges: np.ndarray
    values: np.ndarray
    errors: np.ndarray


def density(
    histogram: Hist, window: tuple[float, float] = (-np.inf, np.inf), *, entries_per_bin: float = 30.0
) -> Density:
    """Return the bins of a histogram inside ``window``, divided by their widths, with the errors of counts or weights.

    Neighbouring bins are merged if the filled bins have fewer than ``entries_per_bin`` entries on average.
    """
    edges, counts, variances = histogram.axes[0].edges, histogram.values(), variances_of(histogram)
    inside = (edges >= window[0]) & (edges <= window[1])
    bins_inside = inside[:-1] & inside[1:]
    edges, counts, variances = (
        edges[inside],
        counts[bins_inside],
        (counts if variances is None else variances)[bins_inside],
    )
    for factor in (1, 2, 4, 5, 10, 20):
        bins = len(counts) // factor
        merged, squares = (x[: bins * factor].reshape(bins, factor).sum(axis=1) for x in (counts, variances))
        if merged.any() and merged[merged > 0].mean() >= entries_per_bin:
            break
    edges = edges[::factor][: bins + 1]
    widths = np.diff(edges)
    return Density(edges, merged / widths, np.sqrt(squares) / widths)


class Peak(NamedTuple):
    """A peak to name in a spectrum: the position of its maximum, and its name."""

    x: float
    y: float
    text: str


def name_peaks(axes: Axes, peaks: Sequence[Peak], curve: Density, **text_options: Any) -> None:
    """Write a name above each peak or, if there is no room, next to it; names do not overlap each other or ``curve``.

    Call this last, after setting the limits and :func:`place_axes`: the names do not move afterwards.
    """
    figure: Any = axes.get_figure()
    to_pixels, to_data = axes.transData.transform, axes.transData.inverted().transform
    gap = figure.dpi / 20
    tops = np.maximum(curve.values + curve.errors, axes.get_ylim()[0])
    left, right = (to_pixels(np.column_stack([edges, tops])) for edges in (curve.edges[:-1], curve.edges[1:]))
    names: list[Any] = []

    def lowest(x0: float, x1: float, peak_y: float, height: float) -> float:
        """Return the lowest free position of a name between ``x0`` and ``x1``, above the curve and clear of names."""
        under = (right[:, 0] > x0) & (left[:, 0] < x1)
        base = max([peak_y, *left[under, 1]]) + gap
        for other in sorted(names, key=lambda name: name.y0):
            apart = x1 + gap < other.x0 or x0 - gap > other.x1
            if not (apart or base > other.y1 + gap or base + height < other.y0 - gap):
                base = other.y1 + gap
        return base

    for peak in sorted(peaks):
        text = axes.text(peak.x, peak.y, peak.text, ha="center", va="bottom", **text_options)
        box = text.get_window_extent()
        x, peak_y = to_pixels((peak.x, peak.y))
        positions = []
        for shift in (0.0, box.width / 2, -box.width / 2):
            base = lowest(box.x0 + shift, box.x1 + shift, peak_y, box.height)
            positions.append((round(base - peak_y + abs(shift) / 2), shift, base))
        _, shift, base = min(positions)
        text.set_position(tuple(to_data((x + shift, base))))
        names.append(text.get_window_extent())
        if base - peak_y > 5 * gap:
            axes.plot(*to_data([(x, peak_y + gap), (x, base - gap)]).T, color="0.6", linewidth=1)
