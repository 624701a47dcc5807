"""Toys: fit pseudo-data drawn from a template model, to test whether strengths and errors are right."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import Executor
from functools import partial

import numpy as np

from af_kit.analysis.fit.toys import Toys
from af_kit.analysis.templates.fit import fit
from af_kit.analysis.templates.likelihood import likelihood
from af_kit.analysis.templates.model import TemplateModel
from af_kit.display.progress import Progress
from af_kit.errors import FitError, InputError

__all__ = ["toys"]

# Toys per task of an executor: a worker compiles the likelihood once, and needs seconds for it.
_BLOCK = 25


def toys(
    model: TemplateModel,
    number: int,
    *,
    seed: int,
    truth: Mapping[str, float] | None = None,
    minos: bool = False,
    executor: Executor | None = None,
    progress: bool | None = None,
) -> Toys:
    """Draw and fit pseudo-data ``number`` times: Poisson counts, and auxiliary measurements that fluctuate, too.

    The random numbers of a toy depend only on ``seed`` and on its number, so that any executor returns the same result.

    Parameters
    ----------
    truth
        The true parameters, where they are not nominal: ``{"mu": 5}``.
    minos
        Whether to find the asymmetric errors of the strength.
    executor
        Such as ``client.get_executor()`` of a Dask client; None: run in this process.
    progress
        Show a progress bar; None: on a terminal and in a notebook.

    Returns
    -------
    Toys
        Values, errors and pulls of all parameters; the number of invalid fits, and their reasons.
    """
    if number < 1:
        raise InputError(f"toys() needs at least one toy, not {number}.")
    seeds = np.random.SeedSequence(seed).spawn(number)
    blocks = [seeds[i : i + _BLOCK] for i in range(0, number, _BLOCK)]
    work = partial(_block, model.without_data(), dict(truth or {}), minos)
    done = []
    with Progress(number, progress, what="toys", unit="toys") as bar:
        for block in (executor.map if executor else map)(work, blocks):
            done.append(block)
            bar.update(len(block[2]))
    names, true = done[0][0], done[0][1]
    found = [toy for block in done for toy in block[2]]
    order = sorted(range(len(names)), key=lambda column: names[column] != model.poi)  # the strength is the first
    values, errors, lower, upper = (np.array([toy[i] for toy in found])[:, order] for i in range(4))
    return Toys(
        truth=dict(zip(names, true, strict=True)),
        seed=seed,
        names=tuple(names[column] for column in order),
        values=values,
        errors=errors,
        lower=lower,
        upper=upper,
        p_values=np.array([toy[4] for toy in found]),
        reasons=tuple(toy[5] for toy in found),
    )


_Toy = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, float, str]


def _block(
    model: TemplateModel, truth: Mapping[str, float], minos: bool, seeds: Sequence[np.random.SeedSequence]
) -> tuple[tuple[str, ...], list[float], list[_Toy]]:
    compiled = likelihood(model)
    parameters = compiled.parameters(**truth)
    varied = np.flatnonzero(compiled.varied)
    found: list[_Toy] = []
    for seed in seeds:
        data = compiled.draw(parameters, np.random.default_rng(seed))
        nothing = np.full(varied.size, np.nan)
        try:
            result = fit(compiled, data, minos=minos)
        except FitError as error:
            # Without the numbers, which differ from toy to toy.
            limited = f"at a limit: {', '.join(error.at_limit)}" if error.at_limit else ""
            reason = limited or error.reasons[0].partition("(")[0].partition(" expects ")[0].strip()
            found.append((nothing, nothing, nothing, nothing, np.nan, reason))
            continue
        sides = [nothing.copy(), nothing.copy()]
        for name, pair in result.minos.items():
            column = int(np.flatnonzero(varied == compiled.position(name))[0])
            sides[0][column], sides[1][column] = pair
        p_value = result.goodness.p_value
        found.append((result.parameters[varied], result.errors[varied], sides[0], sides[1], p_value, ""))
    return tuple(compiled.names[row] for row in varied), [float(parameters[row]) for row in varied], found
