"""`connect`: a Dask client of a cluster that is already running, or of a new one."""

from __future__ import annotations

import logging
import os
import time
from typing import TYPE_CHECKING, Any

from af_kit import config

if TYPE_CHECKING:
    from distributed import Client
    from distributed.deploy import Cluster

    from af_kit.cluster.readiness import Say
    from af_kit.cluster.request import Request

logger = logging.getLogger(__name__)


def connect(
    where: str | Client | Cluster | None = None,
    *,
    n_workers: int | None = None,
    cores: int | None = None,
    memory: str | int | None = None,
    adapt: tuple[int, int] | None = None,
    timeout_s: float | None = None,
    security: Any = None,
    walltime: str | int | None = None,
    name: str | None = None,
    detach: bool = False,
    idle_timeout_s: float | None = None,
    quiet: bool = False,
    **options: Any,
) -> Client:
    """Connect to a Dask cluster, or start one.

    Parameters
    ----------
    where : str, distributed.Client or Cluster, optional
        One of

        - a backend that starts a cluster: ``"local"``, ``"slurm"``, ...;
        - the address of a running scheduler: ``"tcp://host:8786"``, ``"tls://host:8786"``;
        - the path of its scheduler file: ``"scheduler.json"``;
        - the name of a cluster that was started with ``detach=True``;
        - a client or a cluster, which is checked and used as it is.

        By default, connect to the first of these that exists: the cluster named ``name``; the scheduler of
        ``$DASK_SCHEDULER_ADDRESS`` or of Dask's configuration (``scheduler-address``); in a notebook, and if no other
        argument is given, the newest cluster of JupyterLab's Dask panel. Otherwise start a cluster with the backend
        in ``af_kit.cluster.backend``, which is a local one by default.
    n_workers : int, optional
        Workers to start. If the scheduler is already running, workers to wait for (default 1; 0 does not wait).
    cores, memory : int, str, optional
        Threads and memory (``"4 GiB"``, or bytes) of each worker to start.
    adapt : (int, int), optional
        Minimum and maximum number of workers of a cluster that adapts to its load, instead of ``n_workers``.
    timeout_s : float, optional
        Seconds in which the scheduler must answer and the workers must join (default: ``af_kit.cluster.timeout_s``).
    security : distributed.Security or bool, optional
        Certificates for TLS. True creates temporary ones for a new cluster.
    walltime : str or int, optional
        Time limit of each worker's job: ``"2h"``, ``"02:00:00"``, or seconds.
    name : str, optional
        Name of the cluster to start. Without ``where``, the name of the cluster to connect to.
    detach : bool
        Let the cluster outlive this session. ``connect(name=...)`` finds it again, also from another session.
    idle_timeout_s : float, optional
        Seconds without a task after which the cluster ends (default: ``af_kit.cluster.idle_timeout_s`` for a detached
        cluster, never for others).
    quiet : bool
        Print nothing.
    **options
        Options of the backend, such as ``dashboard`` or ``environment``: see its ``start`` method.

    Returns
    -------
    distributed.Client
        ``client.cluster`` scales and adapts a cluster that was started here. Such a cluster ends with
        ``client.close()``, with the ``with`` block, and with the session. A cluster that was already running, or that
        is detached, keeps running; ``client.cluster.shutdown()`` ends it.

    Raises
    ------
    InputError
        An argument or a configured value cannot be used.
    ConnectError
        No usable cluster before the deadline. The message has the reason and what to do.

    Warns
    -----
    UserWarning
        Package versions differ, or the workers' allocator slows down reading.

    Examples
    --------
    >>> with af.connect("local", n_workers=4) as client:    # doctest: +SKIP
    ...     result = af.process(analyse, fileset, client)
    """
    from af_kit.cluster import connection, readiness, versions
    from af_kit.cluster.jupyter.dashboard import link_through_jupyter
    from af_kit.cluster.request import check

    request = check(
        n_workers=n_workers,
        cores=cores,
        memory=memory,
        adapt=adapt,
        timeout_s=timeout_s,
        security=security,
        walltime=walltime,
        name=name,
        detach=detach,
        idle_timeout_s=idle_timeout_s,
    )
    began = time.monotonic()
    say: Say = _silence if quiet else _print
    if where is None and (name is None or detach or _backend_finds(name)):
        where = _default_cluster(request, options, say)
    link_through_jupyter()
    if where is None or (request.security is None and _is_registered(where)):
        connected = connection.to_registered_cluster(str(where or name), request, options)
    elif not isinstance(where, str):
        connected = connection.to_given_object(where, request, options)
    elif "://" in where or where.endswith(".json") or where.rpartition(":")[2].isdecimal():
        answer_s = config.get("cluster.answer_s") if timeout_s is None else request.timeout_s
        connected = connection.to_scheduler(where, request, options, min(answer_s, request.timeout_s), say)
    else:
        connected = connection.to_new_cluster(where, request, options, default_timeout=timeout_s is None)
    client = connected.client
    logger.info("connect: to the scheduler at %s; waiting for %s workers", client.scheduler.address, connected.awaited)
    timeout_s = connected.timeout_s or request.timeout_s
    try:
        readiness.wait_for_workers(
            client,
            connected.awaited,
            deadline=began + timeout_s,
            timeout_s=timeout_s,
            say=say,
            diagnose=connected.diagnose,
            pending_summary=connected.pending_summary,
            fatal_reason=connected.fatal_reason,
        )
        if not connected.same_environment:
            versions.check(client)
            readiness.check_allocator(client)
        described = readiness.describe(client)
        logger.info("connect: %s", described)
        say(described)
        _register_dashboard(client)
    except BaseException:
        if connected.undo is not None:
            connected.undo()
        if client is not where:
            client.close()
        raise
    return client


def _backend_finds(name: str) -> bool:
    """Return whether the configured backend, and not the registry, finds clusters of this name."""
    from af_kit.cluster import backends

    return (
        not _is_registered(name)
        and backends.configured() in backends.available()
        and backends.get(backends.configured()).finds_by_name
    )


def _is_registered(where: Any) -> bool:
    """Return whether ``where`` is the name or the address of a cluster in the registry."""
    from af_kit.cluster import backends

    if not isinstance(where, str) or where in backends.available():
        return False
    return any(where in (entry.name, entry.address) for entry in backends.running())


def _default_cluster(request: Request, options: dict[str, Any], say: Say) -> str:
    """Return the address of a running scheduler, or the backend to start a cluster with."""
    import dask.config

    from af_kit.cluster import backends
    from af_kit.cluster.jupyter import session

    # The variable may have been set after Dask read the environment.
    address = os.environ.get("DASK_SCHEDULER_ADDRESS") or dask.config.get("scheduler-address", default=None)
    no_arguments = all(value in (None, False) for name, value in vars(request).items() if name != "timeout_s")
    if not address and not options and no_arguments:
        address = session.panel_cluster()
        if address:
            say(
                f"The cluster of the Dask panel, {address}, is used. "
                f"To start another one: connect({backends.configured()!r})."
            )
    return str(address or backends.configured())


def _register_dashboard(client: Client) -> None:
    """Allow this notebook's Jupyter server to show the cluster's dashboard until the client is closed."""
    from af_kit.cluster.connection import at_close
    from af_kit.cluster.jupyter import dashboard, session

    server = session.jupyter_server()
    if server is not None:
        record = session.register(address=client.scheduler.address, link=dashboard.link(client), server=server)
        at_close(client, lambda: session.unregister(record))


def _print(line: str) -> None:
    print(line, flush=True)


def _silence(line: str) -> None:
    pass
