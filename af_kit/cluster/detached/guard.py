"""A process that waits for the end of another one, and then cleans up after it.

A scheduler that is killed cannot cancel its jobs, nor a session the pods that it asked for. So it holds the end of a
pipe, and so does this process, in a session of its own: no signal from the notebook's terminal or its kernel reaches
it. It is a shell, of one megabyte.
"""

from __future__ import annotations

import contextlib
import functools
import os
import subprocess
import weakref
from collections.abc import Mapping, Sequence
from pathlib import Path

# The queue may be out of reach just now: it is asked again for half an hour. And once more after a success, for a job
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
# Seconds that its end may take, when it is told that nothing is left to do.
_END_S = 5.0

_guards: weakref.WeakSet[subprocess.Popen[bytes]] = weakref.WeakSet()


def stand_down(guard: subprocess.Popen[bytes]) -> None:
    """Tell the guard that everything has ended in order: it need not ask a queue that may have gone as well."""
    if guard.stdin is not None:
        with contextlib.suppress(OSError, subprocess.TimeoutExpired):
            guard.stdin.write(b"done\n")
            guard.stdin.close()
            guard.wait(_END_S)


def start(
    folder: Path | None, command: Sequence[str], environment: Mapping[str, str] | None = None
) -> subprocess.Popen[bytes]:
    """Remove ``folder``, if there is one, and run ``command`` when this process has ended, however it ended.

    Parameters
    ----------
    folder : path or None
        Of this process alone.
    command : sequence of str
        Others may see it: no secret is in it. It ends with status 0 when there is nothing (more) to do.
    environment : mapping, optional
        Of the command; by default this process's own.

    Returns
    -------
    subprocess.Popen
        To be kept: its standard input is the pipe.
    """
    _let_forks_go()
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


@functools.cache
def _let_forks_go() -> None:
    """A child that is forked, as by multiprocessing, must not hold the pipe when its parent has ended."""
    os.register_at_fork(after_in_child=_close_pipes)


def _close_pipes() -> None:
    for guard in list(_guards):
        if guard.stdin is not None:
            guard.stdin.raw.close()  # type: ignore[attr-defined]  # past the buffer, whose lock a thread may have held
