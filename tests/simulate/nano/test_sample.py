"""Files of single processes: branches, types, trees, reproducibility, and physics that an analysis would see."""

import awkward as ak
import numpy as np
import pytest
import uproot

import af_kit as af
from af_kit import simulate
from af_kit.errors import InputError
from af_kit.simulate.nano import sample


def test_branches_and_trees_of_simulation(tmp_path):
    path = simulate.nanoaod(tmp_path / "x.root", 50, 1, kind="vbf-hmumu", year=2017)
    with uproot.open(path) as file:
        assert sorted(file.keys(cycle=False)) == ["Events", "LuminosityBlocks", "Runs"]
        tree = file["Events"]
        types = tree.typenames()
        assert 200 < len(types) < 250
        assert types["event"] == "uint64_t"
        assert types["nMuon"] == types["nLHEPdfWeight"] == "uint32_t"
        assert types["Muon_genPartFlav"] == "uint8_t[]"
        assert types["Muon_fsrPhotonIdx"] == types["Jet_puId"] == types["GenPart_statusFlags"] == "int32_t[]"
        assert types["Flag_goodVertices"] == types["HLT_IsoMu27"] == "bool"
        assert types["HTXS_njets30"] == "uint8_t"
        assert {"L1PreFiringWeight_Nom", "HTXS_stage1_1_fine_cat_pTjet30GeV"} <= set(types)
        assert "HLT_IsoTkMu24" not in types  # a trigger of 2016
        title = "LHE pdf variation weights (w_var / w_nominal) for LHA IDs 91400 - 91432"
        assert tree["LHEPdfWeight"].title == title
        assert tree["LHEPdfWeight"].count_branch.name == "nLHEPdfWeight"
        assert set(tree["nLHEPdfWeight"].array()) == {33}
        assert set(tree["nLHEScaleWeight"].array()) == {9}


def test_data_have_no_generator(tmp_path):
    path = simulate.nanoaod(tmp_path / "x.root", 50, 1, kind="data", year=2018)
    with uproot.open(path) as file:
        names = set(file["Events"].keys())
        assert not [
            name for name in names if "gen" in name.lower() or name.startswith(("LHE", "Pileup", "HTXS", "L1Pre"))
        ]
        assert file["Runs"].keys() == ["run"]
        assert set(file["LuminosityBlocks"].keys()) == {"run", "luminosityBlock"}


@pytest.mark.parametrize(("kind", "suffix"), [("dy", ""), ("ewkzjj", "_")])
def test_runs_hold_the_sum_of_all_weights(tmp_path, kind, suffix):
    path = simulate.nanoaod(tmp_path / "x.root", 4100, 2, kind=kind, year=2018)  # more than one block
    with uproot.open(path) as file:
        weight = file["Events"]["genWeight"].array(library="np").astype(np.float64)
        runs = file["Runs"].arrays(library="np")
        lumis = file["LuminosityBlocks"]["luminosityBlock"].array(library="np")
        assert sorted(set(file["Events"]["luminosityBlock"].array(library="np"))) == sorted(lumis)
    assert runs["run"].tolist() == [1]
    assert runs[f"genEventCount{suffix}"].tolist() == [4100]
    assert runs[f"genEventSumw{suffix}"][0] == pytest.approx(weight.sum(), rel=1e-12)
    assert runs[f"genEventSumw2{suffix}"][0] == pytest.approx((weight**2).sum(), rel=1e-12)
    if kind == "dy":
        assert 0.13 < (weight < 0).mean() < 0.19


def test_a_seed_reproduces_the_events_in_both_formats(tmp_path, events, tools):
    def write(name, seed, **options):
        return simulate.nanoaod(tmp_path / name, 120, seed, kind="dy", year=2018, **options)

    one = write("one.root", 3, cluster_entries=50)
    ntuple = write("ntuple.root", 3, format="rntuple", cluster_entries=120)
    with uproot.open(ntuple) as file:
        assert file["Runs"]["genEventCount"].array().tolist() == [120]
        assert file.classnames(cycle=False)["Events"] == "ROOT::RNTuple"
    left, right = events(one), events(ntuple)
    assert set(left.fields) == set(right.fields)
    for name in left.fields:
        assert ak.all(left[name] == right[name]), name
    assert ak.all(left.Muon_pt == tools.drawn("dy", 2018, 120, seed=3).Muon_pt)
    assert ak.num(tools.drawn("dy", 2018, 120, seed=4).Muon_pt).tolist() != ak.num(left.Muon_pt).tolist()


def test_the_kit_reads_both_formats(tmp_path):
    for kind, container in (("data", "rntuple"), ("dy", "ttree")):
        folder = tmp_path / kind
        files = af.write_files("nanoaod", folder, 90, kind=kind, year=2016, format=container)
        chunks = af.plan({"sample": [str(path) for path in files]})
        assert sum(len(chunk) for chunk in chunks) == 90
        chunk = af.read(chunks[0])
        assert ak.all(ak.num(chunk.Muon.pt) == ak.num(chunk.Muon.fsrPhotonIdx))
        assert ak.all(chunk.Jet.muonIdx1 < ak.num(chunk.Muon.pt))


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"kind": "dyy"}, "Did you mean 'dy'?"),
        ({"kind": "dy", "year": 2015}, "year=2015"),
        ({"kind": "dy", "format": "tree"}, "Did you mean 'ttree'?"),
        ({"kind": "ttree", "year": 2018}, "year=2018 does not apply"),
        ({"kind": "ttree", "format": "ttree"}, "format='ttree' does not apply"),
    ],
)
def test_wrong_options(tmp_path, options, named):
    with pytest.raises(InputError) as caught:
        simulate.nanoaod(tmp_path / "x.root", 1, 1, **options)
    assert named in str(caught.value)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("kind", sample.KINDS)
def test_every_kind_is_finite_and_in_order(kind, tools):
    events = tools.drawn(kind, 2018)
    for name in events.fields:
        values = ak.to_numpy(ak.flatten(events[name], axis=None))
        assert np.isfinite(values).all(), name
    for name in ("Muon", "Electron", "Jet", "FsrPhoton", "SoftActivityJet"):
        pt = events[f"{name}_pt"]
        assert ak.all(pt[:, 1:] <= pt[:, :-1]), name
    for index, size in (
        ("Muon_fsrPhotonIdx", "FsrPhoton_pt"), ("Muon_jetIdx", "Jet_pt"), ("Electron_jetIdx", "Jet_pt"),
        ("FsrPhoton_muonIdx", "Muon_pt"), ("Jet_muonIdx1", "Muon_pt"), ("Jet_muonIdx2", "Muon_pt"),
        ("Jet_electronIdx1", "Electron_pt"), ("Muon_genPartIdx", "GenPart_pt"), ("Jet_genJetIdx", "GenJet_pt"),
        ("GenPart_genPartIdxMother", "GenPart_pt"),
    ):  # fmt: skip
        if index in events.fields:
            assert ak.all((events[index] >= -1) & (events[index] < ak.num(events[size]))), index


def test_efficiencies_of_data_are_those_of_a_facility(tools):
    """Of 144 500 events of 2017: 8400 with certified block, trigger and two muons; 2600 selected; 444 with two jets."""
    events = tools.drawn("data", 2017, 20_000)
    scale = 144_500 / len(events)
    events = events[tools.certified(events, 2017)]
    assert 0.90 < len(events) * scale / 144_500 < 0.97
    two = events[events.HLT_IsoMu27 & (ak.num(events.Muon_pt) >= 2)]
    assert 6800 < len(two) * scale < 10_000
    chosen, muons = tools.pairs(events, 2017)
    assert 2000 < len(chosen) * scale < 3200
    jets = tools.selected_jets(chosen, muons, 2017)
    assert 300 < ak.sum(ak.num(jets) >= 2) * scale < 650


def test_two_primary_datasets_share_events(tools):
    single, double = (tools.drawn(kind, 2018, 4000) for kind in ("data", "data-doublemuon"))

    def numbers(sample):
        return set(zip(*(ak.to_list(sample[name]) for name in ("run", "luminosityBlock", "event")), strict=True))

    assert len(numbers(single)) == len(numbers(double)) == 4000
    shared = numbers(single) & numbers(double)
    assert 40 < len(shared) < 1000
    fired = double.HLT_Mu17_TrkIsoVVL_Mu8_TrkIsoVVL_DZ
    assert ak.all(fired)
    of_single = single[single.HLT_Mu17_TrkIsoVVL_Mu8_TrkIsoVVL_DZ]
    assert shared == numbers(of_single)
    both = double[: len(of_single)]
    assert ak.all(both.Muon_pt == of_single.Muon_pt)
    assert not ak.any(double[len(of_single) :].HLT_IsoMu24)


def test_z_and_higgs_bosons_have_their_masses(tools):
    _, muons = tools.pairs(tools.drawn("dy"), 2018)
    z = tools.mass(muons)
    assert abs(np.median(z) - 91.1) < 0.25
    peak = z[(z > 76) & (z < 106)]
    assert 1.2 < np.diff(np.percentile(peak, [25, 75]))[0] / 1.349 < 3.0
    low, high = ((peak > 78) & (peak < 86)).sum(), ((peak > 96.2) & (peak < 104.2)).sum()
    assert low > 1.25 * high > 0  # photons are lost on the low side
    for kind in ("ggh-hmumu", "vbf-hmumu"):
        _, muons = tools.pairs(tools.drawn(kind), 2018)
        higgs = tools.mass(muons)
        assert abs(np.median(higgs) - 124.8) < 0.3
        assert 1.0 < np.diff(np.percentile(higgs, [25, 75]))[0] / 1.349 < 2.5


def test_topologies(tools):
    fractions = {}
    for kind in ("dy-m105-160", "ggh-hmumu", "vbf-hmumu", "ewkzjj", "ttbar"):
        events, muons = tools.pairs(tools.drawn(kind, 2018), 2018)
        jets = tools.selected_jets(events, muons, 2018)
        two = jets[ak.num(jets) >= 2]
        pair = two[:, 0] + two[:, 1]
        vbf = (pair.mass > 400) & (abs(two[:, 0].eta - two[:, 1].eta) > 2.5) & (two[:, 0].pt > 35)
        central = jets[abs(jets.eta) < 2.5]
        medium = ak.any(central.btagDeepB > 0.4184, axis=1)
        fractions[kind] = (ak.sum(vbf) / len(jets), ak.mean(medium))
    assert 0.3 < fractions["vbf-hmumu"][0] < 0.7
    assert 0.3 < fractions["ewkzjj"][0] < 0.7
    assert fractions["dy-m105-160"][0] < 0.04
    assert fractions["ggh-hmumu"][0] < 0.04
    assert fractions["ttbar"][1] > 0.75
    assert fractions["vbf-hmumu"][1] < 0.08


def test_the_filtered_sample_is_the_tail_of_the_inclusive_one(tools):
    """The cross-sections are 47.17 pb and, with the two hardest generated jets above 350 GeV, 2.04 pb."""

    def dijet_mass(events):
        jets, particles = tools.collection(events, "GenJet"), tools.collection(events, "GenPart")
        flavour = abs(particles.pdgId)
        leptons = particles[(flavour == 11) | (flavour == 13) | (flavour == 15)]
        one, other = ak.unzip(ak.cartesian([jets, leptons], nested=True))
        near = ak.any(one.deltaR(other) <= 0.3, axis=2)
        jets = ak.pad_none(jets[~near], 2)
        return ak.to_numpy(ak.fill_none((jets[:, 0] + jets[:, 1]).mass, 0.0))

    inclusive = dijet_mass(tools.drawn("dy-m105-160"))
    filtered = dijet_mass(tools.drawn("dy-m105-160-vbf"))
    assert (inclusive > 350).mean() == pytest.approx(2.04 / 47.17, abs=0.012)
    assert (filtered > 350).mean() > 0.93
