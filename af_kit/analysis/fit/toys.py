"""Toys: fits to pseudo-data drawn from a model whose parameters are known, to see whether the errors are right."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from af_kit.analysis import output
from af_kit.analysis.fit.data import Binned, Unbinned
from af_kit.analysis.fit.model import Model
from af_kit.analysis.fit.result import FitResult
from af_kit.errors import FitError, InputError, nearest

if TYPE_CHECKING:
    import pandas as pd

Fit = Callable[[Binned | Unbinned], FitResult]

# Toys that one task of an executor makes: enough to outweigh its overhead, few enough to share.
_BLOCK = 10


def toys(
    model: Model,
    values: Mapping[str, float],
    number: int,
    *,
    seed: int,
    fit: Fit,
    bins: int | None = 62,
    executor: Executor | None = None,
) -> Toys:
    """Draw pseudo-data ``number`` times, and fit each.

    Each toy has random numbers of its own, from ``seed`` and its number: the result is the same whatever runs it.

    Parameters
    ----------
    values
        The truth: a value for each parameter of the model. Counts fluctuate as Poisson's, so the yields do, too.
    fit
        What is under test, from starting values to Minos: a function of the data. With processes or a cluster it is
        sent there: take a function of a module (``functools.partial`` of one will do).
    bins
        Of the pseudo-data; None: single values.
    executor
        Where to run, such as ``client.get_executor()`` of a Dask client or a ``ProcessPoolExecutor``; None: here.

    Returns
    -------
    Toys
        Fits that are not valid are counted in it, with their reasons.
    """
    model.ordered(values)
    seeds = np.random.SeedSequence(seed).spawn(number)
    blocks = [seeds[i : i + _BLOCK] for i in range(0, number, _BLOCK)]
    work = partial(_block, model, dict(values), fit, bins)
    done = [toy for block in (executor.map if executor else map)(work, blocks) for toy in block]
    names = tuple(name for name in model.parameters if any(name in toy.values for toy in done))

    def column(kind: str) -> np.ndarray:
        return np.array([[getattr(toy, kind).get(name, np.nan) for name in names] for toy in done])

    return Toys(
        truth={name: float(values[name]) for name in model.parameters},
        seed=seed,
        names=names,
        values=column("values"),
        errors=column("errors"),
        lower=column("lower"),
        upper=column("upper"),
        p_values=np.array([toy.p_value for toy in done]),
        reasons=tuple(toy.reason for toy in done),
    )


def draw(model: Model, values: Mapping[str, float], random: np.random.Generator, bins: int | None) -> Binned | Unbinned:
    """Pseudo-data of a model: Poisson counts in ``bins``, or single values."""
    ordered = model.ordered(values)
    if bins is not None:
        edges = np.linspace(*model.window, bins + 1)
        return Binned(edges, random.poisson(np.diff(model.integral(edges, *ordered))).astype(float))
    # The integral on a grid that is fine against any width that a detector resolves, turned round.
    grid = np.linspace(*model.window, 20_001)
    integral = model.integral(grid, *ordered)
    total = random.poisson(integral[-1])
    return Unbinned(np.interp(random.uniform(0, integral[-1], total), integral, grid))


class _Toy(NamedTuple):
    values: Mapping[str, float]
    errors: Mapping[str, float]
    lower: Mapping[str, float]
    upper: Mapping[str, float]
    p_value: float
    reason: str


def _block(
    model: Model,
    values: Mapping[str, float],
    fit: Fit,
    bins: int | None,
    seeds: Sequence[np.random.SeedSequence],
) -> list[_Toy]:
    return [_one(fit, draw(model, values, np.random.default_rng(seed), bins)) for seed in seeds]


def _one(fit: Fit, data: Binned | Unbinned) -> _Toy:
    try:
        result = fit(data)
    except FitError as error:
        # Not the numbers, which differ from toy to toy.
        reason = f"at a limit: {', '.join(error.at_limit)}" if error.at_limit else error.reasons[0].partition("(")[0]
        return _Toy({}, {}, {}, {}, np.nan, reason.strip())
    lower, upper = ({name: pair[i] for name, pair in result.minos.items()} for i in (0, 1))
    p_value = result.goodness[0].p_value if result.goodness else np.nan
    free = {name: result.values[name] for name in result.free}
    return _Toy(free, result.errors, lower, upper, p_value, "")


class Pull(NamedTuple):
    """Mean and width of the pulls of one parameter, with their statistical errors."""

    mean: float
    mean_error: float
    width: float
    width_error: float


@dataclass(frozen=True, eq=False)
class Toys:
    """The fits to pseudo-data. Arrays have a row per toy, NaN where its fit is not valid.

    Attributes
    ----------
    truth
        What the pseudo-data were drawn from.
    names
        The parameters that were fitted: the columns of ``values``, ``errors``, ``lower``, ``upper`` (Minos).
    p_values
        Of the first test of goodness.
    reasons
        Why a fit is not valid; empty for one that is.
    """

    truth: Mapping[str, float]
    seed: int
    names: tuple[str, ...]
    values: np.ndarray
    errors: np.ndarray
    lower: np.ndarray
    upper: np.ndarray
    p_values: np.ndarray
    reasons: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.reasons)

    @property
    def valid_fraction(self) -> float:
        """How many of the fits are valid."""
        return self.reasons.count("") / len(self)

    @property
    def failures(self) -> dict[str, int]:
        """Why fits are not valid, and how many; the most frequent first."""
        return dict(Counter(reason for reason in self.reasons if reason).most_common())

    def pulls(self, name: str, *, minos: bool = False) -> np.ndarray:
        """Fitted minus true value over the error, of each valid fit.

        With ``minos`` the error is the asymmetric one on the side of the truth.
        """
        if name not in self.names:
            raise InputError(f"{name!r} was not fitted in these toys.{nearest(name, self.names)}")
        at = self.names.index(name)
        difference = self.values[:, at] - self.truth[name]
        error = np.where(difference > 0, -self.lower[:, at], self.upper[:, at]) if minos else self.errors[:, at]
        if not np.isfinite(error).any():
            raise InputError(f"No toy has a Minos error of {name}: ask for them in the fit.")
        pulls = difference / error
        return pulls[np.isfinite(pulls)]

    def pull(self, name: str, *, minos: bool = False) -> Pull:
        """Mean and width of :meth:`pulls`: zero and one where values and errors are right."""
        pulls = self.pulls(name, minos=minos)
        width = float(np.std(pulls, ddof=1))
        return Pull(float(pulls.mean()), width / np.sqrt(len(pulls)), width, width / np.sqrt(2 * (len(pulls) - 1)))

    @property
    def summary(self) -> pd.DataFrame:
        """For each parameter the truth, mean value and error, and mean and width of its pulls."""
        import pandas as pd

        rows = {}
        for at, name in enumerate(self.names):
            row = {"truth": self.truth[name], "mean value": np.nanmean(self.values[:, at])}
            row |= {"mean error": np.nanmean(self.errors[:, at])}
            pull = self.pull(name)
            row |= {"pull mean": f"{pull.mean:+.2f} +- {pull.mean_error:.2f}"}
            row |= {"pull width": f"{pull.width:.2f} +- {pull.width_error:.2f}"}
            if np.isfinite(self.lower[:, at]).any():
                pull = self.pull(name, minos=True)
                row |= {"Minos pull width": f"{pull.width:.2f} +- {pull.width_error:.2f}"}
            rows[name] = row
        return pd.DataFrame.from_dict(rows, orient="index")

    def to_dict(self) -> dict[str, Any]:
        """The summary in plain numbers, for JSON."""
        pulls: dict[str, Any] = {}
        for at, name in enumerate(self.names):
            pulls[name] = self.pull(name)._asdict()
            if np.isfinite(self.lower[:, at]).any():
                pulls[name]["minos"] = self.pull(name, minos=True)._asdict()
        return {
            "number": len(self),
            "seed": self.seed,
            "truth": dict(self.truth),
            "valid_fraction": self.valid_fraction,
            "failures": self.failures,
            "pulls": pulls,
        }

    def write(self, path: str | Path) -> Path:
        """Write the summary as JSON."""
        return output.write_json(json.loads(json.dumps(self.to_dict(), default=float)), path)
