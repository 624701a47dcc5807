"""The prediction of throughputs: limits that can be computed by hand, and published points."""

from __future__ import annotations

import math
from itertools import pairwise
from types import SimpleNamespace

import pytest

from af_kit.errors import InputError
from af_kit.facility.predict import Costs, Site, costs_of, predict

# 100 tasks/s are 10 million events/s
COSTS = Costs(
    function_s=9e-6,
    decoding_s=1e-6,
    bytes_per_event=100,
    events_per_task=100_000,
    task_s=0,
    spread=0,
    scheduler_s=0,
    client_s=0,
)


def one(costs=COSTS, site=None, *, events=10**9, workers=100):
    return predict(costs, site, events=events, workers=[workers])[0]


def test_few_workers_compute_all_the_time():
    """A million seconds of events for 10 workers, in whole waves."""
    found = one(events=10**8, workers=10)
    assert found.limit == "function"
    assert found.wall_s == pytest.approx(100 * (1 + COSTS.merge_s * 16 / 15) + 3 * 15 * COSTS.merge_s)
    assert found.events_per_s == pytest.approx(10**6, rel=0.01)


@pytest.mark.parametrize(
    ("part", "costs", "site"),
    [
        ("scheduler", {"scheduler_s": 0.02}, {}),
        ("client", {"client_s": 0.02}, {}),
        ("storage", {}, {"storage_bytes_per_s": 5e8}),
    ],
)
def test_what_all_share_sets_the_pace(part, costs, site):
    """Each of these allows 50 tasks/s, 5 million events/s, however many workers there are."""
    measured = Costs(**{**vars(COSTS), "heartbeat_s": 0, **costs})
    few, many = (one(measured, Site(**site), workers=workers) for workers in (20, 1000))
    assert (few.limit, many.limit) == ("function", part)
    assert many.events_per_s == pytest.approx(5e6, rel=0.01)
    assert many.bounds[part] == pytest.approx(5e6, rel=0.01)


def test_heartbeats_take_time_of_the_scheduler():
    """Of 300 workers 120 in a second, of 2 ms each: the scheduler has three quarters of its time for tasks."""
    costs = Costs(**{**vars(COSTS), "scheduler_s": 0.02, "heartbeat_s": 0.002})
    assert one(costs, workers=300).bounds["scheduler"] == pytest.approx(5e6 * 0.76)


def test_the_network_of_a_worker_grows_with_the_workers():
    found = one(site=Site(worker_bytes_per_s=5e6), workers=100)
    assert (found.limit, found.events_per_s) == ("network", pytest.approx(5e6, rel=0.01))


def test_too_few_tasks_leave_workers_idle():
    """A thousand tasks of a second on 900 workers take two waves."""
    found = one(events=10**8, workers=900)
    assert found.seconds["balance"] == pytest.approx(2 - 1000 / 900, rel=0.01)
    assert found.wall_s == pytest.approx(2, rel=0.02)
    more = one(events=10**8, workers=5000)
    assert more.wall_s == pytest.approx(1, rel=0.02), "more workers than tasks do not help"
    assert (more.limit, more.seconds["balance"]) == ("balance", pytest.approx(0.8, rel=0.01))


def test_planning_and_large_results_are_part_of_the_time():
    costs = Costs(**{**vars(COSTS), "files": 1000, "plan_client_s": 0.01, "result_bytes": 1e7, "start_s": 2})
    site = Site(client_bytes_per_s=1e6)
    slow, fast = one(costs, site, events=10**6), one(events=10**6)
    assert slow.limit == "client"
    assert slow.wall_s - fast.wall_s == pytest.approx(2 + 10 + 10)


def test_more_workers_are_never_slower():
    rates = [
        p.events_per_s for p in predict(COSTS, Site(storage_bytes_per_s=1e9), events=10**8, workers=range(1, 500, 7))
    ]
    assert all(b >= a for a, b in pairwise(rates))


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: Costs(function_s=-1),
        lambda: Costs(function_s=math.nan),
        lambda: Costs(function_s=1, events_per_task=0),
        lambda: Costs(function_s=0, task_s=0),
        lambda: Site(storage_bytes_per_s=0),
        lambda: one(workers=0),
        lambda: one(events=0),
    ],
)
def test_numbers_that_make_no_sense_are_refused(wrong):
    with pytest.raises(InputError):
        wrong()


def test_costs_come_from_a_report_or_a_point():
    times = {"function": 8.0, "decoding": 2.0, "waiting": 1.0, "merging": 0.1, "idle": 3.0}
    report = SimpleNamespace(entries={"processed": 1000}, times=times, chunks=10, bytes_read=50_000)
    costs = costs_of(report, tasks=5, files=3)
    assert (costs.function_s, costs.decoding_s, costs.bytes_per_event) == (0.008, 0.002, 50)
    assert (costs.events_per_task, costs.merge_s, costs.files) == (200, 0.02, 3)
    point = SimpleNamespace(
        events=1000, times=times, chunks=10, bytes_read=1, scheduler_cpu_s=0.5, client_cpu_s=1.0, phases=None
    )
    assert (costs_of(point).scheduler_s, costs_of(point).client_s) == (0.05, 0.1)
    with pytest.raises(InputError, match="no event"):
        costs_of(SimpleNamespace(entries={"processed": 0}, times={}, chunks=1, bytes_read=0))


def test_published_points_of_136_million_events():
    """One process and a small run on 500, of two tasks and 8 s, give the others (coffea on a farm, H -> mu mu).

    Chunks of 100 000 events are coffea's default.
    """
    costs = Costs(function_s=1 / 11_000, events_per_task=100_000, start_s=8 - 72_000 / 11_000)
    published = {48: 537e3, 300: 2.9e6, 500: 3.8e6}
    for found in predict(costs, events=136_000_000, workers=published):
        assert found.events_per_s == pytest.approx(published[found.workers], rel=0.15), found
