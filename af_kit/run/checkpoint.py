"""Results on disk as they come, so that an interrupted run goes on where it was.

Each group of chunks is one file, written under a temporary name and renamed. The folder's name within the checkpoint is
a key of everything that decides the result: the function, its helpers, the options, what was sent to the workers, and
the version of the kit. The file's name is a key of the files' uuids, their metadata and the entries. A changed cut or
helper never finds an old result.
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
from af_kit.run.fingerprint import fingerprint
from af_kit.run.task import Group

__all__ = ["Checkpoint", "sent_to_workers"]

_DIGEST = hashlib.sha256().digest_size


class Checkpoint:
    """The saved groups of one run.

    Parameters
    ----------
    folder : str or Path
        Made if it does not exist. It is the user's own: its files are pickles, and only to be read where they were
        made.
    key : str
        What decides the result, by `fingerprint`.

    Raises
    ------
    InputError
        The folder cannot be made or written.
    """

    def __init__(self, folder: str | Path, key: str) -> None:
        self.folder = Path(folder) / key[:24]
        self._writable = True
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=self.folder):
                pass
        except OSError as error:
            raise InputError(f"The checkpoint folder {folder} cannot be written: {error}.") from error

    def load(self, group: Group) -> Partial | None:
        """What was saved for a group, renumbered for this plan; None if nothing was, or it is damaged."""
        numbers = [number for number, _ in group]
        try:
            data = (self.folder / _name(group)).read_bytes()
            if hashlib.sha256(data[_DIGEST:]).digest() != data[:_DIGEST]:
                return None
            saved: Partial = pickle.loads(data[_DIGEST:])  # noqa: S301 - the user's own file
        except Exception:  # noqa: BLE001 - of another version, or of a class that is no more: it is made again
            return None
        runs = [(numbers[s.first], numbers[s.last - 1] + 1, s) for s in saved.segments]
        if any(last - first != s.last - s.first for first, last, s in runs):
            return None  # in this plan another file lies between them, whose rows belong there
        saved.segments = [Segment(first, last, s.value) for first, last, s in runs]
        return saved

    def save(self, group: Group, partial: Partial) -> None:
        """Save a group, if all of it succeeded: what failed shall be tried again.

        A disk that is full does not end the run; it is said once, and the run goes on without a checkpoint.
        """
        numbers = [number for number, _ in group]
        complete = sum(s.last - s.first for s in partial.segments) == len(numbers) and not partial.account.failures
        if not complete or not self._writable:
            return
        places = {number: i for i, number in enumerate(numbers)}
        segments = [Segment(places[s.first], places[s.first] + s.last - s.first, s.value) for s in partial.segments]
        try:
            self._write(_name(group), _pickled(replace(partial, segments=segments)))
        except OSError as error:
            self._writable = False
            warnings.warn(f"The checkpoint in {self.folder} cannot be written any more: {error}.", stacklevel=6)

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
    about = [
        (
            chunk.dataset,
            chunk.file,
            chunk.uuid,
            chunk.layout.end,
            chunk.treename,
            chunk.entry_start,
            chunk.entry_stop,
            {str(key): value for key, value in sorted(chunk.metadata.items(), key=str)},
        )
        for _, chunk in group
    ]
    return fingerprint(about)[:32] + ".pickle"


def _pickled(partial: Partial) -> bytes:
    try:
        return pickle.dumps(partial, protocol=5)  # classes by name: those of the next session are then the same ones
    except Exception:  # noqa: BLE001 - a lambda inside a defaultdict, a class that was made inside a function
        data: bytes = cloudpickle.dumps(partial)
        return data


def sent_to_workers(client: Any) -> list[str]:
    """Digests of what was registered on the workers (files, corrections, settings), in the order of their names.

    Credentials do not count: a renewed proxy changes no result. Nor do copies of the files that are read: each chunk
    tells its file.
    """
    if client is None:
        return []
    digests: list[str] = client.run_on_scheduler(_plugin_digests)
    return digests


def _plugin_digests(dask_scheduler: Any) -> list[str]:
    from af_kit.plugins.store import PREFIX_OF_CLIENTS

    plugins = {**dask_scheduler.worker_plugins, **dask_scheduler.nanny_plugins}
    return [
        f"{name} {hashlib.sha256(blob if isinstance(blob, bytes) else repr(blob).encode()).hexdigest()}"
        for name, blob in sorted(plugins.items())
        if not name.startswith(("af-secret-", PREFIX_OF_CLIENTS))
    ]
