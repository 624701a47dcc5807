"""The whole analysis: chunks, datasets, what is written, and the command."""

from __future__ import annotations

import json

import awkward as ak
import numpy as np
import pyarrow.parquet as pq
import pytest

from af_kit.analysis import counting
from af_kit.analysis.counting.plot import plot
from af_kit.analysis.output import read_histograms
from af_kit.cli import main
from af_kit.errors import InputError


@pytest.fixture(scope="module")
def fileset(sample, write_sample, tmp_path_factory):
    other = write_sample(tmp_path_factory.mktemp("other") / "other.root", 1000, 5)
    return {"first": {"files": [str(sample)]}, "second": {"files": [str(other)]}}


@pytest.fixture(scope="module")
def result(fileset):
    return counting.process(fileset, progress=False)


@pytest.fixture(scope="module")
def expected(sample_events, reference):
    """The answer of the loop for each event of the sample."""
    return [reference(event) for event in ak.to_list(ak.materialize(sample_events[["Muon", "Electron", "Jet"]]))]


def test_the_counts_are_those_of_the_loop(result, expected):
    counts = result["counts"]["first"]
    assert counts["events"] == len(expected)
    for name in ("muons", "electrons"):
        found = [level for event in expected for level in event[name]]
        numbers = {"all": len(found), **{name: sum(x >= n for x in found) for n, name in enumerate(counting.LEVELS, 1)}}
        assert counts[name] == numbers
    jets = [jet for event in expected for jet in event["jets"]]
    assert counts["jets"] == {"all": len(jets), "selected": sum(j > 0 for j in jets), "btagged": jets.count(2)}
    channels = [event["channel"] for event in expected]
    assert counts["channels"] == {"dilepton": channels.count(2), "trilepton": channels.count(3)}
    assert result["counts"]["second"]["events"] == 1000


def test_the_histograms_are_filled_from_all_events(result, expected):
    leptons, jets, pt = (result[name] for name in ("leptons", "jets", "leading_pt"))
    tight = [sum(level == 3 for level in event["electrons"]) for event in expected]
    assert leptons["first", "electrons", "tight", :].values().tolist() == [tight.count(n) for n in range(6)]
    selected, btagged = ([sum(jet >= n for jet in event["jets"]) for event in expected] for n in (1, 2))
    assert jets["first", :, sum].values().tolist() == [selected.count(n) for n in range(12)]
    assert jets["first", sum, :].values().tolist() == [btagged.count(n) for n in range(12)]
    for name, number in result["counts"]["first"]["channels"].items():
        assert number > 50
        assert pt["first", name, :].sum(flow=True) == number
    assert pt.sum(flow=True) == result["candidates"].num_rows


def test_chunks_make_no_difference(fileset, result):
    cut = counting.process(fileset, chunk_entries=333, progress=False)
    cut.report.check()
    assert cut.keys() == result.keys()
    for name in ("counts", "btag", "leptons", "jets", "leading_pt"):
        assert cut[name] == result[name]
    assert cut["candidates"].combine_chunks() == result["candidates"].combine_chunks()


def test_the_rows_are_the_events_of_the_channels(result, expected, sample_events):
    rows = result["candidates"].to_pandas()
    rows = rows[rows.dataset == "first"]
    number = [event["channel"] for event in expected]
    assert rows.entry.tolist() == rows.event.tolist() == [i for i, channel in enumerate(number) if channel]
    assert rows.channel.map(counting.CHANNELS).tolist() == [channel for channel in number if channel]
    assert set(rows.run) == {1}
    assert set(rows.luminosityBlock) == {7}
    events = ak.to_list(ak.materialize(sample_events[["Muon", "Electron", "Jet"]]))
    for row in rows.to_dict("records"):
        event, answer = events[row["entry"]], expected[row["entry"]]
        tight = []
        for code, name, levels in ((13, "Muon", answer["muons"]), (11, "Electron", answer["electrons"])):
            for lepton, level in zip(event[name], levels, strict=True):
                if level == 3:
                    tight.append((lepton["pt"], lepton["eta"], lepton["phi"], -code * lepton["charge"]))
        tight.sort(key=lambda lepton: -lepton[0])
        found = [tuple(row[f"lepton{n}_{x}"] for x in ("pt", "eta", "phi", "pdgId")) for n in (1, 2, 3)]
        assert found[: len(tight)] == tight
        assert all(np.isnan(value) for lepton in found[len(tight) :] for value in lepton)
        assert row["n_electrons"] == answer["electrons"].count(3)
        assert row["n_loose"] == sum(level >= 1 for level in [*answer["muons"], *answer["electrons"]])
        assert (row["n_jets"], row["n_btagged"]) == (sum(j > 0 for j in answer["jets"]), answer["jets"].count(2))
        selected = [jet["pt"] for jet, good in zip(event["Jet"], answer["jets"], strict=True) if good]
        assert row["jet1_pt"] == max(selected)


def test_only_the_branches_of_the_rules_are_read(result):
    branches = {f"{name}_{field}" for name, fields in counting.BRANCHES.items() for field in fields}
    counters = {f"n{name}" for name in counting.BRANCHES}
    assert set(result.report.branches) == branches | counters | {"run", "luminosityBlock", "event"}


def test_the_working_point_is_an_option(sample, result):
    loose = counting.process(sample, btag=0.28, progress=False)
    assert loose["btag"] == "Jet_btagDeepFlavB > 0.28"
    tight = counting.process(sample, btag=0.5, progress=False)
    assert tight["counts"]["near_cuts"]["jets"]["btagged"] < result["counts"]["first"]["jets"]["btagged"]
    with pytest.raises(InputError, match="btag=-1 is not a working point"):
        counting.process(sample, btag=-1)


@pytest.mark.parametrize("engine", ["numba", "awkwrd"])
def test_another_engine_is_refused(engine, sample):
    with pytest.raises(InputError, match=f"has no engine '{engine}': use 'awkward'"):
        counting.process(sample, engine=engine)


def test_the_table_has_a_row_for_each_dataset_and_all(result):
    groups, headings, *rows, note = counting.summary(result).splitlines()
    assert "muons" in groups
    assert headings.split()[:5] == ["dataset", "events", "all", "selected", "btagged"]
    assert [row.split()[0] for row in rows] == ["first", "second", "all"]
    numbers = [[int(cell.replace(",", "")) for cell in row.split()[1:]] for row in rows]
    assert numbers[2] == [sum(column) for column in zip(*numbers[:2], strict=True)]
    assert [row[0] for row in numbers] == [4000, 1000, 5000]
    assert numbers[0][-2:] == list(result["counts"]["first"]["channels"].values())
    assert len({len(row) for row in [headings, *rows]}) == 1
    assert "Jet_btagDeepFlavB > 0.2783" in note
    assert max(map(len, counting.summary(result).splitlines())) < 160


def test_a_dataset_may_have_the_name_all(result):
    counts = {"all": result["counts"]["first"], "x": result["counts"]["second"]}
    assert [row.split()[0] for row in counting.summary({"counts": counts}).splitlines()[2:]] == ["all", "x", "all"]


@pytest.mark.filterwarnings("error")
def test_no_events_are_drawn(as_events, tmp_path):
    assert len(plot(counting.analyse(as_events()), tmp_path)) == 6


# The command ---------------------------------------------------------------------------------------------------------


def test_the_files_of_a_run(sample, result, tmp_path, capsys):
    assert main(["run", "counting", str(sample), "--out", str(tmp_path)]) == 0
    report = json.loads((tmp_path / "report.json").read_text())
    assert report["analysis"] == "counting"
    assert report["entries"] == {"planned": 4000, "processed": 4000, "failed": 0}
    figures = {f"plots/{name}.{kind}" for name in ("leptons", "jets", "leading_pt") for kind in ("png", "pdf")}
    assert set(report["outputs"]) == {"counts.json", "counts.txt", "histograms.json", "candidates.parquet", *figures}
    counts = json.loads((tmp_path / "counts.json").read_text())
    assert counts["all"] == counts["datasets"]["near_cuts"] == result["counts"]["first"]
    assert counts["btag"] == "Jet_btagDeepFlavB > 0.2783"
    text = (tmp_path / "counts.txt").read_text()
    assert text.splitlines()[2].split()[:2] == ["near_cuts", "4,000"]
    assert capsys.readouterr().out.endswith(text)
    histograms = read_histograms(tmp_path / "histograms.json")
    assert histograms.keys() == {"leptons", "jets", "leading_pt"}
    assert histograms["jets"].sum(flow=True) == 4000
    assert pq.read_metadata(tmp_path / "candidates.parquet").num_rows == sum(counts["all"]["channels"].values())


def test_a_missing_branch_is_one_line(tmp_path, write_sample, capsys):
    path = write_sample(tmp_path / "old.root", 10, 1, without=["Muon_looseId"])
    assert main(["run", "counting", str(path), "--out", str(tmp_path / "out")]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert "old.root" in line
    assert "missing here: Muon_looseId." in line
