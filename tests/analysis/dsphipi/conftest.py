"""Hand-made events, simulated events, and scale factors in the format of the real ones."""

from __future__ import annotations

import copy
import json

import awkward as ak
import pytest
from dsphipi_loop import BRANCHES

import af_kit
from af_kit import simulate
from af_kit.analysis.dsphipi import process
from af_kit.analysis.dsphipi.results import parts

INTEGER = ("NTracks", "decision", "isGlobal", "isPF")
MOMENTA = {
    "Mu01": (6.0, 0.30, 0.40),
    "Mu02": (5.0, 0.45, 0.30),
    "Tr": (3.0, 0.20, 0.25),
    "RefTrack1": (6.0, 0.30, 0.40),
    "RefTrack2": (5.0, 0.45, 0.296),
}
# An event with one candidate that passes all steps, far from every cut.
GOOD = {
    "Triplet2_Mass": [1.968],
    "RefittedPV2_NTracks": [5],
    "FlightDistBS_SV_Significance": [8.0],
    **{f"{name}_Pt": [pt] for name, (pt, _, _) in MOMENTA.items()},
    **{f"{name}_Eta": [eta] for name, (_, eta, _) in MOMENTA.items()},
    **{f"{name}_Phi": [phi] for name, (_, _, phi) in MOMENTA.items()},
    "Mu1_dRtriggerMatch_2017": [0.01],
    "Mu2_dRtriggerMatch_2017": [0.02],
    "TripletVtx2_Chi2": [2.0],
    "MuonPt": [9.0, 6.0, 5.0],
    "Muon_isGlobal": [0, 1, 1],
    "Muon_isPF": [0, 1, 1],
    "Track_pt": [4.0, 3.0],
    "Track_dz": [50.0, 1.0],
    "Track_dxy": [2.0, 0.1],
    "Trigger_hltname": ["HLT_IsoMu27_v1", "HLT_DoubleMu3_Trk_Tau3mu_v4"],
    "Trigger_hltdecision": [0, 1],
    "Trigger_l1name": ["L1_SingleMu22", "L1_DoubleMu4_SQ_OS_dR_Max1p2"],
    "Trigger_l1decision": [0, 1],
}


@pytest.fixture
def make_event():
    """Make an event like GOOD with some other values."""

    def make(**changes):
        event = copy.deepcopy(GOOD)
        for name, value in changes.items():
            assert name in event
            event[name] = value
        return event

    return make


@pytest.fixture
def make_candidates(make_event):
    """Make an event with several candidates like GOOD, with some other values."""

    def make(number, **changes):
        event = make_event()
        collections = ("MuonPt", "Muon_", "Track_", "Trigger_")
        for name in event:
            if not name.startswith(collections):
                event[name] = event[name] * number
        return {**event, **changes}

    return make


@pytest.fixture
def as_events():
    """Convert hand-made events to an awkward array."""

    def convert(*events):
        # The types of the ntuple, even if a list is empty.
        columns = {}
        for name in BRANCHES:
            kind = "int64" if name.endswith(INTEGER) else "string" if name.endswith("name") else "float64"
            columns[name] = ak.enforce_type(ak.Array([event[name] for event in events]), f"var * {kind}")
        return ak.zip(columns, depth_limit=1)

    return convert


@pytest.fixture(scope="session")
def sample(tmp_path_factory):
    """A file of simulated data."""
    return simulate.dsphipi(tmp_path_factory.mktemp("sample") / "data.root", 12_000, 3, cluster_entries=2_500)


@pytest.fixture(scope="session")
def sample_events(sample):
    """Its events."""
    (chunk,) = af_kit.plan({"sample": [f"{sample}:Tree3Mu/ntuple"]}, chunk_entries=100_000)
    return af_kit.read(chunk)


@pytest.fixture(scope="session")
def both(tmp_path_factory):
    """A result of data of two eras and simulation."""
    folder = tmp_path_factory.mktemp("both")
    fileset = {}
    for kind, era, events in (("data", "2017B", 12_000), ("data", "2017C", 12_000), ("mc", "2017B", 40_000)):
        path = simulate.dsphipi(folder / f"{kind}_{era}.root", events, 3, kind=kind, era=era)
        metadata = {"isMC": kind == "mc", "era": era, "sqrt_s_TeV": 13}
        fileset[f"{kind}_{era}"] = {"files": [str(path)], "metadata": metadata}
    scale_factors = simulate.muon_scale_factors(folder / "muon_Run2017_ID.json")
    return process(fileset, engine="numba", muon_sf=scale_factors)


@pytest.fixture(scope="session")
def data(both):
    return parts(both)["data"]


def muon_sf(year="2017", *, name="NUM_MediumID_DEN_TrackerMuons", has_year=True, shift=0.0):
    """Return the JSON of scale factors in the format of the CMS muon group; each bin has a different factor."""
    etas, pts = [0.0, 0.9, 1.2, 2.1, 2.4], [3.0, 4.0, 6.0, 10.0, "inf"]

    def values(i, j):
        nominal, stat, syst = 0.9 + 0.02 * i + 0.01 * j + shift, 0.001 * (i + 1), 0.002 * (j + 1)
        total = (stat**2 + syst**2) ** 0.5
        known = {"nominal": nominal, "stat": stat, "syst": syst, "systup": nominal + total, "systdown": nominal - total}
        return [{"key": key, "value": value} for key, value in known.items()]

    data = {
        "nodetype": "binning",
        "input": "abseta",
        "edges": etas,
        "flow": "error",
        "content": [
            {
                "nodetype": "binning",
                "input": "pt",
                "edges": pts,
                "flow": "error",
                "content": [
                    {"nodetype": "category", "input": "scale_factors", "content": values(i, j)} for j in range(4)
                ],
            }
            for i in range(4)
        ],
    }
    inputs = [{"name": "abseta", "type": "real"}, {"name": "pt", "type": "real"}]
    inputs.append({"name": "scale_factors", "type": "string"})
    correction = {
        "name": name,
        "version": 1,
        "inputs": inputs,
        "output": {"name": "weight", "type": "real"},
        "data": data,
    }
    description = f"Muon identification, Run{year}_UL" if has_year else "Muon identification"
    return json.dumps({"schema_version": 2, "description": description, "corrections": [correction]})


@pytest.fixture(scope="session")
def make_muon_sf():
    """Return a function that makes the JSON of scale factors."""
    return muon_sf
