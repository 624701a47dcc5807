"""Start the scheduler process of a cluster, and return a handle on the cluster. In the notebook."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import dask.config

from af_kit import config, errors
from af_kit.cluster.batch.status import quote_log
from af_kit.cluster.detached import certificates, registry
from af_kit.cluster.detached.handle import ClusterHandle
from af_kit.cluster.detached.spec import ClusterSpec
from af_kit.cluster.request import Request
from af_kit.errors import AfKitError, ConnectError, InputError


def start(
    backend: str, request: Request, options: Mapping[str, Any], *, by_default_tls: bool, usual_workers: int = 1
) -> ClusterHandle:
    """Start the scheduler process of a cluster, and wait until its scheduler answers.

    Parameters
    ----------
    backend : str
        The backend whose ``build`` the scheduler process calls.
    request : Request
        The common options of `connect`.
    options : mapping
        The backend's options, as values that JSON can represent.
    by_default_tls : bool
        Whether connections are encrypted if the request leaves it open.
    usual_workers : int
        Initial number of workers if the request leaves it open.

    Raises
    ------
    ConnectError, InputError
        The scheduler did not start; the message has the reason.
    """
    spec = prepare(backend, request, options, by_default_tls=by_default_tls, usual_workers=usual_workers)
    process = None
    try:
        process = _spawn(spec)
        entry = _wait(spec, process, request.timeout_s)
        if request.detach:  # reap the process when it ends, or it would stay as a zombie
            threading.Thread(target=process.wait, name="af-kit-detached", daemon=True).start()
        first = spec.adapt[0] if spec.adapt else spec.n_workers or 0
        return ClusterHandle(entry, process=process, owned=not request.detach, first=first)
    except BaseException:
        if process is not None:
            process.kill()
            process.wait()
        shutil.rmtree(spec.folder, ignore_errors=True)
        raise


def prepare(
    backend: str,
    request: Request,
    options: Mapping[str, Any],
    *,
    by_default_tls: bool,
    usual_workers: int = 1,
    parent: bool = True,
) -> ClusterSpec:
    """Create the folders of a new cluster, and write its spec there.

    Parameters
    ----------
    backend, request, options, by_default_tls, usual_workers
        As for `start`.
    parent : bool
        Whether a cluster that is not detached ends with this process.
    """
    try:
        json.dumps(dict(options))
    except TypeError as error:
        raise InputError(
            f"connect({backend!r}): an option is not a string, a number, or a list or dict of these ({error})."
        ) from error
    name, job_name, folder, logs = registry.reserve(request.name, backend)
    try:
        idle = config.get("cluster.idle_timeout_s") if request.detach else None
        spec = ClusterSpec(
            backend=backend,
            name=name,
            job_name=job_name,
            folder=str(folder),
            logs=str(logs),
            n_workers=usual_workers if request.n_workers is None and not request.adapt else request.n_workers,
            adapt=request.adapt,
            cores=request.cores,
            memory=request.memory,
            walltime_s=request.walltime_s,
            idle_timeout_s=request.idle_timeout_s or idle,
            detached=request.detach,
            parent=os.getpid() if parent and not request.detach else None,
            start_s=request.timeout_s,
            security=certificates.write(request.security, folder, by_default=by_default_tls),
            options=dict(options),
            configuration=dask.config.serialize(dask.config.config),
        )
        spec.write()
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    return spec


def _spawn(spec: ClusterSpec) -> subprocess.Popen[bytes]:
    with (Path(spec.logs) / "scheduler.log").open("wb") as log:
        return subprocess.Popen(
            [sys.executable, "-m", "af_kit.cluster.detached.scheduler_process", spec.folder],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # Ctrl-C in a terminal must not reach the cluster
            env={name: value for name, value in os.environ.items() if name != "DASK_SCHEDULER_ADDRESS"},
        )


def _wait(spec: ClusterSpec, process: subprocess.Popen[bytes], timeout_s: float) -> registry.Entry:
    deadline = time.monotonic() + timeout_s
    while True:
        ended = process.poll() is not None
        with contextlib.suppress(ConnectError):
            return registry.find(spec.name)
        if ended:
            raise _start_error(spec)
        if time.monotonic() > deadline:
            raise ConnectError(
                f"The scheduler of the {spec.backend} cluster did not start within {timeout_s:g} s.{_log(spec)}"
            )
        time.sleep(0.05)


def _start_error(spec: ClusterSpec) -> AfKitError:
    try:
        name, message = json.loads((Path(spec.logs) / "failure.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        name, message = "", f"its process ended.{_log(spec)}"
    error = getattr(errors, name, None) if name else None
    if isinstance(error, type) and issubclass(error, AfKitError):
        return error(message)
    return ConnectError(f"The {spec.backend} cluster did not start: {message}")


def _log(spec: ClusterSpec) -> str:
    return quote_log(f"{spec.logs}/scheduler.log").rstrip()
