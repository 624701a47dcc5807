"""Calibration files are parsed once, and again when they change; damage is an error that names the file."""

from __future__ import annotations

import gzip
import os
from pathlib import Path

import pytest

from af_kit.corrections.files import once_per_file, read_text
from af_kit.errors import InputError


def test_a_file_is_parsed_again_only_when_it_changes(tmp_path: Path) -> None:
    calls = []

    @once_per_file
    def parse(path: str, key: str) -> str:
        calls.append(key)
        return Path(path).read_text() + key

    path = tmp_path / "a.txt"
    path.write_text("1")
    assert [parse(path, "x"), parse(str(path), "x"), parse(path, "y")] == ["1x", "1x", "1y"]
    assert calls == ["x", "y"]
    path.write_text("2")
    os.utime(path, ns=(0, 0))
    assert parse(path, "x") == "2x"


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"none\.txt cannot be read: No such file"):
        once_per_file(read_text)(tmp_path / "none.txt")


def test_compressed_text_is_read_and_a_truncated_file_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.txt.gz"
    path.write_bytes(gzip.compress(b"text" * 100))
    assert read_text(str(path)) == "text" * 100
    path.write_bytes(path.read_bytes()[:-12])
    with pytest.raises(InputError, match=r"a\.txt\.gz is damaged"):
        read_text(str(path))
