"""A shell process that waits for the end of another process and then cleans up after it.

A scheduler that is killed cannot cancel its jobs, and a killed session cannot delete its pods. So such a process holds
the end of a pipe to a guard. The guard runs in its own session, so that no signal from the notebook's terminal or
kernel reaches it.
"""

from __future__ import annotations

import contextlib
import functools
import os
import subprocess
import weakref
from collections.abc import Mapping, Sequence
from pathlib import Path

# A queue that does not answer is asked again for half an hour. After a success the command runs once more, for a job
# whose submission was under way.
_SCRIPT = """\
folder=$1
shift
read -r word
test -z "$folder" || rm -rf -- "$folder"
test "$word" != done || exit 0
tries=0
until "$@"; do
    tries=$((tries + 1))
    test $tries -lt 120 || exit 1
    sleep 15
done
sleep 3
"$@"
"""
# Seconds until a guard that has nothing to do has ended.
_END_S = 5.0

_guards: weakref.WeakSet[subprocess.Popen[bytes]] = weakref.WeakSet()


def start(
    folder: Path | None, command: Sequence[str], environment: Mapping[str, str] | None = None
) -> subprocess.Popen[bytes]:
    """Start a guard: when this process has ended for any reason, it removes ``folder`` and runs ``command``.

    Parameters
    ----------
    folder : Path or None
        A folder that only this process uses.
    command : sequence of str
        It must exit with status 0 if there is nothing (more) to do. Other users can see it, so it must not contain a
        secret.
    environment : mapping, optional
        Environment of the command (default: this process's).

    Returns
    -------
    subprocess.Popen
        The guard. Keep a reference to it, as its standard input is the pipe.
    """
    _close_pipes_in_forks()
    guard = subprocess.Popen(
        ["/bin/sh", "-c", _SCRIPT, "sh", str(folder or ""), *(command or ["true"])],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
        cwd="/",
        env=environment,
    )
    _guards.add(guard)
    return guard


def stand_down(guard: subprocess.Popen[bytes]) -> None:
    """End a guard without running its command, because everything has ended normally."""
    if guard.stdin is not None:
        with contextlib.suppress(OSError, subprocess.TimeoutExpired):
            guard.stdin.write(b"done\n")
            guard.stdin.close()
            guard.wait(_END_S)


@functools.cache
def _close_pipes_in_forks() -> None:
    """Close the pipe in forked children, such as those of multiprocessing, which may outlive their parent."""
    os.register_at_fork(after_in_child=_close_pipes)


def _close_pipes() -> None:
    for guard in list(_guards):
        if guard.stdin is not None:
            # bypass the buffer, whose lock another thread may have held at the fork
            guard.stdin.raw.close()  # type: ignore[attr-defined]
