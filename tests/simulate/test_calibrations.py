"""Calibration files: names and formats of the real ones, and numbers that fit the simulated samples."""

import gzip
import json
import os
from pathlib import Path

import awkward as ak
import numpy as np
import pytest
import uproot
from coffea.jetmet_tools import (
    FactorizedJetCorrector,
    JetCorrectionUncertainty,
    JetResolution,
    JetResolutionScaleFactor,
)
from coffea.lookup_tools import extractor, rochester_lookup, txt_converters

from af_kit import simulate
from af_kit.errors import InputError
from af_kit.simulate.nano import detector
from af_kit.simulate.nano.campaigns import RUN_2, campaign

REAL = Path(os.environ.get("AF_KIT_CMS") or Path(__file__).parents[3] / "shared" / "cms")


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    folder = tmp_path_factory.mktemp("calibrations")
    return {year: {path.name: path for path in simulate.calibrations(folder / str(year), year)} for year in RUN_2}


def evaluator(paths):
    files = extractor()
    files.add_weight_sets([f"* * {path}" for path in paths])
    files.finalize()
    made = files.make_evaluator()
    return {key: made[key] for key in made.keys()}  # noqa: SIM118 - not a mapping


def text(path):
    return gzip.decompress(path.read_bytes()).decode()


def one(files, pattern):
    (path,) = (path for name, path in files.items() if pattern in name)
    return path


@pytest.mark.parametrize("year", RUN_2)
def test_names_and_sizes(folders, year):
    files = folders[year]
    assert f"RoccoR{year}.txt.gz" in files
    assert {"NNLOPS_reweight.root", "PUIDMaps.root", "zpt_weights.histo.json", "vbf_stxs.json"} <= set(files)
    assert sum(path.stat().st_size for path in files.values()) < 300_000
    assert sum(name.startswith("Cert_") for name in files) == 1


@pytest.mark.skipif(not REAL.is_dir(), reason="needs the calibration files of CMS (AF_KIT_CMS)")
def test_names_and_keys_are_those_of_the_real_files(folders):
    real = {path.name: path for path in REAL.rglob("*") if path.is_file()}
    for files in folders.values():
        assert set(files) <= set(real)
        for name, path in files.items():
            if name.endswith(".root"):
                with uproot.open(path) as mine, uproot.open(real[name]) as theirs:
                    keys = set(mine.keys(cycle=False, recursive=True))
                    assert keys <= set(theirs.keys(cycle=False, recursive=True)), name
                    for key in keys:
                        ours, other = (
                            mine.classnames(recursive=True)[f"{key};1"],
                            theirs.classnames(recursive=True)[f"{key};1"],
                        )
                        assert ours[:3] == other[:3], key  # TH2D for TH2F, TGraph for TGraphErrors
            elif name.endswith((".jec.txt.gz", ".jr.txt.gz", ".jersf.txt.gz")) and "Residual" not in name:
                header = [text(path).split("\n")[0].split() for path in (path, real[name])]
                assert (
                    [word.strip("{}") for word in header[0] if word.strip("{}")]
                    == [word.strip("{}") for word in header[1] if word.strip("{}")]
                    or "RunA" in name
                    or "_Run" in name
                ), name


@pytest.mark.parametrize("year", RUN_2)
def test_the_momentum_scale_of_muons_corrects_the_simulated_biases(folders, year):
    path = str(folders[year][f"RoccoR{year}.txt.gz"])
    lookup = rochester_lookup.rochester_lookup(txt_converters.convert_rochester_file(path, loaduncs=True))
    generator = np.random.default_rng(1)
    true, eta = generator.uniform(10, 100, 500), generator.uniform(-2.39, 2.39, 500)
    phi, charge = generator.uniform(-3.1, 3.1, 500), generator.choice([-1, 1], 500)
    for is_data, scale in ((True, lookup.kScaleDT), (False, lookup.kScaleMC)):
        pt = detector.biased_muon_pt(true, eta, phi, charge, year, is_data=is_data)
        assert np.abs(pt / true - 1).max() > 2e-4
        assert np.allclose(pt * scale(charge, pt, eta, phi), true, rtol=1e-9)
    spread = lookup.kSpreadMC(charge, pt, eta, phi, true * 1.01)
    assert np.allclose(pt * spread - true * 1.01, 1.06 * (true - true * 1.01), rtol=0.05)
    error = np.asarray(lookup.kScaleDTerror(charge, pt, eta, phi))
    assert (error > 0).all()
    assert error.mean() < 1e-3


@pytest.mark.parametrize(("year", "kind"), [(2016, "dy"), (2017, "data"), (2018, "data"), (2018, "dy")])
def test_the_jet_corrections_lead_from_raw_to_simulated_momenta(folders, tools, year, kind):
    events = tools.drawn(kind, year, 400)
    number = ak.num(events.Jet_pt)
    run, rho = (np.repeat(np.asarray(events[name]), number) for name in ("run", "fixedGridRhoFastjetAll"))
    pt, eta, area, factor = (
        np.asarray(ak.flatten(events[f"Jet_{name}"])) for name in ("pt", "eta", "area", "rawFactor")
    )
    raw = pt * (1 - factor)
    period = np.searchsorted([317080, 319337, 320673], run, side="right")
    groups = (
        {f"Run{letter}": period == index for index, letter in enumerate("ABCD")}
        if kind == "data" and year == 2018
        else {"MC": pt > 0}
    )
    for name, chosen in groups.items():
        paths = [path for file, path in folders[year].items() if f"_{name}" in file and file.endswith(".jec.txt.gz")]
        assert len(paths) == 4
        corrections = evaluator(paths)
        levels = ("L1FastJet", "L2Relative", "L3Absolute", "L2L3Residual")
        keys = [next(key for key in corrections if f"_{level}_" in key) for level in levels]
        corrector = FactorizedJetCorrector(**{key: corrections[key] for key in keys})
        arguments = {"JetPt": raw[chosen], "JetEta": eta[chosen], "JetA": area[chosen], "Rho": rho[chosen]}
        assert np.allclose(raw[chosen] * corrector.getCorrection(**arguments), pt[chosen], rtol=1e-3)
        assert chosen.sum() > 50
    assert 0.02 < np.std(factor) < 0.4


@pytest.mark.parametrize("year", RUN_2)
def test_jet_resolution_and_uncertainties(folders, year):
    files = folders[year]
    tables = evaluator(
        [path for name, path in files.items() if name.endswith((".jr.txt.gz", ".jersf.txt.gz", ".junc.txt.gz"))]
    )
    pt, eta, rho = np.array([20.0, 40.0, 200.0]), np.array([0.5, -2.7, 4.0]), np.array([5.0, 20.0, 40.0])
    key = next(key for key in tables if "PtResolution" in key)
    found = JetResolution(**{key: tables[key]}).getResolution(JetEta=eta, Rho=rho, JetPt=pt)
    assert np.allclose(found, detector.jet_resolution(pt, eta, rho), rtol=1e-6)
    key = next(key for key in tables if key.endswith("_SF_AK4PFchs"))
    ratio = JetResolutionScaleFactor(**{key: tables[key]}).getScaleFactor(JetEta=eta, JetPt=pt)
    assert np.allclose(ratio[:, 0], [1.10, 1.25, 1.12])
    assert (ratio[:, 2] < ratio[:, 0]).all()
    assert (ratio[:, 0] < ratio[:, 1]).all()
    sources = [key for key in tables if "UncertaintySources" in key]
    expected = {"Absolute", "BBEC1", "EC2", "HF", "RelativeBal", "FlavorQCD", "Total"}
    expected |= {f"{name}{year}" for name in ("Absolute", "BBEC1", "EC2", "HF", "RelativeSample")}
    assert {key.split("_")[-1] for key in sources} == expected
    values = dict(
        JetCorrectionUncertainty(**{key: tables[key] for key in sources}).getUncertainty(JetEta=eta, JetPt=pt)
    )
    of = {key.split("_")[-1]: np.asarray(value)[:, 0] - 1 for key, value in values.items()}
    assert of["HF"][:2].tolist() == [0, 0]
    assert of["HF"][2] > 0
    total = np.sqrt(sum(value**2 for name, value in of.items() if name != "Total"))
    assert np.allclose(of["Total"], total, atol=2e-4)


@pytest.mark.parametrize("year", RUN_2)
def test_muon_efficiencies(folders, year):
    files, of_year = folders[year], campaign(year)
    key = "NUM_MediumID_DEN_genTracks_" + ("eta_pt" if year == 2016 else "pt_abseta")
    names = [name for name in files if "SF_ID" in name]
    assert len(names) == (2 if year == 2016 else 1)
    for name in names:
        found = uproot.open(files[name])[key]
        values, edges = found.values(), [axis.edges() for axis in found.axes]
        assert edges[1 if year == 2016 else 0].tolist() == [20, 25, 30, 40, 50, 60, 120]
        assert ((values > 0.95) & (values < 1.02)).all()
        assert (found.errors() > 0).all()
    folder = {2016: "IsoMu24_OR_IsoTkMu24", 2017: "IsoMu27", 2018: "IsoMu24"}[year]
    periods = [path for name, path in files.items() if "_Trigger" in name]
    assert len(periods) == (1 if year == 2017 else 2)
    data, simulation = (
        np.mean(
            [uproot.open(path)[f"{folder}_PtEtaBins/efficiencies{of}/abseta_pt_{of}"].values() for path in periods],
            axis=0,
        )
        for of in ("DATA", "MC")
    )
    assert (data < simulation).all()
    axis = uproot.open(periods[0])[f"{folder}_PtEtaBins/efficienciesMC/abseta_pt_MC"].axes[1].edges()
    assert axis[0] == of_year.leading_pt
    assert np.allclose(
        simulation[:, 2],
        detector.trigger_efficiency(np.array([45.0]), np.arange(4), of_year.threshold, is_data=False),
        atol=5e-3,
    )


@pytest.mark.parametrize("year", RUN_2)
def test_pileup_and_certified_blocks(folders, year):
    files, of_year = folders[year], campaign(year)
    simulation = one(files, "pileup_profile" if year == 2016 else "mcPileup")
    data = one(files, "PileupData" if year == 2016 else "puData")
    mc = uproot.open(simulation)["pu_mc"]
    assert len(mc.values()) == of_year.pileup_bins
    assert mc.axis().edges()[[0, 1]].tolist() == [0, 1]
    shapes = {name: uproot.open(data)[name].values() for name in ("pileup", "pileup_plus", "pileup_minus")}
    bins = np.arange(of_year.pileup_bins)
    means = {name: (shape * bins).sum() / shape.sum() for name, shape in shapes.items()}
    assert means["pileup_minus"] < means["pileup"] < means["pileup_plus"]
    golden = json.loads(one(files, "Cert_").read_text())
    assert set(golden) == {str(run) for run, _, _ in of_year.runs}


def test_theory_files(folders):
    files = folders[2018]
    stxs = json.loads(files["vbf_stxs.json"].read_text())
    assert set(stxs["acceptance"]) == set(stxs["powheg_xsec"]) == {str(code) for code in range(200, 225)}
    assert len(stxs["names"]) == len(stxs["deltas"]) == 10
    table = np.array(list(stxs["acceptance"].values()))
    assert np.allclose(table[:, 0].sum(), 1, atol=1e-3)  # the total
    assert np.allclose(table[:, 1:].sum(axis=0), 0, atol=3e-3)  # migrations keep it
    zpt = json.loads(files["zpt_weights.histo.json"].read_text())["zpt_weights"]
    assert list(zpt) == ["2016", "2017"]
    assert len(zpt["2016"]) == 12
    with uproot.open(files["NNLOPS_reweight.root"]) as file:
        assert len(file.keys()) == 8
        graph = file["gr_NNLOPSratio_pt_powheg_1jet"]
        assert graph.member("fX")[-1] == 625
        assert (graph.member("fY") > 0.5).all()
    with uproot.open(files["PUIDMaps.root"]) as file:
        assert file["h2_eff_mc2017_L"].values().shape == (5, 12)
        assert len(file.keys()) == 3 * 3 * 6
    resolution = uproot.open(files["res_calib_MC_2018.root"])["res_calib_MC_2018"]
    assert [len(axis.edges()) for axis in resolution.axes] == [5, 4, 4]
    assert abs(resolution.values().mean() - detector.ERROR_CALIBRATION) < 0.02


@pytest.mark.parametrize("year", RUN_2)
def test_scale_factors_of_b_tagging(folders, year):
    header, *rows = text(one(folders[year], ".btag.csv.gz")).strip().split("\n")
    assert header.startswith("DeepCSV;OperatingPoint, measurementType, sysType, jetFlavor")
    rows = [row.split(", ") for row in rows]
    assert {len(row) for row in rows} == {11}
    assert {row[1] for row in rows} == {"iterativefit"}
    found = {(flavour, name.partition("_")[2]) for _, _, name, flavour, *_ in rows}
    assert found == {
        *(("0", name) for name in ("", "jes", "lf", "hfstats1", "hfstats2")),
        *(("1", name) for name in ("", "cferr1", "cferr2")),
        *(("2", name) for name in ("", "jes", "hf", "lfstats1", "lfstats2")),
    }
    central = {tuple(row[3:10]) for row in rows if row[2] == "central"}
    assert all(tuple(row[3:10]) in central for row in rows)  # every variation has the bins of the nominal factor


def test_the_files_are_reproducible_and_years_are_checked(folders, tmp_path):
    again = simulate.calibrations(tmp_path, 2017)
    for path in again:
        if path.suffix in (".gz", ".json", ".txt"):
            assert path.read_bytes() == folders[2017][path.name].read_bytes()
    with pytest.raises(InputError, match="year=2012"):
        simulate.calibrations(tmp_path, 2012)
