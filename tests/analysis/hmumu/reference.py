"""The selection again, one event at a time in plain Python: no arrays, other formulas, nothing shared with the kit."""

from __future__ import annotations

import math
from typing import Any

import uproot

GEOFIT = {2016: (411.34, 673.40, 1099.0), 2017: (582.32, 974.05, 1263.4), 2018: (650.84, 988.37, 1484.6)}
LEADING = {2016: 26.0, 2017: 29.0, 2018: 26.0}
TRIGGERS = {2016: ("HLT_IsoMu24", "HLT_IsoTkMu24"), 2017: ("HLT_IsoMu27",), 2018: ("HLT_IsoMu24",)}
LOOSE = {2016: 0.2217, 2017: 0.1522, 2018: 0.1241}
MEDIUM = {2016: 0.6321, 2017: 0.4941, 2018: 0.4184}
FLAGS = (
    "Flag_BadPFMuonFilter", "Flag_EcalDeadCellTriggerPrimitiveFilter", "Flag_HBHENoiseFilter",
    "Flag_HBHENoiseIsoFilter", "Flag_globalSuperTightHalo2016Filter", "Flag_goodVertices",
    "Flag_BadChargedCandidateFilter",
)  # fmt: skip
BRANCHES = (
    *("run", "luminosityBlock", "event", "PV_npvsGood", *FLAGS),
    *(
        f"Muon_{name}"
        for name in ["pt", "eta", "phi", "mass", "charge", "mediumId", "pfRelIso04_all", "dxybs", "fsrPhotonIdx"]
    ),
    *(f"FsrPhoton_{name}" for name in ["pt", "eta", "phi", "relIso03", "dROverEt2"]),
    *(f"Electron_{name}" for name in ["pt", "eta", "mvaFall17V2Iso_WP90"]),
    *(
        f"Jet_{name}"
        for name in ["pt", "eta", "phi", "mass", "qgl", "jetId", "puId", "btagDeepB", "muonIdx1", "muonIdx2"]
    ),
    *("SoftActivityJet_pt", "SoftActivityJet_eta", "SoftActivityJet_phi", "SoftActivityJetNjets5"),
    "SoftActivityJetHT2",
)


def select(path: Any, year: int) -> list[dict[str, Any]]:
    """Return the selected events of a file."""
    with uproot.open(path) as file:
        tree = file["Events"]
        table = tree.arrays([*BRANCHES, *TRIGGERS[year]], library="ak").to_list()
    return [row for event in table if (row := select_event(event, year)) is not None]


def objects(event: dict[str, Any], collection: str) -> list[dict[str, Any]]:
    names = [name for name in event if name.startswith(f"{collection}_")]
    number = len(event[names[0]])
    return [{name.removeprefix(f"{collection}_"): event[name][i] for name in names} for i in range(number)]


def momentum(pt: float, eta: float, phi: float, mass: float) -> tuple[float, float, float, float]:
    px, py, pz = pt * math.cos(phi), pt * math.sin(phi), pt * math.sinh(eta)
    return px, py, pz, math.sqrt(px * px + py * py + pz * pz + mass * mass)


def add(*vectors: tuple[float, ...]) -> tuple[float, ...]:
    return tuple(map(sum, zip(*vectors, strict=True)))


def mass_of(v: tuple[float, ...]) -> float:
    return math.sqrt(max(v[3] ** 2 - v[0] ** 2 - v[1] ** 2 - v[2] ** 2, 0.0))


def rapidity(v: tuple[float, ...]) -> float:
    return 0.5 * math.log((v[3] + v[2]) / (v[3] - v[2]))


def pseudorapidity(v: tuple[float, ...]) -> float:
    p = math.sqrt(v[0] ** 2 + v[1] ** 2 + v[2] ** 2)
    return 0.5 * math.log((p + v[2]) / (p - v[2]))


def wrapped(angle: float) -> float:
    while angle > math.pi:
        angle -= 2 * math.pi
    while angle < -math.pi:
        angle += 2 * math.pi
    return angle


def correct(muon: dict[str, Any], photons: list[dict[str, Any]], year: int) -> dict[str, Any]:
    """FSR recovery, then GeoFit where no photon was added."""
    pt, eta, phi, mass, iso = (muon[name] for name in ("pt", "eta", "phi", "mass", "pfRelIso04_all"))
    added = False
    if 0 <= muon["fsrPhotonIdx"] < len(photons):
        photon = photons[muon["fsrPhotonIdx"]]
        if (
            photon["relIso03"] < 1.8
            and photon["dROverEt2"] < 0.012
            and photon["pt"] / pt < 0.4
            and abs(photon["eta"]) < 2.4
        ):
            total = add(momentum(pt, eta, phi, mass), momentum(photon["pt"], photon["eta"], photon["phi"], 0.0))
            new = math.hypot(total[0], total[1])
            iso = (iso * pt - photon["pt"]) / new
            pt, eta, phi, mass = new, pseudorapidity(total), math.atan2(total[1], total[0]), mass_of(total)
            added = True
    if not added:
        factor = GEOFIT[year][0 if abs(muon["eta"]) < 0.9 else 1 if abs(muon["eta"]) < 1.7 else 2]
        pt -= factor * muon["dxybs"] * muon["charge"] * pt * pt / 10000
    return {"pt": pt, "eta": eta, "phi": phi, "mass": mass, "iso": iso}


def is_jet(jet: dict[str, Any], muons: list[int], year: int) -> bool:
    eta = abs(jet["eta"])
    if jet["pt"] <= 25 or eta >= 4.7 or jet["qgl"] <= -2 or jet["jetId"] < (1 if year == 2016 else 2):
        return False
    good = jet["puId"] >= 7 if year == 2017 and 2.6 < eta < 3.0 else jet["puId"] >= 4 or jet["pt"] > 50
    return good and not any(jet[name] in muons for name in ("muonIdx1", "muonIdx2"))


def select_event(event: dict[str, Any], year: int) -> dict[str, Any] | None:
    if not any(event[name] for name in TRIGGERS[year]) or not all(event[name] for name in FLAGS):
        return None
    if event["PV_npvsGood"] < 1:
        return None
    photons, good = objects(event, "FsrPhoton"), []
    for index, muon in enumerate(objects(event, "Muon")):
        if muon["pt"] > 20 and abs(muon["eta"]) < 2.4 and muon["mediumId"]:
            corrected = correct(muon, photons, year)
            if corrected["iso"] < 0.25:
                good.append((index, muon, corrected))
    if len(good) != 2 or good[0][1]["charge"] == good[1][1]["charge"]:
        return None
    if max(good[0][1]["pt"], good[1][1]["pt"]) <= LEADING[year]:
        return None
    if any(e["pt"] > 20 and abs(e["eta"]) < 2.5 and e["mvaFall17V2Iso_WP90"] for e in objects(event, "Electron")):
        return None
    if good[1][2]["pt"] > good[0][2]["pt"]:
        good.reverse()
    vectors = [momentum(*(muon[name] for name in ("pt", "eta", "phi", "mass"))) for _, _, muon in good]
    pair = add(*vectors)
    jets = [jet for jet in objects(event, "Jet") if is_jet(jet, [index for index, _, _ in good], year)]
    jets.sort(key=lambda jet: -jet["pt"])
    row = {name: event[name] for name in ("run", "luminosityBlock", "event")}
    row |= {
        "dimuon_mass": mass_of(pair),
        "dimuon_pt": math.hypot(pair[0], pair[1]),
        "dimuon_rapidity": rapidity(pair),
        "mu1_pt": good[0][2]["pt"],
        "mu2_pt": good[1][2]["pt"],
        "n_jets": len(jets),
        "region": region(mass_of(pair)),
        **angles(vectors, [muon["charge"] for _, muon, _ in good]),
        **dijet(pair, jets[:2]),
    }
    central = [jet["btagDeepB"] for jet in jets if abs(jet["eta"]) < 2.5]
    loose, medium = (sum(score > point[year] for score in central) for point in (LOOSE, MEDIUM))
    is_vbf = len(jets) > 1 and row["dijet_mass"] > 400 and row["dijet_delta_eta"] > 2.5 and jets[0]["pt"] > 35
    if loose >= 2 or medium:
        row["channel"] = "tth_or_vh"
    elif is_vbf:
        row["channel"] = "vbf"
    else:
        row["channel"] = ("ggh_0jet", "ggh_1jet", "ggh_2jets")[min(len(jets), 2)]
    hard = [(muon["eta"], muon["phi"]) for _, _, muon in good] + [(jet["eta"], jet["phi"]) for jet in jets[:2]]
    near = [
        soft["pt"]
        for soft in objects(event, "SoftActivityJet")
        if soft.get("eta") is not None
        and any(math.hypot(soft["eta"] - eta, wrapped(soft["phi"] - phi)) < 0.4 for eta, phi in hard)
    ]
    row["soft_jets_5"] = max(event["SoftActivityJetNjets5"] - sum(pt > 5 for pt in near), 0)
    row["soft_ht_2"] = max(event["SoftActivityJetHT2"] - sum(pt for pt in near if pt > 2), 0)
    return row


def region(mass: float) -> str:
    if 76 <= mass <= 106:
        return "z_peak"
    if 115.03 <= mass <= 135.03:
        return "signal"
    return "sidebands" if 110 <= mass <= 150 else "none"


def dijet(pair: tuple[float, ...], jets: list[dict[str, Any]]) -> dict[str, float]:
    if len(jets) < 2:
        nan = math.nan
        return dict.fromkeys(("dijet_mass", "dijet_delta_eta", "zeppenfeld", "pt_balance"), nan)
    one, two = (momentum(*(jet[name] for name in ("pt", "eta", "phi", "mass"))) for jet in jets)
    every = add(pair, one, two)
    return {
        "dijet_mass": mass_of(add(one, two)),
        "dijet_delta_eta": abs(jets[0]["eta"] - jets[1]["eta"]),
        "zeppenfeld": (rapidity(pair) - (rapidity(one) + rapidity(two)) / 2) / abs(rapidity(one) - rapidity(two)),
        "pt_balance": math.hypot(every[0], every[1]) / (math.hypot(pair[0], pair[1]) + jets[0]["pt"] + jets[1]["pt"]),
    }


def angles(vectors: list[tuple[float, ...]], charges: list[int]) -> dict[str, float]:
    """Collins-Soper angles by the formulas in light-cone components, which need no boost.

    With l the negative and k the positive lepton, and q = l + k: in the limit of exact masses the z component in the
    frame is (l+ k- - l- k+) / sqrt(q^2 + qt^2) over the momentum, and the transverse ones follow from the difference.
    """
    lepton, other = vectors if charges[0] < 0 else vectors[::-1]
    q = add(lepton, other)
    mass, qt = mass_of(q), math.hypot(q[0], q[1])
    delta = [a - b for a, b in zip(lepton, other, strict=True)]
    # Components of delta = l - k along the axes; q itself is at rest, so l = (delta + q) / 2 up to q's share.
    share = (delta[3] * q[3] - delta[0] * q[0] - delta[1] * q[1] - delta[2] * q[2]) / mass**2
    delta = [d - share * c for d, c in zip(delta, q, strict=True)]  # what of it is orthogonal to q
    transverse = math.sqrt(mass**2 + qt**2)
    z = (delta[2] * q[3] - delta[3] * q[2]) / transverse
    along = (delta[0] * q[0] + delta[1] * q[1]) / qt
    x = along * transverse / mass - (delta[3] * q[3] - delta[2] * q[2]) / transverse * qt / mass
    y = (q[0] * delta[1] - q[1] * delta[0]) / qt
    size = math.sqrt(x * x + y * y + z * z)
    return {"cos_theta_cs": z / size, "phi_cs": math.atan2(y, x)}
