"""Run one peer in a fresh process: start it, warm it up, run the work, and measure the cost of each step.

run.py calls it as `python -m benchmarks.measure JOB.json`; the result goes to the file that the job names.
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
    """Return this process and its descendants: scheduler, nannies, workers."""
    me = psutil.Process()
    return [me, *me.children(recursive=True)]


def cpu_seconds() -> float:
    """Return the user and system seconds of the whole tree since its start.

    A process that has ended is included in the "children" times of its parent, so the figure never decreases.
    """
    total = 0.0
    for process in tree():
        try:
            t = process.cpu_times()
        except psutil.NoSuchProcess:
            continue  # ended since the listing: now in its parent's figure
        total += t.user + t.system + t.children_user + t.children_system
    return total


def peak_mib() -> dict[str, float]:
    """Return the peak resident memory of this process and of its largest descendant, including mapped file pages."""
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
    with peer.session(job["workers"]) as session:
        if hasattr(peer, "prepare"):
            job |= {step: peer.prepare(session, job[step], job["treename"]) for step in ("cold", "warm", "files")}
        # the first result, including imports, the start of the cluster and just-in-time compilation
        one_pass(lambda: peer.run(session, job["cold"], job["treename"], None))
        answer["cold_start_s"] = time.monotonic() - job["started"]
        # twice, because the first pass may not use all workers
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
    os.chdir(job["folder"])  # some peers leave files in it
    answer = measure(job)
    Path(job["answer"]).write_text(json.dumps(answer))


if __name__ == "__main__":
    main()
