"""How a nanny in Kubernetes reaches a scheduler whose service has no routes yet."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace

import dask.config
import pytest
from distributed.core import ConnectionPool, Server

from af_kit.cluster.workers import connect_preload


class Unrouted(ConnectionPool):
    """The first few attempts to connect fail, each after its whole timeout."""

    def __init__(self, failures: int) -> None:
        super().__init__()
        self.failures_left, self.timeouts = failures, []

    async def connect(self, addr: str, timeout: float | None = None):
        self.timeouts.append(timeout)
        if self.failures_left:
            self.failures_left -= 1
            await asyncio.sleep(timeout)
            raise OSError("no answer")
        return await super().connect(addr, timeout=timeout)


def test_it_tries_again_soon_and_leaves_its_connection_to_dask(monkeypatch):
    monkeypatch.setattr(connect_preload, "_ATTEMPT_S", 0.01)

    async def use() -> None:
        async with Server({}) as server, Unrouted(5) as rpc:
            await server.listen("tcp://127.0.0.1:0")
            await connect_preload.dask_setup(SimpleNamespace(scheduler=SimpleNamespace(addr=server.address), rpc=rpc))
            assert len(rpc.timeouts) == 6
            assert max(rpc.timeouts) < 0.1  # no attempt waits for the kernel's second of silence
            assert (rpc.open, rpc.active) == (1, 0)  # Dask takes this one
            comm = await rpc.connect(server.address)
            assert (rpc.open, rpc.active) == (1, 1)
            rpc.reuse(server.address, comm)

    asyncio.run(use())


def test_it_gives_up_when_dask_would(monkeypatch):
    monkeypatch.setattr(connect_preload, "_ATTEMPT_S", 0.01)

    async def use() -> int:
        async with Unrouted(1000) as rpc:
            nanny = SimpleNamespace(scheduler=SimpleNamespace(addr="tcp://127.0.0.1:1"), rpc=rpc)
            soon = dask.config.set({"distributed.comm.timeouts.connect": "100 ms"})
            with soon, pytest.raises(OSError, match="no answer"):
                await connect_preload.dask_setup(nanny)
            return len(rpc.timeouts)

    assert 3 <= asyncio.run(use()) <= 11
