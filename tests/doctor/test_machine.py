"""Checks of disk, memory and compiled modules."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import dask
import pytest
from doctor_tools import of

import af_kit as af


def test_a_nearly_full_disk():
    with dask.config.set({"af_kit.doctor.free_space": "900 PB"}):
        found = af.doctor()
    assert {of(found, check).state for check in ("home", "scratch", "Dask's local directory")} == {"warning"}


def test_workers_configured_with_more_memory_than_there_is():
    with dask.config.set({"af_kit.cluster.local": {"memory": "1 TB", "n_workers": 8}}):
        assert "8 workers" in of(af.doctor(), "memory").seen


_CHECK = """
from af_kit.doctor.machine import check_bytecode
(found,) = check_bytecode()
print(found.state, found.seen, found.advice, sep="|")
"""


@pytest.mark.parametrize("forbidden", [True, False])
def test_modules_that_every_worker_compiles(tmp_path, forbidden):
    environment = {**os.environ, "PYTHONPYCACHEPREFIX": str(tmp_path)}  # an empty folder for what is compiled
    environment |= {"PYTHONDONTWRITEBYTECODE": "1" if forbidden else ""}
    done = subprocess.run([sys.executable, "-c", _CHECK], env=environment, capture_output=True, text=True, check=True)
    state, seen, advice = done.stdout.strip().split("|")
    if forbidden:
        assert (state, "PYTHONDONTWRITEBYTECODE is set" in seen) == ("warning", True)
        command = advice.partition(": ")[2].split()
        assert command[:-1] == ["python", "-m", "compileall", "-q"]
        assert (Path(command[-1]) / "awkward").is_dir()
    else:
        assert (state, seen) == ("ok", "modules are compiled")
