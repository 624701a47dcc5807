"""Calibration files and reference values of CMS, which are not in the repository."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

FOLDER = Path(os.environ.get("AF_KIT_CMS") or Path(__file__).resolve().parents[2] / "shared" / "cms")


def cms_file(name: str) -> Path:
    """Return the path of a file in the folder of `AF_KIT_CMS`, or ``../shared/cms``; skip the test without it."""
    path = FOLDER / name
    if not path.exists():
        pytest.skip(f"needs {path}")
    return path
