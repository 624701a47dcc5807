"""What limits a point, for points whose limit is known."""

from __future__ import annotations

import math

import pytest

from af_kit.facility.limits import PARTS, ceilings, in_short, limit_of


def test_the_shares_are_those_of_the_threads_time(point):
    shares = limit_of(point()).shares
    # 26 of the tasks' 26 s without waiting were on a core
    assert shares["storage"] == pytest.approx(5.2 / 40)
    assert shares["decompression"] == pytest.approx(10 / 40)
    assert shares["function"] == pytest.approx(15.6 / 40)
    assert shares["cores"] == 0
    assert shares["merge"] == pytest.approx((0.8 + 4 * 0.1) / 40)
    assert shares["network"] == pytest.approx(0.4 / 40)
    assert shares["scheduler"] == pytest.approx(1.2 / 40)
    assert shares["balance"] == pytest.approx(2 / 40)
    assert shares["client"] == pytest.approx(4 * 0.9 / 40)
    assert list(shares) == list(PARTS)


def test_the_largest_share_limits_and_its_bound_is_the_smallest(point):
    limit = limit_of(point())
    assert limit.part == "function"
    assert limit.bounds["function"] == pytest.approx(100_000 / 0.39)
    assert limit.bounds["function"] == min(limit.bounds.values())
    assert limit.sentence == (
        "function: 39% of the threads' time is spent in the analysis function; it alone would allow 256k events/s, "
        "and the next limit, decompression, 400k. To go faster, use more cores, or a compiled loop."
    )


@pytest.mark.parametrize(
    ("part", "changes"),
    [
        ("storage", {"times": {"waiting": 28.0, "decoding": 1.0, "function": 1.0}, "task_cpu_s": 3.2}),
        ("network", {"gaps_s": 20.0, "transfer_s": 19.0}),
        ("network", {"times": {"waiting": 28.0, "decoding": 1.0, "function": 1.0}, "task_cpu_s": 3.2, "link_use": 0.9}),
        ("decompression", {"times": {"waiting": 1.0, "decoding": 20.0, "function": 8.0}, "task_cpu_s": 30.0}),
        ("cores", {"task_cpu_s": 9.0, "queued_s": 16.0}),
        ("cores", {"task_cpu_s": 9.0, "load": 3.0}),
        ("cores", {"task_cpu_s": 9.0, "queued_s": 1.0, "workers": 2}),  # two threads share an interpreter
        ("function", {"task_cpu_s": 9.0, "queued_s": 1.0}),  # it waits for something itself
        ("function", {"task_cpu_s": 9.0}),
        ("merge", {"final_merge_s": 5.0}),
        ("scheduler", {"gaps_s": 20.0}),
        ("scheduler", {"scheduler_cpu_s": 9.5}),
        ("balance", {"unused_s": 25.0}),
        ("client", {"planning_s": 4.0}),
        ("client", {"client_cpu_s": 9.9}),
    ],
)
def test_each_part_can_be_the_limit(point, part, changes):
    limit = limit_of(point(**changes))
    assert limit.part == part
    assert limit.sentence.startswith(f"{part}: ")


def test_a_run_without_phases_still_has_a_limit(point):
    limit = limit_of(point(phases=None))
    assert limit.part == "function"
    assert limit.shares["balance"] == limit.shares["merge"] - 0.8 / 40 == 0


def test_the_roofline(point):
    roof = ceilings(point())
    assert roof.per_thread == pytest.approx(1e6 / 31.2)
    assert roof.scheduler == pytest.approx(1e6 / 0.3)
    assert roof.client == pytest.approx(1e6 / 0.9)
    assert roof.at(4) == pytest.approx(4e6 / 31.2)
    assert roof.at(1000) == roof.client
    assert ceilings(point(phases=None, scheduler_cpu_s=0.0)).at(1e9) == pytest.approx(1e15 / 31.2)
    # a busy machine lowers the rate, not the roofline; of several points, the highest counts
    assert ceilings(point(busy_s=100.0)).per_thread == roof.per_thread
    assert ceilings(point(), point(scheduler_cpu_s=0.1, planning_s=9.0)).at(1e9) == pytest.approx(1e6 / 0.9)
    assert math.isinf(ceilings(point(task_cpu_s=0.0, times={}, phases=None, scheduler_cpu_s=0.0)).at(1))


@pytest.mark.parametrize(
    ("rate", "text"),
    [(12, "12"), (999.4, "999"), (6_000, "6.0k"), (415_200, "415k"), (999_900, "1.0M"), (2_900_000, "2.9M")],
)
def test_rates_in_short(rate, text):
    assert in_short(rate) == text
