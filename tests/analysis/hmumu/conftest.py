"""A small set of simulated data, backgrounds and signal of 2018, with its calibration files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from af_kit import simulate
from af_kit.analysis import hmumu


@pytest.fixture(scope="session")
def samples(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("hmumu")
    simulate.write_hmumu(folder, 2018, events=12_000, seed=5)
    return folder


@pytest.fixture(scope="session")
def calibrations(samples: Path) -> hmumu.Calibrations:
    return hmumu.load_calibrations(samples / "calibrations", 2018)


@pytest.fixture(scope="session")
def whole(samples: Path, calibrations: hmumu.Calibrations) -> Any:
    """The whole analysis with every variation, each file in one chunk."""
    return hmumu.process(samples / "fileset.yaml", calibrations=calibrations, variations="all", progress=False)
