"""``connect("local")``: one worker process per core of this machine, reachable from this machine only."""

from __future__ import annotations

import asyncio
import logging
import multiprocessing
import sys
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import dask.config
from dask.utils import parse_timedelta
from distributed import LocalCluster, Security
from distributed.core import Status

from af_kit import config
from af_kit.cluster.backends import Backend
from af_kit.cluster.detached import certificates, launch
from af_kit.cluster.jupyter.dashboard import pages_on_demand, scheduler_routes
from af_kit.cluster.request import Request
from af_kit.cluster.scheduler_settings import SHORT_LOGS, unless_configured
from af_kit.cluster.workers.environment import worker_environment
from af_kit.cluster.workers.nanny import LocalNanny
from af_kit.cluster.workers.resource_limits import CPU_COUNT, MEMORY_LIMIT
from af_kit.errors import ConnectError, InputError

if TYPE_CHECKING:
    from distributed.deploy import Cluster

    from af_kit.cluster.detached.spec import ClusterSpec


# By default Dask checks its event loops 50 times a second, and profiles each worker 100 times. On two cores that costs
# a twentieth of the machine, even while it is idle; longer intervals show a stall or a hot line just as well.
_INTERVALS = {"distributed.admin.tick.interval": "200ms", "distributed.worker.profile.interval": "100ms"}


# In seconds: from the moment that Dask gives up a worker until it is replaced, and until the next attempt.
_RESTORE_S, _AGAIN_S = 0.5, 15.0


class RestoredCluster(LocalCluster):
    """A local cluster that replaces the workers that Dask gives up.

    A worker that ends is started again, but if that takes longer than ``distributed.deploy.lost-worker-timeout``, as on
    a busy machine, or fails, Dask only replaces it when somebody scales the cluster.
    """

    def _update_worker_status(self, op: str, msg: Any) -> None:
        super()._update_worker_status(op, msg)
        if op == "remove":
            given_up_s = parse_timedelta(dask.config.get("distributed.deploy.lost-worker-timeout"))
            asyncio.get_running_loop().call_later(given_up_s + _RESTORE_S, self._restore)

    def _restore(self) -> None:
        if self.status is not Status.running:
            return
        for name, worker in list(self.workers.items()):
            if worker.status in (Status.closed, Status.failed):
                del self.workers[name]
        if self.worker_spec.keys() - self.workers.keys():
            self.loop.add_callback(self._correct_state)
            asyncio.get_running_loop().call_later(_AGAIN_S, self._restore)


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
        """Start a scheduler in this process, and workers as its child processes.

        With a name, an idle timeout or ``detach``, the scheduler runs in a separate process.

        Parameters
        ----------
        request : Request
            The common options of `connect`. By default one worker with one thread per core of this session, which share
            its memory equally.
        dashboard : bool or str, optional
            True for a free port on 127.0.0.1, an address, or False (default: ``af_kit.cluster.local.dashboard``).
        environment : mapping, optional
            Environment variables of the workers, in addition to ``af_kit.cluster.environment``; None removes one.
        local_directory : str, optional
            Folder for data that does not fit into memory (default: Dask's temporary directory).
        processes : bool
            False runs the workers as threads of this process. That is slow, but a debugger can step through the code.

        Raises
        ------
        InputError
            ``security`` or the configured memory is invalid.
        ConnectError
            The workers did not start.
        """
        _exit_in_child()
        if request.security not in (None, True, False) and not isinstance(request.security, Security):
            raise InputError(
                f"security={request.security!r}: give True for temporary certificates, or a distributed.Security."
            )
        if request.detach or request.name or request.idle_timeout_s:
            if not processes:
                raise InputError("processes=False cannot be combined with name=, detach= or idle_timeout_s=.")
            given = {
                "dashboard": dashboard,
                "environment": environment and dict(environment),
                "local_directory": local_directory,
            }
            usual = usual_workers(request.cores)
            return launch.start("local", request, given, by_default_tls=False, usual_workers=usual)
        dashboard = config.get("cluster.local.dashboard") if dashboard is None else dashboard
        options = _options(request, dashboard, environment, local_directory, processes=processes)
        options |= {"security": request.security or None, "silence_logs": logging.WARNING}
        if not processes:
            options |= {"protocol": "tls" if request.security else "tcp"}
        dask.config.set(unless_configured(SHORT_LOGS))  # to stay: the scheduler reads it for each worker that joins
        started = time.monotonic()
        try:
            with dask.config.set({**scheduler_routes(), **unless_configured(_INTERVALS)}):
                cluster = RestoredCluster(**options)
        except (RuntimeError, OSError, TimeoutError) as error:
            if time.monotonic() - started > request.timeout_s:
                reason = (
                    f"not all workers ran within {request.timeout_s:g} s. If the machine is busy, raise timeout_s=."
                )
            else:
                reason = _reason(error)
            raise ConnectError(f"The local cluster did not start: {reason}") from error
        if dashboard:
            pages_on_demand(cluster.scheduler)
        return cluster

    async def build(self, spec: ClusterSpec) -> RestoredCluster:
        """Return the running cluster, without workers. Called in the scheduler process."""
        request = Request(n_workers=0, cores=spec.cores, memory=spec.memory, adapt=None, timeout_s=spec.start_s)
        defaults = config.get("cluster.local")
        usual = spec.adapt[1] if spec.adapt else spec.n_workers or usual_workers(spec.cores)
        dashboard = spec.options["dashboard"]
        options = _options(
            request,
            defaults["dashboard"] if dashboard is None else dashboard,
            spec.options["environment"],
            spec.options["local_directory"],
            processes=True,
        )
        options["memory_limit"] = spec.memory or _memory(defaults["memory"], usual)
        security = certificates.read(spec.security)
        with dask.config.set(unless_configured(_INTERVALS)):
            return await RestoredCluster(**options, security=security, silence_logs=False, asynchronous=True)


def usual_workers(cores: int | None = None) -> int:
    """Return the number of workers of a local cluster if the user does not give one."""
    defaults = config.get("cluster.local")
    if defaults["n_workers"] is not None:
        return config.as_count(defaults["n_workers"], "cluster.local.n_workers")
    return max(1, CPU_COUNT // (cores or config.as_count(defaults["cores"], "cluster.local.cores")))


def _options(
    request: Request,
    dashboard: bool | str,
    environment: Mapping[str, Any] | None,
    local_directory: str | None,
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
        # Any free port unless the user chose one, also for a server without pages: no warning that 8787 is taken.
        "dashboard_address": dashboard if isinstance(dashboard, str) else "127.0.0.1:0",
        "scheduler_kwargs": {"dashboard": False},
        "local_directory": local_directory,
    }
    if processes:
        options |= {
            "worker_class": LocalNanny,
            "config": unless_configured(_INTERVALS),
            "environment": worker_environment(environment),
            "preload": defaults["preload"],
            "start_s": request.timeout_s,
        }
    else:
        options |= {"processes": False}
    return options


def _memory(configured: str | float, workers: int) -> int:
    if configured == "auto":
        return int(MEMORY_LIMIT // max(workers, 1))
    return config.as_worker_memory(configured, "af_kit.cluster.local.memory")


def _reason(error: BaseException) -> str:
    while error.__cause__ is not None:
        error = error.__cause__
    script = getattr(sys.modules["__main__"], "__file__", None)
    if script is not None and "failed to start worker process" in str(error):
        return (
            f"the worker processes ended immediately. Each of them first imports {script}: in a script, call connect() "
            "below `if __name__ == '__main__':`."
        )
    return f"{type(error).__name__}: {error}"


def _exit_in_child() -> None:
    """End a worker process that is about to start a cluster itself, before it becomes a worker.

    A new process first imports the script that started it. If that has no ``if __name__ == "__main__"``, the process
    gets here again, and so would its children. It ends silently; its parent reports the reason.
    """
    if getattr(multiprocessing.current_process(), "_inheriting", False):
        sys.exit(1)
