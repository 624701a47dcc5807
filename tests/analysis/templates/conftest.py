"""A small model: signal over two backgrounds in two channels, with a few sources of uncertainty."""

from __future__ import annotations

import numpy as np
import pytest

from af_kit.analysis.templates import Channel, FreeNorm, Likelihood, Norm, Process, Shape, TemplateModel, likelihood

EDGES = np.arange(6.0)


def process(name: str, values, *, free=(), norm: float | None = None, tilt: float = 0.1) -> Process:
    values = np.asarray(values, float)
    slope = np.linspace(-1, 1, values.size)
    shapes = {
        "jes": Shape(values * (1 + tilt * slope), values * (1 - tilt * slope)),
        "scale": Shape(values * 1.08, values * 0.95),
    }
    norms = {} if norm is None else {f"norm_{name}": Norm.of(norm)}
    return Process(name, values, (0.04 * values) ** 2, shapes, norms, tuple(free))


def small_model() -> TemplateModel:
    signal = Channel(
        "signal",
        EDGES,
        (
            process("DY", [300, 200, 120, 60, 25], free=["rate_DY"]),
            process("EWK", [30, 30, 30, 25, 15], norm=1.1, tilt=-0.05),
            process("H", [1, 3, 8, 12, 14], free=["mu"], norm=1.05),
        ),
        variable="Score",
    )
    sidebands = Channel(
        "sidebands",
        EDGES,
        (process("DY", [500, 320, 190, 95, 40], free=["rate_DY"]), process("EWK", [50, 48, 45, 40, 25], norm=1.1)),
        variable="Score",
    )
    return TemplateModel((signal, sidebands), {"mu": FreeNorm(1, -20, 20), "rate_DY": FreeNorm(1, 0.2, 5)})


@pytest.fixture(scope="session")
def model() -> TemplateModel:
    return small_model()


@pytest.fixture(scope="session")
def compiled(model: TemplateModel) -> Likelihood:
    return likelihood(model)
