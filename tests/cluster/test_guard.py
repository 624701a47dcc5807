"""A guard cleans up once its process has gone, however that ended, and only then."""

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
    from af_kit.cluster import guard

    folder = Path(sys.argv[1])
    kept = guard.start(folder / "own", ["touch", str(folder / "cleaned")])
    print(kept.pid, flush=True)
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
    os.killpg(process.pid, signal.SIGINT)  # a terminal's Ctrl-C reaches all of it
    assert process.wait(60)
    until((tmp_path / "cleaned").exists, "its command")
    assert not (tmp_path / "own").exists()
    until(lambda: not alive(guard), "the guard's end")


def test_a_child_that_is_forked_does_not_stand_in_for_its_parent(tmp_path):
    then = "child = os.fork(); time.sleep(600) if not child else print(child, flush=True) or time.sleep(600)"
    process, _ = start(tmp_path, then)
    assert process.stdout is not None
    child = int(process.stdout.readline())
    process.kill()
    process.wait(60)
    until((tmp_path / "cleaned").exists, "its command")
    assert alive(child)
    os.kill(child, signal.SIGKILL)


def test_one_that_is_told_that_all_is_done(tmp_path):
    process, guard = start(tmp_path, "guard.stand_down(kept); print(kept.poll()); time.sleep(600)")
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
