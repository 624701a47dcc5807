"""What commands print with --quiet, --verbose and --json."""

from __future__ import annotations

import argparse
import json
import logging
import sys
from pathlib import Path

import numpy as np
import pytest
from cli_tools import report_of, run

from af_kit.cli import main
from af_kit.cli.console import answer, aside, complain, emit_json, note, say, talking
from af_kit.display.progress import Progress


def arguments(**given: bool) -> argparse.Namespace:
    return argparse.Namespace(**{"quiet": False, "verbose": False, "json": False, **given})


def printed(capsys, **given: bool) -> tuple[str, str]:
    with talking(arguments(**given)):
        say("said")
        answer("answered")
        note("noted")
        complain("complained")
        with aside():
            print("printed by a library")
        logging.getLogger("af_kit.somewhere").info("a step")
        logging.getLogger("af_kit.somewhere").warning("a warning")
        with Progress(5, True, what="bar") as bar:
            bar.update(5)
        emit_json({"path": Path("a") / "b", "numbers": (np.float64(1.5), np.int64(2), float("nan"))})
    return capsys.readouterr()


def test_as_usual(capsys):
    out, err = printed(capsys)
    assert out == "said\nanswered\n"
    assert all(word in err for word in ("noted", "complained", "printed by a library", "bar"))
    assert "a step" not in err


def test_quiet(capsys):
    out, err = printed(capsys, quiet=True)
    assert (out, err) == ("answered\n", "af-kit: complained\n")


def test_verbose(capsys):
    out, err = printed(capsys, verbose=True)
    assert out == "said\nanswered\n"
    assert "af_kit.somewhere: a step\n" in err
    assert logging.getLogger("af_kit").level == logging.NOTSET
    assert not logging.getLogger("af_kit").handlers


def test_json(capsys):
    out, err = printed(capsys, json=True)
    assert json.loads(out) == {"path": "a/b", "numbers": [1.5, 2, None]}
    assert "complained" in err


@pytest.mark.parametrize("before", [True, False])
def test_a_run_as_json(before, sample, bad, tmp_path, capsys):
    out, files = tmp_path / "out", [sample / "dimuon_0.root", bad]
    line = ["run", "dimuon", *map(str, files), "--out", str(out), "--no-plots"]
    assert main(["--json", "-q", *line] if before else [*line, "--json", "--quiet"]) == 1
    text, err = capsys.readouterr()
    content = json.loads(text)
    assert content == {"out": str(out), **report_of(out)}
    assert content["entries"]["processed"] == 2501
    assert "histograms.json" in content["outputs"]
    assert "bad.root" in err  # errors are shown


def test_a_verbose_run_says_its_steps(sample, tmp_path, capsys):
    assert run(sample / "dimuon_0.root", "--out", tmp_path, "-v") == 0
    err = capsys.readouterr().err
    steps = ["plan: reading the metadata of 1 files", "2,501 entries", "tasks on threads of this process", "complete"]
    assert [err.find(step) for step in steps] == sorted(err.find(step) for step in steps)
    assert all(step in err for step in steps)


def test_simulated_files_as_json(tmp_path, capsys):
    assert main(["simulate", "dimuon", "--events", "10", "--files", "2", "--out", str(tmp_path), "--json"]) == 0
    content = json.loads(capsys.readouterr().out)
    assert content["events"] == 10
    assert content["files"] == [str(tmp_path / f"dimuon_{i}.root") for i in range(2)]
    assert Path(content["fileset"]).is_file()
    assert content["next"].startswith("af-kit run dimuon ")


def test_the_progress_of_a_simulation_counts_all_events(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    assert main(["simulate", "dimuon", "--events", "50001", "--files", "3", "--out", str(tmp_path)]) == 0
    assert "50.0k/50.0k" in capsys.readouterr().err
