"""The ten steps on hand-made events: each cut at its limits, and the selected candidate."""

import math

import awkward as ak
import numpy as np
import pytest
from bits import whole
from dsphipi_loop import MISTAKES, STEPS, run
from hypothesis import given
from hypothesis import strategies as st

from af_kit import simulate
from af_kit.analysis import dsphipi
from af_kit.analysis.dsphipi.select import fired, first_equal
from af_kit.data.reading.read import read
from af_kit.errors import InputError

SELECTIONS = [dsphipi.select, dsphipi.select_numba]
NAN = math.nan


def failed_steps(events):
    """Return the steps that the first candidate fails; both engines must agree."""
    by_mask = [name for name, mask in dsphipi.masks(events).items() if not mask[0, 0]]
    bits = int(dsphipi.select_numba(events).passed[0])
    assert [name for k, name in enumerate(STEPS) if not bits >> k & 1] == by_mask
    return by_mask


def chosen(events):
    """Return (entry, candidate) of the selected candidates; both engines must agree."""
    pairs = [list(zip(s.event.tolist(), s.candidate.tolist(), strict=True)) for s in (f(events) for f in SELECTIONS)]
    assert pairs[0] == pairs[1]
    return pairs[0]


def test_a_good_candidate_passes_all(make_event, as_events):
    events = as_events(make_event())
    assert list(dsphipi.masks(events)) == STEPS == [step.name for step in dsphipi.STEPS]
    assert failed_steps(events) == []
    assert chosen(events) == [(0, 0)]


@pytest.mark.parametrize(
    ("step", "changes"),
    [
        ("trigger", {"Trigger_hltdecision": [1, 0]}),
        ("trigger", {"Trigger_hltdecision": [0, 2]}),
        ("trigger", {"Trigger_hltdecision": [0, -1]}),
        ("trigger", {"Trigger_hltname": ["HLT_IsoMu27_v1", "HLT_DoubleMu3_Trk_Tau3mu_NoL1Mass_v1"]}),
        ("trigger", {"Trigger_hltname": ["HLT_IsoMu27_v1", "hlt_doublemu3_trk_tau3mu_v4"]}),
        ("trigger", {"Trigger_hltname": [], "Trigger_hltdecision": []}),
        ("trigger", {"Trigger_l1decision": [1, 0]}),
        ("trigger", {"Trigger_l1name": ["L1_SingleMu22", "L1_DoubleEG_25_12"]}),
        ("mass", {"Triplet2_Mass": [1.62]}),
        ("mass", {"Triplet2_Mass": [2.02]}),
        ("mass", {"Triplet2_Mass": [NAN]}),
        ("vertex", {"RefittedPV2_NTracks": [1]}),
        ("displacement", {"FlightDistBS_SV_Significance": [2.0]}),
        ("displacement", {"FlightDistBS_SV_Significance": [NAN]}),
        ("acceptance", {"Mu02_Pt": [3.5], "MuonPt": [9.0, 6.0, 3.5]}),
        ("acceptance", {"Tr_Pt": [1.2], "Track_pt": [4.0, 1.2]}),
        ("muon_id", {"Muon_isGlobal": [1, 0, 1]}),
        ("muon_id", {"Muon_isGlobal": [1, 1, 0]}),
        ("muon_id", {"Muon_isPF": [1, 0, 1]}),
        ("muon_id", {"MuonPt": [9.0, 6.0, 5.000001]}),
        ("muon_id", {"MuonPt": [], "Muon_isGlobal": [], "Muon_isPF": []}),
        ("impact", {"Track_dz": [0.0, 20.0]}),
        ("impact", {"Track_dz": [0.0, -20.0]}),
        ("impact", {"Track_dxy": [0.0, 0.3]}),
        ("impact", {"Track_dxy": [0.0, -0.3]}),
        ("impact", {"Track_pt": [4.0, 3.1]}),
        ("impact", {"Track_pt": [], "Track_dz": [], "Track_dxy": []}),
        ("phi", {"RefTrack2_Phi": [0.40]}),
        ("phi", {"RefTrack2_Phi": [0.25]}),
        ("trigger_match", {"Mu1_dRtriggerMatch_2017": [0.03]}),
        ("trigger_match", {"Mu2_dRtriggerMatch_2017": [999.0]}),
    ],
)  # fmt: skip
def test_each_step_alone(make_event, as_events, step, changes):
    events = as_events(make_event(**changes))
    assert failed_steps(events) == [step]
    assert chosen(events) == []


@pytest.mark.parametrize(
    ("changes", "fails"),
    [
        ({"Trigger_hltname": ["HLT_DoubleMu3_Trk_Tau3mu_v1", "x"], "Trigger_hltdecision": [1, 0]}, False),
        ({"Trigger_hltname": ["HLT_DoubleMu3_Trk_Tau3mu_v1", "HLT_DoubleMu3_Trk_Tau3mu_v2"]}, False),
        ({"Trigger_l1name": ["L1_TripleMu_5_3_0", "x"], "Trigger_l1decision": [1, 1]}, False),
        ({"Trigger_l1name": ["myL1_DoubleMu", "x"], "Trigger_l1decision": [1, 0]}, False),
        ({"MuonPt": [6.0, 6.0, 5.0], "Muon_isGlobal": [0, 1, 1]}, True),  # the first of two equals counts
        ({"MuonPt": [6.0, 6.0, 5.0], "Muon_isGlobal": [1, 0, 1], "Muon_isPF": [1, 0, 1]}, False),
        ({"Track_pt": [3.0, 3.0]}, True),
        ({"Track_dz": [50.0, -19.9], "Track_dxy": [2.0, -0.29]}, False),
    ],
)
def test_names_and_matches(make_event, as_events, changes, fails):
    assert bool(failed_steps(as_events(make_event(**changes)))) == fails


@pytest.mark.parametrize(
    ("pt", "eta", "fails"),
    [(3.6, 1.19, False), (3.4, 1.19, True), (3.4, 1.2, False), (2.0, 1.5, True), (2.1, -2.39, False), (9.0, 2.4, True)],
)
def test_acceptance_by_eta(make_event, as_events, pt, eta, fails):
    """The track and the other muon are moved, too, so that no other step changes."""
    around = {"Mu01_Pt": [pt], "Mu01_Eta": [eta], "Mu02_Pt": [8.0], "Mu02_Eta": [0.98 * eta], "Tr_Eta": [eta]}
    event = make_event(**around, Tr_Phi=[0.5], MuonPt=[9.9, pt, 8.0])
    assert ("acceptance" in failed_steps(as_events(event))) == fails


@pytest.mark.parametrize(
    ("changes", "fails"),
    [
        ({"Mu02_Eta": [0.30], "Mu02_Phi": [0.40005]}, True),
        ({"Mu02_Eta": [0.30], "Mu02_Phi": [0.4002]}, False),
        ({"Tr_Eta": [1.20]}, True),
        ({"Mu01_Phi": [3.1], "Mu02_Phi": [-3.1], "Tr_Phi": [3.0]}, False),  # round the back
        ({"Mu01_Phi": [3.1], "Mu02_Phi": [2.0], "Tr_Phi": [2.5]}, True),
    ],
)
def test_separation(make_event, as_events, changes, fails):
    assert ("separation" in failed_steps(as_events(make_event(**changes)))) == fails


@pytest.mark.parametrize(
    ("chi2", "mass", "best"),
    [
        ([2.0, 1.0, 3.0], [1.9, 1.9, 1.9], 1),
        ([2.0, 1.0, 1.0], [1.9, 1.9, 1.9], 1),  # ties: the first
        ([NAN, 4.0, 5.0], [1.9, 1.9, 1.9], 1),  # NaN never wins
        ([5.0, NAN, 4.0], [1.9, 1.9, 1.9], 2),
        ([2.0, 1.0, 3.0], [1.9, 2.1, 1.9], 0),  # the best must itself pass
        ([NAN, 1.0, NAN], [1.9, 2.1, 1.9], None),
        ([math.inf, NAN, 1.0], [1.9, 1.9, 1.0], 0),
    ],
)
def test_one_candidate_per_event(make_candidates, as_events, chi2, mass, best):
    event = make_candidates(3, TripletVtx2_Chi2=chi2, Triplet2_Mass=mass)
    events = as_events(make_candidates(1), event, make_candidates(0))
    assert chosen(events) == [(0, 0), *([(1, best)] if best is not None else [])]
    # The cutflow counts what has no chi2.
    passing = sum(1.62 < m < 2.02 for m in mass)
    counts = dsphipi.cutflow(dsphipi.select(events))["cutflow"]
    assert counts["", "candidates", "trigger_match"] == 1 + passing
    assert counts["", "events", "trigger_match"] == 2
    assert counts["", "events", "best"] == 1 + (best is not None)


def test_two_candidates_that_each_fail_something_do_not_make_one(make_candidates, as_events):
    event = make_candidates(2, Triplet2_Mass=[1.9, 1.0], RefittedPV2_NTracks=[0, 5])
    events = as_events(event)
    assert all(ak.any(mask) for mask in dsphipi.masks(events).values())
    assert chosen(events) == []


def test_no_events_and_no_candidates(make_candidates, as_events):
    events = as_events(make_candidates(0), make_candidates(0))
    assert chosen(events) == []
    assert chosen(events[:0]) == []
    assert dsphipi.cutflow(dsphipi.select(events))["cutflow"]["", "events", "all"] == 2


def test_names_without_decisions_are_refused(make_event, as_events):
    for select in SELECTIONS:
        with pytest.raises(InputError, match="which decision belongs to which name"):
            select(as_events(make_event(Trigger_l1decision=[1])))


# Against the loop ----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def plain(sample_events):
    """The simulated events as plain Python lists."""
    return ak.to_list(ak.materialize(sample_events))


@pytest.mark.parametrize("select", SELECTIONS)
def test_the_same_as_a_plain_loop(sample_events, plain, select):
    pairs, flow, without = run(plain)
    selected = select(sample_events)
    assert list(zip(selected.event.tolist(), selected.candidate.tolist(), strict=True)) == pairs
    counts = dsphipi.cutflow(selected)
    for step, (events, candidates) in flow.items():
        assert counts["cutflow"]["", "events", step] == events
        assert counts["cutflow"]["", "candidates", step] == candidates
    for step, (events, candidates) in without.items():
        assert counts["n_minus_1"]["", "events", step] == events
        assert counts["n_minus_1"]["", "candidates", step] == candidates
    assert counts["cutflow"]["", "events", "best"] == len(pairs)


@pytest.mark.parametrize("mistake", MISTAKES)
def test_each_published_mistake_changes_the_selection(plain, mistake):
    """The sample of the comparison with the loop is large enough to detect each mistake."""
    right, wrong = run(plain)[0], run(plain, mistake)[0]
    assert set(right) != set(wrong)


def test_every_combination_of_steps_occurs(sample_events):
    """For any two steps, some simulated candidate passes one but not the other."""
    passed = dsphipi.select_numba(sample_events).passed
    for first in range(10):
        for second in range(10):
            if first != second:
                assert ((passed >> first & 1 == 1) & (passed >> second & 1 == 0)).any(), (first, second)


# The look-up ---------------------------------------------------------------------------------------------------------

numbers = st.sampled_from([1.0, 2.0, 3.0, NAN])
lists = st.lists(numbers, max_size=4)


@given(st.lists(st.tuples(lists, lists), max_size=6))
def test_first_equal(events):
    offsets = np.cumsum([0, *(len(values) for values, _ in events)])
    pool_offsets = np.cumsum([0, *(len(pool) for _, pool in events)])
    values = np.array([value for values, _ in events for value in values], float)
    pool = np.array([value for _, values in events for value in values], float)
    expected = [
        next((start + i for i, other in enumerate(own) if other == value), -1)
        for (wanted, own), start in zip(events, pool_offsets, strict=False)
        for value in wanted
    ]
    assert first_equal(offsets, values, pool_offsets, pool).tolist() == expected


chi2s = st.lists(st.tuples(st.booleans(), st.sampled_from([0.5, 1.0, 2.0, math.inf, NAN])), max_size=5)


@given(st.lists(chi2s, max_size=6))
def test_best(events):
    offsets = np.cumsum([0, *map(len, events)])
    flat = [candidate for event in events for candidate in event]
    event, candidate = dsphipi.best(
        offsets, np.array([p for p, _ in flat], bool), np.array([c for _, c in flat], float)
    )
    expected = []
    for number, candidates in enumerate(events):
        usable = [(chi2, i) for i, (passes, chi2) in enumerate(candidates) if passes and not math.isnan(chi2)]
        if usable:
            expected.append((number, min(usable)[1]))
    assert list(zip(event.tolist(), candidate.tolist(), strict=True)) == expected


# Names of triggers, however their characters are stored in memory --------------------------------------------------

NAMES, DECISIONS = "Trigger_l1name", "Trigger_l1decision"
PATTERNS = ["DoubleMu4_SQ", "TripleMu_5SQ"]


@pytest.fixture(scope="module")
def trigger_events(tmp_path_factory):
    path = simulate.dsphipi(tmp_path_factory.mktemp("dsphipi") / "x.root", 400, 1)
    return read(whole(path, "Tree3Mu/ntuple"))[[NAMES, DECISIONS]]


@pytest.mark.parametrize(
    "changed",
    [
        pytest.param(lambda events: events, id="as read"),
        pytest.param(lambda events: events[::-1], id="in another order"),
        pytest.param(lambda events: events[::3], id="some"),
        pytest.param(lambda events: events[[5, 5, 1, 7, 7, *range(20, 9, -1)]], id="some twice"),
        pytest.param(ak.to_packed, id="packed"),
        pytest.param(lambda events: events[:0], id="none"),
    ],
)
@pytest.mark.parametrize("patterns", [PATTERNS, ["no such name"]])
def test_a_trigger_is_found(trigger_events, changed, patterns):
    some = changed(trigger_events)
    expected = [
        any(decision == 1 and any(pattern in name for pattern in patterns) for name, decision in zip(*one, strict=True))
        for one in zip(some[NAMES].to_list(), some[DECISIONS].to_list(), strict=True)
    ]
    assert fired(some, "l1", patterns).tolist() == expected
    if patterns == PATTERNS and len(some):
        assert 0 < np.sum(expected) < len(some)
