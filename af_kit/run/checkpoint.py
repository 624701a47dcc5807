"""Results on disk as they come, so that an interrupted run goes on where it was.

Each group of chunks is one file, written under a temporary name and renamed. The folder's name within the checkpoint is
a key of everything that decides the result: the function, its helpers, the options, what was sent to the workers. The
file's name is a key of the files' uuids and the entries. A changed cut or helper never finds an old result.
"""

from __future__ import annotations

import hashlib
import os
import pickle
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

from af_kit.errors import InputError
from af_kit.run.account import Partial, Segment
from af_kit.run.code import dumps
from af_kit.run.task import Group

__all__ = ["Checkpoint", "sent_to_workers"]


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
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=self.folder):
                pass
        except OSError as error:
            raise InputError(f"The checkpoint folder {folder} cannot be written: {error}.") from error

    def load(self, group: Group) -> Partial | None:
        """What was saved for a group, renumbered for this plan; None if nothing was, or it is damaged."""
        try:
            saved: Partial = pickle.loads((self.folder / _name(group)).read_bytes())  # noqa: S301 - the user's own file
        except (OSError, EOFError, pickle.UnpicklingError, AttributeError, ImportError):
            return None
        numbers = [number for span in group for number, _, _ in span.cuts]
        saved.segments = [
            Segment(numbers[s.first], numbers[s.first] + s.last - s.first, s.value) for s in saved.segments
        ]
        return saved

    def save(self, group: Group, partial: Partial) -> None:
        """Save a group, if all of it succeeded: what failed shall be tried again."""
        if partial.account.failures or not partial.segments:
            return
        places = {number: i for i, (number, _, _) in enumerate(cut for span in group for cut in span.cuts)}
        segments = [Segment(places[s.first], places[s.first] + s.last - s.first, s.value) for s in partial.segments]
        handle, name = tempfile.mkstemp(dir=self.folder, suffix=".part")
        with os.fdopen(handle, "wb") as file:
            file.write(dumps(replace(partial, segments=segments)))
        Path(name).replace(self.folder / _name(group))


def _name(group: Group) -> str:
    digest = hashlib.sha256()
    for span in group:
        about = (
            span.dataset,
            span.layout.uuid,
            span.layout.end,
            span.layout.treename,
            sorted(span.metadata.items(), key=str),
        )
        digest.update(repr((about, [(start, stop) for _, start, stop in span.cuts])).encode())
    return digest.hexdigest()[:32] + ".pickle"


def sent_to_workers(client: Any) -> list[str]:
    """Digests of what was registered on the workers (files, corrections, settings), in the order of their names.

    Credentials do not count: a renewed proxy changes no result.
    """
    if client is None:
        return []
    digests: list[str] = client.run_on_scheduler(_plugin_digests)
    return digests


def _plugin_digests(dask_scheduler: Any) -> list[str]:
    plugins = {**dask_scheduler.worker_plugins, **dask_scheduler.nanny_plugins}
    return [
        f"{name} {hashlib.sha256(blob if isinstance(blob, bytes) else repr(blob).encode()).hexdigest()}"
        for name, blob in sorted(plugins.items())
        if not name.startswith("af-secret-")
    ]
