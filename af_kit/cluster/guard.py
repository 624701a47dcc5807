"""A process that waits for the end of another one, and then cleans up after it.

A scheduler that is killed cannot cancel its jobs. So it holds the end of a pipe, and so does this process, in a session
of its own: no signal from the notebook's terminal or its kernel reaches it. It is a shell, of one megabyte.
"""

from __future__ import annotations

import contextlib
import subprocess
from collections.abc import Sequence
from pathlib import Path

# The queue may be out of reach just now: it is asked again for half an hour. And once more after a success, for a job
# whose submission was under way.
_SCRIPT = """\
folder=$1
shift
read -r word
rm -rf -- "$folder"
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


def stand_down(guard: subprocess.Popen[bytes]) -> None:
    """Tell the guard that everything has ended in order: it need not ask a queue that may have gone as well."""
    if guard.stdin is not None:
        with contextlib.suppress(OSError):
            guard.stdin.write(b"done\n")
            guard.stdin.close()


def start(folder: Path, command: Sequence[str]) -> subprocess.Popen[bytes]:
    """Remove ``folder`` and run ``command`` when this process has ended, however it ended.

    Returns
    -------
    subprocess.Popen
        To be kept: its standard input is the pipe.
    """
    return subprocess.Popen(
        ["/bin/sh", "-c", _SCRIPT, "sh", str(folder), *(command or ["true"])],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
        cwd="/",
    )
