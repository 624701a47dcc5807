"""Thousands of tasks on workers that keep Dask's protocol and read no files (`benchmarks/scale`)."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import pytest
from distributed import Client, LocalCluster

import af_kit as af
from af_kit.data import chunks as planning
from af_kit.data.fileset.load import load_fileset
from af_kit.run.bookkeeping import Bookkeeping, Partial, Segment, combine
from af_kit.run.engines.base import Merger
from af_kit.run.plan import group_chunks, make_plan
from af_kit.run.process import process

sys.path.insert(0, str(Path(__file__).resolve().parents[3]))

from benchmarks.scale.protocol_workers import Behaviour, Farm, imitate_files
from benchmarks.scale.work import Work, many_chunks

TASKS, WORKERS = 2000, 20


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return af.write_files("dimuon", tmp_path_factory.mktemp("model"), 1000)[0]


@pytest.fixture
def farm():
    """Protocol workers on the event loop of this process's scheduler; now and then one dies, and another one comes."""
    options = {"host": "127.0.0.1", "dashboard_address": None, "silence_logs": 50}
    with LocalCluster(n_workers=0, **options) as cluster, Client(cluster) as client:
        farm = Farm(cluster.scheduler_address, Behaviour(task_s=0.01, plan_s=0, slow=0.1, leave_s=1.5))
        farm.client = client

        async def start():
            await farm.start(WORKERS)
            farm.lives = asyncio.create_task(farm.live())

        async def stop():
            farm.lives.cancel()
            for worker in list(farm.workers.values()):
                worker.abort()

        client.sync(start)
        yield farm
        client.sync(stop)


def test_every_task_counts_once_while_workers_come_and_go(farm, model):
    chunks = many_chunks(af.plan([str(model)])[0], TASKS, 1000)
    work = Work(800)
    result = process(work, chunks, farm.client, progress=False)
    assert farm.died > 0
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


def test_files_are_planned_in_a_few_tasks(farm, model, monkeypatch):
    monkeypatch.setattr(planning, "describe_file", planning.describe_file)  # put back at the end
    imitate_files(str(model), "Events")
    steps = []
    monkeypatch.setattr("af_kit.display.progress.Progress.update", lambda _, done=1, failed=0: steps.append(done))
    paths = [f"root://storage.invalid//file{i}.root" for i in range(3000)]
    plan = make_plan(load_fileset({"data": {"files": dict.fromkeys(paths, "Events")}}), client=farm.client)
    assert [chunk.file for chunk in plan.chunks.values()] == paths
    assert sum(steps) == 3000
    assert len(steps) < 300
