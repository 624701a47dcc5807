"""A cluster of batch jobs, without a batch system. Real ones: tests/services."""

from __future__ import annotations

import asyncio
from pathlib import Path
from types import SimpleNamespace

from af_kit.cluster.batch.base import BatchCluster
from af_kit.cluster.batch.job import JobHistory
from af_kit.cluster.batch.status import Job


class Late(BatchCluster):
    """A cluster of two jobs whose queue reports no start yet; one worker has connected."""

    def __init__(self, folder: Path):
        self.cluster_spec = SimpleNamespace(logs=folder, job_name="late")
        self.history = JobHistory(folder, submitted={"1": 0.0, "2": 0.0})
        self.workers = {"w1": SimpleNamespace(job_id="1"), "w2": SimpleNamespace(job_id="2")}
        self._asked_at = -float("inf")

    async def queue(self) -> dict[str, Job]:
        return {"1": Job("1", "pending", "Priority"), "2": Job("2", "pending", "Priority")}

    def _connected(self) -> set[str]:
        return {"w1"}


def test_a_job_runs_if_its_worker_has_connected_whatever_the_queue_says(tmp_path: Path):
    first, second = asyncio.run(Late(tmp_path).jobs())
    assert (first.state, first.reason, first.joined) == ("running", "", True)
    assert (second.state, second.reason, second.joined) == ("pending", "Priority", False)
