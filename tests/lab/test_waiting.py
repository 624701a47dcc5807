"""What `af-kit lab` makes of what the queue says while the job waits."""

from __future__ import annotations

import pytest
from test_labs import create

from af_kit.cluster.batch.status import Job
from af_kit.errors import ConnectError
from af_kit.lab import slurm, start


@pytest.fixture
def says(monkeypatch):
    """Lets Slurm say these reasons, one at each look; the last one from then on."""

    def says(*reasons: str) -> None:
        left = list(reasons)

        def look(lab) -> Job:
            return Job("7", "pending", left.pop(0) if len(left) > 1 else left[0])

        monkeypatch.setattr(slurm, "look", look)
        monkeypatch.setattr(start, "_FIRST_LOOK_S", 0.01)
        monkeypatch.setattr(start, "_LAST_LOOK_S", 0.01)

    return says


def test_the_reason_with_which_slurm_begins_is_not_the_last_word(says, monkeypatch):
    monkeypatch.setattr(start, "_SETTLED_S", 0.3)
    says(*["PartitionConfig"] * 5, "PartitionTimeLimit")
    with pytest.raises(ConnectError, match=r"will not run: .*PartitionTimeLimit.* walltime= is longer"):
        start.wait(create("long").submitted("7"), timeout_s=60, say=lambda line: None)


def test_what_may_pass_is_waited_for(says, monkeypatch):
    monkeypatch.setattr(start, "_SETTLED_S", 0.0)
    says("Resources")
    lines: list[str] = []
    with pytest.raises(ConnectError, match=r"does not run after 0\.1 s: .*Resources.* the nodes are busy"):
        start.wait(create("busy").submitted("7"), timeout_s=0.1, say=lines.append)
    assert len(lines) == 1
