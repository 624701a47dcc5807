"""A preload module for nannies in Kubernetes: each is with its scheduler as soon as a connection gets through.

Until a new service has its routes, the node refuses connections to it: the first few aloud, the others in silence, as
Linux limits such refusals to one a second. The kernel tries again after one second, then after two and four more, and
Dask waits for it. A new connection every half second gets through with the routes.
"""

from __future__ import annotations

import time
from typing import Any

import dask.config
from dask.utils import parse_timedelta

__all__ = ["dask_setup"]

# Seconds for one try; a later one may take a fourth of the time so far, should a name server be slow.
_TRY_S, _LATER = 0.5, 0.25


async def dask_setup(nanny: Any) -> None:
    """Called by Dask before the nanny connects, which it then does by the connection that is there.

    Raises
    ------
    OSError
        There was none within ``distributed.comm.timeouts.connect``.
    """
    address, began = nanny.scheduler.addr, time.monotonic()
    within_s = parse_timedelta(dask.config.get("distributed.comm.timeouts.connect"))
    while True:
        so_far = time.monotonic() - began
        try:
            comm = await nanny.rpc.connect(address, timeout=max(_TRY_S, _LATER * so_far))
        except OSError:
            if time.monotonic() > began + within_s:
                raise
        else:
            nanny.rpc.reuse(address, comm)
            return
