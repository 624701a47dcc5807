"""Helpers for the tests of the doctor."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from af_kit.doctor.findings import Diagnosis, Finding

# The groups of checks without a client
GROUPS = ["configuration", "credentials", "storage", "this machine", "the site"]


def hide_settings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Hide the credentials, the hub, the cluster settings and the programs of this machine."""
    for name in list(os.environ):
        if name.startswith(("X509_", "BEARER_", "XrdSec", "JUPYTERHUB_", "JUPYTER_IMAGE", "KUBERNETES_", "DASK_")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("X509_USER_PROXY", str(tmp_path / "no-proxy-here"))
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    monkeypatch.setenv("PATH", str(tmp_path))  # no batch systems


def of(diagnosis: Diagnosis, check: str) -> Finding:
    """Return the only finding of a check."""
    (finding,) = [finding for finding in diagnosis.findings if finding.check == check]
    return finding


def all_text(diagnosis: Diagnosis) -> str:
    return str(diagnosis) + diagnosis.to_json() + diagnosis._repr_html_()
