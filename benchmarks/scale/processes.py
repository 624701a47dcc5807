"""Start the scheduler and the workers of a measurement, and read what each process costs."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
_TICKS = os.sysconf("SC_CLK_TCK")


@contextmanager
def running(command: Sequence[str], log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Run a Python module as a process with its output in a log; it is stopped at the end of the block."""
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    with log.open("w") as out:
        process = subprocess.Popen([sys.executable, "-m", *command], stdout=out, stderr=subprocess.STDOUT, env=env)
        try:
            yield process
        finally:
            if process.poll() is not None:
                print(f"{command[0]} ended early with code {process.returncode}: see {log}", file=sys.stderr)
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def wait_for_line(log: Path, begin: str, process: subprocess.Popen[bytes], timeout_s: float = 180) -> str:
    """Return the first line of a log that begins with these words."""
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        for line in log.read_text(errors="replace").splitlines():
            if line.startswith(begin):
                return line
        if process.poll() is not None:
            raise RuntimeError(f"The process ended with code {process.returncode}: see {log}.")
        time.sleep(0.1)
    raise TimeoutError(f"{log} has no line {begin!r} after {timeout_s:g} s.")


def cpu_s(pid: int) -> float:
    """Return the CPU seconds, user and system, that a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS


def memory_mib(pid: int) -> float:
    """Return the resident memory of a process."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * resource.getpagesize() / 2**20


@dataclass
class Samples:
    """CPU and memory of some processes over time, sampled by a thread."""

    pids: dict[str, int]
    every_s: float = 1.0
    rows: list[dict[str, float]] = field(default_factory=list)

    def __enter__(self) -> Samples:
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._work, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()
        self._sample()

    def _work(self) -> None:
        while not self._stop.is_set():
            self._sample()
            self._stop.wait(self.every_s)

    def _sample(self) -> None:
        row = {"time_s": time.monotonic()}
        for name, pid in self.pids.items():
            row[f"{name}_cpu_s"], row[f"{name}_mib"] = cpu_s(pid), memory_mib(pid)
        self.rows.append(row)

    def cpu(self, name: str) -> float:
        """CPU seconds of a process from the first to the last sample."""
        return self.rows[-1][f"{name}_cpu_s"] - self.rows[0][f"{name}_cpu_s"]

    def load(self, name: str) -> float:
        """Cores that a process used on average in the middle half of the time."""
        quarter = len(self.rows) // 4
        first, last = self.rows[quarter], self.rows[-1 - quarter]
        seconds = last["time_s"] - first["time_s"]
        return (last[f"{name}_cpu_s"] - first[f"{name}_cpu_s"]) / seconds if seconds > 0 else 0.0

    def memory(self, name: str) -> tuple[float, float, float]:
        """Resident MiB of a process: at the beginning, in the middle, and at most."""
        column = [row[f"{name}_mib"] for row in self.rows]
        return column[0], column[len(column) // 2], max(column)
