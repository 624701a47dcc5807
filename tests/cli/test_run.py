"""``af-kit run``: its output, and its errors."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import time
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from cli_tools import af_kit, report_of, run

from af_kit.analysis import dimuon
from af_kit.analysis.output import read_histograms
from af_kit.cli import main

REAL_NANOAOD = Path(__file__).parents[3] / "shared" / "cms" / "nano_dimuon.root"


@pytest.fixture(scope="module")
def results(sample, tmp_path_factory) -> Path:
    """The output of one run over both files."""
    folder = tmp_path_factory.mktemp("results") / "new"
    assert main(["run", "dimuon", str(sample / "fileset.yaml"), "--out", str(folder)]) == 0
    return folder


def test_it_writes_report_histograms_table_and_plots(sample, results):
    report = report_of(results)
    assert report["entries"] == {"planned": 5001, "processed": 5001, "failed": 0}
    assert report["complete"] is True
    present = {str(path.relative_to(results)) for path in results.rglob("*") if path.is_file()}
    assert present == {"report.json", *report["outputs"]}
    assert {"histograms.json", "candidates.parquet", "plots/mass.png", "plots/mass.pdf"} <= present

    expected = dimuon.process(sample / "fileset.yaml", progress=False)
    assert read_histograms(results / "histograms.json") == {name: expected[name] for name in ("mass", "multiplicity")}
    assert pq.read_table(results / "candidates.parquet").num_rows == expected["candidates"].num_rows


@pytest.mark.parametrize("options", [["--chunk-entries", "777"], ["--n-workers", "2", "--chunk-entries", "1000"]])
def test_chunks_and_workers_do_not_change_histograms_and_rows(sample, results, tmp_path, options):
    assert run(sample / "fileset.yaml", "--out", tmp_path, *options) == 0
    assert (tmp_path / "histograms.json").read_bytes() == (results / "histograms.json").read_bytes()
    rows, expected = (pq.read_table(folder / "candidates.parquet") for folder in (tmp_path, results))
    assert rows["event"] == expected["event"]
    assert np.allclose(rows["mass"], expected["mass"], rtol=1e-12, atol=0)


def test_the_same_run_writes_the_same_bytes(sample, results, tmp_path):
    assert main(["run", "dimuon", str(sample / "fileset.yaml"), "--out", str(tmp_path)]) == 0
    digests = [
        {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.rglob("*.*")}
        for folder in (results, tmp_path)
    ]
    differ = {name for name in digests[0] if digests[0][name] != digests[1][name]}
    assert differ == {"report.json"}  # it has the times


def test_the_compiled_engine_gives_the_same_histograms(sample, results, tmp_path):
    assert run(sample / "dimuon_0.root", sample / "dimuon_1.root", "--engine", "numba", "--out", tmp_path) == 0
    assert (tmp_path / "histograms.json").read_bytes() == (results / "histograms.json").read_bytes()


def test_a_running_scheduler(sample, results, tmp_path):
    from distributed import LocalCluster

    options = {"host": "127.0.0.1", "protocol": "tcp", "dashboard_address": "127.0.0.1:0", "processes": False}
    with LocalCluster(n_workers=1, threads_per_worker=1, **options) as cluster:
        assert run(sample / "fileset.yaml", "--scheduler", cluster.scheduler_address, "--out", tmp_path) == 0
        assert len(cluster.workers) == 1  # it is left as it was
    assert (tmp_path / "histograms.json").read_bytes() == (results / "histograms.json").read_bytes()


def test_only_one_dataset_and_another_tree(sample, tmp_path):
    fileset = {"one": {"files": [str(sample / "dimuon_0.root")]}, "two": {"files": [str(sample / "dimuon_1.root")]}}
    (tmp_path / "both.json").write_text(json.dumps(fileset))
    assert run(tmp_path / "both.json", "--datasets", "two", "--treename", "Events", "--out", tmp_path / "out") == 0
    assert report_of(tmp_path / "out")["datasets"].keys() == {"two"}


@pytest.mark.skipif(not REAL_NANOAOD.exists(), reason="the real NanoAOD file is not here")
def test_real_nanoaod(tmp_path):
    assert run(REAL_NANOAOD, "--out", tmp_path) == 0
    assert report_of(tmp_path)["entries"] == {"planned": 40, "processed": 40, "failed": 0}


def test_a_bad_file_is_listed_and_the_good_ones_are_processed(sample, bad, tmp_path, capsys):
    out = tmp_path / "out"
    assert run(sample / "dimuon_0.root", bad, "--out", out) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert str(bad) in line
    report = report_of(out)
    assert report["files"] == {"planned": 2, "failed": 1}
    assert report["entries"] == {"planned": 2501, "processed": 2501, "failed": 0}
    assert report["complete"] is False
    assert report["failures"][0]["file"] == str(bad)
    assert read_histograms(out / "histograms.json")["multiplicity"].sum(flow=True) == 2501


def test_a_file_without_muons_among_good_ones(sample, no_muons, tmp_path, capsys):
    out = tmp_path / "out"
    assert run(no_muons, sample / "dimuon_0.root", "--out", out) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert str(no_muons) in line
    assert "'Muon'" in line
    assert report_of(out)["entries"] == {"planned": 2601, "processed": 2501, "failed": 100}


def test_outputs_of_an_older_run_are_removed_if_everything_fails(sample, no_muons, tmp_path, capsys):
    out = tmp_path / "out"
    assert run(sample / "dimuon_0.root", "--out", out) == 0
    (out / "mine.parquet").write_text("the user's own")
    assert run(no_muons, "--out", out) == 1
    assert report_of(out)["entries"] == {"planned": 100, "processed": 0, "failed": 100}
    assert sorted(path.name for path in out.rglob("*.*")) == ["mine.parquet", "report.json"]


@pytest.mark.parametrize(
    ("files", "hint"),
    [
        (["nowhere.root"], "nowhere.root"),
        (["bad.root"], "not a ROOT file"),
        ([".", "bad.root"], "directory"),
        (["*.rot"], "*.rot"),
        (["dimoun.yaml"], "dimuon.yaml"),
        (["dimuon.yaml", "--datasets", "Run2012"], "Run2012BC_DoubleMuParked"),
        (["nowhere.root", "--n-workers", "2", "--scheduler", "tcp://127.0.0.1:1"], "--scheduler"),
        (["nowhere.root", "--cluster", "lokal"], "local"),
    ],
)
def test_unusable_input_is_one_paragraph_and_nothing_is_written(files, hint, bad, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["run", "dimuon", *files, "--out", "out"]) == 2
    error = capsys.readouterr().err
    assert error.startswith("af-kit: ")
    assert hint in error
    assert "Traceback" not in error
    assert list((tmp_path / "out").glob("*")) == []


def test_traceback_of_the_analysis_on_request(sample, no_muons, tmp_path, capsys):
    assert run(no_muons, sample / "dimuon_0.root", "--out", tmp_path / "out", "--traceback") == 1
    assert "select.py" in capsys.readouterr().err


def test_an_unwritable_folder_is_an_error_before_the_run(sample, tmp_path, capsys):
    (tmp_path / "file").write_text("")
    for out in (tmp_path / "file", tmp_path / "file" / "below"):
        assert run(sample / "dimuon_0.root", "--out", out) == 2
        assert f"--out {out}" in capsys.readouterr().err


def test_a_closed_pipe_is_not_an_error(sample, tmp_path):
    reading, writing = os.pipe()
    process = af_kit("run", "dimuon", sample / "dimuon_0.root", "--no-plots", "--out", tmp_path, stdout=writing)
    os.close(reading)
    os.close(writing)
    _, error = process.communicate(timeout=120)
    assert (process.returncode, error) == (0, "")
    assert report_of(tmp_path)["complete"]


@pytest.mark.parametrize("ending", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_keeps_what_has_been_processed(sample, tmp_path, ending):
    kept, out = tmp_path / "kept", tmp_path / "out"
    datasets, content = {}, bytearray((sample / "dimuon_0.root").read_bytes())
    for number in range(300):  # each is a task of its own, and a file with its own identifier
        content[47:63] = f"{number:016}".encode()
        (tmp_path / f"{number}.root").write_bytes(content)
        datasets[f"copy_{number:03}"] = {"files": [f"{number}.root"]}
    (tmp_path / "many.json").write_text(json.dumps(datasets))
    arguments = [tmp_path / "many.json", "--out", out, "--checkpoint", kept]
    process = af_kit("run", "dimuon", *arguments, "--no-plots")
    deadline = time.monotonic() + 60
    while len(list(kept.glob("*/*.pickle"))) < 3:
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.001)
    process.send_signal(ending)
    _, error = process.communicate(timeout=120)
    assert process.returncode == 130, error
    assert "Traceback" not in error
    entries = report_of(out)["entries"]
    assert 0 < entries["processed"] < entries["planned"] == 300 * 2501 == entries["processed"] + entries["failed"]
    assert read_histograms(out / "histograms.json")["multiplicity"].sum(flow=True) == entries["processed"]

    # the same command goes on from there
    assert run(*arguments) == 0
    assert report_of(out)["entries"]["processed"] == 300 * 2501


@pytest.mark.parametrize(("option", "noted"), [("--verify", False), ("--no-verify", True)])
def test_the_report_says_if_checksums_were_not_verified(sample, tmp_path, option, noted):
    assert run(sample / "fileset.yaml", "--out", tmp_path, "--no-plots", option) == 0
    assert ("checksums were not verified (verify=False)" in report_of(tmp_path)["notes"]) is noted
