"""From nothing, a name or an address to a Dask client that can be used."""

from __future__ import annotations

import time
import types
import warnings
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from af_kit import config
from af_kit.errors import ConnectError, InputError

if TYPE_CHECKING:
    from distributed import Client
    from distributed.deploy import Cluster

    from af_kit.cluster.kinds import Request

# Seconds between two looks at the number of workers, and before the user is told what is waited for.
_LOOK_S = 2.0


def connect(
    where: str | Client | Cluster | None = None,
    *,
    n_workers: int | None = None,
    cores: int | None = None,
    memory: str | int | None = None,
    adapt: tuple[int, int] | None = None,
    timeout_s: float | None = None,
    security: Any = None,
    quiet: bool = False,
    **options: Any,
) -> Client:
    """Connect to a Dask cluster, and start one where there is none.

    Parameters
    ----------
    where : str, distributed.Client or Cluster, optional
        The address of a running scheduler (``"tcp://host:8786"``, ``"tls://host:8786"``), the path of its scheduler
        file (``"scheduler.json"``), or a kind of cluster to start (``"local"``). By default what is there: the
        scheduler of ``$DASK_SCHEDULER_ADDRESS`` or of Dask's configuration (``scheduler-address``), else the kind in
        ``af_kit.cluster.kind``, which is a local cluster if nobody changed it. A client or a cluster is taken as it is,
        and checked.
    n_workers : int, optional
        Workers to start; with a scheduler that runs already, workers to wait for (default 1).
    cores, memory : int, str, optional
        Threads and memory (``"4 GiB"``, or bytes) of each worker that is started.
    adapt : (int, int), optional
        Fewest and most workers: the cluster follows its load. In place of ``n_workers``.
    timeout_s : float, optional
        Seconds until the scheduler must have answered and workers must have joined (default:
        ``af_kit.cluster.timeout_s``).
    security : distributed.Security or bool, optional
        Certificates for TLS; True makes temporary ones for a cluster that is started.
    quiet : bool
        Print nothing: neither what is waited for, nor what was found.
    **options
        The kind's own, see ``start`` in its file below ``af_kit.cluster``: ``dashboard``, ``environment``, ...

    Returns
    -------
    distributed.Client
        ``client.cluster`` scales and adapts a cluster that was started here; ``client.close()``, the end of a ``with``
        block and the end of the session end it. A cluster that was found is left alone.

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
    from af_kit.cluster import dashboard, remote

    request = _request(n_workers, cores, memory, adapt, timeout_s, security)
    deadline = time.monotonic() + request.timeout_s
    say = _silence if quiet else _say
    dashboard.link_through_hub()

    if where is None:
        where = _what_is_there()
    explain = None
    if not isinstance(where, str):
        client, awaited, checked = _given(where, request, options), request.n_workers or 1, False
    elif _is_running(where):
        _refuse_start_arguments(where, request, options)
        answer_s = request.timeout_s if timeout_s is not None else config.get("cluster.answer_s")
        if where.endswith(".json"):
            address = remote.from_file(where, deadline=deadline, say=say)
        else:
            address = remote.parse(where)
        client = remote.client_at(address, security=security, timeout_s=min(answer_s, request.timeout_s), say=say)
        awaited, checked = request.n_workers or 1, False
    else:
        client, awaited, checked, explain = _start(where, request, options)
    try:
        _wait_for_workers(client, awaited, deadline, request.timeout_s, say, explain)
        if not checked:
            _check(client)
    except BaseException:
        if client is not where:
            client.close()
        raise
    say(_summary(client))
    return client


def _request(n_workers: Any, cores: Any, memory: Any, adapt: Any, timeout_s: Any, security: Any) -> Request:
    """The arguments, checked: what is wrong is said before anything is started."""
    from dask.utils import parse_bytes

    from af_kit.cluster.kinds import Request

    for name, value in (("n_workers", n_workers), ("cores", cores)):
        if value is not None and not _is_whole(value, 1):
            raise InputError(f"{name}={value!r}: give a whole number, 1 or more.")
    if adapt is not None:
        if n_workers is not None:
            raise InputError("Give n_workers or adapt=(fewest, most), not both.")
        if (
            not isinstance(adapt, (tuple, list))
            or len(adapt) != 2
            or not _is_whole(adapt[0], 0)
            or not _is_whole(adapt[1], max(1, adapt[0]))
        ):
            raise InputError(f"adapt={adapt!r}: give the fewest and the most workers, such as adapt=(0, 10).")
        adapt = (int(adapt[0]), int(adapt[1]))
    if timeout_s is None:
        timeout_s = config.get("cluster.timeout_s")
    if isinstance(timeout_s, bool) or not isinstance(timeout_s, (int, float)) or not timeout_s > 0:
        raise InputError(f"timeout_s={timeout_s!r}: give seconds, more than 0.")
    size = None
    if memory is not None:
        try:
            size = int(parse_bytes(memory))
        except (ValueError, TypeError, AttributeError):
            size = 0
        if size < 1 or isinstance(memory, bool):
            raise InputError(f"memory={memory!r}: give the size of one worker, such as '4 GiB', or bytes.")
    return Request(n_workers, cores, size, adapt, float(timeout_s), security)


def _is_whole(value: Any, least: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= least


def _what_is_there() -> str:
    import os

    import dask.config

    # The environment may have been set after Dask read it.
    address = os.environ.get("DASK_SCHEDULER_ADDRESS") or dask.config.get("scheduler-address", default=None)
    kind = config.get("cluster.kind")
    return str(address or ("local" if kind == "auto" else kind))


def _is_running(where: str) -> bool:
    return "://" in where or where.endswith(".json") or where.rpartition(":")[2].isdecimal()


def _refuse_start_arguments(where: str, request: Request, options: dict[str, Any]) -> None:
    given = [name for name in ("cores", "memory", "adapt") if getattr(request, name) is not None] + list(options)
    if given:
        raise InputError(
            f"{where} runs already, and {', '.join(given)} is for a cluster that connect() starts: leave it out. "
            "n_workers is the number to wait for."
        )


def _given(where: Any, request: Request, options: dict[str, Any]) -> Client:
    from distributed import Client
    from distributed.deploy import Cluster

    if isinstance(where, Client):
        _refuse_start_arguments("The client's cluster", request, options)
        if where.status != "running":
            raise ConnectError(f"This client is {where.status}: connect again.")
        return where
    if not isinstance(where, Cluster):
        raise InputError(
            f"connect({where!r}): give an address, a kind of cluster, a distributed.Client or a Dask cluster."
        )
    _refuse_start_arguments("The cluster", request, options)
    try:
        return Client(where, timeout=request.timeout_s)
    except (RuntimeError, OSError, TimeoutError) as error:
        raise ConnectError(f"This cluster cannot be used: {error}. Start another one.") from error


def _start(name: str, request: Request, options: dict[str, Any]) -> tuple[Client, int, bool, Callable[[], str] | None]:
    """A new cluster and its client, how many workers to wait for, and whether their versions are known to be right."""
    from distributed import Client

    from af_kit.cluster import kinds

    kind = kinds.load(name, options)
    cluster = kind.start(request, **options)
    try:
        client = Client(cluster, timeout=request.timeout_s)
        _own(client, cluster)
        if request.adapt:
            cluster.adapt(minimum=request.adapt[0], maximum=request.adapt[1])
    except BaseException:
        cluster.close()
        raise
    awaited = min(1, request.first) if request.first is not None else 1
    if getattr(kind, "WAIT_FOR_ALL", False):
        awaited = len(cluster.worker_spec) if request.first is None else request.first
    explain = getattr(kind, "explain", None)
    return (
        client,
        awaited,
        getattr(kind, "SAME_ENVIRONMENT", False),
        explain and (lambda: str(explain(cluster))),
    )


def _own(client: Client, cluster: Cluster) -> None:
    """Let the end of ``client`` be the end of ``cluster``.

    Dask does so for ``Client()`` alone, which makes its own local cluster; a method of this one object keeps the client
    a plain ``distributed.Client``. ``with``, the end of the session and ``del`` all come through ``close``.
    """
    close_client = client.close

    def close(self: Client, *args: Any, **kwargs: Any) -> None:
        try:
            close_client(*args, **kwargs)
        finally:
            cluster.close()

    client.close = types.MethodType(close, client)


def _wait_for_workers(
    client: Client, awaited: int, deadline: float, timeout_s: float, say: Callable[[str], None], explain: Any
) -> None:
    have, told = 0, ""
    while awaited:
        try:
            left = deadline - time.monotonic()
            client.wait_for_workers(awaited, timeout=max(0.01, min(_LOOK_S, left)))
            return
        except TimeoutError:
            have = len(client.scheduler_info(n_workers=-1)["workers"])
        except Exception as error:
            raise ConnectError(f"The scheduler went away while workers were awaited: {error!r}.") from error
        line = f"Waiting for workers: {have} of {awaited} ..."
        if left <= _LOOK_S:
            address = client.scheduler.address
            why = f" {explain()}" if explain else f" Start some: `dask worker {address}`."
            raise ConnectError(
                f"The scheduler at {address} answers, but {have} of {awaited} workers joined it within {timeout_s:g} s."
                f"{why} If they only need longer: timeout_s=."
            )
        if line != told:
            say(line)
            told = line


def _check(client: Client) -> None:
    """What can be wrong with workers that somebody else started."""
    from af_kit.cluster import versions
    from af_kit.cluster.environment import initial_environment, slow_allocator

    versions.check(client)
    environments = client.run(initial_environment, on_error="ignore")
    slow = sum(slow_allocator(variables) for variables in environments.values())
    if slow:
        wanted = {
            name: value for name, value in config.get("cluster.environment").items() if name.startswith("MALLOC_")
        }
        settings = " ".join(f"{name}={value}" for name, value in wanted.items() if value is not None)
        warnings.warn(
            f"{slow} of {len(environments)} workers give memory back after every array, as Dask sets it: reading ROOT "
            f"files takes them about twice the CPU. Start them with: export {settings}",
            stacklevel=3,
        )


def _summary(client: Client) -> str:
    from dask.utils import format_bytes

    from af_kit.cluster.dashboard import link

    workers = client.scheduler_info(n_workers=-1)["workers"].values()
    cores = sum(worker["nthreads"] for worker in workers)
    memory = sum(worker["memory_limit"] or 0 for worker in workers)
    parts = [f"{len(workers)} workers", f"{cores} cores"] + ([format_bytes(memory)] if memory else [])
    url = link(client)
    return f"Connected: {', '.join(parts)}" + (f"; dashboard {url}" if url else "")


def _say(line: str) -> None:
    print(line, flush=True)


def _silence(line: str) -> None:
    pass
