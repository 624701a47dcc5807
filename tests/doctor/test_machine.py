"""Checks of disk and memory."""

from __future__ import annotations

import dask
from doctor_tools import of

import af_kit as af


def test_a_nearly_full_disk():
    with dask.config.set({"af_kit.doctor.free_space": "900 PB"}):
        found = af.doctor()
    assert {of(found, check).state for check in ("home", "scratch", "Dask's local directory")} == {"warning"}


def test_workers_configured_with_more_memory_than_there_is():
    with dask.config.set({"af_kit.cluster.local": {"memory": "1 TB", "n_workers": 8}}):
        assert "8 workers" in of(af.doctor(), "memory").seen
