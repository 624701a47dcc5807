"""A few cases of the fault harness; `make faults N=300` tries more."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.timeout(600)
def test_runs_survive_faults():
    command = [sys.executable, str(Path(__file__).with_name("driver.py")), "--cases", "30", "--seed", "1000"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=580)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "30 cases in" in done.stdout
