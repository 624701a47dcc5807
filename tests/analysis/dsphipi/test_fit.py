from __future__ import annotations

from functools import partial

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hist import Hist

from af_kit.analysis.dsphipi.fit import (
    BINS,
    MODEL,
    TAILS,
    WINDOW,
    fit,
    fit_simulation,
    fits,
    starting_values,
    tail_values,
)
from af_kit.analysis.fit import Binned, FitResult, toys
from af_kit.analysis.fit.toys import draw
from af_kit.errors import FitError, InputError

SHAPE = {"mean_ds": 1.96835, "width_ds": 0.0095, "mean_dplus": 1.86966, "width_dplus": 0.009, "slope": -1.1, **TAILS}
DATA = {"n_ds": 2500.0, "n_dplus": 1200.0, "n_background": 5000.0, **SHAPE}
SIMULATION = {"n_ds": 30_000.0, "n_dplus": 15_000.0, "n_background": 3000.0, **SHAPE}


@pytest.fixture(scope="module")
def masses() -> np.ndarray:
    return draw(MODEL, DATA, np.random.default_rng(1), None).values


@pytest.fixture(scope="module")
def simulated() -> np.ndarray:
    return draw(MODEL, SIMULATION, np.random.default_rng(2), None).values


def agrees(result, truth, sigma=4.0):
    for name in result.free:
        assert abs(result.values[name] - truth[name]) < sigma * result.errors[name], name
    return True


@pytest.mark.parametrize("bins", [BINS, None])
def test_the_peaks_are_found(masses, bins):
    result = fit(masses, bins=bins)
    assert agrees(result, DATA)
    assert result.fixed == TAILS
    assert result.minos.keys() == set(result.free)
    assert result.goodness[0].p_value > 1e-3


def test_any_form_of_the_data_gives_the_same_fit(masses):
    histogram = Hist.new.Reg(BINS, *WINDOW, name="mass").Int64().fill(masses)
    expected = fit(masses, bins=BINS, minos=False)
    for table in (pa.table({"mass": masses}), pd.DataFrame({"mass": masses})):
        assert fit(table, bins=BINS, minos=False).to_dict() == expected.to_dict()
    # its edges are computed otherwise, and differ in the last digit
    assert fit(histogram, minos=False).values == pytest.approx(expected.values, rel=1e-6)


def test_starting_values_are_near_the_truth(masses):
    start = starting_values(Binned(np.linspace(*WINDOW, BINS + 1), np.histogram(masses, BINS, WINDOW)[0].astype(float)))
    assert start["n_background"] == pytest.approx(DATA["n_background"], rel=0.2)
    assert start["n_ds"] == pytest.approx(DATA["n_ds"], rel=0.2)
    assert start["mean_ds"] == pytest.approx(DATA["mean_ds"], abs=0.002)
    assert start["mean_dplus"] == pytest.approx(DATA["mean_dplus"], abs=0.002)


def test_tails_come_from_simulation_in_one_call(masses, simulated):
    tails = fit_simulation(simulated)
    assert {"alpha", "n"} < set(tails.free)
    assert agrees(tails, SIMULATION)
    result = fit(masses, simulation=simulated)
    assert result.fixed == tail_values(tails) != TAILS
    assert fit(masses, tails=tails).to_dict() == result.to_dict()
    assert agrees(result, DATA)


def test_a_histogram_of_the_simulation_gives_its_tails(masses, simulated):
    histogram = Hist.new.Reg(BINS, *WINDOW).Weight().fill(simulated, weight=0.5)
    result = fit(masses, simulation=histogram)
    assert result.fixed == tail_values(fit_simulation(histogram))
    assert result.fixed == pytest.approx(tail_values(fit_simulation(simulated)), rel=1e-3)


def test_free_tails_are_fitted_to_the_data(simulated):
    result = fit(simulated, free_tails=True, bins=BINS, minos=["alpha"])
    assert result.minos.keys() == {"alpha"}
    assert result.fixed == {}


def test_weighted_simulation_has_the_errors_of_its_weights(simulated):
    """Halves of the events with weights 0.5 and 1.5: the same tails, errors larger by the root of 1.25."""
    weights = np.where(np.arange(len(simulated)) % 2, 0.5, 1.5)
    plain, weighted = fit_simulation(simulated), fit_simulation(simulated, weights)
    assert weighted["alpha"].error == pytest.approx(plain["alpha"].error * np.sqrt(1.25), rel=0.15)
    assert abs(weighted["alpha"].value - plain["alpha"].value) < 2 * plain["alpha"].error


def test_without_signal_there_is_no_fit():
    """Background alone, as in the smallest of samples: an error, whatever the fluctuation."""
    background = {**DATA, "n_ds": 0.0, "n_dplus": 0.0, "n_background": 2000.0}
    with pytest.raises(FitError) as caught:
        fit(draw(MODEL, background, np.random.default_rng(4), BINS))
    assert caught.value.reasons


def test_too_small_a_simulation_does_not_give_tails():
    few = {**SIMULATION, "n_ds": 60.0, "n_dplus": 30.0, "n_background": 20.0}
    with pytest.raises(FitError, match="limit") as caught:
        fit_simulation(draw(MODEL, few, np.random.default_rng(1), None).values)
    assert caught.value.at_limit


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"tails": TAILS, "free_tails": True}, "either free or fixed"),
        ({"tails": TAILS, "simulation": [1.9]}, "pass only one of them"),
        ({"tails": {"alpha": 1.6}}, "missing: n"),
        ({"tails": {"alpha": 1.6, "m": 3}}, "'m' is not a parameter of the tails"),
        ({"fixed": {"mean": 1.97}}, "Did you mean 'mean_ds'"),
    ],
)
def test_wrong_options_are_refused(masses, options, message):
    with pytest.raises(InputError, match=message):
        fit(masses, **options)


def test_a_histogram_has_its_bins(masses):
    with pytest.raises(InputError, match="pass bins only with a list of masses"):
        fit(Hist.new.Reg(BINS, *WINDOW).Int64().fill(masses), bins=10)


def test_a_hundred_toys():
    """The errors are right with fixed tails; the benchmark has the same with more toys (docs/dsphipi.md)."""
    found = toys(MODEL, DATA, 100, seed=20171, fit=partial(fit, minos=False))
    assert found.valid_fraction > 0.97
    for name in ("n_ds", "n_dplus", "n_background", "mean_ds", "width_ds"):
        pull = found.pull(name)
        assert abs(pull.mean) < 0.35, name
        assert 0.8 < pull.width < 1.25, name


def test_the_tails_of_the_data_are_those_of_the_simulation(both, data):
    found = fits(both)
    assert isinstance(found["simulation"], FitResult)
    assert {"alpha", "n"} <= set(found["simulation"].free)
    assert found["data"].fixed == {name: found["simulation"].values[name] for name in ("alpha", "n")}
    assert abs(found["data"]["mean_ds"].value - 1.96835) < 4 * found["data"]["mean_ds"].error
    assert fits(data)["data"].fixed == {"alpha": 1.6, "n": 3.0}
