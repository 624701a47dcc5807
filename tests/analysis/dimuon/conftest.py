from __future__ import annotations

from pathlib import Path

import awkward as ak
import numpy as np
import pytest

import af_kit as af
from af_kit.simulate import dimuon as simulate

MUON = 0.1056583745


@pytest.fixture
def events_of():
    """Make events from lists of muons ``(pt, eta, phi, charge)``, with the types of NanoAOD."""

    def build(muons: list[list[tuple[float, float, float, int]]], **scalars) -> ak.Array:
        counts = np.array([len(event) for event in muons], dtype=np.int64)
        flat = np.array([muon for event in muons for muon in event], dtype=np.float64).reshape(-1, 4)
        columns = {name: flat[:, i].astype(np.float32) for i, name in enumerate(("pt", "eta", "phi"))}
        columns["mass"] = np.full(len(flat), MUON, np.float32)
        columns["charge"] = flat[:, 3].astype(np.int32)
        collection = ak.unflatten(ak.zip(columns, with_name="Momentum4D"), counts)
        return ak.zip({"Muon": collection, **scalars}, depth_limit=1)

    return build


@pytest.fixture(scope="session")
def sample(tmp_path_factory) -> Path:
    """A simulated file of 20 000 events in clusters of 3000."""
    return simulate(tmp_path_factory.mktemp("sample") / "dimuon.root", 20_000, seed=5, cluster_entries=3000)


@pytest.fixture(scope="session")
def events(sample):
    """All events of the sample as one chunk."""
    (chunk,) = af.plan({"simulated": {"files": {str(sample): "Events"}}}, chunk_entries=100_000)
    return af.read(chunk)
