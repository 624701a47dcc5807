"""How `af-kit lab` waits for a job."""

from __future__ import annotations

import pytest
from test_labs import create

from af_kit.cluster.batch.status import Job
from af_kit.errors import ConnectError
from af_kit.lab import slurm, start


@pytest.fixture
def reasons(monkeypatch):
    """Makes Slurm report these reasons, one at each query; the last one from then on."""

    def reasons(*reasons: str) -> None:
        left = list(reasons)

        def job(lab) -> Job:
            return Job("7", "pending", left.pop(0) if len(left) > 1 else left[0])

        monkeypatch.setattr(slurm.QUEUE, "job", job)
        monkeypatch.setattr(start, "POLL_S", (0.01, 0.01))
        monkeypatch.setattr(start, "SETTLED_S", 0.3)

    return reasons


def test_the_first_reason_that_slurm_reports_is_not_final(reasons):
    reasons(*["PartitionConfig"] * 5, "PartitionTimeLimit")
    with pytest.raises(ConnectError, match=r"will not run: .*PartitionTimeLimit.* walltime= is longer"):
        start.wait(create("long").submitted("7"), timeout_s=60, say=lambda line: None)


def test_a_reason_that_may_go_away_is_waited_for(reasons):
    reasons("Resources")
    lines: list[str] = []
    with pytest.raises(ConnectError, match=r"does not run after 0\.1 s: .*Resources.* the nodes are busy"):
        start.wait(create("busy").submitted("7"), timeout_s=0.1, say=lines.append)
    assert len(lines) == 1
