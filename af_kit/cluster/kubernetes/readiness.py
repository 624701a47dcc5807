"""Waiting for a cluster to come up: an obstacle that lasts ends it, with Kubernetes' own reason."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable

from af_kit.cluster.kubernetes.diagnostics import Obstacle, is_going, is_ready
from af_kit.cluster.kubernetes.status import OPERATOR_S, View
from af_kit.errors import ConnectError

# Seconds between two looks at what Kubernetes has made so far.
_LOOK_S = 0.2


async def wait_for_scheduler(view: View, patience_s: float, seen: list[Obstacle]) -> None:
    """Return when the scheduler's pod is ready.

    Parameters
    ----------
    view : View
        Of the cluster.
    patience_s : float
        Seconds that an obstacle may last that could go away by itself.
    seen : list
        Holds the obstacles that there are now.

    Raises
    ------
    ConnectError
        It will not be.
    """
    began = time.monotonic()

    async def is_up() -> bool:
        return any(is_ready(pod) and not is_going(pod) for pod in await view.listed("pods", "scheduler"))

    async def obstacles() -> list[Obstacle]:
        found = await view.obstacles("scheduler")
        if not found and time.monotonic() > began + OPERATOR_S and not await view.deployments("scheduler"):
            found = [await view.idle_operator()]
        return found

    await _until(is_up, obstacles, view, patience_s, seen)


async def wait_for_worker(
    view: View, has_joined: Callable[[], Awaitable[bool]], patience_s: float, seen: list[Obstacle]
) -> None:
    """Return when a worker has joined; else as `wait_for_scheduler`."""
    await _until(has_joined, lambda: view.obstacles("worker"), view, patience_s, seen)


async def _until(
    condition: Callable[[], Awaitable[bool]],
    obstacles: Callable[[], Awaitable[list[Obstacle]]],
    view: View,
    patience_s: float,
    seen: list[Obstacle],
) -> None:
    since: dict[Obstacle, float] = {}
    while not await condition():
        found = await obstacles()
        seen[:] = found
        now = time.monotonic()
        since = {obstacle: since.get(obstacle, now) for obstacle in found}
        for obstacle, first in since.items():
            if obstacle.lasting or now > first + patience_s:
                log = await view.last_words(obstacle.log_of) if obstacle.log_of else ""
                raise ConnectError(f"The Dask cluster {view.name} cannot start: {obstacle}{log}")
        await asyncio.sleep(_LOOK_S)
