"""Points whose figures are made up, so that the right answer is known."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from af_kit.facility.phases import Phases
from af_kit.facility.point import Point

# Four threads for ten seconds: 40 s of threads, of which 31.2 s are busy.
PHASES = Phases(
    tasks=40,
    planning_s=0.5,
    main_s=9.0,
    final_merge_s=0.1,
    gather_s=0.4,
    first_chunk_s=1.2,
    unused_s=2.0,
    gaps_s=1.6,
    transfer_s=0.4,
)
POINT = Point(
    workload="dimuon",
    workers=4,
    threads=4,
    events=1_000_000,
    wall_s=10.0,
    first_result_s=3.2,
    chunks=40,
    bytes_read=200_000_000,
    busy_s=31.2,
    task_cpu_s=26.0,
    times={"waiting": 5.2, "decoding": 10.0, "function": 15.6, "merging": 0.8},
    worker_cpu_s=28.0,
    scheduler_cpu_s=0.3,
    client_cpu_s=0.8,
    worker_memory=300 << 20,
    sent=4_000_000,
    phases=PHASES,
)


@pytest.fixture
def point() -> Callable[..., Point]:
    """Return the point with other figures; those of `Phases` have their names, too."""

    def changed(**changes: Any) -> Point:
        phases = {name: changes.pop(name) for name in list(changes) if name in PHASES.__dataclass_fields__}
        return replace(POINT, **{"phases": replace(PHASES, **phases), **changes})

    return changed
