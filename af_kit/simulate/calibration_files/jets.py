"""Calibration files of jets: energy scale and its uncertainties, resolution, and pile-up identification."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from af_kit.simulate.calibration_files.files import histogram, table, write_root, write_text
from af_kit.simulate.nano import detector
from af_kit.simulate.nano.campaigns import RUN_2, Campaign

_SCALE = {2016: "Summer16_07Aug2017_V11", 2017: "Fall17_17Nov2017_V32", 2018: "Autumn18_V19"}
_RESOLUTION = {2016: "Summer16_25nsV1", 2017: "Fall17_V3", 2018: "Autumn18_V7"}
_L1_HEADER = {
    2016: "1 JetEta 3 JetPt JetA Rho max(0.0001,1-y*([1]*(z-[0])*(1+[2]*log(x/30.)))/x) Correction L1FastJet",
    2017: "1 JetEta 3 Rho JetPt JetA max(0.0001,1-(z/y)*([0]+[1]*(x-20.0)+[2]*log(y/30.0)+[3]*pow(log(y/30.0),2)"
    "+[4]*(x-20.0)*log(y/30.0)+[5]*(x-20.0)*pow(log(y/30.0),2))) Correction L1FastJet",
}
_L1_HEADER[2018] = _L1_HEADER[2017]
_L2_HEADER = (
    "2 JetEta JetPt 1 JetPt max(0.0001,[0]+((x-[1])*([2]+((x-[1])*([3]+((x-[1])*[4])))))) Correction L2Relative"
)
_SOURCES = ("Absolute", "BBEC1", "EC2", "HF", "RelativeBal", "FlavorQCD")
_SOURCES_OF_YEAR = ("Absolute{}", "BBEC1{}", "EC2{}", "HF{}", "RelativeSample{}")
_SOURCE_PT = np.array([9.0, 20.0, 40.0, 80.0, 200.0, 1000.0])
_PU_ID_PT = np.array([15.0, 20.0, 25.0, 30.0, 40.0, 50.0])
_PU_ID_ETA = np.array([-5.0, -3.0, -2.75, -2.5, -2.0, -1.479, 0.0, 1.479, 2.0, 2.5, 2.75, 3.0, 5.0])


def write(folder: Path, campaign: Campaign) -> list[Path]:
    """Write all files of this subject."""
    year = campaign.year
    campaigns: dict[str, int | None] = {f"{_SCALE[year]}_MC": None}
    if year == 2018:  # data are corrected again by run period
        name, version = _SCALE[year].split("_")
        campaigns |= {f"{name}_Run{run}_{version}_DATA": period for period, run in enumerate("ABCD")}
    paths = []
    for name, period in campaigns.items():
        for level, text in energy_scale(year, period).items():
            paths.append(write_text(folder / f"{name}_{level}_AK4PFchs.jec.txt.gz", text))
    uncertainties = f"{_SCALE[year]}_MC_UncertaintySources_AK4PFchs.junc.txt.gz"
    paths.append(write_text(folder / uncertainties, _uncertainty_sources(year)))
    resolution = _RESOLUTION[year]
    paths.append(write_text(folder / f"{resolution}_MC_PtResolution_AK4PFchs.jr.txt.gz", _pt_resolution()))
    paths.append(write_text(folder / f"{resolution}_MC_SF_AK4PFchs.jersf.txt.gz", _resolution_ratio(year)))
    paths.append(write_root(folder / "PUIDMaps.root", _pu_id()))
    return paths


def energy_scale(year: int, period: int | None) -> dict[str, str]:
    """Return the text of each level of the corrections, for simulation (``period`` is None) or a run period."""
    bins = list(pairwise(detector.JET_ETA.tolist()))
    offsets = detector.jet_offset().tolist()
    first: list[tuple[float, ...]]
    if year == 2016:
        first = [(*edges, 9, 1, 6500, 0, 10, 0, 200, 0, k, 0) for edges, k in zip(bins, offsets, strict=True)]
    else:
        first = [
            (*edges, 12, 0, 70, 1, 6500, 0, 10, 20 * k, k, 0, 0, 0, 0) for edges, k in zip(bins, offsets, strict=True)
        ]
    response = detector.jet_response(year).tolist()
    second = [(*edges, 0.001, 10000, 7, 0.001, 10000, c, 0, 0, 0, 0) for edges, c in zip(bins, response, strict=True)]
    if period is None:
        residual = table("1 JetEta 1 JetPt 1 Correction L2Relative", [(-5.191, 5.191, 2, 4, 5000)])
    else:
        factors = detector.jet_residual(year, period)[:, 0].tolist()
        rows = [(*edges, 3, 4, 5000, c) for edges, c in zip(bins, factors, strict=True)]
        residual = table("1 JetEta 1 JetPt [0] Correction L2Relative", rows)
    return {
        "L1FastJet": table(_L1_HEADER[year], first),
        "L2Relative": table(_L2_HEADER, second),
        "L3Absolute": table("1 JetEta 1 JetPt 1 Correction L3Absolute", [(-5.191, 5.191, 2, 1, 10000)]),
        "L2L3Residual": residual,
    }


def _uncertainty_sources(year: int) -> str:
    """Return the eleven sources and their sum: eta, number of values, and pt, up and down for each momentum."""
    names = [*_SOURCES, *(name.format(year) for name in _SOURCES_OF_YEAR)]
    regions = [(-5.4, -3.0), (-3.0, -2.5), (-2.5, -1.3), (-1.3, 0.0), (0.0, 1.3), (1.3, 2.5), (2.5, 3.0), (3.0, 5.4)]
    sizes = {name: np.array([_at_points(*source(name, low, high)) for low, high in regions]) for name in names}
    sizes["Total"] = np.sqrt(sum(size**2 for size in sizes.values()))
    text = []
    for name, size in sizes.items():
        text += [f"[{name}]", '{1 JetEta 1 JetPt "" Correction JECSource}']
        for (low, high), values in zip(regions, size, strict=True):
            triples = " ".join(f"{pt:.1f} {u:.4f} {u:.4f}" for pt, u in zip(_SOURCE_PT, values, strict=True))
            text.append(f"{low} {high} {3 * len(_SOURCE_PT)} {triples}")
    return "\n".join(text) + "\n"


def _at_points(constant: float, slope: float) -> Any:
    return np.round(constant + slope / _SOURCE_PT, 4)


def source(name: str, low: float, high: float) -> tuple[float, float]:
    """Return a and b of the size a + b / pt of a source in a region of eta: most act in one region only."""
    abseta = min(abs(low), abs(high))
    where = {"BBEC1": abseta < 2.5, "EC2": 2.5 <= abseta < 3.0, "HF": abseta >= 3.0}
    acts = next((inside for start, inside in where.items() if name.startswith(start)), True)
    least = {"FlavorQCD": 0.006, "RelativeBal": 0.002 + 0.003 * abseta, "RelativeSample": 0.002 * abseta}
    size = next((value for start, value in least.items() if name.startswith(start)), 0.004)
    factor = acts * (0.6 if name[-4:].isdigit() else 1)
    return size * factor, 0.10 * factor


def _pt_resolution() -> str:
    formula = "sqrt([0]*abs([0])/(x*x)+[1]*[1]*pow(x,[3])+[2]*[2])"
    rows = []
    edges = detector.JER_ABSETA
    signed = [*((-b, -a, i) for i, (a, b) in reversed(list(enumerate(pairwise(edges.tolist())))))]
    signed += [(a, b, i) for i, (a, b) in enumerate(pairwise(edges.tolist()))]
    for low, high, eta_bin in signed:
        for rho_bin, rho in enumerate(pairwise(detector.JER_RHO.tolist())):
            noise = float(detector.jet_noise(rho_bin)[eta_bin])
            terms = (noise, detector.JER_STOCHASTIC, detector.JER_CONSTANT, detector.JER_POWER)
            rows.append((low, high, *rho, 6, 5, 3000, *terms))
    return table(f"2 JetEta Rho 1 JetPt {formula} Resolution", rows)


def _resolution_ratio(year: int) -> str:
    """Return nominal, down and up of the ratio of resolutions; for 2018 it may depend on the momentum."""
    ratio = detector.jet_resolution_ratio().tolist()
    edges = [*detector.JER_ABSETA.tolist()[:-1], 5.191]
    bins = [(-b, -a, r) for (a, b), r in zip(pairwise(edges), ratio, strict=True)][::-1]
    bins += [(a, b, r) for (a, b), r in zip(pairwise(edges), ratio, strict=True)]
    if year == 2018:
        rows = [(low, high, 0, 7000, 3, r, r - 0.03, r + 0.03) for low, high, r in bins]
        return table(" 2 JetEta JetPt 0 None ScaleFactor ", rows)
    return table("1 JetEta 0 None ScaleFactor", [(low, high, 3, r, r - 0.03, r + 0.03) for low, high, r in bins])


def _pu_id() -> dict[str, Any]:
    """Return efficiencies and mistag rates of all years; scale factors are data over simulation."""
    objects = {}
    shape = (len(_PU_ID_PT) - 1, len(_PU_ID_ETA) - 1)
    for year in RUN_2:
        for point in ("L", "M", "T"):
            for kind, of, ratio in (
                ("eff", detector.PU_ID_EFFICIENCY, 0.985),
                ("mistag", detector.PU_ID_MISTAG, 1.10),
            ):
                for name, factor in (("mc", of[point]), ("data", of[point] * ratio), ("sf", ratio)):
                    values = np.full(shape, factor)
                    key = f"h2_{kind}_{name}{year}_{point}"
                    objects[key] = histogram([_PU_ID_PT, _PU_ID_ETA], values, 0.01 * factor)
    return objects
