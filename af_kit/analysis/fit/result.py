"""The result of a fit: show it, write it and read it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from af_kit.analysis import output
from af_kit.analysis.fit.goodness import Goodness
from af_kit.analysis.fit.model import Component, Model
from af_kit.display.tables import Markup, panel, table
from af_kit.errors import FitError, InputError, nearest

if TYPE_CHECKING:
    import pandas as pd


class Measured(NamedTuple):
    """A fitted value with its parabolic error, and asymmetric errors if Minos found them (``lower`` is negative)."""

    value: float
    error: float
    lower: float | None = None
    upper: float | None = None

    def times(self, factor: float) -> Measured:
        """Return value and errors multiplied by a positive number."""
        lower, upper = (None if end is None else factor * end for end in (self.lower, self.upper))
        return Measured(factor * self.value, factor * self.error, lower, upper)

    def columns(self) -> tuple[str, str, str]:
        """Return value, error and asymmetric errors as text, with two digits of the error."""
        digits = _digits(self.error or abs(self.value) / 100)
        asymmetric = ""
        if self.lower is not None and self.upper is not None:
            asymmetric = f"{self.lower:+.{digits}f} {self.upper:+.{digits}f}"
        return f"{self.value:.{digits}f}", f"{self.error:.{digits}f}", asymmetric

    def __str__(self) -> str:
        digits = _digits(self.error)
        text = f"{self.value:.{digits}f} +- {self.error:.{digits}f}"
        if self.lower is None or self.upper is None:
            return text
        return f"{text} ({self.lower:+.{digits}f} {self.upper:+.{digits}f})"


class Fitted:
    """What a fit of one spectrum and one of several have in common: parameters, and how they are shown."""

    values: Mapping[str, float]
    free: tuple[str, ...]
    covariance: np.ndarray
    minos: Mapping[str, tuple[float, float]]
    limits: Mapping[str, tuple[float, float]]
    goodness: tuple[Goodness, ...]

    @property
    def errors(self) -> dict[str, float]:
        """Parabolic errors of the free parameters, from the covariance."""
        return dict(zip(self.free, np.sqrt(np.diag(self.covariance)).tolist(), strict=True))

    def __getitem__(self, name: str) -> Measured:
        """Return a parameter with its errors; a fixed parameter has an error of 0."""
        if name not in self.values:
            raise InputError(f"The fit has no parameter {name!r}.{nearest(name, self.values)}")
        lower, upper = self.minos.get(name, (None, None))
        return Measured(self.values[name], self.errors.get(name, 0.0), lower, upper)

    @property
    def fixed(self) -> dict[str, float]:
        """Values of the parameters that were not fitted."""
        return {name: value for name, value in self.values.items() if name not in self.free}

    @property
    def correlation(self) -> pd.DataFrame:
        """Correlation matrix of the free parameters."""
        import pandas as pd

        errors = np.sqrt(np.diag(self.covariance))
        return pd.DataFrame(self.covariance / np.outer(errors, errors), index=self.free, columns=self.free)

    def _summary(self) -> str:
        raise NotImplementedError

    def _rows(self) -> list[tuple[str, str, str, str, str]]:
        rows = []
        for name in self.values:
            measured = self[name]
            if name not in self.free:
                rows.append((name, f"{measured.value:g}", "fixed", "", ""))
                continue
            limits = " .. ".join("" if not np.isfinite(end) else f"{end:g}" for end in self.limits[name])
            rows.append((name, *measured.columns(), limits))
        return rows

    def __str__(self) -> str:
        rows = [_HEADER, *self._rows()]
        widths = [max(len(row[i]) for row in rows) for i in range(len(_HEADER))]
        lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
        return "\n".join([self._summary(), *lines])

    def __repr__(self) -> str:
        return f"<{type(self).__name__}: {self._summary()}>"

    def _repr_html_(self) -> str:
        return panel(type(self).__name__, self._summary(), self._table())

    def _table(self) -> Markup:
        return table(self._rows(), head=_HEADER, numbers=(1, 2, 3), most=50)


@dataclass(frozen=True, eq=False, repr=False)
class FitResult(Fitted):
    """A valid fit; an invalid fit raises a :class:`~af_kit.errors.FitError` instead.

    Attributes
    ----------
    model
        Components and range; ``model.density(x, *result.ordered)`` is the fitted density.
    kind
        "binned" or "unbinned".
    values
        All parameters, including fixed ones.
    free
        Names of the fitted parameters: the rows of ``covariance``.
    minos
        Asymmetric errors (lower negative, upper positive) of the parameters for which they were requested.
    limits, start
        Limits and starting values of the free parameters.
    entries
        Number of events in the range; None for a weighted histogram.
    total
        Sum of the weights in the range.
    bins
        Number of bins; None for an unbinned fit.
    minimum
        Binned: likelihood ratio to the saturated model. Unbinned: minus twice the logarithm of the likelihood.
    edm, calls
        Estimated distance to the minimum; number of calls of the likelihood.
    goodness
        Tests of the fit, see :mod:`af_kit.analysis.fit.goodness`.
    """

    model: Model
    kind: str
    values: Mapping[str, float]
    free: tuple[str, ...]
    covariance: np.ndarray
    minos: Mapping[str, tuple[float, float]]
    limits: Mapping[str, tuple[float, float]]
    start: Mapping[str, float]
    entries: int | None
    total: float
    weighted: bool
    bins: int | None
    minimum: float
    edm: float
    calls: int
    goodness: tuple[Goodness, ...]

    @property
    def ordered(self) -> list[float]:
        """Values in the order of ``model.parameters``."""
        return self.model.ordered(self.values)

    @property
    def yields(self) -> dict[str, Measured]:
        """Events of each component in the range of the fit."""
        return {part.name: self[part.yield_name].times(part.scale) for part in self.model.components}

    def pulls(self, edges: np.ndarray, counts: np.ndarray, variances: np.ndarray | None = None) -> np.ndarray:
        """Return data minus model over the statistical error of each bin; NaN if no events are expected.

        The error of a count is the square root of the expected number of events, also for an empty bin.
        """
        expected = np.diff(self.model.integral(np.asarray(edges, dtype=float), *self.ordered))
        variance = expected if variances is None else np.asarray(variances, dtype=float)
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.where(variance > 0, (counts - expected) / np.sqrt(variance), np.nan)

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, for JSON."""
        return {
            "valid": True,
            "kind": self.kind,
            "range": list(self.model.window),
            "components": components_to_list(self.model),
            "values": dict(self.values),
            "errors": self.errors,
            "minos": {name: list(pair) for name, pair in self.minos.items()},
            "free": list(self.free),
            "covariance": self.covariance.tolist(),
            "limits": {name: [_finite(end) for end in pair] for name, pair in self.limits.items()},
            "start": dict(self.start),
            **{name: getattr(self, name) for name in _PLAIN},
            "goodness": [test._asdict() for test in self.goodness],
        }

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> FitResult:
        """Make a result from the output of :meth:`to_dict`; raise a FitError if it is that of an invalid fit."""
        if not content.get("valid", True):
            raise FitError(
                content["message"],
                reasons=content["reasons"],
                at_limit=content["at_limit"],
                status=content["status"],
            )
        components = tuple(
            Component(**{**part, "parameters": tuple(part["parameters"])}) for part in content["components"]
        )
        low, high = content["range"]
        return cls(
            model=Model(components, (low, high)),
            kind=content["kind"],
            values=dict(content["values"]),
            free=tuple(content["free"]),
            covariance=np.array(content["covariance"], dtype=float),
            minos={name: (pair[0], pair[1]) for name, pair in content["minos"].items()},
            limits={
                name: (-np.inf if pair[0] is None else pair[0], np.inf if pair[1] is None else pair[1])
                for name, pair in content["limits"].items()
            },
            start=dict(content["start"]),
            **{name: content[name] for name in _PLAIN},
            goodness=tuple(Goodness(**test) for test in content["goodness"]),
        )

    def write(self, path: str | Path) -> Path:
        """Write the result as JSON, for :meth:`read`."""
        return output.write_json(self.to_dict(), path)

    @classmethod
    def read(cls, path: str | Path) -> FitResult:
        """Read a result from a file written by :meth:`write`."""
        return cls.from_dict(json.loads(Path(path).read_text(encoding="utf-8")))

    def _summary(self) -> str:
        low, high = self.model.window
        bins = f"{self.bins} bins" if self.bins else "unbinned"
        events = f"sum of weights {self.total:,.1f}" if self.weighted else f"{self.entries:,} events"
        tests = "; ".join(map(str, self.goodness)) or "too few events for a goodness-of-fit test"
        return f"valid fit of {events} in {low:g} .. {high:g}, {bins}; {tests}"


_HEADER = ("parameter", "value", "error", "Minos", "limits")
_PLAIN = ("entries", "total", "weighted", "bins", "minimum", "edm", "calls")


def components_to_list(model: Model) -> list[dict[str, Any]]:
    """Return the components of a model as plain values, for JSON."""
    return [
        {"name": part.name, "shape": part.shape, "parameters": list(part.parameters), "label": part.label}
        | ({"strength": part.strength, "expected": part.expected} if part.strength else {})
        for part in model.components
    ]


def _digits(error: float) -> int:
    """Return the number of decimals that shows two digits of an error."""
    return int(np.clip(1 - np.floor(np.log10(error)), 0, 12)) if error > 0 and np.isfinite(error) else 3


def _finite(end: float) -> float | None:
    return float(end) if np.isfinite(end) else None
