from __future__ import annotations

import numpy as np
import pyarrow.parquet as pq
import pytest

from af_kit.analysis import style
from af_kit.analysis.dimuon import analyse, empty, histograms, plot, write
from af_kit.analysis.dimuon.plot import RESONANCES, ZOOMS, _spectrum, _zoom
from af_kit.analysis.output import read_histograms


@pytest.fixture(scope="module")
def result(events):
    return analyse(events)


def names(axes) -> dict[str, tuple[float, float]]:
    """Return the names in a figure, and the range of each on the mass axis."""
    boxes = {text.get_text(): text.get_window_extent() for text in axes.texts if text.get_text()}
    to_data = axes.transData.inverted().transform
    return {name: (to_data((box.x0, 0))[0], to_data((box.x1, 0))[0]) for name, box in boxes.items()}


def test_write_writes_everything(result, tmp_path):
    files = write(result, tmp_path / "new", metadata={"isMC": True})
    figures = ["mass", *ZOOMS, "multiplicity", "kinematics"]
    expected = {"histograms.json", "candidates.parquet", "z_candidates.parquet"}
    expected |= {f"plots/{name}.{kind}" for name in figures for kind in ("png", "pdf")}
    assert {str(file.relative_to(tmp_path / "new")) for file in files} == expected
    assert all(file.stat().st_size > 1000 for file in files)

    assert read_histograms(tmp_path / "new/histograms.json")["mass"] == result["mass"]
    rows = pq.read_table(tmp_path / "new/candidates.parquet")
    assert rows.num_rows == result["mass"].sum(flow=True)
    near = np.abs(rows["mass"].to_numpy() - 90) < 30
    assert 0 < near.sum() == pq.read_metadata(tmp_path / "new/z_candidates.parquet").num_rows


def test_histograms_alone_are_drawn_without_kinematics(events, tmp_path):
    files = plot(histograms(events), tmp_path)
    assert {file.stem for file in files} == {"mass", *ZOOMS, "multiplicity"}


@pytest.mark.filterwarnings("error")
def test_empty_histograms_are_drawn(tmp_path):
    assert len(plot(empty(), tmp_path)) == 10


def test_every_resonance_is_named_at_its_mass(result):
    with style.cms_style():
        found = names(_spectrum(result["mass"], None).axes[0])
    upsilon = r"$\Upsilon$(1S, 2S, 3S)"
    assert found.keys() == {r.name for r in RESONANCES if "Upsilon" not in r.name} | {upsilon}
    for resonance in RESONANCES:
        low, high = found.get(resonance.name, found[upsilon])
        assert low * 0.99 < resonance.mass < high * 1.01, resonance.name


@pytest.mark.parametrize("zoom", ZOOMS)
def test_a_zoom_names_what_it_shows(result, zoom):
    low, high = ZOOMS[zoom]
    with style.cms_style():
        found = names(_zoom(result["mass"], (low, high), None).axes[0])
    shown = {r.name: r.mass for r in RESONANCES if low < r.mass < high}
    assert found.keys() == shown.keys()
    for name, (begin, end) in found.items():
        assert begin * 0.999 < shown[name] < end * 1.001, name
