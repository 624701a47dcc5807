from __future__ import annotations

import asyncio

from af_kit.cluster.kubernetes.status import ClusterStatus

REMOVED = "unable to retrieve container logs for containerd://50fb"


class Restarting(ClusterStatus):
    """A cluster with a pod that restarts: its node has removed the container of the first requests."""

    def __init__(self, *texts: str) -> None:
        super().__init__(None, "late", "af")
        self.texts = list(texts)

    async def _log(self, pod: str, params: dict[str, str]) -> str:
        return self.texts.pop(0)


def test_the_log_of_the_next_container_replaces_that_of_a_removed_one(monkeypatch):
    monkeypatch.setattr("af_kit.cluster.kubernetes.status._LOG_WAIT_S", 0.01)
    status = Restarting(REMOVED, "", "Traceback:\n  File x\nNo module named 'a'", "never read")
    assert asyncio.run(status.log_tail("pod")) == "\nThe end of its log:\nTraceback:\nNo module named 'a'"
    assert asyncio.run(Restarting(*[REMOVED] * 8).log_tail("pod")) == ""
    assert asyncio.run(Restarting("", "").log_tail("pod")) == ""
