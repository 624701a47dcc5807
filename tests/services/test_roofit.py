"""The mass fit against RooFit: the same likelihood and the same result.

The ROOT wheel is in the environment of the benchmarks, not in the kit's: roofit_program.py runs there.
"""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import numpy as np
import pytest

from af_kit.analysis.dsphipi.fit import LIMITS, MODEL, TAILS, fit
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
def roofit(require):
    """``roofit(masses, bins, start, fixed, folder)`` fits in RooFit, and returns the result."""
    programs = require("roofit", [str(PYTHON)])

    def run(masses, bins, start, fixed, folder):
        np.save(folder / "masses.npy", masses)
        limits = {name: limit for name, limit in LIMITS.items() if name not in fixed}
        task = {"masses": str(folder / "masses.npy"), "bins": bins, "start": start, "limits": limits, "fixed": fixed}
        (folder / "task.json").write_text(json.dumps(task))
        command = [programs[str(PYTHON)], str(Path(__file__).with_name("roofit_program.py")), str(folder / "task.json")]
        done = subprocess.run(command, capture_output=True, text=True, timeout=200, check=False)
        assert done.returncode == 0, done.stderr[-3000:]
        return json.loads(done.stdout.strip().splitlines()[-1])

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
