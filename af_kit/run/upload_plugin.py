"""The worker's half of `uploaded_files`: a copy of one of the client's files."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from distributed.diagnostics.plugin import WorkerPlugin

from af_kit.data.transport import uploaded_copies
from af_kit.plugins import store

__all__ = ["UploadedFile"]


class UploadedFile(WorkerPlugin):
    """Brings one file to a worker that has no file at its path, before the worker's first task.

    Parameters
    ----------
    name : str
        The plugin's name, unique to this client, path and content.
    path : str
        The path of the file for the client; reading this path on the worker reads the copy.
    digest : str
        SHA-256 of its content, which is in the scheduler's store.
    """

    def __init__(self, name: str, path: str, digest: str) -> None:
        self.name, self.path, self.digest = name, path, digest

    def _copy(self, worker: Any) -> Path:
        return Path(worker.local_directory) / "af-upload" / f"{self.name}.root"

    def _owner(self, worker: Any) -> str:
        return f"{self.name} {worker.id}"

    async def setup(self, worker: Any) -> None:
        """Fetch the file, unless this worker can see it at its path."""
        if os.path.exists(self.path):  # noqa: PTH110 - False, and no error, in a folder that this worker may not read
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
