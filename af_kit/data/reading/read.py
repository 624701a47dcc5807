"""`read`: the events of one chunk. Branches are read when they are first used."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from af_kit.data.chunks import Chunk
from af_kit.data.reading.branches import select_branches
from af_kit.data.reading.events import EventsArray, build
from af_kit.data.reading.reader import Reader

__all__ = ["metadata", "read"]


def read(
    chunk: Chunk,
    branches: Iterable[str] | None = None,
    *,
    replica: int = 0,
    verify: bool = True,
) -> EventsArray:
    """Return the events of one chunk.

    Parameters
    ----------
    chunk : Chunk
        A chunk of `plan`.
    branches : iterable of str, optional
        Make only these branches available: names, patterns (``"Muon_*"``) or collections (``"Muon"``). They are
        fetched together. By default all branches are available, and each is fetched when it is first used.
    replica : int
        Index of the replica to read.
    verify : bool
        Check the checksums, so that a flipped byte is an error instead of another number. ZLIB, LZMA and LZ4 baskets
        have one, and the pages of an RNTuple with any compression; ROOT writes ZSTD and uncompressed baskets without.
        False reads ZLIB a little faster. Sizes of baskets and pages and counts of collections are always checked.

    Returns
    -------
    EventsArray
        An awkward array with one record per entry. Momenta and energies are in the file's units (GeV in NanoAOD).

    Raises
    ------
    BranchError
        A declared branch is not in the file, or a branch has a type that cannot be read.
    ReadError
        On first use of a branch: the file cannot be read, or its content is damaged.

    Examples
    --------
    >>> import af_kit as af
    >>> import awkward as ak
    >>> chunk, *others = af.plan(af.write_files("dimuon", "samples", 2000))
    >>> events = af.read(chunk)
    >>> len(events), ak.fields(events.Muon)
    (2000, ['pt', 'eta', 'phi', 'mass', 'charge'])
    >>> events.metadata["dataset"], events.metadata["entry_stop"]
    ('dimuon_0', 2000)
    """
    layout = chunk.layout
    if branches is not None:
        layout = layout.only(select_branches(branches, layout, chunk.file))
    reader = Reader(chunk.replicas[replica], layout, chunk.entry_start, chunk.entry_stop, verify=verify)
    if branches is not None:
        reader.prefetch(layout.names)
    return build(reader, chunk.entry_start, chunk.entry_stop, metadata(chunk))


def metadata(chunk: Chunk) -> dict[str, Any]:
    """Return the content of ``events.metadata``: the dataset's metadata, and where the entries come from."""
    return {
        **chunk.metadata,
        "dataset": chunk.dataset,
        "file": chunk.file,
        "uuid": chunk.uuid,
        "digest": chunk.digest,
        "treename": chunk.treename,
        "entry_start": chunk.entry_start,
        "entry_stop": chunk.entry_stop,
    }
