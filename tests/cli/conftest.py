"""Simulated files, and files that cannot be used."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import uproot

from af_kit.cli import main


@pytest.fixture(scope="session")
def sample(tmp_path_factory) -> Path:
    """Two files with 5001 events in total, and their fileset."""
    folder = tmp_path_factory.mktemp("sample")
    assert main(["simulate", "dimuon", "--events", "5001", "--files", "2", "--seed", "7", "--out", str(folder)]) == 0
    return folder


@pytest.fixture
def bad(tmp_path) -> Path:
    path = tmp_path / "bad.root"
    path.write_bytes(b"this is not a ROOT file" * 100)
    return path


@pytest.fixture
def no_muons(tmp_path) -> Path:
    path = tmp_path / "no_muons.root"
    with uproot.recreate(path) as file:
        file["Events"] = {"x": np.arange(100)}
    return path
