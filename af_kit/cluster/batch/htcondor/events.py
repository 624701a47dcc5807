"""What happened to jobs that the queue does not tell of: it forgets those that ended at once."""

from __future__ import annotations

import re
from pathlib import Path

_END = b"\n...\n"
_EVENT = re.compile(r"^(\d{3}) \((\d+)\.(\d+)\.\d+\) \S+ \S+ (.*)\n((?:(?!\.\.\.$).*\n)*)\.\.\.$", re.MULTILINE)
_HOW = re.compile(r"\((?:return value|signal) (\d+)\)")
_EXECUTING, _TERMINATED, _ABORTED = "001", "005", "009"
# The shadow, the starter or the connection between them failed: HTCondor tries again, perhaps for ever.
_TROUBLES = {"007", "021", "022", "024"}


class Events:
    """The events that HTCondor writes to a file for the jobs of one cluster.

    Parameters
    ----------
    path : Path
        The file; it may not be there yet.

    Attributes
    ----------
    ends : dict
        How each job that ended did, by its id.
    troubles : dict
        Why a job that had a machine does not run on it, by its id.
    """

    def __init__(self, path: Path) -> None:
        self.ends: dict[str, str] = {}
        self.troubles: dict[str, str] = {}
        self._path = path
        self._read = 0

    def read(self) -> None:
        """Take in what was written since the last time."""
        try:
            with self._path.open("rb") as file:
                file.seek(self._read)
                new = file.read()
        except OSError:
            return
        whole = new.rfind(_END) + len(_END)  # the last event may be half written
        if whole < len(_END):
            return
        self._read += whole
        for event in _EVENT.finditer(new[:whole].decode(errors="replace")):
            kind, cluster, proc, title, text = event.groups()
            self._take(kind, f"{int(cluster)}.{int(proc)}", title, text.strip().split("\n")[0].strip())

    def _take(self, kind: str, job_id: str, title: str, first: str) -> None:
        if kind == _EXECUTING:
            self.troubles.pop(job_id, None)
        elif kind in _TROUBLES:
            self.troubles[job_id] = f"{title.rstrip('.!')}: {first}" if first else title
        elif kind == _ABORTED:
            self.ends[job_id] = f"removed: {first or 'no reason given'}"
        elif kind == _TERMINATED:
            how = _HOW.search(first)
            self.ends[job_id] = f"{'signal' if 'signal' in first else 'exit code'} {how[1]}" if how else first
