"""Labs of a test are in its own folder."""

from __future__ import annotations

import pytest


@pytest.fixture(autouse=True)
def own_state(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.delenv("SLURM_SUBMIT_HOST", raising=False)
