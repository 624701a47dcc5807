"""Clusters of JupyterLab's Dask panel: in a real Jupyter server, and without one."""

from __future__ import annotations

import asyncio
import re
import threading
from types import SimpleNamespace
from typing import Any

import pytest
from cluster_tools import eventually
from dask.system import CPU_COUNT
from distributed.system import MEMORY_LIMIT
from panel_tools import PATIENCE_S, Lab

from af_kit.cluster.backends import Backend
from af_kit.cluster.jupyter.panel import PanelCluster
from af_kit.errors import ConnectError, InputError


def test_new_scale_adapt_and_shutdown(lab, cluster):
    assert re.fullmatch(r"local cluster \d+", cluster["name"])
    assert cluster["workers"] == 1
    path = f"dask/clusters/{cluster['id']}"
    assert lab.get(path, "PATCH", {"workers": 2})[0] == 200
    assert eventually(lambda: lab.workers(cluster["id"]) == 2, within_s=PATIENCE_S)
    status, model = lab.get(path, "PATCH", {"adapt": {"minimum": 0, "maximum": 3}})
    assert (status, model["adapt"]) == (200, {"minimum": 0, "maximum": 3})
    assert eventually(lambda: lab.workers(cluster["id"]) == 0, within_s=PATIENCE_S)  # there are no tasks
    status, model = lab.get(path, "PATCH", {"workers": 1})  # it no longer adapts
    assert "adapt" not in model
    assert eventually(lambda: lab.workers(cluster["id"]) == 1, within_s=PATIENCE_S)
    assert lab.get(path, "DELETE")[0] == 204
    assert lab.get("dask/clusters")[1] == []
    assert eventually(lambda: len(lab.children()) <= 1)  # multiprocessing's resource tracker remains
    assert list((lab.runtime / "af-kit").glob("*")) == []


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"workers": -1}, "whole number of workers, not to -1"),
        ({"workers": None}, "whole number of workers, not to None"),
        ({"adapt": {"minimum": 3, "maximum": 2}}, "From 3 to 2 workers is not a range"),
        ({"adapt": {"minimum": 0, "maximum": 0}}, "the maximum 1 or more"),
        ({"adapt": {"minimum": None, "maximum": 2}}, "whole numbers, not None"),
    ],
)
def test_invalid_numbers_are_refused_with_a_reason(lab, shared, change, reason):
    status, answer = lab.get(f"dask/clusters/{shared['id']}", "PATCH", change)
    assert status == 500
    assert reason in answer["message"]


def test_a_server_that_ends_leaves_nothing_behind(tmp_path):
    lab = Lab(tmp_path / "lab", DASK_LABEXTENSION__DEFAULT__WORKERS="1")
    try:
        assert lab.get("dask/clusters", "PUT")[0] == 200
        assert lab.children()
    finally:
        lab.stop()
    assert eventually(lambda: not lab.children())
    assert list((lab.runtime / "af-kit").glob("*")) == []


async def new(*arguments: Any, **options: Any) -> PanelCluster:
    return await PanelCluster(*arguments, asynchronous=True, **options)


def test_an_unknown_backend_or_option_is_an_error():
    with pytest.raises(InputError, match=r"'slrum' is not a cluster backend\. Did you mean 'slurm'"):
        asyncio.run(new("slrum"))
    with pytest.raises(InputError, match="no option 'colour'"):
        asyncio.run(new("local", colour="blue"))


class Slow(Backend):
    """A backend whose start blocks until the test sets ``go``."""

    def __init__(self) -> None:
        self.go = threading.Event()
        self.ended = threading.Event()

    def start(self, request: Any, *_: Any, **options: Any) -> Any:
        assert self.go.wait(60)
        return SimpleNamespace(close=self.ended.set, scheduler_info={}, scheduler_address="tcp://127.0.0.1:1")


@pytest.fixture
def slow(monkeypatch) -> Slow:
    slow = Slow()
    monkeypatch.setattr("af_kit.cluster.jupyter.panel.load", lambda *_: slow)
    return slow


def test_the_servers_loop_is_not_blocked_while_a_cluster_starts_and_ends(slow):
    async def others() -> None:
        slow.go.set()  # in the same loop: a start that blocked it would never end

    async def both() -> PanelCluster:
        cluster, _ = await asyncio.gather(new(), others())
        return cluster

    async def start_and_close() -> None:
        await (await both()).close()

    asyncio.run(start_and_close())
    assert slow.ended.is_set()


def test_workers_leave_memory_for_those_that_start_later():
    async def memory() -> tuple[int, int]:
        cluster = await new("local", n_workers=1)
        (worker,) = cluster.scheduler_info["workers"].values()
        await cluster.close()
        return worker["memory_limit"], worker["nthreads"]

    limit, _ = asyncio.run(memory())
    assert limit * CPU_COUNT <= MEMORY_LIMIT * 1.01


def test_a_start_that_takes_too_long_is_cancelled_and_cleaned_up(slow, records):
    with pytest.raises(ConnectError, match=r"did not start within 0\.1 s"):
        asyncio.run(new(timeout_s=0.1))
    slow.go.set()
    assert slow.ended.wait(10)
    assert list(records.glob("*")) == []
