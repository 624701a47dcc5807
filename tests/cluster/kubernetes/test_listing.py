from __future__ import annotations

import asyncio
import stat

import pytest
import yaml

from af_kit.cluster.kubernetes import listing
from af_kit.errors import ConnectError

CLUSTER = {
    "metadata": {"name": "big", "namespace": "af", "uid": "7", "creationTimestamp": "2026-01-01T00:00:00Z"},
    "spec": {"idleTimeout": 600},
}


def test_the_entry_of_a_cluster():
    entry = listing.to_entry(CLUSTER, workers=3)
    assert (entry.name, entry.backend, entry.detached, entry.idle_timeout_s) == ("big", "kubernetes", True, 600)
    assert entry.address == "tcp://big-scheduler.af:8786"
    assert entry.more == {"namespace": "af", "uid": "7", "workers": 3}


@pytest.mark.parametrize("owned", [{"ownerReferences": [{"uid": "8"}]}, {"annotations": {"af-kit/session": "1"}}])
def test_a_cluster_with_an_owner_or_a_guard_is_not_detached(owned):
    assert not listing.to_entry({**CLUSTER, "metadata": {**CLUSTER["metadata"], **owned}}).detached


def test_listing_works_inside_a_running_event_loop(monkeypatch, tmp_path, closed_port):
    """A notebook's cell runs in one. Nothing listens here, so the API server's absence is the expected error."""
    kubeconfig = {
        "clusters": [{"name": "c", "cluster": {"server": f"http://127.0.0.1:{closed_port}"}}],
        "users": [{"name": "u", "user": {}}],
        "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u"}}],
        "current-context": "x",
    }
    (tmp_path / "config").write_text(yaml.safe_dump(kubeconfig))
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "config"))

    async def cell() -> None:
        entry = listing.to_entry(CLUSTER)
        for action in (listing.entries, lambda: listing.end(entry), lambda: listing.fetch_logs(entry)):
            with pytest.raises(ConnectError, match="Kubernetes"):
                action()

    asyncio.run(cell())


def test_logs_are_written_to_private_files(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    files = listing.write_logs("big", {"big-scheduler-5f": "one", "big-default-worker-1": "two"})
    assert {path.name: path.read_text() for path in files} == {
        "scheduler.log": "one\n",
        "big-default-worker-1.log": "two\n",
    }
    assert {stat.S_IMODE(path.stat().st_mode) for path in files} == {0o600}
