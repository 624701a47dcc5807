"""Fit the mass spectrum: two peaks over a falling background.

Ds and D+ are each a Crystal Ball, with the same tail parameters; the background is an exponential. Data cannot
distinguish the tail from the background, so its parameters are taken from simulation and fixed.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

import numpy as np

from af_kit.analysis.dsphipi.results import DATA, SIMULATION, parts, spectrum
from af_kit.analysis.fit.data import Binned, Unbinned, as_data
from af_kit.analysis.fit.minimise import fit as minimise
from af_kit.analysis.fit.minimise import prefit
from af_kit.analysis.fit.model import Component, Model
from af_kit.analysis.fit.result import FitResult
from af_kit.errors import FitError, InputError, nearest

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

# Tails of the kit's own simulation, for data without a simulation.
TAILS = {"alpha": 1.6, "n": 3.0}

# Windows for the starting values [GeV]. The sidebands avoid the peaks and the long tails below them.
SIDEBANDS = ((1.65, 1.80), (1.900, 1.925), (1.999, 2.01))
WINDOW_DS = (1.93, 2.01)
WINDOW_DPLUS = (1.83, 1.89)

# A result with fewer candidates in the range of the fit is not fitted.
MIN_CANDIDATES = 100

Fits = Mapping[str, FitResult | FitError]


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
        One weight per mass. The column ``weight`` of a table is only used if you pass it here.
    tails
        Fix ``alpha`` and ``n`` of the tails to these numbers, or to those of a result of :func:`fit_simulation`. None:
        :data:`TAILS`.
    simulation
        Simulated candidates, in any form that ``data`` takes: fit their tails first, and fix them here. (If they are
        weighted, call :func:`fit_simulation` and pass its result as ``tails``.)
    free_tails
        Fit the tails to these data as well. Parabolic errors are then too small: use Minos.
    bins
        Fit a list of masses in this number of bins instead of unbinned.
    minos
        Find asymmetric errors of all free parameters (True), of none (False), or of those named. None: of all, except
        for weighted unbinned data, for which they have no meaning.
    fixed
        Further parameters to fix, name to value.

    Returns
    -------
    FitResult
        Yields ``n_ds``, ``n_dplus`` and ``n_background`` are events in the range of the fit.

    Raises
    ------
    FitError
        If the fit is not valid; it says why, which parameters are at a limit, and what to do.
    """
    if free_tails and (tails is not None or simulation is not None):
        raise InputError("Tails are either free or fixed: pass one of free_tails, tails and simulation.")
    if tails is not None and simulation is not None:
        raise InputError("The tails come either from tails or from simulation: pass only one of them.")
    if simulation is not None:
        tails = fit_simulation(simulation)
    fixed = {**({} if free_tails else tail_values(TAILS if tails is None else tails)), **(fixed or {})}
    sample = sample_of(data, weights, bins=bins)
    if minos is None:
        minos = not (isinstance(sample, Unbinned) and sample.weighted)
    return minimise(
        MODEL,
        sample,
        start=starting_values(sample, fixed),
        limits=LIMITS,
        fixed=fixed,
        minos=minos,
        max_calls=max_calls,
    )


def fit_simulation(simulated: Any, weights: Any = None, *, bins: int | None = BINS) -> FitResult:
    """Fit simulated candidates with free tails, for :func:`fit` to fix in the data.

    Parameters
    ----------
    simulated, weights
        As in :func:`fit`.
    bins
        Number of bins for a list of masses; None fits them unbinned, a little better and slower. A histogram keeps its
        own bins.
    """
    simulated, weights = sample_of(simulated, weights), None
    if isinstance(simulated, Binned):
        bins = None
    return fit(simulated, weights, free_tails=True, bins=bins, minos=False)


def tail_values(tails: Mapping[str, float] | FitResult) -> dict[str, float]:
    """Return ``alpha`` and ``n`` of the tails, from numbers or from a fit."""
    values = tails.values if isinstance(tails, FitResult) else tails
    for name in values:
        if not isinstance(tails, FitResult) and name not in TAILS:
            raise InputError(f"{name!r} is not a parameter of the tails.{nearest(name, TAILS)}")
    if missing := TAILS.keys() - values.keys():
        raise InputError(f"The tails need alpha and n; missing: {', '.join(sorted(missing))}.")
    return {name: float(values[name]) for name in TAILS}


def sample_of(data: Any, weights: Any = None, *, bins: int | None = None) -> Binned | Unbinned:
    """Convert any form of data that :func:`fit` takes."""
    if hasattr(data, "column_names"):  # Arrow
        data = data["mass"].to_numpy()
    elif hasattr(data, "iloc") and data.ndim == 2:  # pandas
        data = data["mass"]
    sample = as_data(data, weights)
    if bins is None:
        return sample
    if isinstance(sample, Binned):
        raise InputError("A histogram has its own bins: pass bins only with a list of masses.")
    return sample.binned(np.linspace(*WINDOW, bins + 1))


def starting_values(data: Any, fixed: Mapping[str, float] | None = None) -> dict[str, float]:
    """Find starting values with fits in windows: first the sidebands, then each peak over the background found there.

    ``data`` has any form that :func:`fit` takes; ``fixed`` parameters keep their values.
    """
    data = sample_of(data).inside(*WINDOW)
    if isinstance(data, Unbinned):
        data = data.binned(np.linspace(*WINDOW, BINS + 1))
    fixed = dict(fixed or {})
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
        **fixed,
    }

    def improve(names: tuple[str, ...], *windows: tuple[float, float]) -> None:
        free = [name for name in names if name not in fixed]
        start.update(prefit(MODEL, data, start=start, free=free, windows=windows, limits=LIMITS))

    improve(("n_background", "slope"), *SIDEBANDS)
    for peak, window in (("ds", WINDOW_DS), ("dplus", WINDOW_DPLUS)):
        start[f"n_{peak}"] = max(0.1 * data.total, 1.0)
        improve((f"n_{peak}", f"mean_{peak}", f"width_{peak}"), window)
    return start


def fits(result: Mapping[str, Any]) -> dict[str, FitResult | FitError]:
    """Fit a merged result: simulation with free tails; data with the tails of the simulation, or else :data:`TAILS`.

    Returns
    -------
    dict
        For "data" and "simulation", if the result has them, the fit or the error that says why it is not valid.
    """
    found: dict[str, FitResult | FitError] = {}
    by_part = parts(result)
    for part in (SIMULATION, DATA):  # the tails first
        if part not in by_part:
            continue
        mass = spectrum(by_part[part])
        candidates = mass.sum().value
        try:
            if candidates < MIN_CANDIDATES:
                raise FitError(
                    f"{candidates:,.0f} candidates between {WINDOW[0]} and {WINDOW[1]} GeV are too few for a fit.",
                    reasons=["too few candidates"],
                )
            if part == SIMULATION:
                found[part] = fit_simulation(mass, bins=None)
            else:
                tails = found.get(SIMULATION)
                found[part] = fit(mass, tails=tails if isinstance(tails, FitResult) else TAILS)
        except FitError as error:
            found[part] = error
    return found
