"""``af-kit run`` with an analysis that is not the kit's: a file, a module, a package, a coffea processor."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from cli_tools import report_of

from af_kit import __version__
from af_kit.analysis.output import read_histograms
from af_kit.cli import main
from af_kit.cli.analysis_module import built_in, load_analysis

SELECT = """\
import awkward as ak

def select(events, pt_min):
    return events.Muon.pt[events.Muon.pt > pt_min]
"""
ANALYSIS = """\
from hist import Hist
from cuts import select

def analyse(events, pt_min: float = 10.0):
    '''Analyse a chunk.

    Parameters
    ----------
    events
        The events.
    pt_min
        Smallest transverse momentum in GeV. This sentence is too much.
    '''
    import awkward as ak
    pt = ak.flatten(select(events, pt_min))
    return {"pt": Hist.new.Reg(10, 0, 100, name="pt").Int64().fill(pt), "muons": len(pt)}
"""


@pytest.fixture(autouse=True)
def fresh_modules(monkeypatch):
    """Restore the import path and the modules: every command of a shell is a new process."""
    monkeypatch.setattr(sys, "path", sys.path.copy())
    before = set(sys.modules)
    yield
    for name in set(sys.modules) - before:
        if name.partition(".")[0] in ("analysis", "cuts", "mine", "select_analysis", "other"):
            del sys.modules[name]


@pytest.fixture
def analysis(tmp_path) -> Path:
    folder = tmp_path / "own"
    folder.mkdir()
    (folder / "cuts.py").write_text(SELECT)
    (folder / "analysis.py").write_text(ANALYSIS)
    return folder / "analysis.py"


def run(analysis: object, *arguments: object) -> int:
    return main(["run", str(analysis), *map(str, arguments)])


def values(folder: Path) -> dict:
    return json.loads((folder / "values.json").read_text())


def test_a_file_that_imports_its_neighbour(analysis, sample, tmp_path):
    fileset = sample / "fileset.yaml"
    assert run(analysis, fileset, "--out", tmp_path / "out", "--pt-min", "20") == 0
    report = report_of(tmp_path / "out")
    assert report["complete"] is True
    assert (report["af_kit"], report["options"]) == (__version__, {"pt_min": "20.0"})
    assert {"histograms.json", "values.json", "plots/pt.png", "plots/pt.pdf"} == set(report["outputs"])
    cut = values(tmp_path / "out")["muons"]
    assert run(analysis, fileset, "--out", tmp_path / "all", "--pt-min", "0", "--no-plots") == 0
    assert 0 < cut < values(tmp_path / "all")["muons"]


def test_workers_get_the_module_and_its_neighbour(analysis, sample, tmp_path, monkeypatch):
    """In a process of its own, as from a shell in another folder: the workers cannot import the files."""
    analysis.write_text(
        ANALYSIS.replace(
            "import awkward as ak\n", "import awkward as ak, af_kit, pathlib\n    path = af_kit.file('cut')\n"
        ).replace("pt_min))", "float(pathlib.Path(path).read_text())))")
    )
    (tmp_path / "cut.txt").write_text("25")
    send = ["--send", f"cut={tmp_path / 'cut.txt'}"]
    assert run(analysis, sample / "fileset.yaml", "--out", tmp_path / "here", "--no-plots", *send) == 0
    where = tmp_path / "elsewhere"
    where.mkdir()
    command = [Path(sys.executable).with_name("af-kit"), "run", analysis, sample / "fileset.yaml", "--n-workers", "1"]
    options = ["--chunk-entries", "1000", "--out", "out", "--no-plots", *send]
    subprocess.run([*command, *options], cwd=where, check=True, timeout=120)
    for name in ("histograms.json", "values.json"):
        assert (where / "out" / name).read_bytes() == (tmp_path / "here" / name).read_bytes()


@pytest.mark.parametrize(
    ("address", "proxy", "expected"),
    [
        ("root://host.example//a.root", [], [None]),
        ("/a.root", [], []),
        ("root://host.example//a.root", ["--proxy", "none"], []),
        ("/a.root", ["--proxy", "mine"], ["mine"]),
    ],
)
def test_the_proxy_is_sent_if_files_are_remote(address, proxy, expected, monkeypatch, tmp_path):
    from af_kit.cli.command import build_parser
    from af_kit.cli.delivery import deliver
    from af_kit.data.fileset.load import load_fileset

    sent: list[str | None] = []
    monkeypatch.setattr("af_kit.plugins.proxy.send_proxy", lambda client, path=None: sent.append(path))
    monkeypatch.setenv("X509_USER_PROXY", str(tmp_path))
    arguments = ["run", "dimuon", address, "--out", "o", *proxy]
    deliver(build_parser(arguments).parse_args(arguments), load_fileset(address), object())
    assert sent == expected


@pytest.mark.parametrize("wrong", ["muon_sf", "=x", "sf=", "sf=there.json"])
def test_a_wrong_file_to_send(wrong, analysis, sample, tmp_path, capsys):
    assert run(analysis, sample / "fileset.yaml", "--out", tmp_path / "out", "--send", wrong) == 2
    assert "Traceback" not in capsys.readouterr().err


def test_a_folder_and_a_module_of_a_package(sample, tmp_path, monkeypatch):
    package = tmp_path / "mine"
    (package / "inner").mkdir(parents=True)
    (package / "__init__.py").touch()
    (package / "inner" / "__init__.py").touch()
    (package / "cuts.py").write_text(SELECT)
    (package / "inner" / "analysis.py").write_text(ANALYSIS.replace("from cuts", "from ..cuts"))
    monkeypatch.chdir(tmp_path)
    names = ("mine.inner.analysis", "mine/inner", str(package / "inner" / "analysis.py"))
    for number, name in enumerate(names):
        assert run(name, sample / "fileset.yaml", "--out", f"out{number}", "--no-plots") == 0
    assert values(Path("out0")) == values(Path("out1")) == values(Path("out2"))


def test_a_file_named_like_a_module_of_python(analysis, sample, tmp_path):
    other = analysis.rename(analysis.with_name("select.py"))
    assert run(other, sample / "fileset.yaml", "--out", tmp_path / "out", "--no-plots") == 0
    assert "select_analysis" in sys.modules


def test_a_bad_file_a_checkpoint_and_a_few_chunks(analysis, sample, bad, tmp_path, capsys):
    files = [sample / "dimuon_0.root", bad]
    options = ["--out", tmp_path / "out", "--checkpoint", tmp_path / "kept", "--no-plots", "--chunk-entries", "500"]
    assert run(analysis, *files, *options) == 1
    assert str(bad) in capsys.readouterr().err
    assert report_of(tmp_path / "out")["entries"]["processed"] == 2501
    assert list((tmp_path / "kept").iterdir())
    assert run(analysis, files[0], *options, "--max-chunks", "1") == 0
    assert report_of(tmp_path / "out")["entries"]["processed"] <= 501


def test_finish_plot_write_and_summary(analysis, sample, tmp_path, capsys):
    analysis.write_text(
        ANALYSIS
        + """
def finish(result, fileset):
    return {"half": result["pt"] * 0.5, "files": sum(len(dataset.files) for dataset in fileset.values())}

def plot(result, folder):
    (folder / "mine.txt").write_text(str(result["files"]))

def summary(result):
    return f"from {result['files']} files"
"""
    )
    assert run(analysis, sample / "fileset.yaml", "--out", tmp_path / "out") == 0
    assert "from 2 files" in capsys.readouterr().out
    assert set(report_of(tmp_path / "out")["outputs"]) == {"histograms.json", "values.json", "plots/mine.txt"}
    assert read_histograms(tmp_path / "out" / "histograms.json").keys() == {"half"}


@pytest.mark.parametrize(
    ("code", "told", "kept"),
    [
        ("def finish(result): return 1 / 0", "finish() failed: ZeroDivisionError", {"histograms.json", "values.json"}),
        ("def finish(result): return 3", "a result is a mapping", {"histograms.json", "values.json"}),
        ("def plot(result, folder): return 1 / 0", "plot() failed: ZeroDivisionError", {"histograms.json"}),
    ],
)
def test_work_is_kept_if_a_later_step_fails(code, told, kept, analysis, sample, tmp_path, capsys):
    analysis.write_text(f"{ANALYSIS}\n{code}\n")
    assert run(analysis, sample / "fileset.yaml", "--out", tmp_path / "out") == 1
    error = capsys.readouterr().err
    assert told in error
    assert "Traceback" not in error
    assert kept <= set(report_of(tmp_path / "out")["outputs"])


PROCESSOR = """\
from coffea import processor

class Counter(processor.ProcessorABC):
    def __init__(self, pt_min: float = 10.0):
        self.pt_min = pt_min
    def process(self, events):
        import awkward as ak
        return {"muons": int(ak.sum(events.Muon.pt > self.pt_min))}
    def postprocess(self, accumulator):
        accumulator["finished"] = True
"""


def test_a_coffea_processor(sample, tmp_path):
    path = tmp_path / "other.py"
    path.write_text(PROCESSOR)
    assert run(path, sample / "dimuon_0.root", "--pt-min", "20", "--out", tmp_path / "a", "--no-plots") == 0
    path.write_text(f"{PROCESSOR}\nwhole = Counter(pt_min=20.0)\n")
    del sys.modules["other"]
    assert run(path, sample / "dimuon_0.root", "--out", tmp_path / "b", "--no-plots") == 0
    assert values(tmp_path / "a") == values(tmp_path / "b")
    assert values(tmp_path / "a")["finished"] is True


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("def analyze(events): return {}", "no function analyse(events)"),
        ("x = 1", "It has no function"),
        ("analyse = 3", "Make it a function"),
        ("def analyse(): return {}", "takes no argument"),
        ("def analyse(events, pt_min): return {}", "pt_min=..."),
        ("def analyse(events, memory: float = 3): return {}", "--memory is another option"),
        ("def analyse(events: return {}", "line 1"),
        ("import nowhere_to_be_found\ndef analyse(events): return {}", "line 1"),
        ("1 / 0\ndef analyse(events): return {}", "ZeroDivisionError"),
        (PROCESSOR + "\nclass Second(Counter): pass\n", "several coffea processors (Counter, Second)"),
    ],
)
def test_a_wrong_module_says_what_is_missing(content, told, sample, tmp_path, capsys):
    path = tmp_path / "analysis.py"
    path.write_text(content)
    assert run(path, sample / "fileset.yaml", "--out", tmp_path / "out") == 2
    error = capsys.readouterr().err
    assert told in error
    assert str(path) in error
    assert "Traceback" not in error
    assert not (tmp_path / "out").exists()
    assert main(["--json", "run", str(path), "x.root", "--out", "o"]) == 2
    assert told in json.loads(capsys.readouterr().out)["error"]["message"]


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("dimoun", "Did you mean 'dimuon'?"),
        ("analysys.py", "Did you mean 'analysis.py'?"),
        ("nowhere/analysis.py", "no such file"),
        ("no_package.analysis", "There is no analysis"),
        ("mine.nothing", "There is no analysis"),
        (".", "without analysis.py"),
        ("not a name", "There is no analysis"),
    ],
)
def test_no_such_analysis(name, told, sample, tmp_path, monkeypatch, capsys):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "__init__.py").touch()
    if name != ".":
        (tmp_path / "analysis.py").write_text(ANALYSIS)
    monkeypatch.chdir(tmp_path)
    assert run(name, sample / "fileset.yaml", "--out", "out") == 2
    assert told in capsys.readouterr().err


def test_help_has_the_options_of_the_analysis_only(analysis, capsys):
    with pytest.raises(SystemExit) as end:
        run(analysis, "--help")
    assert end.value.code == 0
    text = " ".join(capsys.readouterr().out.split())
    assert "--pt-min X smallest transverse momentum in GeV (default: 10.0)" in text
    assert "--variations" not in text
    with pytest.raises(SystemExit):
        main(["run", "hmumu", "--help"])
    assert "--variations" in capsys.readouterr().out
    with pytest.raises(SystemExit) as end:
        run(analysis, "x.root", "--out", "o", "--year", "2018")
    assert end.value.code == 2


def test_options_before_the_analysis(analysis, sample, tmp_path):
    arguments = ["--chunk-entries", "1000", "--no-plots", f"--out={tmp_path / 'out'}"]
    assert main(["run", *arguments, str(analysis), str(sample / "fileset.yaml"), "--pt-min=3"]) == 0
    assert report_of(tmp_path / "out")["options"] == {"pt_min": "3.0"}


def test_the_kits_analyses_come_through_the_same_door():
    assert set(built_in()) == {"dimuon", "dsphipi", "hmumu", "counting"}
    for name, about in built_in().items():
        analysis = load_analysis(name)
        assert callable(analysis.module.process)
        assert callable(analysis.module.write)
        assert len(about) > 20


def test_tables_of_each_dataset(sample, tmp_path):
    path = tmp_path / "analysis.py"
    path.write_text(
        "import pandas as pd\nimport numpy as np\n"
        "def analyse(events):\n"
        "    n = np.asarray(events.nMuon)\n"
        "    return {events.metadata['dataset']: {'rows': pd.DataFrame({'n': n}), 'n': n, 'total': n.sum()}}\n"
    )
    fileset = {"one": {"files": [str(sample / "dimuon_0.root")]}, "two": {"files": [str(sample / "dimuon_1.root")]}}
    (tmp_path / "both.json").write_text(json.dumps(fileset))
    assert run(path, tmp_path / "both.json", "--out", tmp_path / "out") == 0
    outputs = set(report_of(tmp_path / "out")["outputs"])
    assert outputs == {"one_rows.parquet", "two_rows.parquet", "one_n.npy", "two_n.npy", "values.json"}
    rows = pq.read_table(tmp_path / "out" / "two_rows.parquet")
    assert sum(rows["n"].to_pylist()) == values(tmp_path / "out")["two"]["total"]
