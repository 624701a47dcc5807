"""The code of docs/coming-from.md: every version runs, and gives the same histogram."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path

import numpy as np
import pytest

import af_kit as af

PAGE = Path(__file__).parents[2] / "docs" / "coming-from.md"
SECTIONS = {"kit": "af-kit", "coffea": "coffea", "dask": "A Dask tutorial", "root": "RDataFrame"}
TABLE = "Words"


def blocks(section: str) -> list[str]:
    """Return the Python blocks of a section, including those of its subsections."""
    text = re.search(rf"^## {re.escape(section)}\n(.*?)(?=^## )", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    assert text, section
    return re.findall(r"^```python\n(.*?)^```", text[1], re.MULTILINE | re.DOTALL)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("coming-from")
    af.write_files("dimuon", folder / "samples", 20_000, files=2, seed=1)
    return folder


@pytest.fixture(scope="module")
def client(folder):
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)  # before the workers start: the paths on the page are relative
        with af.connect("local", n_workers=2, processes=False) as client:  # coffea is imported once, not three times
            yield client


@pytest.fixture
def run(client):
    """Run blocks of the page one after the other, as in a notebook, and return its variables."""

    def run(*code: str) -> dict:
        variables = {"client": client, "af": af, "__name__": "page"}
        for block in code:
            exec(compile(block, str(PAGE), "exec"), variables)
        return variables

    return run


@pytest.fixture
def mass(run) -> np.ndarray:
    """The kit's histogram."""
    (code,) = blocks(SECTIONS["kit"])
    values = run(code)["mass"].values(flow=True)
    assert values.sum() > 5_000
    return values


def moved(first: np.ndarray, second: np.ndarray) -> float:
    """Return the fraction of the pairs that are in another bin."""
    assert first.sum() == second.sum()
    return np.abs(first - second).sum() / 2 / first.sum()


def test_the_dask_version_gives_the_same_histogram(run, mass):
    (code,) = blocks(SECTIONS["dask"])
    np.testing.assert_array_equal(run(code)["mass"].values(flow=True), mass)


@pytest.mark.filterwarnings("ignore:Missing cross-reference index")
def test_coffea_and_its_processor_in_the_kit_give_the_same_histogram(run, mass):
    own, unchanged = blocks(SECTIONS["coffea"])
    coffea = run(own)["mass"].values(flow=True)
    assert moved(coffea, mass) < 0.005  # single precision
    result = run(own, unchanged)["result"]
    np.testing.assert_array_equal(result["mass"].values(flow=True), coffea)
    result.report.check()
    assert "coffea" in str(result.report)  # "the report says so"


@pytest.mark.skipif(importlib.util.find_spec("ROOT") is None, reason="ROOT is not installed")
def test_rdataframe_gives_the_same_histogram(run, mass):
    root = run(blocks(SECTIONS["root"])[0])["mass"]
    values = np.array([root.GetBinContent(number) for number in range(root.GetNbinsX() + 2)])
    assert moved(values, mass) < 0.005


def test_the_names_of_the_kit_in_the_table_exist():
    table = PAGE.read_text().partition(f"## {TABLE}\n")[2]
    names = set(re.findall(r"`af\.(\w+)", table))
    assert {"process", "connect", "stage_out"} <= names <= set(af.__all__)
