"""Whether a cluster is ready for work: its workers have joined, and their allocators are set for reading."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable
from typing import Any

from dask.utils import format_bytes

from af_kit import config
from af_kit.cluster.jupyter.dashboard import link
from af_kit.cluster.workers.environment import initial_environment, slow_allocator
from af_kit.errors import ConnectError

Say = Callable[[str], None]

# Seconds between two polls, and before the first line about what connect() is waiting for.
_POLL_S = 2.0


def wait_for_workers(
    client: Any,
    awaited: int,
    *,
    deadline: float,
    timeout_s: float,
    say: Say,
    diagnose: Callable[[], str] | None = None,
    pending_summary: Callable[[], str] | None = None,
    fatal_reason: Callable[[], str] | None = None,
) -> None:
    """Wait until ``awaited`` workers have joined.

    Parameters
    ----------
    client : distributed.Client
        Connected to the scheduler.
    awaited : int
        How many workers; 0 does not wait.
    deadline : float
        On the clock of ``time.monotonic``.
    timeout_s : float
        The whole time that was allowed, for the message.
    say : callable
        Receives a line for the user whenever something has changed.
    diagnose, pending_summary, fatal_reason : callable, optional
        As the methods of `backends.Backend`.

    Raises
    ------
    ConnectError
        The workers did not join in time or never will, or the scheduler stopped.
    """
    say = without_repeats(say)
    while awaited:
        left = deadline - time.monotonic()
        try:
            client.wait_for_workers(awaited, timeout=max(0.01, min(_POLL_S, left)))
            return
        except TimeoutError:
            joined = len(client.scheduler_info(n_workers=-1)["workers"])
        except Exception as error:
            raise ConnectError(f"The scheduler stopped while connect() was waiting for workers: {error!r}.") from error
        if left <= _POLL_S:
            address = client.scheduler.address
            reason = diagnose() if diagnose else f"Start workers: `af-kit worker {address}`."
            raise ConnectError(
                f"The scheduler at {address} answers, but {joined} of {awaited} workers joined within {timeout_s:g} s. "
                f"{reason} To wait longer: timeout_s=. For a cluster that starts workers on demand: n_workers=0."
            )
        if fatal_reason and (reason := fatal_reason()):
            raise ConnectError(f"No worker will come. {reason}")
        pending = pending_summary() if pending_summary else ""
        say(f"Waiting for workers: {joined} of {awaited}{'; ' if pending else ''}{pending} ...")


def without_repeats(say: Say) -> Say:
    """Return a function that calls ``say``, but not with the same line twice in a row."""
    last = ""

    def say_new(line: str) -> None:
        nonlocal last
        if line != last:
            last = line
            say(line)

    return say_new


def check_allocator(client: Any) -> None:
    """Warn about workers with Dask's allocator settings, which slow down reading."""
    environments = client.run(initial_environment, on_error="ignore")
    slow = sum(slow_allocator(variables) for variables in environments.values())
    if not slow:
        return
    wanted = {name: value for name, value in config.get("cluster.environment").items() if name.startswith("MALLOC_")}
    settings = " ".join(f"{name}={value}" for name, value in wanted.items() if value is not None)
    warnings.warn(
        f"{slow} of {len(environments)} workers return memory to the system after every array, which is Dask's "
        f"default: reading ROOT files takes about twice the CPU time. Start them with: export {settings}",
        stacklevel=3,
    )


def describe(client: Any) -> str:
    """Return one line about the cluster: workers, cores, memory, dashboard."""
    workers = client.scheduler_info(n_workers=-1)["workers"].values()
    cores = sum(worker["nthreads"] for worker in workers)
    memory = sum(worker["memory_limit"] or 0 for worker in workers)
    parts = [_plural(len(workers), "worker"), _plural(cores, "core"), *([format_bytes(memory)] if memory else [])]
    url = link(client)
    return f"Connected: {', '.join(parts)}" + (f"; dashboard {url}" if url else "")


def _plural(count: int, noun: str) -> str:
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"
