"""One file on the grid, opened: whether it works, and if not, what the server says and what this kit makes of it.

It is opened in a process of its own: XRootD keeps for good, in a process, where it first looked for a proxy, and a look
that fails must not spoil the session that asked.
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
        yield ok(check, "none is configured: af-kit doctor --open root://..., or af_kit.doctor.test_file")
        return
    # A refusal, too, comes only when the window for a connection is over.
    patience = {"XRD_CONNECTIONWINDOW": str(max(1, int(within_s / 4))), "XRD_CONNECTIONRETRY": "1"}
    try:
        done = subprocess.run(
            [sys.executable, "-c", _CODE, url],
            capture_output=True,
            text=True,
            timeout=within_s,
            check=False,
            env={**patience, **os.environ},
        )
    except subprocess.TimeoutExpired:
        yield problem(check, f"{url} did not open within {within_s:g} s", "Is the server down, or a firewall between?")
        return
    try:
        answer = json.loads(done.stdout.splitlines()[-1])
    except (IndexError, ValueError):
        last = done.stderr.strip().splitlines()[-1:] or [f"status {done.returncode}"]
        yield problem(check, f"{url}: the process that opened it ended: {last[0]}", "Is XRootD's client installed?")
        return
    if "error" in answer:
        yield problem(check, answer["error"], "The message tells what is missing; the lines above tell what is there.")
    else:
        kind = "a ROOT file" if answer["root"] else "not a ROOT file, but readable"
        yield ok(check, f"{url}: {kind}, in {answer['seconds']:.1f} s")


def report_open(url: str) -> None:
    """Print what came of opening ``url``, as one line of JSON; run in a process of its own."""
    from af_kit.data.transport.source import open_source

    begin = time.monotonic()
    try:
        source = open_source(url)
        magic = bytes(source.read([(0, 4)])[0])
        answer: dict[str, object] = {"root": magic == b"root", "seconds": time.monotonic() - begin}
    except Exception as error:  # noqa: BLE001 - told in words
        answer = {"error": f"{url}: {error}" if url not in str(error) else str(error)}
    print(json.dumps(answer), flush=True)
    os._exit(0)  # XRootD's threads may take their time to end
