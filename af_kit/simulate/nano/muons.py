"""Reconstructed muons and the photons that they radiate."""

from __future__ import annotations

import numpy as np

from af_kit.simulate.kinematics import MUON_MASS
from af_kit.simulate.nano import detector, tables
from af_kit.simulate.nano.campaigns import Campaign
from af_kit.simulate.nano.momenta import Floats, momentum, wrapped
from af_kit.simulate.nano.tables import Array, Table
from af_kit.simulate.nano.truth import FLAGS, HADRON, LEPTON, PHOTON, Particles

FAKES = 0.11
"""Mean number of muons of an event without a generated one: kaons, and tracks that reach the muon chambers."""
_HADRONS = {5: 521, 4: 411, 0: 211}


def from_jets(generator: np.random.Generator, particles: Particles, jets: Table) -> None:
    """Add the muons in jets (the column ``muon``) and the hadrons that decay to them."""
    rows = np.flatnonzero(jets["muon"] * jets["pt"] > 2.5)
    flavour = jets["hadron"][rows]
    where = {
        "eta": jets["eta"][rows] + generator.normal(0, 0.06, rows.size),
        "phi": wrapped(jets["phi"][rows] + generator.normal(0, 0.06, rows.size)),
    }
    charge = generator.integers(0, 2, rows.size) * 2 - 1
    hadron = np.select([flavour == 5, flavour == 4], [_HADRONS[5], _HADRONS[4]], _HADRONS[0])
    pt = jets["muon"][rows] * jets["pt"][rows]
    mother = particles.add(
        jets["event"][rows], momentum(1.4 * pt, where["eta"], where["phi"], 0.14), hadron * charge, HADRON, status=2
    )
    particles.add(
        jets["event"][rows], momentum(pt, where["eta"], where["phi"], MUON_MASS), -13 * charge, LEPTON,
        mother=mother, flavour=np.where(flavour > 0, flavour, 3), jet=rows, statusFlags=FLAGS["hadron product"],
    )  # fmt: skip


def reconstruct(
    generator: np.random.Generator, particles: Table, events: int, campaign: Campaign, *, is_data: bool
) -> Table:
    """Return the muons that the detector finds, sorted as in NanoAOD.

    Besides the columns of NanoAOD (without prefix) they have ``particle`` and ``jet`` (rows, or -1), ``prompt``, and
    ``passes`` (a number below the trigger's efficiency fires it).
    """
    real = (np.abs(particles["pdgId"]) == 13) & (particles["status"] == 1)
    real &= (particles["pt"] > 2.5) & (np.abs(particles["eta"]) < 2.4)
    rows = np.flatnonzero(real & (generator.random(real.size) < 0.985))
    fakes = generator.poisson(FAKES, events)
    event = np.repeat(np.arange(events), fakes)
    true_pt = np.concatenate([particles["pt"][rows], 3 + generator.exponential(2.0, event.size)])
    eta = np.concatenate([particles["eta"][rows], generator.uniform(-2.4, 2.4, event.size)])
    phi = np.concatenate([particles["phi"][rows], generator.uniform(-np.pi, np.pi, event.size)])
    fake_charge = generator.integers(0, 2, event.size) * 2 - 1
    muons: Table = {
        "event": np.concatenate([particles["event"][rows], event]),
        "eta": np.clip(eta + generator.normal(0, 2e-4, eta.size), -2.4, 2.4),
        "phi": wrapped(phi + generator.normal(0, 2e-4, eta.size)),
        "charge": np.concatenate([-np.sign(particles["pdgId"][rows]), fake_charge]),
        "particle": np.concatenate([rows, np.full(event.size, -1)]),
        "jet": np.concatenate([particles["jet"][rows], np.full(event.size, -1)]),
        "genPartFlav": np.concatenate([particles["flavour"][rows], np.zeros(event.size, np.int64)]),
    }
    for name in ("eta", "phi"):  # so that they stay in their bins of the corrections
        muons[name] = tables.stored(muons[name]).astype(np.float64)
    muons["prompt"] = np.isin(muons["genPartFlav"], (1, 15))
    _impact(generator, muons)
    _measure(generator, muons, true_pt, campaign, is_data=is_data)
    muons = tables.take(muons, muons["pt"] > 3)
    _identify(generator, muons, is_data=is_data)
    return tables.take(muons, tables.by_pt(muons))


def isolate(generator: np.random.Generator, muons: Table, photon_pt: Floats, pileup: Array) -> None:
    """Add the isolation variables; photons that the muon radiated count in its cone."""
    prompt, pt = muons["prompt"], muons["pt"]
    scale = 0.028 + 0.0005 * pileup[muons["event"]]
    charged = np.where(prompt, generator.exponential(0.35 * scale), 0.08 + generator.exponential(0.5, pt.size))
    neutral = np.where(prompt, generator.exponential(0.65 * scale), 0.04 + generator.exponential(0.35, pt.size))
    muons["pfRelIso04_all"] = charged + neutral + photon_pt / pt
    muons["pfRelIso03_all"] = 0.75 * (charged + neutral) + photon_pt / pt
    muons["pfRelIso03_chg"] = 0.75 * charged
    muons["tkRelIso"] = 0.7 * charged
    muons["miniPFRelIso_chg"] = 0.5 * charged
    muons["miniPFRelIso_all"] = 0.5 * (charged + neutral)
    muons["jetRelIso"] = charged + neutral
    limits = np.array([0.40, 0.25, 0.20, 0.15, 0.10, 0.05])
    muons["pfIsoId"] = (muons["pfRelIso04_all"][:, None] < limits).sum(axis=1)
    muons["miniIsoId"] = (muons["miniPFRelIso_all"][:, None] < np.array([0.4, 0.2, 0.1, 0.05])).sum(axis=1)


def photons(generator: np.random.Generator, particles: Table, muons: Table) -> tuple[Table, Floats]:
    """Return the reconstructed photons of final-state radiation, and the generated photon's pt near each muon.

    Sets ``fsrPhotonIdx`` of the muons. Some photons are from pile-up; a muon has one photon at most.
    """
    size = tables.size(muons)
    of_particle = np.full(tables.size(particles), -1)
    matched = muons["particle"] >= 0
    of_particle[muons["particle"][matched]] = np.flatnonzero(matched)
    rows = np.flatnonzero(particles["rank"] == PHOTON)
    muon = of_particle[particles["mother"][rows]]
    rows, muon = rows[muon >= 0], muon[muon >= 0]
    cone = np.zeros(size)
    distance = np.hypot(
        particles["eta"][rows] - muons["eta"][muon], wrapped(particles["phi"][rows] - muons["phi"][muon])
    )
    inside = (distance > 0.01) & (distance < 0.4)
    cone[muon[inside]] = particles["pt"][rows[inside]]

    seen = generator.random(rows.size) < 0.6
    rows, muon = rows[seen], muon[seen]
    fake = np.setdiff1d(np.flatnonzero(generator.random(size) < 0.03), muon)
    distance = 0.05 + 0.45 * np.sqrt(generator.random(fake.size))
    azimuth = generator.uniform(-np.pi, np.pi, fake.size)
    pt = particles["pt"][rows] * generator.normal(1, 0.04, rows.size)
    found: Table = {
        "event": muons["event"][np.concatenate([muon, fake])],
        "muon": np.concatenate([muon, fake]),
        "pt": np.concatenate([pt, 2 + generator.exponential(1.5, fake.size)]),
        "eta": np.concatenate([particles["eta"][rows], muons["eta"][fake] + distance * np.cos(azimuth)]),
        "phi": wrapped(np.concatenate([particles["phi"][rows], muons["phi"][fake] + distance * np.sin(azimuth)])),
        "relIso03": np.concatenate([generator.exponential(0.2, rows.size), generator.exponential(1.6, fake.size)]),
    }
    apart = np.hypot(found["eta"] - muons["eta"][found["muon"]], wrapped(found["phi"] - muons["phi"][found["muon"]]))
    found["dROverEt2"] = apart / found["pt"] ** 2
    # NanoAOD's own selection of these photons.
    keep = (found["pt"] > 2) & (np.abs(found["eta"]) < 2.4) & (found["dROverEt2"] < 0.05) & (found["relIso03"] < 2)
    found = tables.take(found, keep)
    found = tables.take(found, tables.by_pt(found))
    muons["fsrPhotonIdx"] = np.full(size, -1)
    muons["fsrPhotonIdx"][found["muon"]] = tables.positions(found["event"])
    found["muonIdx"] = tables.positions(muons["event"])[found["muon"]]
    return found, cone


def _impact(generator: np.random.Generator, muons: Table) -> None:
    """Draw the impact parameters; muons of b and c hadrons come from a distance."""
    size = tables.size(muons)
    far = np.where(muons["prompt"], 0.0, generator.exponential(0.02, size)) * generator.choice([-1, 1], size)
    muons["dxybs"] = generator.normal(0, detector.IMPACT_RESOLUTION, size) + far
    muons["dxy"] = muons["dxybs"] + generator.normal(0, 0.0006, size)
    muons["dz"] = generator.normal(0, 0.004, size) + far
    muons["dxyErr"] = 0.0014 * generator.lognormal(0, 0.15, size)
    muons["dzErr"] = 0.0035 * generator.lognormal(0, 0.2, size)
    muons["ip3d"] = np.hypot(muons["dxy"], 0.4 * muons["dz"])
    muons["sip3d"] = muons["ip3d"] / np.hypot(muons["dxyErr"], 0.4 * muons["dzErr"])


def _measure(
    generator: np.random.Generator, muons: Table, true_pt: Floats, campaign: Campaign, *, is_data: bool
) -> None:
    """Measure the momentum: resolution, the shift with the impact parameter, and the biases of the scale."""
    eta, charge = muons["eta"], muons["charge"]
    resolution = detector.muon_resolution(eta, true_pt, is_data=is_data)
    shift = detector.geofit_slope(campaign, eta) * true_pt
    pt = true_pt * np.maximum(1 + resolution * generator.standard_normal(true_pt.size), 0.2)
    # The shift is measured with the measured momentum, up to which it is exact.
    pt = pt * (1 + np.clip(shift * muons["dxybs"] * charge, -0.2, 0.2))
    muons["pt"] = detector.biased_muon_pt(pt, eta, muons["phi"], charge, campaign.year, is_data=is_data)
    total = np.hypot(resolution, shift * detector.IMPACT_RESOLUTION)
    estimate = total / detector.ERROR_CALIBRATION * generator.lognormal(0, 0.05, pt.size)
    muons["ptErr"] = muons["pt"] * estimate
    muons["mass"] = np.full(pt.size, MUON_MASS)
    muons["pdgId"] = -13 * charge
    muons["tightCharge"] = np.where(estimate < 0.2, 2, 0)
    muons["tunepRelPt"] = generator.normal(1, 0.004, pt.size)


def _identify(generator: np.random.Generator, muons: Table, *, is_data: bool) -> None:
    size, prompt = tables.size(muons), muons["prompt"]
    bins = detector.muon_bin(muons["eta"])
    efficiency = detector.medium_id_efficiency(bins, is_data=is_data)
    muons["mediumId"] = generator.random(size) < np.where(prompt, efficiency, 0.75)
    muons["looseId"] = muons["mediumId"] | (generator.random(size) < 0.97)
    muons["tightId"] = muons["mediumId"] & (generator.random(size) < np.where(prompt, 0.985, 0.7))
    muons["mediumPromptId"] = muons["mediumId"] & (np.abs(muons["dxy"]) < 0.02) & (np.abs(muons["dz"]) < 0.1)
    muons["softId"] = generator.random(size) < 0.95
    muons["isGlobal"] = muons["mediumId"] | (generator.random(size) < 0.8)
    muons["isTracker"] = muons["isPFcand"] = muons["looseId"]
    muons["inTimeMuon"] = generator.random(size) < 0.999
    muons["highPtId"] = np.where(muons["isGlobal"] & (muons["pt"] > 30), 2, 0)
    muons["mvaId"] = np.where(
        prompt, generator.choice(4, size, p=[0.01, 0.04, 0.15, 0.8]), generator.integers(0, 3, size)
    )
    muons["mvaTTH"] = np.where(prompt, 1 - 2 * generator.beta(0.5, 9, size), 2 * generator.beta(0.6, 5, size) - 1)
    muons["softMva"] = 2 * generator.beta(2, 1.2, size) - 1
    muons["segmentComp"] = generator.beta(6, 1, size)
    muons["jetPtRelv2"] = np.where(prompt, 0.0, generator.exponential(1.5, size))
    muons["nStations"] = generator.choice([1, 2, 3, 4], size, p=[0.05, 0.15, 0.3, 0.5])
    muons["nTrackerLayers"] = np.clip(np.round(generator.normal(13.5 - 0.5 * np.abs(muons["eta"]), 1.3)), 6, 18)
    muons["passes"] = generator.random(size)
