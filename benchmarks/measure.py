"""One peer in one fresh process: start it, warm it, run the work, and say what each step cost.

Called by run.py as `python -m benchmarks.measure JOB.json`; the answer goes to the file named in the job.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import psutil


def tree() -> list[psutil.Process]:
    """This process and all that descend from it: scheduler, nannies, workers."""
    me = psutil.Process()
    return [me, *me.children(recursive=True)]


def cpu_seconds() -> float:
    """User and system seconds of the whole tree since its start.

    A process that ended counts through its parent's "children" times, so the figure only grows, whoever comes and goes.
    """
    total = 0.0
    for process in tree():
        try:
            t = process.cpu_times()
        except psutil.NoSuchProcess:
            continue  # ended between the listing and the look: now in its parent's figure
        total += t.user + t.system + t.children_user + t.children_system
    return total


def peak_mib() -> dict[str, float]:
    """Peak resident memory: of this process, and the largest of its descendants (file pages it mapped count)."""
    peaks = []
    for process in tree():
        try:
            status = Path(f"/proc/{process.pid}/status").read_text()
        except OSError:
            continue
        peaks += [int(line.split()[1]) / 1024 for line in status.splitlines() if line.startswith("VmHWM")]
    return {"main": peaks[0], "largest_child": max(peaks[1:], default=0.0)}


def one_pass(work: Callable[[], Mapping[str, Any] | None]) -> tuple[Mapping[str, Any] | None, dict[str, float]]:
    cpu, start = cpu_seconds(), time.perf_counter()
    histograms = work()
    return histograms, {"wall_s": time.perf_counter() - start, "cpu_s": cpu_seconds() - cpu}


def measure(job: dict[str, Any]) -> dict[str, Any]:
    peer = importlib.import_module(f"benchmarks.peers.{job['peer']}")
    answer: dict[str, Any] = {}
    if hasattr(peer, "prepare"):
        job |= {step: peer.prepare(job[step], job["treename"]) for step in ("cold", "warm", "files")}
    with peer.session(job["workers"]) as session:
        # the first result from nothing: imports, cluster and just-in-time compilation are all in it
        one_pass(lambda: peer.run(session, job["cold"], job["treename"], None))
        answer["cold_start_s"] = time.monotonic() - job["started"]
        # twice, because the first may leave a worker out
        for step in ("warm", "warm_again"):
            _, answer[step] = one_pass(lambda: peer.run(session, job["warm"], job["treename"], None))
        histograms, answer["work"] = one_pass(
            lambda: peer.run(session, job["files"], job["treename"], job["chunk_entries"])
        )
        answer["peak_mib"] = peak_mib()
        answer["cpu_before_close_s"] = cpu_seconds()
    if histograms is not None:
        answer["histograms"] = {name: np.asarray(counts).tolist() for name, counts in histograms.items()}
    return answer


def main() -> None:
    job = json.loads(Path(sys.argv[1]).read_text())
    os.chdir(job["folder"])  # some peers leave files behind
    answer = measure(job)
    Path(job["answer"]).write_text(json.dumps(answer))


if __name__ == "__main__":
    main()
