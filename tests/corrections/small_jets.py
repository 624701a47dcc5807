"""Small files in the formats of CMS's jet corrections, and the correctionlib file of the same content."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

L1 = "{1 JetEta 3 Rho JetPt JetA max(0.0001,1-(z/y)*[0]*x) Correction L1FastJet}\n-5 5 7 0 70 5 6500 0 10 0.5\n"
L2 = (
    "{2 JetEta JetPt 1 JetPt [0]+[1]*x Correction L2Relative}\n"
    "-5 0 0.001 50 4 0.001 50 1.1 0.001\n"
    "-5 0 50 7000 4 50 7000 1.2 0.0\n"
    " 0 5 0.001 7000 4 0.001 7000 1.0 0.0\n"
)
L3 = "{1 JetEta 1 JetPt 1 Correction L3Absolute}\n-5 5 2 1 10000\n"
RESIDUAL = "{1 JetEta 1 JetPt [0]*min(x,100) Correction L2Relative}\n-5 5 3 4 5000 0.01\n"
SOURCES = (
    '[Absolute]\n{1 JetEta 1 JetPt "" Correction JECSource}\n'
    "-5 0 9 10 0.04 0.04 20 0.02 0.02 100 0.01 0.01\n"
    " 0 5 9 10 0.08 0.08 20 0.04 0.04 100 0.02 0.02\n"
    '[BBEC1]\n{1 JetEta 1 JetPt "" Correction JECSource}\n'
    "-5 5 6 15 0.03 0.03 35 0.01 0.01\n"
    '[Total]\n{1 JetEta 1 JetPt "" Correction JECSource}\n'
    "-5 5 6 15 0.05 0.05 35 0.02 0.02\n"
)
RESOLUTION = "{2 JetEta Rho 1 JetPt [0]/sqrt(x) Resolution}\n-4.7 4.7 0 20 3 4 3000 1.0\n-4.7 4.7 20 40 3 4 3000 2.0\n"
FACTORS = "{1 JetEta 0 None ScaleFactor}\n-5 2 3 1.2 1.1 1.4\n2 5 3 0.9 0.8 1.0\n"


def write(folder: Path, **files: str) -> dict[str, Path]:
    """Write text files under names like those of CMS."""
    paths = {name: folder / f"Test_V1_MC_{name}_AK4PFchs.txt" for name in files}
    for name, path in paths.items():
        path.write_text(files[name])
    return paths


def _binning(name: str, edges: list[float], content: list[Any], flow: Any) -> dict[str, Any]:
    return {
        "nodetype": "binning",
        "input": name,
        "edges": [float(edge) for edge in edges],
        "content": content,
        "flow": flow,
    }


def _formula(expression: str, variables: list[str]) -> dict[str, Any]:
    return {"nodetype": "formula", "expression": expression, "parser": "TFormula", "variables": variables}


def _correction(name: str, inputs: list[str], data: Any) -> dict[str, Any]:
    types = [{"name": item, "type": "string" if item == "systematic" else "real"} for item in inputs]
    return {"name": name, "version": 1, "inputs": types, "output": {"name": "correction", "type": "real"}, "data": data}


def write_json(path: Path) -> Path:
    """Write what the text files hold as a correctionlib file, with the values that CMS uses outside the bins."""
    first = _binning("JetEta", [-5, 5], [_formula("max(0.0001,1-(z/y)*0.5*x)", ["Rho", "JetPt", "JetA"])], 1.0)
    low = _binning(
        "JetPt", [0.001, 50, 7000], [_formula("1.1+0.001*x", ["JetPt"]), _formula("1.2", ["JetPt"])], "clamp"
    )
    second = _binning("JetEta", [-5, 0, 5], [low, 1.0], 1.0)
    source = _binning("JetPt", [10, 100], [_formula("0.05-0.0001*x", ["JetPt"])], "clamp")
    wide = _formula("2/sqrt(x)", ["JetPt"])
    rho = _binning("Rho", [0, 20, 40], [_formula("1/sqrt(x)", ["JetPt"]), wide], 1.0)
    keys = [[1.2, 1.4, 1.1], [0.9, 1.0, 0.8]]
    factors = [
        {
            "nodetype": "category",
            "input": "systematic",
            "content": [{"key": k, "value": v} for k, v in zip(("nom", "up", "down"), values, strict=True)],
        }
        for values in keys
    ]
    inputs = ["JetA", "JetEta", "JetPt", "Rho"]
    corrections = [
        _correction("L1", inputs, first),
        _correction("L2", ["JetEta", "JetPt"], second),
        _correction("Source_Absolute", ["JetEta", "JetPt"], _binning("JetEta", [-5, 5], [source], -999.0)),
        _correction("Resolution", ["JetEta", "JetPt", "Rho"], _binning("JetEta", [-4.7, 4.7], [rho], 1.0)),
        _correction("ScaleFactor", ["JetEta", "systematic"], _binning("JetEta", [-5, 2, 5], factors, 1.0)),
    ]
    compound = {
        "name": "L1L2",
        "inputs": [{"name": item, "type": "real"} for item in inputs],
        "output": {"name": "correction", "type": "real"},
        "inputs_update": ["JetPt"],
        "input_op": "*",
        "output_op": "*",
        "stack": ["L1", "L2"],
    }
    path.write_text(json.dumps({"schema_version": 2, "corrections": corrections, "compound_corrections": [compound]}))
    return path
