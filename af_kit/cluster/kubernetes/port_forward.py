"""Forward the scheduler's ports to 127.0.0.1 through the API server, for a session outside the Kubernetes cluster."""

from __future__ import annotations

import asyncio
import errno
import socket
import threading
from typing import Any

from af_kit.cluster.kubernetes.api import connect, error_text
from af_kit.errors import ConnectError

_TRIES = 5


class PortForward:
    """A local port that leads to one port of a service, until it is closed.

    It has its own thread and event loop: the session's loop may be busy for seconds, and results of workers pass
    through here.
    """

    def __init__(self, namespace: str, service: str, port: int, kube_context: str) -> None:
        self._namespace, self._service, self._remote_port = namespace, service, port
        self._kube_context = kube_context
        self._ready = threading.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stop: asyncio.Event | None = None
        self._error: BaseException | None = None
        self.port = 0

    async def open(self, timeout_s: float) -> int:
        """Start forwarding, and return the local port once it listens.

        Raises
        ------
        ConnectError
            The API server refuses, or the port does not listen in time.
        """
        threading.Thread(target=self._run, name=f"port of {self._service}", daemon=True).start()
        ready = await asyncio.get_running_loop().run_in_executor(None, self._ready.wait, timeout_s)
        if self._error is not None or not ready:
            reason = error_text(self._error) if self._error else f"not within {timeout_s:g} s"
            raise ConnectError(
                f"The scheduler's port cannot be forwarded to this machine: {reason}. A session outside the Kubernetes "
                "cluster needs permission to `get pods/portforward`."
            ) from self._error
        return self.port

    def close(self) -> None:
        """Stop forwarding. Closing twice is harmless."""
        if self._loop is not None and self._stop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._stop.set)

    def _run(self) -> None:
        try:
            asyncio.run(self._serve())
        except BaseException as error:  # noqa: BLE001 - open() raises it in the waiting thread
            self._error = error
        finally:
            self._ready.set()

    async def _serve(self) -> None:
        from kr8s.asyncio.objects import Service

        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        # Closing the port cuts connections; these errors are expected.
        self._loop.set_exception_handler(lambda loop, context: None)
        api = await connect(self._kube_context or None)
        service: Any = await Service.get(self._service, namespace=self._namespace, api=api)
        for attempt in range(_TRIES):
            try:
                async with service.portforward(self._remote_port, _free_port()) as self.port:
                    self._ready.set()
                    await self._stop.wait()
                    return
            except OSError as error:  # another process may have taken the port in the meantime
                if error.errno != errno.EADDRINUSE or attempt == _TRIES - 1:
                    raise


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
        return port
