"""How the time of a run divides, for tasks at known times."""

from __future__ import annotations

import pytest

from af_kit.facility.phases import TaskTimes, phases_of, task_times

# Two workers with one thread each, from 100 to 110 s. The first run prepares the second.
TASKS = [
    TaskTimes("af-chunks-aaa-0", "one", 1, 100.2, 100.4),
    TaskTimes("combine-1", "one", 1, 100.4, 100.5),
    TaskTimes("af-chunks-bbb-0", "one", 1, 101.0, 103.0),
    TaskTimes("af-chunks-bbb-1", "two", 1, 101.5, 105.0),
    TaskTimes("af-chunks-bbb-2", "one", 1, 103.5, 108.0),
    TaskTimes("combine-2", "two", 1, 105.0, 105.5, transfer_s=0.2),
    TaskTimes("combine-3", "one", 1, 108.1, 109.0, transfer_s=0.1),
]


def test_the_phases_of_the_last_run():
    phases = phases_of(TASKS, begin=100.0, end=110.0, threads=2)
    assert phases is not None
    assert phases.tasks == 3
    assert phases.planning_s == pytest.approx(1.0)
    assert phases.first_chunk_s == pytest.approx(3.0)
    assert phases.main_s == pytest.approx(7.0)
    assert phases.final_merge_s == pytest.approx(1.0)
    assert phases.gather_s == pytest.approx(1.0)
    assert phases.unused_s == pytest.approx(3.0)  # the second worker after its only task
    assert phases.gaps_s == pytest.approx(14 - 10 - 0.5 - 3)
    assert phases.transfer_s == pytest.approx(0.3)


def test_threads_that_never_had_a_task_are_unused():
    phases = phases_of(TASKS, begin=100.0, end=110.0, threads=5)
    assert phases is not None
    assert phases.unused_s == pytest.approx(3.0 + 3 * 7.0)


def test_a_stream_without_chunks_has_no_phases():
    assert phases_of([TaskTimes("combine-1", "one", 1, 1, 2)], begin=0, end=3, threads=1) is None


def test_tasks_are_on_the_schedulers_clock():
    stream = [
        {
            "key": "af-chunks-bbb-0",
            "worker": "tcp://one",
            "thread": 7,
            "startstops": [
                {"action": "transfer", "start": 1.0, "stop": 1.25},
                {"action": "compute", "start": 1.5, "stop": 2.0},
            ],
        },
        {"key": "af-chunks-bbb-1", "worker": "tcp://one", "thread": None, "startstops": []},
    ]
    assert task_times(stream, {"tcp://one": 10.0}) == [TaskTimes("af-chunks-bbb-0", "tcp://one", 7, 11.5, 12.0, 0.25)]
