"""A session without credentials, hub or batch systems, and a client."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from certificates import Authority

import af_kit as af


@pytest.fixture(autouse=True)
def nothing_given(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Keep the machine's settings out of these tests."""
    for name in list(os.environ):
        if name.startswith(("X509_", "BEARER_", "XrdSec", "JUPYTERHUB_", "JUPYTER_IMAGE", "KUBERNETES_", "DASK_")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("X509_USER_PROXY", str(tmp_path / "no-proxy-here"))
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    monkeypatch.setenv("PATH", str(tmp_path))  # no batch systems


@pytest.fixture(scope="module")
def authority() -> Authority:
    return Authority()


@pytest.fixture
def closed_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]


@pytest.fixture(scope="session")
def client() -> Iterator[Any]:
    with af.connect("local", n_workers=1, quiet=True) as client:
        yield client
