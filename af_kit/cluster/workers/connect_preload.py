"""A preload module for nannies in Kubernetes, which connects to the scheduler as soon as its service has routes.

Until then, the node refuses connections to the service: the first few openly, the others silently, as Linux sends only
one such refusal per second. The kernel repeats a silent attempt after one second, then after two and four more, and
Dask waits for it. A new connection every half second succeeds as soon as the routes exist.
"""

from __future__ import annotations

import time
from typing import Any

import dask.config
from dask.utils import parse_timedelta

__all__ = ["dask_setup"]

# Seconds for one attempt. Later attempts may take a quarter of the time so far, in case a name server is slow.
_ATTEMPT_S, _FRACTION = 0.5, 0.25


async def dask_setup(nanny: Any) -> None:
    """Open a connection to the scheduler, which the nanny then uses. Dask calls this before the nanny connects.

    Raises
    ------
    OSError
        There was no connection within ``distributed.comm.timeouts.connect``.
    """
    address, started = nanny.scheduler.addr, time.monotonic()
    timeout_s = parse_timedelta(dask.config.get("distributed.comm.timeouts.connect"))
    while True:
        elapsed = time.monotonic() - started
        try:
            comm = await nanny.rpc.connect(address, timeout=max(_ATTEMPT_S, _FRACTION * elapsed))
        except OSError:
            if time.monotonic() > started + timeout_s:
                raise
        else:
            nanny.rpc.reuse(address, comm)
            return
