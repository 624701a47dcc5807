"""Quantiles of the Crystal Ball, against the integral of its density."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.integrate import quad

from af_kit.corrections.crystal_ball import CrystalBall


def density(x: float, beta: float, power: float) -> float:
    x = abs(x)
    if x < beta:
        return float(np.exp(-0.5 * x * x))
    return float(np.exp(-0.5 * beta * beta) * (power / beta / (power / beta - beta + x)) ** power)


def beyond(x: float, beta: float, power: float) -> float:
    """The area of the density from x (0 or more) on."""
    core = quad(density, x, beta, args=(beta, power))[0] if x < beta else 0.0
    return core + quad(density, max(x, beta), np.inf, args=(beta, power), epsabs=0)[0]


@pytest.mark.parametrize(("beta", "power"), [(1.5, 3.0), (2.2, 8.0), (0.7, 2.5)])
def test_the_integral_up_to_the_quantile_is_the_probability(beta: float, power: float) -> None:
    ball = CrystalBall.of(np.full(7, beta), np.full(7, power))
    probability = np.array([1e-4, 0.02, 0.3, 0.5, 0.6, 0.98, 0.999])
    for p, x in zip(probability, ball.quantile(probability), strict=True):
        outside = beyond(abs(x), beta, power) / (2 * beyond(0, beta, power))
        assert (outside if x < 0 else 1 - outside) == pytest.approx(p, rel=1e-6)


def test_the_upper_half_mirrors_the_lower_one() -> None:
    ball = CrystalBall.of(np.full(50, 1.2), np.full(50, 4.0))
    p = np.linspace(0.001, 0.499, 50)
    np.testing.assert_allclose(ball.quantile(p), -ball.quantile(1 - p), rtol=1e-9)
    assert (np.diff(ball.quantile(p)) > 0).all()
