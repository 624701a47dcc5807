"""The notebooks as they are committed. To test that they run: ``pytest --nbmake notebooks/``."""

from __future__ import annotations

import re
from itertools import pairwise
from pathlib import Path

import nbformat
import pytest

FOLDER = Path(__file__).parent.parent / "notebooks"
NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))

# Code that shows a figure.
FIGURE = re.compile(r"\.plot\(.*flow=|draw_graph\(\w+\)|\bImage\(")


def test_there_are_notebooks():
    assert [path.name for path in NOTEBOOKS][:2] == ["00-start-here.ipynb", "01-dimuon-exploration.ipynb"]


@pytest.fixture(params=NOTEBOOKS, ids=lambda path: path.stem)
def notebook(request):
    return nbformat.read(request.param, as_version=4)


def code(notebook) -> list[str]:
    return [cell.source for cell in notebook.cells if cell.cell_type == "code"]


def test_it_is_a_valid_notebook_for_the_standard_kernel(notebook):
    nbformat.validate(notebook)
    assert notebook.metadata.kernelspec.name == "python3"


def test_its_cells_are_short_and_follow_a_sentence(notebook):
    assert max(source.count("\n") + 1 for source in code(notebook)) <= 15
    assert max(len(line) for source in code(notebook) for line in source.split("\n")) <= 100
    kinds = [cell.cell_type for cell in notebook.cells]
    assert ("code", "code") not in set(pairwise(kinds))


def test_its_first_code_cell_has_the_parameters(notebook):
    first = code(notebook)[0]
    assert "AF_KIT_EVENTS" in first
    assert "AF_KIT_OUT" in first
    assert "10 000 000" in notebook.cells[1].source  # what each size costs


def test_every_figure_has_a_caption(notebook):
    for cell, after in pairwise(notebook.cells):
        if cell.cell_type == "code" and FIGURE.search(cell.source):
            assert after.source.startswith("*What to see:*"), cell.source


def test_it_contains_no_path_of_one_machine(notebook):
    for cell in notebook.cells:
        assert not re.search(r"(?<![\w/])/(home|work|tmp|usr|root|eos/user)\b|[A-Z]:\\\\", cell.source), cell.source


def test_its_links_are_valid(notebook):
    for cell in notebook.cells:
        for target in re.findall(r"\]\(([^)#]+)\)", cell.source if cell.cell_type == "markdown" else ""):
            assert target.startswith("https://") or (FOLDER / target).exists(), target


def test_it_closes_its_client(notebook):
    assert code(notebook)[-1] == "client.close()"
