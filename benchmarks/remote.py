"""A server far away: files on an XRootD server on this machine, behind a relay that delays every byte.

`served` runs this file as a process of its own, so that the relay's CPU time counts for no peer.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


@contextmanager
def served(paths: Sequence[str], round_trip_ms: float) -> Iterator[list[str]]:
    """Yield the URLs of these files at a round trip of so many milliseconds; the server stops after the block."""
    command = [sys.executable, "-m", "benchmarks.remote", f"{round_trip_ms}", *paths]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    process = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment, cwd=ROOT
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        urls = [process.stdout.readline().strip() for _ in paths]
        if not all(urls):
            raise RuntimeError("the XRootD server for the remote files has not started: is xrootd installed?")
        yield urls
    finally:
        process.stdin.close()  # the sign to stop
        process.wait(60)


def main() -> None:
    """Serve files until the standard input ends."""
    from services.xrootd.relay import Relay
    from services.xrootd.server import XRootD

    round_trip_ms, *paths = sys.argv[1:]
    folder = Path(tempfile.mkdtemp(prefix="af-kit-bench-"))  # the server's user must reach it
    server = XRootD(folder)
    try:
        server.start(["anonymous"])
        relay = Relay(server.url("anonymous"), delay_s=float(round_trip_ms) / 2000)
        for number, path in enumerate(paths):
            name = f"{number}-{Path(path).name}"
            shutil.copy(path, server.data / "store" / name)
            print(relay.url(f"/store/{name}"), flush=True)
        sys.stdin.read()
        relay.close()
    finally:
        server.stop()
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
