from __future__ import annotations

import numpy as np
import pytest

from af_kit.analysis import style
from af_kit.analysis.fit import Unbinned, draw_fit, fit


@pytest.mark.parametrize("binned", [True, False])
def test_the_figure_shows_the_data_and_what_was_fitted(model, truth, limits, values, binned, tmp_path):
    data = Unbinned(values).binned(np.linspace(1, 2, 51)) if binned else Unbinned(values)
    result = fit(model, data, start=truth, limits=limits)
    with style.cms_style():
        figure = draw_fit(result, data, xlabel="mass", metadata={"experiment": "CMS"}, text=["a line"])
        files = style.save(figure, tmp_path, "fit")
        axes, pulls = figure.axes
        legend = axes.get_legend()
        words = [text.get_text() for text in legend.get_texts()]
        box, (x, y) = legend.get_window_extent(), axes.transData.transform((1.5, 1000))
    assert words[:2] == ["data", "fit"]
    assert words[2].startswith("peak: ")
    assert axes.get_ylabel() == f"Candidates / {20 if binned else 16.7:g} MeV"
    assert pulls.get_xlabel() == "mass [GeV]"
    assert axes.get_xlim() == (1, 2)
    low, high = pulls.get_ylim()
    assert low == -high
    assert any("p = " in text.get_text() and "a line" in text.get_text() for text in axes.texts)
    assert not box.contains(x, y)
    assert [file.suffix for file in files] == [".png", ".pdf"]


def test_weighted_data_have_the_errors_of_their_weights(model, truth, limits, values):
    data = Unbinned(values, np.full(len(values), 4.0)).binned(np.linspace(1, 2, 51))
    with style.cms_style():
        figure = draw_fit(fit(model, data, start=truth, limits=limits), data, xlabel="mass")
    container = figure.axes[0].containers[0]
    segment = container[2][0].get_segments()[0]
    assert segment[1, 1] - segment[0, 1] == pytest.approx(2 * 2 * np.sqrt(data.counts[0]))
