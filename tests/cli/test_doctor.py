"""``af-kit doctor``."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

import af_kit as af
from af_kit.cli import main


@pytest.fixture(autouse=True)
def nothing_given(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Keep the machine's settings out of these tests."""
    for name in list(os.environ):
        if name.startswith(("X509_", "BEARER_", "XrdSec", "JUPYTERHUB_", "JUPYTER_IMAGE", "KUBERNETES_", "DASK_")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("X509_USER_PROXY", str(tmp_path / "no-proxy-here"))
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    monkeypatch.setenv("PATH", str(tmp_path))  # no batch systems


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
