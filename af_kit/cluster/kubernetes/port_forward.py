"""Ports of the scheduler on 127.0.0.1, for a session outside the cluster: through the API server, as kubectl does."""

from __future__ import annotations

import asyncio
import errno
import socket
import threading
from typing import Any

from af_kit.cluster.kubernetes.api import connected, said
from af_kit.errors import ConnectError

_TRIES = 5


class Forward:
    """One port of a service, for as long as it is not closed.

    It has a thread and a loop of its own: the session's loop may be busy for seconds, and the workers' results come
    through here.
    """

    def __init__(self, namespace: str, service: str, port: int, context: str) -> None:
        self._namespace, self._service, self._remote, self._context = namespace, service, port, context
        self._ready = threading.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stop: asyncio.Event | None = None
        self._error: BaseException | None = None
        self.port = 0

    async def open(self, timeout_s: float) -> int:
        """Begin, and give the local port once it listens.

        Raises
        ------
        ConnectError
            The API server does not let us, or the time was over.
        """
        threading.Thread(target=self._run, name=f"port of {self._service}", daemon=True).start()
        came = await asyncio.get_running_loop().run_in_executor(None, self._ready.wait, timeout_s)
        if self._error is not None or not came:
            reason = said(self._error) if self._error else f"not within {timeout_s:g} s"
            raise ConnectError(
                f"The scheduler's port cannot be forwarded to this machine: {reason}. The right to `get "
                "pods/portforward` is needed outside the cluster."
            ) from self._error
        return self.port

    def close(self) -> None:
        """End it; once is enough."""
        if self._loop is not None and self._stop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._stop.set)

    def _run(self) -> None:
        try:
            asyncio.run(self._serve())
        except BaseException as error:  # noqa: BLE001  told by open(), in the thread that waits
            self._error = error
        finally:
            self._ready.set()

    async def _serve(self) -> None:
        from kr8s.asyncio.objects import Service

        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        # Connections that are cut when the port closes are no news.
        self._loop.set_exception_handler(lambda loop, context: None)
        api = await connected(self._context or None)
        service: Any = await Service.get(self._service, namespace=self._namespace, api=api)
        for attempt in range(_TRIES):
            try:
                async with service.portforward(self._remote, _free_port()) as self.port:
                    self._ready.set()
                    await self._stop.wait()
                    return
            except OSError as error:  # somebody took the port in the meantime
                if error.errno != errno.EADDRINUSE or attempt == _TRIES - 1:
                    raise


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
        return port
