"""A guard cleans up when its process has ended, for any reason, and not before."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
from waiting import until

CODE = """
    import os, signal, sys, time
    from pathlib import Path
    from af_kit.cluster.detached import guard

    folder = Path(sys.argv[1])
    guarded = guard.start(folder / "own", ["touch", str(folder / "cleaned")])
    print(guarded.pid, flush=True)
    {then}
"""


def start(folder: Path, then: str) -> tuple[subprocess.Popen, int]:
    (folder / "own").mkdir()
    code = textwrap.dedent(CODE).format(then=then)
    process = subprocess.Popen(
        [sys.executable, "-c", code, str(folder)], stdout=subprocess.PIPE, text=True, start_new_session=True
    )
    assert process.stdout is not None
    return process, int(process.stdout.readline())


def test_ctrl_c_ends_the_process_and_not_its_guard(tmp_path):
    process, guard = start(tmp_path, "time.sleep(600)")
    os.killpg(process.pid, signal.SIGINT)  # as Ctrl-C in a terminal does
    assert process.wait(60)
    until((tmp_path / "cleaned").exists, "its command")
    assert not (tmp_path / "own").exists()
    until(lambda: not alive(guard), "the guard's end")


def test_a_forked_child_does_not_keep_the_guard_waiting(tmp_path):
    then = "child = os.fork(); time.sleep(600) if not child else print(child, flush=True) or time.sleep(600)"
    process, _ = start(tmp_path, then)
    assert process.stdout is not None
    child = int(process.stdout.readline())
    process.kill()
    process.wait(60)
    until((tmp_path / "cleaned").exists, "its command")
    assert alive(child)
    os.kill(child, signal.SIGKILL)


def test_a_guard_that_stands_down_runs_nothing(tmp_path):
    process, guard = start(tmp_path, "guard.stand_down(guarded); print(guarded.poll()); time.sleep(600)")
    assert process.stdout is not None
    assert process.stdout.readline() == "0\n"
    with pytest.raises(ProcessLookupError):
        os.kill(guard, 0)  # not even as a zombie
    process.kill()
    process.wait(60)
    assert not (tmp_path / "cleaned").exists()


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False
