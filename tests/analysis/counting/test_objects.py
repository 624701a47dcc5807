"""Each cut of the lepton and jet identification, just inside and just outside."""

from __future__ import annotations

import math

import awkward as ak
import numpy as np
import pytest

from af_kit.analysis.counting import select
from af_kit.analysis.counting.objects import BRANCHES, LEVELS, collection
from af_kit.errors import MissingBranchError

NOT_LOOSE, LOOSE, FAKEABLE, TIGHT = range(4)
ENDCAP = 2.0

# Branch, a value that passes, values that fail (the cut itself among them), and the level of a lepton that fails.
BOTH = [
    ("dxy", -0.049, [0.05, 0.051, -0.051, math.nan], NOT_LOOSE),
    ("dz", -0.099, [0.101, -0.101], NOT_LOOSE),
    ("sip3d", 7.9, [8.0, 8.1, math.nan], NOT_LOOSE),
    ("miniPFRelIso_all", 0.39, [0.41], NOT_LOOSE),
    ("pt", 15.1, [15.0, 14.9], LOOSE),
    ("tightCharge", 1, [0], FAKEABLE),
    ("mvaTTH", 0.91, [0.9, 0.89, -1], FAKEABLE),
]
OF_MUONS = [
    *BOTH,
    ("eta", -2.39, [2.41, -2.41], NOT_LOOSE),
    ("pt", 15.1, [5.0, 4.9], NOT_LOOSE),
    ("pt", 16.0, [5.1], LOOSE),
    ("looseId", True, [False], NOT_LOOSE),
    ("mediumId", True, [False], FAKEABLE),
]
OF_ELECTRONS = [
    *BOTH,
    ("pt", 15.1, [7.0, 6.9], NOT_LOOSE),
    ("pt", 16.0, [7.1], LOOSE),
    ("lostHits", 0, [2, 3], NOT_LOOSE),
    ("lostHits", 0, [1], LOOSE),
    ("eInvMinusPInv", -0.049, [-0.051], LOOSE),
    ("convVeto", True, [False], FAKEABLE),
]
OF_BARREL = [
    ("mvaFall17V2noIso", 0.01, [0.0, -0.01], NOT_LOOSE),
    ("sieie", 0.0109, [0.0111], LOOSE),
    ("hoe", 0.099, [0.101], LOOSE),
    ("eInvMinusPInv", 0.0099, [0.0101], LOOSE),
]
OF_ENDCAPS = [
    ("mvaFall17V2noIso", 0.71, [0.69, 0.01], NOT_LOOSE),
    ("sieie", 0.0299, [0.0301], LOOSE),
    ("hoe", 0.069, [0.071], LOOSE),
    ("eInvMinusPInv", 0.0049, [0.0051], LOOSE),
    ("eta", -2.49, [2.5, 2.51, -2.51], NOT_LOOSE),
]
RULES = [
    *(("Muon", {}, *rule) for rule in OF_MUONS),
    *(("Electron", {}, *rule) for rule in [*OF_ELECTRONS, *OF_BARREL]),
    *(("Electron", {"eta": ENDCAP}, *rule) for rule in [*OF_ELECTRONS, *OF_ENDCAPS]),
]


def levels(events, name):
    """Return how many of the levels the only object of each event has; each level contains the one before."""
    leptons = select(events).leptons[name]
    masks = np.array([leptons[level] for level in LEVELS])
    assert (masks[:-1] >= masks[1:]).all()
    return masks.sum(axis=0).tolist()


def test_each_cut_of_a_lepton(as_events):
    """All in one array of events: a call for each takes seconds."""
    for name in ("Muon", "Electron"):
        expected = {}
        for kind, base, branch, good, bad, left in RULES:
            if kind == name:
                for value in [good, *bad]:
                    lepton = {**base, branch: value}
                    expected[str(lepton)] = (lepton, left if value in bad else TIGHT)
        found = levels(as_events(*({name: [lepton]} for lepton, _ in expected.values())), f"{name.lower()}s")
        for (lepton, level), result in zip(expected.values(), found, strict=True):
            assert result == level, (name, lepton)


def test_the_barrel_ends_at_1_479(as_events):
    between = {"mvaFall17V2noIso": 0.5}  # good for the barrel only
    events = as_events(*({"Electron": [{**between, "eta": eta}]} for eta in (1.478, -1.478, 1.48, -1.48)))
    assert levels(events, "electrons") == [TIGHT, TIGHT, NOT_LOOSE, NOT_LOOSE]


def test_cuts_are_in_double_precision(as_events):
    """In single precision, 0.01 is less than the cut at 0.01 and 0.005 less than 0.005; 0.4 is more than 0.4."""
    values = [("eInvMinusPInv", 0.01, 0.0), ("eInvMinusPInv", 0.005, ENDCAP), ("miniPFRelIso_all", 0.4, 0.0)]
    events = as_events(*({"Electron": [{branch: value, "eta": eta}]} for branch, value, eta in values))
    assert levels(events, "electrons") == [TIGHT, TIGHT, NOT_LOOSE]


def test_every_branch_of_a_lepton_has_a_rule():
    unused = {"phi", "charge"}  # of pairs
    assert {rule[0] for rule in OF_MUONS} == set(BRANCHES["Muon"]) - unused
    tested = {rule[0] for rule in [*OF_ELECTRONS, *OF_BARREL, *OF_ENDCAPS]}
    assert tested == set(BRANCHES["Electron"]) - unused


# Jets ----------------------------------------------------------------------------------------------------------------


JETS = [
    # values, selected, b-tagged
    ({}, True, False),
    ({"pt": 25.0}, False, False),
    ({"pt": 25.1}, True, False),
    ({"eta": 4.9}, True, False),
    ({"btagDeepFlavB": 0.2782}, True, False),
    ({"btagDeepFlavB": 0.2784}, True, True),
    ({"btagDeepFlavB": 0.9, "pt": 24.0}, False, False),
    ({"btagDeepFlavB": -1}, True, False),
]


def test_jets(as_events):
    jets = select(as_events({"Jet": [jet for jet, _, _ in JETS]})).jets
    assert jets["selected"].tolist() == [selected for _, selected, _ in JETS]
    assert jets["btagged"].tolist() == [btagged for _, _, btagged in JETS]


@pytest.mark.parametrize("name", ["Muon", "Electron"])
def test_jets_near_fakeable_leptons_are_not_selected(name, as_events):
    jets = [{"eta": 0.5, "phi": 3.0}, {"eta": 0.5, "phi": 2.7}, {"eta": 0.5, "phi": 2.6}, {"eta": 0.9, "phi": -3.1}]
    at = {
        "eta": 0.5,
        "phi": -3.1,
    }  # 0.18, 0.48 and 0.58 from the first three jets across the end of phi, 0.4 from the last
    fakeable, loose = {**at, "mvaTTH": -1}, {**at, "pt": 10.0}
    events = as_events({name: [fakeable], "Jet": jets}, {name: [loose], "Jet": jets}, {"Jet": jets})
    selected = select(events).jets.jagged("selected").to_list()
    assert selected == [[False, True, True, False], [True] * 4, [True] * 4]


# Branches ------------------------------------------------------------------------------------------------------------


def test_missing_branches_are_all_named(sample_events):
    fields = [field for field in sample_events.Muon.fields if field not in ("looseId", "mvaTTH")]
    events = ak.with_field(sample_events, sample_events.Muon[fields], "Muon")
    with pytest.raises(MissingBranchError, match=r"NanoAODv9; missing here: Muon_looseId, Muon_mvaTTH\."):
        collection(events, "Muon")
    with pytest.raises(MissingBranchError, match=r"'Electron_pt'.*missing here: Electron_pt"):
        collection(ak.without_field(events, "Electron"), "Electron")


def test_a_real_file_of_another_version_is_refused(real_file, read_all):
    with pytest.raises(MissingBranchError, match=r"missing here: Muon_looseId\."):
        select(read_all(real_file("nano_tree.root")))
