"""Files on XRootD servers (``root://``), read with XRootD's own client.

One vector read fetches the baskets of a task, up to 1024 ranges at a time. By default the client waits ten minutes for
a dead server; here the time-outs are configured, so that the next replica is tried instead.
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
from af_kit.data.transport.io_errors import short_read
from af_kit.data.transport.ranges import coalesce, pieces
from af_kit.data.transport.servers import mark_reachable, mark_unreachable
from af_kit.errors import ReadError

__all__ = ["XRootDFile", "auth_hint", "client", "connection_url", "is_xrootd", "status_error"]

# A server's default limits for one vector read: number of ranges, and bytes of each.
_RANGES, _RANGE_BYTES = 1024, 2_097_136
# Bytes of one vector read; server and client hold all of them in memory.
_REQUEST_BYTES = 64 << 20
# These bytes cost the server less than another range.
_GAP = 1024
# Files that stay open for the next task, which usually continues in the same file; opening one costs round trips.
# Only for seconds: while a file is open, its server returns the old content to everybody, even after a rename.
_IDLE_FILES, _IDLE_S = 8, 5.0
# XrdCl's status codes (XrdClStatus.hh) and the protocol's error numbers (XProtocol.hh)
_ERROR_RESPONSE, _LOGIN, _AUTHENTICATION = 400, 203, 204
# Codes for a server that is not reached or that stops answering, and for a request that timed out
_NETWORK, _EXPIRED = range(101, 111), 206
_NOT_AUTHORIZED, _NOT_FOUND, _IS_DIRECTORY, _AUTH_FAILED = 3010, 3011, 3016, 3030

_lock = threading.Lock()
_idle: OrderedDict[tuple[str, str], list[tuple[Any, float]]] = OrderedDict()
_idle_timer: threading.Timer | None = None


def is_xrootd(path: str) -> bool:
    """Whether the path is on an XRootD server."""
    return path.startswith(("root://", "xroot://", "roots://", "xroots://"))


@functools.cache
def client() -> Any:
    """Return XRootD's client library, with the time-outs of ``af_kit.data.xrootd`` set once per process.

    Variables that the user has set (``XRD_CONNECTIONWINDOW``, ...) take precedence.
    """
    from XRootD import client as library

    timeouts = config.get("data.xrootd")
    settings = {
        "ConnectionWindow": timeouts["connect_s"],
        "StreamTimeout": timeouts["silence_s"],
        "RequestTimeout": timeouts["request_s"],
        # One attempt, not remembered: the kit retries by itself, or tries another replica. By default the client makes
        # five attempts of a whole window each, and then rejects the server for half an hour.
        "ConnectionRetry": 1,
        "StreamErrorWindow": 0,
        # Seconds between checks of the time-outs; the default of 15 makes every wait longer.
        "TimeoutResolution": 1,
    }
    for name, value in settings.items():
        library.EnvPutInt(name, int(value))
    return library


def connection_url(url: str) -> str:
    """Return the URL with a user name that changes when the token is renewed, so that the new token is used.

    A server reads the token when a connection is opened, and the client shares one connection between all files of a
    server and user. The user name is therefore a hash of the token file's state.
    """
    # The library sets up TLS at its first connection. If CA certificates or the proxy are missing then, it does without
    # TLS for the rest of the process; this makes it try again.
    client().EnvPutInt("NoTlsOK", 0)  # no effect if the user has set XRD_NOTLSOK
    parts = urlsplit(url)
    token = _token_file()
    if token is None or "@" in parts.netloc:
        return url
    try:
        status = token.stat()
    except OSError:
        return url
    state = f"{token}:{status.st_mtime_ns}:{status.st_ino}:{status.st_size}"
    user = "af" + hashlib.sha256(state.encode()).hexdigest()[:6]  # the protocol allows eight characters
    return url.replace(f"{parts.scheme}://", f"{parts.scheme}://{user}@", 1)


def _token_file() -> Path | None:
    """Return the file where XRootD's client looks for a token."""
    if os.environ.get("BEARER_TOKEN"):
        return None
    if named := os.environ.get("BEARER_TOKEN_FILE"):
        return Path(named)
    name = f"bt_u{os.geteuid()}"
    paths = [Path(folder) / name for folder in (os.environ.get("XDG_RUNTIME_DIR"), "/tmp") if folder]
    return next((path for path in paths if path.exists()), None)


class XRootDFile:
    """An open file on an XRootD server.

    If the file's ``uuid`` is given, `close` leaves the file open for the next task that expects the same identifier.
    Without one, another file may have replaced it by then.
    """

    def __init__(self, path: str, uuid: str = "") -> None:
        self.path = path
        self._key = (connection_url(path), uuid)
        self._file = _take_idle(self._key) or _open(path, self._key[0])
        self._reusable = True

    @property
    def size(self) -> int:
        """Size in bytes, as reported by the server when the file was opened."""
        status, info = self._file.stat()
        if not status.ok:
            raise self._failed(status)
        return int(info.size)

    def read(self, ranges: Sequence[tuple[int, int]]) -> list[memoryview]:
        """Return the bytes of each ``(start, stop)``; raise `ReadError` if some are missing."""
        merged, index = coalesce(ranges, _GAP, _RANGE_BYTES)
        parts = [
            (i, at, min(at + _RANGE_BYTES, stop))
            for i, (first, stop) in enumerate(merged)
            for at in range(first, stop, _RANGE_BYTES)
        ]
        received: list[list[bytes]] = [[] for _ in merged]
        for request in _requests(parts):
            for (i, _, _), data in zip(request, self._vector_read(request), strict=True):
                received[i].append(data)
        whole = [memoryview(part[0] if len(part) == 1 else b"".join(part)) for part in received]
        return pieces(ranges, merged, index, whole)

    def keep(self, uuid: str) -> None:
        """Let `close` leave the file open, now that its identifier is known."""
        self._key = (self._key[0], uuid)

    def close(self) -> None:
        """Close the file, or leave it open for a few seconds for the next task."""
        if self._reusable and self._file is not None and self._key[1]:
            _leave_idle(self._key, self._file)
        self._file = None

    def _vector_read(self, parts: Sequence[tuple[int, int, int]]) -> list[bytes]:
        status, answer = self._file.vector_read([(start, stop - start) for _, start, stop in parts])
        if not status.ok:
            raise self._failed(status)
        for (_, start, stop), chunk in zip(parts, answer.chunks, strict=True):
            if chunk.length != stop - start:
                self._reusable = False
                raise short_read(self.path, start, stop, chunk.length)
        return [chunk.buffer for chunk in answer.chunks]

    def _failed(self, status: Any) -> ReadError:
        self._reusable = False
        return status_error(self.path, status)


def status_error(path: str, status: Any, action: str = "read") -> ReadError:
    """Convert a failed status of XRootD's client to a `ReadError`; ``action`` is what could not be done."""
    message = " ".join(str(status.message).split()).removeprefix("[ERROR] ").removeprefix("[FATAL] ")
    message = message.removeprefix("Server responded with an error: ")
    answered = status.code == _ERROR_RESPONSE
    if answered and status.errno == _NOT_FOUND:
        return ReadError(f"{path} does not exist on this server: {message}", transient=False)
    refused = status.code in (_LOGIN, _AUTHENTICATION) or (answered and status.errno in (_NOT_AUTHORIZED, _AUTH_FAILED))
    if refused:
        tls = _tls_hint() if status.code == _LOGIN else ""
        return ReadError(
            f"{path} cannot be {action}: the server refused it ({message}).{tls}{_auth_diagnosis()}", transient=False
        )
    if status.code in _NETWORK or status.code == _EXPIRED:
        mark_unreachable(path)
        return ReadError(f"{path} cannot be {action}: its server does not answer ({message}).", transient=True)
    permanent = answered and status.errno == _IS_DIRECTORY
    return ReadError(f"{path} cannot be {action}: {message}", transient=not permanent)


def auth_hint(message: str) -> str:
    """Return the likely reason if ``message``, an error that another library got from XRootD, is a refusal."""
    return _auth_diagnosis() if any(sign in message for sign in ("Auth failed", "Login failed", "[3010]")) else ""


def _auth_diagnosis() -> str:
    """Say what is wrong with this process's credentials: the server's message is the same for every cause.

    This package knows nothing about credentials; ``af_kit.data.auth_diagnosis`` names the function to call.
    """
    module, _, name = str(config.get("data.auth_diagnosis")).rpartition(".")
    try:
        return f" {getattr(import_module(module), name)()}" if module else ""
    except Exception as error:  # noqa: BLE001 - the server's message must not be lost
        return f" (The credentials could not be checked: {type(error).__name__}: {error})"


def _tls_hint() -> str:
    """Say why this process could not set up the TLS that a server requires."""
    variables = {name: os.environ.get(name) for name in ("X509_CERT_DIR", "X509_USER_PROXY")}
    missing = [
        f"{name} names {path}, which does not exist"
        for name, path in variables.items()
        if path and not Path(path).exists()
    ]
    reason = " and ".join(missing) or "the CA certificates (X509_CERT_DIR) are missing or not usable"
    return f" The server requires TLS, which this process could not set up: {reason}."


def _open(path: str, address: str) -> Any:
    file = client().File()
    status, _ = file.open(address)
    if not status.ok:
        raise status_error(path, status)
    mark_reachable(path)
    return file


def _take_idle(key: tuple[str, str]) -> Any:
    """Return a file that was left open, or None."""
    with _lock:
        files = _idle.get(key, [])
        file = files.pop()[0] if files else None
    return file if file is not None and file.is_open() else None


def _leave_idle(key: tuple[str, str], file: Any) -> None:
    with _lock:
        _idle.setdefault(key, []).append((file, time.monotonic()))
        _idle.move_to_end(key)
        while sum(map(len, _idle.values())) > _IDLE_FILES:
            oldest = next(files for files in _idle.values() if files)
            del oldest[0]
        if _idle_timer is None:
            _start_timer(_IDLE_S)


def _start_timer(delay_s: float) -> None:
    global _idle_timer
    _idle_timer = threading.Timer(delay_s, _drop_idle)
    _idle_timer.daemon = True
    _idle_timer.start()


def _drop_idle() -> None:
    """Drop the files that no task has reused; without a reference the library closes them in the background."""
    global _idle_timer
    now = time.monotonic()
    with _lock:
        for key, files in list(_idle.items()):
            files[:] = [(file, since) for file, since in files if now - since < _IDLE_S]
            if not files:
                del _idle[key]
        _idle_timer = None
        if _idle:
            _start_timer(_IDLE_S / 2)


def _requests(parts: Sequence[tuple[int, int, int]]) -> Iterator[Sequence[tuple[int, int, int]]]:
    """Split the parts into vector reads within the limits on ranges and bytes."""
    begin, size = 0, 0
    for i, (_, start, stop) in enumerate(parts):
        if i - begin == _RANGES or (i > begin and size + stop - start > _REQUEST_BYTES):
            yield parts[begin:i]
            begin, size = i, 0
        size += stop - start
    if begin < len(parts):
        yield parts[begin:]
