"""The Crystal Ball distribution."""

import numpy as np
import pytest
from numba_stats import crystalball

from af_kit.simulate.triplets import crystal_ball


def test_crystal_ball_has_the_distribution_of_numba_stats():
    uniform = (np.arange(1_000_000) + 0.5) / 1_000_000
    drawn = crystal_ball(uniform, 1.6, 3.0)
    assert np.all(np.diff(drawn) >= 0)
    points = np.array([-20.0, -5.0, -1.7, -1.5, 0.0, 1.0, 3.0])
    assert np.searchsorted(drawn, points) / len(drawn) == pytest.approx(
        crystalball.cdf(points, 1.6, 3.0, 0.0, 1.0), abs=3e-6
    )
