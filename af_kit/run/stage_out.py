"""Skims, written by the workers straight to a shared folder or a store, and a manifest of what they wrote.

    folder = "root://eosuser.cern.ch//eos/user/a/alice/zmumu"

    def skim(events):
        pairs = events[ak.num(events.Muon) == 2]
        return {"mass": ..., "skim": stage_out(pairs[["run", "event", "Muon"]], folder, events)}

    result = process(skim, fileset, client)
    manifest = write_manifest(result["skim"], folder)
    verify(manifest)
    clean(folder, manifest)

Each chunk is one file, whose name tells the chunk: a task that is run again, or twice, writes the same name and the
same bytes. What comes back to the client is a row about it.
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
from af_kit.errors import IncompleteError, InputError, ReadError, nearest
from af_kit.run.skims import WRITERS, encode

__all__ = ["Manifest", "clean", "read_manifest", "stage_out", "verify", "write_manifest"]

MANIFEST = "manifest.json"
_THREADS = 8
_SHOWN = 5
# What `_name` makes; nothing else is ever removed.
_OURS = re.compile(r"(.+/)?.+-[0-9a-f]{12}-\d+-\d+\.(parquet|root)")
_LEFT = re.compile(r"(.+/)?\..+-[0-9a-f]{12}-\d+-\d+\.(parquet|root)\.[0-9a-f]{12}\.part")
_COLUMNS = (
    "file",
    "entries",
    "bytes",
    "checksum",
    "dataset",
    "source",
    "uuid",
    "treename",
    "entry_start",
    "entry_stop",
)


@dataclass(frozen=True)
class Manifest:
    """What a run has written.

    Attributes
    ----------
    folder : str
        Where the files are, as a path or URL.
    rows : tuple of mapping
        One per chunk: ``file`` (its path below the folder; None where the chunk had nothing to write), ``entries``,
        ``bytes``, ``checksum`` (``"adler32:0a1b2c3d"``, as grid stores keep it), and the chunk that it was made from:
        ``dataset``, ``source``, ``uuid``, ``treename``, ``entry_start``, ``entry_stop``.
    """

    folder: str
    rows: tuple[Mapping[str, Any], ...]

    @property
    def files(self) -> list[str]:
        """The files' whole paths, in the order of the chunks."""
        store = open_store(self.folder)
        return [store.path(row["file"]) for row in self.rows if row["file"] is not None]

    @property
    def entries(self) -> int:
        """Entries of all files together."""
        return sum(row["entries"] for row in self.rows)

    @property
    def bytes(self) -> int:
        """Bytes of all files together."""
        return sum(row["bytes"] for row in self.rows)

    def fileset(self, treename: str = "Events") -> dict[str, Any]:
        """The ROOT files as a fileset, each under the dataset that it was made from, for `process`."""
        datasets: dict[str, Any] = {}
        for row, path in zip((row for row in self.rows if row["file"] is not None), self.files, strict=True):
            datasets.setdefault(row["dataset"], {"files": {}})["files"][path] = treename
        return datasets

    def __repr__(self) -> str:
        return f"<Manifest of {self.folder}: {len(self.files)} files, {self.entries:,} entries, {self.bytes:,} bytes>"


def stage_out(table: Any, folder: str | Path, events: Any, *, format: str = "parquet", treename: str = "Events") -> Any:
    """Write what was selected from a chunk, from the worker to a folder; to be called by the function of `process`.

    Parameters
    ----------
    table : awkward.Array of records, mapping of columns, pandas.DataFrame or pyarrow.Table
        What to write. Nothing is written if it has no entries.
    folder : path or URL
        On a disk that all workers share, or ``root://``. Each dataset gets a folder below it. Two outputs need two.
    events : EventsArray
        The function's argument (or a selection of it): its ``metadata`` says which chunk this is.
    format : {"parquet", "root"}
        Parquet with ZSTD; or a ROOT file with a TTree, by uproot.
    treename : str
        Name of the tree in a ROOT file.

    Returns
    -------
    pyarrow.Table
        One row: return it under a key of its own. The rows of all chunks are merged, for `write_manifest`.

    Raises
    ------
    WriteError
        It could not be written: in `process` this is retried, and then listed as a failure of the chunk.
    InputError
        It cannot be written in this format.
    """
    import pyarrow as pa

    if format not in WRITERS:
        raise InputError(f"stage_out(format={format!r}) is not known.{nearest(format, WRITERS)}")
    about = _metadata(events)
    entries, content = encode(table, format, treename, seed=_key(about))
    row: dict[str, Any] = {"file": None, "entries": entries, "bytes": 0, "checksum": None}
    if entries:
        name = _name(about, format)
        open_store(folder).put(name, content)
        row |= {"file": name, "bytes": len(content), "checksum": _checksum(content)}
    row |= {"dataset": about["dataset"], "source": about["file"]}
    row |= {key: about[key] for key in ("uuid", "treename", "entry_start", "entry_stop")}
    kinds = {"entries": pa.int64(), "bytes": pa.int64(), "entry_start": pa.int64(), "entry_stop": pa.int64()}
    return pa.table({key: pa.array([row[key]], kinds.get(key, pa.string())) for key in _COLUMNS})


def write_manifest(rows: Any, folder: str | Path) -> Manifest:
    """Write the list of what a run wrote to ``manifest.json`` in the folder, in the place of an older one.

    Parameters
    ----------
    rows : pyarrow.Table
        The merged rows of `stage_out`: ``result["skim"]``.
    folder : path or URL
        The same as `stage_out` was given.

    Raises
    ------
    InputError
        These are no such rows, or two outputs of a chunk went to the same place, so that one is lost.
    WriteError
        The store does not take it.
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
    """The manifest that `write_manifest` has left in a folder.

    Raises
    ------
    ReadError
        There is none, or it cannot be read.
    InputError
        What is there is not a manifest.
    """
    store = open_store(folder)
    content = store.get(MANIFEST)
    try:
        rows = [{key: row[key] for key in _COLUMNS} for row in json.loads(content)["rows"]]
    except (ValueError, TypeError, KeyError):
        raise InputError(f"{store.path(MANIFEST)} is not a manifest of this kit.") from None
    return Manifest(store.folder, tuple(rows))


def verify(manifest: Manifest) -> Manifest:
    """Read every file back and compare it with its row; the manifest itself is given back.

    Raises
    ------
    IncompleteError
        Files are missing, cannot be read, or are not what was written; the message names them.
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
            f"{store.path(row['file'])} is not what was written: {len(content)} bytes, {_checksum(content)}, instead "
            f"of {row['bytes']}, {row['checksum']}."
        )

    with ThreadPoolExecutor(_THREADS) as pool:
        found = [text for text in pool.map(problem, [row for row in manifest.rows if row["file"]]) if text]
    if found:
        more = f" And {len(found) - _SHOWN} more." if len(found) > _SHOWN else ""
        raise IncompleteError(
            f"{len(found)} of {len(manifest.files)} files in {manifest.folder} are not as the manifest says. "
            + " ".join(found[:_SHOWN])
            + more
        )
    return manifest


def clean(folder: str | Path, manifest: Manifest) -> list[str]:
    """Remove what earlier tries and killed tasks have left: files of `stage_out` that are not in the manifest.

    Not while a run writes there. Looked at are the folders of the manifest's datasets; what `stage_out` has not named
    is never touched.

    Returns
    -------
    list of str
        What was removed, as names below the folder.
    """
    store = open_store(folder)
    kept = {row["file"] for row in manifest.rows}
    names = [
        name for below in sorted({_folder_of(row["dataset"]) for row in manifest.rows}) for name in store.names(below)
    ]
    removed = [name for name in names if name not in kept and (_OURS.fullmatch(name) or _LEFT.fullmatch(name))]
    for name in removed:
        store.remove(name)
    return removed


def _metadata(events: Any) -> dict[str, Any]:
    about = dict(getattr(events, "metadata", None) or {})
    missing = [key for key in ("dataset", "file", "uuid", "treename", "entry_start", "entry_stop") if key not in about]
    if missing:
        raise InputError(
            "stage_out() takes the events of the function as its third argument: their metadata says which chunk it is "
            f"(here {missing[0]!r} is missing)."
        )
    return about


def _key(about: Mapping[str, Any]) -> str:
    """Twelve letters that tell this tree of this file from any other one."""
    return hashlib.sha256(f"{about['uuid']} {about['treename']}".encode()).hexdigest()[:12]


def _name(about: Mapping[str, Any], format: str) -> str:
    path = about["file"]
    stem = PurePosixPath(urlsplit(path).path if "://" in path else path).stem.lstrip(".") or "file"
    return f"{_folder_of(about['dataset'])}/{stem}-{_key(about)}-{about['entry_start']}-{about['entry_stop']}.{format}"


def _folder_of(dataset: str) -> str:
    """A dataset's folder: its name, with what a path cannot hold written as ``%2F``."""
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
    lines = ",\n".join(json.dumps(dict(row)) for row in manifest.rows)  # a line each: there may be many
    return f'{json.dumps(head)[:-1]}, "rows": [\n{lines}\n]}}\n'


def _refuse_overlaps(rows: Iterable[Mapping[str, Any]]) -> None:
    seen: set[Any] = set()
    for row in rows:
        chunk = (row["dataset"], row["uuid"], row["treename"], row["entry_start"], row["entry_stop"])
        if chunk in seen:
            raise InputError(
                f"Entries {row['entry_start']} to {row['entry_stop']} of {row['source']} were written twice. Two "
                "outputs of a chunk need a folder, a key of the result and a manifest each."
            )
        seen.add(chunk)
