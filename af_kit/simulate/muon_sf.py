"""Write muon scale factors for a simulated sample, in the format of the CMS muon group, with invented numbers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from af_kit.simulate.writer import replacing

_ABSETA = (0.0, 0.9, 1.2, 2.1, 2.4)
_PT = (3.0, 4.0, 6.0, 10.0, "inf")


def muon_scale_factors(path: str | Path, *, year: int = 2017) -> Path:
    """Write scale factors ``NUM_MediumID_DEN_TrackerMuons`` of realistic size.

    Inputs are ``abseta``, ``pt`` [GeV] and ``scale_factors``: "nominal", its uncertainties "stat" and "syst", and
    "systup" and "systdown", the nominal factor plus and minus both combined. As in the real file, they start at 3 GeV.

    Parameters
    ----------
    path : path
        The JSON file to write.
    year : int
        The year in the description of the file.
    """
    data = _binning("abseta", _ABSETA, [_binning("pt", _PT, [_values(i, j) for j in range(4)]) for i in range(4)])
    inputs = {"abseta": "real", "pt": "real", "scale_factors": "string"}
    correction = {
        "name": "NUM_MediumID_DEN_TrackerMuons",
        "version": 1,
        "inputs": [{"name": name, "type": kind} for name, kind in inputs.items()],
        "output": {"name": "weight", "type": "real"},
        "data": data,
    }
    description = f"Invented for simulated samples of Run{year}: not for physics."
    content = {"schema_version": 2, "description": description, "corrections": [correction]}
    with replacing(path) as part:
        part.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    return Path(path)


def _binning(name: str, edges: tuple[Any, ...], content: list[Any]) -> dict[str, Any]:
    return {"nodetype": "binning", "input": name, "edges": list(edges), "flow": "error", "content": content}


def _values(eta: int, pt: int) -> dict[str, Any]:
    """Return the factors of one bin; uncertainties are larger at low pt and at high eta."""
    nominal = 0.995 - 0.004 * eta - 0.006 / (1 + pt)
    stat, syst = 0.0012 * (1 + eta) / (1 + pt), 0.004 / (1 + pt) + 0.001 * eta
    total = (stat**2 + syst**2) ** 0.5
    values = {"nominal": nominal, "stat": stat, "syst": syst, "systup": nominal + total, "systdown": nominal - total}
    content = [{"key": key, "value": round(value, 6)} for key, value in values.items()]
    return {"nodetype": "category", "input": "scale_factors", "content": content}
