from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import uproot

import af_kit as af
from af_kit.analysis import dimuon
from af_kit.analysis.output import read_histograms
from af_kit.cli import main
from af_kit.cli.run import ANALYSES
from af_kit.cli.simulate import SAMPLES

REAL_NANOAOD = Path(__file__).parents[2] / "shared" / "cms" / "nano_dimuon.root"
HEAVY = {
    "awkward",
    "dask",
    "distributed",
    "hist",
    "matplotlib",
    "numba",
    "numpy",
    "pandas",
    "pyarrow",
    "uproot",
    "yaml",
}


@pytest.fixture(scope="module")
def sample(tmp_path_factory) -> Path:
    """Two files of together 5001 events, and their fileset."""
    folder = tmp_path_factory.mktemp("sample")
    assert main(["simulate", "dimuon", "--events", "5001", "--files", "2", "--seed", "7", "--out", str(folder)]) == 0
    return folder


@pytest.fixture(scope="module")
def results(sample, tmp_path_factory) -> Path:
    """What one run over both files leaves."""
    folder = tmp_path_factory.mktemp("results") / "new"
    assert main(["run", "dimuon", str(sample / "fileset.yaml"), "--out", str(folder)]) == 0
    return folder


@pytest.fixture
def bad(tmp_path) -> Path:
    path = tmp_path / "bad.root"
    path.write_bytes(b"this is not a ROOT file" * 100)
    return path


@pytest.fixture
def no_muons(tmp_path) -> Path:
    path = tmp_path / "no_muons.root"
    with uproot.recreate(path) as file:
        file["Events"] = {"x": np.arange(100)}
    return path


def run(*arguments: object) -> int:
    """``af-kit run dimuon`` in this process, without the figures, which take most of the time."""
    return main(["run", "dimuon", *map(str, arguments), "--no-plots"])


def report_of(folder: Path) -> dict:
    return json.loads((folder / "report.json").read_text())


def af_kit(*arguments: object, **options) -> subprocess.Popen[str]:
    """The command in a process of its own, as the shell starts it."""
    command = [str(Path(sys.executable).with_name("af-kit")), *map(str, arguments)]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen(command, **{**pipes, **options})


# -- the command itself ----------------------------------------------------------------------------------------------


def test_help_lists_the_commands_and_imports_nothing_heavy():
    code = (
        "import sys\nfrom af_kit.cli import main\n"
        "try: main(['--help'])\nexcept SystemExit as end: print(end.code, *{m.split('.')[0] for m in sys.modules})"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    text, _, last = done.stdout.rstrip().rpartition("\n")
    assert "simulate" in text
    assert "exit codes" in text
    status, *modules = last.split()
    assert status == "0"
    assert not HEAVY & set(modules)


def test_version():
    process = af_kit("--version")
    out, _ = process.communicate(timeout=60)
    assert (process.returncode, out) == (0, f"af-kit {af.__version__}\n")


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["walk"],
        ["run"],
        ["run", "dimoun", "x.root", "--out", "o"],
        ["run", "dimuon", "x.root"],
        ["run", "dimuon", "--out", "o"],
        ["run", "dimuon", "x.root", "--out", "o", "--chunk-entries", "0"],
        ["run", "dimuon", "x.root", "--out", "o", "--n-workers", "two"],
        ["run", "dimuon", "x.root", "--out", "o", "--engine", "fortran"],
        ["simulate", "dimuon", "--out", "o"],
        ["simulate", "dimuon", "--events", "-1", "--out", "o"],
        ["simulate", "dimuon", "--events", "1.5", "--out", "o"],
        ["simulate", "dimuon", "--events", "inf", "--out", "o"],
        ["simulate", "dimuon", "--events", "1", "--files", "0", "--out", "o"],
    ],
)
def test_a_wrong_command_line(arguments, capsys):
    with pytest.raises(SystemExit) as end:
        main(arguments)
    assert end.value.code == 2
    assert "usage: af-kit" in capsys.readouterr().err


def test_the_names_on_the_command_line_are_those_of_the_package():
    from af_kit import analysis, simulate

    assert set(SAMPLES) == set(simulate.SAMPLES)
    folders = {path.parent.name for path in Path(analysis.__path__[0]).glob("*/process.py")}
    assert set(ANALYSES) == folders


# -- simulate --------------------------------------------------------------------------------------------------------


def test_simulate_writes_files_and_their_fileset(sample):
    assert sorted(path.name for path in sample.iterdir()) == ["dimuon_0.root", "dimuon_1.root", "fileset.yaml"]
    entries = [uproot.open(sample / f"dimuon_{i}.root")["Events"].num_entries for i in (0, 1)]
    assert entries == [2501, 2500]
    (dataset,) = af.load_fileset(sample / "fileset.yaml").values()
    assert [Path(file.path).name for file in dataset.files] == ["dimuon_0.root", "dimuon_1.root"]
    assert dataset.metadata["isMC"] is True


def test_simulate_takes_options(tmp_path):
    options = ["--events", "1e3", "--compression", "ZSTD-5", "--cluster-entries", "100", "--seed", "3"]
    assert main(["simulate", "dimuon", "--out", str(tmp_path), *options]) == 0
    tree = uproot.open(tmp_path / "dimuon_0.root")["Events"]
    assert tree.num_entries == 1000
    assert tree["Muon_pt"].num_baskets == 10
    assert uproot.open(tmp_path / "dimuon_0.root").file.compression == uproot.ZSTD(5)


@pytest.mark.parametrize("options", [["--compression", "ZIP-1"], ["--kind", "ttree", "--files", "1", "--seed", "1"]])
def test_what_simulate_cannot_write_is_a_message(tmp_path, options, capsys):
    (tmp_path / "file").write_text("")
    out = tmp_path / ("file" if "--kind" in options else "new")
    assert main(["simulate", "dimuon", "--events", "10", "--out", str(out), *options]) == 2
    error = capsys.readouterr().err
    assert error.startswith("af-kit: ")
    assert "Traceback" not in error


# -- run: what it writes ---------------------------------------------------------------------------------------------


def test_run_writes_report_histograms_table_and_plots(sample, results):
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
def test_histograms_and_rows_do_not_depend_on_how_it_is_run(sample, results, tmp_path, options):
    assert run(sample / "fileset.yaml", "--out", tmp_path, *options) == 0
    assert (tmp_path / "histograms.json").read_bytes() == (results / "histograms.json").read_bytes()
    rows, expected = (pq.read_table(folder / "candidates.parquet") for folder in (tmp_path, results))
    assert rows["event"] == expected["event"]
    assert np.allclose(rows["mass"], expected["mass"], rtol=1e-12, atol=0)


def test_the_same_run_leaves_the_same_bytes(sample, results, tmp_path):
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


def test_a_scheduler_that_is_there(sample, results, tmp_path):
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


# -- run: what goes wrong --------------------------------------------------------------------------------------------


def test_a_bad_file_among_good_ones_is_named_and_the_good_ones_are_kept(sample, bad, tmp_path, capsys):
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


def test_where_everything_failed_nothing_of_an_older_run_stays(sample, no_muons, tmp_path, capsys):
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


@pytest.mark.parametrize("before", [True, False])
def test_traceback_on_request(before, tmp_path, capsys):
    arguments = ["run", "dimuon", str(tmp_path / "nowhere.root"), "--out", str(tmp_path / "out")]
    assert main(["--traceback", *arguments] if before else [*arguments, "--traceback"]) == 2
    assert "Traceback (most recent call last)" in capsys.readouterr().err


def test_traceback_of_the_analysis_on_request(sample, no_muons, tmp_path, capsys):
    assert run(no_muons, sample / "dimuon_0.root", "--out", tmp_path / "out", "--traceback") == 1
    assert "select.py" in capsys.readouterr().err


def test_a_folder_that_cannot_be_written_is_said_before_the_work(sample, tmp_path, capsys):
    (tmp_path / "file").write_text("")
    for out in (tmp_path / "file", tmp_path / "file" / "below"):
        assert run(sample / "dimuon_0.root", "--out", out) == 2
        assert f"--out {out}" in capsys.readouterr().err


def test_an_error_nobody_expected_is_one_paragraph(sample, tmp_path, monkeypatch, capsys):
    def fail(*_, **__):
        raise ZeroDivisionError("nobody expected this")

    monkeypatch.setattr(dimuon, "write", fail)
    out = tmp_path / "out"
    assert run(sample / "dimuon_0.root", "--out", out) == 1
    assert "ZeroDivisionError: nobody expected this" in capsys.readouterr().err
    assert report_of(out)["entries"]["processed"] == 2501


def test_a_reader_who_leaves_is_no_error(sample, tmp_path):
    reading, writing = os.pipe()
    process = af_kit("run", "dimuon", sample / "dimuon_0.root", "--no-plots", "--out", tmp_path, stdout=writing)
    os.close(reading)
    os.close(writing)
    _, error = process.communicate(timeout=120)
    assert (process.returncode, error) == (0, "")
    assert report_of(tmp_path)["complete"]


@pytest.mark.parametrize("ending", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_keeps_what_is_done(sample, tmp_path, ending):
    kept, out = tmp_path / "kept", tmp_path / "out"
    datasets = {}
    for number in range(300):  # each is a task of its own
        (tmp_path / f"{number}.root").hardlink_to(sample / "dimuon_0.root")
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
