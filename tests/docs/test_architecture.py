"""The tree in docs/architecture.md is that of the package."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "af_kit"
PAGE = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")


def tree() -> dict[str, str]:
    """Return the paths in the tree of the page, and the words next to each."""
    block = re.search(r"^```\naf_kit/\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
    assert block
    found, folder = {}, ""
    for line in block[1].splitlines():
        depth = len(line) - len(line.lstrip())
        names = re.match(r" *((?:\S+(?:/|\.py)(?: {1,2}|$))+)(.*)", line)
        if depth == 0 or not names:
            continue
        if depth == 2:
            folder = names[1].split()[0]
        for name in names[1].split():
            found[f"af_kit/{name if depth == 2 else folder + name}"] = names[2]
    return found


TREE = tree()


@pytest.mark.parametrize("path", TREE)
def test_a_path_in_the_tree_exists(path):
    assert (ROOT / path).exists()


def test_the_tree_has_every_room():
    rooms = {path.name for path in PACKAGE.iterdir() if (path / "__init__.py").exists()}
    assert {path.split("/")[1] for path in TREE if path.endswith("/")} >= rooms


def test_the_folders_of_data_and_run_are_all_there():
    inside = {path.relative_to(ROOT).as_posix() + "/" for room in ("data", "run") for path in (PACKAGE / room).iterdir()
              if (path / "__init__.py").exists()}  # fmt: skip
    assert inside <= TREE.keys()
