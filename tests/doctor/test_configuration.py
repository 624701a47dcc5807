"""The check of the configuration."""

from __future__ import annotations

import dask
from doctor_tools import GROUPS, of

import af_kit as af


def test_an_unknown_key_and_an_invalid_value():
    with dask.config.set({"af_kit.clutser": {"backend": "local"}, "af_kit.doctor.free_space": "much"}):
        found = af.doctor()
    assert "Did you mean 'cluster'?" in of(found, "af_kit's keys").seen
    assert "it could not be checked" in of(found, "disk").seen
    assert of(found, "memory").state == "ok"  # the other checks continue
    assert [group for group, _ in found.groups()] == GROUPS
