"""Calibration files of muons: momentum scale, identification, isolation, trigger, and the resolution of the mass."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from af_kit.simulate.calibration_files.files import histogram, write_root, write_text
from af_kit.simulate.nano import detector
from af_kit.simulate.nano.campaigns import Campaign

_PERIODS = {2016: ("RunBCDEF", "RunGH"), 2017: ("RunBCDEF",), 2018: ("RunABCD",)}
_TRIGGERS = {
    2016: ("IsoMu24_OR_IsoTkMu24", ("RunBtoF", "RunGtoH")),
    2017: ("IsoMu27", ("",)),
    2018: ("IsoMu24", ("BeforeMuonHLTUpdate", "AfterMuonHLTUpdate")),
}
_PT = np.array([20.0, 25.0, 30.0, 40.0, 50.0, 60.0, 120.0])
_ETA = np.array([-2.4, -2.1, -1.2, -0.9, 0.0, 0.9, 1.2, 2.1, 2.4])  # the scale factors of 2016 have a sign of eta

# The sets of the momentum scale: nominal, replicas of the statistical uncertainty, and systematic ones.
_MEMBERS, _VARIATIONS = (1, 4, 1, 1, 1, 1), (0, 1, 2, 2, 2, 2)
_LEAST_LAYERS, _LAYERS = 6, 13
_RESOLUTION_ETA = np.array([0.0, 0.8, 1.6, 2.4])


def write(folder: Path, campaign: Campaign) -> list[Path]:
    """Write all files of this subject."""
    year = campaign.year
    paths = [write_text(folder / f"RoccoR{year}.txt.gz", momentum_scale(year))]
    for number, period in enumerate(_PERIODS[year]):
        shift = 0.002 * number
        stem = f"year{year}_{period}_SF"
        paths.append(_scale_factors(folder / f"{stem}_ID.root", year, "NUM_MediumID_DEN_genTracks", shift))
        paths.append(_scale_factors(folder / f"{stem}_ISO.root", year, "NUM_LooseRelIso_DEN_MediumID", shift))
    paths += _trigger(folder, campaign)
    for is_data in (True, False):
        name = f"res_calib_{'Data' if is_data else 'MC'}_{year}"
        edges: list[list[float]] = [[0, 45, 52, 62, 9999], [0, 0.9, 1.8, 2.4], [0, 0.9, 1.8, 2.4]]
        paths.append(write_root(folder / f"{name}.root", {name: histogram(edges, _resolution_map(is_data), 0.01)}))
    return paths


def momentum_scale(year: int) -> str:
    """Return the text of the Rochester corrections.

    After the header come, for every member of every set: T, the cumulated distribution of the number of tracker layers;
    R, parameters of the resolution; F, the resolution in simulation and data; C, the scale M (percent above 1) and A
    (percent per GeV) by eta and phi, for simulation (0) and data (1).
    """
    layers = range(_LAYERS)
    lines = [
        f"NSET {len(_MEMBERS)}",
        "NMEM " + " ".join(map(str, _MEMBERS)),
        "TVAR " + " ".join(map(str, _VARIATIONS)),
        f"CPHI {detector.SCALE_PHI_BINS}",
        f"CETA {len(detector.SCALE_ETA) - 1} " + " ".join(f"{edge:.2f}" for edge in detector.SCALE_ETA),
        f"RMIN {_LEAST_LAYERS}",
        f"RTRK {_LAYERS}",
        f"RETA {len(_RESOLUTION_ETA) - 1} " + " ".join(f"{edge:.2f}" for edge in _RESOLUTION_ETA),
    ]
    generator = np.random.default_rng(year)
    for number, members in enumerate(_MEMBERS):
        for member in range(members):
            start = f"{number} {member}"
            shift = 0.0 if number == 0 else 0.004
            for kind in (0, 1):
                for row, abseta in enumerate((0.4, 1.2, 2.0)):
                    lines.append(f"{start} T {kind} {row} " + _numbers(_cumulated_layers(abseta)))
            for variable, value in enumerate((0.010, 6e-5, 2e-5, 1.0, 2.0, 4.0)):
                for row in range(3):
                    worse = (1 + 0.5 * row) if variable == 0 else 1
                    lines.append(f"{start} R {variable} {row} " + _numbers([value * worse for _ in layers]))
            for kind, ratio in ((0, 1.0), (1, detector.RESOLUTION_RATIO)):
                lines.append(f"{start} F {kind} " + _numbers([ratio + shift] * 3))
            for kind in (0, 1):
                factors, bends = detector.muon_scale(year, is_data=bool(kind))
                percents = 100 * (factors - 1) + shift * generator.standard_normal(factors.shape)
                per_gev = 100 * bends + 0.01 * shift * generator.standard_normal(bends.shape)
                for variable, values in enumerate((percents, per_gev)):
                    lines += [
                        f"{start} C {kind} {variable} {row} {_numbers(of_eta)}" for row, of_eta in enumerate(values)
                    ]
    return "\n".join(lines) + "\n"


def _cumulated_layers(abseta: float) -> list[float]:
    """Return the part of muons with fewer layers, for each number from the least."""
    from scipy.stats import norm

    inner = [float(norm.cdf(_LEAST_LAYERS + i - 0.5, 13.5 - 0.5 * abseta, 1.3)) for i in range(1, _LAYERS)]
    return [0.0, *inner, 1.0]


def _numbers(values: Any) -> str:
    return " ".join(f"{value:.7f}" for value in values)


def _scale_factors(path: Path, year: int, name: str, shift: float) -> Path:
    is_id = "ID_DEN_gen" in name
    if year == 2016:
        eta = (_ETA[1:] + _ETA[:-1]) / 2
        values = np.repeat(_scale_factor(eta, is_id)[:, None], len(_PT) - 1, axis=1) + shift
        edges, key = [_ETA, _PT], f"{name}_eta_pt"
    else:
        eta = (detector.MUON_ABSETA[1:] + detector.MUON_ABSETA[:-1]) / 2
        values = np.repeat(_scale_factor(eta, is_id)[None, :], len(_PT) - 1, axis=0) + shift
        edges, key = [_PT, detector.MUON_ABSETA], f"{name}_pt_abseta"
    # The error grows at low momentum.
    size = 0.001 + 0.004 * np.exp(-(_PT[:-1] - 20) / 10)
    errors = size[None, :] if year == 2016 else size[:, None]
    return write_root(path, {key: histogram(edges, values, np.broadcast_to(errors, values.shape))})


def _scale_factor(eta: Any, is_id: bool) -> Any:
    if is_id:
        return detector.medium_id_scale_factor()[detector.muon_bin(eta)]
    return 0.998 - 0.001 * np.abs(eta)


def _trigger(folder: Path, campaign: Campaign) -> list[Path]:
    name, periods = _TRIGGERS[campaign.year]
    pt = np.array([campaign.threshold + 2.0, 30.0 if campaign.threshold < 27 else 32.0, 40.0, 50.0, 60.0, 120.0, 500.0])
    center = np.minimum((pt[1:] + pt[:-1]) / 2, 100.0)
    paths = []
    for number, period in enumerate(periods):
        objects = {}
        for is_data in (True, False):
            of = "DATA" if is_data else "MC"
            bins = np.arange(len(detector.MUON_ABSETA) - 1)
            values = detector.trigger_efficiency(center[None, :], bins[:, None], campaign.threshold, is_data=is_data)
            # The average over the periods, weighted by luminosity, is near the simulated efficiency.
            values = values + 0.004 * (1 if number == 0 else -1) * (len(periods) > 1)
            start = f"{name}_PtEtaBins/efficiencies{of}"
            objects[f"{start}/abseta_pt_{of}"] = histogram([detector.MUON_ABSETA, pt], values, 0.002)
            objects[f"{start}/pt_abseta_{of}"] = histogram([pt, detector.MUON_ABSETA], values.T, 0.002)
        stem = f"year{campaign.year}_Trigger"
        paths.append(write_root(folder / (f"{stem}_{period}.root" if period else f"{stem}.root"), objects))
    return paths


def _resolution_map(is_data: bool) -> Any:
    """Return true over estimated resolution of the mass, by pt of the first muon and |eta| of both."""
    values = np.full((4, 3, 3), detector.ERROR_CALIBRATION)
    for row, (low, high) in enumerate(pairwise((-0.01, -0.003, 0.003, 0.01, 0.015))):
        values[row] += (low + high) / 2
    return values + (0.005 if is_data else 0.0)
