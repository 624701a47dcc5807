"""The thresholds of the allocator: set once, not over the user's, and with effect."""

from __future__ import annotations

import os
import subprocess
import sys

# Ten times 16 MiB: returned and mapped again each time, or kept. The number of page faults shows which.
SCRIPT = """
import resource, sys
import numpy as np
from af_kit.run.engines.threads import keep_freed_memory
print(keep_freed_memory() if sys.argv[1] == "set" else None)
np.ones(1 << 21)
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(10):
    np.ones(1 << 21)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def run(how: str, **variables: str) -> tuple[str, int]:
    clean = {name: value for name, value in os.environ.items() if not name.startswith("MALLOC_")}
    command = [sys.executable, "-c", SCRIPT, how]
    done = subprocess.run(command, env=clean | variables, capture_output=True, text=True, check=True)
    answer, faults = done.stdout.split()
    return answer, int(faults)


def test_freed_memory_is_kept():
    assert run("set")[0] == "True"
    assert run("set")[1] < run("not", MALLOC_MMAP_THRESHOLD_="131072")[1] / 10


def test_what_the_user_has_set_stays():
    assert run("set", MALLOC_TRIM_THRESHOLD_="65536")[0] == "False"
