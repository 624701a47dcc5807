"""Draw the figures of a result."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from af_kit.analysis import style
from af_kit.analysis.dsphipi import steps
from af_kit.analysis.dsphipi.fit import Fits, fits
from af_kit.analysis.dsphipi.results import DATA, is_varied, parts, spectrum, step_counts
from af_kit.analysis.fit.draw import draw_fit
from af_kit.analysis.fit.result import FitResult

if TYPE_CHECKING:
    import pyarrow as pa
    from matplotlib.figure import Figure

_MASS_LABEL = r"$m(\mu\mu\pi)$ [GeV]"
_PEAKS = ((r"D$^{+}$", 1.8697), (r"D$_\mathrm{s}^{+}$", 1.9684))


def plot(
    result: Mapping[str, Any],
    folder: str | Path,
    *,
    metadata: Mapping[str, Any] | None = None,
    fitted: Fits | None = None,
) -> list[Path]:
    """Draw a result of :func:`analyse` into ``folder``, each figure as PNG and as PDF.

    If it contains both data and simulation, they are drawn separately; names for simulation end in ``_simulation``.

    Parameters
    ----------
    metadata
        The datasets' metadata, for the line above the axes (see :func:`af_kit.analysis.style.experiment_label`).
    fitted
        The result of :func:`~af_kit.analysis.dsphipi.fit.fits`; None calls it. Invalid fits are not drawn.

    Returns
    -------
    list of Path
        The files that were written.
    """
    return style.save_all(_figures(result, metadata, fits(result) if fitted is None else fitted), folder)


def _figures(
    result: Mapping[str, Any], metadata: Mapping[str, Any] | None, fitted: Fits
) -> Iterator[tuple[str, Figure]]:
    by_part = parts(result)
    for name, part in by_part.items():
        suffix = "" if len(by_part) == 1 or name == DATA else f"_{name}"
        label = {**(metadata or {})}
        if suffix:
            label |= {"isMC": True, "label": "Simulation"}
        yield f"mass{suffix}", _mass(part, label)
        fit = fitted.get(name)
        if isinstance(fit, FitResult):
            figure = draw_fit(fit, spectrum(part), xlabel=r"$m(\mu\mu\pi)$", name=name, metadata=label)
            yield f"fit{suffix}", figure
        yield f"cutflow{suffix}", _cutflow(part, label)
        yield f"kinematics{suffix}", _kinematics(part["candidates"], label)
        if is_varied(part):
            yield f"scale_factors{suffix}", _band(part, label)


def _mass(result: Mapping[str, Any], metadata: Mapping[str, Any] | None) -> Figure:
    """Draw the mass of the selected candidates, with statistical errors and the names of the two mesons."""
    mass = spectrum(result)
    edges = mass.axes[0].edges
    figure, axes = style.subplots(metadata=metadata)
    centres = (edges[1:] + edges[:-1]) / 2
    values, errors = mass.values(), np.sqrt(mass.variances())
    axes.errorbar(centres, values, errors, np.diff(edges) / 2, fmt="o", color="black", markersize=4)
    axes.set(xlim=(edges[0], edges[-1]), xlabel=_MASS_LABEL)
    axes.set_ylim(0, 1.25 * (values + errors).max(initial=0) or 1)
    style.scale_counts(axes, f"candidates / {1000 * (edges[1] - edges[0]):.1f} MeV")
    style.place_axes(figure)
    top = values + errors
    peaks = [style.Peak(at, top[abs(centres - at) < 0.01].max(), name) for name, at in _PEAKS]
    style.name_peaks(axes, peaks, style.Density(edges, values, errors))
    return figure


def _cutflow(result: Mapping[str, Any], metadata: Mapping[str, Any] | None) -> Figure:
    """Draw what each step leaves of the one before, and what all other steps leave."""
    left = step_counts(result["cutflow"])
    others = step_counts(result["n_minus_1"])
    labels = ["all", *(step.label for step in steps.STEPS), "one per event"]
    x = np.arange(len(labels))
    figure, axes = style.subplots(size=(13, 9), metadata=metadata)
    for row, (name, offset) in enumerate((("events", -0.2), ("candidates", 0.2))):
        axes.bar(x + offset, left[row], 0.4, label=name, color=f"C{row}", alpha=0.7)
    axes.plot(x[1:-1] + 0.2, others[1], "v", color="black", label="candidates that pass all other steps")
    smallest = min(left[left > 0].min(initial=1e9), others[others > 0].min(initial=1e9))
    axes.set_ylim(0.3 * min(smallest, left.max() or 1), 4 * max(left.max(), 1))
    axes.set(yscale="log", ylabel="Left after the step", xlim=(-0.6, len(labels) - 0.4))
    axes.set_xticks(x, labels, rotation=40, ha="right", fontsize="x-small")
    axes.tick_params(axis="x", which="minor", bottom=False, top=False)
    axes.legend(loc="upper right")
    style.place_axes(figure)
    return figure


def _kinematics(candidates: pa.Table, metadata: Mapping[str, Any] | None) -> Figure:
    """Draw transverse momenta, directions, and the quantities that distinguish decays from combinations."""
    particles = {"mu1": r"$\mu_1$", "mu2": r"$\mu_2$", "track": "track", "": r"$\mu\mu\pi$"}
    shared = {
        "pt": (np.linspace(0, 40, 41), r"$p_\mathrm{T}$ [GeV]"),
        "eta": (np.linspace(-2.5, 2.5, 41), r"$\eta$"),
        "phi": (np.linspace(-np.pi, np.pi, 33), r"$\phi$ [rad]"),
    }
    single = {
        "phi_mass": (np.linspace(1.0, 1.04, 41), r"$m(\mu\mu)$ [GeV]"),
        "chi2": (np.linspace(0, 25, 51), r"Vertex $\chi^2$"),
        "significance": (np.linspace(0, 60, 61), "Distance from the beam / its error"),
    }
    weight = candidates["weight"].to_numpy()
    figure, grid = style.subplots(2, 3, size=(18, 11), metadata=metadata)
    for axes, (part, (edges, label)) in zip(grid[0], shared.items(), strict=True):
        for particle, legend in particles.items():
            values = candidates[f"{particle}_{part}" if particle else part].to_numpy()
            counts, _ = np.histogram(values, edges, weights=weight)
            axes.stairs(counts, edges, label=legend, linewidth=2, linestyle="-" if particle else "--")
        axes.set(xlabel=label, xlim=(edges[0], edges[-1]))
        axes.set_ylim(0, axes.get_ylim()[1] * (1.0 if part == "pt" else 1.45))
        style.scale_counts(axes, "candidates")
        axes.legend(loc="upper right", ncols=1 if part == "pt" else 2, fontsize="small")
    for axes, (name, (edges, label)) in zip(grid[1], single.items(), strict=True):
        counts, _ = np.histogram(candidates[name].to_numpy(), edges, weights=weight)
        axes.stairs(counts, edges, fill=True, alpha=0.3)
        axes.stairs(counts, edges, linewidth=2, color="C0")
        axes.set(xlabel=label, xlim=(edges[0], edges[-1]))
        style.scale_counts(axes, "candidates")
    style.place_axes(figure)
    return figure


def _band(result: Mapping[str, Any], metadata: Mapping[str, Any] | None) -> Figure:
    """Draw each variation of the muon scale factors relative to the nominal spectrum."""
    nominal = spectrum(result)
    edges, values = nominal.axes[0].edges, nominal.values()
    figure, axes = style.subplots(metadata=metadata)
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = {
            name: np.where(values > 0, spectrum(result, variation=name).values() / values, np.nan)
            for name in ("stat", "syst", "systup", "systdown")
        }
    axes.stairs(ratio["systup"], edges, baseline=ratio["systdown"], fill=True, alpha=0.35, label="total uncertainty")
    axes.stairs(ratio["stat"], edges, color="C1", label="+ statistical", baseline=None)
    axes.stairs(ratio["syst"], edges, color="C2", label="+ systematic", linestyle="--", baseline=None)
    axes.axhline(1, color="black", linewidth=1)
    reach = max(np.nanmax(abs(curve - 1), initial=0) for curve in ratio.values()) or 0.01
    axes.set(xlim=(edges[0], edges[-1]), xlabel=_MASS_LABEL, ylabel="Weighted / nominal")
    axes.set_ylim(1 - 1.8 * reach, 1 + 2.4 * reach)
    axes.legend(loc="upper right")
    style.place_axes(figure)
    return figure
