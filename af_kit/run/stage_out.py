"""Skims, written by the workers directly to a shared folder or a store, with a manifest of the files.

    folder = "root://eosuser.cern.ch//eos/user/a/alice/zmumu"

    def skim(events):
        pairs = events[ak.num(events.Muon) == 2]
        return {"mass": ..., "skim": stage_out(pairs[["run", "event", "Muon"]], folder, events)}

    result = process(skim, fileset, client)
    manifest = write_manifest(result["skim"], folder)
    verify(manifest)
    clean(folder, manifest)

Each chunk becomes one file, named after the chunk: a task that runs again, or twice, writes the same bytes to the same
name. The client gets one row about it.
"""

from __future__ import annotations

import hashlib
import json
import re
import zlib
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import quote, urlsplit

from af_kit.data.transport.store import open_store
from af_kit.display.progress import Progress
from af_kit.display.tables import panel, table
from af_kit.errors import IncompleteError, InputError, ReadError, nearest
from af_kit.run.skims import WRITERS, encode

__all__ = ["Manifest", "clean", "read_manifest", "stage_out", "verify", "write_manifest"]

MANIFEST = "manifest.json"
_THREADS = 8
_SHOWN = 5
# Names from `_name`, and temporary names of the store; no other file is ever removed.
_OURS = re.compile(r"(.+/)?.+-[0-9a-f]{12}-\d+-\d+\.(parquet|root)")
_PARTIAL = re.compile(r"(.+/)?\..+-[0-9a-f]{12}-\d+-\d+\.(parquet|root)\.[0-9a-f]{12}\.part")
_COLUMNS = (
    "file",
    "entries",
    "bytes",
    "checksum",
    "dataset",
    "source",
    "uuid",
    "digest",
    "treename",
    "entry_start",
    "entry_stop",
)


@dataclass(frozen=True)
class Manifest:
    """The files that a run has written.

    Attributes
    ----------
    folder : str
        The path or URL of the folder with the files.
    rows : tuple of mapping
        One per chunk: ``file`` (its path below the folder; None if there was nothing to write), ``entries``, ``bytes``,
        ``checksum`` (``"adler32:0a1b2c3d"``, as in grid storage), and the chunk that it comes from: ``dataset``,
        ``source``, ``uuid``, ``digest``, ``treename``, ``entry_start``, ``entry_stop``.
    """

    folder: str
    rows: tuple[Mapping[str, Any], ...]

    @property
    def files(self) -> list[str]:
        """The full paths of the files, in the order of the chunks."""
        store = open_store(self.folder)
        return [store.path(row["file"]) for row in self.rows if row["file"] is not None]

    @property
    def entries(self) -> int:
        """Total entries of all files."""
        return sum(row["entries"] for row in self.rows)

    @property
    def bytes(self) -> int:
        """Total bytes of all files."""
        return sum(row["bytes"] for row in self.rows)

    def fileset(self, treename: str = "Events") -> dict[str, Any]:
        """Return the ROOT files as a fileset for `process`, each in the dataset that it comes from."""
        datasets: dict[str, Any] = {}
        for row, path in zip((row for row in self.rows if row["file"] is not None), self.files, strict=True):
            datasets.setdefault(row["dataset"], {"files": {}})["files"][path] = treename
        return datasets

    def __repr__(self) -> str:
        return f"<{self._title()}>"

    def _title(self) -> str:
        return f"Manifest of {self.folder}: {len(self.files)} files, {self.entries:,} entries, {self.bytes:,} bytes"

    def _repr_html_(self) -> str:
        written = [row for row in self.rows if row["file"] is not None]
        rows = ((row["file"], row["entries"], row["bytes"], row["source"]) for row in written)
        return panel(self._title(), table(rows, head=("file", "entries", "bytes", "source")))


def stage_out(table: Any, folder: str | Path, events: Any, *, format: str = "parquet", treename: str = "Events") -> Any:
    """Write a table selected from a chunk to a folder; call it in the function that `process` runs.

    Parameters
    ----------
    table : awkward.Array of records, mapping of columns, pandas.DataFrame or pyarrow.Table
        The table to write. Nothing is written if it has no entries.
    folder : path or URL
        A folder on a disk that all workers share, or a ``root://`` URL. Each dataset gets a folder below it. Two
        outputs need two folders.
    events : EventsArray
        The argument of the function, or a selection of it: its ``metadata`` identifies the chunk.
    format : {"parquet", "root"}
        Parquet with ZSTD; or a ROOT file with a TTree, written by uproot.
    treename : str
        Name of the tree in a ROOT file.

    Returns
    -------
    pyarrow.Table
        One row: return it under a separate key. The rows of all chunks are merged, for `write_manifest`.

    Raises
    ------
    WriteError
        Writing failed; `process` retries, and then lists the chunk as failed.
    InputError
        The table cannot be written in this format.
    """
    import pyarrow as pa

    if format not in WRITERS:
        raise InputError(f"stage_out(format={format!r}) is not known.{nearest(format, WRITERS)}")
    chunk = _metadata(events)
    entries, content = encode(table, format, treename, seed=_key(chunk))
    row: dict[str, Any] = {"file": None, "entries": entries, "bytes": 0, "checksum": None}
    if entries:
        name = _name(chunk, format)
        open_store(folder).put(name, content)
        row |= {"file": name, "bytes": len(content), "checksum": _checksum(content)}
    row |= {"dataset": chunk["dataset"], "source": chunk["file"]}
    row |= {key: chunk[key] for key in ("uuid", "digest", "treename", "entry_start", "entry_stop")}
    kinds = {"entries": pa.int64(), "bytes": pa.int64(), "entry_start": pa.int64(), "entry_stop": pa.int64()}
    return pa.table({key: pa.array([row[key]], kinds.get(key, pa.string())) for key in _COLUMNS})


def write_manifest(rows: Any, folder: str | Path) -> Manifest:
    """Write the list of a run's files to ``manifest.json`` in the folder; an older one is replaced.

    Parameters
    ----------
    rows : pyarrow.Table
        The merged rows of `stage_out`: ``result["skim"]``.
    folder : path or URL
        The folder given to `stage_out`.

    Raises
    ------
    InputError
        These are not rows of `stage_out`, or two outputs of a chunk went to the same file, so that one is lost.
    WriteError
        The manifest cannot be written.
    """
    if list(getattr(rows, "column_names", ())) != list(_COLUMNS):
        raise InputError('write_manifest() takes the merged rows of stage_out(), such as result["skim"].')
    listed = rows.to_pylist()
    _refuse_overlaps(listed)
    store = open_store(folder)
    manifest = Manifest(store.folder, tuple(listed))
    store.put(MANIFEST, _text(manifest).encode())
    return manifest


def read_manifest(folder: str | Path) -> Manifest:
    """Read the manifest that `write_manifest` has written to a folder.

    Raises
    ------
    ReadError
        There is no manifest, or it cannot be read.
    InputError
        The file is not a manifest.
    """
    store = open_store(folder)
    content = store.get(MANIFEST)
    try:
        rows = [{key: row[key] for key in _COLUMNS} for row in json.loads(content)["rows"]]
    except (ValueError, TypeError, KeyError):
        raise InputError(f"{store.path(MANIFEST)} is not a manifest of af-kit.") from None
    return Manifest(store.folder, tuple(rows))


def verify(manifest: Manifest, *, progress: bool | None = None) -> Manifest:
    """Read every file back and compare it with its row; return the manifest.

    Parameters
    ----------
    manifest : Manifest
        The list of the files.
    progress : bool, optional
        Show a progress bar; by default on a terminal and in a notebook.

    Raises
    ------
    IncompleteError
        Files are missing, cannot be read, or differ from what was written; the message names them.
    """
    store = open_store(manifest.folder)

    def problem(row: Mapping[str, Any]) -> str | None:
        try:
            content = store.get(row["file"])
        except ReadError as error:
            return str(error)
        if (len(content), _checksum(content)) == (row["bytes"], row["checksum"]):
            return None
        return (
            f"{store.path(row['file'])} differs from what was written: {len(content)} bytes, {_checksum(content)}, "
            f"instead of {row['bytes']}, {row['checksum']}."
        )

    rows, found = [row for row in manifest.rows if row["file"]], []
    with ThreadPoolExecutor(_THREADS) as pool, Progress(manifest.bytes, progress, what="verify", unit="B") as bar:
        for row, text in zip(rows, pool.map(problem, rows), strict=True):
            bar.update(row["bytes"])
            if text:
                found.append(text)
    if found:
        more = f" And {len(found) - _SHOWN} more." if len(found) > _SHOWN else ""
        raise IncompleteError(
            f"{len(found)} of {len(manifest.files)} files in {manifest.folder} do not match the manifest. "
            + " ".join(found[:_SHOWN])
            + more
        )
    return manifest


def clean(folder: str | Path, manifest: Manifest) -> list[str]:
    """Remove files that earlier runs and killed tasks have left: files of `stage_out` that are not in the manifest.

    Do not call it while a run writes there. Only the folders of the manifest's datasets are searched, and only files
    that were named by `stage_out` are removed.

    Returns
    -------
    list of str
        The removed files, as names below the folder.
    """
    store = open_store(folder)
    listed = {row["file"] for row in manifest.rows}
    names = [
        name for below in sorted({_folder_of(row["dataset"]) for row in manifest.rows}) for name in store.names(below)
    ]
    removed = [name for name in names if name not in listed and (_OURS.fullmatch(name) or _PARTIAL.fullmatch(name))]
    for name in removed:
        store.remove(name)
    return removed


def _metadata(events: Any) -> dict[str, Any]:
    chunk = dict(getattr(events, "metadata", None) or {})
    keys = ("dataset", "file", "uuid", "digest", "treename", "entry_start", "entry_stop")
    missing = [key for key in keys if key not in chunk]
    if missing:
        raise InputError(
            "stage_out() takes the events of the function as its third argument: their metadata identify the chunk "
            f"(here {missing[0]!r} is missing)."
        )
    for key in ("dataset", "file", "treename"):
        try:
            chunk[key].encode()
        except UnicodeEncodeError:  # the bytes of a file's path or of a ROOT name, as Python shows them
            raise InputError(f"stage_out() cannot list the {key} {chunk[key]!r}: its name is not UTF-8.") from None
    return chunk


def _key(chunk: Mapping[str, Any]) -> str:
    """Return twelve letters that identify this tree of this file, by the file's content."""
    return hashlib.sha256(f"{chunk['uuid']} {chunk['digest']} {chunk['treename']}".encode()).hexdigest()[:12]


def _name(chunk: Mapping[str, Any], format: str) -> str:
    path = chunk["file"]
    stem = PurePosixPath(urlsplit(path).path if "://" in path else path).stem.lstrip(".") or "file"
    return f"{_folder_of(chunk['dataset'])}/{stem}-{_key(chunk)}-{chunk['entry_start']}-{chunk['entry_stop']}.{format}"


def _folder_of(dataset: str) -> str:
    """Return the folder of a dataset: its name, with characters that a path cannot hold written as ``%2F``."""
    name = quote(dataset, safe=" +,=@()[]~")
    return name.replace(".", "%2E") if not name.strip(".") else name


def _checksum(content: bytes) -> str:
    return f"adler32:{zlib.adler32(content):08x}"


def _text(manifest: Manifest) -> str:
    head = {
        "folder": manifest.folder,
        "files": len(manifest.files),
        "entries": manifest.entries,
        "bytes": manifest.bytes,
    }
    lines = ",\n".join(json.dumps(dict(row)) for row in manifest.rows)  # one per line: there may be many
    return f'{json.dumps(head)[:-1]}, "rows": [\n{lines}\n]}}\n'


def _refuse_overlaps(rows: Iterable[Mapping[str, Any]]) -> None:
    seen: set[Any] = set()
    for row in rows:
        entries = (row["dataset"], row["uuid"], row["digest"], row["treename"], row["entry_start"], row["entry_stop"])
        if entries in seen:
            raise InputError(
                f"Entries {row['entry_start']} to {row['entry_stop']} of {row['source']} were written twice. Two "
                "outputs need separate folders, keys of the result, and manifests."
            )
        seen.add(entries)
