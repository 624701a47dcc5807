"""The grid goes on after what fails; and what snapshots of processes say."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import pytest

from af_kit.errors import ConnectError, InputError
from af_kit.facility import bench
from af_kit.facility.bench import Job, Shape, median, powers_of_two, run_grid
from af_kit.facility.probes import Snapshot, WorkerState, between
from af_kit.facility.samples import part
from af_kit.facility.workloads import WORKLOADS, workload


@pytest.fixture
def measured(monkeypatch, point) -> list[tuple]:
    """What would have been measured: the workload fails on two workers for its larger size."""
    calls: list[tuple] = []

    def measure(what, fileset, client, *, first_result_s, warm_up, **options):
        calls.append((client, fileset, warm_up, options))
        if (client, fileset) == (2, "large"):
            raise ConnectError("the cluster is gone")
        return point(workers=min(client, 3), threads=min(client, 3), first_result_s=first_result_s)

    monkeypatch.setattr(bench, "measure", measure)
    monkeypatch.setattr(bench, "first_result", lambda *_, **__: 4.5)
    return calls


@contextlib.contextmanager
def connect(shape: Shape) -> Iterator[int]:
    if shape.workers == 7:
        raise ConnectError("the queue is full")
    yield shape.workers


def test_the_other_points_are_measured_all_the_same(measured):
    points, failures = [], []
    shapes = [Shape(1), Shape(2, 2), Shape(7), Shape(4)]
    job = Job(WORKLOADS["dimuon"], {2_000_000: "large", 1_000: "small"})
    run_grid(shapes, [job], connect, on_point=points.append, on_failure=failures.append, chunk_entries=5)
    assert failures == ["dimuon, 2 x 2, 2.0M events: the cluster is gone", "7 x 1: the queue is full"]
    assert [one.workers for one in points] == [1, 1, 2, 3, 3]
    assert points[-1].notes == ("4 workers were asked for, and there were 3",)
    assert {one.first_result_s for one in points} == {4.5}
    assert [fileset for _, fileset, _, _ in measured] == ["small", "large"] * 3
    assert measured[0][2:] == (True, {"chunk_entries": 5})


def test_an_interrupt_ends_the_grid(measured, monkeypatch):
    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(bench, "measure", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run_grid(
            [Shape(1)],
            [Job(WORKLOADS["dimuon"], {1: "small"})],
            connect,
            on_point=lambda _: None,
            on_failure=lambda _: None,
        )


def test_the_median_says_the_range(point):
    chosen = median([point(wall_s=wall) for wall in (10.0, 5.0, 8.0)])
    assert chosen.wall_s == 8.0
    assert chosen.notes == ("the median of 3 runs, from 100k to 200k events/s",)
    assert median([point()]) == point()


def test_shapes():
    assert [str(shape) for shape in (Shape(), Shape(4), Shape(4, 2))] == ["the cluster as it is", "4 x 1", "4 x 2"]
    assert [powers_of_two(most) for most in (1, 2, 6, 8)] == [[1], [1, 2], [1, 2, 4, 6], [1, 2, 4, 8]]


def test_an_unknown_workload_names_the_nearest():
    with pytest.raises(InputError, match="Did you mean 'dimuon'"):
        workload("dimuons")
    assert workload(len).name == "len"


def test_what_was_used_between_two_snapshots():
    def state(host: str, pid: int, *, cpu: float, sent: int, nic: tuple[int, int, float]) -> WorkerState:
        nics = {"eth0": nic, "new": (9, 9, 0.0)}
        return WorkerState(host, pid, 1, cpu, 0, sent, 0.0, 0.0, queued_s=2 * cpu, nics=nics)

    before = Snapshot(
        100.0,
        {
            "a": state("one", 1, cpu=1.0, sent=10, nic=(1000, 0, 100.0)),
            "b": state("one", 2, cpu=2.0, sent=0, nic=(1000, 0, 100.0)),
            "gone": state("two", 3, cpu=5.0, sent=0, nic=(0, 0, 0.0)),
        },
        scheduler_cpu_s=1.0,
    )
    after = Snapshot(
        110.0,
        {
            "a": state("one", 1, cpu=4.0, sent=60, nic=(1200, 800, 100.0)),
            "b": state("one", 2, cpu=3.5, sent=5, nic=(1200, 800, 100.0)),
            "late": state("three", 4, cpu=9.0, sent=900, nic=(1, 1, 0.0)),
        },
        scheduler_cpu_s=1.5,
    )
    used = between(before, after, 9.0)
    assert used.worker_cpu_s == pytest.approx(4.5)
    assert used.scheduler_cpu_s == pytest.approx(0.5)
    assert used.queued_s == pytest.approx(9.0)
    assert used.sent == 55
    assert used.host_bytes == 1000  # of one host, once
    assert used.link_use == pytest.approx(0.8)  # 800 bytes in ten seconds, of 100 bytes/s


def test_a_part_of_a_fileset_has_files_of_each_dataset():
    from af_kit.data.fileset.datasets import Dataset, File, Fileset

    def dataset(name: str, count: int) -> Dataset:
        return Dataset(name, tuple(File((f"/{name}{number}.root",)) for number in range(count)))

    fileset = Fileset([dataset("a", 4), dataset("b", 1)])
    entries = {file.path: 100 for one in fileset.values() for file in one.files}
    chosen = part(fileset, entries, 250)
    assert {name: len(one.files) for name, one in chosen.items()} == {"a": 2, "b": 1}
    assert part(fileset, entries, 10_000) == fileset
