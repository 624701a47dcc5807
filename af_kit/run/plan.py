"""`plan`: the chunks of a fileset, by threads here or by the workers of a cluster."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from af_kit.data.chunks import Chunk, make_plan, unplanned_message
from af_kit.data.fileset.load import load_fileset
from af_kit.errors import ReadError
from af_kit.run.upload import carrying

__all__ = ["plan"]


def plan(
    fileset: Any,
    *,
    datasets: Sequence[str] | None = None,
    treename: str | None = None,
    chunk_entries: int | None = None,
    branches: Iterable[str] | None = None,
    client: Any = None,
) -> list[Chunk]:
    """Cut all files of a fileset into chunks.

    Parameters
    ----------
    fileset : Fileset, path, list of paths, or mapping
        Anything that `load_fileset` takes.
    datasets : sequence of str, optional
        Only these datasets.
    treename : str, optional
        The tree's name where the fileset does not say it.
    chunk_entries : int, optional
        Most entries of a chunk. By default as many as take some 600 MB uncompressed (``af_kit.data.chunk_bytes``),
        between 100 000 and 500 000.
    branches : iterable of str, optional
        The branches that will be used; checked against every file.
    client : distributed.Client, optional
        Read the files' metadata on its workers, in parallel. Otherwise threads do it here. Files of this machine that
        the workers do not see are carried to them first, as for `process`; `read` in a task of yours finds them, too.

    Returns
    -------
    list of Chunk
        In the order dataset, file, entry. Every entry of every file is in exactly one of them.

    Raises
    ------
    ReadError
        A file cannot be opened; all of them are listed.
    FilesetError
        The fileset is not usable, or a tree is missing.
    BranchError
        A declared branch is missing.
    InputError
        The workers do not see the files, and they are too large to be carried (``af_kit.data.upload_limit``).
    """
    loaded = load_fileset(fileset, treename=treename, datasets=datasets)
    files = [file.replicas for dataset in loaded.values() for file in dataset.files]
    with carrying(client, files):
        made = make_plan(loaded, chunk_entries, branches=branches, client=client)
    if made.unplanned:
        raise ReadError(unplanned_message(made), transient=False)
    return list(made.chunks.values())
