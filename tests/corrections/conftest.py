"""Small calibration files of known content, in the formats of the real ones."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import hist
import numpy as np
import pytest
import uproot
from cms_files import cms_file


@pytest.fixture
def write_root(tmp_path: Path) -> Callable[..., Path]:
    """A function that writes objects into a ROOT file."""

    def write(name: str, objects: Mapping[str, Any]) -> Path:
        path = tmp_path / name
        with uproot.recreate(path) as file:
            for key, value in objects.items():
                file[key] = value
        return path

    return write


@pytest.fixture
def table() -> Callable[..., hist.Hist]:
    """A function that makes a histogram with values and errors."""

    def make(*edges: list[float], values: Any, errors: Any = 0.0) -> hist.Hist:
        made = hist.Hist(*(hist.axis.Variable(axis) for axis in edges), storage=hist.storage.Weight())
        view = made.view()
        view.value = np.asarray(values, dtype=float)
        view.variance = np.broadcast_to(np.asarray(errors, dtype=float) ** 2, view.value.shape)
        return made

    return make


@pytest.fixture(scope="session")
def nano_dimuon() -> Any:
    """The events of 40 collisions with dimuons in data."""
    return uproot.open(cms_file("nano_dimuon.root"))["Events"]


@pytest.fixture(scope="session")
def nano_dy() -> Any:
    """The events of 40 simulated Drell-Yan events."""
    return uproot.open(cms_file("nano_dy.root"))["Events"]
