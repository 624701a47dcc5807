"""A thousand tasks on workers that keep Dask's protocol and read no files (`benchmarks/scale`)."""

from __future__ import annotations

import pickle
import subprocess
import sys
import types
from pathlib import Path

import cloudpickle
import pytest
from distributed import Client, LocalCluster

import af_kit as af
from af_kit.run.bookkeeping import Bookkeeping, Partial, Segment, combine
from af_kit.run.describe import describe_files
from af_kit.run.engines import dask_tasks
from af_kit.run.engines.base import Merger
from af_kit.run.pickling import Packed, dumps
from af_kit.run.plan import group_chunks, make_plan
from af_kit.run.process import process

sys.path.insert(0, str(Path(__file__).resolve().parents[3]))

from benchmarks.scale.protocol_workers import Behaviour, Farm
from benchmarks.scale.work import Work, many_chunks

TASKS, WORKERS = 1000, 20


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return af.write_files("dimuon", tmp_path_factory.mktemp("model"), 1000)[0]


@pytest.fixture
def farm():
    """Protocol workers on the event loop of this process's scheduler."""
    options = {"host": "127.0.0.1", "dashboard_address": None, "silence_logs": 50}
    with LocalCluster(n_workers=0, **options) as cluster, Client(cluster) as client:
        farm = Farm(cluster.scheduler_address, Behaviour(task_s=0.01, plan_s=0, slow=0.1))
        farm.client = client

        async def start():
            await farm.start(WORKERS)

        async def stop():
            for worker in list(farm.workers.values()):
                worker.abort()

        client.sync(start)
        yield farm
        client.sync(stop)


def test_every_task_counts_once(farm, model):
    chunks = many_chunks(af.plan([str(model)])[0], TASKS, 1000)
    work = Work(800)
    result = process(work, chunks, farm.client, progress=False)
    assert result.report.check().entries == {"planned": 1000 * TASKS, "processed": 1000 * TASKS, "failed": 0}
    expected = in_this_process(work, chunks)
    assert result["n"] == expected["n"] == 1000 * TASKS
    assert result["weight"] == expected["weight"], "the sum of floats depends on the order of merging"
    assert result["mass"] == expected["mass"]


def in_this_process(work, chunks):
    """The result of the same merge tree, without workers."""
    groups = group_chunks(make_plan(chunks), range(len(chunks)))
    assert len(groups) == TASKS
    merger = Merger(len(groups), combine)
    for leaf, group in enumerate(groups):
        parts = [
            Partial([Segment(number, number + 1, work(range(chunk.entry_start, chunk.entry_stop)))], Bookkeeping())
            for number, chunk in group
        ]
        merger.finish(leaf, combine(parts))
    ((_, whole),) = merger.remaining()
    (segment,) = whole.segments
    return segment.value


def test_a_scheduler_imports_no_reader():
    """It unpickles every task on its event loop, which nothing else can use in the meantime."""
    tasks = pickle.dumps([dask_tasks.on_worker, describe_files, combine, Packed(b"")])
    code = "import pickle, sys; pickle.load(sys.stdin.buffer); print(*{'awkward', 'uproot', 'hist'} & {*sys.modules})"
    assert subprocess.run([sys.executable, "-c", code], input=tasks, capture_output=True, check=True).stdout == b"\n"


def test_tasks_of_a_notebook_are_pickled_once():
    """Dask pickles again, by value, what has the name of the main module in it."""
    function = types.FunctionType((lambda events: {"n": len(events)}).__code__, {"__name__": "__main__"})
    function.__module__ = "__main__"
    assert b"__main__" in cloudpickle.dumps(function)
    assert b"__main__" not in pickle.dumps(Packed(dumps(function)))
    assert Packed(dumps(function)).value()([1, 2]) == {"n": 2}
