"""From histograms to the model of the template fit, and af-kit fit."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from hist import Hist

from af_kit.analysis import hmumu, output
from af_kit.analysis.hmumu import template_fit
from af_kit.analysis.hmumu.template_fit import fit_templates
from af_kit.analysis.hmumu.uncertainties import load_uncertainties
from af_kit.analysis.templates import TemplateModel, read_datacard
from af_kit.cli import main
from af_kit.errors import InputError

LUMI = 137.0
# The channel of this small sample that has events of every process
CHANNEL = "ggh_2jets"


@pytest.fixture(scope="module")
def folder(whole: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("result")
    hmumu.write(whole, path, metadata={"label": "Toy data", "sqrt_s_TeV": 13}, plots=False)
    return path


@pytest.fixture(scope="module")
def found(folder: Path) -> Any:
    return hmumu.read(folder)


@pytest.fixture(scope="module")
def model(found: Any) -> TemplateModel:
    return hmumu.build_templates(found, channel=CHANNEL, variable="dimuon_mass", merge=10, prune=0).model


@pytest.fixture(scope="module")
def expected(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A result with the events that 60/fb would have in the VBF channel: smooth, with two sources."""
    folder = tmp_path_factory.mktemp("expected")
    rng, labels = (
        np.random.default_rng(5),
        ["nominal", "pileup_up", "pileup_down", "jes_Absolute_up", "jes_Absolute_down"],
    )
    mass = np.linspace(70.25, 149.75, 160)
    falling, peak = np.exp(-mass / 40), np.exp(-(((mass - 125) / 2) ** 2) / 2)
    samples: dict[str, Any] = {}
    histograms: dict[str, Any] = {}
    backgrounds = [("dy", 3000), ("ewkzjj", 300), ("ttbar", 150), ("diboson", 30)]
    processes = [*((name, events, falling) for name, events in backgrounds), ("ggh", 4, peak), ("vbf", 16, peak)]
    for number, (process, events, shape) in enumerate([*processes, ("data", 0, peak)]):
        samples[process] = {"process": process, "is_mc": process != "data", "lumi_ipb": None}
        histograms[process] = {}
        for name, share in (("dimuon_mass", 1.0), ("dimuon_mass_matched", 0.6)):
            if share < 1 and process != "dy":
                continue
            histogram = (
                Hist.new.StrCat(list(hmumu.REGIONS), name="region")
                .StrCat(list(hmumu.CHANNELS), name="channel")
                .StrCat(labels if process != "data" else ["nominal"], name="variation")
                .Reg(160, 70, 150, name="dimuon_mass", label=r"$m(\mu\mu)$ [GeV]")
                .Weight()
            )
            inside = {
                "signal": (mass > 115) & (mass < 135.2),
                "sidebands": (mass > 110) & ((mass < 115) | (mass > 135)),
            }
            for region, bins in inside.items():
                values = np.where(bins, share * events * shape / shape[mass > 110].sum(), 0)
                if process == "data":
                    every = sum(
                        own["dimuon_mass"][region, "vbf", "nominal", :].values()
                        for own in [histograms[one] for one in histograms if one != "data"]
                    )
                    values = rng.poisson(every).astype(float)
                for place, label in enumerate(histogram.axes["variation"]):
                    factor = 1 + 0.03 * (label.endswith("_up") - label.endswith("_down")) * (1 + (place > 2) * number)
                    view = histogram.view(flow=True)
                    where = hmumu.REGIONS.index(region), hmumu.CHANNELS.index("vbf"), place
                    view["value"][where][1:-1] = values * factor
                    view["variance"][where][1:-1] = values if process == "data" else (0.05 * values * factor) ** 2
            histograms[process][name] = histogram
    output.write_histograms(histograms, folder / "histograms.json")
    about = {"campaign": "2018", "corrections": [], "samples": samples, "duplicates": {}, "datasets": {}}
    output.write_json(about, folder / "normalisation.json")
    return folder


def events(result: Any, processes: tuple[str, ...], region: str, variation: str = "nominal") -> float:
    names = [name for name, sample in result["samples"].items() if sample["process"] in processes]
    total = hmumu.spectrum(result, "dimuon_mass", datasets=names, region=region, channel=CHANNEL, variation=variation)
    return float(total.values().sum())


def test_a_result_is_read_back(whole, found):
    assert found["sources"] == sorted(whole["sources"])
    assert found["samples"].keys() == whole["samples"].keys()
    assert found["metadata"]["label"] == "Toy data"
    for dataset, own in whole["histograms"].items():
        for name, histogram in own.items():
            np.testing.assert_array_equal(
                found["histograms"][dataset][name].values(flow=True), histogram.values(flow=True)
            )


def test_a_folder_without_a_result_says_what_to_run(tmp_path):
    with pytest.raises(InputError, match=r"normalisation.json.*af-kit run hmumu"):
        hmumu.read(tmp_path)


def test_an_incomplete_result_is_refused(folder, tmp_path):
    for path in folder.glob("*.json"):
        (tmp_path / path.name).write_bytes(path.read_bytes())
    (tmp_path / "report.json").write_text(json.dumps({"entries": {"planned": 10, "processed": 9, "failed": 1}}))
    with pytest.raises(InputError, match="1 of 10 entries were not processed"):
        hmumu.read(tmp_path)


def test_jets_of_the_generator_split_drell_yan(whole):
    own = whole["histograms"]["dy_m105_160"]
    every, both = own["dimuon_mass"], own["dimuon_mass_matched"]
    assert list(both.axes["variation"]) == list(every.axes["variation"])
    assert (both.values() <= every.values() + 1e-9 * np.abs(every.values())).all() or (every.values() < 0).any()
    rows = whole["candidates"].to_pandas()
    rows = rows[rows.dataset == "dy_m105_160"]
    chosen = rows[rows.jet1_has_genjet & rows.jet2_has_genjet & (rows.region == "signal")]
    factors = whole["normalisation"]["dy_m105_160"]["factors"]["nominal"]
    scale = factors["lumi"] * factors["pileup"] * factors["btag"] * factors["quark_gluon"]
    number = list(hmumu.REGIONS).index("signal")
    nominal = both[number, :, "nominal", :]
    assert nominal.values().sum() == pytest.approx(chosen.weight.sum() * scale, rel=1e-9)
    assert 0 < len(chosen) < len(rows)
    assert "dimuon_mass_matched" not in whole["histograms"]["vbf_hmumu"]


def test_the_model_has_the_events_of_the_histograms(whole, model):
    signal = model.channel(f"{CHANNEL}_signal_2018")
    names = {process.name for process in signal.processes}
    assert {"DY01", "DY2", "EWK", "ggH_hmm", "qqH_hmm"} <= names
    drell_yan = signal.process("DY01").total + signal.process("DY2").total
    assert drell_yan == pytest.approx(events(whole, ("dy",), "signal"), rel=1e-9)
    assert signal.process("qqH_hmm").total == pytest.approx(events(whole, ("vbf",), "signal"), rel=1e-9)
    assert signal.data.sum() == events(whole, ("data",), "signal")
    shape = signal.process("qqH_hmm").shapes["jes_Absolute"]
    assert shape.up.sum() == pytest.approx(events(whole, ("vbf",), "signal", "jes_Absolute_up"), rel=1e-9)


def test_which_parameters_processes_share(model):
    signal = model.channel(f"{CHANNEL}_signal_2018")
    dy, dy2, ewk, vbf = (signal.process(name) for name in ("DY01", "DY2", "EWK", "qqH_hmm"))
    assert dy.free == ("rate_DY01_2018",)
    assert model.free["rate_DY01_2018"] == (1.0, 0.2, 5.0)
    assert not dy.norms  # its free rate contains the luminosity
    assert dy2.norms["norm_DY2_2018"].up == 1.1232
    assert ewk.norms["lumi_uncorrelated_2018"].up == pytest.approx(1.015)
    assert ewk.norms["lumi_xy_factorisation"].up == pytest.approx(1.02)
    assert "lumi_beam_beam" not in ewk.norms  # 0 in 2018
    assert vbf.free == ("mu",)
    assert {"jes_Absolute", "jer1_2018", "pileup_2018", "THU_VBF_TOT"} <= set(vbf.shapes)
    assert "lhe_ren_EWK" in ewk.shapes
    assert "lhe_ren_DY2" in dy2.shapes
    assert "pdf_EWK_2018" in ewk.shapes


def test_shape_only_sources_keep_the_yield(model):
    for name in ("lhe_ren_EWK", "quark_gluon"):
        nominal = varied = 0.0
        for channel in model.channels:
            process = channel.process("EWK")
            nominal, varied = nominal + process.total, varied + process.shapes[name].up.sum()
        assert varied == pytest.approx(nominal, rel=2e-2)  # one-sided ones are mirrored afterwards


def test_a_projection_scales_the_expectation(found):
    options = {"channel": CHANNEL, "variable": "dimuon_mass"}
    templates = hmumu.build_templates(found, lumi_ifb=LUMI, **options)
    plain = hmumu.build_templates(found, **options).model
    own = found["samples"]["vbf_hmumu"]["lumi_ipb"] / 1000
    for one, other in zip(templates.model.channels, plain.channels, strict=True):
        np.testing.assert_allclose(one.total, other.total * LUMI / own)
        assert one.data is None
        assert other.data is not None
    assert templates.metadata["lumi_ifb"] == LUMI


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"channel": "vbb"}, "Did you mean 'vbf'"),
        ({"variable": "dimuon_maas"}, "Did you mean 'dimuon_mass'"),
        ({"channel": CHANNEL, "symmetrise": "both"}, "symmetrise='both'"),
        ({"uncertainties": "no.yaml"}, "cannot be read"),
    ],
)
def test_wrong_options_are_refused(found, options, message):
    with pytest.raises(InputError, match=message):
        hmumu.build_templates(found, **options)


def test_two_results_of_one_year_are_refused(found):
    with pytest.raises(InputError, match="same year: 2018, 2018"):
        hmumu.build_templates([found, found], channel=CHANNEL)


def test_the_uncertainties_are_checked(tmp_path):
    known = load_uncertainties()
    assert known.factor("DY2", 2016) == 1.1291
    assert known.factor("DY01", 2016) is None
    with pytest.raises(InputError, match="no uncertainties of the normalisation for 2022, but for 2016, 2017, 2018"):
        known.factor("DY2", 2022)
    text = Path(hmumu.__file__).with_name("statistics.yaml").read_text()
    for old, new, message in (
        ("luminosity:", "luminosty:", "unknown key luminosty. Did you mean 'luminosity'"),
        ("DY2: {2016: 1.1291", "DY2: {2016: 11291", "normalisation.DY2.2016 is 11291"),
        ("free: [0.2, 5.0]", "free: [2, 5.0]", "two factors, one on each side of 1"),
        ("{of: [ewkzjj]}", "{of: [ewk]}", "EWK is of 'ewk'"),
    ):
        path = tmp_path / "mine.yaml"
        path.write_text(text.replace(old, new, 1))
        with pytest.raises(InputError, match=message):
            load_uncertainties(path)


# -------------------------------------------------------------------------------------------------------- af-kit fit


def test_af_kit_fit_writes_everything(expected, tmp_path, capsys, monkeypatch):
    fits = []

    def fit(*arguments, **options):
        fits.append(fit_templates(*arguments, **options))
        return fits[0]

    monkeypatch.setattr(template_fit, "fit_templates", fit)
    out = tmp_path / "fit"
    assert main(["fit", "hmumu", str(expected), "--templates", "--merge", "0.05", "--out", str(out), "--json"]) == 0
    document = json.loads((out / "fit.json").read_text())
    found = document["templates"]
    assert document["valid"] is True
    assert found["data"] == "expected (Asimov)"
    assert found["strength"]["value"] == pytest.approx(1, abs=1e-3)
    assert found["limit"]["observed"] > found["limit"]["expected"]["0"] > 0
    assert found["parameters"]["jes_Absolute"]["value"] == pytest.approx(0, abs=1e-3)
    assert "prune" in {change["step"] for change in found["changes"]}
    assert (out / "plots" / "impacts.png").stat().st_size > 10_000
    again = read_datacard(out / "datacards" / "hmumu.txt")
    for channel in again.channels:
        np.testing.assert_allclose(channel.data, channel.total)
    summary = json.loads(capsys.readouterr().out)
    assert summary["templates"]["strength"] == found["strength"]
    assert {"fit.json", "workspace.json", "plots/impacts.png"} <= set(summary["outputs"])
    assert "strength 1.0" in fits[0].summary()
    assert repr(fits[0]).startswith("<HMuMuFit: strength 1.0")
    for words in (str(fits[0].fit.strength), "impacts on the strength", "jes_Absolute", "Asimov data"):
        assert words in fits[0]._repr_html_()
    assert "vbf_signal_2018" in fits[0].templates._repr_html_()
    _check_points(out / "hepdata", found)


def _check_points(folder: Path, found: dict[str, Any]) -> None:
    """Compare the HEPData submission with fit.json."""
    tables = list(yaml.safe_load_all((folder / "submission.yaml").read_text()))[1:]
    content = {table["name"]: yaml.safe_load((folder / table["data_file"]).read_text()) for table in tables}
    events = {}
    for column in content["Templates vbf_signal_2018"]["dependent_variables"]:
        events[column["header"]["name"]] = np.array([entry["value"] for entry in column["values"]])
    processes = [
        name
        for name in events
        if name.startswith("Events (") and name.split("(")[1][:-1] in found["yields"]["vbf_signal_2018"]
    ]
    np.testing.assert_allclose(sum(events[name] for name in processes), events["Events (fit)"], rtol=1e-4)
    np.testing.assert_allclose(events["Events (expected data)"], events["Events (fit)"], rtol=1e-3)
    limits = [entry["value"] for entry in content["Limit"]["dependent_variables"][0]["values"]]
    assert limits == pytest.approx([found["limit"]["observed"], *found["limit"]["expected"].values()], rel=1e-4)
    strength = content["Results"]["dependent_variables"][0]["values"][0]
    error = strength["errors"][0]["asymerror"]
    assert (error["minus"], error["plus"]) == pytest.approx(
        (found["strength"]["lower"], found["strength"]["upper"]), rel=1e-4
    )


def test_unblinded_data_are_fitted(expected, tmp_path):
    out = tmp_path / "fit"
    options = ["--templates", "--merge", "0.05", "--unblind", "--no-plots", "--out", str(out)]
    assert main(["fit", "hmumu", str(expected), *options]) == 0
    found = json.loads((out / "fit.json").read_text())["templates"]
    assert found["data"] == "observed"
    strength = found["strength"]
    assert abs(strength["value"] - 1) < 3 * strength["error"]  # data are drawn with strength 1
    assert abs(strength["value"] - 1) > 1e-3
    observed = read_datacard(out / "datacards" / "hmumu.txt").channels[0].data
    np.testing.assert_array_equal(observed, np.rint(observed))


def test_an_invalid_fit_has_its_reasons_and_no_plot(expected, tmp_path, capsys):
    out = tmp_path / "fit"
    (out / "plots").mkdir(parents=True)
    (out / "plots" / "old.png").write_bytes(b"x")
    # Between these limits, the data do not determine the strength.
    options = ["--templates", "--merge", "0.05", "--strength", "0.9", "1.1", "--out", str(out)]
    assert main(["fit", "hmumu", str(expected), *options]) == 1
    document = json.loads((out / "fit.json").read_text())
    assert document["valid"] is False
    assert document["templates"]["at_limit"] == ["mu"]
    assert "limit" in document["templates"]["reasons"][0]
    assert not list((out / "plots").glob("*"))
    assert (out / "workspace.json").exists()
    assert "not valid" in capsys.readouterr().err


def test_wrong_command_lines(expected, capsys):
    assert main(["fit", "hmumu", str(expected), "--unblind", "--lumi", "137"]) == 2
    assert main(["fit", "hmumu", str(expected), str(expected)]) == 2
    assert "--out" in capsys.readouterr().err


def test_the_limits_of_the_strength_follow_the_sensitivity(expected):
    few, many = (hmumu.build_templates(expected, lumi_ifb=lumi).model.free["mu"] for lumi in (0.06, 6000))
    assert many.low == -20
    assert 20 <= many.high < 50
    assert few.low < -100
    assert few.high > 500
    own = hmumu.build_templates(expected, lumi_ifb=0.06, strength=(-3, 5)).model.free["mu"]
    assert (own.low, own.high) == (-3, 5)


def test_drell_yan_may_stay_one_process(expected):
    def yields(**options: Any) -> dict[str, float]:
        made = hmumu.build_templates(expected, prune=0, **options)
        return {one.name: one.values.sum() for channel in made.model.channels for one in channel.processes}

    two, one = yields(), yields(split=False)
    assert {"DY01", "DY2"} <= two.keys()
    assert not {"DY01", "DY2"} & one.keys()
    assert one["DY"] == pytest.approx(two["DY01"] + two["DY2"])
