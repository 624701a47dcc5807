"""The Rochester text format: what is missing or wrong is an error."""

from __future__ import annotations

from pathlib import Path

import pytest
import rochester_files

from af_kit.corrections import rochester_table
from af_kit.errors import InputError


def test_members_and_their_weights(tmp_path: Path) -> None:
    path = tmp_path / "roccor.txt"
    written = rochester_files.write(path)
    tables = rochester_table.read(path)
    assert tables.weights.tolist() == [1, 0.5, 0.5, 1]
    assert tables.m[1, 0, 2] == pytest.approx(1 + written["C"][2, 1, 0, 0, 0] / 100)
    assert tables.polynomial[2, 1, 3] == pytest.approx(written["R"][3, 2, 0, 1] / 100)


@pytest.mark.parametrize(("start", "tag"), [("1 1 C 0 1 2", "C"), ("2 0 F 1", "F"), ("0 0 R 4 1", "R")])
def test_a_missing_line_is_noticed(tmp_path: Path, start: str, tag: str) -> None:
    path = tmp_path / "roccor.txt"
    rochester_files.write(path, leave_out=start)
    with pytest.raises(InputError, match=f"roccor.txt is not a table.*lines of tag {tag} are missing"):
        rochester_table.read(path)


def test_another_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "other.txt"
    path.write_text("NSET 1\nanything\n")
    with pytest.raises(InputError, match=r"other\.txt is not a table of Rochester corrections"):
        rochester_table.read(path)
