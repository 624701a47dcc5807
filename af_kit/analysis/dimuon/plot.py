"""Draw the figures of a result, and write it into a folder."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from af_kit.analysis import output, style
from af_kit.analysis.dimuon.table import z_window

if TYPE_CHECKING:
    import pyarrow as pa
    from hist import Hist
    from matplotlib.figure import Figure


class Resonance(NamedTuple):
    """A particle that decays into two muons: its mass, and the distance within which its peak is searched, in GeV."""

    name: str
    mass: float
    half_width: float


# Masses of the Particle Data Group. Rho and omega overlap.
RESONANCES = (
    Resonance(r"$\eta$", 0.548, 0.02),
    Resonance(r"$\rho,\,\omega$", 0.783, 0.03),
    Resonance(r"$\phi$", 1.019, 0.03),
    Resonance(r"J/$\psi$", 3.097, 0.1),
    Resonance(r"$\psi$(2S)", 3.686, 0.1),
    Resonance(r"$\Upsilon$(1S)", 9.460, 0.15),
    Resonance(r"$\Upsilon$(2S)", 10.023, 0.1),
    Resonance(r"$\Upsilon$(3S)", 10.355, 0.1),
    Resonance("Z", 91.19, 3.0),
)
# In the whole spectrum, the three Upsilon peaks are too close for separate names.
_UPSILONS = Resonance(r"$\Upsilon$(1S, 2S, 3S)", 9.9, 0.6)
_OVERVIEW = (*(r for r in RESONANCES if "Upsilon" not in r.name), _UPSILONS)

ZOOMS = {"mass_jpsi": (2.6, 4.2), "mass_upsilon": (8.5, 11.5), "mass_z": (60.0, 120.0)}

_MASS_LABEL = r"$m_{\mu\mu}$ [GeV]"


def plot(result: Mapping[str, Any], folder: str | Path, *, metadata: Mapping[str, Any] | None = None) -> list[Path]:
    """Draw a result of :func:`analyse` or :func:`histograms` into ``folder``, each figure as PNG and as PDF.

    Parameters
    ----------
    result
        ``mass`` and ``multiplicity``; if it has ``candidates``, their kinematics are drawn, too.
    metadata
        The dataset's metadata, for the line above the axes (see :func:`af_kit.analysis.style.experiment_label`).

    Returns
    -------
    list of Path
        The files that were written.
    """
    return style.save_all(_figures(result, metadata), folder)


def write(
    result: Mapping[str, Any],
    folder: str | Path,
    *,
    metadata: Mapping[str, Any] | None = None,
    plots: bool = True,
) -> list[Path]:
    """Write ``histograms.json``, ``candidates.parquet``, ``z_candidates.parquet`` and ``plots/`` into ``folder``."""
    folder = Path(folder)
    files = [output.write_histograms(result, folder / "histograms.json")]
    if "candidates" in result:
        files.append(output.write_table(result["candidates"], folder / "candidates.parquet"))
        files.append(output.write_table(z_window(result["candidates"]), folder / "z_candidates.parquet"))
    if plots:
        files += plot(result, folder / "plots", metadata=metadata)
    return files


def _figures(result: Mapping[str, Any], metadata: Mapping[str, Any] | None) -> Iterator[tuple[str, Figure]]:
    yield "mass", _spectrum(result["mass"], metadata)
    for name, window in ZOOMS.items():
        yield name, _zoom(result["mass"], window, metadata)
    yield "multiplicity", _multiplicity(result["multiplicity"], metadata)
    if "candidates" in result:
        yield "kinematics", _kinematics(result["candidates"], metadata)


def _spectrum(mass: Hist, metadata: Mapping[str, Any] | None) -> Figure:
    """Draw the whole spectrum on logarithmic axes, per GeV, with the names of its resonances."""
    curve = style.density(mass)
    figure, axes = style.subplots(size=(12, 8), metadata=metadata)
    axes.stairs(curve.values, curve.edges, fill=True, alpha=0.2)
    axes.stairs(curve.values, curve.edges, color="C0")
    filled = curve.values[curve.values > 0]
    axes.set_ylim(filled.min(initial=1e9) / 2, 10 * filled.max(initial=1))
    axes.set(xscale="log", yscale="log", xlim=(0.2, 200), xlabel=_MASS_LABEL, ylabel="Candidates / GeV")
    axes.xaxis.set_major_formatter("{x:g}")
    style.place_axes(figure)
    style.name_peaks(axes, _peaks(curve, _OVERVIEW), curve)
    return figure


def _zoom(mass: Hist, window: tuple[float, float], metadata: Mapping[str, Any] | None) -> Figure:
    """Draw a part of the spectrum on linear axes, with statistical errors."""
    curve = style.density(mass, window, entries_per_bin=5)
    figure, axes = style.subplots(metadata=metadata)
    centres, half_widths = (curve.edges[1:] + curve.edges[:-1]) / 2, np.diff(curve.edges) / 2
    axes.errorbar(centres, curve.values, curve.errors, half_widths, fmt="o", color="black", markersize=4)
    axes.set(xlim=window, xlabel=_MASS_LABEL)
    axes.set_ylim(0, 1.25 * (curve.values + curve.errors).max(initial=0) or 1)
    style.scale_counts(axes, "candidates / GeV")
    style.place_axes(figure)
    style.name_peaks(axes, _peaks(curve, RESONANCES), curve)
    return figure


def _peaks(curve: style.Density, resonances: Sequence[Resonance]) -> list[style.Peak]:
    """Return the highest points of a spectrum near the known masses that it contains."""
    peaks = []
    for name, mass, half_width in resonances:
        near = (curve.edges[:-1] < mass + half_width) & (curve.edges[1:] > mass - half_width) & (curve.values > 0)
        if near.any() and curve.edges[0] < mass < curve.edges[-1]:
            peaks.append(style.Peak(mass, (curve.values + curve.errors)[near].max(), name))
    return peaks


def _multiplicity(multiplicity: Hist, metadata: Mapping[str, Any] | None) -> Figure:
    """Draw the number of muons per event; the last bar is the overflow."""
    counts = multiplicity.values(flow=True)[1:]  # the underflow is empty
    number = np.arange(len(counts))
    figure, axes = style.subplots(metadata=metadata)
    axes.bar(number, counts, width=0.9, alpha=0.6)
    axes.set_ylim(0.5, 5 * max(counts.max(), 1))
    axes.set(yscale="log", xlabel="Muons per event", ylabel="Events", xlim=(-0.7, number[-1] + 0.7))
    axes.set_xticks(number, [*map(str, number[:-1]), rf"$\geq$ {number[-1]}"])
    axes.tick_params(axis="x", which="both", bottom=False, top=False)
    for n, count in zip(number[counts > 0], counts[counts > 0], strict=True):
        axes.text(n, count * 1.15, f"{100 * count / counts.sum():.2g} %", ha="center", fontsize="small")
    style.place_axes(figure)
    return figure


def _kinematics(candidates: pa.Table, metadata: Mapping[str, Any] | None) -> Figure:
    """Draw transverse momentum, pseudorapidity and azimuth of the pairs (top) and of their muons (bottom)."""
    bins = {
        "pt": (np.linspace(0, 100, 51), r"$p_{\mathrm{T}}$ [GeV]"),
        "eta": (np.linspace(-5, 5, 51), r"$\eta$"),
        "phi": (np.linspace(-np.pi, np.pi, 33), r"$\phi$ [rad]"),
    }
    curves = {"{}": r"$\mu\mu$"}, {"mu_plus_{}": r"$\mu^{+}$", "mu_minus_{}": r"$\mu^{-}$"}
    figure, grid = style.subplots(2, 3, size=(18, 11), metadata=metadata)
    for row, curves_of_row, what in zip(grid, curves, ("pairs", "muons"), strict=True):
        for axes, (name, (edges, label)) in zip(row, bins.items(), strict=True):
            for column, legend in curves_of_row.items():
                counts, _ = np.histogram(candidates[column.format(name)].to_numpy(), edges)
                axes.stairs(counts, edges, label=legend, linewidth=2, linestyle="--" if "minus" in column else "-")
            axes.set(xlabel=label, xlim=(edges[0], edges[-1]))
            if name == "pt":
                axes.set_ylim(0.5, 3 * max(axes.get_ylim()[1], 1))
                axes.set(yscale="log", ylabel=what.capitalize())
            else:
                axes.set_ylim(0, axes.get_ylim()[1] * 1.2)
                style.scale_counts(axes, what)
            axes.legend(loc="upper right")
    style.place_axes(figure)
    return figure
