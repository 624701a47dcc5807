"""Hand-made and simulated events, and the selection as a plain Python loop, independent of the kit's."""

from __future__ import annotations

import itertools
import math
import os
from pathlib import Path

import awkward as ak
import numpy as np
import pytest
import uproot

import af_kit

REAL = Path(os.environ.get("AF_KIT_CMS") or Path(__file__).parents[4] / "shared" / "cms")

LEPTON = {"phi": 0.0, "charge": 1, "dxy": 0.0, "dz": 0.0, "sip3d": 1.0, "miniPFRelIso_all": 0.1}
MUON = {**LEPTON, "pt": 30.0, "eta": 0.5, "looseId": True, "mediumId": True, "tightCharge": 2, "mvaTTH": 0.95}
ELECTRON = {
    **LEPTON,
    **{"pt": 30.0, "eta": 0.5, "mvaFall17V2noIso": 0.9, "lostHits": 0, "sieie": 0.009, "hoe": 0.02},
    **{"eInvMinusPInv": 0.001, "convVeto": True, "tightCharge": 2, "mvaTTH": 0.95},
}
JET = {"pt": 40.0, "eta": -1.0, "phi": 2.0, "btagDeepFlavB": 0.05}
TYPES = {"charge": "int32", "tightCharge": "int32", "looseId": "bool", "mediumId": "bool", "convVeto": "bool"}


def as_array(counts, columns):
    """Return a collection with NanoAOD's types from the number of objects per event and their flat columns."""
    kinds = {field: "uint8" if field == "lostHits" else TYPES.get(field, "float32") for field in columns}
    flat = {field: np.asarray(values, np.float64).astype(kinds[field]) for field, values in columns.items()}
    return ak.unflatten(ak.zip(flat), counts)


# The selection as a loop ---------------------------------------------------------------------------------------------


def level_of_muon(m):
    """Return 0 for a muon that is not loose, 1 for loose, 2 for fakeable, 3 for tight."""
    near = abs(m["dxy"]) < 0.05 and abs(m["dz"]) < 0.1 and m["sip3d"] < 8
    if not (near and abs(m["eta"]) < 2.4 and m["miniPFRelIso_all"] < 0.4 and m["looseId"] and m["pt"] > 5):
        return 0
    if not m["pt"] > 15:
        return 1
    return 3 if m["tightCharge"] > 0 and m["mediumId"] and m["mvaTTH"] > 0.9 else 2


def level_of_electron(e):
    barrel = abs(e["eta"]) < 1.479
    near = abs(e["dxy"]) < 0.05 and abs(e["dz"]) < 0.1 and e["sip3d"] < 8
    identified = e["mvaFall17V2noIso"] > (0 if barrel else 0.7) and e["lostHits"] < 2
    if not (near and identified and abs(e["eta"]) < 2.5 and e["miniPFRelIso_all"] < 0.4 and e["pt"] > 7):
        return 0
    shower = e["sieie"] < (0.011 if barrel else 0.03) and e["hoe"] < (0.1 if barrel else 0.07)
    matched = -0.05 < e["eInvMinusPInv"] < (0.01 if barrel else 0.005)
    if not (e["pt"] > 15 and e["lostHits"] == 0 and shower and matched):
        return 1
    return 3 if e["mvaTTH"] > 0.9 and e["convVeto"] and e["tightCharge"] > 0 else 2


def mass(one, other):
    """The invariant mass from four-momenta; ``one`` and ``other`` are (flavour, lepton)."""
    e = x = y = z = 0.0
    for flavour, p in (one, other):
        px, py, pz = p["pt"] * math.cos(p["phi"]), p["pt"] * math.sin(p["phi"]), p["pt"] * math.sinh(p["eta"])
        e += math.sqrt(px**2 + py**2 + pz**2 + (0.1056584 if flavour == "mu" else 0.000511) ** 2)
        x, y, z = x + px, y + py, z + pz
    return math.sqrt(max(e**2 - x**2 - y**2 - z**2, 0))


def is_far(jet, lepton):
    turn = jet["phi"] - lepton["phi"]
    return math.hypot(jet["eta"] - lepton["eta"], math.atan2(math.sin(turn), math.cos(turn))) > 0.4


def loop(event, btag=0.2783):
    """Return the levels of muons and electrons, 0, 1 (selected) or 2 (b-tagged) for each jet, and the channel."""
    muons, electrons = [level_of_muon(m) for m in event["Muon"]], [level_of_electron(e) for e in event["Electron"]]
    leptons = [*zip(muons, (("mu", m) for m in event["Muon"]), strict=True)]
    leptons += zip(electrons, (("e", e) for e in event["Electron"]), strict=True)
    jets = []
    for jet in event["Jet"]:
        selected = jet["pt"] > 25 and all(is_far(jet, lepton) for level, (_, lepton) in leptons if level >= 2)
        jets.append(selected * (2 if jet["btagDeepFlavB"] > btag else 1))
    return {"muons": muons, "electrons": electrons, "jets": jets, "channel": channel_of(leptons, jets)}


def channel_of(leptons, jets):
    tight = [lepton for level, lepton in leptons if level == 3]
    loose = [lepton for level, lepton in leptons if level >= 1]
    if 1 not in jets or 2 not in jets or any(mass(*pair) < 12 for pair in itertools.combinations(loose, 2)):
        return 0
    if not any(p["pt"] > 25 for _, p in tight):
        return 0
    from_z = {pair: abs(mass(tight[pair[0]], tight[pair[1]]) - 91.1876) for pair in pairs_of(tight)}
    if len(tight) == 2:
        (f1, p1), (f2, p2) = tight
        vetoed = f1 == f2 == "e" and from_z[0, 1] < 10
        return 2 if p1["charge"] * p2["charge"] > 0 and not vetoed else 0
    if len(tight) == 3:
        for (i, j), distance in from_z.items():
            opposite = tight[i][1]["charge"] * tight[j][1]["charge"] < 0
            if opposite and tight[i][0] == tight[j][0] and distance < 15:
                return 0
        return 3
    return 0


def pairs_of(leptons):
    return itertools.combinations(range(len(leptons)), 2)


@pytest.fixture(scope="session")
def reference():
    return loop


# Events --------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def as_events():
    """Convert hand-made events to what the analysis takes; objects have the values of MUON, ELECTRON and JET."""

    def convert(*events):
        arrays = {}
        for name, default in {"Muon": MUON, "Electron": ELECTRON, "Jet": JET}.items():
            objects = [{**default, **one} for event in events for one in event.get(name, [])]
            counts = np.array([len(event.get(name, [])) for event in events], np.int64)
            arrays[name] = as_array(counts, {field: [one[field] for one in objects] for field in default})
        return ak.zip(arrays, depth_limit=1)

    return convert


def draw(generator, events):
    """Draw events with many leptons, most of which pass each cut, and some of which are just below or above it."""

    def near(good, *others, share=0.03):
        return lambda size: np.where(generator.random(size) > share, good, generator.choice(others, size))

    def mixed(share, values, low, high):
        """Numbers between low and high, and a share of ``values``."""
        return lambda size: np.where(
            generator.random(size) < share, generator.choice(values, size), generator.uniform(low, high, size)
        )

    common = {
        "phi": mixed(0, [0], -math.pi, math.pi),
        "charge": near(1, -1, share=0.5),
        "dxy": near(-0.01, 0.049, -0.049, 0.051, -0.051),
        "dz": near(0.02, 0.099, -0.099, 0.101, -0.101),
        "sip3d": near(1.0, 7.9, 8.1),
        "miniPFRelIso_all": near(0.05, 0.39, 0.41),
        "tightCharge": near(2, 0, 1),
        "mvaTTH": near(0.95, 0.89, 0.91, share=0.2),
        "pt": mixed(0.3, [4.9, 5.1, 6.9, 7.1, 14.9, 15.1, 24.9, 25.1], 15, 70),
    }
    muon = {
        **common,
        "eta": mixed(0.1, [2.39, -2.41], -2.5, 2.5),
        "looseId": near(1, 0),
        "mediumId": near(1, 0),
    }
    electron = {
        **common,
        "eta": mixed(0.2, [1.47, -1.48, 2.49, -2.51], -2.5, 2.5),
        "mvaFall17V2noIso": near(0.8, -0.01, 0.01, 0.69, 0.71, share=0.1),
        "lostHits": near(0, 1, 2, share=0.1),
        "sieie": near(0.008, 0.0109, 0.0111, 0.0299, 0.0301, share=0.1),
        "hoe": near(0.01, 0.069, 0.071, 0.099, 0.101, share=0.1),
        "eInvMinusPInv": near(0.0, -0.051, -0.049, 0.0049, 0.0051, 0.0099, 0.0101, share=0.1),
        "convVeto": near(1, 0),
    }
    jet = {
        "pt": mixed(0.2, [24.9, 25.1], 20, 100),
        "eta": mixed(0, [0], -4.7, 4.7),
        "phi": common["phi"],
        "btagDeepFlavB": near(0.01, 0.27, 0.29, 0.9, share=0.6),
    }
    counts, columns = {}, {}
    for name, distributions, mean in (("Muon", muon, 1.3), ("Electron", electron, 1.3), ("Jet", jet, 3.0)):
        counts[name] = generator.poisson(mean, events)
        columns[name] = {field: values(counts[name].sum()) for field, values in distributions.items()}
    first = {name: np.cumsum(number) - number for name, number in counts.items()}

    def put(name, other, share, distances):
        """Move the first object of some events near to the first ``other`` object."""
        moved = (counts[name] > 0) & (counts[other] > 0) & (generator.random(events) < share)
        at, near_to, size = first[name][moved], first[other][moved], moved.sum()
        angle, distance = generator.uniform(0, 2 * math.pi, size), generator.choice(distances, size)
        columns[name]["eta"][at] = columns[other]["eta"][near_to] + distance * np.cos(angle)
        phi = columns[other]["phi"][near_to] + distance * np.sin(angle)
        columns[name]["phi"][at] = (phi + math.pi) % (2 * math.pi) - math.pi

    put("Electron", "Muon", 0.1, [0.1, 0.3])
    put("Jet", "Muon", 0.4, [0.1, 0.39, 0.41])
    put("Jet", "Electron", 0.4, [0.1, 0.39, 0.41])
    return {name: as_array(counts[name], columns[name]) for name in counts}


@pytest.fixture(scope="session")
def write_sample():
    """Write a small file of events near all cuts, in the format of NanoAOD, without some branches."""

    def write(path, events, seed, without=()):
        columns = {
            "run": np.ones(events, np.uint32),
            "luminosityBlock": np.full(events, 7, np.uint32),
            "event": np.arange(events, dtype=np.uint64),
        }
        for name, collection in draw(np.random.default_rng(seed), events).items():
            columns[name] = collection[[field for field in collection.fields if f"{name}_{field}" not in without]]
        with uproot.recreate(path) as file:
            tree = file.mktree("Events", {name: ak.type(array).content for name, array in columns.items()})
            tree.extend(columns)
        return path

    return write


@pytest.fixture(scope="session")
def sample(write_sample, tmp_path_factory):
    return write_sample(tmp_path_factory.mktemp("counting") / "near_cuts.root", 4000, 4)


@pytest.fixture(scope="session")
def sample_events(sample):
    return read(sample)


def read(path):
    """Return all events of a file as one chunk."""
    (chunk,) = af_kit.plan({"sample": [f"{path}:Events"]}, chunk_entries=1_000_000)
    return af_kit.read(chunk)


@pytest.fixture(scope="session")
def read_all():
    return read


@pytest.fixture
def real_file():
    """Return the path of one of the real NanoAOD files, or skip the test without it."""

    def find(name):
        if not (REAL / name).is_file():
            pytest.skip(f"needs {REAL / name}")
        return REAL / name

    return find
