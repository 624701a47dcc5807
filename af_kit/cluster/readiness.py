"""Whether a cluster can be used: workers are there, and they are as they should be."""

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

# Seconds between two looks at the workers, and before the user is told what is waited for.
_LOOK_S = 2.0


def wait_for_workers(
    client: Any,
    awaited: int,
    *,
    deadline: float,
    timeout_s: float,
    say: Callable[[str], None],
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
        How many; 0 does not wait.
    deadline : float
        On the clock of ``time.monotonic``.
    timeout_s : float
        The whole time that was given, for the message.
    say : callable
        Takes a line for the user, whenever the number has changed.
    diagnose : callable, optional
        Tells why none joined.
    pending_summary : callable, optional
        Tells in a line what is waited for.
    fatal_reason : callable, optional
        Tells why none will ever join; an empty text while that is open.

    Raises
    ------
    ConnectError
        They were not there in time, will never be, or the scheduler went away.
    """
    told = None
    while awaited:
        left = deadline - time.monotonic()
        try:
            client.wait_for_workers(awaited, timeout=max(0.01, min(_LOOK_S, left)))
            return
        except TimeoutError:
            have = len(client.scheduler_info(n_workers=-1)["workers"])
        except Exception as error:
            raise ConnectError(f"The scheduler went away while workers were awaited: {error!r}.") from error
        if left <= _LOOK_S:
            address = client.scheduler.address
            reason = diagnose() if diagnose else f"Start some: `af-kit worker {address}`."
            raise ConnectError(
                f"The scheduler at {address} answers, but {have} of {awaited} workers joined within {timeout_s:g} s. "
                f"{reason} If they only take longer: timeout_s=. A cluster that grows with its load: n_workers=0."
            )
        if fatal_reason and (reason := fatal_reason()):
            raise ConnectError(f"No worker will come. {reason}")
        line = pending_summary() if pending_summary else ""
        if (have, line) != told:
            say(f"Waiting for workers: {have} of {awaited}{'; ' if line else ''}{line} ...")
            told = have, line


def check_allocator(client: Any) -> None:
    """Warn about workers that somebody else started in Dask's way, which makes them slow at reading."""
    environments = client.run(initial_environment, on_error="ignore")
    slow = sum(slow_allocator(variables) for variables in environments.values())
    if not slow:
        return
    wanted = {name: value for name, value in config.get("cluster.environment").items() if name.startswith("MALLOC_")}
    settings = " ".join(f"{name}={value}" for name, value in wanted.items() if value is not None)
    warnings.warn(
        f"{slow} of {len(environments)} workers give memory back after every array, as Dask sets it: reading ROOT "
        f"files costs them about twice the CPU. Start them with: export {settings}",
        stacklevel=3,
    )


def summary(client: Any) -> str:
    """One line about the cluster: workers, cores, memory, dashboard."""
    workers = client.scheduler_info(n_workers=-1)["workers"].values()
    cores = sum(worker["nthreads"] for worker in workers)
    memory = sum(worker["memory_limit"] or 0 for worker in workers)
    parts = [_plural(len(workers), "worker"), _plural(cores, "core"), *([format_bytes(memory)] if memory else [])]
    url = link(client)
    return f"Connected: {', '.join(parts)}" + (f"; dashboard {url}" if url else "")


def _plural(count: int, word: str) -> str:
    return f"{count} {word}" if count == 1 else f"{count} {word}s"
