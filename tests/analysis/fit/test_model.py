from __future__ import annotations

import pickle

import numpy as np
import pytest
from scipy.integrate import quad

from af_kit.analysis.fit import SHAPES, Component, Model
from af_kit.errors import InputError

PARAMETERS = {
    "gauss": (1.5, 0.1),
    "crystal_ball": (1.6, 3.0, 1.5, 0.1),
    "double_crystal_ball": (1.6, 3.0, 0.1, 1.2, 5.0, 0.12, 1.5),
    "exponential": (-2.0,),
    "exponentials2": (-2.0, -8.0, 0.4),
    "exponentials3": (-1.0, -3.0, -9.0, 0.3, 0.4),
    "bwz_redux": (1.39, -3.8, 4.36),
    "bwz_exponential": (-2.0,),
    "bwz_photon": (-2.0, 0.6),
    "powers1": (-6.0,),
    "powers2": (-3.0, -9.0, 0.4),
    **{f"bernstein{n}": tuple(0.8**k for k in range(1, n + 1)) for n in range(1, 6)},
    **{f"chebyshev{n}": tuple((-0.5) ** k for k in range(1, n + 1)) for n in range(1, 6)},
}
# On the range of H -> mu mu; the others are tried on 1.2 to 1.9.
WINDOW = (110.0, 150.0)


def test_every_shape_is_tried_here():
    assert PARAMETERS.keys() == SHAPES.keys()


@pytest.mark.parametrize("name", SHAPES)
def test_a_shape_is_normalised_on_its_range_and_its_integral_is_of_its_density(name):
    shape, parameters = SHAPES[name], PARAMETERS[name]
    assert len(shape.parameters) == len(parameters)
    x = np.linspace(1.2, 1.9, 9)
    integral = shape.cdf(x, 1.2, 1.9, *parameters)
    assert integral[[0, -1]] == pytest.approx([0, 1], abs=1e-12)
    by_hand = [
        quad(lambda y: shape.pdf(np.array([y]), 1.2, 1.9, *parameters)[0], 1.2, end, points=[1.35, 1.5])[0] for end in x
    ]
    assert integral == pytest.approx(by_hand, abs=1e-7)


def test_an_exponential_without_slope_is_a_constant():
    shape, x = SHAPES["exponential"], np.array([1.0, 1.5, 3.0])
    for slope in (0.0, 1e-12, 1e-7):
        assert shape.pdf(x, 1, 3, slope) == pytest.approx(0.5, rel=1e-6)
        assert shape.cdf(x, 1, 3, slope) == pytest.approx([0, 0.25, 1], rel=1e-6)


def test_a_model_is_the_sum_of_its_components(model, truth):
    ordered = model.ordered(truth)
    x = np.linspace(1, 2, 11)
    assert model.parameters == ("n_peak", "n_flat", "mean", "width", "slope")
    assert model.total(*ordered) == 4000
    assert model.integral(x, *ordered)[[0, -1]] == pytest.approx([0, 4000])
    parts = model.densities(x, *ordered)
    assert model.density(x, *ordered) == pytest.approx(parts["peak"] + parts["flat"])
    assert parts["peak"][5] == pytest.approx(1000 / (0.02 * np.sqrt(2 * np.pi)))


def test_components_share_a_parameter_of_the_same_name():
    two = Model((Component("a", "gauss", ("mean", "width")), Component("b", "gauss", ("other", "width"))), (0, 1))
    assert two.parameters == ("n_a", "n_b", "mean", "width", "other")


def test_a_used_model_can_be_pickled(model, truth):
    before = model.density(np.array([1.5]), *model.ordered(truth))
    again = pickle.loads(pickle.dumps(model))
    assert again == model
    assert again.density(np.array([1.5]), *again.ordered(truth)) == before


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Component("a", "gaus", ("m", "s")), "Did you mean 'gauss'"),
        (lambda: Component("a", "gauss", ("m",)), "the parameters of gauss are mean, width, but 1 are given: m"),
        (lambda: Model((), (2, 1)), "not from 2 to 1"),
    ],
)
def test_invalid_models_are_refused(make, message):
    with pytest.raises(InputError, match=message):
        make()


def test_values_are_checked_by_name(model, truth):
    with pytest.raises(InputError, match=r"no parameter 'slop'.* Did you mean 'slope'"):
        model.ordered({**truth, "slop": 1})
    del truth["mean"]
    with pytest.raises(InputError, match="missing for mean"):
        model.ordered(truth)
