"""Open ROOT files with uproot, with clear errors; each thread keeps its last files open."""

from __future__ import annotations

import queue
import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from af_kit.data.reading.identity import check_file
from af_kit.data.reading.layout import Layout
from af_kit.data.transport.io_errors import as_read_error, is_remote, local_path
from af_kit.data.transport.ranges import HEADER_BYTES
from af_kit.data.transport.uploaded_copies import path_to_open, with_original_path
from af_kit.data.transport.xrootd import is_xrootd
from af_kit.errors import FilesetError, ReadError, nearest

# The metadata of open files takes memory, and a task rarely reads more than two files.
_MAX_OPEN = 4
_local = threading.local()


def open_file(path: str) -> Any:
    """Open a ROOT file for reading its metadata.

    Raises `ReadError` if the file is missing, a directory, not permitted, not a ROOT file or truncated, or if its
    server reports an error; ``transient`` says whether a retry may help.
    """
    import uproot

    target = path
    if not is_remote(path):
        target = path_to_open(local_path(path))
        _check_local(local_path(path), Path(target))
    options: dict[str, Any] = {"begin_chunk_size": HEADER_BYTES}
    if is_xrootd(path):
        from af_kit.data.transport.uproot_source import XRootDSource

        options["handler"] = XRootDSource
    try:
        return uproot.open({target: None}, **options)  # a path alone would be split at a colon
    except Exception as error:
        raise as_read_error(path, error) from error


def read_head(file: Any) -> bytes:
    """Return the first bytes of an open file, which identify it."""
    return bytes(file.file.chunk(0, min(HEADER_BYTES, int(file.file.fEND))).raw_data)


def ranges_of(file: Any) -> Callable[[Sequence[tuple[int, int]]], list[Any]]:
    """Return a function that reads ranges of an open file."""

    def read(ranges: Sequence[tuple[int, int]]) -> list[Any]:
        chunks = file.file.source.chunks(list(ranges), notifications=queue.Queue())
        return [chunk.raw_data for chunk in chunks]

    return read


def open_tree(path: str, layout: Layout) -> Any:
    """Return the TTree or RNTuple of a layout; its file stays open for this thread's next call.

    Raises `ReadError` if the file cannot be opened or is not the one of the layout, and `FilesetError` if it has no
    such tree.
    """
    cache: OrderedDict[tuple[Any, ...], Any] = _local.__dict__.setdefault("trees", OrderedDict())
    key = (path, layout.treename, layout.uuid, layout.digest, _file_state(path))
    if key not in cache:
        file = open_file(path)
        check_file(path, read_head(file), layout, None if path == layout.path else ranges_of(file))
        cache[key] = find_tree(file, path, layout.treename)
    cache.move_to_end(key)
    while len(cache) > _MAX_OPEN:
        cache.popitem(last=False)
    return cache[key]


def _file_state(path: str) -> tuple[int, int, int] | None:
    """Return values that change when a local file is replaced while it is open."""
    if is_remote(path):
        return None
    try:
        status = Path(path_to_open(local_path(path))).stat()
    except OSError:
        return None  # opening it raises an error with the reason
    return status.st_ino, status.st_size, status.st_mtime_ns


def close_tree(path: str) -> None:
    """Close the file of this thread, so that the next call opens it again (after an I/O error)."""
    cache: OrderedDict[tuple[Any, ...], Any] = _local.__dict__.setdefault("trees", OrderedDict())
    for key in [key for key in cache if key[0] == path]:
        del cache[key]


def find_tree(file: Any, path: str, treename: str) -> Any:
    """Return the tree or ntuple of an open file, or raise an error that names those that exist."""
    import uproot

    try:
        tree = file[treename]
    except uproot.exceptions.KeyInFileError:
        names = file.keys(cycle=False, filter_classname=["TTree", "TNtuple", "TNtupleD", "ROOT::RNTuple"])
        hint = nearest(treename, names) or _why_no_tree(file)
        raise FilesetError(
            f"There is no tree {treename!r} in {path}.{hint} Name it in the fileset (`treename`) or as `PATH:TREENAME`."
        ) from None
    except Exception as error:
        raise as_read_error(path, error) from error
    if not isinstance(tree, (uproot.TTree, uproot.behaviors.RNTuple.RNTuple)):
        folder = isinstance(tree, uproot.ReadOnlyDirectory)
        kind = "folder" if folder else getattr(tree, "classname", type(tree).__name__)
        raise FilesetError(f"{treename!r} in {path} is a {kind}, not a TTree or RNTuple. Name the tree of events.")
    return tree


def _why_no_tree(file: Any) -> str:
    if file.keys():
        return " The file contains no tree."
    return " The file is empty: the program that wrote it ended before it closed the file."


def _check_local(path: str, target: Path) -> None:
    """Raise a clear error if a local file cannot be read; uproot's message would suggest a remote protocol."""
    try:
        if target.is_dir():
            raise ReadError(
                f"{path} is a directory, not a ROOT file. Name its files, or `{path}/*.root`.", transient=False
            )
        with target.open("rb") as file:
            head = file.read(64)
    except FileNotFoundError:
        raise ReadError(f"{path} does not exist.", transient=False) from None
    except PermissionError:
        raise ReadError(f"{path} cannot be read by this user (permission denied).", transient=False) from None
    except OSError as error:
        if isinstance(error, ReadError):
            raise
        raise ReadError(f"{path} cannot be read: {with_original_path(path, str(error))}", transient=True) from error
    if not head:
        raise ReadError(f"{path} is empty (0 bytes): writing or copying it failed.", transient=False)
    if head[:4] != b"root":
        raise ReadError(f"{path} is not a ROOT file (its first bytes are {head[:4]!r}).", transient=False)
    if len(head) < 64:
        raise ReadError(
            f"{path} is truncated: it has {len(head)} bytes, fewer than a header. Copy it again.", transient=False
        )
    version, end = int.from_bytes(head[4:8], "big", signed=True), int.from_bytes(head[12:16], "big")
    if version >= 1_000_000:  # in files over 2 GB the position of the end has eight bytes
        end = int.from_bytes(head[12:20], "big")
    size = target.stat().st_size
    if size < end:
        raise ReadError(
            f"{path} is truncated: it should have {end} bytes and has {size}. Copy it again.", transient=False
        )
