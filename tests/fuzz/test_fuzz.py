"""A few cases of the fuzzer; `make fuzz N=10000` tries more."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path


def test_mutated_files_are_refused_or_read_right():
    command = [sys.executable, str(Path(__file__).with_name("driver.py")), "--cases", "40", "--seed", "1000"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=280)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.startswith("40 cases")
