"""Every branch of the public ROOT files of the field (see `community_files`) reads as with uproot, or is refused."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from community_files import Child, files

FOLDER = os.environ.get("AF_KIT_COMMUNITY_FILES", "")
FILES = files(Path(FOLDER)) if FOLDER else []


def test_the_folder_has_files():
    if not FOLDER:
        pytest.skip("AF_KIT_COMMUNITY_FILES names no folder: see tests/data/community_files.py")
    assert FILES, f"there is no ROOT file in {FOLDER}"


@pytest.fixture(scope="module")
def child():
    child = Child()
    yield child
    child.close()


@pytest.mark.parametrize("path", FILES, ids=str)
def test_every_branch_is_equal_or_refused(child, path):
    found = child.outcomes(path)
    assert not [outcome for outcome in found if outcome.verdict == "wrong"]
    # one sentence, or a few, that names what is refused
    assert all(len(outcome.reason) > 20 for outcome in found if outcome.verdict == "refused")
