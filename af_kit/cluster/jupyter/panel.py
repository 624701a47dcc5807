"""The cluster that NEW in JupyterLab's Dask panel starts, with the configured backend.

Dask's configuration makes dask-labextension use it. Under ``kwargs``, a site can set the arguments of ``connect``::

    labextension:
      factory: {module: af_kit.cluster.jupyter.panel, class: PanelCluster, args: [], kwargs: {}}

The panel awaits the cluster in the event loop of the Jupyter server, on which every notebook and every other panel
depends. So nothing here blocks that loop: a thread starts, scales and closes the cluster, one call at a time.
"""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import logging
import os
import threading
import time
from collections.abc import Callable, Generator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, Self, TypeVar

from af_kit import config
from af_kit.cluster import request
from af_kit.cluster.backends import Backend, configured, load
from af_kit.cluster.detached import registry
from af_kit.cluster.jupyter import session
from af_kit.errors import ConnectError, InputError

T = TypeVar("T")
logger = logging.getLogger(__name__)

# One start at a time: a backend may set Dask's configuration, which the whole process shares, while it starts.
_starting = threading.Lock()
_open: set[PanelCluster] = set()
# Seconds in which a batch system refuses a job. A start does not wait until a full batch system runs it.
_SETTLE_S = 5.0
_POLL_S = 0.2


class Limits(NamedTuple):
    """Minimum and maximum number of workers of a cluster that adapts to its load."""

    minimum: int
    maximum: int


class PanelCluster:
    """A cluster with the methods that dask-labextension needs: it is awaited until it runs, then scaled and closed.

    Parameters
    ----------
    backend : str, optional
        How to start it (default: ``af_kit.cluster.backend``).
    asynchronous : bool
        The panel passes True; False is not supported.
    n_workers, cores, memory, timeout_s, security, walltime, idle_timeout_s
        As for ``connect``. The default of ``n_workers`` is the panel's ``labextension.default.workers``, or else the
        backend's.
    **options
        Options of the backend, as for ``connect``.

    Raises
    ------
    InputError
        The configuration cannot be used.
    ConnectError
        When awaited: the cluster did not start in time. The panel shows the reason.
    """

    def __new__(cls, backend: str | None = None, **options: Any) -> Self:
        """Create an object of a class named after the backend: the panel shows that name, with a number."""
        name = backend or configured()
        return object.__new__(type(f"{name} cluster", (cls,), {}))

    def __init__(
        self,
        backend: str | None = None,
        *,
        asynchronous: bool = True,
        n_workers: int | None = None,
        cores: int | None = None,
        memory: str | int | None = None,
        timeout_s: float | None = None,
        security: Any = None,
        walltime: Any = None,
        idle_timeout_s: float | None = None,
        **options: Any,
    ) -> None:
        import dask.config

        if n_workers is None:
            n_workers = dask.config.get("labextension.default.workers", default=None)
        self._backend = backend or configured()
        self._request = request.check(
            n_workers=n_workers,
            cores=cores,
            memory=memory,
            timeout_s=timeout_s,
            security=security,
            walltime=walltime,
            idle_timeout_s=idle_timeout_s,
        )
        self._default_timeout = timeout_s is None
        self._options = options
        self._cluster: Any = None
        self._record: Path | None = None
        self._lock = threading.Lock()
        self._closed = False

    def __await__(self) -> Generator[Any, None, Self]:
        return self._run().__await__()

    async def _run(self) -> Self:
        late = f"The backend {self._backend} was not loaded within {self._request.timeout_s:g} s."
        backend = await _in_thread(self._load, within_s=self._request.timeout_s, late=late)
        limit_s = self._request.timeout_s
        late = (
            f"The {self._backend} cluster did not start within {limit_s:g} s, and gave no reason. "
            f"See the server's log. To allow more time, set af_kit.{backend.timeout_key}."
        )
        try:
            await _in_thread(self._start, backend, within_s=limit_s, late=late)
        except BaseException:
            self._closed = True  # the thread then closes the cluster when it has started
            raise
        return self

    def _load(self) -> Backend:
        backend = load(self._backend, self._options, self._request)
        if self._default_timeout:
            self._request = replace(self._request, timeout_s=float(config.get(backend.timeout_key)))
        return backend

    def _start(self, backend: Backend) -> None:
        with self._lock, _starting:
            if self._closed:
                return
            cluster = backend.start(self._sized_request(), **self._options)
            if self._closed:
                cluster.close()
                return
            self._cluster = cluster
            _open.add(self)
        self._refuse_fatal(backend)
        self._register(may_be_empty=False)

    def _refuse_fatal(self, backend: Backend) -> None:
        """End a cluster whose first jobs are refused, and show the reason while the user is still watching."""
        if type(backend).fatal_reason is Backend.fatal_reason:
            return  # this backend never knows
        deadline = time.monotonic() + _SETTLE_S
        while time.monotonic() < deadline and not self.scheduler_info["workers"]:
            if reason := backend.fatal_reason(self._cluster):
                self._close()
                raise ConnectError(f"No worker will come. {reason}")
            time.sleep(_POLL_S)

    def _sized_request(self) -> request.Request:
        """Return the request. On this machine, leave memory for as many workers as the panel can scale up to."""
        given = self._request
        if self._backend != "local" or given.memory is not None or given.n_workers is None:
            return given
        from dask.system import CPU_COUNT

        maximum = max(given.n_workers, CPU_COUNT // (given.cores or 1), 1)
        return replace(given, n_workers=None, adapt=(given.n_workers, maximum))

    def _register(self, *, may_be_empty: bool) -> None:
        """Write a record of this cluster for the server's notebooks, and remove the older one."""
        old, address = self._record, self.scheduler_address
        # `connect` can only use these addresses; others are for the backend's own client.
        public = address.startswith("tcp://") or registry.at(address) is not None
        self._record = session.register(
            address=address, link=self._link, server=os.getpid(), panel=public, may_be_empty=may_be_empty
        )
        session.unregister(old)

    # -------- properties that the panel shows

    @property
    def scheduler_info(self) -> dict[str, Any]:
        """The workers: a copy, as the cluster's own thread may change the original at any time."""
        workers = dict((getattr(self._cluster, "scheduler_info", None) or {}).get("workers") or {})
        return {
            "workers": {
                address: {"nthreads": worker.get("nthreads", 0), "memory_limit": worker.get("memory_limit") or 0}
                for address, worker in workers.items()
            }
        }

    @property
    def scheduler_address(self) -> str:
        """The address that a client connects to; the panel writes it into the code for a notebook."""
        return str(getattr(self._cluster, "scheduler_address", "") or "")

    @property
    def dashboard_link(self) -> str:
        """The dashboard through this Jupyter server: a browser cannot reach a scheduler on another machine."""
        from af_kit.cluster.jupyter.dashboard import base_url

        dashboard, base = session.dashboard_of(self._link), base_url()
        return dashboard.below(base) if dashboard and base else self._link

    @property
    def _link(self) -> str:
        try:
            return str(self._cluster.dashboard_link or "")
        except (AttributeError, KeyError):  # no dashboard, or a configured link with a variable that is not set here
            return ""

    # -------- methods that the panel calls

    async def scale(self, n: int) -> None:
        """Scale to ``n`` workers, and stop adapting to the load."""
        if not isinstance(n, int) or isinstance(n, bool) or n < 0:
            raise InputError(f"Scale to a whole number of workers, not to {n!r}.")
        limit_s = self._request.timeout_s
        late = (
            f"The {self._backend} cluster was not scaled within {limit_s:g} s: it is still starting or ending workers."
        )
        await _in_thread(self._scale, n, within_s=limit_s, late=late)

    def _scale(self, n: int) -> None:
        with self._lock:
            adaptive = getattr(self._cluster, "_adaptive", None)
            if adaptive is not None:  # it would undo the scaling
                adaptive.stop()
            self._cluster.scale(n)
            self._register(may_be_empty=n == 0)

    def adapt(self, *, minimum: int = 0, maximum: int) -> Limits:
        """Adapt the number of workers to the load.

        The panel calls this in the server's event loop and shows the result, so the limits are returned immediately
        and a thread sets them on the cluster.
        """
        for limit in (minimum, maximum):
            if not isinstance(limit, int) or isinstance(limit, bool):
                raise InputError(f"The minimum and maximum number of workers are whole numbers, not {limit!r}.")
        if not 0 <= minimum <= max(maximum, 1) or maximum < 1:
            raise InputError(
                f"From {minimum} to {maximum} workers is not a range: the minimum is 0 or more, the maximum 1 or more."
            )
        threading.Thread(target=self._adapt, args=(minimum, maximum), name="af-kit-adapt", daemon=True).start()
        return Limits(minimum, maximum)

    def _adapt(self, minimum: int, maximum: int) -> None:
        with self._lock:
            try:
                self._cluster.adapt(minimum=minimum, maximum=maximum)
                self._register(may_be_empty=minimum == 0)
            except Exception:
                logger.exception("The %s cluster cannot adapt to its load", self._backend)

    async def close(self) -> None:
        """End the cluster: its workers, its jobs or pods, and its scheduler."""
        limit_s = self._request.timeout_s
        late = f"The {self._backend} cluster did not end within {limit_s:g} s; ending it continues."
        await _in_thread(self._close, within_s=limit_s, late=late)

    def _close(self) -> None:
        with self._lock:
            session.unregister(self._record)
            if not self._closed:
                self._cluster.close()
                self._closed = True
                _open.discard(self)


async def _in_thread(function: Callable[..., T], *arguments: Any, within_s: float, late: str) -> T:
    """Return the result of ``function``, called in a new thread.

    After the deadline, raise a ConnectError with the message ``late``. The thread then continues; it is a daemon, so
    it does not delay the end of the server, as a thread of an executor would.
    """
    loop = asyncio.get_running_loop()
    done: asyncio.Future[T] = loop.create_future()

    def settle(give: Callable[[], None]) -> None:
        if not done.done():
            give()

    def run() -> None:
        try:
            give = partial(done.set_result, function(*arguments))
        except BaseException as error:  # noqa: BLE001 - raised where the result is awaited
            give = partial(done.set_exception, error)
        with contextlib.suppress(RuntimeError):  # the server's loop has ended
            loop.call_soon_threadsafe(settle, give)

    threading.Thread(target=run, name="af-kit-panel", daemon=True).start()
    await asyncio.wait([done], timeout=within_s)
    if not done.done():
        done.cancel()
        raise ConnectError(late)
    return done.result()


@atexit.register
def _close_all() -> None:
    """Leave no workers, jobs or records behind when the server ends. Dask has closed its own clusters by then."""
    for cluster in list(_open):
        with contextlib.suppress(Exception):
            cluster._close()
