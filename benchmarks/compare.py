"""Is it the same result? Histograms of every peer against a reference in double precision.

Counts are integers and every event must be there: totals (with under- and overflow) and the multiplicity are equal, or
the peer is wrong. The mass may differ in its last digits, since some tools compute it in single precision, where
E^2 - p^2 cancels: an event at a bin's edge then lands in the neighbouring bin. Those events are counted, shown, and
allowed up to `TOLERANCE` of all. The wide and the Ds selection
have no reference of their own: the first peer's histograms are it.
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
    """The dimuon histograms by plain uproot and numpy in double precision; kept beside the files."""
    kept = Path(paths[0]).parents[1] / "reference.json"  # all variants hold the same events
    if not kept.exists():
        kept.write_text(json.dumps(_reference(paths, treename)))
    return dict(json.loads(kept.read_text()))


def _reference(paths: Sequence[str], treename: str) -> dict[str, list[int]]:
    import uproot

    multiplicity, mass = np.zeros(8, int), np.zeros(1002, int)
    edges = np.concatenate([[-np.inf], np.geomspace(0.2, 200, 1001), [np.inf]])
    for path in paths:
        for events in uproot.iterate({path: treename}, COLUMNS, step_size=500_000):
            counts = events["nMuon"].to_numpy().astype(np.int64)
            multiplicity += np.bincount(np.minimum(counts, 6) + 1, minlength=8)
            start = np.cumsum(counts) - counts
            first = start[counts == 2]
            flat = {name: np.asarray(events[name].layout.content.data, dtype=float) for name in COLUMNS[1:]}
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
    """Events in another bin than in the reference, and what is wrong beyond that."""
    migrated, wrong = 0, []
    for name, values in expected.items():
        found, wanted = np.asarray(histograms[name], float), np.asarray(values, float)
        if found.shape != wanted.shape:
            wrong.append(f"{name}: {len(found)} bins instead of {len(wanted)}")
        elif found.sum() != wanted.sum():
            wrong.append(f"{name}: {found.sum():.0f} entries instead of {wanted.sum():.0f}")
        else:
            moved = int(np.abs(found - wanted).sum() / 2)
            if moved > (0 if name in EXACT else TOLERANCE * wanted.sum()):
                wrong.append(f"{name}: {moved} of {wanted.sum():.0f} entries in another bin")
            migrated += moved
    return migrated, wrong
