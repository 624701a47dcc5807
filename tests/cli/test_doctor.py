"""``af-kit doctor``."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from doctor_tools import hide_settings

import af_kit as af
from af_kit.cli import main


@pytest.fixture(autouse=True)
def no_settings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    hide_settings(monkeypatch, tmp_path)


def test_exit_codes_and_json(monkeypatch, capsys, tmp_path):
    assert main(["doctor"]) == 1
    out = capsys.readouterr().out
    assert "PROBLEM  X.509 proxy" in out
    assert "-> Create one" in out
    assert main(["doctor", "--json"]) == 1
    assert json.loads(capsys.readouterr().out)["counts"]["problem"] == 1
    monkeypatch.delenv("X509_USER_PROXY")
    monkeypatch.setattr("os.geteuid", lambda: 4_000_000_000)  # a user without a proxy in /tmp
    assert main(["doctor"]) == 0
    assert main(["doctor", "--open", str(tmp_path / "nowhere.root")]) == 1


def test_a_cluster_is_checked(capsys):
    with af.connect("local", n_workers=1, quiet=True) as client:
        assert main(["doctor", "--scheduler", client.scheduler.address, "--json"]) == 1
    groups = {finding["group"] for finding in json.loads(capsys.readouterr().out)["findings"]}
    assert "the cluster" in groups
    assert main(["doctor", "--scheduler", "tcp://127.0.0.1:1"]) == 2
    with pytest.raises(SystemExit) as end:
        main(["doctor", "--jsn"])
    assert end.value.code == 2
