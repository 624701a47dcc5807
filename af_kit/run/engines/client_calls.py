"""What surrounds the calls of a Dask client.

They end with a reason if the scheduler is lost, and a task that waits for other tasks gives its thread back meanwhile.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from af_kit.errors import ConnectError

__all__ = ["connection_lost", "is_lost", "noticing_loss", "seceded"]

# In seconds: a call may fail this long before the client notices that its scheduler is gone.
_NOTICE_S = 5.0


def connection_lost(client: Any) -> ConnectError:
    """Return the error for a client that has lost its scheduler."""
    address = getattr(client.scheduler, "address", "its address")
    return ConnectError(
        f"The connection to the scheduler at {address} is lost, or its cluster was restarted; the results on the "
        "workers are lost. Connect and run again; with checkpoint=... a run continues where it stopped."
    )


def is_lost(client: Any, error: BaseException) -> bool:
    """Return whether a client has lost its scheduler, given the error of a call."""
    from distributed.comm import CommClosedError

    deadline = time.monotonic() + (_NOTICE_S if isinstance(error, CommClosedError) else 0)
    while client.status == "running" and time.monotonic() < deadline:
        time.sleep(0.05)
    return bool(client.status != "running")


@contextmanager
def noticing_loss(client: Any) -> Iterator[None]:
    """Raise ConnectError if a call fails because the client has lost its scheduler.

    Every call may be the one that finds out: to plan files, to upload them, to submit tasks, to fetch results.
    """
    from distributed import CancelledError

    try:
        yield
    except CancelledError as error:  # the client's tasks, as it lost its scheduler or the cluster was restarted
        raise connection_lost(client) from error
    except OSError as error:
        if client is None or not is_lost(client, error):
            raise
        raise connection_lost(client) from error


@contextmanager
def seceded(client: Any) -> Iterator[None]:
    """Give this task's thread back to its worker while the task waits for other tasks of the same cluster.

    Otherwise a run that is started by a task would wait for itself, on a cluster whose threads all wait like this.
    """
    from distributed import get_worker, rejoin, secede

    try:
        worker = get_worker() if client is not None else None
    except ValueError:  # this is no task
        worker = None
    if worker is None or worker.scheduler.address != getattr(client.scheduler, "address", None):
        yield
        return
    secede()
    try:
        yield
    finally:
        rejoin()
