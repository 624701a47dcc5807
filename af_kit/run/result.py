"""The result of `process`: the merged output as a mapping, its report, and a way to run only what failed."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from af_kit.display.tables import Markup, fold, mark, panel, paragraph, table
from af_kit.errors import InputError, nearest
from af_kit.run.accumulate import merge
from af_kit.run.bookkeeping import Partial
from af_kit.run.report import Report

__all__ = ["Result"]


@dataclass(frozen=True, eq=False)
class Result(Mapping[Any, Any]):
    """The merged output of a function over all chunks.

    A mapping: ``result["mass"]`` is the sum of what the function returned under that key.

    Attributes
    ----------
    report : Report
        Every entry accounted for. ``result.report.check()`` raises unless all were processed.
    """

    report: Report
    _values: Mapping[Any, Any]
    _partial: Partial
    _again: Callable[[Result, Any], Result]

    def __getitem__(self, key: Any) -> Any:
        try:
            return self._values[key]
        except KeyError:
            hint = nearest(str(key), map(str, self._values)) or " It is empty: no chunk was processed."
            raise KeyError(f"The result has no {key!r}.{hint}") from None

    def __iter__(self) -> Iterator[Any]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def retry(self, client: Any = None) -> Result:
        """Run only what failed, and merge it into what succeeded.

        Parameters
        ----------
        client : distributed.Client or pyspark.sql.SparkSession, optional
            A new client or session, if the one of the first run is closed. The default is the same one.

        Returns
        -------
        Result
            A new result with a new report; the same result if nothing failed.
        """
        if not self.report.failures:
            return self
        return self._again(self, client)

    def _state(self) -> str:
        if self.report.complete:
            return "complete"
        missing = f"{self.report.entries['failed']:,} entries"
        if self.report.stopped:
            return f"INCOMPLETE, a part: the run was stopped, {missing} are missing"
        return f"INCOMPLETE, {missing} failed"

    def __repr__(self) -> str:
        keys = ", ".join(f"{key!r}: {type(value).__name__}" for key, value in self._values.items())
        return f"Result({{{keys}}}, {self.report.entries['processed']:,} entries, {self._state()})"

    def _repr_html_(self) -> str:
        rows = ((repr(key), _short(value)) for key, value in self._values.items())
        state = mark(self._state(), "ok" if self.report.complete else "problem")
        title = paragraph(Markup(f"{self.report.entries['processed']:,} entries, {state}"))
        return panel(
            "Result", title, table(rows, head=("key", "value")), fold("report", Markup(self.report._repr_html_()))
        )


def merged_values(partial: Partial) -> Mapping[Any, Any]:
    """Merge the segments of a partial result into one mapping."""
    values = [segment.value for segment in partial.segments]
    if not values:
        return {}
    whole: Mapping[Any, Any] = merge(values)
    if not isinstance(whole, Mapping):
        raise InputError(f"The function's outputs merged to a {type(whole).__name__}, not to a mapping.")
    return whole


def _short(value: Any) -> str:
    """Return what a value is, and a number itself, in a few words."""
    text = type(value).__name__
    if isinstance(value, bool | int | float | np.number):
        return f"{value:,}"
    if axes := getattr(value, "axes", None):  # a histogram
        bins = " x ".join(f"{axis.name or 'axis'} ({len(axis):,})" for axis in axes)
        return f"histogram of {bins}"
    if hasattr(value, "num_rows"):  # Arrow
        return f"table of {value.num_rows:,} rows, {value.num_columns:,} columns"
    if isinstance(value, Mapping):
        return textwrap.shorten(f"{len(value):,} keys: {', '.join(map(str, value))}", 100, placeholder=" ...")
    if isinstance(value, str) or not hasattr(value, "__len__"):
        return text
    return f"{text} of {len(value):,}"
