"""Calibration files are read once while they do not change."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from af_kit.corrections.files import cached, content
from af_kit.errors import InputError


def test_plain_and_compressed_files_have_the_same_content(tmp_path: Path) -> None:
    (tmp_path / "plain.txt").write_bytes(b"numbers")
    (tmp_path / "packed.gz").write_bytes(gzip.compress(b"numbers"))
    assert content(tmp_path / "plain.txt") == content(tmp_path / "packed.gz") == b"numbers"


def test_a_missing_or_damaged_file_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"none\.txt cannot be read: No such file"):
        content(tmp_path / "none.txt")
    (tmp_path / "cut.gz").write_bytes(gzip.compress(b"numbers" * 100)[:-9])
    with pytest.raises(InputError, match=r"cut\.gz cannot be read"):
        content(tmp_path / "cut.gz")


def test_a_file_is_parsed_again_only_when_it_or_an_argument_changed(tmp_path: Path) -> None:
    calls = []

    @cached
    def parse(path: Path, word: str) -> str:
        calls.append(word)
        return content(path).decode() + word

    file = tmp_path / "file.txt"
    file.write_text("a")
    assert [parse(file, "x"), parse(str(file), "x"), parse(file, "y")] == ["ax", "ax", "ay"]
    assert calls == ["x", "y"]
    file.write_text("bc")
    assert parse(file, "x") == "bcx"
    with pytest.raises(InputError, match="cannot be read"):
        parse(tmp_path / "none.txt", "x")
