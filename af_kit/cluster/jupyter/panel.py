"""What NEW in JupyterLab's Dask panel makes: a cluster of the kind that this place uses.

dask-labextension is told of it by Dask's configuration; below ``kwargs`` a site can give what ``connect`` takes::

    labextension:
      factory: {module: af_kit.cluster.jupyter.panel, class: PanelCluster, args: [], kwargs: {}}

The panel awaits what it makes in the event loop of the Jupyter server, on which every notebook and every other panel
depends. So nothing here waits in that loop: a cluster is started, scaled and closed by a thread, one call at a time.
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

# Starts one after the other: a kind may set Dask's configuration, which is the process's, while it starts.
_starting = threading.Lock()
_open: set[PanelCluster] = set()
# Seconds in which a batch system says that it will not have a job; one that is only full is not waited for.
_SETTLE_S = 5.0
_LOOK_S = 0.2


class Limits(NamedTuple):
    """The fewest and the most workers of a cluster that follows its load."""

    minimum: int
    maximum: int


class PanelCluster:
    """A cluster as dask-labextension wants it: awaited until it runs, then shown, scaled and closed.

    Parameters
    ----------
    backend : str, optional
        How to start it (default: ``af_kit.cluster.backend``, where ``auto`` is local).
    asynchronous : bool
        The panel says True; there is no other way.
    n_workers, cores, memory, timeout_s, security, walltime, idle_timeout_s
        As for ``connect``. Without ``n_workers`` it is the panel's ``labextension.default.workers``, else the kind's.
    **options
        The kind's own, as for ``connect``.

    Raises
    ------
    InputError
        The configuration cannot be used.
    ConnectError
        When awaited: the cluster did not start, or not in time. The panel shows the reason.
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
        self._own_time = timeout_s is None
        self._options = options
        self._cluster: Any = None
        self._note: Path | None = None
        self._busy = threading.Lock()
        self._closed = False

    def __await__(self) -> Generator[Any, None, Self]:
        return self._started().__await__()

    async def _started(self) -> Self:
        late = f"The module of {self._backend} clusters was not loaded within {self._request.timeout_s:g} s."
        backend = await _in_thread(self._load, within_s=self._request.timeout_s, late=late)
        limit_s = self._request.timeout_s
        late = (
            f"The {self._backend} cluster did not start within {limit_s:g} s, and gave no reason. The server's log may "
            f"tell more; af_kit.{backend.timeout_key} gives it longer."
        )
        try:
            await _in_thread(self._start, backend, within_s=limit_s, late=late)
        except BaseException:
            self._closed = True  # a thread that still waits closes what comes
            raise
        return self

    def _load(self) -> Backend:
        backend = load(self._backend, self._options, self._request)
        if self._own_time:
            self._request = replace(self._request, timeout_s=float(config.get(backend.timeout_key)))
        return backend

    def _start(self, backend: Backend) -> None:
        with self._busy, _starting:
            if self._closed:
                return
            cluster = backend.start(self._asked(), **self._options)
            if self._closed:
                cluster.close()
                return
            self._cluster = cluster
            _open.add(self)
        self._refuse_fatal(backend)
        self._tell(grows=False)

    def _refuse_fatal(self, backend: Backend) -> None:
        """End a cluster whose first jobs are refused at once: with the reason, while the user still looks."""
        if type(backend).fatal_reason is Backend.fatal_reason:
            return  # it never knows: no need to wait for it
        deadline = time.monotonic() + _SETTLE_S
        while time.monotonic() < deadline and not self.scheduler_info["workers"]:
            if reason := backend.fatal_reason(self._cluster):
                self._close()
                raise ConnectError(f"No worker will come. {reason}")
            time.sleep(_LOOK_S)

    def _asked(self) -> request.Request:
        """The request; on this machine with room for more workers later, which must share its memory and no more."""
        asked = self._request
        if self._backend != "local" or asked.memory is not None or asked.n_workers is None:
            return asked
        from dask.system import CPU_COUNT

        most = max(asked.n_workers, CPU_COUNT // (asked.cores or 1), 1)
        return replace(asked, n_workers=None, adapt=(asked.n_workers, most))

    def _tell(self, *, grows: bool) -> None:
        """Leave a note for this server's notebooks, in place of an older one."""
        old, address = self._note, self.scheduler_address
        # Whether `connect` can use the address: those of others mean something to their own client only.
        public = address.startswith("tcp://") or registry.at(address) is not None
        self._note = session.note(address=address, link=self._link, server=os.getpid(), panel=public, grows=grows)
        session.remove(old)

    # ------------------------------------------------------------------------------------------------ what is shown

    @property
    def scheduler_info(self) -> dict[str, Any]:
        """The workers; a copy, as the cluster's own thread changes the original at any time."""
        workers = dict((getattr(self._cluster, "scheduler_info", None) or {}).get("workers") or {})
        return {
            "workers": {
                address: {"nthreads": worker.get("nthreads", 0), "memory_limit": worker.get("memory_limit") or 0}
                for address, worker in workers.items()
            }
        }

    @property
    def scheduler_address(self) -> str:
        """What a client connects to; it is written into the line of code that the panel puts into a notebook."""
        return str(getattr(self._cluster, "scheduler_address", "") or "")

    @property
    def dashboard_link(self) -> str:
        """The dashboard, through this Jupyter server: a browser cannot reach a scheduler on some other machine."""
        from af_kit.cluster.jupyter.dashboard import base_url

        dashboard, base = session.dashboard_of(self._link), base_url()
        return dashboard.below(base) if dashboard and base else self._link

    @property
    def _link(self) -> str:
        try:
            return str(self._cluster.dashboard_link or "")
        except (AttributeError, KeyError):  # none, or a configured link with a variable that is not set here
            return ""

    # ------------------------------------------------------------------------------------------------- what is done

    async def scale(self, n: int) -> None:
        """Ask for ``n`` workers, and let the cluster follow its load no more."""
        if not isinstance(n, int) or isinstance(n, bool) or n < 0:
            raise InputError(f"Scale to a whole number of workers, not to {n!r}.")
        limit_s = self._request.timeout_s
        late = f"The {self._backend} cluster was not scaled within {limit_s:g} s: it is starting or ending workers."
        await _in_thread(self._scale, n, within_s=limit_s, late=late)

    def _scale(self, n: int) -> None:
        with self._busy:
            adaptive = getattr(self._cluster, "_adaptive", None)
            if adaptive is not None:  # else it takes back what is asked for here
                adaptive.stop()
            self._cluster.scale(n)
            self._tell(grows=n == 0)

    def adapt(self, *, minimum: int = 0, maximum: int) -> Limits:
        """Let the cluster follow its load.

        The panel calls this in the server's event loop and shows what comes back: so the limits come back at once, and
        the cluster is told by a thread.
        """
        for limit in (minimum, maximum):
            if not isinstance(limit, int) or isinstance(limit, bool):
                raise InputError(f"The fewest and the most workers are whole numbers; given is {limit!r}.")
        if not 0 <= minimum <= max(maximum, 1) or maximum < 1:
            raise InputError(
                f"From {minimum} to {maximum} workers is no range: the fewest may be 0, the most is 1 or more."
            )
        threading.Thread(target=self._adapt, args=(minimum, maximum), name="af-kit-adapt", daemon=True).start()
        return Limits(minimum, maximum)

    def _adapt(self, minimum: int, maximum: int) -> None:
        with self._busy:
            try:
                self._cluster.adapt(minimum=minimum, maximum=maximum)
                self._tell(grows=minimum == 0)
            except Exception:
                logger.exception("The %s cluster cannot follow its load", self._backend)

    async def close(self) -> None:
        """End the cluster: its workers, its jobs or pods, its scheduler."""
        limit_s = self._request.timeout_s
        late = f"The {self._backend} cluster did not end within {limit_s:g} s; it is still being ended."
        await _in_thread(self._close, within_s=limit_s, late=late)

    def _close(self) -> None:
        with self._busy:
            session.remove(self._note)
            if not self._closed:
                self._cluster.close()
                self._closed = True
                _open.discard(self)


async def _in_thread(function: Callable[..., T], *arguments: Any, within_s: float, late: str) -> T:
    """What ``function`` gives, called in a thread of its own.

    After the deadline the error says ``late``. The thread is then left alone, and being a daemon it does not hold up
    the end of the server. (The threads of an executor would.)
    """
    loop = asyncio.get_running_loop()
    done: asyncio.Future[T] = loop.create_future()

    def settle(give: Callable[[], None]) -> None:
        if not done.done():
            give()

    def run() -> None:
        try:
            give = partial(done.set_result, function(*arguments))
        except BaseException as error:  # noqa: BLE001 - handed over to who waits
            give = partial(done.set_exception, error)
        with contextlib.suppress(RuntimeError):  # the server's loop has ended
            loop.call_soon_threadsafe(settle, give)

    threading.Thread(target=run, name="af-kit-sidebar", daemon=True).start()
    await asyncio.wait([done], timeout=within_s)
    if not done.done():
        done.cancel()
        raise ConnectError(late)
    return done.result()


@atexit.register
def _close_all() -> None:
    """Leave no workers, jobs or notes behind when the server ends; Dask's own clusters have been closed by then."""
    for cluster in list(_open):
        with contextlib.suppress(Exception):
            cluster._close()
