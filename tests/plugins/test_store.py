from __future__ import annotations

from pathlib import Path

import numpy as np
from distributed import Client

from af_kit.plugins.files import files, send_files, verify_files
from af_kit.plugins.store import sweep


def test_the_workers_of_a_host_share_one_copy_of_a_large_file(client: Client, tmp_path: Path) -> None:
    data = np.random.default_rng(1).bytes(40_000_000)  # several pieces
    (tmp_path / "large").write_bytes(data)
    send_files(client, {"large": tmp_path / "large"})
    assert verify_files(client).ok
    inodes = {Path(entry["large"]["path"]).stat().st_ino for entry in files(client).values()}
    assert len(inodes) == 1


def test_sweep_removes_what_killed_workers_have_left_on_a_host(tmp_path: Path) -> None:
    for name in ("used", "left", "left.lock", "left.1.part"):
        (tmp_path / name).write_text("x")
    (tmp_path / "link").hardlink_to(tmp_path / "used")
    sweep(tmp_path, unused_s=3600)
    assert len(list(tmp_path.iterdir())) == 5
    sweep(tmp_path, unused_s=0)
    assert {path.name for path in tmp_path.iterdir()} == {"used", "used.lock", "link", "link.lock"}
