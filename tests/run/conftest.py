"""Files and clusters for the tests of `process`: small files, real worker processes on 127.0.0.1."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import dask
import pytest
from distributed import Client, LocalCluster
from hypothesis import settings
from run_tools import write_events

# A loaded machine is no bug: examples have no deadline.
settings.register_profile("af-kit", deadline=None)
settings.load_profile("af-kit")


@pytest.fixture(autouse=True)
def small_tasks(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Tasks of 1000 entries, two threads on any machine, and no waiting before a second try."""
    monkeypatch.setattr("af_kit.run.engines.threads._cores", lambda: 2)
    with dask.config.set({"af_kit.data.chunk_bytes": 1, "af_kit.run.backoff_s": 0}):
        yield


@pytest.fixture(scope="session")
def files(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Six files, 20 000 entries: more tasks than one step of the merge tree takes, one file with none."""
    folder = tmp_path_factory.mktemp("events")
    sizes = [6000, 250, 5001, 0, 3749, 5000]
    return [write_events(folder / f"file{i}.root", entries, i) for i, entries in enumerate(sizes)]


@pytest.fixture(scope="session")
def fileset(files: list[Path]) -> dict[str, Any]:
    """Two datasets of these files, with a cross-section each."""
    names = [f"{path}" for path in files]
    return {
        "signal": {"files": dict.fromkeys(names[:4], "Events"), "metadata": {"xsec_pb": 2.0, "year": 2018}},
        "background": {"files": dict.fromkeys(names[4:], "Events"), "metadata": {"xsec_pb": 30.0, "year": 2018}},
    }


ClusterOf = Callable[..., AbstractContextManager[Client]]


class _cluster:
    """A cluster of single-thread worker processes, and its client."""

    def __init__(self, n_workers: int, **options: Any) -> None:
        self._cluster = LocalCluster(
            n_workers=n_workers,
            threads_per_worker=1,
            host="127.0.0.1",
            dashboard_address="127.0.0.1:0",
            silence_logs=50,
            **{"processes": True, **options},
        )
        self._client = Client(self._cluster)

    def __enter__(self) -> Client:
        return self._client

    def __exit__(self, *_: object) -> None:
        self._client.close()
        self._cluster.close()


@pytest.fixture(scope="module")
def client() -> Iterator[Client]:
    """Two workers, which no test harms."""
    with _cluster(2) as client:
        yield client


@pytest.fixture(scope="session")
def cluster_of() -> ClusterOf:
    """``with cluster_of(n_workers) as client:`` gives a cluster to harm."""
    return _cluster
