"""Fits with known results, and invalid fits."""

from __future__ import annotations

import pickle

import numpy as np
import pytest

from af_kit.analysis.fit import Binned, Component, Model, Unbinned, fit, prefit
from af_kit.errors import AfKitError, FitError, InputError

EDGES = np.linspace(1, 2, 101)


@pytest.mark.parametrize("binned", [True, False])
def test_fitted_values_agree_with_the_truth(model, truth, limits, values, binned):
    data = Unbinned(values)
    result = fit(model, data.binned(EDGES) if binned else data, start=truth, limits=limits, minos=True)
    assert result.kind == ("binned" if binned else "unbinned")
    for name, expected in truth.items():
        measured = result[name]
        assert abs(measured.value - expected) < 3 * measured.error, name
        assert -measured.lower == pytest.approx(measured.error, rel=0.15)
        assert measured.upper == pytest.approx(measured.error, rel=0.15)
    assert sum(part.value for part in result.yields.values()) == pytest.approx(4000, rel=1e-4)
    assert all(test.p_value > 1e-3 for test in result.goodness)
    assert {test.method for test in result.goodness} == ({"saturated", "pearson"} if binned else {"pearson"})


def test_binned_and_unbinned_agree(model, truth, limits, values):
    data = Unbinned(values)
    single, counted = (fit(model, d, start=truth, limits=limits) for d in (data, data.binned(EDGES)))
    for name in truth:
        assert abs(single[name].value - counted[name].value) < 0.3 * single[name].error, name
        assert single[name].error == pytest.approx(counted[name].error, rel=0.1)


def test_a_counting_experiment_has_a_root_for_its_error():
    """One flat component: the yield is the number of events, and its error is their square root."""
    model = Model((Component("all", "exponential", ("slope",)),), (0, 1))
    data = Unbinned(np.linspace(0, 0.999, 25))
    result = fit(model, data, start={"n_all": 20, "slope": 0}, fixed={"slope": 0.0}, minos=True)
    assert result["n_all"].value == pytest.approx(25, rel=1e-4)
    assert result["n_all"].error == pytest.approx(5, rel=1e-3)
    for end in (result["n_all"].lower, result["n_all"].upper):
        mu = 25 + end
        assert 2 * (mu - 25 - 25 * np.log(mu / 25)) == pytest.approx(1, abs=0.01)
    assert result.fixed == {"slope": 0}
    assert result["slope"] == (0, 0, None, None)


@pytest.mark.parametrize("binned", [True, False])
def test_weights_enter_by_the_sum_of_their_squares(model, truth, limits, values, binned):
    """The yields add up to the sum of weights, and the variance of their sum is the sum of squared weights."""
    weights = np.random.default_rng(1).choice([0.5, 1, 3], len(values))
    data = Unbinned(values, weights)
    result = fit(model, data.binned(EDGES) if binned else data, start=truth, limits=limits)
    inside = data.inside(1, 2)
    n = len(result.yields)
    assert result.weighted
    assert result.total == pytest.approx(inside.weights.sum())
    assert sum(part.value for part in result.yields.values()) == pytest.approx(result.total, rel=0.01)
    assert result.covariance[:n, :n].sum() == pytest.approx((inside.weights**2).sum(), rel=0.03)


@pytest.mark.parametrize("binned", [True, False])
def test_a_common_weight_changes_yields_only(model, truth, limits, values, binned):
    plain = Unbinned(values)
    scaled = Unbinned(values, np.full(len(values), 7.0))
    one, seven = (
        fit(model, data.binned(EDGES) if binned else data, start=truth, limits=limits) for data in (plain, scaled)
    )
    for name in truth:
        factor = 7 if name.startswith("n_") else 1
        assert seven[name].value == pytest.approx(factor * one[name].value, abs=0.02 * factor * one[name].error)
        # of unbinned data the spread of the gradients is counted in place of expected
        assert seven[name].error == pytest.approx(factor * one[name].error, rel=0.02 if binned else 0.1)
    assert one.entries == (4000 if binned else len(plain.inside(1, 2).values))
    assert seven.entries == (None if binned else 4000)


def test_a_pre_fit_moves_only_what_is_free(model, truth, limits, values):
    start = {**truth, "n_flat": 1000.0, "slope": 1.0, "mean": 1.45}
    found = prefit(
        model,
        Unbinned(values).binned(EDGES),
        start={**start, "n_peak": 0.0},
        free=["n_flat", "slope"],
        windows=[(1, 1.4), (1.6, 2)],
        limits=limits,
    )
    assert found["n_flat"] == pytest.approx(3000, rel=0.1)
    assert found["slope"] == pytest.approx(-1, abs=0.3)
    assert (found["mean"], found["width"], found["n_peak"]) == (1.45, 0.02, 0)


# ------------------------------------------------------------------------------------------------- what is not valid


def test_no_signal_is_an_error_that_names_the_yield(model, truth, limits):
    flat = Binned(EDGES, np.full(100, 20.0) - 10 * (np.abs(EDGES[:-1] - 1.5) < 0.03))
    with pytest.raises(FitError, match=r"n_peak = .* is at its lower limit 0.*There may be no such signal") as caught:
        fit(model, flat, start=truth, limits=limits, fixed={"mean": 1.5, "width": 0.02})
    assert caught.value.at_limit == ("n_peak",)
    assert isinstance(caught.value, AfKitError)


def test_a_parameter_at_its_limit_is_named(model, truth, limits, values):
    with pytest.raises(FitError, match=r"mean = .* is at its upper limit 1\.495.*Widen the limits of mean") as caught:
        fit(model, Unbinned(values), start=truth, limits={**limits, "mean": (1.4, 1.495)})
    assert "mean" in caught.value.at_limit


def test_degenerate_parameters_are_refused(values, truth):
    twice = Model((Component("a", "exponential", ("slope",)), Component("b", "exponential", ("slope",))), (1.0, 2.0))
    with pytest.raises(FitError, match="n_a and n_b cannot be distinguished") as caught:
        fit(twice, Unbinned(values).binned(EDGES), start={"n_a": 2000, "n_b": 2000, "slope": -1})
    assert caught.value.reasons


def test_too_few_calls_are_refused(model, truth, limits, values):
    start = {**truth, "mean": 1.45, "n_peak": 10}
    with pytest.raises(FitError, match=r"call limit was reached.*max_calls") as caught:
        fit(model, Unbinned(values).binned(EDGES), start=start, limits=limits, max_calls=10)
    assert caught.value.status in (3, 4)


def test_nothing_to_fit_is_an_error(model, truth):
    with pytest.raises(FitError, match="nothing to fit between 1 and 2"):
        fit(model, Unbinned(np.array([5.0])), start=truth)


def test_minos_that_ends_at_a_limit_is_refused(model, truth, limits, values):
    result = fit(model, Unbinned(values), start=truth, limits=limits)
    low = result["width"].value - 0.7 * result["width"].error
    with pytest.raises(FitError, match=r"Minos found no interval for width.*lower limit") as caught:
        fit(model, Unbinned(values), start=truth, limits={**limits, "width": (low, 0.1)}, minos=["width"])
    assert caught.value.at_limit == ("width",)


def test_minos_has_no_meaning_for_weighted_values(model, truth, values):
    with pytest.raises(InputError, match="in bins"):
        fit(model, Unbinned(values, values), start=truth, minos=True)


def test_unknown_names_are_refused(model, truth, values):
    with pytest.raises(InputError, match="no parameter 'meen'"):
        fit(model, Unbinned(values), start=truth, limits={"meen": (0, 1)})


def test_the_error_can_be_pickled():
    error = FitError("not valid", reasons=["a", "b"], at_limit=["n"], status=3)
    again = pickle.loads(pickle.dumps(error))
    assert (str(again), again.reasons, again.at_limit, again.status) == ("not valid", ("a", "b"), ("n",), 3)
