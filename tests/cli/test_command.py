"""The command line, help, versions and errors."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from cli_tools import af_kit, report_of, run

import af_kit as af
from af_kit.analysis import dimuon
from af_kit.cli import main
from af_kit.cli.command import build_parser
from af_kit.cli.exit_codes import EXIT_CODES
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


def test_quiet_and_verbose_exclude_each_other_and_json_needs_a_command_that_has_it(capsys):
    for arguments, reason in ((["-q", "-v", "doctor"], "exclude"), (["worker", "big", "--json"], "no JSON")):
        with pytest.raises(SystemExit) as end:
            main(arguments)
        assert end.value.code == 2
        assert reason in capsys.readouterr().err


def test_a_failed_command_prints_its_error_as_json(tmp_path, capsys):
    assert main(["--json", "run", "dimuon", str(tmp_path / "nowhere.root"), "--out", str(tmp_path / "out")]) == 2
    out, err = capsys.readouterr()
    content = json.loads(out)
    assert content["exit_code"] == 2
    assert content["error"]["type"] == "ReadError"
    assert content["error"]["message"] in err


@pytest.mark.parametrize("command", EXIT_CODES)
def test_exit_codes_are_in_the_help_and_on_their_page(command, capsys):
    with pytest.raises(SystemExit):
        main([command, "--help"])
    shown = " ".join(capsys.readouterr().out.split())
    page = (Path(__file__).parents[2] / "docs" / "exit-codes.md").read_text(encoding="utf-8")
    section = page.partition(f"\n## af-kit {command}\n")[2].partition("\n## ")[0]
    rows = dict(re.findall(r"^\| (\d+) \| (.*) \|$", section, re.MULTILINE))
    assert rows == {str(code): meaning for code, meaning in EXIT_CODES[command].items()}
    assert all(f"{code} {meaning}" in shown for code, meaning in EXIT_CODES[command].items())


def test_every_command_has_exit_codes():
    (commands,) = [action.choices for action in build_parser()._actions if hasattr(action, "add_parser")]
    assert set(commands) == set(EXIT_CODES)


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
