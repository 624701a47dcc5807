"""Compare the histograms of every peer with a reference in double precision.

Counts are integers, and no event may be missing: totals (with under- and overflow) and the multiplicity must be equal.
The mass may differ in its last digits, because some tools compute it in single precision, where E^2 - p^2 cancels: an
event close to a bin edge then moves to the neighbouring bin. The table shows the number of these events, of which
`TOLERANCE` is the allowed fraction. For the other selections, the reference is the result of the first peer.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

TOLERANCE = 0.005
EXACT = ("multiplicity", "cutflow")
COLUMNS = ["nMuon", "Muon_pt", "Muon_eta", "Muon_phi", "Muon_mass", "Muon_charge"]


def reference(paths: Sequence[str], treename: str) -> dict[str, list[int]]:
    """Return the dimuon histograms of plain uproot and numpy in double precision, cached next to the files."""
    cached = Path(paths[0]).parents[1] / "reference.json"  # all variants have the same events
    if not cached.exists():
        cached.write_text(json.dumps(_reference(paths, treename)))
    return dict(json.loads(cached.read_text()))


def _reference(paths: Sequence[str], treename: str) -> dict[str, list[int]]:
    import awkward as ak
    import uproot

    multiplicity, mass = np.zeros(8, int), np.zeros(1002, int)
    edges = np.concatenate([[-np.inf], np.geomspace(0.2, 200, 1001), [np.inf]])
    for path in paths:
        for events in uproot.iterate({path: treename}, COLUMNS, step_size=500_000):
            counts = events["nMuon"].to_numpy().astype(np.int64)
            multiplicity += np.bincount(np.minimum(counts, 6) + 1, minlength=8)
            start = np.cumsum(counts) - counts
            first = start[counts == 2]
            flat = {name: ak.to_numpy(ak.flatten(events[name])).astype(float) for name in COLUMNS[1:]}
            first = first[flat["Muon_charge"][first] + flat["Muon_charge"][first + 1] == 0]
            four = [sum(part) for part in zip(*(_cartesian(flat, at) for at in (first, first + 1)), strict=True)]
            squared = four[0] ** 2 - four[1] ** 2 - four[2] ** 2 - four[3] ** 2
            mass += np.histogram(np.sqrt(np.maximum(squared, 0)), edges)[0]
    return {"multiplicity": multiplicity.tolist(), "mass": mass.tolist()}


def _cartesian(flat: Mapping[str, np.ndarray], at: np.ndarray) -> tuple[np.ndarray, ...]:
    pt, eta, phi, mass = (flat[f"Muon_{name}"][at] for name in ("pt", "eta", "phi", "mass"))
    pz = pt * np.sinh(eta)
    return np.sqrt(pt**2 + pz**2 + mass**2), pt * np.cos(phi), pt * np.sin(phi), pz


def differences(histograms: Mapping[str, Any], expected: Mapping[str, Any]) -> tuple[int, list[str]]:
    """Return the number of events in another bin than in the reference, and the errors beyond the tolerance."""
    migrated, wrong = 0, []
    for name, values in expected.items():
        found, reference = np.asarray(histograms[name], float), np.asarray(values, float)
        if found.shape != reference.shape:
            wrong.append(f"{name}: {len(found)} bins instead of {len(reference)}")
        elif found.sum() != reference.sum():
            wrong.append(f"{name}: {found.sum():.0f} entries instead of {reference.sum():.0f}")
        else:
            moved = int(np.abs(found - reference).sum() / 2)
            if moved > (0 if name in EXACT else TOLERANCE * reference.sum()):
                wrong.append(f"{name}: {moved} of {reference.sum():.0f} entries in another bin")
            migrated += moved
    return migrated, wrong
