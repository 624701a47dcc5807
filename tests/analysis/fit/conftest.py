from __future__ import annotations

import numpy as np
import pytest

from af_kit.analysis.fit import Component, Model

# One narrow peak over a slope: the smallest model that has everything.
MODEL = Model(
    (Component("peak", "gauss", ("mean", "width")), Component("flat", "exponential", ("slope",))),
    (1.0, 2.0),
)
TRUTH = {"n_peak": 1000.0, "n_flat": 3000.0, "mean": 1.5, "width": 0.02, "slope": -1.0}
LIMITS = {"n_peak": (0, None), "n_flat": (0, None), "mean": (1.4, 1.6), "width": (0.005, 0.1), "slope": (-10, 10)}


@pytest.fixture
def model() -> Model:
    return MODEL


@pytest.fixture
def truth() -> dict[str, float]:
    return dict(TRUTH)


@pytest.fixture
def limits() -> dict[str, tuple[float | None, float | None]]:
    return dict(LIMITS)


@pytest.fixture
def values() -> np.ndarray:
    """1000 values of the peak and 3000 of the slope."""
    random = np.random.default_rng(3)
    slope = 1 - np.log(1 - random.random(3000) * (1 - np.exp(-1)))
    return np.concatenate([random.normal(1.5, 0.02, 1000), slope])
