"""Write a result into a folder: histograms, tables, a ROOT file, the fits, figures and a HEPData submission."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from af_kit.analysis import output
from af_kit.analysis.dsphipi import steps
from af_kit.analysis.dsphipi.fit import Fits, fits
from af_kit.analysis.dsphipi.plot import plot
from af_kit.analysis.dsphipi.results import DATA, cutflow_table, is_varied, parts, spectrum, step_counts
from af_kit.analysis.fit.result import FitResult
from af_kit.analysis.hepdata import Column, Table, bins, write_hepdata

if TYPE_CHECKING:
    import pyarrow as pa

_ROOT_ROWS = 1 << 19  # per basket


def write(
    result: Mapping[str, Any],
    folder: str | Path,
    *,
    metadata: Mapping[str, Any] | None = None,
    plots: bool = True,
) -> list[Path]:
    """Write a result of :func:`process` into a folder.

    ``histograms.json``, ``candidates.parquet`` and ``candidates.root``; ``cutflow.csv`` (all datasets together) and
    ``cutflow.json`` (also each dataset); ``scale_factors.json``, how many muons were weighted, and how many of them
    were outside the range of the scale factors; ``fit.json``, the fit of the mass, or why it is not valid (a warning
    says so, too); ``hepdata/``, the points of the figures; ``plots/`` (see :func:`plot`).
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    files = [
        output.write_histograms(result, folder / "histograms.json"),
        output.write_table(result["candidates"], folder / "candidates.parquet"),
        write_root(result["candidates"], folder / "candidates.root"),
        output.write_json(_cutflows(result), folder / "cutflow.json"),
    ]
    if result.get("weighted"):
        files.append(output.write_json(result["weighted"], folder / "scale_factors.json"))
    table = folder / "cutflow.csv"
    with output.replacing(table) as part:
        part.write_text(cutflow_table(result).to_csv(float_format="%.6g", lineterminator="\n"), encoding="utf-8")
    files.append(table)
    fitted = fits(result)
    files += write_fits(fitted, folder)
    files += write_points(result, fitted, folder / "hepdata", metadata=metadata)
    if plots:
        files += plot(result, folder / "plots", metadata=metadata, fitted=fitted)
    return files


def _cutflows(result: Mapping[str, Any]) -> dict[str, Any]:
    """Return the cutflow of all datasets together and of each dataset, as lists of rows."""

    def rows(datasets: list[str] | None) -> list[dict[str, Any]]:
        table = cutflow_table(result, datasets)[["events", "candidates", "events_n_minus_1", "candidates_n_minus_1"]]
        records = table.astype(object).where(table.notna(), None).reset_index().to_dict("records")
        return [{str(key): value for key, value in record.items()} for record in records]

    names = list(result["cutflow"].axes["dataset"])
    return {"all": rows(None), "datasets": {name: rows([name]) for name in names}}


def write_root(candidates: pa.Table, path: str | Path) -> Path:
    """Write the table as a TTree ``candidates`` with one branch per column; ``dataset`` and ``file`` are C strings."""
    import awkward as ak
    import pyarrow as pa
    import uproot

    types = {
        field.name: np.dtype(field.type.to_pandas_dtype()) if pa.types.is_primitive(field.type) else "string"
        for field in candidates.schema
    }
    with output.replacing(path) as part, uproot.recreate(part, compression=uproot.ZSTD(1)) as file:
        tree = file.mktree("candidates", types)
        for start in range(0, candidates.num_rows, _ROOT_ROWS):
            rows = candidates.slice(start, _ROOT_ROWS)
            tree.extend(
                {
                    name: ak.from_arrow(rows[name].cast(pa.large_string()).combine_chunks())
                    if kind == "string"
                    else rows[name].to_numpy()
                    for name, kind in types.items()
                }
            )
    return Path(path)


def write_fits(fitted: Fits, folder: str | Path) -> list[Path]:
    """Write ``fit.json`` (data) and ``fit_simulation.json``; for an invalid fit the reasons, with a warning."""
    files = []
    for part, fit in fitted.items():
        path = Path(folder) / ("fit.json" if part == DATA else f"fit_{part}.json")
        if isinstance(fit, FitResult):
            files.append(fit.write(path))
            continue
        warnings.warn(f"no valid fit of the {part}, and no figure of it: {fit}", stacklevel=3)
        reasons = {"valid": False, "reasons": list(fit.reasons), "at_limit": list(fit.at_limit), "status": fit.status}
        files.append(output.write_json({**reasons, "message": str(fit)}, path))
    return files


def write_points(
    result: Mapping[str, Any], fitted: Fits, folder: str | Path, *, metadata: Mapping[str, Any] | None = None
) -> list[Path]:
    """Write the points of the figures as a HEPData submission: spectrum and fit, parameters, cutflow."""
    metadata = metadata or {}
    qualifiers = {}
    if "sqrt_s_TeV" in metadata:
        qualifiers["SQRT(S) [GEV]"] = 1000 * metadata["sqrt_s_TeV"]
    if "lumi_ifb" in metadata:
        qualifiers["LUMINOSITY [fb^-1]"] = metadata["lumi_ifb"]
    tables = []
    for name, part in parts(result).items():
        suffix = "" if name == DATA else f" {name}"
        fit = fitted.get(name)
        tables.append(_spectrum_table(part, fit if isinstance(fit, FitResult) else None, suffix, qualifiers))
        if isinstance(fit, FitResult):
            tables.append(_parameter_table(fit, suffix))
        tables.append(_cutflow_table(part, suffix))
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
    part: Mapping[str, Any], fit: FitResult | None, suffix: str, qualifiers: Mapping[str, Any]
) -> Table:
    mass = spectrum(part)
    edges, values = mass.axes[0].edges, mass.values()
    errors: dict[str, Any] = {"stat": np.sqrt(mass.variances())}
    if is_varied(part):
        ends = [spectrum(part, variation=name).values() - values for name in ("systdown", "systup")]
        errors["muon scale factors"] = list(zip(*ends, strict=True))
    columns = [Column("Candidates", values, errors=errors, qualifiers=qualifiers)]
    if fit is not None:
        columns.append(Column("Fit", np.diff(fit.model.integral(edges, *fit.ordered)), qualifiers=qualifiers))
        for component in fit.model.components:
            alone = {
                **fit.values,
                **{other.yield_name: 0.0 for other in fit.model.components if other != component},
            }
            points = np.diff(fit.model.integral(edges, *fit.model.ordered(alone)))
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


def _cutflow_table(part: Mapping[str, Any], suffix: str) -> Table:
    left = step_counts(part["cutflow"])
    return Table(
        f"Selection{suffix}",
        "Events and candidates left after each step; the last row has one candidate per event.",
        [Column("Step", list(steps.ROWS))],
        [Column("Events", left[0].tolist()), Column("Candidates", left[1].tolist())],
    )
