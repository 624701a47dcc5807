"""Tests of real services: skipped if the service's programs are not installed, unless the run requires the service.

``AF_KIT_REQUIRE=slurm,xrootd`` requires ``test_slurm.py`` and ``test_xrootd.py``. In these files a missing program is a
failure, and so is any other skip, or a file without tests. A name without a file stops the run at once.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Generator, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from af_kit.errors import nearest

if TYPE_CHECKING:
    from services.kubernetes.cluster import Kubernetes
    from services.kubernetes.images import Images

HERE = Path(__file__).parent

# Debian installs daemons here, which is not on every user's PATH.
DAEMONS = ("/usr/local/sbin", "/usr/sbin", "/sbin")

Require = Callable[[str, Iterable[str]], dict[str, str]]


def asked_for() -> set[str]:
    """Return the services that this run requires."""
    return {name.strip() for name in os.environ.get("AF_KIT_REQUIRE", "").split(",") if name.strip()}


def service_of(path: Path) -> str:
    """Return the service that a file tests: ``slurm`` for ``test_slurm.py``."""
    return path.stem.removeprefix("test_")


@pytest.fixture(scope="session")
def require() -> Require:
    """``require(name, programs)`` returns the paths of a service's programs; without them it skips, or fails.

    Call it first in the fixture that starts the service::

        @pytest.fixture(scope="session")
        def slurm(require):
            programs = require("slurm", ["slurmctld", "slurmd", "munged"])
    """

    def find(name: str, programs: Iterable[str]) -> dict[str, str]:
        search = os.pathsep.join((os.environ.get("PATH", os.defpath), *DAEMONS))
        found = {program: shutil.which(program, path=search) for program in programs}
        absent = ", ".join(program for program, path in found.items() if path is None)
        if absent and name in asked_for():
            pytest.fail(f"AF_KIT_REQUIRE asks for {name}, but it is not installed: no {absent}", pytrace=False)
        if absent:
            pytest.skip(f"{name} is not installed: no {absent}")
        return {program: path for program, path in found.items() if path is not None}

    return find


@pytest.fixture(scope="session")
def required_services() -> set[str]:
    """The services that this run requires."""
    return asked_for()


def pytest_configure() -> None:
    files = {service_of(path) for path in HERE.glob("test_*.py")}
    for name in sorted(asked_for() - files):
        raise pytest.UsageError(
            f"AF_KIT_REQUIRE asks for {name!r}, but there is no tests/services/test_{name}.py.{nearest(name, files)}"
        )


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(
    collector: pytest.Collector,
) -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    report = yield
    if isinstance(collector, pytest.Module) and service_of(collector.path) in asked_for():
        if report.skipped:
            _fail(report, collector.path)
        elif report.passed and not report.result:
            report.outcome = "failed"
            report.longrepr = f"AF_KIT_REQUIRE asks for {collector.path.name}, but it has no test"
    return report


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    is_expected_failure = hasattr(report, "wasxfail")  # pytest reports these as skipped, too
    if report.skipped and not is_expected_failure and service_of(item.path) in asked_for():
        _fail(report, item.path)
    return report


def _fail(report: Any, path: Path) -> None:
    reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longrepr
    report.outcome = "failed"
    report.longrepr = f"AF_KIT_REQUIRE asks for {path.name}, so this must not be skipped. {reason}"


# ------------------------------------------------------------------------------ one cluster for two files of tests


@pytest.fixture(scope="session")
def kubernetes(require: Require) -> Iterator[Kubernetes]:
    """A Kubernetes cluster; the tests install the operator themselves, and it is removed at the end."""
    from services.kubernetes.cluster import Kubernetes, installed

    require("kubernetes", ["kubectl"])
    if reasons := installed():
        pytest.skip("; ".join(reasons))
    cluster = Kubernetes()
    yield cluster
    cluster.remove_operator()
    cluster.stop()


@pytest.fixture(scope="session")
def images(kubernetes: Kubernetes) -> Images:
    """The kit's image and the facility's in the cluster: those that variables name, or new ones."""
    from services.kubernetes.images import named

    named_here = all(os.environ.get(name) for name in ("AF_KIT_IMAGE", "AF_KIT_FACILITY_IMAGE"))
    return named() if named_here else kubernetes.build_images()
