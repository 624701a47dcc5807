"""Two categories with a common strength: a large one, and a small one with more signal per background."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import numpy as np
import pytest

from af_kit.analysis.fit import (
    Binned,
    Category,
    Component,
    Unbinned,
    asimov,
    choose,
    envelope,
    family,
    fit_simultaneous,
    kinds,
    significance,
    strength_pull,
    strength_toys,
    toys,
    upper_limit,
)
from af_kit.analysis.fit.bias import bias_table, fit_kind
from af_kit.analysis.fit.search import setup
from af_kit.analysis.fit.strength import at_strength
from af_kit.analysis.fit.toys import draw
from af_kit.errors import FitError, InputError

WINDOW = (110.0, 150.0)
EVENTS = {"large": (200.0, 20_000.0), "small": (40.0, 600.0)}
SHAPE = {
    "alpha_low": 1.5, "n_low": 3.0, "width_low": 1.6, "alpha_high": 1.8, "n_high": 5.0, "width_high": 1.6,
    "mean": 124.9,
}  # fmt: skip


def truth(strength=1.0, **events):
    values = {"strength": strength}
    for name, (_, background) in EVENTS.items():
        values |= {f"{one}_{name}": value for one, value in SHAPE.items()}
        values |= {f"slope_{name}": -0.04, f"n_background_{name}": events.get(name, background)}
    return values


def categories(strength=1.0, families=("exponential",), **events):
    """Categories with the expected events as data; the background is one exponential."""
    found = {}
    for name, (signal, _) in EVENTS.items():
        shape = {f"{one}_{name}": value for one, value in SHAPE.items()}
        component = Component(name, "double_crystal_ball", tuple(shape), strength="strength", expected=signal)
        empty = Binned(np.linspace(*WINDOW, 81), np.zeros(80))
        found[name] = Category(name, empty, WINDOW, component, shape, ("exponential",))
    expected = asimov(found, dict.fromkeys(found, "exponential"), truth(strength, **events))
    return {name: replace(one, families=families) for name, one in expected.items()}


def fit(own, families="exponential", **options):
    how = setup(own, dict.fromkeys(own, families))
    data = {name: one.data for name, one in own.items()}
    return fit_simultaneous(how.model, data, start=how.start, limits=how.limits, fixed=how.fixed, **options)


@pytest.fixture(scope="module")
def drawn():
    """Pseudo-data with strength 1."""
    own = categories()
    data = draw(setup(own, dict.fromkeys(own, "exponential")).model, truth(), np.random.default_rng(4), 80)
    return {name: replace(one, data=data[name]) for name, one in own.items()}


@pytest.mark.parametrize("strength", [-1.0, 0.0, 1.0, 5.0])
def test_expected_data_give_the_true_strength(strength):
    found = fit(categories(strength), minos=["strength"])
    assert found.values["strength"] == pytest.approx(strength, abs=0.002)
    assert found.values["slope_large"] == pytest.approx(-0.04, rel=1e-3)
    assert found.minimum == pytest.approx(0, abs=1e-3)
    lower, upper = found.minos["strength"]
    assert (upper - lower) / 2 == pytest.approx(found.errors["strength"], rel=0.05)


def test_two_categories_weigh_as_their_errors():
    both = fit(categories())
    alone = [fit({name: one}).errors["strength"] for name, one in categories().items()]
    assert both.errors["strength"] == pytest.approx(np.sum(np.power(alone, -2.0)) ** -0.5, rel=0.01)


def test_the_error_is_that_of_a_counting_experiment(drawn):
    """In the limit of a known background, 1 / sqrt(sum S^2 / (S + B)) over bins, and a few % more for a fitted one."""
    variance = 0.0
    for own in categories().values():
        model = own.model("exponential")
        values = {key: value for key, value in truth().items() if key in model.parameters}
        edges = own.data.edges
        total = np.diff(model.integral(edges, *model.ordered(values)))
        signal = total - np.diff(model.integral(edges, *model.ordered({**values, "strength": 0.0})))
        variance += np.sum(signal**2 / total)
    assert 1.0 < fit(categories()).errors["strength"] * np.sqrt(variance) < 1.15
    assert fit(drawn).errors["strength"] == pytest.approx(fit(categories()).errors["strength"], rel=0.2)


def test_values_and_narrow_bins_give_the_same_result():
    own = categories()
    model = setup(own, dict.fromkeys(own, "exponential")).model
    values = draw(model, truth(), np.random.default_rng(8), None)
    unbinned = fit({name: replace(one, data=values[name]) for name, one in own.items()}, minos=["strength"])
    edges = np.linspace(*WINDOW, 401)
    binned = fit({name: replace(one, data=values[name].binned(edges)) for name, one in own.items()})
    assert isinstance(values["large"], Unbinned)
    difference = unbinned.values["strength"] - binned.values["strength"]
    assert abs(difference) < 0.05 * binned.errors["strength"]
    assert unbinned.errors["strength"] == pytest.approx(binned.errors["strength"], rel=0.02)
    assert 0.001 < unbinned.by_category["large"][0].p_value < 0.999


def test_a_range_can_be_left_out_and_yields_are_those_of_the_whole_range():
    own = categories(strength=0.0)
    counts = {name: one.data.counts.copy() for name, one in own.items()}
    for one in counts.values():
        one[20:40] = 1e5  # 120 to 130 GeV
    data = {name: replace(one, data=Binned(one.data.edges, counts[name])) for name, one in own.items()}
    how = setup(data, dict.fromkeys(data, "exponential"))
    found = fit_simultaneous(
        how.model,
        {name: one.data for name, one in data.items()},
        start=how.start,
        limits=how.limits,
        fixed={**how.fixed, "strength": 0.0},
        exclude=(120, 130),
    )
    assert found.values["n_background_large"] == pytest.approx(20_000, rel=1e-3)


def test_a_strength_with_a_negative_density_is_refused():
    # Without any event near 125 GeV, the strength falls until signal and background cancel.
    own = categories(0.0, small=400.0)
    data = own["small"].data
    hole = np.where(np.abs((data.edges[1:] + data.edges[:-1]) / 2 - 125) < 4, 0.0, data.counts)
    with pytest.raises(FitError, match=r"density of small|negative") as error:
        fit({"small": replace(own["small"], data=Binned(data.edges, hole))})
    assert error.value.reasons


def test_nothing_to_fit_and_wrong_inputs_are_refused():
    own = categories()
    with pytest.raises(FitError, match="nothing to fit in small"):
        fit({"small": replace(own["small"], data=Binned(np.linspace(*WINDOW, 81), np.zeros(80)))})
    weighted = Unbinned(np.array([120.0, 130.0]), np.array([1.0, 2.0]))
    with pytest.raises(InputError, match=r"small: .*weighted values in bins only"):
        fit({"small": replace(own["small"], data=weighted)})
    with pytest.raises(InputError, match="0 signal events are expected"):
        replace(own["small"], signal=own["small"].signal.__class__("s", "exponential", ("a",), "", "strength", 0.0))
    how = setup(own, dict.fromkeys(own, "exponential"))
    with pytest.raises(InputError, match="no data for the categories small"):
        fit_simultaneous(how.model, {"large": own["large"].data}, start=how.start)


def test_weighted_counts_have_errors_of_their_weights(drawn):
    """Weights of 4 give a quarter of the events, and therefore twice the error on the same sum."""
    plain, weighted = drawn, {}
    for name, one in drawn.items():
        counts = one.data.counts
        weighted[name] = replace(one, data=Binned(one.data.edges, counts, 4 * counts))
    assert fit(weighted).errors["strength"] == pytest.approx(2 * fit(plain).errors["strength"], rel=0.01)


def test_the_envelope_of_one_family_is_its_profile(drawn):
    found = envelope(drawn)
    minos = found.fit.minos["strength"]
    assert found.value == pytest.approx(found.fit.values["strength"], abs=0.003)
    assert found.interval() == pytest.approx(minos, rel=0.02)
    assert found.rise(0.0) == pytest.approx(significance(found).q0)
    # The rise at 0, by a fit with the strength fixed there
    how = setup(drawn, dict.fromkeys(drawn, "exponential"))
    data = {name: one.data for name, one in drawn.items()}
    fixed = {**how.fixed, "strength": 0.0}
    at_zero = fit_simultaneous(how.model, data, start=how.start, limits=how.limits, fixed=fixed)
    assert found.rise(0.0) == pytest.approx(at_zero.minimum - found.fit.minimum, abs=0.01)


def test_the_envelope_is_below_every_family_and_its_interval_not_smaller(drawn):
    families = ("exponential", "powers1", "bernstein2", "bernstein3")
    own = {name: replace(one, families=families) for name, one in drawn.items()}
    found = envelope(own, minos=False)
    total = found.rises + np.sum([min(c.min() for c in curves.values()) for curves in found.curves.values()])
    assert set(found.curves["large"]) | set(found.dropped["large"]) == set(families)
    alone = envelope({name: replace(one, families=(found.families[name],)) for name, one in drawn.items()}, minos=False)
    assert found.value == pytest.approx(alone.value, abs=0.02)
    assert found.interval()[1] - found.interval()[0] >= 0.999 * (alone.interval()[1] - alone.interval()[0])
    assert np.isfinite(total).all()
    # A large penalty prefers few parameters.
    assert set(envelope(own, penalty=100.0, minos=False).families.values()) <= {"exponential", "powers1"}


def test_limits_of_expected_data():
    own = categories()
    families = dict.fromkeys(own, "exponential")
    background = envelope(asimov(own, families, at_strength(own, families, {}, 0.0)), minos=False)
    limit = upper_limit(background, background)
    error = -background.interval()[0]
    assert limit.expected[2] == pytest.approx(1.96 * error, rel=0.05)
    assert limit.observed == pytest.approx(limit.expected[2], rel=0.02)
    assert list(limit.expected) == sorted(limit.expected)
    # Data with signal have a higher limit, and the expected significance is the root of the rise at 0.
    with_signal = envelope(own, minos=False)
    assert upper_limit(background, with_signal).observed > limit.observed + 0.8
    assert significance(with_signal).sigma == pytest.approx(1 / error, rel=0.1)
    assert significance(envelope(categories(-1.0), minos=False)) == (0.0, 0.0, 0.5)
    assert upper_limit(background, None).observed is None


def test_the_order_is_chosen_in_the_sidebands():
    edges = np.linspace(*WINDOW, 81)
    own = family("exponentials2").component("c")
    expected = 2e5 * np.diff(_shape_cdf(own.shape, edges, -0.02, -0.15, 0.5))
    expected[20:40] += 1e4  # a signal that must not change the choice
    names = ["exponential", "exponentials2", "exponentials3", "bernstein1"]
    chosen = choose("c", Binned(edges, np.round(expected)), names, window=WINDOW, exclude=(120, 130))
    assert list(chosen.fits) == ["exponentials2"]
    reasons = {one.family: one.reason for one in chosen.candidates}
    assert "exponentials2 is better" in reasons["exponential"]
    assert "does not describe" in reasons["bernstein1"]
    assert list(reasons) == names
    with pytest.raises(FitError, match="No background family describes the sidebands of c: bernstein1: does not"):
        choose("c", Binned(edges, np.round(expected)), ["bernstein1"], window=WINDOW, exclude=(120, 130))


def _shape_cdf(name, edges, *values):
    from af_kit.analysis.fit import SHAPES

    return SHAPES[name].cdf(edges, *WINDOW, *values)


def test_pulls_of_the_strength_have_width_one():
    """The tolerance is 20 %: errors that are wrong by 30 % fail."""
    found = strength_toys(categories(), 150, seed=3, strength=1.0, generate="exponentials", bins=80)
    pull = strength_pull(found)
    assert found.valid_fraction == 1
    assert abs(pull["pull_mean"]) < 0.25
    assert 0.8 < pull["pull_width"] < 1.2
    assert 0.58 < pull["coverage"] < 0.78


def test_a_wrong_background_biases_the_strength():
    own = categories(families=("exponential", "bernstein1"))
    assert kinds(own)["bernstein"] == {"large": "bernstein1", "small": "bernstein1"}
    table = bias_table(
        own, 6, seed=1, strengths=[1.0], generate=["exponentials"], fit=["exponentials", "bernstein"], bins=80
    )
    assert abs(table["pull_mean"][0]) < 1.5
    assert abs(table["pull_mean"][1]) > 3
    with pytest.raises(InputError, match="No category has a background 'powers'"):
        strength_toys(own, 1, seed=1, strength=1.0, generate="powers")


def test_toys_of_categories_are_the_same_in_any_order():
    own = categories()
    families = dict.fromkeys(own, "exponential")
    model = setup(own, families).model
    function = partial(fit_kind, categories=own, families=families)
    few, more = (toys(model, truth(), number, seed=2, fit=function, bins=80) for number in (2, 3))
    assert np.array_equal(few.values, more.values[:2])
    with pytest.raises(InputError, match="negative number of events"):
        draw(model, truth(-50.0), np.random.default_rng(1), 80)


def test_weighted_values_are_filled_without_negative_bins():
    edges = np.linspace(0, 5, 6)
    values = np.array([0.5, 1.5, 1.6, 2.5, 4.5, 4.6])
    weights = np.array([1.0, -0.5, 0.2, 2.0, 1.0, -2.0])
    filled, merged = Binned.weighted_sum(edges, values, weights)
    assert filled.edges.tolist() == [0, 1, 5]
    assert filled.counts.tolist() == pytest.approx([1.0, 0.7])
    assert filled.variances.tolist() == pytest.approx([1.0, 0.25 + 0.04 + 4 + 1 + 4])
    assert merged == 3
    assert Binned.weighted_sum(edges, values, np.abs(weights))[1] == 0  # an empty bin is one
    assert Binned.weighted_sum(edges, values, np.ones(6), effective=3)[0].edges.tolist() == [0, 2, 5]
    with pytest.raises(InputError, match="not positive"):
        Binned.weighted_sum(edges, values, -np.ones(6))
