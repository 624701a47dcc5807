"""From nothing, a name or an address to a Dask client that can be used."""

from __future__ import annotations

import functools
import os
import time
import types
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

from af_kit import config
from af_kit.errors import ConnectError, InputError

if TYPE_CHECKING:
    from distributed import Client
    from distributed.deploy import Cluster

    from af_kit.cluster.backends import Backend
    from af_kit.cluster.request import Request

Say = Callable[[str], None]


class _Found(NamedTuple):
    """A client that is connected, and what is still to be seen to."""

    client: Client
    awaited: int
    """Workers to wait for."""
    diagnose: Callable[[], str] | None = None
    """Why they do not come."""
    same_environment: bool = False
    """Nothing about the workers can differ from this session."""
    pending_summary: Callable[[], str] | None = None
    """What is waited for, in a line."""
    fatal_reason: Callable[[], str] | None = None
    """Why they will never come."""
    timeout_s: float | None = None
    """The whole time, where the kind has one of its own."""
    undo: Callable[[], Any] | None = None
    """Ends what was started, also if it is detached."""


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
    """Connect to a Dask cluster, and start one where there is none.

    Parameters
    ----------
    where : str, distributed.Client or Cluster, optional
        The address of a running scheduler (``"tcp://host:8786"``, ``"tls://host:8786"``), the path of its scheduler
        file (``"scheduler.json"``), a kind of cluster to start (``"local"``, ``"slurm"``), or the name of a cluster
        that was started with ``detach=True``. By default what is there: the cluster that is called ``name``; the
        scheduler of ``$DASK_SCHEDULER_ADDRESS`` or of Dask's configuration (``scheduler-address``); else
        the backend in ``af_kit.cluster.backend``, by default a local cluster. A client or a cluster is used as it is,
        and checked. In a notebook, ``connect()`` without arguments takes the newest cluster of JupyterLab's Dask
        panel, if there is one, before it starts any.
    n_workers : int, optional
        Workers to start; with a scheduler that runs already, workers to wait for (default 1; 0 does not wait).
    cores, memory : int, str, optional
        Threads and memory (``"4 GiB"``, or bytes) of each worker that is started.
    adapt : (int, int), optional
        Fewest and most workers: the cluster follows its load. In place of ``n_workers``.
    timeout_s : float, optional
        Seconds until the scheduler must have answered and workers must have joined (default:
        ``af_kit.cluster.timeout_s``).
    security : distributed.Security or bool, optional
        Certificates for TLS; True makes temporary ones for a cluster that is started.
    walltime : str or int, optional
        The time limit of each worker's job: ``"2h"``, ``"02:00:00"``, or seconds.
    name : str, optional
        What a cluster that is started is called; without a kind, which cluster to connect to.
    detach : bool
        Let the cluster outlive this session: ``connect(name=...)`` finds it again, here and elsewhere.
    idle_timeout_s : float, optional
        Seconds without a task after which the cluster ends by itself (default for a detached one:
        ``af_kit.cluster.idle_timeout_s``; else never).
    quiet : bool
        Print nothing: neither what is waited for, nor what was found.
    **options
        The kind's own, see ``start`` in its file below ``af_kit.cluster``: ``dashboard``, ``environment``, ...

    Returns
    -------
    distributed.Client
        ``client.cluster`` scales and adapts a cluster that was started here; ``client.close()``, the end of a ``with``
        block and the end of the session end it. A cluster that was found, or is detached, is left alone:
        ``client.cluster.shutdown()`` ends that.

    Raises
    ------
    InputError
        An argument or a configured value cannot be used.
    ConnectError
        No usable cluster before the deadline; the message tells why, and what to do.

    Warns
    -----
    UserWarning
        Package versions differ, or the workers' allocator makes reading slow.

    Examples
    --------
    >>> with af.connect("local", n_workers=4) as client:    # doctest: +SKIP
    ...     result = af.process(analyse, fileset, client)
    """
    from af_kit.cluster import readiness, request, versions
    from af_kit.cluster.jupyter.dashboard import link_through_jupyter

    asked = request.check(
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
    if where is None and (name is None or detach or _site_keeps(name)):
        where = _what_is_there(asked, options, say)
    link_through_jupyter()
    if where is None or (asked.security is None and _is_there(where)):
        found = _found_again(str(where or name), asked, options)
    elif not isinstance(where, str):
        found = _given(where, asked, options)
    elif "://" in where or where.endswith(".json") or where.rpartition(":")[2].isdecimal():
        answer_s = config.get("cluster.answer_s") if timeout_s is None else asked.timeout_s
        found = _running(where, asked, options, min(answer_s, asked.timeout_s), say)
    else:
        found = _started(where, asked, options, own_time=timeout_s is None)
    client = found.client
    whole_s = found.timeout_s or asked.timeout_s
    try:
        readiness.wait_for_workers(
            client,
            found.awaited,
            deadline=began + whole_s,
            timeout_s=whole_s,
            say=say,
            diagnose=found.diagnose,
            pending_summary=found.pending_summary,
            fatal_reason=found.fatal_reason,
        )
        if not found.same_environment:
            versions.check(client)
            readiness.check_allocator(client)
        say(readiness.summary(client))
        _show_in_panel(client)
    except BaseException:
        if found.undo is not None:
            found.undo()
        if client is not where:
            client.close()
        raise
    return client


def _site_keeps(name: str) -> bool:
    """Whether a name is to be asked for where this site's clusters are: it is none of the registry's."""
    from af_kit.cluster import backends

    return (
        not _is_there(name)
        and backends.configured() in backends.available()
        and backends.get(backends.configured()).finds_by_name
    )


def _is_there(where: Any) -> bool:
    """Whether ``where`` is the name or the address of a cluster in the registry."""
    from af_kit.cluster import backends

    if not isinstance(where, str) or where in backends.available():
        return False
    return any(where in (entry.name, entry.address) for entry in backends.running())


def _found_again(where: str, asked: Request, options: dict[str, Any]) -> _Found:
    """A cluster of the registry, by its name or its address."""
    from distributed import Client

    from af_kit.cluster import backends, versions
    from af_kit.cluster.detached import registry

    there = [entry for entry in backends.running() if where in (entry.name, entry.address)]
    entry = there[0] if there else backends.find(where) or registry.find(where)
    _refuse_arguments(where, asked, options)
    backend = backends.get(entry.backend)
    cluster = backend.rejoin(entry)
    try:
        with versions.left_to_check():
            client = Client(cluster, timeout=asked.timeout_s)
    except (OSError, TimeoutError) as error:
        cluster.close()
        raise ConnectError(f"The cluster {entry.name!r} at {entry.address} does not answer: {error}") from error
    _at_close(client, cluster.close)
    awaited = 0 if asked.n_workers is None else asked.n_workers
    return _Found(client, awaited, **_hooks(backend, cluster))


def _hooks(backend: Backend, cluster: Any) -> dict[str, Any]:
    """What the backend can say about a cluster; nothing when whoever could say it is gone, which shows elsewhere."""

    def ask(hook: Callable[[Any], str]) -> str:
        try:
            return str(hook(cluster))
        except (OSError, TimeoutError):
            return ""

    hooks = (backend.diagnose, backend.pending_summary, backend.fatal_reason)
    return {hook.__name__: functools.partial(ask, hook) for hook in hooks}


def _what_is_there(asked: Request, options: dict[str, Any], say: Say) -> str:
    import dask.config

    from af_kit.cluster import backends
    from af_kit.cluster.jupyter import session

    # The variable may have been set after Dask read the environment.
    address = os.environ.get("DASK_SCHEDULER_ADDRESS") or dask.config.get("scheduler-address", default=None)
    nothing_asked = all(value in (None, False) for name, value in vars(asked).items() if name != "timeout_s")
    if not address and not options and nothing_asked:
        address = session.panel_cluster()
        if address:
            say(f"The cluster of the Dask panel, {address}. Another one: connect({backends.configured()!r}).")
    return str(address or backends.configured())


def _given(where: Any, asked: Request, options: dict[str, Any]) -> _Found:
    from distributed import Client
    from distributed.deploy import Cluster

    if isinstance(where, Client):
        _refuse_arguments("The client's cluster", asked, options)
        if where.status != "running":
            raise ConnectError(f"This client is {where.status}. Connect again.")
        client, cluster = where, where.cluster
    elif isinstance(where, Cluster) or hasattr(where, "scheduler_address"):  # a gateway's is not Dask's Cluster
        _refuse_arguments("The cluster", asked, options)
        try:
            client, cluster = Client(where, timeout=asked.timeout_s), where
        except (RuntimeError, OSError, TimeoutError) as error:
            raise ConnectError(f"This cluster cannot be used: {error} Start another one.") from error
    else:
        raise InputError(f"connect({where!r}): give an address, a backend, a Dask client or a Dask cluster.")
    usual = 1 if getattr(cluster, "_adaptive", None) is None else 0
    return _Found(client, usual if asked.n_workers is None else asked.n_workers)


def _running(where: str, asked: Request, options: dict[str, Any], answer_s: float, say: Say) -> _Found:
    from af_kit.cluster import remote
    from af_kit.cluster.jupyter import session

    _refuse_arguments(where, asked, options)
    if where.endswith(".json"):
        where = remote.from_file(where, timeout_s=answer_s, say=say)
    address = remote.parse(where)
    client = remote.client_at(address, security=asked.security, timeout_s=answer_s, say=say)
    usual = 0 if session.grows(str(address)) else 1
    return _Found(client, usual if asked.n_workers is None else asked.n_workers)


def _refuse_arguments(what: str, asked: Request, options: dict[str, Any]) -> None:
    words = {"cores": "cores", "memory": "memory", "adapt": "adapt", "walltime_s": "walltime"}
    given = [word for name, word in words.items() if getattr(asked, name) is not None] + list(options)
    given += [word for word in ("detach", "idle_timeout_s") if getattr(asked, word)]
    if given:
        raise InputError(f"{what} runs already: {', '.join(given)} is only for a cluster that connect() starts.")


def _started(name: str, asked: Request, options: dict[str, Any], *, own_time: bool) -> _Found:
    from distributed import Client

    from af_kit.cluster import backends, versions

    backend = backends.load(name, options, asked)
    if asked.n_workers == 0:
        raise InputError("n_workers=0: a cluster needs a worker. One that grows with its load: adapt=(0, 10).")
    if own_time:
        asked = replace(asked, timeout_s=float(config.get(backend.timeout_key)))
    cluster = backend.start(asked, **options)
    end = cluster.shutdown if asked.detach else cluster.close
    try:
        with versions.left_to_check():
            client = Client(cluster, timeout=asked.timeout_s)
        _at_close(client, cluster.close)
        if asked.adapt:
            cluster.adapt(minimum=asked.adapt[0], maximum=asked.adapt[1])
    except BaseException:
        end()
        raise
    if not backend.wait_for_all:
        awaited = 1 if asked.first is None else min(1, asked.first)
    elif asked.first is None:
        awaited = cluster.first if hasattr(cluster, "first") else len(cluster.plan)
    else:
        awaited = asked.first
    return _Found(
        client,
        awaited,
        same_environment=backend.same_environment,
        timeout_s=asked.timeout_s,
        undo=end if asked.detach else None,
        **_hooks(backend, cluster),
    )


def _show_in_panel(client: Client) -> None:
    """Let the Jupyter server of this notebook show the cluster's dashboard, until the client is closed."""
    from af_kit.cluster.jupyter import dashboard, session

    server = session.jupyter_server()
    if server is not None:
        note = session.note(address=client.scheduler.address, link=dashboard.link(client), server=server)
        _at_close(client, lambda: session.remove(note))


def _at_close(client: Client, action: Callable[[], Any]) -> None:
    """Let the end of ``client`` be the end of something else as well: of its cluster, above all.

    Dask does so for ``Client()`` alone, which makes a local cluster of its own. A method of this one object keeps the
    client a plain ``distributed.Client``; ``with``, ``del`` and the end of the session all come through ``close``.
    Once: a closed client closes again when its garbage is collected, in whatever thread that happens. Should that be
    one that starts an event loop, the cluster's own close would wait for a lock that is held until the loop runs.
    """
    close_client = client.close
    ended = False

    def close(self: Client, *args: Any, **kwargs: Any) -> Any:
        nonlocal ended
        try:
            return close_client(*args, **kwargs)
        finally:
            if not ended:
                ended = True
                action()

    client.close = types.MethodType(close, client)


def _print(line: str) -> None:
    print(line, flush=True)


def _silence(line: str) -> None:
    pass
