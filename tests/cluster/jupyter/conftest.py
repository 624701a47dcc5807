"""A Jupyter server with the Dask panel, and clusters that its NEW button started."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from panel_tools import Lab


@pytest.fixture(scope="module")
def lab(tmp_path_factory) -> Iterator[Lab]:
    lab = Lab(tmp_path_factory.mktemp("lab"), DASK_LABEXTENSION__DEFAULT__WORKERS="1")
    yield lab
    lab.stop()


@pytest.fixture
def cluster(lab) -> Iterator[dict[str, Any]]:
    """A new cluster of the panel."""
    status, model = lab.get("dask/clusters", "PUT")
    assert status == 200, (model, lab.log.read_text())
    yield model
    lab.get(f"dask/clusters/{model['id']}", "DELETE")  # unless the test has deleted it


@pytest.fixture(scope="module")
def shared(lab) -> Iterator[dict[str, Any]]:
    """A cluster of the panel that several tests use."""
    status, model = lab.get("dask/clusters", "PUT")
    assert status == 200, (model, lab.log.read_text())
    yield model
    lab.get(f"dask/clusters/{model['id']}", "DELETE")


@pytest.fixture(autouse=True)
def records(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("JUPYTER_RUNTIME_DIR", str(tmp_path))
    return tmp_path / "af-kit"
