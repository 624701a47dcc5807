"""Reconstructed jets: of quarks and gluons, of leptons, and of pile-up."""

from __future__ import annotations

import numpy as np

from af_kit.simulate.nano import detector, run3, tables
from af_kit.simulate.nano.campaigns import Campaign
from af_kit.simulate.nano.conditions import Conditions
from af_kit.simulate.nano.momenta import Floats, wrapped
from af_kit.simulate.nano.recorded import period
from af_kit.simulate.nano.tables import Array, Table

LEAST_PT = 15.0


def reconstruct(
    generator: np.random.Generator,
    hadronic: Table,
    muons: Table,
    electrons: Table,
    conditions: Conditions,
    campaign: Campaign,
    *,
    is_data: bool,
) -> Table:
    """Return the jets, sorted as in NanoAOD.

    Besides the columns of NanoAOD they have ``source`` (row of the generator jet in ``hadronic``, or -1) and
    ``lepton`` (generated particle that the jet consists of, or -1). Sets ``jetIdx`` of muons and electrons.
    """
    # A lepton with little else is a jet of its own; one in a jet belongs to that jet.
    parts = [
        _of_partons(generator, hadronic, conditions, is_data=is_data),
        _of_leptons(generator, muons, np.flatnonzero(muons["jet"] < 0)),
        _of_leptons(generator, electrons, np.arange(tables.size(electrons))),
        _of_pileup(generator, conditions),
    ]
    for name, part in zip(("parton", "muon", "electron", "pileup"), parts, strict=True):
        part["kind"] = np.full(tables.size(part), name)
    jets = tables.join(*parts)
    jets["eta"] = tables.stored(jets["eta"]).astype(np.float64)  # so that it stays in its bin of the corrections
    keep = (jets["pt"] > LEAST_PT) & (np.abs(jets["eta"]) < 5.19)
    jets = tables.take(jets, keep)
    jets = tables.take(jets, tables.by_pt(jets))
    _energy(generator, jets, conditions, campaign, is_data=is_data)
    _match_leptons(jets, muons, electrons)
    _composition(generator, jets, campaign)
    _tag(generator, jets, hadronic)
    return jets


def lepton_jets(particles: Table) -> Table:
    """Return the generator jets of electrons and muons, with their photons: columns as ``hadronic``, and lepton."""
    leptons = (particles["status"] == 1) & np.isin(np.abs(particles["pdgId"]), (11, 13)) & (particles["jet"] < 0)
    pt = particles["pt"].copy()
    photon = np.flatnonzero(particles["pdgId"] == 22)
    np.add.at(pt, particles["mother"][photon], particles["pt"][photon])
    rows = np.flatnonzero(leptons & (pt > 10) & (np.abs(particles["eta"]) < 5.2))
    none = np.zeros(rows.size, np.int64)
    return {
        **{name: particles[name][rows] for name in ("event", "eta", "phi")},
        "pt": pt[rows],
        "mass": 0.02 * pt[rows],
        "parton": none,
        "hadron": none,
        "lepton": rows,
    }


def _of_partons(generator: np.random.Generator, hadronic: Table, conditions: Conditions, *, is_data: bool) -> Table:
    pt, eta = hadronic["pt"], hadronic["eta"]
    resolution = detector.jet_resolution(pt, eta, conditions.rho[hadronic["event"]])
    if is_data:
        bins = np.clip(np.searchsorted(detector.JER_ABSETA, np.abs(eta), side="right") - 1, 0, 3)
        resolution = resolution * detector.jet_resolution_ratio()[bins]
    measured = pt * np.maximum(1 + resolution * generator.standard_normal(pt.size), 0.05)
    direction = 0.02 + 0.4 / np.maximum(pt, 10)
    return {
        "event": hadronic["event"],
        "pt": measured,
        "eta": eta + direction * generator.standard_normal(pt.size),
        "phi": wrapped(hadronic["phi"] + direction * generator.standard_normal(pt.size)),
        "mass": hadronic["mass"] * measured / pt,
        "source": np.arange(pt.size),
        "lepton": np.full(pt.size, -1),
        "of": np.full(pt.size, -1),
    }


def _of_leptons(generator: np.random.Generator, leptons: Table, rows: Array) -> Table:
    pt = leptons["pt"][rows] * (1 + generator.exponential(0.03, rows.size))
    return {
        "event": leptons["event"][rows],
        "pt": pt,
        "eta": leptons["eta"][rows] + generator.normal(0, 0.003, rows.size),
        "phi": wrapped(leptons["phi"][rows] + generator.normal(0, 0.003, rows.size)),
        "mass": pt * generator.uniform(0.02, 0.12, rows.size),
        "source": np.full(rows.size, -1),
        "lepton": leptons["particle"][rows],
        "of": rows,
    }


def _of_pileup(generator: np.random.Generator, conditions: Conditions) -> Table:
    number = generator.poisson(0.0013 * conditions.interactions**2)
    event = np.repeat(np.arange(number.size), number)
    pt = LEAST_PT * generator.random(event.size) ** (-1 / 4.6)
    return {
        "event": event,
        "pt": pt,
        "eta": 5 * np.tanh(0.75 * generator.standard_normal(event.size)),
        "phi": generator.uniform(-np.pi, np.pi, event.size),
        "mass": pt * generator.uniform(0.08, 0.2, event.size),
        **{name: np.full(event.size, -1) for name in ("source", "lepton", "of")},
    }


def _energy(
    generator: np.random.Generator, jets: Table, conditions: Conditions, campaign: Campaign, *, is_data: bool
) -> None:
    """Set area and rawFactor, so that the simulated corrections lead from the raw to this momentum."""
    event, bins = jets["event"], detector.jet_bin(jets["eta"])
    jets["area"] = np.clip(generator.normal(0.50, 0.025, event.size), 0.3, 0.75)
    factor = detector.jet_response(campaign.year)[bins]
    if is_data:
        factor = factor * detector.jet_residual(campaign.year, np.arange(4))[bins, period(conditions.run[event])]
    raw = jets["pt"] / factor + detector.jet_offset()[bins] * jets["area"] * conditions.rho[event]
    jets["rawFactor"] = 1 - raw / jets["pt"]


def _match_leptons(jets: Table, muons: Table, electrons: Table) -> None:
    """Set Jet_muonIdx1, Jet_muonIdx2, Jet_electronIdx1, Jet_electronIdx2, Muon_jetIdx and Electron_jetIdx."""
    index = tables.positions(jets["event"])
    source = np.full(1 + int(jets["source"].max(initial=-1)), -1)
    from_source = jets["source"] >= 0
    source[jets["source"][from_source]] = np.flatnonzero(from_source)
    for name, leptons in (("muon", muons), ("electron", electrons)):
        own = np.full(tables.size(leptons), -1)
        is_own = jets["kind"] == name
        own[jets["of"][is_own]] = np.flatnonzero(is_own)
        if name == "muon" and source.size:
            inside = (leptons["jet"] >= 0) & (leptons["jet"] < source.size)
            own[inside] = source[leptons["jet"][inside]]
        position = tables.positions(leptons["event"])
        leptons["jetIdx"] = np.where(own >= 0, index[np.maximum(own, 0)] if index.size else -1, -1)
        first, second = np.full((2, index.size), -1)
        found = np.flatnonzero(own >= 0)[::-1]  # in reverse: of several in a jet, the hardest remains
        first[own[found]] = position[found]
        rest = found[position[found] != first[own[found]]]
        second[own[rest]] = position[rest]
        jets[f"{name}Idx1"], jets[f"{name}Idx2"] = first, second
        jets[f"n{name.capitalize()}s"] = (first >= 0).astype(np.int64) + (second >= 0)


def _composition(generator: np.random.Generator, jets: Table, campaign: Campaign) -> None:
    size, kind = tables.size(jets), jets["kind"]
    parton, pileup = kind == "parton", kind == "pileup"
    fractions = generator.dirichlet([6.0, 1.2, 2.6, 0.1], size)
    muon, electron = kind == "muon", kind == "electron"
    for name, column, lepton in (
        ("chHEF", 0, False),
        ("neHEF", 1, False),
        ("neEmEF", 2, False),
        ("chEmEF", 3, electron),
    ):
        values = np.where(muon | electron, 0.1 * fractions[:, column], fractions[:, column])
        jets[name] = np.where(lepton, 0.9, values)
    jets["muEF"] = np.where(muon, 0.9, np.where(jets["muonIdx1"] >= 0, 0.25, 0.0))
    jets["muonSubtrFactor"] = jets["muEF"]
    jets["nConstituents"] = np.where(muon | electron, generator.integers(2, 9, size), 4 + generator.poisson(22, size))
    bad, lepton_like, good = campaign.jet_id
    jets["jetId"] = np.where(muon | electron, lepton_like, good)
    jets["jetId"][generator.random(size) < np.where(parton, 0.01, 0.03)] = bad
    # Bits of the pile-up identification: 4 for loose, 2 for medium, 1 for tight.
    draw = generator.random(size)
    efficiency, mistag = detector.PU_ID_EFFICIENCY, detector.PU_ID_MISTAG
    bits = np.zeros(size, np.int64)
    for point, bit in (("L", 4), ("M", 2), ("T", 1)):
        probability = np.where(pileup, mistag[point], np.where(jets["pt"] > 50, 0.99, efficiency[point]))
        bits |= np.where(draw < np.where(muon | electron, 0.999, probability), bit, 0)
    jets["puId"] = bits
    if campaign.is_run3:
        run3.jet_content(jets, bad=bad)


def _tag(generator: np.random.Generator, jets: Table, hadronic: Table) -> None:
    size = tables.size(jets)
    known = jets["source"] >= 0
    source = jets["source"][known]
    jets["partonFlavour"], jets["hadronFlavour"] = np.zeros((2, size), np.int64)
    jets["partonFlavour"][known] = hadronic["parton"][source]
    jets["hadronFlavour"][known] = hadronic["hadron"][source]
    flavour, gluon = jets["hadronFlavour"], jets["partonFlavour"] == 21
    light = jets["partonFlavour"] != 0
    # Beta distributions: one number per flavour for each side.
    rising = np.select([flavour == 5, flavour == 4], [1.6, 1.2], 0.45)
    falling = np.select([flavour == 5, flavour == 4], [0.75, 3.2], 8.0)
    tag = generator.beta(rising, falling)
    outside = (np.abs(jets["eta"]) > 2.5) | (generator.random(size) < 0.005)
    jets["btagDeepB"] = np.where(outside, -1.0, tag)
    jets["btagDeepC"] = np.where(outside, -1.0, (1 - tag) * generator.beta(1, 4, size))
    jets["btagDeepFlavB"] = np.where(outside, -1.0, _jittered(generator, tag, 1.4))
    jets["btagDeepFlavC"] = np.where(outside, -1.0, (1 - tag) * generator.beta(1, 5, size))
    jets["btagCSVV2"] = np.where(outside, -10.0, _jittered(generator, tag, 0.7))
    quark = np.where(gluon | ~light, 1.1, 3.6)
    likelihood = generator.beta(quark, np.where(gluon, 2.0, np.where(light, 1.3, 1.1)))
    few = jets["nConstituents"] < 5
    jets["qgl"] = np.where(few | (np.abs(jets["eta"]) > 4.7), -1.0, likelihood)
    jets["bRegCorr"] = generator.normal(1.02, 0.06, size)
    jets["bRegRes"] = generator.normal(0.13, 0.02, size)


def _jittered(generator: np.random.Generator, tag: Floats, power: float) -> Floats:
    return np.clip(tag**power * generator.lognormal(0, 0.1, tag.size), 0, 1)
