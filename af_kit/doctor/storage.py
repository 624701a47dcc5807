"""Check that one file on the grid can be opened, and if not, report what the server says.

It is opened in a separate process: an XRootD client keeps using the path where it first looked for a proxy, and a
failed attempt must not affect the session.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator

from af_kit.doctor.configuration import setting
from af_kit.doctor.findings import Finding, ok, problem

__all__ = ["check_open"]

_CODE = "import sys; from af_kit.doctor.storage import report_open; report_open(sys.argv[1])"


def check_open(url: str | None, within_s: float) -> Iterator[Finding]:
    """Open the given or the configured file, and read its first bytes."""
    check = "one file opened"
    url = url or setting("doctor.test_file")
    if not url:
        yield ok(check, "none is configured: use af-kit doctor --open root://..., or set af_kit.doctor.test_file")
        return
    # A refused connection is also only reported after XRootD's connection window.
    limits = {"XRD_CONNECTIONWINDOW": str(max(1, int(within_s / 4))), "XRD_CONNECTIONRETRY": "1"}
    try:
        done = subprocess.run(
            [sys.executable, "-c", _CODE, url],
            capture_output=True,
            text=True,
            timeout=within_s,
            check=False,
            env={**limits, **os.environ},
        )
    except subprocess.TimeoutExpired:
        yield problem(
            check, f"{url} did not open within {within_s:g} s", "The server may be down, or a firewall may block it."
        )
        return
    try:
        answer = json.loads(done.stdout.splitlines()[-1])
    except (IndexError, ValueError):
        last = done.stderr.strip().splitlines()[-1:] or [f"status {done.returncode}"]
        yield problem(
            check, f"{url}: the process that opened it failed: {last[0]}", "Check that XRootD's client is installed."
        )
        return
    if "error" in answer:
        yield problem(
            check, answer["error"], "The message says what is missing; compare it with the credentials above."
        )
    else:
        content = "a ROOT file" if answer["root"] else "readable, but not a ROOT file"
        yield ok(check, f"{url}: {content}, in {answer['seconds']:.1f} s")


def report_open(url: str) -> None:
    """Open ``url`` and print the outcome as one line of JSON. Called in a separate process."""
    from af_kit.data.transport.source import open_source

    start = time.monotonic()
    try:
        source = open_source(url)
        magic = bytes(source.read([(0, 4)])[0])
        answer: dict[str, object] = {"root": magic == b"root", "seconds": time.monotonic() - start}
    except Exception as error:  # noqa: BLE001 - reported as text
        answer = {"error": f"{url}: {error}" if url not in str(error) else str(error)}
    print(json.dumps(answer), flush=True)
    os._exit(0)  # XRootD's threads may delay a normal exit
