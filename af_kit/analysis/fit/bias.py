"""Test the choice of the background: draw pseudo-data with one family, fit them with another or with the envelope."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from concurrent.futures import Executor
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

from af_kit.analysis.fit.data import Binned, Unbinned
from af_kit.analysis.fit.envelope import Envelope, envelope
from af_kit.analysis.fit.families import family
from af_kit.analysis.fit.search import STRENGTH, Category, setup
from af_kit.analysis.fit.simultaneous import SimultaneousFit, fit_simultaneous
from af_kit.analysis.fit.strength import at_strength
from af_kit.analysis.fit.toys import Toys, toys
from af_kit.errors import InputError, nearest

if TYPE_CHECKING:
    import pandas as pd

ENVELOPE = "envelope"
"""Instead of the name of a family: fit with all."""

Data = Mapping[str, Binned | Unbinned]


def kinds(categories: Mapping[str, Category]) -> dict[str, dict[str, str]]:
    """Return all kinds of families, each with the family of each category.

    Where a category does not have this kind, because it does not describe its data or has too many parameters for them,
    it is the category's first family.
    """
    every = {name: {family(one).kind: one for one in category.families} for name, category in categories.items()}
    known = dict.fromkeys(kind for own in every.values() for kind in own)
    return {kind: {name: own.get(kind, categories[name].families[0]) for name, own in every.items()} for kind in known}


def fit_kind(data: Data, *, categories: Mapping[str, Category], families: Mapping[str, str]) -> SimultaneousFit:
    """Fit data of all categories with one family each, with Minos errors of the strength."""
    own = setup(with_data(categories, data), families)
    return fit_simultaneous(own.model, data, start=own.start, limits=own.limits, fixed=own.fixed, minos=[STRENGTH])


def fit_envelope(data: Data, *, categories: Mapping[str, Category]) -> Envelope:
    """Fit data of all categories with all their families."""
    return envelope(with_data(categories, data), minos=False)


def with_data(categories: Mapping[str, Category], data: Data) -> dict[str, Category]:
    """Return the categories with other data."""
    return {name: replace(category, data=data[name]) for name, category in categories.items()}


def strength_toys(
    categories: Mapping[str, Category],
    number: int,
    *,
    seed: int,
    strength: float,
    generate: str,
    fit: str | None = None,
    bins: int | None = 160,
    executor: Executor | None = None,
    progress: bool | None = None,
) -> Toys:
    """Draw pseudo-data with one kind of background and a true strength, and fit them.

    The background of the pseudo-data is that of a fit to the categories' data at this strength.

    Parameters
    ----------
    generate, fit
        Kinds of families (:func:`kinds`); or, to fit, "envelope". None: the same kind.
    bins, executor, progress
        As for :func:`~af_kit.analysis.fit.toys.toys`.
    """
    known = kinds(categories)
    fit = generate if fit is None else fit
    for name, allowed in ((generate, [*known]), (fit, [*known, ENVELOPE])):
        if name not in allowed:
            raise InputError(f"No category has a background {name!r}.{nearest(name, allowed)}")
    truth = at_strength(categories, known[generate], {}, strength)
    model = setup(categories, known[generate]).model
    function: Any = (
        partial(fit_envelope, categories=categories)
        if fit == ENVELOPE
        else partial(fit_kind, categories=categories, families=known[fit])
    )
    return toys(model, truth, number, seed=seed, fit=function, bins=bins, executor=executor, progress=progress)


def bias_table(
    categories: Mapping[str, Category],
    number: int,
    *,
    seed: int,
    strengths: Iterable[float] = (0.0, 1.0, 5.0),
    generate: Iterable[str] | None = None,
    fit: Iterable[str] | None = None,
    bins: int | None = 160,
    executor: Executor | None = None,
    progress: bool | None = None,
) -> pd.DataFrame:
    """Return the pulls of the strength for each kind that generates and each that fits.

    Parameters
    ----------
    number
        Toys for each combination.
    generate, fit
        Kinds of families; None: all, and "envelope" to fit.

    Returns
    -------
    pandas.DataFrame
        One row per combination: ``valid``, the fraction of valid fits; ``pull_mean``, ``pull_median`` and
        ``pull_width`` with errors, in units of the fitted error (Minos, or that of the envelope); ``coverage`` of the
        68 % interval.
    """
    import numpy as np
    import pandas as pd

    known = kinds(categories)
    rows = []
    for strength in strengths:
        for one in known if generate is None else generate:
            for other in [*known, ENVELOPE] if fit is None else fit:
                found = strength_toys(
                    categories,
                    number,
                    seed=seed,
                    strength=strength,
                    generate=one,
                    fit=other,
                    bins=bins,
                    executor=executor,
                    progress=progress,
                )
                row = {"strength": strength, "generate": one, "fit": other, "toys": number}
                rows.append(row | strength_pull(found) | {"valid": found.valid_fraction})
    table = pd.DataFrame(rows)
    return table.assign(**{"strength": table["strength"].astype(np.float64)})


def strength_pull(found: Toys) -> dict[str, float]:
    """Return mean, median and width of the pulls of the strength with their errors, and the coverage."""
    import numpy as np

    if not found.names:
        return {}
    pull = found.pull(STRENGTH, minos=True)
    coverage, error = found.coverage(STRENGTH, minos=True)
    return {
        "pull_mean": pull.mean,
        "pull_mean_error": pull.mean_error,
        "pull_median": float(np.median(found.pulls(STRENGTH, minos=True))),
        "pull_width": pull.width,
        "pull_width_error": pull.width_error,
        "coverage": coverage,
        "coverage_error": error,
    }
