"""The figures show the numbers of the fit."""

from __future__ import annotations

import numpy as np
import pytest

from af_kit.analysis import style
from af_kit.analysis.templates import (
    Limit,
    draw_channel,
    draw_correlation,
    draw_impacts,
    draw_limit,
    draw_pulls,
    fit,
    impacts,
)


@pytest.fixture(scope="module")
def result(compiled):
    return fit(compiled, compiled.draw(compiled.start, np.random.default_rng(2)))


def test_a_channel_after_the_fit(result):
    with style.cms_style():
        figure = draw_channel(result, "signal", title="signal region")
        before = draw_channel(result, "signal", before=True)
    axes = figure.axes[0]
    texts = [text.get_text() for text in axes.get_legend().get_texts()]
    assert {"DY", "EWK", "data", "uncertainty"} <= set(texts)
    assert any(f"{result.strength.value:.2f}" in text for text in texts)
    assert "after the fit" in axes.texts[-1].get_text() or any("after the fit" in t.get_text() for t in axes.texts)
    assert any("$\\mu$ = 1.00" in text.get_text() for text in before.axes[0].get_legend().get_texts())


def test_impacts_pulls_correlations(result):
    table = impacts(result, names=["jes", "scale", "norm_H", "rate_DY"])
    with style.cms_style():
        left, right = draw_impacts(result, table).axes[:2]
        pulls = draw_pulls(result)
        correlation = draw_correlation(result)
    assert [label.get_text() for label in left.get_yticklabels()] == list(table.index[::-1])
    widths = [bar.get_width() for bar in right.patches[: len(table)]]
    np.testing.assert_allclose(widths, table["post_up"][::-1])
    assert [label.get_text() for label in pulls.axes[0].get_xticklabels()] == [
        name for name in result.pulls.index if not name.startswith("stat_")
    ]
    assert correlation.axes[0].get_xticklabels()[0].get_text() == "mu"


def test_a_limit():
    scan = tuple((x, *np.exp(-x * np.array([1, 3, 2, 1, 0.7, 0.5]))) for x in np.linspace(0, 6, 20))
    with style.cms_style():
        figure = draw_limit(Limit(3.0, (1.0, 1.5, 3.0, 4.3, 6.0), 0.95, scan))
    assert any("3.00 (observed)" in text.get_text() for text in figure.axes[0].texts)
