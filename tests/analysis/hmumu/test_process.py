"""The whole chain on simulated samples: chunks, workers, normalisation, switches, and bad input."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from hist import Hist

from af_kit import simulate
from af_kit.analysis import hmumu
from af_kit.analysis.hmumu.calibrations import CORRECTIONS, switches_of
from af_kit.analysis.hmumu.normalise import row_factors
from af_kit.errors import FunctionError, InputError

FEW = ["data", "dy_m105_160", "dy_m105_160_vbf", "vbf_hmumu", "ggh_hmumu"]


def fileset(samples: Path, **changes: dict[str, Any]) -> dict[str, Any]:
    """Return the fileset with other metadata for some datasets; None removes a key."""
    content: dict[str, Any] = yaml.safe_load((samples / "fileset.yaml").read_text())
    for name, dataset in content.items():
        dataset["files"] = [str(samples / file) for file in dataset["files"]]
        for key, value in changes.get(name, {}).items():
            if value is None:
                dataset["metadata"].pop(key)
            else:
                dataset["metadata"][key] = value
    return content


def test_nothing_depends_on_the_chunks(samples: Path, calibrations: Any, whole: Any) -> None:
    cut = hmumu.process(
        samples / "fileset.yaml", calibrations=calibrations, variations="all", chunk_entries=190, progress=False,
        datasets=FEW,
    )  # fmt: skip
    rows = whole["candidates"].to_pandas().query("dataset in @FEW").reset_index(drop=True)
    other = cut["candidates"].to_pandas()[rows.columns].reset_index(drop=True)
    for column in rows:
        expected, found = rows[column].astype(object), other[column].astype(object)
        assert ((expected == found) | (expected.isna() & found.isna())).all(), column
    for dataset in FEW:
        assert cut["cutflow"][dataset]["events"] == whole["cutflow"][dataset]["events"]
        for name, histogram in whole["histograms"][dataset].items():
            for field in ("value", "variance"):
                np.testing.assert_allclose(
                    cut["histograms"][dataset][name].view(flow=True)[field],
                    histogram.view(flow=True)[field],
                    rtol=1e-9, atol=1e-12 * max(1, np.abs(histogram.view(flow=True)[field]).max()), err_msg=name,
                )  # fmt: skip
        if dataset != "data":
            expected, found = (result["normalisation"][dataset]["factors"] for result in (whole, cut))
            assert expected.keys() == found.keys()
            for label, factors in expected.items():
                assert found[label] == pytest.approx(factors, rel=1e-10), (dataset, label)


def test_every_systematic_source_has_two_directions(whole: Any) -> None:
    labels = list(whole["histograms"]["vbf_hmumu"]["dimuon_mass"].axes["variation"])
    assert labels[0] == "nominal"
    assert labels[1:] == [label for label in labels[1:] if label]
    sources = [label.rsplit("_", 1)[0] for label in labels[1::2]]
    assert labels[1:] == [f"{source}_{direction}" for source in sources for direction in ("up", "down")]
    jes = [source for source in sources if source.startswith("jes_")]
    assert len(jes) == 11
    assert {"jer1", "jer6", "muon_scale", "pileup", "muon_id", "muon_iso", "muon_trigger", "quark_gluon"} <= set(
        sources
    )
    assert {"quark_gluon", "lhe_ren", "lhe_fac", "pdf", "alpha_s", "btag_lf", "btag_cferr2", "THU_VBF_TOT"} <= set(
        sources
    )
    assert "btag_jes" not in sources
    assert list(whole["histograms"]["vbf_hmumu"]["mu1_pt"].axes["variation"]) == ["nominal"]
    assert list(whole["histograms"]["data"]["dimuon_mass"].axes["variation"]) == ["nominal"]


def test_every_variation_differs_from_nominal(whole: Any) -> None:
    """A source that is not applied would be the same as nominal, and nobody would notice."""
    for dataset in ("vbf_hmumu", "ggh_hmumu"):
        histogram: Hist = whole["histograms"][dataset]["dijet_mass"]
        view = histogram.view(flow=True)["value"]
        labels = list(histogram.axes["variation"])
        same = [
            label for column, label in enumerate(labels) if column and np.array_equal(view[:, :, column], view[:, :, 0])
        ]
        # Sources whose effect is the same for all events of a dataset can be normalised away; these are none of them.
        assert not [label for label in same if not label.startswith(("jer", "THU", "muon_scale"))], dataset


def test_up_and_down_are_on_both_sides(whole: Any) -> None:
    """Fault 7: a downward variation that is built from the upward one is on its side."""
    total = {
        label: whole["histograms"]["vbf_hmumu"]["dimuon_mass"].view(flow=True)["value"][:, 3, column].sum()
        for column, label in enumerate(whole["histograms"]["vbf_hmumu"]["dimuon_mass"].axes["variation"])
    }
    for source in ("jes_Absolute", "muon_id", "muon_trigger", "THU_VBF_TOT"):
        low, high = sorted((total[f"{source}_up"], total[f"{source}_down"]))
        assert low < total["nominal"] < high, source
    assert total["jes_Absolute_up"] > total["jes_Absolute_down"]
    assert total["muon_trigger_up"] > total["muon_trigger_down"]


@pytest.mark.parametrize("name", ["pileup", "quark_gluon", "btag"])
def test_deferred_weights_leave_the_totals_of_their_events(whole: Any, name: str) -> None:
    rows = whole["candidates"].to_pandas()
    for dataset, own in whole["normalisation"].items():
        factors = own["factors"]["nominal"]
        if name == "pileup":
            generated = own["generated"]
            assert factors["pileup"] * generated["pileup"]["nominal"] == pytest.approx(generated["weight"], rel=1e-12)
            continue
        mine = rows[rows["dataset"] == dataset]
        two = mine[mine["n_jets"] >= 2]
        if name == "quark_gluon":
            without = (two["weight"] / two["weight_quark_gluon"] / two["weight_btag"]).sum()
            with_it = (two["weight"] / two["weight_btag"]).sum() * factors["quark_gluon"]
        else:
            vbf = two[(two["dijet_mass"] > 400) & (two["dijet_delta_eta"] > 2.5) & (two["jet1_pt"] > 35)]
            without = (vbf["weight"] / vbf["weight_btag"]).sum()
            with_it = vbf["weight"].sum() * factors["btag"]
        if factors[name] != 1:
            assert with_it == pytest.approx(without, rel=1e-9), (dataset, name)


def test_histograms_are_the_rows_with_the_factors(whole: Any) -> None:
    rows = whole["candidates"].to_pandas()
    for dataset in ("vbf_hmumu", "dy_m105_160"):
        mine = rows[(rows["dataset"] == dataset) & (rows["region"] == "signal") & (rows["channel"] == "vbf")]
        for label, column in (("nominal", "weight"), ("muon_id_up", "weight_muon_id_up")):
            factors = hmumu.Factors(**whole["normalisation"][dataset]["factors"][label])
            weights = mine[column] * row_factors(factors, mine["n_jets"])
            histogram = hmumu.spectrum(
                whole, "dimuon_mass", datasets=[dataset], region="signal", channel="vbf", variation=label
            )
            assert histogram.sum(flow=True).value == pytest.approx(weights.sum(), rel=1e-9)


def test_simulation_is_scaled_with_the_sum_of_all_files(whole: Any, samples: Path) -> None:
    own = whole["normalisation"]["vbf_hmumu"]
    content = yaml.safe_load((samples / "fileset.yaml").read_text())["vbf_hmumu"]["metadata"]
    assert own["sumw"] == pytest.approx(own["generated"]["weight"])
    expected = content["xsec_pb"] * 1000 * content["lumi_ifb"] / own["sumw"]
    assert own["factors"]["nominal"]["lumi"] == pytest.approx(expected)


def test_stitched_samples_do_not_overlap(samples: Path, whole: Any) -> None:
    import af_kit as af
    from af_kit.analysis.hmumu.generator import generator_dijet_mass

    for dataset, is_above in (("dy_m105_160", False), ("dy_m105_160_vbf", True)):
        chunks = af.plan(samples / "fileset.yaml", datasets=[dataset])
        above = np.concatenate([generator_dijet_mass(af.read(chunk)) > 350 for chunk in chunks])
        assert whole["cutflow"][dataset]["events"]["stitching"] == (above == is_above).sum()
        assert above.sum() > 0


def test_data_are_in_the_golden_json_only(samples: Path, whole: Any) -> None:
    golden = json.loads(next((samples / "calibrations").glob("Cert_*")).read_text())
    rows = whole["candidates"].to_pandas().query("dataset == 'data'")
    assert len(rows) > 10
    for run, block in zip(rows["run"], rows["luminosityBlock"], strict=True):
        assert any(low <= block <= high for low, high in golden[str(run)])
    events = whole["cutflow"]["data"]["events"]
    assert events["golden_json"] < events["all"]
    assert whole["cutflow"]["vbf_hmumu"]["events"]["golden_json"] == whole["cutflow"]["vbf_hmumu"]["events"]["all"]
    missing = whole["luminosity_blocks"]["missing"]
    assert len(missing) + len(whole["luminosity_blocks"]["processed"]) == sum(
        high - low + 1 for ranges in golden.values() for low, high in ranges
    )


def test_events_in_two_datasets_of_data_count_once(samples: Path, calibrations: Any, tmp_path: Path) -> None:
    for kind in ("data", "data-doublemuon"):
        simulate.nanoaod(tmp_path / f"{kind}.root", 4000, 3, kind=kind, year=2018)
    content = {
        kind: {"files": [str(tmp_path / f"{kind}.root")], "metadata": {"year": 2018, "isMC": False}}
        for kind in ("data", "data-doublemuon")
    }
    with pytest.warns(UserWarning, match="several datasets or files, and count once"):
        result = hmumu.process(content, calibrations=calibrations, progress=False)
    rows = result["candidates"].to_pandas()
    assert not rows.duplicated(["run", "luminosityBlock", "event"]).any()
    assert result["duplicates"]["data-doublemuon"] > 0
    for name in content:
        total = hmumu.spectrum(result, "dimuon_mass", datasets=[name]).sum(flow=True)
        assert total.value == total.variance == rows["dataset"].eq(name).sum()


def test_a_file_without_metadata_is_run_without_normalisation(samples: Path) -> None:
    result = hmumu.process(
        [samples / "vbf_hmumu_0.root"], campaign=2018, corrections="none", progress=False
    )  # fmt: skip
    (own,) = result["normalisation"].values()
    assert own["factors"]["nominal"]["lumi"] == 1
    assert own["process"] == "unknown"


def test_switches() -> None:
    campaign = hmumu.load_campaign(2018)
    everything = switches_of("all", campaign)
    assert everything == set(CORRECTIONS) - {"zpt", "pileup_jet_id", "prefiring"}
    assert switches_of("none", campaign) == {"fsr", "geofit"}
    assert switches_of("all,-btag,zpt", campaign) == everything - {"btag"} | {"zpt"}
    assert switches_of(["rochester"], campaign) == {"rochester"}
    with pytest.raises(InputError, match=r"no correction 'pilup'.*Did you mean 'pileup'"):
        switches_of("all,-pilup", campaign)
    with pytest.raises(InputError, match="campaign 2018 has no correction 'prefiring'"):
        switches_of("prefiring", campaign)


@pytest.mark.parametrize(
    "off", [("rochester", "jet_energy", "pileup", "btag", "pdf"), ("fsr", "muon_id", "quark_gluon")]
)
def test_corrections_can_be_switched_off_and_on(samples: Path, off: tuple[str, ...]) -> None:
    corrections = ",".join(["all", "zpt", "pileup_jet_id", *(f"-{name}" for name in off)])
    chosen = hmumu.load_calibrations(samples / "calibrations", 2018, corrections=corrections)
    assert chosen.switches == switches_of("all", chosen.campaign) - set(off) | {"zpt", "pileup_jet_id"}
    assert not any(name in off for name in chosen.loaded)
    result = hmumu.process(
        samples / "fileset.yaml", calibrations=chosen, datasets=["dy_m105_160"], histograms=["dimuon_mass"],
        variations="weights", progress=False,
    )  # fmt: skip
    columns = result["candidates"].column_names
    assert {"weight_zpt", "weight_pileup_jet_id", "weight_muon_iso"} <= set(columns)
    assert not {f"weight_{name}" for name in off} & set(columns)


@pytest.mark.parametrize(
    ("changes", "options", "message"),
    [
        ({"vbf_hmumu": {"xsec_pb": None}}, {}, r"'vbf_hmumu' has no cross-section: add xsec_pb"),
        ({"vbf_hmumu": {"xsec_pb": -1}}, {}, r"xsec_pb is -1; it must be a positive number"),
        ({"vbf_hmumu": {"process": "vbff"}}, {}, r"process 'vbff'.*Did you mean 'vbf'"),
        ({"vbf_hmumu": {"year": 2017}}, {"campaign": 2018}, r"'vbf_hmumu' is of 2017, and the campaign of 2018"),
        ({"vbf_hmumu": {"year": 2017}}, {"datasets": ["data", "vbf_hmumu"]}, r"datasets are of 2017, 2018"),
        ({"data": {"isMC": True}}, {}, r"'data' is simulation \(isMC: true\), but its files have no genWeight"),
        ({"vbf_hmumu": {"isMC": False}}, {}, r"isMC: false and process: vbf"),
        ({"vbf_hmumu": {"regions": ["signals"]}}, {}, r"'signals' is not a region.*'signal'"),
        ({"dy_m105_160": {"stitching": "below"}}, {}, r"stitching is 'below', not one of inclusive, filtered"),
        ({}, {"variations": "some"}, r"variations='some' is not known"),
        ({}, {"histograms": ["dimuon_mas"]}, r"no histogram 'dimuon_mas'.*'dimuon_mass'"),
        ({}, {"engine": "awkward"}, r"one implementation"),
        ({}, {"campaign": "2019"}, r"no campaign '2019'; the kit has 2016, 2017, 2018, 2022"),
    ],
)
def test_bad_input_is_refused_before_events_are_read(
    samples: Path, calibrations: Any, changes: Any, options: Any, message: str
) -> None:
    with pytest.raises(InputError, match=message):
        hmumu.process(
            fileset(samples, **changes), calibrations=calibrations, progress=False,
            datasets=options.pop("datasets", ["vbf_hmumu", *(set(changes) - {"vbf_hmumu"})]), **options,
        )  # fmt: skip


def test_calibrations_of_another_year_or_missing_ones_are_refused(samples: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"lacks \d+ calibration file\(s\) of 2017: RoccoR2017.txt.gz \(rochester\)"):
        hmumu.load_calibrations(samples / "calibrations", 2017)
    with pytest.raises(InputError, match=r"There is no folder of calibrations"):
        hmumu.load_calibrations(tmp_path / "none", 2018)
    with pytest.raises(InputError, match=r"need calibration files: pass their folder .*--corrections none"):
        hmumu.load_calibrations(None, 2018)


def test_a_trigger_or_filter_that_the_files_lack_is_refused(samples: Path, tmp_path: Path) -> None:
    folder = Path(hmumu.campaign.__file__).parent / "campaigns"
    content = (folder / "2018.yaml").read_text()
    for old, new in (("HLT_IsoMu24", "HLT_IsoMu25"), ("Flag_goodVertices", "Flag_goodVerticesFilter")):
        path = tmp_path / f"{new}.yaml"
        path.write_text(content.replace(old, new))
        with pytest.raises(InputError, match=rf"lacks 1 branch\(es\).*{new} Did you mean '{old[:9]}"):
            hmumu.process(
                samples / "fileset.yaml", campaign=path, corrections="none", datasets=["vbf_hmumu"], progress=False
            )


def test_a_campaign_with_an_unknown_key_is_refused(tmp_path: Path) -> None:
    folder = Path(hmumu.campaign.__file__).parent / "campaigns"
    path = tmp_path / "mine.yaml"
    for old, new, message in (
        ("leading_pt: 26", "leading_pts: 26", r"unknown key muons.leading_pts.*'leading_pt'"),
        ("lumi_ipb: 59970", "lumi_ipb: many", r"lumi_ipb is 'many', which is not of type float"),
        ("triggers:", "trigger:", r"unknown key trigger.*'triggers'"),
        ("prefiring: false", "", r"the key prefiring is missing"),
    ):
        path.write_text((folder / "2018.yaml").read_text().replace(old, new))
        with pytest.raises(InputError, match=message):
            hmumu.load_campaign(path)


def test_nan_weights_are_refused(samples: Path, calibrations: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from af_kit.corrections.pileup import Pileup
    from af_kit.corrections.weight import Weight

    def broken(self: Pileup, number: Any) -> Weight:
        return Weight(np.full(len(number), np.nan), {})

    monkeypatch.setattr(Pileup, "weight", broken)
    with pytest.raises(FunctionError, match=r"the weight 'pileup' \(nominal\) is not a finite number"):
        hmumu.process(samples / "fileset.yaml", calibrations=calibrations, datasets=["vbf_hmumu"], progress=False)


def test_a_file_without_its_runs_tree_is_refused(samples: Path, tmp_path: Path) -> None:
    import uproot

    path = tmp_path / "norun.root"
    with uproot.open(samples / "vbf_hmumu_0.root") as file, uproot.recreate(path) as new:
        arrays = file["Events"].arrays(library="ak", entry_stop=50)
        new["Events"] = {name: arrays[name] for name in arrays.fields if not name.startswith("n")}
    content = fileset(samples)
    content = {"vbf_hmumu": {**content["vbf_hmumu"], "files": [str(path)]}}
    with pytest.raises(InputError, match=r"Runs"):
        hmumu.process(content, corrections="none", progress=False)


def test_the_campaign_2022_says_what_it_lacks() -> None:
    campaign = hmumu.load_campaign(2022)
    assert not campaign.for_publication
    assert "jet veto map, which is mandatory" in campaign.lacking


def test_write(whole: Any, tmp_path: Path) -> None:
    files = {path.name for path in hmumu.write(whole, tmp_path, plots=False)}
    assert files == {
        "histograms.json", "candidates.parquet", "cutflow.json", "normalisation.json", "efficiencies.csv",
        "luminosity_blocks_processed.json", "luminosity_blocks_missing.json",
    }  # fmt: skip
    cutflow = json.loads((tmp_path / "cutflow.json").read_text())
    assert set(cutflow["data"]["efficiencies"]) == {
        "in", "after mask, trigger and two muons", "after muon selections", "with two jets", "VBF",
    }  # fmt: skip
    normalisation = json.loads((tmp_path / "normalisation.json").read_text())
    assert set(normalisation["datasets"]) == set(whole["normalisation"])
    assert "jes_Absolute_up" in normalisation["datasets"]["vbf_hmumu"]["factors"]


def test_figures(whole: Any, tmp_path: Path) -> None:
    figure = hmumu.compare(whole, "dimuon_mass", region="signal", channel="vbf", blind=(120, 130))
    assert figure is not None
    axes, ratio = figure.axes
    assert "GeV" in ratio.get_xlabel()
    assert {text.get_text() for text in axes.get_legend().get_texts()} >= {"H", "DY", "uncertainty"}
    drawn = [line for container in axes.containers for line in [container.lines[0]] if line is not None]
    x = np.concatenate([line.get_xdata() for line in drawn])
    assert not ((x > 120) & (x < 130)).any()
    assert hmumu.compare(whole, "dijet_mass", region="none", channel="ggh_0jet") is None
