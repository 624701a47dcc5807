"""The mass fits against RooFit: the same shapes, the same likelihood and the same result.

The ROOT wheel is in the environment of the benchmarks, not in the kit's: roofit_program.py runs there.
"""

from __future__ import annotations

import json
import subprocess
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from af_kit.analysis.dsphipi.fit import LIMITS, MODEL, TAILS, fit
from af_kit.analysis.fit.backgrounds import bwz_redux_constants
from af_kit.analysis.fit.data import Unbinned
from af_kit.analysis.fit.families import family
from af_kit.analysis.fit.model import Component
from af_kit.analysis.fit.search import STRENGTH, Category, setup
from af_kit.analysis.fit.shapes import SHAPES
from af_kit.analysis.fit.simultaneous import fit_simultaneous
from af_kit.analysis.fit.toys import draw

PYTHON = Path(__file__).parents[2] / ".venv-bench" / "bin" / "python"
TRUTH = {
    "n_ds": 2800.0,
    "n_dplus": 1460.0,
    "n_background": 2800.0,
    "mean_ds": 1.96835,
    "width_ds": 0.0095,
    "mean_dplus": 1.86966,
    "width_dplus": 0.009,
    "slope": -1.1,
    **TAILS,
}


@pytest.fixture(scope="module")
def program(require):
    """``program(task, folder)`` runs a task of roofit_program.py, and returns its result."""
    programs = require("roofit", [str(PYTHON)])

    def run(task, folder):
        (folder / "task.json").write_text(json.dumps(task))
        command = [programs[str(PYTHON)], str(Path(__file__).with_name("roofit_program.py")), str(folder / "task.json")]
        done = subprocess.run(command, capture_output=True, text=True, timeout=200, check=False)
        assert done.returncode == 0, done.stderr[-3000:]
        return json.loads(done.stdout.strip().splitlines()[-1])

    return run


@pytest.fixture(scope="module")
def roofit(program):
    """``roofit(masses, bins, start, fixed, folder)`` fits in RooFit, and returns the result."""

    def run(masses, bins, start, fixed, folder):
        np.save(folder / "masses.npy", masses)
        limits = {name: limit for name, limit in LIMITS.items() if name not in fixed}
        task = {"masses": str(folder / "masses.npy"), "bins": bins, "start": start, "limits": limits, "fixed": fixed}
        return program({"what": "fit", **task}, folder)

    return run


@pytest.fixture(scope="module")
def masses():
    return draw(MODEL, TRUTH, np.random.default_rng(12), None).values


@pytest.mark.parametrize("bins", [None, 62])
def test_values_errors_and_minimum_agree(roofit, masses, bins, tmp_path):
    mine = fit(masses, bins=bins, minos=False)
    theirs = roofit(masses, bins, TRUTH, TAILS, tmp_path)
    assert (theirs["status"], theirs["quality"]) == (0, 3)
    assert theirs["values"].keys() == set(mine.free)
    for name in mine.free:
        assert theirs["values"][name] == pytest.approx(mine.values[name], abs=0.02 * mine.errors[name]), name
        assert theirs["errors"][name] == pytest.approx(mine.errors[name], rel=0.02), name
    assert theirs["nll"] == pytest.approx(negative_log_likelihood(masses, bins, mine), abs=0.01)


def negative_log_likelihood(masses, bins, result):
    """Return the value at the kit's minimum by RooFit's definition, without the constants of the data."""
    values = result.ordered
    if bins is None:
        return result.model.total(*values) - np.log(result.model.density(masses, *values)).sum()
    edges = np.linspace(*result.model.window, bins + 1)
    counts = np.histogram(masses, edges)[0]
    expected = np.diff(result.model.integral(edges, *values))
    # RooFit uses the mean density in a bin, not the integral.
    return expected.sum() - (counts * np.log(expected / np.diff(edges))).sum()


# ------------------------------------------------------------------------------------------------ the search for a peak

SIGNAL = {
    "alpha_low": 1.4, "n_low": 4.0, "width_low": 1.7,
    "alpha_high": 1.6, "n_high": 5.0, "width_high": 1.9,
    "mean": 124.8,
}  # fmt: skip
BWZ = {"power": 1.39, "slope": -3.8, "curvature": 4.36}
BACKGROUNDS = {
    "exponential": {"slope": -0.05},
    "bernstein3": {"c1": 0.7, "c2": 0.4, "c3": 0.15},
    "bwz_redux": BWZ,
}


def test_shapes_agree(program, tmp_path):
    x = np.linspace(110, 150, 161)
    published = dict(zip(("a1", "a2", "a3"), bwz_redux_constants(**BWZ), strict=True))
    shapes = {"double_crystal_ball": SIGNAL, **BACKGROUNDS, "bwz_redux": published}
    task = {name: [name, values] for name, values in shapes.items()}
    theirs = program({"what": "densities", "x": x.tolist(), "shapes": task}, tmp_path)
    for name, values in {"double_crystal_ball": SIGNAL, **BACKGROUNDS}.items():
        shape = SHAPES[name]
        mine = shape.pdf(x, 110, 150, *(values[one] for one in shape.parameters))
        np.testing.assert_allclose(theirs[name], mine, rtol=1e-6, err_msg=name)


def test_the_common_strength_of_two_channels_agrees(program, tmp_path):
    chosen = {"ggh": ("exponential", 150.0, 20_000.0), "vbf": ("bernstein3", 40.0, 600.0)}
    categories, task = {}, {}
    for number, (name, (kind, expected, background)) in enumerate(chosen.items()):
        names = tuple(f"{one}_{name}" for one in SIGNAL)
        signal = Component(f"signal_{name}", "double_crystal_ball", names, strength=STRENGTH, expected=expected)
        fixed = dict(zip(names, SIGNAL.values(), strict=True))
        empty = Unbinned(np.empty(0))
        category = Category(name, empty, (110.0, 150.0), signal, fixed, (kind,))
        truth = {STRENGTH: 2.0, f"n_background_{name}": background, **fixed}
        truth |= {f"{one}_{name}": value for one, value in BACKGROUNDS[kind].items()}
        model = category.model(kind)
        masses = draw(model, truth, np.random.default_rng(number), None).values
        np.save(tmp_path / f"{name}.npy", masses)
        categories[name] = replace(category, data=Unbinned(masses))
        limits = {one: list(limit) for one, (_, limit) in family(kind).parameters.items()}
        task[name] = {
            "masses": str(tmp_path / f"{name}.npy"),
            "expected": expected,
            "signal": SIGNAL,
            "background": [kind, BACKGROUNDS[kind]],
            "limits": limits,
        }
    own = setup(categories, {name: kind for name, (kind, _, _) in chosen.items()})
    data = {name: category.data for name, category in categories.items()}
    mine = fit_simultaneous(own.model, data, start=own.start, limits=own.limits, fixed=own.fixed)
    theirs = program({"what": "strength", "categories": task}, tmp_path)
    assert (theirs["status"], theirs["quality"]) == (0, 3)
    error = mine.errors[STRENGTH]
    assert theirs["value"] == pytest.approx(mine.values[STRENGTH], abs=0.02 * error)
    assert theirs["error"] == pytest.approx(error, rel=0.02)
    assert abs(mine.values[STRENGTH] - 2.0) < 4 * error
