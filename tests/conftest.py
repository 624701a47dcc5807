"""Set-up of all tests."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

# Processes that a shell starts in the background ignore interrupts, and so do their children. The tests of interrupts
# need them.
signal.signal(signal.SIGINT, signal.default_int_handler)

# ``make test`` runs several files at a time (pytest-xdist). The files of a group run one after the other in one
# process: they share a service, or read what the one before wrote. The longest groups start first.
GROUPS = (
    ("test_kubernetes.py", "test_facility.py", "test_image.py"),
    ("test_slurm.py", "test_panel.py", "test_lab.py"),
    ("test_jupyterhub.py", "test_browser.py", "test_oidc.py"),
    ("test_htcondor.py",),
    ("test_xrootd.py",),
    ("notebooks",),
    ("test_gateway.py",),
    ("test_root.py", "test_roofit.py"),
)
GROUP_OF = {file: number for number, group in enumerate(GROUPS) for file in group}


@pytest.hookimpl(tryfirst=True)  # before pytest-xdist looks at the marks
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark each test with its group; a file that is in none is a group of its own."""

    def group(path: Path) -> int:
        name = "notebooks" if path.suffix == ".ipynb" else path.name
        return GROUP_OF.get(name, len(GROUPS)) if path.parent.name in {"services", "notebooks"} else len(GROUPS)

    items.sort(key=lambda item: group(item.path))
    for item in items:
        number = group(item.path)
        item.add_marker(pytest.mark.xdist_group(GROUPS[number][0] if number < len(GROUPS) else str(item.path)))


@pytest.fixture(scope="session")
def authority():
    """A certificate authority, whose key takes time to generate."""
    from certificates import Authority  # only for tests of credentials, as it imports cryptography

    return Authority()


@pytest.fixture(scope="session")
def alice(authority):
    """A user with a certificate of the authority."""
    return authority.user()
