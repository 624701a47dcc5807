"""A few cases of the fault harness, each on another kind of cluster or fault; `make faults N=300` tries more."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.parametrize("seed", [1001, 1026, 1029])
def test_runs_survive_faults(seed: int) -> None:
    command = [sys.executable, str(Path(__file__).with_name("driver.py")), "--cases", "1", "--seed", str(seed)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=280)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "1 cases in" in done.stdout
