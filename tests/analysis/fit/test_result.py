from __future__ import annotations

import json
import pickle

import numpy as np
import pytest

from af_kit.analysis.fit import FitResult, Measured, Unbinned, fit
from af_kit.errors import InputError


@pytest.fixture
def result(model, truth, limits, values) -> FitResult:
    data = Unbinned(values).binned(np.linspace(1, 2, 51))
    return fit(model, data, start=truth, limits=limits, fixed={"width": 0.02}, minos=["n_peak"])


def test_it_is_the_same_after_writing_and_reading(result, tmp_path):
    again = FitResult.read(result.write(tmp_path / "fit.json"))
    assert again.to_dict() == result.to_dict()
    assert again.model == result.model
    assert str(again) == str(result)
    assert again.limits == result.limits
    json.loads((tmp_path / "fit.json").read_text(), parse_constant=lambda word: pytest.fail(f"{word} is no JSON"))
    assert pickle.loads(pickle.dumps(result)).to_dict() == result.to_dict()


def test_errors_and_correlation_are_those_of_the_covariance(result):
    assert result.free == ("n_peak", "n_flat", "mean", "slope")
    assert result.errors["mean"] == pytest.approx(np.sqrt(result.covariance[2, 2]))
    assert np.diag(result.correlation) == pytest.approx(1)
    assert -1 < result.correlation.loc["n_peak", "n_flat"] < 0
    assert result.fixed == {"width": 0.02}


def test_text_and_html_show_the_fit(result):
    text, table = str(result), result._repr_html_()
    for words in ("valid fit of 4,000 events in 1 .. 2, 50 bins", "saturated", "width", "fixed", "1.4 .. 1.6"):
        assert words in text
        assert words in table
    assert repr(result) == f"<FitResult: {text.splitlines()[0]}>"
    assert table.count("<tr>") == 6


def test_an_unknown_parameter_names_the_nearest(result):
    with pytest.raises(InputError, match="Did you mean 'n_peak'"):
        result["peak"]


def test_pulls_are_differences_over_expected_errors(result, values):
    edges = np.linspace(1, 2, 51)
    counts = np.histogram(values, edges)[0]
    pulls = result.pulls(edges, counts)
    assert (pulls**2).sum() == pytest.approx(result.goodness[1].statistic, rel=0.2)
    assert abs(pulls.mean()) < 0.5
    assert 0.7 < pulls.std() < 1.3


@pytest.mark.parametrize(
    ("measured", "text"),
    [
        (Measured(1234.5, 56.7), "1234 +- 57"),
        (Measured(1.96812, 0.00034), "1.96812 +- 0.00034"),
        (Measured(10, 3, -2.9, 3.2), "10.0 +- 3.0 (-2.9 +3.2)"),
        (Measured(3.0, 0.0), "3.000 +- 0.000"),
    ],
)
def test_a_number_is_shown_to_two_digits_of_its_error(measured, text):
    assert str(measured) == text
