from __future__ import annotations

import matplotlib as mpl
import numpy as np
import pytest
from hist import Hist

from af_kit.analysis import style
from af_kit.errors import InputError


def spectrum(number: int = 100_000) -> style.Density:
    masses = np.random.default_rng(1).normal(np.repeat([3.1, 3.7, 9.5, 10.0], number // 4), 0.03)
    return style.density(Hist.new.Log(1000, 0.2, 200).Int64().fill(masses))


def test_density_is_per_unit_with_poisson_errors():
    histogram = Hist.new.Var([0, 1, 3, 10]).Int64().fill([0.5] * 100 + [2] * 400 + [5] * 49)
    edges, values, errors = style.density(histogram)
    assert edges.tolist() == [0, 1, 3, 10]
    assert values.tolist() == [100, 200, 7]
    assert errors.tolist() == [10, 10, 1]


def test_the_errors_of_weights_are_those_of_their_squares():
    weighted = Hist.new.Reg(2, 0, 2).Weight().fill([0.5] * 100, weight=0.1)
    assert style.density(weighted, entries_per_bin=1).errors == pytest.approx([1, 0])
    with pytest.raises(InputError, match="errors are unknown"):
        style.density(Hist.new.Reg(2, 0, 2).Double().fill([0.5], weight=0.1))


def test_few_entries_make_wider_bins_and_lose_none():
    histogram = Hist.new.Reg(100, 0, 10).Int64().fill(np.linspace(0.01, 9.99, 200))
    curve = style.density(histogram, entries_per_bin=30)
    assert len(curve.values) == 5
    assert (curve.values * np.diff(curve.edges)).sum() == pytest.approx(200)
    assert len(style.density(histogram, entries_per_bin=1).values) == 100


def test_only_bins_inside_the_window():
    curve = style.density(Hist.new.Reg(10, 0, 10).Int64().fill([2.5]), (1.5, 4), entries_per_bin=0)
    assert curve.edges.tolist() == [2, 3, 4]
    assert curve.values.tolist() == [1, 0]


@pytest.mark.parametrize("window", [(0, 10), (3, 5), (3.2, 3.4)])
def test_an_empty_histogram_has_no_height(window):
    curve = style.density(Hist.new.Reg(10, 0, 10).Int64(), window)
    assert len(curve.edges) in (0, len(curve.values) + 1)
    assert not curve.values.any()


def test_the_users_settings_do_not_change(tmp_path):
    import matplotlib.pyplot as plt

    before = dict(mpl.rcParams)
    with style.cms_style():
        figure, _ = style.subplots(metadata={"experiment": "CMS", "isMC": False})
        style.save(figure, tmp_path, "figure")
    assert dict(mpl.rcParams) == before
    assert plt.get_fignums() == []


def test_a_figure_is_the_same_file_when_it_is_drawn_again(tmp_path):
    files = []
    for folder in ("a", "b"):
        with style.cms_style():
            figure, axes = style.subplots()
            axes.plot([1, 2])
            files.append(style.save(figure, tmp_path / folder, "line"))
    assert [file.name for file in files[0]] == ["line.png", "line.pdf"]
    assert files[0][0].read_bytes().startswith(b"\x89PNG")
    assert [file.read_bytes() for file in files[0]] == [file.read_bytes() for file in files[1]]


@pytest.mark.parametrize(
    ("metadata", "texts"),
    [
        ({}, set()),
        ({"isMC": True}, {"Simulation"}),
        ({"experiment": "CMS", "isMC": False}, {"CMS", "Open data"}),
        ({"isMC": False, "label": "Preliminary", "sqrt_s_TeV": 13.6}, {"Preliminary", "13.6 TeV"}),
        ({"lumi_ifb": 11.6, "sqrt_s_TeV": 8}, {"11.6 fb$^{-1}$ (8 TeV)"}),
        ({"isMC": "unknown"}, set()),
    ],
)
def test_the_label_contains_the_known_metadata(metadata, texts):
    _, axes = style.subplots(metadata=metadata)
    assert {text.get_text() for text in axes.texts} - {""} == texts


def test_common_metadata_are_those_of_all_datasets():
    data, simulation = {"experiment": "CMS", "isMC": False, "year": 2012}, {"experiment": "CMS", "isMC": True}
    assert style.common_metadata([data, simulation]) == {"experiment": "CMS"}
    assert style.common_metadata([data]) == data
    assert style.common_metadata([]) == {}


def test_luminosities_of_different_eras_add_up():
    eras = [{"era": "2017B", "lumi_ifb": 4.8, "isMC": False}, {"era": "2017C", "lumi_ifb": 9.57, "isMC": False}]
    assert style.common_metadata(eras) == {"lumi_ifb": 14.37, "isMC": False}
    assert "lumi_ifb" not in style.common_metadata([*eras, eras[0]])
    assert "lumi_ifb" not in style.common_metadata([*eras, {"era": "2017D"}])


@pytest.mark.parametrize(
    ("top", "label"), [(500, "Events / GeV"), (5e4, "$10^3$ events / GeV"), (5e7, "$10^6$ events / GeV")]
)
def test_large_counts_have_their_thousands_in_the_label(top, label):
    _, axes = style.subplots()
    axes.set_ylim(0, top)
    style.scale_counts(axes, "events / GeV")
    assert axes.get_ylabel() == label
    assert axes.yaxis.get_major_formatter()(top) == f"{top / 1000 ** (len(label) > 12 and int(label[4]) // 3):g}"


@pytest.mark.parametrize("scale", ["linear", "log"])
@pytest.mark.parametrize("size", [(12, 8), (6, 4)])
def test_names_touch_neither_each_other_nor_the_curve(scale, size):
    curve = spectrum()
    with style.cms_style():
        figure, axes = style.subplots(size=size)
        axes.stairs(curve.values, curve.edges)
        axes.set(
            xscale=scale,
            yscale=scale,
            xlim=(2, 12),
            ylim=(curve.values[curve.values > 0].min(), 1e3 * max(curve.values)),
        )
        peaks = [
            style.Peak(x, curve.values[np.abs(curve.edges[:-1] - x) < 0.1].max(), f"name {x}")
            for x in (3.1, 3.7, 9.5, 10.0)
        ]
        style.place_axes(figure)
        style.name_peaks(axes, peaks, curve)
        boxes = [text.get_window_extent() for text in axes.texts if text.get_text()]
        tops = axes.transData.transform(
            np.column_stack([curve.edges[:-1], np.maximum(curve.values, axes.get_ylim()[0])])
        )
    assert len(boxes) == 4
    for i, box in enumerate(boxes):
        assert not any(box.overlaps(other) for other in boxes[:i])
        beneath = (tops[:, 0] > box.x0) & (tops[:, 0] < box.x1)
        assert np.all(tops[beneath, 1] < box.y0)
