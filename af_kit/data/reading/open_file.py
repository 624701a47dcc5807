"""Opening ROOT files with uproot: errors told in the kit's words, and each thread's last files kept open."""

from __future__ import annotations

import threading
import uuid
from collections import OrderedDict
from pathlib import Path
from typing import Any

from af_kit.data.transport.io_errors import as_read_error, is_remote, local_path
from af_kit.data.transport.uploaded_copies import path_to_open, with_original_path
from af_kit.data.transport.xrootd import is_xrootd
from af_kit.errors import FilesetError, ReadError, nearest

# Open files cost memory for their metadata; a task rarely needs more than the two ends of a file boundary.
_KEPT_OPEN = 4
# A file says who it is in its first bytes: in the header, or in the record of its top folder behind that.
HEAD = 512
_local = threading.local()


def open_file(path: str) -> Any:
    """Open a ROOT file for reading metadata.

    Raises
    ------
    ReadError
        Missing, a directory, not permitted, not a ROOT file, truncated, or the server's own reason. Its
        ``transient`` says whether another try may help.
    """
    import uproot

    place = path
    if not is_remote(path):
        place = path_to_open(local_path(path))
        _check_local(local_path(path), Path(place))
    options: dict[str, Any] = {}
    if is_xrootd(path):
        from af_kit.data.transport.uproot_source import XRootDSource

        options["handler"] = XRootDSource
    try:
        return uproot.open(place, **options)
    except Exception as error:
        raise as_read_error(path, error) from error


def file_uuid(head: bytes) -> str:
    """A file's own identifier, from its first `HEAD` bytes.

    It survives copying. The header's is empty where ROOT wrote nothing but an RNTuple; the top folder has one then.
    """
    head = head.ljust(HEAD, b"\0")
    wide = int.from_bytes(head[4:8], "big") >= 1_000_000  # a file over 2 GB, with positions of eight bytes
    at = 59 if wide else 47
    own = uuid.UUID(bytes=head[at : at + 16])
    if not own.int:
        name = head[36:40] if wide else head[28:32]
        folder = int.from_bytes(head[8:12], "big") + int.from_bytes(name, "big")
        wide = int.from_bytes(head[folder : folder + 2], "big") > 1000
        at = folder + (44 if wide else 32)
        own = uuid.UUID(bytes=head[at : at + 16].ljust(16, b"\0"))
    return str(own)


def identity(file: Any) -> tuple[str, int]:
    """Identifier of an open file, and where it ends by its own header."""
    end = int(file.file.fEND)
    if file.file.uuid.int:
        return str(file.file.uuid), end
    return file_uuid(file.file.chunk(0, min(HEAD, end)).raw_data.tobytes()), end


def check_identity(path: str, found: str, planned: str) -> None:
    """Refuse a file that is not the one whose layout is used: other numbers would come from it, or none."""
    if found != planned:
        raise ReadError(
            f"{path} is not the file that was planned (its identifier is {found}, not {planned}): it was written anew "
            "since then, or it is no true replica. Plan again.",
            transient=False,
        )


def open_tree(path: str, treename: str, planned: str) -> Any:
    """The TTree or RNTuple named ``treename``, its file kept open for this thread's next call.

    Raises
    ------
    ReadError
        The file cannot be opened (see `open_file`), or its identifier is not the ``planned`` one.
    FilesetError
        There is no such tree; the message names the nearest one.
    """
    cache: OrderedDict[tuple[Any, ...], Any] = _local.__dict__.setdefault("trees", OrderedDict())
    key = (path, treename, planned, _stamp(path))
    if key not in cache:
        file = open_file(path)
        check_identity(path, identity(file)[0], planned)
        cache[key] = find_tree(file, path, treename)
    cache.move_to_end(key)
    while len(cache) > _KEPT_OPEN:
        cache.popitem(last=False)
    return cache[key]


def _stamp(path: str) -> tuple[int, int, int] | None:
    """What changes when a local file is replaced while it is kept open."""
    if is_remote(path):
        return None
    try:
        status = Path(path_to_open(local_path(path))).stat()
    except OSError:
        return None  # opening it will say why
    return status.st_ino, status.st_size, status.st_mtime_ns


def forget(path: str) -> None:
    """Close this thread's handle of a file, so that the next call opens it anew (after an I/O error)."""
    cache: OrderedDict[tuple[Any, ...], Any] = _local.__dict__.setdefault("trees", OrderedDict())
    for key in [key for key in cache if key[0] == path]:
        del cache[key]


def find_tree(file: Any, path: str, treename: str) -> Any:
    """The tree or ntuple in an open file, or an error that names what there is instead."""
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
        return " The file holds no tree at all."
    return " The file holds nothing at all: whatever wrote it ended before it closed the file."


def _check_local(path: str, where: Path) -> None:
    """Say plainly what is wrong with a local path; uproot's own messages suppose a remote protocol."""
    try:
        if where.is_dir():
            raise ReadError(
                f"{path} is a directory, not a ROOT file. Name its files, or `{path}/*.root`.", transient=False
            )
        with where.open("rb") as file:
            head = file.read(64)
    except FileNotFoundError:
        raise ReadError(f"{path} does not exist.", transient=False) from None
    except PermissionError:
        raise ReadError(f"{path} may not be read by this user (permission denied).", transient=False) from None
    except OSError as error:
        if isinstance(error, ReadError):
            raise
        raise ReadError(f"{path} cannot be read: {with_original_path(path, str(error))}", transient=True) from error
    if not head:
        raise ReadError(f"{path} is empty (0 bytes): it was never written, or its copy failed.", transient=False)
    if head[:4] != b"root":
        raise ReadError(f"{path} is not a ROOT file (its first bytes are {head[:4]!r}).", transient=False)
    if len(head) < 64:
        raise ReadError(
            f"{path} is truncated: it has {len(head)} bytes, fewer than a header. Copy it again.", transient=False
        )
    version, end = int.from_bytes(head[4:8], "big"), int.from_bytes(head[12:16], "big")
    if version >= 1_000_000:  # files over 2 GB keep the position of their end in eight bytes
        end = int.from_bytes(head[12:20], "big")
    size = where.stat().st_size
    if size < end:
        raise ReadError(
            f"{path} is truncated: it should have {end} bytes and has {size}. Copy it again.", transient=False
        )
