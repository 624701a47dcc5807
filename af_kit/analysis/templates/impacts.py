"""Impacts: how much each parameter moves the signal strength; and the parts of its uncertainty."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from af_kit.analysis.templates.fit import TemplateFit, profiled
from af_kit.display.progress import progressing

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["breakdown", "impacts"]


def impacts(result: TemplateFit, *, names: Sequence[str] | None = None, progress: bool | None = None) -> pd.DataFrame:
    """Return how the strength moves if a parameter is fixed one standard deviation away from its best value.

    Parameters
    ----------
    names
        The parameters; None: all that were varied, except the strength.
    progress
        Show a progress bar; None: on a terminal and in a notebook.

    Returns
    -------
    pandas.DataFrame
        One row per parameter, the largest impact first: ``post_up`` and ``post_down``, the shifts of the strength for
        plus and minus the uncertainty after the fit; ``pre_up`` and ``pre_down`` for that before the fit (NaN where the
        data alone determine it); ``value``, ``error``.

    Raises
    ------
    FitError
        A fit with the parameter fixed is not valid.
    """
    import pandas as pd

    compiled = result.likelihood
    poi = compiled.poi
    if names is None:
        names = [compiled.names[row] for row in np.flatnonzero(result.minimum.varied) if row != poi]
    rows: dict[str, Any] = {}
    for name in progressing(names, len(names), progress, what="impacts", unit="parameters", brief=True):
        position = compiled.position(name)
        value, error, before = result.parameters[position], result.errors[position], compiled.widths[position]
        row: dict[str, float] = {}
        for kind, width in (("post", error), ("pre", before)):
            for direction, sign in (("up", 1), ("down", -1)):
                moved = np.nan
                if np.isfinite(width):
                    low, high = compiled.limits[position]
                    # A statistical factor stays positive.
                    target = np.clip(value + sign * width, 0.01 if low == 0 else low, high)
                    moved = profiled(result, name, float(target)).parameters[poi] - result.parameters[poi]
                row[f"{kind}_{direction}"] = float(moved)
        rows[name] = {**row, "value": float(value), "error": float(error)}
    table = pd.DataFrame.from_dict(rows, orient="index")
    if table.empty:
        return table
    largest = table[["post_up", "post_down"]].abs().max(axis=1)
    return table.loc[largest.sort_values(ascending=False, kind="stable").index]


def breakdown(result: TemplateFit, groups: Mapping[str, Sequence[str]]) -> dict[str, float]:
    """Return the parts of the strength's error, from the covariance.

    Parameters
    ----------
    groups
        Name to parameters.

    Returns
    -------
    dict
        ``total``; for each group, what it adds in quadrature: the error without the group, subtracted from the total;
        ``statistical``, the error if all constrained parameters were known.
    """
    total = result.strength.error
    parts = {"total": total}
    for group, names in groups.items():
        without = result.error_without(
            [name for name in names if result.minimum.varied[result.likelihood.position(name)]]
        )
        parts[group] = float(np.sqrt(max(total**2 - without**2, 0.0)))
    constrained = np.flatnonzero(np.isfinite(result.likelihood.widths) & result.minimum.varied)
    parts["statistical"] = result.error_without([result.likelihood.names[row] for row in constrained])
    return parts
