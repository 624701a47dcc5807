"""Create a cluster and wait until it runs; a problem that does not go away ends the wait with Kubernetes' reason."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any

from af_kit.cluster.kubernetes.api import Refused
from af_kit.cluster.kubernetes.diagnostics import Problem, is_ready, is_terminating, pending_quota
from af_kit.cluster.kubernetes.status import OPERATOR_S, ClusterStatus
from af_kit.errors import ConnectError

_POLL_S = 0.2


async def create(
    post: Callable[[], Awaitable[dict[str, Any]]], problems: list[Problem], *, poll_s: float = 1.0
) -> dict[str, Any]:
    """Return the result of ``post``, which is called again while Kubernetes evaluates a new quota.

    Parameters
    ----------
    post : callable
        Sends the request that creates the cluster.
    problems : list
        Updated with the current problems, for the message of a caller that stops waiting.
    poll_s : float
        Seconds between two calls.

    Raises
    ------
    Refused
        For any other reason.
    """
    while True:
        try:
            created = await post()
        except Refused as error:
            problems[:] = pending_quota(error)
            if not problems:
                raise
            await asyncio.sleep(poll_s)
        else:
            problems.clear()
            return created


async def wait_for_scheduler(status: ClusterStatus, patience_s: float, problems: list[Problem]) -> None:
    """Wait until the scheduler's pod is ready.

    Parameters
    ----------
    status : ClusterStatus
        Of the cluster.
    patience_s : float
        Seconds to wait for problems that may go away.
    problems : list
        Updated with the current problems, for the message of a caller that stops waiting.

    Raises
    ------
    ConnectError
        The scheduler cannot start.
    """
    began = time.monotonic()

    async def is_up() -> bool:
        pods = await status.list_objects("pods", "scheduler")
        return any(is_ready(pod) and not is_terminating(pod) for pod in pods)

    async def find() -> list[Problem]:
        found = await status.problems("scheduler")
        if not found and time.monotonic() > began + OPERATOR_S and not await status.deployments("scheduler"):
            found = [await status.operator_problem()]
        return found

    await _wait(is_up, find, status, patience_s, problems)


async def wait_for_worker(
    status: ClusterStatus, has_joined: Callable[[], Awaitable[bool]], patience_s: float, problems: list[Problem]
) -> None:
    """Wait until a worker has joined; other parameters and errors as for `wait_for_scheduler`."""
    await _wait(has_joined, lambda: status.problems("worker"), status, patience_s, problems)


async def _wait(
    condition: Callable[[], Awaitable[bool]],
    find: Callable[[], Awaitable[list[Problem]]],
    status: ClusterStatus,
    patience_s: float,
    problems: list[Problem],
) -> None:
    since: dict[Problem, float] = {}
    while not await condition():
        problems[:] = await find()
        now = time.monotonic()
        since = {problem: since.get(problem, now) for problem in problems}
        for problem, first in since.items():
            if problem.fatal or now > first + patience_s:
                log = await status.log_tail(problem.log_pod) if problem.log_pod else ""
                raise ConnectError(f"The Dask cluster {status.name} cannot start: {problem}{log}")
        await asyncio.sleep(_POLL_S)
