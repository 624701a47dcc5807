"""Pictures of histograms that fill: every kind of axis and storage, and bounds on their number."""

from __future__ import annotations

import io

import numpy as np
from hist import Hist
from matplotlib.image import imread

from af_kit.display import histograms
from af_kit.display.histograms import is_histogram, picture


def drawn(panels: dict[str, dict[str, Hist]]) -> np.ndarray:
    return imread(io.BytesIO(picture(panels, "part of the run: 1 of 2 entries")))


def test_each_kind_of_axis_and_storage():
    values = np.random.default_rng(1).exponential(20, 1000)
    panels = {
        "log": Hist.new.Log(100, 0.1, 200, name="mass", label=r"$m_{\mu\mu}$ [GeV]").Int64().fill(values),
        "weights": Hist.new.Reg(20, 0, 100, label="pt [GeV]").Weight().fill(values, weight=values),
        "edges": Hist.new.Var([0, 1, 5, 100]).Double().fill(values),
        "text": Hist.new.StrCat(["pass", "fail"], name="cut").Int64().fill(["pass", "fail", "pass"]),
        "numbers": Hist.new.IntCat([13, -13]).Int64().fill([13, 13]),
        "flag": Hist.new.Bool().Int64().fill([True]),
        "count": Hist.new.Int(0, 5).Int64().fill([1, 2, 2]),
        "mean": Hist.new.Reg(5, 0, 100).Mean().fill(values, sample=values),
        "empty": Hist.new.Reg(5, 0, 1).Int64(),
        "growing": Hist.new.StrCat([], growth=True).Int64(),
    }
    image = drawn({name: {"": histogram} for name, histogram in panels.items()})
    assert image.shape[1] > 1000


def test_more_than_can_be_read_is_left_out(monkeypatch):
    monkeypatch.setattr(histograms, "MOST_PANELS", 2)
    monkeypatch.setattr(histograms, "_LINES", 2)
    lines = {str(i): Hist.new.Reg(5, 0, 1).Int64().fill([0.5]) for i in range(3)}
    few = drawn({"a": lines, "b": lines})
    assert drawn({"a": lines, "b": lines, "c": lines, "d": lines}).shape == few.shape


def test_what_a_histogram_is():
    assert is_histogram(Hist.new.Reg(5, 0, 1).Int64())
    assert not is_histogram(np.histogram([1]))
    assert not is_histogram({"axes": 1})
