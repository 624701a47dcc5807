"""Thirty cases of the fault harness, in one process; `make faults N=300` tries more."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

# All share the undisturbed results, and the second part shares a cluster. Only one kills a worker: it takes seconds to
# start again.
THREADS = (
    *(20261150, 20261167, 20261170, 20261178, 20261188, 20261192, 20261200, 20261202, 20261205, 20261430),
    *(20261257, 20261260, 20261273, 20261302, 20261334, 20261369, 20261372, 20261394, 20261528, 20261933),
)
LOCAL = (20261142, 20261173, 20261191, 20261230, 20261407, 20261415, 20261448, 20261464, 20261606, 20261653)


def test_runs_survive_faults() -> None:
    seeds = [str(seed) for seed in (*THREADS, *LOCAL)]
    command = [sys.executable, str(Path(__file__).with_name("driver.py")), "--seeds", *seeds]
    done = subprocess.run(command, capture_output=True, text=True, timeout=560)
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(r"^30 cases in ", done.stdout, re.MULTILINE)
