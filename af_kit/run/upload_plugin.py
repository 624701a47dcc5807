"""The worker's half of `carry`: a copy of one of the client's files, for as long as its client wants it there."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from distributed.diagnostics.plugin import WorkerPlugin

from af_kit.data.transport import uploaded_copies
from af_kit.plugins import store

__all__ = ["CarriedFile"]


class CarriedFile(WorkerPlugin):
    """Brings one file to a worker that has none at its path, before the worker's first task.

    Parameters
    ----------
    name : str
        The plugin's name, which no other client and no other content has.
    path : str
        Where the file is for the client: what is asked for here by this path is read from the copy.
    digest : str
        SHA-256 of its content, which the scheduler's store holds.
    """

    def __init__(self, name: str, path: str, digest: str) -> None:
        self.name, self.path, self.digest = name, path, digest

    def _copy(self, worker: Any) -> Path:
        return Path(worker.local_directory) / "af-carried" / f"{self.name}.root"

    def _owner(self, worker: Any) -> str:
        return f"{self.name} {worker.id}"

    async def setup(self, worker: Any) -> None:
        """Fetch the file, unless this worker sees it where it is."""
        if os.path.exists(self.path):  # noqa: PTH110 - in a folder that is closed to this worker it sees none
            return
        copy = self._copy(worker)
        await store.fetch(worker, self.digest, copy)
        uploaded_copies.register(self.path, self._owner(worker), str(copy))

    def teardown(self, worker: Any) -> None:
        """Remove the copy."""
        uploaded_copies.unregister(self.path, self._owner(worker))
        copy = self._copy(worker)
        if copy.exists():
            store.give_back(worker, self.digest, copy)
