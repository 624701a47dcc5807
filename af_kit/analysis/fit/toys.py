"""Toys: fit pseudo-data drawn from a model with known parameters, to test whether the errors are right."""

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
from af_kit.analysis.fit.envelope import Envelope
from af_kit.analysis.fit.model import Model
from af_kit.analysis.fit.result import Fitted
from af_kit.analysis.fit.simultaneous import Simultaneous
from af_kit.display.progress import Progress
from af_kit.display.tables import panel, table
from af_kit.errors import FitError, InputError, nearest

if TYPE_CHECKING:
    import pandas as pd

# One spectrum, or one for each category
Data = Binned | Unbinned | dict[str, Binned | Unbinned]
Fit = Callable[[Any], "Fitted | Envelope"]

# Toys per task of an executor: enough to outweigh its overhead, few enough to distribute.
_BLOCK = 10


def toys(
    model: Model | Simultaneous,
    values: Mapping[str, float],
    number: int,
    *,
    seed: int,
    fit: Fit,
    bins: int | None = 62,
    executor: Executor | None = None,
    progress: bool | None = None,
) -> Toys:
    """Draw and fit pseudo-data ``number`` times.

    The random numbers of a toy depend only on ``seed`` and on its number, so that any executor returns the same result.

    Parameters
    ----------
    model
        What the pseudo-data are drawn from: a model, or the categories of a simultaneous fit.
    values
        The true value of each parameter of the model. Counts, and therefore yields, have Poisson fluctuations.
    fit
        The function to test: it takes the data (those of each category, for a simultaneous fit) and returns a fit, from
        starting values to Minos. It may fit another model; the parameters that both have are compared. If the executor
        runs other processes, it must be a function in a module, or a ``functools.partial`` of one.
    bins
        Number of bins of the pseudo-data; None: unbinned.
    executor
        Such as ``client.get_executor()`` of a Dask client or a ``ProcessPoolExecutor``; None: run in this process.
    progress
        Show a progress bar; None: on a terminal and in a notebook.

    Returns
    -------
    Toys
        Includes the number of invalid fits, and their reasons.
    """
    model.ordered(values)
    seeds = np.random.SeedSequence(seed).spawn(number)
    blocks = [seeds[i : i + _BLOCK] for i in range(0, number, _BLOCK)]
    work = partial(_block, model, dict(values), fit, bins)
    done: list[_Toy] = []
    with Progress(number, progress, what="toys", unit="toys") as bar:
        for block in (executor.map if executor else map)(work, blocks):
            done += block
            bar.update(len(block))
    names = tuple(name for name in model.parameters if any(name in toy.values for toy in done))

    def column(quantity: str) -> np.ndarray:
        return np.array([[getattr(toy, quantity).get(name, np.nan) for name in names] for toy in done])

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


def draw(
    model: Model | Simultaneous, values: Mapping[str, float], random: np.random.Generator, bins: int | None
) -> Data:
    """Draw pseudo-data from a model, or from each category: Poisson counts in ``bins``, or a list of values."""
    if isinstance(model, Simultaneous):
        return {name: _draw_one(own, model.values_of(name, values), random, bins) for name, own in model.models.items()}
    return _draw_one(model, model.ordered(values), random, bins)


def _draw_one(
    model: Model, ordered: Sequence[float], random: np.random.Generator, bins: int | None
) -> Binned | Unbinned:
    if bins is not None:
        edges = np.linspace(*model.window, bins + 1)
        return Binned(edges, random.poisson(_positive(np.diff(model.integral(edges, *ordered)))).astype(float))
    # Invert the integral on a grid that is finer than the resolution of any detector.
    grid = np.linspace(*model.window, 20_001)
    integral = np.append(0, np.cumsum(_positive(np.diff(model.integral(grid, *ordered)))))
    total = random.poisson(integral[-1])
    return Unbinned(np.interp(random.uniform(0, integral[-1], total), integral, grid))


def _positive(expected: np.ndarray) -> np.ndarray:
    if expected.min() < -1e-9 * expected.sum():
        raise InputError("The true values give a negative number of events somewhere: no pseudo-data can be drawn.")
    return np.maximum(expected, 0)


def _shown(value: object) -> str:
    return value if isinstance(value, str) else f"{value:.4g}"


class _Toy(NamedTuple):
    values: Mapping[str, float]
    errors: Mapping[str, float]
    lower: Mapping[str, float]
    upper: Mapping[str, float]
    p_value: float
    reason: str


def _block(
    model: Model | Simultaneous,
    values: Mapping[str, float],
    fit: Fit,
    bins: int | None,
    seeds: Sequence[np.random.SeedSequence],
) -> list[_Toy]:
    return [_one(fit, draw(model, values, np.random.default_rng(seed), bins)) for seed in seeds]


def _one(fit: Fit, data: Data) -> _Toy:
    try:
        result = fit(data)
    except FitError as error:
        # Without the numbers, which differ from toy to toy.
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


@dataclass(frozen=True, eq=False, repr=False)
class Toys:
    """The fits of the toys. Arrays have a row per toy, filled with NaN if its fit is not valid.

    Attributes
    ----------
    truth
        The parameters of the model that the pseudo-data were drawn from.
    names
        The fitted parameters: the columns of ``values``, ``errors``, ``lower``, ``upper`` (Minos).
    p_values
        The p-values of the first goodness-of-fit test.
    reasons
        Why each fit is not valid; an empty string for a valid fit.
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
        """Fraction of valid fits."""
        return self.reasons.count("") / len(self)

    @property
    def failures(self) -> dict[str, int]:
        """Number of invalid fits by reason, the most frequent first."""
        return dict(Counter(reason for reason in self.reasons if reason).most_common())

    def pulls(self, name: str, *, minos: bool = False) -> np.ndarray:
        """Return fitted minus true value over the error, for each valid fit.

        With ``minos``, the error is the asymmetric one on the side of the true value.
        """
        if name not in self.names:
            raise InputError(f"{name!r} was not fitted in these toys.{nearest(name, self.names)}")
        column = self.names.index(name)
        difference = self.values[:, column] - self.truth[name]
        errors = self.errors[:, column]
        if minos:
            errors = np.where(difference > 0, -self.lower[:, column], self.upper[:, column])
        if not np.isfinite(errors).any():
            raise InputError(f"No toy has a Minos error of {name}: pass minos to the fit.")
        pulls = difference / errors
        return pulls[np.isfinite(pulls)]

    def pull(self, name: str, *, minos: bool = False) -> Pull:
        """Return mean and width of :meth:`pulls`: 0 and 1 if values and errors are right."""
        pulls = self.pulls(name, minos=minos)
        width = float(np.std(pulls, ddof=1))
        return Pull(float(pulls.mean()), width / np.sqrt(len(pulls)), width, width / np.sqrt(2 * (len(pulls) - 1)))

    def coverage(self, name: str, *, minos: bool = False) -> tuple[float, float]:
        """Return the fraction of intervals of one error that contain the true value, 0.683 if right, and its error."""
        pulls = self.pulls(name, minos=minos)
        inside = float(np.mean(np.abs(pulls) < 1))
        return inside, float(np.sqrt(inside * (1 - inside) / len(pulls)))

    @property
    def summary(self) -> pd.DataFrame:
        """Truth, mean value, mean error, and mean and width of the pulls of each parameter."""
        import pandas as pd

        rows = {}
        for column, name in enumerate(self.names):
            row = {"truth": self.truth[name], "mean value": np.nanmean(self.values[:, column])}
            row |= {"mean error": np.nanmean(self.errors[:, column])}
            pull = self.pull(name)
            row |= {"pull mean": f"{pull.mean:+.2f} +- {pull.mean_error:.2f}"}
            row |= {"pull width": f"{pull.width:.2f} +- {pull.width_error:.2f}"}
            if np.isfinite(self.lower[:, column]).any():
                pull = self.pull(name, minos=True)
                row |= {"Minos pull width": f"{pull.width:.2f} +- {pull.width_error:.2f}"}
            rows[name] = row
        return pd.DataFrame.from_dict(rows, orient="index")

    def __repr__(self) -> str:
        return f"<Toys: {len(self):,} fits, {100 * self.valid_fraction:.0f} % valid>"

    def _repr_html_(self) -> str:
        title = f"Toys: {len(self):,} fits, {100 * self.valid_fraction:.0f} % valid"
        parts: list[str] = []
        if self.names:
            found = self.summary
            rows = (
                (name, *(_shown(value) for value in row)) for name, row in zip(found.index, found.values, strict=True)
            )
            columns = range(1, 1 + len(found.columns))
            parts.append(table(rows, head=("parameter", *map(str, found.columns)), numbers=columns))
        if self.failures:
            parts.append(table(self.failures.items(), head=("not valid because", "toys")))
        return panel(title, *parts)

    def to_dict(self) -> dict[str, Any]:
        """Return the summary as plain numbers, for JSON."""
        pulls: dict[str, Any] = {}
        for column, name in enumerate(self.names):
            pulls[name] = self.pull(name)._asdict()
            if np.isfinite(self.lower[:, column]).any():
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
