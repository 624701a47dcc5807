"""The four ways in which `connect` gets a client: a registered cluster, a given one, an address, a new cluster."""

from __future__ import annotations

import functools
import types
from collections.abc import Callable
from dataclasses import replace
from typing import Any, NamedTuple

from distributed import Client
from distributed.deploy import Cluster

from af_kit import config
from af_kit.cluster import backends, remote, versions
from af_kit.cluster.backends import Backend
from af_kit.cluster.detached import registry
from af_kit.cluster.jupyter import session
from af_kit.cluster.readiness import Say
from af_kit.cluster.request import Request
from af_kit.errors import ConnectError, InputError

# Arguments that only a new cluster can have, and the attributes of the request.
_FOR_NEW_CLUSTERS = {
    "cores": "cores",
    "memory": "memory",
    "adapt": "adapt",
    "walltime": "walltime_s",
    "detach": "detach",
    "idle_timeout_s": "idle_timeout_s",
}


class Connection(NamedTuple):
    """A connected client, and what `connect` needs to wait for its workers.

    Attributes
    ----------
    client : distributed.Client
        Connected to the scheduler.
    awaited : int
        Workers to wait for.
    diagnose, pending_summary, fatal_reason : callable, optional
        The backend's methods of these names, for this cluster.
    same_environment : bool
        Whether the workers certainly run this session's Python.
    timeout_s : float, optional
        The deadline, if the backend has its own.
    undo : callable, optional
        Ends what was started, including a detached cluster.
    """

    client: Client
    awaited: int
    diagnose: Callable[[], str] | None = None
    pending_summary: Callable[[], str] | None = None
    fatal_reason: Callable[[], str] | None = None
    same_environment: bool = False
    timeout_s: float | None = None
    undo: Callable[[], Any] | None = None


def to_registered_cluster(where: str, request: Request, options: dict[str, Any]) -> Connection:
    """Connect to a cluster of the registry, or of a service, by its name or its address."""
    entries = [entry for entry in backends.running() if where in (entry.name, entry.address)]
    entry = entries[0] if entries else backends.find(where) or registry.find(where)
    _refuse_arguments(where, request, options)
    backend = backends.get(entry.backend)
    cluster = backend.rejoin(entry)
    try:
        with versions.without_dask_warnings():
            client = Client(cluster, timeout=request.timeout_s)
    except (OSError, TimeoutError) as error:
        cluster.close()
        raise ConnectError(f"The cluster {entry.name!r} at {entry.address} does not answer: {error}") from error
    at_close(client, cluster.close)
    return Connection(client, request.n_workers or 0, **_hooks(backend, cluster, client))


def to_given_object(where: Any, request: Request, options: dict[str, Any]) -> Connection:
    """Use a client as it is, or connect to a cluster object."""
    if isinstance(where, Client):
        _refuse_arguments("The client's cluster", request, options)
        if where.status != "running":
            raise ConnectError(f"This client is {where.status}. Connect again.")
        client, cluster = where, where.cluster
    elif isinstance(where, Cluster) or hasattr(where, "scheduler_address"):  # dask-gateway's is not Dask's Cluster
        _refuse_arguments("The cluster", request, options)
        try:
            client, cluster = Client(where, timeout=request.timeout_s), where
        except (RuntimeError, OSError, TimeoutError) as error:
            raise ConnectError(f"This cluster cannot be used: {error} Start another one.") from error
    else:
        raise InputError(f"connect({where!r}): give an address, a backend, a Dask client or a Dask cluster.")
    default = 1 if getattr(cluster, "_adaptive", None) is None else 0
    return Connection(client, default if request.n_workers is None else request.n_workers)


def to_scheduler(where: str, request: Request, options: dict[str, Any], timeout_s: float, say: Say) -> Connection:
    """Connect to the scheduler at an address, or of a scheduler file."""
    _refuse_arguments(where, request, options)
    if where.endswith(".json"):
        where = remote.from_file(where, timeout_s=timeout_s, say=say)
    address = remote.parse(where)
    client = remote.client_at(address, security=request.security, timeout_s=timeout_s, say=say)
    default = 0 if session.may_be_empty(str(address)) else 1
    return Connection(client, default if request.n_workers is None else request.n_workers)


def to_new_cluster(name: str, request: Request, options: dict[str, Any], *, default_timeout: bool) -> Connection:
    """Start a cluster with the backend ``name``, and connect to it."""
    backend = backends.load(name, options, request)
    if request.n_workers == 0:
        raise InputError("n_workers=0: a cluster needs a worker. For one that starts workers on demand: adapt=(0, 10).")
    if default_timeout:
        request = replace(request, timeout_s=float(config.get(backend.timeout_key)))
    cluster = backend.start(request, **options)
    end = cluster.shutdown if request.detach else cluster.close
    try:
        with versions.without_dask_warnings():
            client = Client(cluster, timeout=request.timeout_s)
        at_close(client, cluster.close)
        if request.adapt:
            cluster.adapt(minimum=request.adapt[0], maximum=request.adapt[1])
    except BaseException:
        end()
        raise
    if not backend.wait_for_all:
        awaited = 1 if request.first is None else min(1, request.first)
    elif request.first is None:
        awaited = cluster.first if hasattr(cluster, "first") else len(cluster.plan)
    else:
        awaited = request.first
    return Connection(
        client,
        awaited,
        same_environment=backend.same_environment,
        timeout_s=request.timeout_s,
        undo=end if request.detach else None,
        **_hooks(backend, cluster, client),
    )


def _hooks(backend: Backend, cluster: Any, client: Client) -> dict[str, Any]:
    """Return the backend's answers about a cluster. They are empty if nobody answers: that is an error elsewhere.

    The client keeps them, for a run that loses its workers (`run.engines.absence`).
    """

    def ask(hook: Callable[[Any], str]) -> str:
        try:
            return str(hook(cluster))
        except (OSError, TimeoutError):
            return ""

    hooks = (backend.diagnose, backend.pending_summary, backend.fatal_reason)
    found = {hook.__name__: functools.partial(ask, hook) for hook in hooks}
    client._af_kit_hooks = found
    return found


def _refuse_arguments(what: str, request: Request, options: dict[str, Any]) -> None:
    given = [name for name, attribute in _FOR_NEW_CLUSTERS.items() if getattr(request, attribute) not in (None, False)]
    if given := [*given, *options]:
        raise InputError(
            f"{what} is already running; these arguments only apply when connect() starts the cluster: "
            f"{', '.join(given)}."
        )


def at_close(client: Client, action: Callable[[], Any]) -> None:
    """Call ``action`` when ``client`` is closed.

    Dask closes the cluster with the client only for ``Client()``. A method of this one object keeps the client a plain
    ``distributed.Client``; ``with``, ``del`` and the end of the session all call ``close``. The action is called once:
    a closed client closes again when it is garbage-collected, in any thread. If that thread is starting an event loop,
    the cluster's own close would wait for a lock that is held until the loop runs.
    """
    close_client = client.close
    called = False

    def close(self: Client, *args: Any, **kwargs: Any) -> Any:
        nonlocal called
        try:
            return close_client(*args, **kwargs)
        finally:
            if not called:
                called = True
                action()

    client.close = types.MethodType(close, client)
