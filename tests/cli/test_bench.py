"""``af-kit bench facility``: what it refuses, and clusters that fail. The rest is in facility/test_measure.py."""

from __future__ import annotations

import importlib
import json

import pytest

from af_kit.cli import main
from af_kit.cli.bench import WORKLOADS

CONNECT = importlib.import_module("af_kit.cluster.connect")


def bench(*arguments: object) -> int:
    return main(["bench", "facility", *map(str, arguments)])


def test_the_workloads_on_the_command_line_are_those_of_the_package():
    from af_kit.facility import workloads

    assert tuple(workloads.WORKLOADS) == WORKLOADS


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--workloads", "dimuons"], "Did you mean 'dimuon'"),
        (["--workloads", "dimuon,dimuon"], "a name occurs twice"),
        (["--cluster", "slurn", "--workers", "2"], "Did you mean 'slurm'"),
        (["--cluster", "slurm"], "say how many workers"),
        (["--scheduler", "tcp://127.0.0.1:1", "--workers", "2"], "do not combine"),
        (["--processes-by-threads", "2x1", "--workers", "2"], "leave out --workers"),
        (["--calibrations", "there"], "belongs to --fileset"),
        (["--fileset", "x.root", "--data", "there"], "leave out --fileset"),
        (["--fileset", "x.root", "--workloads", "hmumu-dnn"], "needs a network"),
        (["--workloads", "hmumu-dnn", "--network", "nowhere"], "no network.json"),
        (["--option", "partition"], "NAME=VALUE"),
        (["--fileset", "nowhere.root"], "nowhere.root"),
    ],
)
def test_what_cannot_be_measured_is_refused_before_anything_starts(arguments, message, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(CONNECT, "connect", lambda *_, **__: pytest.fail("a cluster was started"))
    assert bench(*arguments, "--out", tmp_path / "out") == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out" / "bench.json").exists()


@pytest.mark.parametrize(
    "arguments", [["--workers", "0"], ["--workers", "two"], ["--events", "1.5"], ["--processes-by-threads", "4*2"]]
)
def test_a_wrong_number_is_refused_by_the_command_line(arguments, tmp_path, capsys):
    with pytest.raises(SystemExit) as end:
        bench(*arguments, "--out", tmp_path)
    assert end.value.code == 2
    assert arguments[0] in capsys.readouterr().err


def test_a_cluster_that_fails_is_listed_and_the_rest_is_measured(tmp_path, capsys, monkeypatch):
    from af_kit.errors import ConnectError

    def connect(*_, **__):
        raise ConnectError("the queue is full")

    monkeypatch.setattr(CONNECT, "connect", connect)
    assert bench("--events", "1000", "--workers", "1,2", "--out", tmp_path) == 1
    assert "1 x 1: the queue is full" in capsys.readouterr().err
    content = json.loads((tmp_path / "bench.json").read_text())
    assert (content["points"], len(content["failed"])) == ([], 2)
    assert "the queue is full" in (tmp_path / "table.md").read_text()


def test_a_scheduler_that_does_not_answer_is_refused_before_anything_is_simulated(tmp_path, capsys, monkeypatch):
    from af_kit.errors import ConnectError

    def connect(*_, **__):
        raise ConnectError("no answer")

    monkeypatch.setattr(CONNECT, "connect", connect)
    assert bench("--scheduler", "tcp://127.0.0.1:1", "--events", "1000", "--out", tmp_path) == 2
    assert "no answer" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []
