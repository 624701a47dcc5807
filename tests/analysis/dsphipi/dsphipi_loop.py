"""The selection as a plain Python loop, independent of the implementation in the kit.

`wrong` makes one of the mistakes of the published notebook, to check that the tests detect it.
"""

from __future__ import annotations

import math

STEPS = [
    "trigger",
    "mass",
    "vertex",
    "displacement",
    "acceptance",
    "separation",
    "muon_id",
    "impact",
    "phi",
    "trigger_match",
]
BRANCHES = [
    "Triplet2_Mass", "RefittedPV2_NTracks", "FlightDistBS_SV_Significance",
    *(f"{one}_{part}" for one in ("Mu01", "Mu02", "Tr", "RefTrack1", "RefTrack2") for part in ("Pt", "Eta", "Phi")),
    "Mu1_dRtriggerMatch_2017", "Mu2_dRtriggerMatch_2017", "TripletVtx2_Chi2",
    "MuonPt", "Muon_isGlobal", "Muon_isPF", "Track_pt", "Track_dz", "Track_dxy",
    "Trigger_hltname", "Trigger_hltdecision", "Trigger_l1name", "Trigger_l1decision",
]  # fmt: skip
MISTAKES = [
    "an event passes where each step has some candidate",
    "the muons are the first two of the event",
    "the track is looked up among the muons",
    "distances are compared with their sign",
    "the best is sought before the steps",
    "the trigger's decision is not asked",
]


def distance(event, i, first, second):
    phi = abs(event[f"{first}_Phi"][i] - event[f"{second}_Phi"][i])
    return math.hypot(event[f"{first}_Eta"][i] - event[f"{second}_Eta"][i], min(phi, 2 * math.pi - phi))


def four_momentum(event, i, name, mass=0.10566):
    pt, eta, phi = (event[f"{name}_{part}"][i] for part in ("Pt", "Eta", "Phi"))
    x, y, z = pt * math.cos(phi), pt * math.sin(phi), pt * math.sinh(eta)
    return math.sqrt(x * x + y * y + z * z + mass * mass), x, y, z


def index(values, value):
    return values.index(value) if value in values else None


def in_acceptance(pt, eta):
    if abs(eta) < 1.2:
        return pt > 3.5
    return abs(eta) < 2.4 and pt > 2.0


def triggered(event, wrong=None):
    def any_of(level, names):
        pairs = zip(event[f"Trigger_{level}name"], event[f"Trigger_{level}decision"], strict=True)
        asked = wrong != "the trigger's decision is not asked"
        return any((decision == 1 or not asked) and any(n in name for n in names) for name, decision in pairs)

    return any_of("hlt", ["HLT_DoubleMu3_Trk_Tau3mu_v"]) and any_of("l1", ["L1_DoubleMu", "L1_TripleMu"])


def passes(event, i, wrong=None):
    """Return whether candidate i passes each of the ten steps."""
    pt = {name: event[f"{name}_Pt"][i] for name in ("Mu01", "Mu02", "Tr")}
    muons = [index(event["MuonPt"], pt[name]) for name in ("Mu01", "Mu02")]
    if wrong == "the muons are the first two of the event":
        muons = [0 if event["MuonPt"] else None, 1 if len(event["MuonPt"]) > 1 else None]
    track = index(event["MuonPt" if wrong == "the track is looked up among the muons" else "Track_pt"], pt["Tr"])
    size = (lambda x: x) if wrong == "distances are compared with their sign" else abs
    e, x, y, z = (sum(p) for p in zip(*(four_momentum(event, i, f"RefTrack{n}") for n in (1, 2)), strict=True))
    return [
        triggered(event, wrong),
        1.62 < event["Triplet2_Mass"][i] < 2.02,
        event["RefittedPV2_NTracks"][i] > 1,
        event["FlightDistBS_SV_Significance"][i] > 2,
        in_acceptance(pt["Mu01"], event["Mu01_Eta"][i])
        and in_acceptance(pt["Mu02"], event["Mu02_Eta"][i])
        and pt["Tr"] > 1.2,
        all(0.0001 < distance(event, i, *pair) < 0.8 for pair in (("Mu01", "Mu02"), ("Mu01", "Tr"), ("Mu02", "Tr"))),
        all(m is not None and event["Muon_isGlobal"][m] and event["Muon_isPF"][m] for m in muons),
        track is not None
        and track < len(event["Track_pt"])
        and size(event["Track_dz"][track]) < 20
        and size(event["Track_dxy"][track]) < 0.3,
        1.00 < math.sqrt(max(e * e - x * x - y * y - z * z, 0)) < 1.04,
        event["Mu1_dRtriggerMatch_2017"][i] < 0.03 and event["Mu2_dRtriggerMatch_2017"][i] < 0.03,
    ]


def run(events, wrong=None):
    """Return the selected (entry, candidate) of all events, and the cutflow and n-1: step to (events, candidates)."""
    chosen = []
    flow = {step: [0, 0] for step in ["all", *STEPS]}
    without = {step: [0, 0] for step in STEPS}
    for entry, event in enumerate(events):
        answers = [passes(event, i, wrong) for i in range(len(event["Triplet2_Mass"]))]
        flow["all"][0] += 1
        flow["all"][1] += len(answers)
        for k, step in enumerate(STEPS):
            left = sum(all(a[: k + 1]) for a in answers)
            others = sum(all(a[:k] + a[k + 1 :]) for a in answers)
            flow[step][0] += left > 0
            flow[step][1] += left
            without[step][0] += others > 0
            without[step][1] += others
        good = [i for i, a in enumerate(answers) if all(a)]
        if wrong == "an event passes where each step has some candidate":
            good = list(range(len(answers))) if answers and all(any(a) for a in zip(*answers, strict=True)) else []
        if wrong == "the best is sought before the steps":
            numbers = [i for i in range(len(answers)) if not math.isnan(event["TripletVtx2_Chi2"][i])]
            first = min(numbers, key=lambda i: event["TripletVtx2_Chi2"][i], default=None)
            good = [first] if first in good else []
        best = None
        for i in good:
            chi2 = event["TripletVtx2_Chi2"][i]
            if not math.isnan(chi2) and (best is None or chi2 < event["TripletVtx2_Chi2"][best]):
                best = i
        if best is not None:
            chosen.append((entry, best))
    return chosen, flow, without
