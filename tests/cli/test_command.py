"""The command line, help, versions and errors."""

from __future__ import annotations

import subprocess
import sys

import pytest
from cli_tools import af_kit, report_of, run

import af_kit as af
from af_kit.analysis import dimuon
from af_kit.cli import main
from af_kit.cli.simulate import SAMPLES

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


def test_the_samples_on_the_command_line_are_those_of_the_package():
    from af_kit import simulate

    assert set(SAMPLES) == {*simulate.SAMPLES, "hmumu"}


@pytest.mark.parametrize("before", [True, False])
def test_traceback_on_request(before, tmp_path, capsys):
    arguments = ["run", "dimuon", str(tmp_path / "nowhere.root"), "--out", str(tmp_path / "out")]
    assert main(["--traceback", *arguments] if before else [*arguments, "--traceback"]) == 2
    assert "Traceback (most recent call last)" in capsys.readouterr().err


def test_an_unexpected_error_is_one_paragraph(sample, tmp_path, monkeypatch, capsys):
    def fail(*_, **__):
        raise ZeroDivisionError("nobody expected this")

    monkeypatch.setattr(dimuon, "write", fail)
    out = tmp_path / "out"
    assert run(sample / "dimuon_0.root", "--out", out) == 1
    assert "ZeroDivisionError: nobody expected this" in capsys.readouterr().err
    assert report_of(out)["entries"]["processed"] == 2501
