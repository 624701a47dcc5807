"""Muons: resolution and its estimate, the impact parameter, photons, identification and triggers."""

import awkward as ak
import numpy as np

from af_kit.simulate.nano import detector
from af_kit.simulate.nano.campaigns import campaign


def matched(tools, kind="dy", year=2018):
    """Return prompt muons with the generated momentum."""
    events = tools.drawn(kind, year)
    muons = tools.collection(events, "Muon")
    keep = (muons.genPartFlav == 1) & (muons.pt > 10)
    muons["gen_pt"] = events.GenPart_pt[ak.where(muons.genPartIdx >= 0, muons.genPartIdx, 0)]
    return ak.flatten(muons[keep])


def corrected(muons, year):
    """Return the momentum without the shift by the impact parameter."""
    slope = detector.geofit_slope(campaign(year), ak.to_numpy(muons.eta)) * 1e4
    return muons.pt - slope * muons.dxybs * muons.charge * muons.pt**2 / 1e4


def test_the_error_describes_the_resolution(tools):
    muons = matched(tools)
    pull = ak.to_numpy((muons.pt - muons.gen_pt) / muons.ptErr)
    width = np.diff(np.percentile(pull, [16, 84]))[0] / 2
    assert abs(width / detector.ERROR_CALIBRATION - 1) < 0.06
    relative = ak.to_numpy(muons.ptErr / muons.pt)
    central, forward = (relative[ak.to_numpy(abs(muons.eta)) < 0.9], relative[ak.to_numpy(abs(muons.eta)) > 1.8])
    assert np.median(forward) > 1.5 * np.median(central)
    residual = np.abs(ak.to_numpy(muons.pt / muons.gen_pt - 1))
    assert np.median(residual[relative > np.median(relative)]) > 1.2 * np.median(
        residual[relative < np.median(relative)]
    )


def test_the_correction_by_the_impact_parameter_improves_the_momentum(tools):
    muons = matched(tools, "vbf-hmumu", 2017)
    hard = muons[muons.gen_pt > 60]

    def width(pt):
        return np.diff(np.percentile(ak.to_numpy(pt / hard.gen_pt), [16, 84]))[0]

    assert width(corrected(hard, 2017)) < 0.98 * width(hard.pt)
    wrong = hard.pt + (hard.pt - corrected(hard, 2017))
    assert width(wrong) > 1.1 * width(hard.pt)


def test_photons_restore_the_mass(tools):
    events, muons = tools.pairs(tools.drawn("ggh-hmumu"), 2018)
    photons = tools.collection(events, "FsrPhoton")
    used = (photons.relIso03 < 1.8) & (photons.dROverEt2 < 0.012)
    # Those of the two muons only, one per event, for simplicity.
    own = (photons.muonIdx == muons.index[:, 0]) | (photons.muonIdx == muons.index[:, 1])
    photons = photons[used & own]
    one = ak.num(photons) == 1
    assert 0.01 < ak.mean(one) < 0.12
    photon = ak.zip(
        {"pt": photons.pt, "eta": photons.eta, "phi": photons.phi, "mass": 0 * photons.pt}, with_name="Momentum4D"
    )
    pair = muons[one][:, 0] + muons[one][:, 1]
    before, after = np.asarray(pair.mass), np.asarray((pair + photon[one][:, 0]).mass)
    assert abs(np.median(after) - 125) < abs(np.median(before) - 125)
    assert np.mean(np.abs(after - 125) < 4) > 2 * np.mean(np.abs(before - 125) < 4)
    linked = events.Muon_fsrPhotonIdx >= 0
    assert ak.sum(linked) == ak.sum(events.nFsrPhoton if "nFsrPhoton" in events.fields else ak.num(events.FsrPhoton_pt))


def test_isolation_and_impact_separate_muons_of_jets(tools):
    muons = ak.flatten(tools.collection(tools.drawn("ttbar"), "Muon"))
    prompt, of_jets = muons[muons.genPartFlav == 1], muons[muons.genPartFlav == 5]
    assert len(of_jets) > 200
    assert ak.mean(prompt.pfRelIso04_all < 0.25) > 0.95
    assert ak.mean(of_jets.pfRelIso04_all < 0.25) < 0.2
    assert ak.mean(prompt.sip3d < 4) > 0.95
    assert ak.mean(of_jets.sip3d > 4) > 0.5
    assert ak.mean(prompt.mvaTTH > 0.9) > 5 * ak.mean(of_jets.mvaTTH > 0.9)


def test_momentum_biases_can_be_corrected():
    generator = np.random.default_rng(1)
    pt, eta = generator.uniform(10, 100, 1000), generator.uniform(-2.4, 2.4, 1000)
    phi, charge = generator.uniform(-np.pi, np.pi, 1000), generator.choice([-1, 1], 1000)
    biased = detector.biased_muon_pt(pt, eta, phi, charge, 2018, is_data=True)
    assert 1e-4 < np.abs(biased / pt - 1).max() < 0.01
    factors, bends = detector.muon_scale(2018, is_data=True)
    row, column = np.searchsorted(detector.SCALE_ETA, eta) - 1, ((phi + np.pi) / (2 * np.pi) * 4).astype(int)
    assert np.allclose(biased / (factors[row, column] + charge * bends[row, column] * biased), pt, rtol=1e-12)
