"""Find real calibration files of CMS, which are no part of the repository; tests that need one are skipped without it.

They are looked for in the folder that the environment variable AF_KIT_CMS names, else in ``shared/cms`` beside the
repository.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

FOLDER = Path(os.environ.get("AF_KIT_CMS") or Path(__file__).parents[2] / "shared" / "cms")


def cms_file(name: str) -> Path:
    """Return the path of a file, or skip the test that asks for it."""
    path = FOLDER / name
    if not path.is_file():
        pytest.skip(f"{name} is not in {FOLDER}")
    return path
