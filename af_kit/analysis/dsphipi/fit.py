"""The mass fit: two peaks over a falling background.

Ds and D+ are each a Crystal Ball, with a tail of the same form in both; the background is an exponential. How the tail
falls cannot be told from the data, where it lies on the background: it is taken from simulation and fixed.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

import numpy as np

from af_kit.analysis.fit.data import Binned, Unbinned, as_data
from af_kit.analysis.fit.minimise import fit as minimise
from af_kit.analysis.fit.minimise import prefit
from af_kit.analysis.fit.model import Component, Model
from af_kit.analysis.fit.result import FitResult
from af_kit.errors import InputError, nearest

# The range of the fit in GeV, and the bins of a binned one: 5.8 MeV wide, against a resolution of some 15 MeV.
WINDOW = (1.65, 2.01)
BINS = 62

MODEL = Model(
    (
        Component("ds", "crystal_ball", ("alpha", "n", "mean_ds", "width_ds"), r"$D_s^{+}\to\phi\,\pi^{+}$"),
        Component("dplus", "crystal_ball", ("alpha", "n", "mean_dplus", "width_dplus"), r"$D^{+}\to\phi\,\pi^{+}$"),
        Component("background", "exponential", ("slope",), "background"),
    ),
    WINDOW,
)

LIMITS: dict[str, tuple[float | None, float | None]] = {
    "n_ds": (0, None),
    "n_dplus": (0, None),
    "n_background": (0, None),
    "alpha": (0.5, 5),
    "n": (1.05, 50),
    "mean_ds": (1.945, 1.990),
    "width_ds": (0.004, 0.040),
    "mean_dplus": (1.850, 1.890),
    "width_dplus": (0.004, 0.040),
    "slope": (-20, 20),
}

# What a fit to the kit's own simulation gives, for data that come without a simulation.
TAILS = {"alpha": 1.6, "n": 3.0}

# Where each component is seen best [GeV]. The sidebands keep off the peaks: below a peak its tail is long.
SIDEBANDS = ((1.65, 1.80), (1.900, 1.925), (1.999, 2.01))
WINDOW_DS = (1.93, 2.01)
WINDOW_DPLUS = (1.83, 1.89)


def fit(
    data: Any,
    weights: Any = None,
    *,
    tails: Mapping[str, float] | FitResult | None = None,
    simulation: Any = None,
    free_tails: bool = False,
    bins: int | None = None,
    minos: bool | Collection[str] | None = None,
    fixed: Mapping[str, float] | None = None,
    max_calls: int | None = None,
) -> FitResult:
    """Fit the mass spectrum of the candidates.

    Parameters
    ----------
    data
        Masses [GeV] for an unbinned fit, a table with a column ``mass``, or a histogram of one axis for a binned fit.
    weights
        One for each mass. A table's own column ``weight`` is not used unless it is given here: recorded events have
        none.
    tails
        ``alpha`` and ``n`` of the tails, to be fixed: numbers, or the result of :func:`fit_simulation`. None:
        :data:`TAILS`.
    simulation
        Simulated candidates, in any form that ``data`` takes: their tails are fitted first, and fixed here. (For
        weighted ones call :func:`fit_simulation`, and give its result as ``tails``.)
    free_tails
        Fit the tails to these data as well. Parabolic errors then come out too small: use Minos.
    bins
        Fit masses in so many bins rather than one by one.
    minos
        Asymmetric errors: of all free parameters, none, or those named. None: of all, where they have a meaning.
    fixed
        Further parameters to fix, by name.

    Returns
    -------
    FitResult
        Yields ``n_ds``, ``n_dplus`` and ``n_background`` are events in the range of the fit.

    Raises
    ------
    FitError
        If the fit is not valid: why, what was at a limit, and what to do.
    """
    if free_tails and (tails is not None or simulation is not None):
        raise InputError("Tails are either free or fixed: give free_tails, or tails, or a simulation.")
    if tails is not None and simulation is not None:
        raise InputError("The tails come from the simulation or are given: name one of them, tails or simulation.")
    if simulation is not None:
        tails = fit_simulation(simulation)
    held = {} if free_tails else tail_values(TAILS if tails is None else tails)
    held |= fixed or {}
    sample = sample_of(data, weights, bins=bins)
    if minos is None:
        minos = not (isinstance(sample, Unbinned) and sample.weighted)
    return minimise(
        MODEL,
        sample,
        start=starting_values(sample, held),
        limits=LIMITS,
        fixed=held,
        minos=minos,
        max_calls=max_calls,
    )


def fit_simulation(simulated: Any, weights: Any = None, *, bins: int | None = BINS) -> FitResult:
    """Fit simulated candidates with free tails: what :func:`fit` fixes for data.

    Parameters
    ----------
    simulated, weights
        As in :func:`fit`.
    bins
        Of masses that are given one by one; None fits them so: a little better, and slower. A histogram has its own.
    """
    simulated, weights = sample_of(simulated, weights), None
    if isinstance(simulated, Binned):
        bins = None
    return fit(simulated, weights, free_tails=True, bins=bins, minos=False)


def tail_values(tails: Mapping[str, float] | FitResult) -> dict[str, float]:
    """``alpha`` and ``n``, out of numbers or of a fit."""
    values = tails.values if isinstance(tails, FitResult) else tails
    for name in values:
        if not isinstance(tails, FitResult) and name not in TAILS:
            raise InputError(f"{name!r} is no parameter of the tails.{nearest(name, TAILS)}")
    if missing := TAILS.keys() - values.keys():
        raise InputError(f"The tails have alpha and n; there is no value for {', '.join(sorted(missing))}.")
    return {name: float(values[name]) for name in TAILS}


def sample_of(data: Any, weights: Any = None, *, bins: int | None = None) -> Binned | Unbinned:
    """The data of a fit, from any of the forms that :func:`fit` takes."""
    if hasattr(data, "column_names"):  # Arrow
        data = data["mass"].to_numpy()
    elif hasattr(data, "iloc") and data.ndim == 2:  # pandas
        data = data["mass"]
    sample = as_data(data, weights)
    if bins is None:
        return sample
    if isinstance(sample, Binned):
        raise InputError("A histogram has its bins: give bins only with single masses.")
    return sample.binned(np.linspace(*WINDOW, bins + 1))


def starting_values(data: Any, fixed: Mapping[str, float] | None = None) -> dict[str, float]:
    """Starting values from fits in windows: the sidebands, then each peak on what the sidebands say lies below it.

    ``data`` is in any of the forms that :func:`fit` takes; ``fixed`` parameters have their values.
    """
    data = sample_of(data).inside(*WINDOW)
    if isinstance(data, Unbinned):
        data = data.binned(np.linspace(*WINDOW, BINS + 1))
    held = dict(fixed or {})
    start = {
        "n_ds": 0.0,
        "n_dplus": 0.0,
        "n_background": data.total,
        "slope": -1.0,
        "mean_ds": 1.968,
        "mean_dplus": 1.870,
        "width_ds": 0.013,
        "width_dplus": 0.013,
        **TAILS,
        **held,
    }

    def improve(names: tuple[str, ...], *windows: tuple[float, float]) -> None:
        free = [name for name in names if name not in held]
        start.update(prefit(MODEL, data, start=start, free=free, windows=windows, limits=LIMITS))

    improve(("n_background", "slope"), *SIDEBANDS)
    for peak, window in (("ds", WINDOW_DS), ("dplus", WINDOW_DPLUS)):
        start[f"n_{peak}"] = max(0.1 * data.total, 1.0)
        improve((f"n_{peak}", f"mean_{peak}", f"width_{peak}"), window)
    return start
