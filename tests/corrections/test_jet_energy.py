"""The jet energy scale: hand-computed jets, order of levels, periods, sources; real files against coffea."""

from __future__ import annotations

import pickle
from pathlib import Path

import awkward as ak
import numpy as np
import pytest
import uproot
from cms_files import cms_file
from small_jets import L1, L2, L3, RESIDUAL, SOURCES, write, write_json

from af_kit.corrections import jet_energy
from af_kit.corrections.jet_energy import JetEnergyScale, JetUncertainties
from af_kit.errors import InputError

SUMMER22 = "jet_jerc_Summer22_V3.json.gz"
REGROUPED = "Summer22_22Sep2023_V3_MC_Regrouped_{source}_AK4PFPuppi"
# after the first level: 40 * (1 - 0.5 / 40 * 0.5 * 20) = 35; then * (1.1 + 0.001 * 35), * 1, * 0.01 * pt
FIRST = 35.0
SECOND = FIRST * (1.1 + 0.001 * FIRST)


@pytest.fixture
def paths(tmp_path: Path) -> list[Path]:
    files = {"L2L3Residual": RESIDUAL, "L3Absolute": L3, "L1FastJet": L1, "L2Relative": L2}
    return list(write(tmp_path, **files).values())


@pytest.fixture
def sources(tmp_path: Path) -> Path:
    return write(tmp_path, UncertaintySources=SOURCES)["UncertaintySources"]


def test_the_correction_of_the_file_is_undone() -> None:
    pt, mass = jet_energy.raw(np.array([50.0]), np.array([8.0]), np.array([0.2]))
    assert (pt.tolist(), mass.tolist()) == ([40.0], [pytest.approx(6.4)])


def test_levels_are_applied_in_their_order_whatever_the_order_of_the_files(paths: list[Path]) -> None:
    for order in (paths, paths[::-1]):
        pt, mass = JetEnergyScale.load(order).corrected(
            np.array([40.0]), np.array([4.0]), eta=np.array([-1.0]), area=np.array([0.5]), rho=np.array([20.0])
        )
        expected = SECOND * 0.01 * SECOND
        assert pt[0] == pytest.approx(expected, rel=1e-14)
        assert mass[0] == pytest.approx(4.0 * expected / 40.0, rel=1e-14)  # the mass scales with pt


def test_jets_in_lists_with_one_rho_per_event(paths: list[Path]) -> None:
    scale = JetEnergyScale.load(paths)
    raw = ak.Array([[40.0, 100.0], [], [40.0]])
    eta = ak.Array([[-1.0, 1.0], [], [-1.0]])
    rho = np.array([20.0, 0.0, 20.0])
    jagged = scale.corrected(raw, raw / 10, eta=eta, area=ak.full_like(raw, 0.5), rho=rho)
    assert ak.num(jagged.pt).tolist() == [2, 0, 1]
    flat = scale.corrected(
        np.array([40.0, 100.0, 40.0]),
        np.array([4.0, 10.0, 4.0]),
        eta=np.array([-1.0, 1.0, -1.0]),
        area=np.full(3, 0.5),
        rho=np.full(3, 20.0),
    )
    assert ak.flatten(jagged.pt).tolist() == flat.pt.tolist()
    assert ak.flatten(jagged.mass).tolist() == flat.mass.tolist()


def test_a_jet_outside_all_bins_is_not_corrected(paths: list[Path]) -> None:
    jet = {"area": np.array([0.5]), "rho": np.array([20.0])}
    pt, _ = JetEnergyScale.load(paths).corrected(np.array([40.0]), np.array([4.0]), eta=np.array([5.3]), **jet)
    assert pt.tolist() == [40.0]


def test_each_period_has_its_own_correction(tmp_path: Path) -> None:
    (tmp_path / "A").mkdir()
    (tmp_path / "B").mkdir()
    first = write(tmp_path / "A", L2Relative=L2)["L2Relative"]
    second = write(tmp_path / "B", L2L3Residual=RESIDUAL)["L2L3Residual"]
    scale = JetEnergyScale.load_periods({316998: [second], 315252: [first]})
    pt = np.full(4, 60.0)
    jets = {"eta": np.full(4, -1.0), "area": np.full(4, 0.5), "rho": np.full(4, 20.0)}
    runs = np.array([315252, 316997, 316998, 320000])
    found = scale.corrected(pt, pt, run=runs, **jets).pt
    assert found == pytest.approx([72.0, 72.0, 36.0, 36.0])
    with pytest.raises(InputError, match=r"pass run=events\.run"):
        scale.corrected(pt, pt, **jets)
    with pytest.raises(InputError, match="Run 315251 is before the first period"):
        scale.corrected(pt, pt, run=runs - 1, **jets)


def test_a_correctionlib_file_gives_the_same_as_the_text_files(tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    pt, eta = rng.uniform(6, 300, 50), rng.uniform(-6, 6, 50)
    jets = {"eta": eta, "area": rng.uniform(0.3, 0.7, 50), "rho": rng.uniform(5, 40, 50)}
    text = JetEnergyScale.load(list(write(tmp_path, L1FastJet=L1, L2Relative=L2).values()))
    lib = JetEnergyScale.load(write_json(tmp_path / "jerc.json"), name="L1L2")
    # the variable of a formula is moved into its range by text files, but not by the small correctionlib file
    assert lib.corrected(pt, pt, **jets).pt == pytest.approx(text.corrected(pt, pt, **jets).pt, rel=1e-12)


def test_objects_can_be_pickled(paths: list[Path], sources: Path) -> None:
    jet = {"eta": np.array([-1.0]), "area": np.array([0.5]), "rho": np.array([20.0])}
    scale, uncertainties = JetEnergyScale.load(paths), JetUncertainties.load(sources)
    again, also = pickle.loads(pickle.dumps((scale, uncertainties)))
    one = np.array([40.0])
    assert again.corrected(one, one, **jet).pt == scale.corrected(one, one, **jet).pt
    assert also.relative("Absolute", one, one) == uncertainties.relative("Absolute", one, one)


def test_files_that_are_no_levels_are_refused(tmp_path: Path, paths: list[Path]) -> None:
    with pytest.raises(InputError, match="not named after a level"):
        JetEnergyScale.load(write(tmp_path, Uncertainty=L1)["Uncertainty"])
    with pytest.raises(InputError, match="a second file of its level"):
        JetEnergyScale.load([*paths, paths[0]])
    wrong = write(tmp_path, L3Absolute="{1 JetEta 0 None ScaleFactor}\n-5 5 3 1 1 1\n")["L3Absolute"]
    with pytest.raises(InputError, match="holds a ScaleFactor"):
        JetEnergyScale.load(wrong)


def test_nan_is_refused(paths: list[Path]) -> None:
    one = np.ones(2)
    with pytest.raises(InputError, match="1 of 2 values of JetEta are NaN"):
        JetEnergyScale.load(paths).corrected(one, one, eta=np.array([1, np.nan]), area=one, rho=one)


@pytest.mark.parametrize(
    ("pt", "eta", "absolute", "bbec1"),
    [
        (15.0, -1.0, 0.03, 0.03),
        (60.0, -1.0, 0.015, 0.01),
        (60.0, 0.0, 0.03, 0.01),
        (25.0, 1.0, 0.03875, 0.02),
        (5.0, -1.0, 0.04, 0.03),  # below the first point, and beyond the last one
        (500.0, -1.0, 0.01, 0.01),
        (60.0, 7.0, 0.03, 0.01),  # the last bin holds beyond its edge
    ],
)
def test_sources_are_interpolated_between_their_points(
    sources: Path, pt: float, eta: float, absolute: float, bbec1: float
) -> None:
    uncertainties = JetUncertainties.load(sources)
    assert uncertainties.sources == ("Absolute", "BBEC1")  # not their total
    found = uncertainties.relative_all(np.array([pt]), np.array([eta]))
    assert found == {"Absolute": pytest.approx([absolute]), "BBEC1": pytest.approx([bbec1])}
    assert uncertainties.relative("BBEC1", pt, eta) == pytest.approx(bbec1)


def test_an_unknown_source_is_never_skipped(sources: Path) -> None:
    with pytest.raises(InputError, match=r"no source 'BBEC2' in .*Did you mean 'BBEC1'"):
        JetUncertainties.load(sources, ["Absolute", "BBEC2"])
    with pytest.raises(InputError, match="no source 'Total'"):
        JetUncertainties.load(sources).relative("Total", np.ones(1), np.ones(1))
    assert JetUncertainties.load(sources, ["Total"]).relative("Total", 15.0, 0.0) == pytest.approx(0.05)


def test_sources_of_a_correctionlib_file(tmp_path: Path) -> None:
    path = write_json(tmp_path / "jerc.json")
    uncertainties = JetUncertainties.load(path, ["Absolute"], name="Source_{source}")
    pt, eta = ak.Array([[40.0, 40.0], []]), ak.Array([[1.0, -7.0], []])
    found = uncertainties.relative_all(pt, eta)["Absolute"]
    assert ak.num(found).tolist() == [2, 0]
    assert ak.flatten(found).tolist() == pytest.approx([0.046, 0.046])  # beyond the bins not -999
    with pytest.raises(InputError, match=r"contains \{source\}"):
        JetUncertainties.load(path, ["Absolute"], name="Source_Absolute")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (SOURCES.replace("0.03 0.03", "0.03 0.02"), "not the same up and down"),
        (SOURCES.replace(" 0 5 9", " 0 5 6"), "wrong count of numbers"),
        (SOURCES.replace("-5 0 9", "-4 0 9"), "in all bins of eta"),
        (SOURCES.replace("JetEta 1 JetPt", "JetPhi 1 JetPt"), "does not depend on JetEta and JetPt"),
        (L1, "has no sources"),
    ],
)
def test_files_of_sources_that_are_refused(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        JetUncertainties.load(write(tmp_path, UncertaintySources=text)["UncertaintySources"])


def _jets(n: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(5)
    return {
        "pt": 10 * np.exp(rng.exponential(0.8, n)),
        "eta": rng.uniform(-5.19, 5.19, n),
        "area": rng.normal(0.5, 0.03, n),
        "rho": rng.uniform(2, 50, n),
    }


@pytest.mark.parametrize(
    "tag",
    ["Autumn18_V19_MC", "Autumn18_RunA_V19_DATA", "Fall17_17Nov2017_V32_MC", "Summer16_07Aug2017_V11_MC"],
)
def test_real_text_files_agree_with_coffea(tag: str) -> None:
    files = [cms_file(f"run2/jec/{tag}_{level}_AK4PFchs.jec.txt.gz") for level in jet_energy.LEVELS]
    from coffea.jetmet_tools import FactorizedJetCorrector
    from coffea.lookup_tools import extractor

    weights = extractor()
    weights.add_weight_sets([f"* * {file}" for file in files])
    weights.finalize()
    evaluator = weights.make_evaluator()
    names = [file.name.partition(".")[0] for file in files]
    jets = _jets(2000)
    theirs = FactorizedJetCorrector(**{name: evaluator[name] for name in names}).getCorrection(
        JetPt=jets["pt"], JetEta=jets["eta"], JetA=jets["area"], Rho=jets["rho"]
    )
    pt, _ = JetEnergyScale.load(files).corrected(
        jets["pt"], jets["pt"], eta=jets["eta"], area=jets["area"], rho=jets["rho"]
    )
    # coffea keeps parameters and edges in single precision
    assert pt / jets["pt"] == pytest.approx(theirs, rel=1e-5, abs=1e-6)


@pytest.mark.parametrize(("file", "tag"), [("nano_dy.root", "V19_MC"), ("nano_dimuon.root", "RunA_V19_DATA")])
def test_the_correction_that_is_in_a_real_nanoaod_file_is_found_again(file: str, tag: str) -> None:
    """2018 simulation, and data of run 315267: uncorrected and corrected again, jets have the pt of the file."""
    with uproot.open(cms_file(file)) as root:
        events = root["Events"].arrays(
            ["Jet_pt", "Jet_mass", "Jet_eta", "Jet_area", "Jet_rawFactor", "fixedGridRhoFastjetAll"]
        )

    def ratio(tag: str) -> np.ndarray:
        files = [cms_file(f"run2/jec/Autumn18_{tag}_{level}_AK4PFchs.jec.txt.gz") for level in jet_energy.LEVELS]
        raw = jet_energy.raw(events.Jet_pt, events.Jet_mass, events.Jet_rawFactor)
        corrected = JetEnergyScale.load(files).corrected(
            raw.pt, raw.mass, eta=events.Jet_eta, area=events.Jet_area, rho=events.fixedGridRhoFastjetAll
        )
        return ak.to_numpy(ak.flatten(corrected.pt / events.Jet_pt))

    # NanoAOD keeps few digits of area and rawFactor
    assert np.median(ratio(tag)) == pytest.approx(1.0, abs=2e-4)
    assert np.std(ratio(tag)) < 2e-3
    assert np.std(ratio("RunC_V19_DATA")) > 1e-2


def test_a_real_correctionlib_file_is_evaluated_as_by_correctionlib() -> None:
    import correctionlib

    path = cms_file(SUMMER22)
    jets = _jets(500)
    name = "Summer22_22Sep2023_V3_MC_L1L2L3Res_AK4PFPuppi"
    reference = correctionlib.CorrectionSet.from_file(str(path))
    theirs = reference.compound[name].evaluate(jets["area"], jets["eta"], jets["pt"], jets["rho"])
    scale = JetEnergyScale.load(path, name=name)
    pt, _ = scale.corrected(jets["pt"], jets["pt"], eta=jets["eta"], area=jets["area"], rho=jets["rho"])
    assert pt.tolist() == (jets["pt"] * theirs).tolist()
    found = JetUncertainties.load(path, ["Absolute", "HF_2022"], name=REGROUPED)
    ours = found.relative_all(pt, jets["eta"])
    for source, values in ours.items():
        theirs = reference[REGROUPED.replace("{source}", source)].evaluate(jets["eta"], pt)
        assert values.tolist() == theirs.tolist()


@pytest.mark.parametrize("year", ["2016", "2017", "2018"])
def test_real_sources_add_up_to_their_total(year: str) -> None:
    tag = {"2016": "Summer16_07Aug2017_V11", "2017": "Fall17_17Nov2017_V32", "2018": "Autumn18_V19"}[year]
    path = cms_file(f"run2/jec/{tag}_MC_UncertaintySources_AK4PFchs.junc.txt.gz")
    uncertainties = JetUncertainties.load(path)
    assert len(uncertainties.sources) == 11
    assert f"Absolute{year}" in uncertainties.sources
    jets = _jets(300)
    found = uncertainties.relative_all(jets["pt"], jets["eta"])
    total = JetUncertainties.load(path, ["Total"]).relative("Total", jets["pt"], jets["eta"])
    at_points = np.sqrt(sum(values**2 for values in found.values()))
    assert at_points == pytest.approx(total, rel=0.02)  # rounded, and not linear between the points
