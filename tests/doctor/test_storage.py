"""The check that opens one file."""

from __future__ import annotations

import socket
from pathlib import Path

import dask
from doctor_tools import GROUPS, of

import af_kit as af


def test_a_file_is_opened(tmp_path):
    assert "none is configured" in of(af.doctor(), "one file opened").seen
    sample = Path(__file__).parents[1] / "samples" / "plain_zlib.root"
    assert "a ROOT file" in of(af.doctor(open=str(sample)), "one file opened").seen
    with dask.config.set({"af_kit.doctor.test_file": str(tmp_path / "nowhere.root")}):
        found = of(af.doctor(), "one file opened")
    assert found.state == "problem"
    assert "nowhere.root" in found.seen


def test_a_silent_server_does_not_hide_other_checks(tmp_path):
    with (
        socket.create_server(("127.0.0.1", 0)) as server,
        dask.config.set({"af_kit.doctor.check_s": 4}),
    ):
        found = af.doctor(open=f"root://127.0.0.1:{server.getsockname()[1]}//file.root")
    assert of(found, "one file opened").state == "problem"
    assert [group for group, _ in found.groups()] == GROUPS
    assert of(found, "home").state in ("ok", "warning")
