"""Save finished chunks on disk, so that an interrupted run continues where it stopped.

Each group of chunks is one file, written under a temporary name and renamed. The folder in the checkpoint is named
after everything that decides the result: the function, its helpers, the options, what was sent to the workers, and the
version of af-kit. The file is named after the identity of the input files (see `data.reading.identity`), their metadata
and the entries. So a result is never reused after a change of a cut, a helper or a file.
"""

from __future__ import annotations

import hashlib
import os
import pickle
import tempfile
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import cloudpickle

from af_kit.errors import InputError
from af_kit.run.bookkeeping import Partial, Segment
from af_kit.run.dependencies import fingerprint
from af_kit.run.task import Group

__all__ = ["Checkpoint", "registered_on_spark", "registered_on_workers"]

_DIGEST = hashlib.sha256().digest_size
# The worker plugin of Dask's own shuffles
_DASKS_OWN = "shuffle"


class Checkpoint:
    """The saved groups of one run.

    Parameters
    ----------
    folder : str or Path
        Created if it does not exist. Its files are pickles: only read a checkpoint that you trust.
    key : str
        The `fingerprint` of everything that decides the result.

    Raises
    ------
    InputError
        The folder cannot be created or written.
    """

    def __init__(self, folder: str | Path, key: str) -> None:
        self.folder = Path(folder) / key[:24]
        self.problem = ""
        """Why no more chunks are saved."""
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=self.folder):
                pass
        except OSError as error:
            raise InputError(f"The checkpoint folder {folder} cannot be written: {error}.") from error

    def load(self, group: Group) -> Partial | None:
        """Return the saved result of a group, renumbered for this plan; None if there is none, or it is damaged."""
        numbers = [number for number, _ in group]
        try:
            data = (self.folder / _name(group)).read_bytes()
            if hashlib.sha256(data[_DIGEST:]).digest() != data[:_DIGEST]:
                return None
            saved: Partial = pickle.loads(data[_DIGEST:])  # noqa: S301 - the user's own file
        except Exception:  # noqa: BLE001 - missing, damaged, or of a class that is gone: process it again
            return None
        runs = [(numbers[s.first], numbers[s.last - 1] + 1, s) for s in saved.segments]
        if any(last - first != s.last - s.first for first, last, s in runs):
            return None  # in this plan another file is between them, whose rows belong there
        saved.segments = [Segment(first, last, s.value) for first, last, s in runs]
        return saved

    def save(self, group: Group, partial: Partial) -> None:
        """Save a group if all of it succeeded.

        If the disk is full, the run continues without a checkpoint, after one warning, and its report says so.
        """
        numbers = [number for number, _ in group]
        complete = sum(s.last - s.first for s in partial.segments) == len(numbers) and not partial.bookkeeping.failures
        if not complete or self.problem:
            return
        position = {number: i for i, number in enumerate(numbers)}
        segments = [Segment(position[s.first], position[s.first] + s.last - s.first, s.value) for s in partial.segments]
        try:
            self._write(_name(group), _pickled(replace(partial, segments=segments)))
        except OSError as error:
            self.problem = f"the checkpoint in {self.folder} could not be written any more: {error.strerror or error}"
            warnings.warn(f"{self.problem[0].upper()}{self.problem[1:]}. The run continues without it.", stacklevel=6)

    def _write(self, name: str, data: bytes) -> None:
        handle, temporary = tempfile.mkstemp(dir=self.folder, suffix=".part")
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(hashlib.sha256(data).digest() + data)
            Path(temporary).replace(self.folder / name)
        except BaseException:
            Path(temporary).unlink(missing_ok=True)
            raise


def _name(group: Group) -> str:
    described = [
        (
            chunk.dataset,
            chunk.file,
            chunk.uuid,
            chunk.digest,
            chunk.treename,
            chunk.entry_start,
            chunk.entry_stop,
            {str(key): value for key, value in sorted(chunk.metadata.items(), key=str)},
        )
        for _, chunk in group
    ]
    return fingerprint(described)[:32] + ".pickle"


def _pickled(partial: Partial) -> bytes:
    try:
        return pickle.dumps(partial, protocol=5)  # by the names of the classes, so that the next session gets its own
    except Exception:  # noqa: BLE001 - a lambda in a defaultdict, a class defined inside a function
        data: bytes = cloudpickle.dumps(partial)
        return data


def registered_on_workers(client: Any) -> list[str]:
    """Return digests of what is registered on the workers (files, corrections, settings), sorted by name.

    Credentials are left out, because a renewed proxy changes no result; so are uploaded data files, because each chunk
    identifies its file, and what Dask registers on every cluster, so that a run may continue without one.
    """
    if client is None:
        return []
    digests: list[str] = client.run_on_scheduler(_plugin_digests)
    return digests


def registered_on_spark(session: Any) -> list[str]:
    """Return the same for a Spark session."""
    from af_kit.plugins.spark import sent_to

    return [f"{name} {digest}" for name, digest in sorted(sent_to(session).digests("").items())]


def _plugin_digests(dask_scheduler: Any) -> list[str]:
    from af_kit.plugins.store import PREFIX_OF_CLIENTS

    plugins = {**dask_scheduler.worker_plugins, **dask_scheduler.nanny_plugins}
    return [
        f"{name} {hashlib.sha256(blob if isinstance(blob, bytes) else repr(blob).encode()).hexdigest()}"
        for name, blob in sorted(plugins.items())
        if name != _DASKS_OWN and not name.startswith(("af-secret-", PREFIX_OF_CLIENTS))
    ]
