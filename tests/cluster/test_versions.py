"""Differences of versions and environments between client, scheduler and workers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import dask.config
import pytest
from distributed import LocalCluster

from af_kit.cluster import connect, versions
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
    ("package", "version", "severity"),
    [
        ("python", "3.12.7.final.0", "error"),
        ("python", "3.11.2.final.0", "fine"),
        ("af_kit", "2.3.5", "error"),
        ("af_kit", None, "error"),
        ("awkward", None, "error"),
        ("uproot", None, "error"),
        ("awkward", "2.4.0", "warning"),
        ("awkward", "2.3.9", "fine"),
        ("distributed", "2.4.4", "warning"),
        ("cloudpickle", "3.3.4", "warning"),
        ("msgpack", None, "error"),
    ],
)
def test_differences_of_a_worker(package: str, version: str | None, severity: str):
    other = SAME | {package: version}
    errors, warnings = compare(SAME, SAME, {"a": SAME, "b": other, "c": other})
    expected = {"error": (1, 0), "warning": (0, 1), "fine": (0, 0)}[severity]
    assert (len(errors), len(warnings)) == expected
    for line in errors + warnings:
        assert line.startswith(f"{package}: ")
        assert line.endswith("on 2 of 3 workers")


@pytest.mark.parametrize(
    ("package", "version", "severity"),
    [
        ("python", "3.10.7.final.0", "error"),
        ("distributed", "2.4.4", "warning"),
        ("msgpack", None, "error"),
        ("awkward", None, "fine"),
        ("af_kit", None, "fine"),
    ],
)
def test_differences_of_the_scheduler(package: str, version: str | None, severity: str):
    errors, warnings = compare(SAME, SAME | {package: version}, {"a": SAME})
    assert ([len(errors), len(warnings)]) == {"error": [1, 0], "warning": [0, 1], "fine": [0, 0]}[severity]


def test_packages_that_this_session_lacks_are_ignored():
    assert compare(SAME | {"numba": None}, SAME, {"a": SAME}) == ([], [])


def test_check_raises():
    client = Client(SAME, SAME | {"python": "3.12.1.final.0", "awkward": None, "hist": "2.9.0"})
    with pytest.raises(ConnectError, match=r"cannot run.*\n.*python: 3\.11\.7 here, 3\.12\.1 on 1 of 1") as caught:
        check(client)
    assert "awkward: 2.3.4 here, not installed on 1 of 1 workers" in str(caught.value)
    assert "container image" in str(caught.value)


def test_check_only_warns_if_configured():
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


def test_environments_are_compared():
    session = {"numpy": "2.1", "hist": "2.9", "mine": "1.0"}
    assert versions.compare_packages(session, {"a": session, "b": {**session, "more": "1"}}) == []
    assert versions.compare_packages(session, {"a": session, "b": {"numpy": "2.2", "hist": "2.9"}}) == [
        "not on all workers: mine",
        "other versions: numpy 2.1 here, 2.2 there",
    ]
    many = {f"p{number:02}": "1" for number in range(20)}
    (line,) = versions.compare_packages(many, {"a": {}})
    assert line.endswith("p07 and 12 more")
    assert "numpy" in versions.installed()


class OtherEnvironment:
    """A client whose workers have another environment."""

    def __init__(self, environment: versions.Environment, packages: dict[str, str]) -> None:
        self._answers = {versions.current_environment: environment, versions.installed: packages}

    def run(self, function: Any, **how: Any) -> dict[str, Any]:
        return {"tcp://worker": self._answers[function]}


def test_another_folder_with_the_same_packages_is_fine():
    other = versions.Environment("/opt/conda", "hub/image:1")
    packages = versions.installed()
    assert versions.environment_differences(OtherEnvironment(other, packages)) == []
    first, second = versions.environment_differences(OtherEnvironment(other, {**packages, "numpy": "0.1"}))
    assert "/opt/conda in hub/image:1 on 1 of 1 workers" in first
    assert second.startswith("other versions: numpy")
    assert versions.environment_differences(OtherEnvironment(versions.current_environment(), {})) == []
