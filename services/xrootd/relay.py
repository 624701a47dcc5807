"""A relay to a server without TLS, for tests: it counts requests and bytes, and can be slow, silent or cut."""

from __future__ import annotations

import socket
import struct
import threading
import time
from collections import Counter, deque
from collections.abc import Iterator
from contextlib import contextmanager, suppress

# Request codes of the protocol (XProtocol.hh)
CODES = {
    3000: "auth", 3001: "query", 3003: "close", 3004: "dirlist", 3006: "protocol", 3007: "login", 3008: "mkdir",
    3009: "mv", 3010: "open", 3011: "ping", 3013: "read", 3014: "rm", 3016: "sync", 3017: "stat", 3019: "write",
    3023: "endsess", 3025: "readv", 3026: "pgwrite", 3030: "pgread",
}  # fmt: skip
_HANDSHAKE = 20
_HEADER = 24


class Relay:
    """A relay on a free port of 127.0.0.1.

    Attributes
    ----------
    requests : Counter
        The requests of all connections by name: ``open``, ``read``, ``readv``, ...
    received : int
        The bytes from the server.
    connections : int
        The number of connections from clients.
    delay_s : float
        The delay of each byte in either direction: half a round trip.
    silent : bool
        If true, the relay passes nothing on, but keeps the connections open.
    """

    def __init__(self, url: str, *, delay_s: float = 0.0) -> None:
        host, _, port = url.partition("://")[2].partition("/")[0].partition(":")
        self._target = (host, int(port))
        self.requests: Counter[str] = Counter()
        self.received = 0
        self.connections = 0
        self.delay_s = delay_s
        self.silent = False
        self.closed = threading.Event()
        self._open: list[socket.socket] = []
        self._server = socket.create_server(("127.0.0.1", 0))
        self.port = self._server.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def url(self, path: str = "") -> str:
        """Return the address of a file on the server through the relay."""
        return f"root://127.0.0.1:{self.port}/{path}"

    @contextmanager
    def counted(self) -> Iterator[Counter[str]]:
        """Count the requests of this block, and under ``bytes`` what the server has sent."""
        before, received = self.requests.copy(), self.received
        found: Counter[str] = Counter()
        yield found
        found.update(self.requests - before)
        found["bytes"] = self.received - received

    def cut(self) -> None:
        """Break all connections; clients can connect again."""
        for connection in self._open:
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        self._open.clear()

    def close(self) -> None:
        """Break all connections, and accept no more."""
        self.closed.set()
        with suppress(OSError):
            self._server.shutdown(socket.SHUT_RDWR)
        self._server.close()
        self.cut()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._server.accept()
            except OSError:
                return
            self.connections += 1
            try:
                server = socket.create_connection(self._target)
            except OSError:
                client.close()
                continue
            for connection in (client, server):
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._open += [client, server]
            _Pipe(self, client, server, requests=True)
            _Pipe(self, server, client, requests=False)


class _Pipe:
    """One direction of one connection: a thread that reads, and a thread that writes after the delay."""

    def __init__(self, relay: Relay, source: socket.socket, target: socket.socket, *, requests: bool) -> None:
        self._relay, self._source, self._target, self._requests = relay, source, target, requests
        self._queue: deque[tuple[float, bytes]] = deque()
        self._available = threading.Semaphore(0)
        self._skip, self._header = _HANDSHAKE, b""
        for work in (self._read, self._write):
            threading.Thread(target=work, daemon=True).start()

    def _read(self) -> None:
        while True:
            try:
                data = self._source.recv(1 << 18)
            except OSError:
                data = b""
            if self._requests:
                self._count(data)
            else:
                self._relay.received += len(data)
            self._queue.append((time.monotonic() + self._relay.delay_s, data))
            self._available.release()
            if not data:
                return

    def _write(self) -> None:
        while True:
            self._available.acquire()
            due, data = self._queue.popleft()
            while (self._relay.silent or time.monotonic() < due) and not self._relay.closed.is_set():
                self._relay.closed.wait(0.02 if self._relay.silent else max(0.0, due - time.monotonic()))
            try:
                if data:
                    self._target.sendall(data)
                else:
                    self._target.shutdown(socket.SHUT_WR)
            except OSError:
                data = b""
            if not data:
                return

    def _count(self, data: bytes) -> None:
        """Count requests: after a handshake, headers of 24 bytes, each with the length of the data that follows it."""
        while data:
            if self._skip:
                used = min(self._skip, len(data))
                self._skip -= used
                data = data[used:]
                continue
            missing = _HEADER - len(self._header)
            self._header += data[:missing]
            data = data[missing:]
            if len(self._header) == _HEADER:
                code, length = struct.unpack(">2xH16xI", self._header)
                self._relay.requests[CODES.get(code, str(code))] += 1
                self._skip, self._header = length, b""
