"""Files on XRootD servers (``root://``), read by XRootD's own client.

One vector read fetches the baskets of a task, up to 1024 ranges at a time, and nothing between them. The client waits
for a dead server for ten minutes as it comes: here its patience is a setting, and the next replica is tried instead.
"""

from __future__ import annotations

import functools
import hashlib
import os
import threading
import time
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from af_kit import config
from af_kit.data.transport import servers
from af_kit.errors import ReadError

__all__ = ["XRootDFile", "channel", "client", "is_xrootd", "reason", "status_error"]

# What every server takes in one vector read, unless its administrator has made it less: ranges, and bytes of each
_RANGES, _RANGE_BYTES = 1024, 2_097_136
# Bytes of one vector read: more of them wait on the server at a time, and the client holds all of them in its memory.
_REQUEST_BYTES = 64 << 20
# Ranges nearer than this are asked for as one; a range costs the server more than these bytes.
_GAP = 1024
# Files that stay open for the next task, which mostly reads on in the same one; opening costs round trips. Not longer:
# as long as a file is open, its server gives the old content to all, whatever was renamed to its place meanwhile.
_KEPT_OPEN, _KEPT_S = 8, 5.0
# XrdCl's status codes (XrdClStatus.hh) and the protocol's error numbers (XProtocol.hh)
_ERROR_RESPONSE, _LOGIN, _AUTHENTICATION = 400, 203, 204
# The server was not reached, or it fell silent: those between, and an answer that did not come in time
_NETWORK, _EXPIRED = range(101, 111), 206
_NOT_AUTHORIZED, _NOT_FOUND, _IS_DIRECTORY, _AUTH_FAILED = 3010, 3011, 3016, 3030

_lock = threading.Lock()
_idle: OrderedDict[tuple[str, str], list[tuple[Any, float]]] = OrderedDict()
_closing: threading.Timer | None = None


def is_xrootd(path: str) -> bool:
    """Whether a path is on an XRootD server."""
    return path.startswith(("root://", "xroot://", "roots://", "xroots://"))


@functools.cache
def client() -> Any:
    """XRootD's client library, told once in a process how long to wait (``af_kit.data.xrootd``).

    What the user has set in the environment (``XRD_CONNECTIONWINDOW``, ...) stays as it is.
    """
    from XRootD import client as library

    patience = config.get("data.xrootd")
    settings = {
        "ConnectionWindow": patience["connect_s"],
        "StreamTimeout": patience["silence_s"],
        "RequestTimeout": patience["request_s"],
        # One attempt, and no memory of it: the kit itself tries again, or another replica. By default the client waits
        # for the end of the window, five times, and after that refuses the server for half an hour.
        "ConnectionRetry": 1,
        "StreamErrorWindow": 0,
        # Seconds between two looks at its clocks; 15 by default, by which every wait is longer.
        "TimeoutResolution": 1,
    }
    for name, value in settings.items():
        library.EnvPutInt(name, int(value))
    return library


def channel(url: str) -> str:
    """The address to use for a file, so that a renewed token counts.

    A server reads the token when a connection is made, and the client makes one connection for all files of a server
    and user. So the state of the token's file is the user's name here: a new token makes a new connection.
    """
    # The library sets TLS up at its first connection, wherever that leads. If it finds no certificates of authorities,
    # or not the proxy that is named, it goes without ever after, whatever is put there: here it tries again.
    client().EnvPutInt("NoTlsOK", 0)  # no effect where the user has set XRD_NOTLSOK
    parts = urlsplit(url)
    token = _token_file()
    if token is None or "@" in parts.netloc:
        return url
    try:
        found = token.stat()
    except OSError:
        return url
    state = f"{token}:{found.st_mtime_ns}:{found.st_ino}:{found.st_size}"
    user = "af" + hashlib.sha256(state.encode()).hexdigest()[:6]  # the protocol has room for eight characters
    return url.replace(f"{parts.scheme}://", f"{parts.scheme}://{user}@", 1)


def _token_file() -> Path | None:
    """The file in which XRootD's client looks for a token."""
    if os.environ.get("BEARER_TOKEN"):
        return None
    if named := os.environ.get("BEARER_TOKEN_FILE"):
        return Path(named)
    name = f"bt_u{os.geteuid()}"
    places = [Path(folder) / name for folder in (os.environ.get("XDG_RUNTIME_DIR"), "/tmp") if folder]
    return next((place for place in places if place.exists()), None)


class XRootDFile:
    """An open file that gives byte ranges.

    Parameters
    ----------
    path : str
        Its URL.
    uuid : str
        The identifier of the file that is expected there, if it is known. Only such a file is left open for the next
        task: what lies at the same address by then may be another one.
    """

    def __init__(self, path: str, uuid: str = "") -> None:
        self.path = path
        self._key = (channel(path), uuid)
        self._file = _take(self._key) or _opened(path, self._key[0])
        self._sound = True

    @property
    def size(self) -> int:
        """The file's size in bytes, as its server said when it was opened."""
        status, found = self._file.stat()
        if not status.ok:
            raise self._failed(status)
        return int(found.size)

    def read(self, ranges: Sequence[tuple[int, int]]) -> list[memoryview]:
        """The bytes of each ``(start, stop)``; a short answer is a `ReadError`."""
        wide, home = _coalesced(ranges)
        parts = [
            (i, at, min(at + _RANGE_BYTES, stop))
            for i, (a, stop) in enumerate(wide)
            for at in range(a, stop, _RANGE_BYTES)
        ]
        found: list[list[bytes]] = [[] for _ in wide]
        for request in _requests(parts):
            for (i, _, _), data in zip(request, self._vector(request), strict=True):
                found[i].append(data)
        whole = [memoryview(data[0] if len(data) == 1 else b"".join(data)) for data in found]
        return [
            whole[i][start - wide[i][0] : stop - wide[i][0]] if start < stop else memoryview(b"")
            for i, (start, stop) in zip(home, ranges, strict=True)
        ]

    def close(self) -> None:
        """Give the file back; it may stay open for a while, for the next task."""
        if self._sound and self._file is not None and self._key[1]:
            _keep(self._key, self._file)
        self._file = None

    def _vector(self, parts: Sequence[tuple[int, int, int]]) -> list[bytes]:
        status, found = self._file.vector_read([(start, stop - start) for _, start, stop in parts])
        if not status.ok:
            raise self._failed(status)
        for (_, start, stop), chunk in zip(parts, found.chunks, strict=True):
            if chunk.length != stop - start:
                self._sound = False
                raise ReadError(
                    f"{self.path} is truncated or changed while it was read: bytes {start} to {stop} were asked for, "
                    f"{chunk.length} of {stop - start} came.",
                    transient=True,
                )
        return [chunk.buffer for chunk in found.chunks]

    def _failed(self, status: Any) -> ReadError:
        self._sound = False
        return status_error(self.path, status)


def status_error(path: str, status: Any, what: str = "read") -> ReadError:
    """The `ReadError` for what XRootD's client answered."""
    said = " ".join(str(status.message).split()).removeprefix("[ERROR] ").removeprefix("[FATAL] ")
    said = said.removeprefix("Server responded with an error: ")
    answered = status.code == _ERROR_RESPONSE
    if answered and status.errno == _NOT_FOUND:
        return ReadError(f"{path} does not exist on this server: {said}", transient=False)
    refused = status.code in (_LOGIN, _AUTHENTICATION) or (answered and status.errno in (_NOT_AUTHORIZED, _AUTH_FAILED))
    if refused:
        tls = _without_tls() if status.code == _LOGIN else ""
        return ReadError(f"{path} cannot be {what}: the server refused it ({said}).{tls}{_why()}", transient=False)
    if status.code in _NETWORK or status.code == _EXPIRED:
        servers.did_not_answer(path)
        return ReadError(f"{path} cannot be {what}: its server does not answer ({said}).", transient=True)
    final = answered and status.errno == _IS_DIRECTORY
    return ReadError(f"{path} cannot be {what}: {said}", transient=not final)


def reason(said: str) -> str:
    """What to add to an error of another library that came from XRootD's client: why, if it was a refusal."""
    return _why() if any(words in said for words in ("Auth failed", "Login failed", "[3010]")) else ""


def _why() -> str:
    """What is wrong with this process's credentials: the server says the same, whatever it is.

    Credentials are not this layer's matter; the configuration names who knows about them.
    """
    module, _, name = str(config.get("data.auth_diagnosis")).rpartition(".")
    try:
        return f" {getattr(import_module(module), name)()}" if module else ""
    except Exception as error:  # noqa: BLE001 - what the server said must not be lost for it
        return f" (Why could not be found out: {type(error).__name__}: {error})"


def _without_tls() -> str:
    """Why this process could not set up the TLS that a server asks for."""
    named = {name: os.environ.get(name) for name in ("X509_CERT_DIR", "X509_USER_PROXY")}
    missing = [
        f"{name} names {place}, which does not exist"
        for name, place in named.items()
        if place and not Path(place).exists()
    ]
    reason = " and ".join(missing) or "the authorities' certificates (X509_CERT_DIR) are missing or not usable"
    return f" It asks for TLS, and this process has none, as {reason}."


def _opened(path: str, address: str) -> Any:
    file = client().File()
    status, _ = file.open(address)
    if not status.ok:
        raise status_error(path, status)
    servers.answered(path)
    return file


def _take(key: tuple[str, str]) -> Any:
    """A file that was left open, or None."""
    with _lock:
        kept = _idle.get(key, [])
        file = kept.pop()[0] if kept else None
    return file if file is not None and file.is_open() else None


def _keep(key: tuple[str, str], file: Any) -> None:
    global _closing
    with _lock:
        _idle.setdefault(key, []).append((file, time.monotonic()))
        _idle.move_to_end(key)
        while sum(map(len, _idle.values())) > _KEPT_OPEN:
            oldest = next(kept for kept in _idle.values() if kept)
            del oldest[0]
        if _closing is None:
            _closing = threading.Timer(_KEPT_S, _close_old)
            _closing.daemon = True
            _closing.start()


def _close_old() -> None:
    """Let go of files that nobody came for; they close by themselves, in the background, as nothing refers to them."""
    global _closing
    now = time.monotonic()
    with _lock:
        for key, kept in list(_idle.items()):
            kept[:] = [(file, since) for file, since in kept if now - since < _KEPT_S]
            if not kept:
                del _idle[key]
        _closing = None
        if _idle:
            _closing = threading.Timer(_KEPT_S / 2, _close_old)
            _closing.daemon = True
            _closing.start()


def _coalesced(ranges: Sequence[tuple[int, int]]) -> tuple[list[tuple[int, int]], list[int]]:
    """The ranges in the order of the file, neighbours joined; and for each of ``ranges``, in which of them it is."""
    wide: list[tuple[int, int]] = []
    home = [-1] * len(ranges)
    for i in sorted(range(len(ranges)), key=ranges.__getitem__):
        start, stop = ranges[i]
        if start >= stop:
            continue
        first, last = wide[-1] if wide else (0, 0)
        inside = bool(wide) and stop <= last
        if inside or (wide and start - last <= _GAP and stop - first <= _RANGE_BYTES):
            wide[-1] = (first, max(last, stop))
        else:
            wide.append((start, stop))
        home[i] = len(wide) - 1
    return wide, home


def _requests(parts: Sequence[tuple[int, int, int]]) -> Iterator[Sequence[tuple[int, int, int]]]:
    """Vector reads of what a server takes in one: not too many ranges, nor too many bytes together."""
    begin, size = 0, 0
    for i, (_, start, stop) in enumerate(parts):
        if i - begin == _RANGES or (i > begin and size + stop - start > _REQUEST_BYTES):
            yield parts[begin:i]
            begin, size = i, 0
        size += stop - start
    if begin < len(parts):
        yield parts[begin:]
