"""The calibration file of jets of 2022: one correctionlib file with scale, uncertainties and resolution."""

from __future__ import annotations

import json
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

from af_kit.simulate.calibration_files.files import write_text
from af_kit.simulate.calibration_files.jets import source
from af_kit.simulate.nano import detector

_NAME = "Summer22_22Sep2023"
_LEVELS = ("L1FastJet", "L2Relative", "L3Absolute", "L2L3Residual")
_SOURCES = (
    *("Absolute", "Absolute_2022", "BBEC1", "BBEC1_2022", "EC2", "EC2_2022", "HF", "HF_2022", "RelativeBal"),
    *("RelativeSample_2022", "FlavorQCD"),
)
_SOURCE_ETA = (-5.4, -3.0, -2.5, -1.3, 0.0, 1.3, 2.5, 3.0, 5.4)


def write(folder: Path) -> list[Path]:
    """Write the file."""
    kinds = {"MC": f"{_NAME}_V3_MC", "DATA": f"{_NAME}_RunCD_V3_DATA"}
    content = {
        "schema_version": 2,
        "description": "Invented for simulated samples of 2022: not for physics.",
        "corrections": [
            *(level for name in kinds.values() for level in _levels(name)),
            *(_uncertainty(name) for name in _SOURCES),
            _resolution(),
            _resolution_ratio(),
        ],
        "compound_corrections": [_compound(name) for name in kinds.values()],
    }
    return [write_text(folder / "jet_jerc_Summer22_V3.json.gz", json.dumps(content))]


def _levels(name: str) -> list[dict[str, Any]]:
    """Return the levels of the energy scale: they lead from the simulated raw momenta to the simulated ones."""
    offsets = [_formula(f"max(0.0001,1-{k}*y*z/x)", "JetPt", "JetA", "Rho") for k in detector.jet_offset().tolist()]
    response = [round(factor, 6) for factor in detector.jet_response(2022).tolist()]
    eta = detector.JET_ETA.tolist()
    return [
        _correction(f"{name}_L1FastJet_AK4PFPuppi", "JetA JetEta JetPt Rho", _binned("JetEta", eta, offsets)),
        _correction(f"{name}_L2Relative_AK4PFPuppi", "JetEta JetPt", _binned("JetEta", eta, response)),
        _correction(f"{name}_L3Absolute_AK4PFPuppi", "JetEta JetPt", 1.0),
        _correction(f"{name}_L2L3Residual_AK4PFPuppi", "JetEta JetPt", 1.0),
    ]


def _compound(name: str) -> dict[str, Any]:
    return {
        **_correction(f"{name}_L1L2L3Res_AK4PFPuppi", "JetA JetEta JetPt Rho", None),
        "inputs_update": ["JetPt"],
        "input_op": "*",
        "output_op": "*",
        "stack": [f"{name}_{level}_AK4PFPuppi" for level in _LEVELS],
    }


def _uncertainty(name: str) -> dict[str, Any]:
    content = [_formula("{}+{}/x".format(*source(name, *edges)), "JetPt") for edges in pairwise(_SOURCE_ETA)]
    full = f"{_NAME}_V3_MC_Regrouped_{name}_AK4PFPuppi"
    return _correction(full, "JetEta JetPt", _binned("JetEta", _SOURCE_ETA, content))


def _resolution() -> dict[str, Any]:
    stochastic, constant, power = detector.JER_STOCHASTIC, detector.JER_CONSTANT, detector.JER_POWER
    rho = detector.JER_RHO.tolist()
    content = []
    for eta_bin in _signed_eta_bins():
        noise = [float(detector.jet_noise(i)[eta_bin]) for i in range(len(rho) - 1)]
        formula = f"/(x*x)+{stochastic**2}*pow(x,{power})+{constant**2})"
        content.append(_binned("Rho", rho, [_formula(f"sqrt({n * n}{formula}", "JetPt") for n in noise]))
    data = _binned("JetEta", _signed_eta(), content)
    return _correction("Summer22_22Sep2023_JRV1_MC_PtResolution_AK4PFPuppi", "JetEta JetPt Rho", data)


def _resolution_ratio() -> dict[str, Any]:
    content = []
    for eta_bin in _signed_eta_bins():
        ratio = float(detector.jet_resolution_ratio()[eta_bin])
        values = (("nom", ratio), ("up", ratio + 0.03), ("down", ratio - 0.03))
        keys = [{"key": key, "value": round(value, 6)} for key, value in values]
        content.append({"nodetype": "category", "input": "systematic", "content": keys})
    data = _binned("JetEta", _signed_eta(), content)
    return _correction("Summer22_22Sep2023_JRV1_MC_ScaleFactor_AK4PFPuppi", "JetEta JetPt systematic", data)


def _signed_eta() -> list[float]:
    edges = [*detector.JER_ABSETA.tolist()[:-1], 5.191]
    return [*(-edge for edge in reversed(edges[1:])), *edges]


def _signed_eta_bins() -> list[int]:
    bins = list(range(len(detector.JER_ABSETA) - 1))
    return [*reversed(bins), *bins]


def _correction(name: str, inputs: str, data: Any) -> dict[str, Any]:
    types = [{"name": key, "type": "string" if key == "systematic" else "real"} for key in inputs.split()]
    found = {"name": name, "version": 1, "inputs": types, "output": {"name": "value", "type": "real"}}
    return found if data is None else {**found, "data": data}


def _binned(name: str, edges: Sequence[float], content: Sequence[Any]) -> dict[str, Any]:
    return {"nodetype": "binning", "input": name, "edges": list(edges), "flow": "clamp", "content": list(content)}


def _formula(expression: str, *variables: str) -> dict[str, Any]:
    return {"nodetype": "formula", "expression": expression, "parser": "TFormula", "variables": list(variables)}
