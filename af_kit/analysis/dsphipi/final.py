"""The fits that belong to a result, their figure, and everything as HEPData takes it."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from af_kit.analysis import output
from af_kit.analysis.dsphipi import steps
from af_kit.analysis.dsphipi.cutflow import summed
from af_kit.analysis.dsphipi.fill import spectrum
from af_kit.analysis.dsphipi.fit import TAILS, WINDOW, fit, fit_simulation
from af_kit.analysis.dsphipi.parts import DATA, SIMULATION, is_varied, parts
from af_kit.analysis.fit.draw import draw_fit
from af_kit.analysis.fit.result import FitResult
from af_kit.analysis.hepdata import Column, Table, bins, write_hepdata
from af_kit.errors import FitError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# With fewer candidates in the range of the fit nobody would ask for one.
LEAST_CANDIDATES = 100

Fits = Mapping[str, FitResult | FitError]


def fits(result: Mapping[str, Any]) -> dict[str, FitResult | FitError]:
    """Fit what a result holds: simulation with free tails, data with those tails, or else with the usual ones.

    Returns
    -------
    dict
        "data" and "simulation", those that there are: the fit, or the error that says why there is none.
    """
    found: dict[str, FitResult | FitError] = {}
    pieces = parts(result)
    for kind in (SIMULATION, DATA):  # tails come first
        if kind not in pieces:
            continue
        mass = spectrum(pieces[kind])
        candidates = mass.sum().value
        try:
            if candidates < LEAST_CANDIDATES:
                raise FitError(
                    f"{candidates:,.0f} candidates between {WINDOW[0]} and {WINDOW[1]} GeV are too few for a fit.",
                    reasons=["too few candidates"],
                )
            if kind == SIMULATION:
                found[kind] = fit_simulation(mass, bins=None)
            else:
                tails = found.get(SIMULATION)
                found[kind] = fit(mass, tails=tails if isinstance(tails, FitResult) else TAILS)
        except FitError as error:
            found[kind] = error
    return found


def write_fits(found: Fits, folder: str | Path) -> list[Path]:
    """Write ``fit.json`` (data) and ``fit_simulation.json``; of a fit that is not valid the reasons, and a warning."""
    files = []
    for kind, one in found.items():
        path = Path(folder) / f"{file_name(kind)}.json"
        if isinstance(one, FitResult):
            files.append(one.write(path))
            continue
        warnings.warn(f"no fit of the {kind}, and no figure of one: {one}", stacklevel=3)
        reasons = {"valid": False, "reasons": list(one.reasons), "at_limit": list(one.at_limit), "status": one.status}
        files.append(output.write_json({**reasons, "message": str(one)}, path))
    return files


def file_name(kind: str, name: str = "fit") -> str:
    """The name of a file for data or simulation."""
    return name if kind == DATA else f"{name}_{kind}"


def fit_figure(result: FitResult, mass: Any, kind: str, metadata: Mapping[str, Any] | None) -> Figure:
    """Data, total, components and pulls."""
    return draw_fit(result, mass, xlabel=r"$m(\mu\mu\pi)$", name=kind, metadata=metadata)


# ------------------------------------------------------------------------------------------------------------- HEPData


def write_points(
    result: Mapping[str, Any], found: Fits, folder: str | Path, *, metadata: Mapping[str, Any] | None = None
) -> list[Path]:
    """Write the points of the figures as a HEPData submission: spectrum and fit, parameters, cutflow."""
    qualifiers = {}
    if "sqrt_s_TeV" in (metadata or {}):
        qualifiers["SQRT(S) [GEV]"] = 1000 * metadata["sqrt_s_TeV"]  # type: ignore[index]
    if "lumi_ifb" in (metadata or {}):
        qualifiers["LUMINOSITY [fb^-1]"] = metadata["lumi_ifb"]  # type: ignore[index]
    tables = []
    for kind, piece in parts(result).items():
        suffix = "" if kind == DATA else f" {kind}"
        one = found.get(kind)
        valid = one if isinstance(one, FitResult) else None
        tables.append(_spectrum_table(piece, valid, suffix, qualifiers))
        if valid is not None:
            tables.append(_parameter_table(valid, suffix))
        tables.append(_cutflow_table(piece, suffix))
    return write_hepdata(
        tables,
        folder,
        comment="Ds -> phi(mu mu) pi candidates: mass spectrum and fit, selection.",
        keywords={
            "reactions": ["P P --> DS+ X", "P P --> D+ X"],
            **({"cmenergies": [qualifiers["SQRT(S) [GEV]"]]} if "SQRT(S) [GEV]" in qualifiers else {}),
        },
    )


def _spectrum_table(
    piece: Mapping[str, Any], valid: FitResult | None, suffix: str, qualifiers: Mapping[str, Any]
) -> Table:
    mass = spectrum(piece)
    edges, values = mass.axes[0].edges, mass.values()
    errors: dict[str, Any] = {"stat": np.sqrt(mass.variances())}
    if is_varied(piece):
        ends = [spectrum(piece, variation=name).values() - values for name in ("systdown", "systup")]
        errors["muon scale factors"] = list(zip(*ends, strict=True))
    columns = [Column("Candidates", values, errors=errors, qualifiers=qualifiers)]
    if valid is not None:
        columns.append(Column("Fit", np.diff(valid.model.integral(edges, *valid.ordered)), qualifiers=qualifiers))
        for component in valid.model.components:
            alone = {
                **valid.values,
                **{other.yield_name: 0.0 for other in valid.model.components if other != component},
            }
            points = np.diff(valid.model.integral(edges, *valid.model.ordered(alone)))
            columns.append(Column(f"Fit, {component.name}", points, qualifiers=qualifiers))
    return Table(
        f"Mass spectrum{suffix}",
        "Candidates per bin of the mass of two muons and a track, and the fitted model integrated over the bin.",
        [Column("M(MU MU PI)", bins(edges), "GEV")],
        columns,
    )


def _parameter_table(result: FitResult, suffix: str) -> Table:
    names = list(result.values)
    free = [name in result.free for name in names]
    parabolic = [result.errors.get(name, np.nan) for name in names]
    errors = {"parabolic": parabolic}
    if result.minos:
        errors["Minos"] = [result.minos.get(name, (np.nan, np.nan)) for name in names]  # type: ignore[misc]
    return Table(
        f"Fit parameters{suffix}",
        f"Parameters of the fit in {result.model.window[0]} to {result.model.window[1]} GeV; masses in GeV.",
        [Column("Parameter", names)],
        [
            Column("Value", [result.values[name] for name in names], errors=errors),
            Column("Fitted or fixed", ["fitted" if is_free else "fixed" for is_free in free]),
        ],
    )


def _cutflow_table(piece: Mapping[str, Any], suffix: str) -> Table:
    left = summed(piece["cutflow"])
    return Table(
        f"Selection{suffix}",
        "Events and candidates left after each step; the last row has one candidate of each event.",
        [Column("Step", ["all", *steps.NAMES, "best"])],
        [Column("Events", left[0].tolist()), Column("Candidates", left[1].tolist())],
    )
