"""The whole analysis: chunks, engines, data and simulation, and the command."""

from __future__ import annotations

import json

import awkward as ak
import numpy as np
import pyarrow.parquet as pq
import pytest
import uproot
from dsphipi_loop import run

from af_kit import simulate
from af_kit.analysis import dsphipi
from af_kit.analysis.output import read_histograms
from af_kit.cli import main
from af_kit.errors import InputError

WEIGHTS = ["weight", "weight_stat", "weight_syst", "weight_systup", "weight_systdown"]


@pytest.fixture(scope="module")
def sf_file(tmp_path_factory, make_muon_sf):
    path = tmp_path_factory.mktemp("sf") / "muon_Run2017_UL_ID.json"
    path.write_text(make_muon_sf())
    return path


@pytest.fixture(scope="module")
def mixed(tmp_path_factory):
    """Two eras of data and one simulation, small."""
    folder = tmp_path_factory.mktemp("mixed")
    fileset = {}
    for era, kind in (("2017B", "data"), ("2017F", "data"), ("2017F", "mc")):
        path = simulate.dsphipi(folder / f"{kind}_{era}.root", 4000, 1, era=era, kind=kind, cluster_entries=1500)
        metadata = {"isMC": kind == "mc", "era": era, "lumi_ifb": 4.8}
        fileset[f"{kind}_{era}"] = {"files": [str(path)], "metadata": metadata}
    return fileset


@pytest.mark.parametrize("engine", ["awkward", "numba"])
def test_chunks_and_engines_make_no_difference(mixed, sf_file, engine):
    options = {"muon_sf": sf_file, "progress": False}
    with pytest.warns(UserWarning, match="outside the range of the scale factors in pt"):
        whole = dsphipi.process(mixed, **options)
    with pytest.warns(UserWarning, match="outside the range"):
        cut = dsphipi.process(mixed, engine=engine, chunk_entries=700, **options)
    whole.report.check()
    cut.report.check()
    assert cut["candidates"].combine_chunks() == whole["candidates"].combine_chunks()
    assert cut["cutflow"] == whole["cutflow"]
    assert cut["n_minus_1"] == whole["n_minus_1"]
    assert cut["weighted"] == whole["weighted"]
    assert np.allclose(cut["mass"].values(flow=True), whole["mass"].values(flow=True), rtol=1e-12)


def test_data_have_weight_one_and_simulation_its_variations(mixed, sf_file):
    with pytest.warns(UserWarning, match="outside"):
        result = dsphipi.process(mixed, muon_sf=sf_file, progress=False)
    rows = result["candidates"].to_pandas()
    data = rows[rows.dataset != "mc_2017F"]
    assert len(data)
    assert (data[WEIGHTS] == 1).all(axis=None)
    simulated = rows[rows.dataset == "mc_2017F"]
    assert ((simulated.weight_systdown < simulated.weight) & (simulated.weight < simulated.weight_systup)).all()
    assert ((simulated.weight < simulated.weight_stat) & (simulated.weight < simulated.weight_syst)).all()
    mass = result["mass"]
    assert list(mass.axes["dataset"]) == list(mixed)
    assert list(mass.axes["variation"]) == ["nominal", "stat", "syst", "systup", "systdown"]
    for name in WEIGHTS:
        variation = name.partition("_")[2] or "nominal"
        of_mc = dsphipi.spectrum(result, datasets=["mc_2017F"], variation=variation)
        assert of_mc.sum(flow=True).value == pytest.approx(simulated[name].sum())
        assert of_mc.sum(flow=True).variance == pytest.approx((simulated[name] ** 2).sum())
    assert dsphipi.spectrum(result, datasets=["data_2017B"], variation="systup").sum(flow=True).value == 0
    assert result["weighted"].keys() == {"mc_2017F"}
    counts = result["weighted"]["mc_2017F"]
    low = (simulated[["mu1_pt", "mu2_pt"]] < 3).sum().sum()
    assert counts == {"muons": 2 * len(simulated), "pt": low, "abseta": 0}
    assert low > 0


def test_simulation_without_scale_factors_warns(mixed):
    with pytest.warns(UserWarning, match="not weighted by muon scale factors"):
        result = dsphipi.process(mixed, progress=False)
    assert result["weighted"] == {}
    assert set(result["candidates"]["weight"].to_pylist()) == {1.0}


def test_scale_factors_for_data_alone_are_refused(mixed, sf_file):
    with pytest.raises(InputError, match="is data"):
        dsphipi.process(mixed, muon_sf=sf_file, datasets=["data_2017B"], progress=False)


def test_scale_factors_of_another_year_are_refused(mixed, tmp_path, make_muon_sf):
    other = tmp_path / "muon_2018.json"
    other.write_text(make_muon_sf("2018"))
    with pytest.raises(InputError, match="is of 2017, and there are muon scale factors for 2018"):
        dsphipi.process(mixed, muon_sf=other, progress=False)


def test_an_unknown_engine_is_refused(sample):
    with pytest.raises(InputError, match="'numba'"):
        dsphipi.process(sample, engine="numbs")


def test_the_compiled_engine_uses_its_checkpoint(sample, tmp_path):
    for _ in range(2):
        dsphipi.process(sample, engine="numba", checkpoint=tmp_path, progress=False)
    assert len(list(tmp_path.iterdir())) == 1


def test_only_branches_of_the_selection_are_read(sample):
    with uproot.open(sample) as file:
        every = set(file["Tree3Mu/ntuple"].keys())
    assert set(dsphipi.process(sample, progress=False).report.branches) == every


def test_a_missing_branch_is_named(tmp_path):
    path = tmp_path / "x.root"
    with uproot.recreate(path) as file:
        file.mktree("Tree3Mu/ntuple", {"Triplet2_Mass": "var * float64"}).extend({"Triplet2_Mass": ak.Array([[1.9]])})
    result = dsphipi.process(path, on_error="collect", progress=False)
    assert "Trigger_hltname" in result.report.failures[0].reason or "Mu01_Pt" in result.report.failures[0].reason


def test_the_same_ntuple_in_another_format(sample, tmp_path):
    """In an RNTuple, vectors and strings are stored differently."""
    path = tmp_path / "ntuple.root"
    with uproot.open(sample) as file, uproot.recreate(path) as other:
        events = file["Tree3Mu/ntuple"].arrays()
        other.mkrntuple("Tree3Mu/ntuple", {name: events[name] for name in events.fields})
    tables = [dsphipi.process(source, progress=False)["candidates"] for source in (sample, path)]
    left, right = (table.drop_columns(["dataset", "file"]) for table in tables)
    assert left.equals(right)


# The command ---------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def written(sample, tmp_path_factory):
    """The output folder of a run over one file without a fileset."""
    out = tmp_path_factory.mktemp("out")
    assert main(["run", "dsphipi", str(sample), "--out", str(out)]) == 0
    return out


def test_a_file_alone_is_data(written, sample, sample_events):
    pairs, flow, _ = run(ak.to_list(ak.materialize(sample_events)))
    rows = pq.read_table(written / "candidates.parquet").to_pandas()
    assert list(zip(rows.entry, rows.candidate, strict=True)) == pairs
    assert (rows[WEIGHTS] == 1).all(axis=None)
    with uproot.open(sample) as file:
        masses = file["Tree3Mu/ntuple/Triplet2_Mass"].array()
    assert rows.mass.tolist() == [masses[entry, candidate] for entry, candidate in pairs]
    counts = json.loads((written / "cutflow.json").read_text())["all"]
    assert [[row["events"], row["candidates"]] for row in counts[:-1]] == list(flow.values())
    table = (written / "cutflow.csv").read_text().splitlines()
    assert table[0].startswith("step,events,candidates")
    assert table[1].startswith(f"all,{flow['all'][0]},{flow['all'][1]}")
    assert len(table) == 13


def test_the_files_of_a_run(written):
    report = json.loads((written / "report.json").read_text())
    assert report["analysis"] == "dsphipi"
    assert report["entries"] == {"planned": 12_000, "processed": 12_000, "failed": 0}
    left = sorted(str(path.relative_to(written)) for path in written.rglob("*") if path.is_file())
    assert sorted(["report.json", *report["outputs"]]) == left
    figures = {f"plots/{name}.{kind}" for name in ("mass", "cutflow", "kinematics") for kind in ("png", "pdf")}
    assert figures | {"histograms.json", "candidates.parquet", "candidates.root", "cutflow.json", "cutflow.csv"} <= set(
        left
    )
    mass = read_histograms(written / "histograms.json")["mass"]
    rows = pq.read_table(written / "candidates.parquet")
    assert mass.sum(flow=True).value == rows.num_rows


def test_the_candidates_as_a_root_file(written):
    rows = pq.read_table(written / "candidates.parquet")
    with uproot.open(written / "candidates.root") as file:
        tree = file["candidates"]
        assert tree.keys() == rows.column_names
        for name in rows.column_names:
            assert tree[name].array().to_list() == rows[name].to_pylist()


def test_no_candidates_at_all(tmp_path):
    simulate.dsphipi(tmp_path / "empty.root", 0, 1)
    assert main(["run", "dsphipi", str(tmp_path / "empty.root"), "--out", str(tmp_path / "out")]) == 0
    assert (
        main(["run", "dsphipi", str(simulate.dsphipi(tmp_path / "one.root", 1, 1)), "--out", str(tmp_path / "out")])
        == 0
    )
    assert pq.read_table(tmp_path / "out" / "candidates.parquet").num_rows <= 1


def test_scale_factors_on_the_command_line(tmp_path, sf_file, capsys):
    folder = tmp_path / "mc"
    assert (
        main(["simulate", "dsphipi", "--events", "2000", "--kind", "mc", "--eras", "2017B", "--out", str(folder)]) == 0
    )
    command = ["run", "dsphipi", str(folder / "fileset.yaml"), "--out", str(tmp_path / "out")]
    assert main([*command, "--muon-sf", str(sf_file)]) == 0
    assert "muons are outside the range" in capsys.readouterr().err
    assert (tmp_path / "out" / "plots" / "scale_factors.png").exists()
    counts = json.loads((tmp_path / "out" / "scale_factors.json").read_text())["DsPhiPi_mc_2017B"]
    assert counts["muons"] == 2 * pq.read_table(tmp_path / "out" / "candidates.parquet").num_rows
    assert 0 < counts["pt"] < counts["muons"]
    assert main([*command, "--no-plots"]) == 0
    assert "not weighted by muon scale factors" in capsys.readouterr().err
    with pytest.raises(SystemExit):  # not an option of another analysis
        main(["run", "dimuon", "x.root", "--out", str(tmp_path / "out"), "--muon-sf", str(sf_file)])
