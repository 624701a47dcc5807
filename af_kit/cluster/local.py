"""A cluster on this machine: one process per core, reachable from this machine only."""

from __future__ import annotations

import logging
import multiprocessing
import sys
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import dask.config
from dask.utils import parse_bytes
from distributed import LocalCluster, Security

from af_kit import config
from af_kit.cluster.backends import Backend
from af_kit.cluster.detached import certificates, launch
from af_kit.cluster.jupyter.dashboard import pages_on_demand
from af_kit.cluster.request import Request
from af_kit.cluster.workers.environment import worker_environment
from af_kit.cluster.workers.nanny import LocalNanny
from af_kit.cluster.workers.resource_limits import CPU_COUNT, MEMORY_LIMIT
from af_kit.errors import ConnectError, InputError

if TYPE_CHECKING:
    from distributed.deploy import Cluster

    from af_kit.cluster.detached.spec import ClusterSpec


_ROUTES = "distributed.scheduler.http.routes"
# Leads to dashboards of single workers, which these workers do not have; importing it takes 0.15 s.
_WORKER_PAGES = "distributed.http.proxy"
# Dask looks at its event loops 50 times a second, and at what each worker runs 100 times. On two cores that is a
# twentieth of the machine, also while it waits; slower clocks tell a stall or a hot line as well.
_CLOCKS = {"distributed.admin.tick.interval": "200ms", "distributed.worker.profile.interval": "100ms"}


class Local(Backend):
    """Workers as processes of this machine."""

    supported_options = ("name", "detach", "idle_timeout_s")
    wait_for_all = True
    same_environment = True

    def start(
        self,
        request: Request,
        *,
        dashboard: bool | str | None = None,
        environment: Mapping[str, Any] | None = None,
        local_directory: str | None = None,
        processes: bool = True,
    ) -> Cluster:
        """Start a scheduler in this process and workers beside it.

        With a name, an idle timeout or ``detach`` the scheduler has a process of its own.

        Parameters
        ----------
        request : Request
            By default one worker per core of this session, one thread each, and its memory in equal shares.
        dashboard : bool or str, optional
            True for a free port of 127.0.0.1, an address, or False (default: ``af_kit.cluster.local.dashboard``).
        environment : mapping, optional
            Variables for the workers, besides ``af_kit.cluster.environment``; None as a value removes one.
        local_directory : str, optional
            Where workers keep what does not fit into memory (default: Dask's temporary directory).
        processes : bool
            False runs the workers as threads of this process: to step through code with a debugger, not to be fast.

        Raises
        ------
        InputError
            ``security`` or the configured memory cannot be used.
        ConnectError
            The workers did not start.
        """
        _refuse_in_child()
        if request.security not in (None, True, False) and not isinstance(request.security, Security):
            raise InputError(
                f"security={request.security!r}: give True, for temporary certificates, or distributed.Security."
            )
        if request.detach or request.name or request.idle_timeout_s:
            given = {"dashboard": dashboard, "environment": environment and dict(environment), "processes": processes}
            if not processes:
                raise InputError("processes=False: the workers of a cluster with a name of its own are processes.")
            return launch.start(
                "local",
                request,
                {**given, "local_directory": local_directory},
                by_default_tls=False,
                usual_workers=usual_workers(request.cores),
            )
        dashboard = config.get("cluster.local.dashboard") if dashboard is None else dashboard
        clocks = _clocks()
        options = _options(request, dashboard, environment, local_directory, clocks, processes=processes)
        options |= {"security": request.security or None, "silence_logs": logging.WARNING}
        if not processes:
            options |= {"protocol": "tls" if request.security else "tcp"}
        routes = [route for route in dask.config.get(_ROUTES) if route != _WORKER_PAGES]
        began = time.monotonic()
        try:
            with dask.config.set({_ROUTES: routes, **clocks}):
                cluster = LocalCluster(**options)
        except (RuntimeError, OSError, TimeoutError) as error:
            late = time.monotonic() - began > request.timeout_s
            reason = (
                f"not all workers ran within {request.timeout_s:g} s. Is the machine busy? timeout_s= waits longer."
            )
            raise ConnectError(f"The local cluster did not start: {reason if late else _reason(error)}") from error
        if dashboard:
            pages_on_demand(cluster.scheduler)
        return cluster

    async def build(self, spec: ClusterSpec) -> LocalCluster:
        """A cluster with a head process of its own, there."""
        request = Request(n_workers=0, cores=spec.cores, memory=spec.memory, adapt=None, timeout_s=spec.start_s)
        defaults = config.get("cluster.local")
        usual = spec.adapt[1] if spec.adapt else spec.n_workers or usual_workers(spec.cores)
        dashboard = spec.options["dashboard"]
        options = _options(
            request,
            defaults["dashboard"] if dashboard is None else dashboard,
            spec.options["environment"],
            spec.options["local_directory"],
            _clocks(),
            processes=True,
        )
        options["memory_limit"] = spec.memory or _memory(defaults["memory"], usual)
        security = certificates.read(spec.security)
        with dask.config.set(_clocks()):
            return await LocalCluster(**options, security=security, silence_logs=False, asynchronous=True)


def usual_workers(cores: int | None = None) -> int:
    """Workers of a local cluster, where nobody said how many."""
    defaults = config.get("cluster.local")
    return int(defaults["n_workers"] or max(1, CPU_COUNT // (cores or defaults["cores"])))


def _options(
    request: Request,
    dashboard: bool | str,
    environment: Mapping[str, Any] | None,
    local_directory: str | None,
    clocks: Mapping[str, str],
    *,
    processes: bool,
) -> dict[str, Any]:
    defaults = config.get("cluster.local")
    cores = request.cores or defaults["cores"]
    usual = usual_workers(cores)
    options: dict[str, Any] = {
        "n_workers": usual if request.first is None else request.first,
        "threads_per_worker": cores,
        "memory_limit": request.memory or _memory(defaults["memory"], request.most or usual),
        "host": "127.0.0.1",
        # A free port unless one was asked for, also for the server without pages: never a complaint about 8787.
        "dashboard_address": dashboard if isinstance(dashboard, str) else "127.0.0.1:0",
        "scheduler_kwargs": {"dashboard": False},
        "local_directory": local_directory,
    }
    if processes:
        options |= {
            "worker_class": LocalNanny,
            "config": dict(clocks),
            "environment": worker_environment(environment),
            "preload": defaults["preload"],
            "start_s": request.timeout_s,
        }
    else:
        options |= {"processes": False}
    return options


def _clocks() -> dict[str, str]:
    return {key: value for key, value in _CLOCKS.items() if not _set_by_user(key)}


def _set_by_user(key: str) -> bool:
    """Whether a key of Dask's has another value than the one Dask ships."""
    shipped = dask.config.merge(*dask.config.defaults)
    return bool(dask.config.get(key) != dask.config.get(key, config=shipped))


def _memory(configured: str | float, workers: int) -> int:
    if configured == "auto":
        return int(MEMORY_LIMIT // max(workers, 1))
    try:
        return int(parse_bytes(configured))
    except ValueError:
        raise InputError(
            f"af_kit.cluster.local.memory is {configured!r}: give auto, or a size such as 4 GiB."
        ) from None


def _reason(error: BaseException) -> str:
    while error.__cause__ is not None:
        error = error.__cause__
    script = getattr(sys.modules["__main__"], "__file__", None)
    if script is not None and "failed to start worker process" in str(error):  # a process ended without a word
        return (
            f"the worker processes ended at once. Each of them first imports {script}: in a script, call connect() "
            "below `if __name__ == '__main__':`."
        )
    return f"{type(error).__name__}: {error}"


def _refuse_in_child() -> None:
    """End a worker process that is about to start a cluster of its own, before it became a worker.

    A new process first imports the script that started it. Without the usual guard it comes here again, and so would
    its children. It ends in silence; the process that waits for it tells the reason.
    """
    if getattr(multiprocessing.current_process(), "_inheriting", False):
        sys.exit(1)
