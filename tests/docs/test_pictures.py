"""The pictures of the pages: each is on a page and small; and the script that draws the speed."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PICTURES = sorted((ROOT / "docs" / "pictures").iterdir())
MOST_BYTES = 150_000


@pytest.mark.parametrize("path", PICTURES, ids=lambda path: path.name)
def test_a_picture_is_on_a_page_and_small(path):
    pages = "".join(page.read_text() for page in (ROOT / "docs").glob("*.md"))
    assert re.search(rf"!\[[^\]]+\]\(pictures/{re.escape(path.name)}\)", pages)  # with a description
    assert path.stat().st_size < MOST_BYTES


@pytest.fixture
def results(tmp_path) -> Path:
    """The results of a bench with two tools."""
    row = {"variant": "zstd", "workers": 2, "chunks": None, "rounds": 3, "problem": None}
    rows = [
        {**row, "peer": "kit_numba", "cpu_s_per_mev": 0.07, "work_cpu_s": 0.7, "mev_per_s": 20.0},
        {**row, "peer": "rdataframe", "cpu_s_per_mev": 0.28, "work_cpu_s": 2.8, "mev_per_s": 5.6},
        {**row, "peer": "coffea_runner", "problem": "not installed: coffea"},
    ]
    machine = {"cpu": "a processor", "cores": 2, "load_at_start": 0.1}
    path = tmp_path / "results.json"
    path.write_text(json.dumps({"machine": machine, "rows": rows}))
    return path


def draw(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, ROOT / "benchmarks" / "figure.py", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)


def test_the_speed_is_drawn_from_a_bench(results, tmp_path):
    done = draw(results, "--out", tmp_path / "speed.png")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "speed.png").read_bytes().startswith(b"\x89PNG")


def test_a_variant_without_figures_is_named(results, tmp_path):
    done = draw(results, "--variant", "wide", "--out", tmp_path / "speed.png")
    assert done.returncode != 0
    assert "no figures of 'wide'. There is: zstd" in done.stderr


def test_the_speed_on_the_pages_is_that_of_the_table():
    sys.path.insert(0, str(ROOT))
    try:
        from benchmarks import figure
    finally:
        sys.path.remove(str(ROOT))
    bars = figure.from_readme(figure.README.read_text())
    cpu = bars.panels[figure.CPU]
    kit = cpu["af-kit, numba kernel"]
    gallery = (ROOT / "docs" / "gallery.md").read_text()
    assert "two fifths of the CPU time of RDataFrame and a fifth of that of coffea" in " ".join(gallery.split())
    assert cpu["RDataFrame"] / kit == pytest.approx(2.5, rel=0.15)
    assert cpu["coffea Runner"] / kit == pytest.approx(5, rel=0.15)
