"""Set-up of all tests."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Any

import pytest

# Processes that a shell starts in the background ignore interrupts, and so do their children. The tests of interrupts
# need them.
signal.signal(signal.SIGINT, signal.default_int_handler)

# ``make test`` runs several files at a time (pytest-xdist). The files of a group run one after the other in one
# process: they share a service, or read what the one before wrote. Groups start after all other files, because their
# services keep the machine busy, the longest first. A Kubernetes cluster costs a quarter of a core even when idle,
# so nothing comes after it.
GROUPS = (
    ("test_image.py", "test_facility.py", "test_kubernetes.py"),
    ("test_slurm.py", "test_panel.py", "test_lab.py"),
    ("test_jupyterhub.py", "test_browser.py", "test_oidc.py"),
    ("test_htcondor.py",),
    ("test_xrootd.py",),
    ("notebooks",),
    ("test_gateway.py",),
    ("test_root.py", "test_roofit.py"),
    ("test_spark.py",),
    ("test_faults.py",),
)


def group_of(file: str) -> int:
    """Return the number of a file's group; -1 for a file that is in none, and a group of its own."""
    path = Path(file)
    name = "notebooks" if path.suffix == ".ipynb" else path.name
    of_services = path.parent.name in {"services", "notebooks", "faults"}
    return next((i for i, group in enumerate(GROUPS) if of_services and name in group), -1)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Sort the tests by their group, and within it by the order of its files."""

    def position(item: pytest.Item) -> tuple[int, int]:
        number = group_of(str(item.path))
        files = GROUPS[number] if number >= 0 else ()
        return number, files.index(item.path.name) if item.path.name in files else 0

    items.sort(key=position)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Return a scheduler that keeps the tests of a group, or of a file, together."""
    from xdist.scheduler import LoadScopeScheduling

    class Groups(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            file = nodeid.split("::")[0]
            number = group_of(file)
            return GROUPS[number][0] if number >= 0 else file

    return Groups(config, log)


@pytest.fixture(scope="session")
def authority():
    """A certificate authority, whose key takes time to generate."""
    from certificates import Authority  # only for tests of credentials, as it imports cryptography

    return Authority()


@pytest.fixture(scope="session")
def alice(authority):
    """A user with a certificate of the authority."""
    return authority.user()
