"""The examples in docstrings (``>>>``) are run, each in an empty folder."""

from __future__ import annotations

import doctest
import importlib
from pathlib import Path

import pytest

import af_kit

PACKAGE = Path(af_kit.__file__).parent
FILES = [path for path in sorted(PACKAGE.rglob("*.py")) if "    >>> " in path.read_text(encoding="utf-8")]
OPTIONS = doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS


def module_of(path: Path) -> str:
    return ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts)


def test_the_most_used_names_have_an_example():
    modules = {module_of(path) for path in FILES}
    used = ["load_fileset", "plan", "read", "flat", "process", "scale_to_lumi", "write_files"]
    assert {getattr(af_kit, name).__module__ for name in used} <= modules
    assert {"af_kit.corrections.correctionset", "af_kit.analysis.fit.minimise"} <= modules


@pytest.mark.parametrize("path", FILES, ids=module_of)
def test_the_examples_of_a_module_are_right(path, tmp_path, monkeypatch):
    module = importlib.import_module(module_of(path))
    finder = doctest.DocTestFinder(exclude_empty=True)
    examples = [found for found in finder.find(module) if found.examples]
    assert examples
    for number, example in enumerate(examples):
        folder = tmp_path / str(number)
        folder.mkdir()
        monkeypatch.chdir(folder)
        report: list[str] = []
        doctest.DocTestRunner(optionflags=OPTIONS).run(example, out=report.append)
        assert not report, "".join(report)
