from __future__ import annotations

import numpy as np
import pytest
from scipy.integrate import quad

from af_kit.analysis.fit import FAMILIES, SHAPES, family
from af_kit.analysis.fit.backgrounds import bwz_redux_constants
from af_kit.errors import InputError

LOW, HIGH = 110.0, 150.0


def start(name):
    return [value for value, _ in family(name).parameters.values()]


@pytest.mark.parametrize("name", FAMILIES)
def test_a_family_is_normalised_and_positive_and_its_integral_is_of_its_density(name):
    shape, values = SHAPES[name], start(name)
    assert len(shape.parameters) == len(values)
    x = np.array([LOW, 113.7, 125.0, 149.9, HIGH])

    def density(y):
        return shape.pdf(np.array([y]), LOW, HIGH, *values)[0]

    by_hand = [quad(density, LOW, end, epsabs=1e-13, epsrel=1e-12)[0] for end in x]
    assert shape.cdf(x, LOW, HIGH, *values) == pytest.approx(by_hand, abs=1e-9)
    assert by_hand[-1] == pytest.approx(1, abs=1e-9)
    edges = np.linspace(LOW, HIGH, 161)
    assert np.all(shape.pdf(edges, LOW, HIGH, *values) > 0)
    # Edges of all bins are integrated in another way than single positions.
    assert shape.cdf(edges, LOW, HIGH, *values)[::40] == pytest.approx(
        shape.cdf(edges[::40], LOW, HIGH, *values), abs=1e-12
    )


@pytest.mark.parametrize("name", FAMILIES)
def test_starting_values_are_between_the_limits(name):
    for value, (low, high) in family(name).parameters.values():
        assert low < value < high
    own = family(name)
    assert own.start("vbf").keys() == own.limits("vbf").keys() == set(own.component("vbf").parameters)


def test_bwz_redux_is_the_published_function():
    values = (1.39, -3.8, 4.36)
    a1, a2, a3 = bwz_redux_constants(*values)
    assert (a1, a2, a3) == pytest.approx((1.39, 0.46, -0.26), abs=0.02)
    m = np.linspace(LOW, HIGH, 9)
    published = np.exp(a2 * m / 100 + a3 * (m / 100) ** 2) / (np.abs(m - 91.2) ** a1 + 1.25**a1)
    mine = SHAPES["bwz_redux"].pdf(m, LOW, HIGH, *values)
    assert mine / mine[0] == pytest.approx(published / published[0], rel=1e-12)


def test_a_polynomial_is_zero_where_it_would_be_negative():
    shape = SHAPES["chebyshev1"]
    x = np.linspace(LOW, HIGH, 401)
    density, integral = (function(x, LOW, HIGH, -1.5) for function in (shape.pdf, shape.cdf))
    assert np.all(density >= 0)
    assert np.all(density[x > 144] == 0)
    assert np.all(np.diff(integral) >= 0)
    assert integral[[0, -1]] == pytest.approx([0, 1])
    assert np.trapezoid(density, x) == pytest.approx(1, abs=1e-4)


def test_the_sum_of_exponentials_has_the_fractions_of_its_parameters():
    x = np.array([110.0, 130.0])
    one = [SHAPES["exponential"].pdf(x, LOW, HIGH, slope) for slope in (-0.01, -0.05, -0.2)]
    total = SHAPES["exponentials3"].pdf(x, LOW, HIGH, -0.01, -0.05, -0.2, 0.3, 0.4)
    assert total == pytest.approx(0.3 * one[0] + 0.7 * 0.4 * one[1] + 0.7 * 0.6 * one[2])


def test_an_unknown_family_is_refused():
    with pytest.raises(InputError, match=r"'bernstein9'.* Did you mean 'bernstein"):
        family("bernstein9")


def test_the_crystal_ball_has_a_tail_of_any_power():
    # 1 is where the integral of the power is a logarithm.
    shape, x = SHAPES["double_crystal_ball"], np.linspace(LOW, HIGH, 21)
    near = [shape.cdf(x, LOW, HIGH, 1.5, n, 1.5, 2.0, n, 1.7, 125.0) for n in (1 - 1e-7, 1.0, 1 + 1e-7)]
    assert near[0] == pytest.approx(near[1], abs=1e-6)
    assert near[2] == pytest.approx(near[1], abs=1e-6)
