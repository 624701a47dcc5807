"""Which differences between client, scheduler and workers matter."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import dask.config
import pytest
from distributed import LocalCluster

from af_kit.cluster import connect
from af_kit.cluster.versions import PACKAGES, check, compare
from af_kit.errors import ConnectError

SAME = dict.fromkeys(PACKAGES, "2.3.4") | {"python": "3.11.7.final.0"}


class Client:
    """Answers like ``distributed.Client.get_versions``."""

    def __init__(self, scheduler: dict[str, Any], *workers: dict[str, Any]) -> None:
        self.scheduler, self.workers = scheduler, workers

    def get_versions(self, packages: list[str]) -> dict[str, Any]:
        assert set(packages) == set(PACKAGES)
        return {
            "client": {"packages": SAME},
            "scheduler": {"packages": self.scheduler},
            "workers": {f"tcp://worker:{i}": {"packages": worker} for i, worker in enumerate(self.workers)},
        }

    def run(self, function: Callable[[], Any], **how: Any) -> dict[str, Any]:
        return {f"tcp://worker:{i}": function() for i in range(len(self.workers))}


def test_equal_versions():
    assert compare(SAME, SAME, {"a": SAME, "b": SAME}) == ([], [])


@pytest.mark.parametrize(
    ("package", "version", "seriousness"),
    [
        ("python", "3.12.7.final.0", "refused"),
        ("python", "3.11.2.final.0", "fine"),
        ("af_kit", "2.3.5", "refused"),
        ("af_kit", None, "refused"),
        ("awkward", None, "refused"),
        ("uproot", None, "refused"),
        ("awkward", "2.4.0", "doubtful"),
        ("awkward", "2.3.9", "fine"),
        ("distributed", "2.4.4", "doubtful"),
        ("cloudpickle", "3.3.4", "doubtful"),
        ("msgpack", None, "refused"),
    ],
)
def test_differences_of_a_worker(package: str, version: str | None, seriousness: str):
    other = SAME | {package: version}
    refused, doubtful = compare(SAME, SAME, {"a": SAME, "b": other, "c": other})
    expected = {"refused": (1, 0), "doubtful": (0, 1), "fine": (0, 0)}[seriousness]
    assert (len(refused), len(doubtful)) == expected
    for line in refused + doubtful:
        assert line.startswith(f"{package}: ")
        assert line.endswith("on 2 of 3 workers")


@pytest.mark.parametrize(
    ("package", "version", "seriousness"),
    [
        ("python", "3.10.7.final.0", "refused"),
        ("distributed", "2.4.4", "doubtful"),
        ("msgpack", None, "refused"),
        ("awkward", None, "fine"),
        ("af_kit", None, "fine"),
    ],
)
def test_differences_of_the_scheduler(package: str, version: str | None, seriousness: str):
    refused, doubtful = compare(SAME, SAME | {package: version}, {"a": SAME})
    assert ([len(refused), len(doubtful)]) == {"refused": [1, 0], "doubtful": [0, 1], "fine": [0, 0]}[seriousness]


def test_what_this_session_lacks_cannot_differ():
    assert compare(SAME | {"numba": None}, SAME, {"a": SAME}) == ([], [])


def test_check_refuses():
    client = Client(SAME, SAME | {"python": "3.12.1.final.0", "awkward": None, "hist": "2.9.0"})
    with pytest.raises(ConnectError, match=r"cannot run.*\n.*python: 3\.11\.7 here, 3\.12\.1 on 1 of 1") as caught:
        check(client)
    assert "awkward: 2.3.4 here, not installed on 1 of 1 workers" in str(caught.value)
    assert "container image" in str(caught.value)


def test_check_can_be_told_to_warn_only():
    client = Client(SAME, SAME | {"af_kit": None})
    with dask.config.set({"af_kit.cluster.check_versions": False}), pytest.warns(UserWarning, match="af_kit: 2"):
        check(client)


def test_check_warns():
    with pytest.warns(UserWarning, match=r"differ.*\n.*awkward: 2\.3\.4 here, 2\.9\.0 on 1 of 2 workers"):
        check(Client(SAME, SAME, SAME | {"awkward": "2.9.0"}))


@pytest.mark.filterwarnings("error")
def test_a_cluster_of_this_environment_is_fine(running: LocalCluster):
    with connect(running.scheduler_address, quiet=True) as client:
        check(client)
