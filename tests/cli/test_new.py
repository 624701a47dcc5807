"""``af-kit new``: what it writes works as it is."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
from cli_tools import report_of
from nbclient import NotebookClient

from af_kit.cli import main

FILES = {"README.md", "analysis.py", "fileset.yaml", "explore.ipynb", "test_analysis.py"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """A new analysis with a sample, as its README says."""
    folder = tmp_path_factory.mktemp("new") / "zmumu"
    assert main(["new", str(folder)]) == 0
    samples = ["--events", "4000", "--files", "2", "--out", str(folder / "samples")]
    assert main(["simulate", "dimuon", *samples]) == 0
    return folder


def shell(folder: Path, *command: str) -> None:
    """Run a command in a folder, with the programs of this environment."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        command, cwd=folder, env={**os.environ, "PATH": path}, timeout=120, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_its_files_have_its_name(folder):
    assert {path.name for path in folder.iterdir()} - {"samples"} == FILES
    for path in folder.glob("*.*"):
        text = path.read_text()
        assert "NAME" not in text
        assert ("zmumu" in text) == (path.name in ("README.md", "analysis.py", "explore.ipynb"))


def test_it_runs_and_draws(folder):
    shell(folder, "af-kit", "run", "analysis.py", "fileset.yaml", "--out", "results", "--pt-min", "20")
    report = report_of(folder / "results")
    assert report["entries"]["processed"] == 4000
    assert {"histograms.json", "candidates.parquet", "values.json", "plots/mass.png"} <= set(report["outputs"])


def test_its_own_tests_pass(folder):
    shell(folder, sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--rootdir", ".")


def test_its_notebook_runs(folder):
    notebook = nbformat.read(folder / "explore.ipynb", as_version=4)
    NotebookClient(notebook, timeout=120, resources={"metadata": {"path": str(folder)}}).execute()
    assert any("image/png" in output.get("data", {}) for output in notebook.cells[-1].outputs)


def test_its_code_is_tidy(folder):
    shell(folder, "ruff", "check", "--isolated", "--select", "E,F,B,UP", "--line-length", "120", "analysis.py")
    shell(folder, "ruff", "format", "--isolated", "--check", "--line-length", "120", "analysis.py", "test_analysis.py")


def test_nothing_is_overwritten(tmp_path, capsys):
    (tmp_path / "mine.txt").touch()
    assert main(["new", str(tmp_path)]) == 2
    assert "not empty" in capsys.readouterr().err
    assert main(["new", str(tmp_path / "mine.txt")]) == 2
    assert "is a file" in capsys.readouterr().err
    assert main(["new", str(tmp_path / "mine.txt" / "inside")]) == 2
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]
