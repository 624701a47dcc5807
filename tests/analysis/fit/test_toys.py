from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import numpy as np
import pytest

from af_kit.analysis.fit import Binned, Unbinned, fit, toys
from af_kit.analysis.fit.toys import draw
from af_kit.errors import FitError, InputError


def fit_with(model, start, limits, minos, data):
    return fit(model, data, start=start, limits=limits, minos=minos)


@pytest.fixture
def tested(model, truth, limits):
    return partial(fit_with, model, truth, limits, ["n_peak"])


def test_pseudo_data_follow_the_model(model, truth):
    random = np.random.default_rng(1)
    counts = np.mean([draw(model, truth, random, 20).counts for _ in range(200)], axis=0)
    values = draw(model, {**truth, "n_peak": 200_000.0, "n_flat": 600_000.0}, random, None)
    expected = np.diff(model.integral(np.linspace(1, 2, 21), *model.ordered(truth)))
    assert counts == pytest.approx(expected, abs=5 * np.sqrt(expected.max() / 200))
    assert isinstance(values, Unbinned)
    found = values.binned(np.linspace(1, 2, 21)).counts / 200
    assert np.all(np.abs(found - expected) < 5 * np.sqrt(expected / 200))


@pytest.mark.parametrize(("number", "bins"), [(60, 50), (15, None)])
def test_pulls_of_a_right_fit_are_right(model, truth, tested, number, bins):
    found = toys(model, truth, number, seed=11, fit=tested, bins=bins)
    assert len(found) == number
    assert found.valid_fraction == 1
    for name in truth:
        pull = found.pull(name)
        assert abs(pull.mean) < 4 * pull.mean_error, name
        assert abs(pull.width - 1) < 4 * pull.width_error, name
    assert abs(found.pull("n_peak", minos=True).width - 1) < 0.6
    assert 0.2 < np.nanmean(found.p_values) < 0.8


def test_the_same_seed_gives_the_same_toys_in_any_executor(model, truth, tested):
    here = toys(model, truth, 25, seed=5, fit=tested)
    with ThreadPoolExecutor(2) as executor:
        there = toys(model, truth, 25, seed=5, fit=tested, executor=executor)
    assert np.array_equal(here.values, there.values)
    longer = toys(model, truth, 30, seed=5, fit=tested)
    assert np.array_equal(longer.values[:25], here.values)
    assert not np.array_equal(toys(model, truth, 25, seed=6, fit=tested).values, here.values)


def refuse_some(tested, data):
    if int(data.counts.sum()) % 2:
        raise FitError("odd", reasons=["an odd number (123)"])
    return tested(data)


def test_invalid_fits_are_counted_by_reason(model, truth, tested, tmp_path):
    found = toys(model, truth, 30, seed=1, fit=partial(refuse_some, tested))
    invalid = sum(found.failures.values())
    assert 0 < invalid < 30
    assert found.failures == {"an odd number": invalid}
    assert found.valid_fraction == pytest.approx(1 - invalid / 30)
    assert len(found.pulls("n_peak")) == 30 - invalid
    written = json.loads(found.write(tmp_path / "toys.json").read_text())
    assert (written["number"], written["seed"], written["failures"]) == (30, 1, {"an odd number": invalid})
    assert written["pulls"]["n_peak"]["minos"]["width"] > 0
    assert list(found.summary.index) == ["n_peak", "n_flat", "mean", "width", "slope"]
    shown = found._repr_html_()
    assert f"Toys: 30 fits, {100 * found.valid_fraction:.0f} % valid" in shown
    texts = (
        "<td>n_peak</td>",
        "Minos pull width",
        "an odd number",
        f">{invalid}<",
        found.summary["pull mean"]["n_peak"],
    )
    assert all(text in shown for text in texts)


def test_pulls_of_an_unknown_parameter_are_refused(model, truth, tested):
    found = toys(model, truth, 2, seed=1, fit=tested)
    with pytest.raises(InputError, match=r"'n_peek' was not fitted.*'n_peak'"):
        found.pulls("n_peek")
    with pytest.raises(InputError, match="No toy has a Minos error of mean"):
        found.pulls("mean", minos=True)


def test_a_truth_without_a_parameter_is_refused(model, truth, tested):
    del truth["slope"]
    with pytest.raises(InputError, match="missing for slope"):
        toys(model, truth, 2, seed=1, fit=tested)
    assert isinstance(draw(model, {**truth, "slope": 0}, np.random.default_rng(1), 5), Binned)
