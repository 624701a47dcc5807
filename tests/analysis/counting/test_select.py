"""The two channels: each rule by hand, and whole files against the plain loop."""

from __future__ import annotations

import math

import awkward as ak
import numpy as np
import pytest

from af_kit import simulate
from af_kit.analysis.counting import LEVELS, analyse, select
from af_kit.errors import InputError

B = {"btagDeepFlavB": 0.9, "eta": 1.0}
JETS = [B, {}]
# Two leptons at the same eta, `turn` apart in phi, have the mass 2 sqrt(pt1 pt2) sin(turn / 2).
TURN = 2.0


def at_mass(mass, pt=30.0, other=30.0):
    """Return the angle between two massless leptons of these pt with this mass."""
    return 2 * math.asin(mass / (2 * math.sqrt(pt * other)))


def mu(charge, phi=0.0, **values):
    return {"charge": charge, "phi": phi, **values}


Z60 = {"pt": 60.0}  # with 60 GeV each, the mass of a Z boson is possible

CASES = {
    "two muons of the same sign": (2, {"Muon": [mu(1), mu(1, TURN)]}),
    "both negative": (2, {"Muon": [mu(-1), mu(-1, TURN)]}),
    "opposite signs": (0, {"Muon": [mu(1), mu(-1, TURN)]}),
    "no charge": (0, {"Muon": [mu(0), mu(1, TURN)]}),
    "a muon and an electron": (2, {"Muon": [mu(1)], "Electron": [mu(1, TURN)]}),
    "a muon and an electron of opposite signs": (0, {"Muon": [mu(1)], "Electron": [mu(-1, TURN)]}),
    "two electrons": (2, {"Electron": [mu(1), mu(1, TURN)]}),
    "only one above 25": (2, {"Muon": [mu(1, pt=25.1), mu(1, TURN, pt=16.0)]}),
    "none above 25": (0, {"Muon": [mu(1, pt=25.0), mu(1, TURN, pt=24.0)]}),
    "a loose one above 25 does not count": (
        0,
        {"Muon": [mu(1, pt=24.0), mu(1, TURN, pt=20.0), mu(1, -TURN, pt=50.0, mvaTTH=0.0)]},
    ),
    "a third that is fakeable": (2, {"Muon": [mu(1), mu(1, TURN), mu(-1, -TURN, mvaTTH=0.0)]}),
    "only one tight": (0, {"Muon": [mu(1), mu(1, TURN, mvaTTH=0.0)]}),
    "two electrons 10.5 above the Z": (2, {"Electron": [mu(1, **Z60), mu(1, at_mass(101.7, 60, 60), **Z60)]}),
    "two electrons 9.5 above the Z": (0, {"Electron": [mu(1, **Z60), mu(1, at_mass(100.7, 60, 60), **Z60)]}),
    "two electrons 10.5 below the Z": (2, {"Electron": [mu(1, **Z60), mu(1, at_mass(80.7, 60, 60), **Z60)]}),
    "two electrons 9.5 below the Z": (0, {"Electron": [mu(1, **Z60), mu(1, at_mass(81.7, 60, 60), **Z60)]}),
    "two muons at the Z": (2, {"Muon": [mu(1, **Z60), mu(1, at_mass(91.2, 60, 60), **Z60)]}),
    "an electron and a muon at the Z": (
        2,
        {"Muon": [mu(1, **Z60)], "Electron": [mu(1, at_mass(91.2, 60, 60), **Z60)]},
    ),
    "a mass of 12.1": (2, {"Muon": [mu(1), mu(1, at_mass(12.1))]}),
    "a mass of 11.9": (0, {"Muon": [mu(1), mu(1, at_mass(11.9))]}),
    "a low mass with a loose electron": (
        0,
        {"Muon": [mu(1), mu(1, TURN)], "Electron": [mu(-1, 0.1, pt=8.0)]},
    ),
    "a low mass with an electron that is not loose": (
        2,
        {"Muon": [mu(1), mu(1, TURN)], "Electron": [mu(-1, 0.1, pt=6.0)]},
    ),
    "three muons": (3, {"Muon": [mu(1), mu(1, TURN), mu(-1, -TURN)]}),
    "three of the same sign": (3, {"Muon": [mu(1), mu(1, TURN), mu(1, -TURN)]}),
    "three, none above 25": (0, {"Muon": [mu(q, phi, pt=24.0) for q, phi in ((1, 0), (1, TURN), (1, -TURN))]}),
    "three, two muons at the Z": (0, {"Muon": [mu(1, **Z60), mu(-1, at_mass(91.2, 60, 60), **Z60), mu(1, -2.5)]}),
    "three, two muons 14.5 below the Z": (
        0,
        {"Muon": [mu(1, **Z60), mu(-1, at_mass(76.7, 60, 60), **Z60), mu(1, -2.5, pt=20.0)]},
    ),
    "three, two muons 15.5 below the Z": (
        3,
        {"Muon": [mu(1, **Z60), mu(-1, at_mass(75.7, 60, 60), **Z60), mu(1, -2.5, pt=20.0)]},
    ),
    "three, two muons of the same sign at the Z": (
        3,
        {"Muon": [mu(1, **Z60), mu(1, at_mass(91.2, 60, 60), **Z60), mu(1, -2.5, pt=20.0)]},
    ),
    "three, two electrons of the same sign at the Z": (
        3,
        {"Electron": [mu(1, **Z60), mu(1, at_mass(91.2, 60, 60), **Z60)], "Muon": [mu(1, -2.5, pt=20.0)]},
    ),
    "three, a muon and an electron at the Z": (
        3,
        {"Muon": [mu(1, **Z60), mu(1, -2.5, pt=20.0)], "Electron": [mu(-1, at_mass(91.2, 60, 60), **Z60)]},
    ),
    "four": (0, {"Muon": [mu(1), mu(1, 1.6), mu(1, 3.1), mu(1, -1.6)]}),
    "no jets": (0, {"Muon": [mu(1), mu(1, TURN)], "Jet": []}),
    "only a b jet": (0, {"Muon": [mu(1), mu(1, TURN)], "Jet": [B]}),
    "no b jet": (0, {"Muon": [mu(1), mu(1, TURN)], "Jet": [{}, {}]}),
    "a b jet below 25": (0, {"Muon": [mu(1), mu(1, TURN)], "Jet": [{**B, "pt": 24.0}, {}]}),
    "an untagged jet at a lepton": (0, {"Muon": [mu(1), mu(1, TURN)], "Jet": [B, {"eta": 0.5, "phi": 0.1}]}),
}


@pytest.fixture(scope="module")
def channels(as_events):
    """The channel of each event in CASES, found in one call."""
    found = select(as_events(*({"Jet": JETS, **event} for _, event in CASES.values()))).channel
    return dict(zip(CASES, found.tolist(), strict=True))


@pytest.mark.parametrize("name", CASES)
def test_the_channel_of_an_event(name, channels):
    assert channels[name] == CASES[name][0]


def test_the_working_point_is_an_argument(as_events):
    event = {"Muon": [mu(1), mu(1, TURN)], "Jet": [{"btagDeepFlavB": 0.2}, {}]}
    assert select(as_events(event)).channel.tolist() == [0]
    assert select(as_events(event), btag=0.1).channel.tolist() == [2]
    with pytest.raises(InputError, match=r"btag=27\.83 is not a working point"):
        select(as_events(event), btag=27.83)


def test_no_events(as_events, sample_events):
    for events in (as_events(), sample_events[:0]):
        assert select(events).channel.tolist() == []
        assert analyse(events)["candidates"].num_rows == 0


def compare(events, reference):
    """Compare each object and event with the loop; return the channels."""
    selected = select(events)
    names = ("Muon", "Electron", "Jet")
    expected = [
        reference(event) for event in ak.to_list(ak.zip({n: ak.materialize(events[n]) for n in names}, depth_limit=1))
    ]
    for name, leptons in selected.leptons.items():
        found = sum(leptons.jagged(level) + 0 for level in LEVELS)
        assert found.to_list() == [event[name] for event in expected]
    jets = selected.jets.jagged("selected") + 0 + selected.jets.jagged("btagged")
    assert jets.to_list() == [event["jets"] for event in expected]
    assert selected.channel.tolist() == [event["channel"] for event in expected]
    return selected.channel


def test_events_near_all_cuts_agree_with_the_loop(sample_events, reference):
    channel = compare(sample_events, reference)
    assert np.bincount(channel, minlength=4)[2:].min() > 50


def test_masked_events_agree_with_the_loop(sample_events, reference):
    compare(sample_events[sample_events.event % 7 == 3], reference)


def test_simulated_nanoaod_agrees_with_the_loop(tmp_path, read_all, reference):
    compare(read_all(simulate.nanoaod(tmp_path / "nano.root", 1000, 2)), reference)


@pytest.mark.parametrize("name", ["nano_dimuon.root", "nano_dy.root"])
def test_real_files_agree_with_the_loop(name, real_file, read_all, reference):
    compare(read_all(real_file(name)), reference)
