"""Golden JSON: the luminosity sections in which all of the detector worked, as a mask of events in data.

The files are in the compact format, ``{"315257": [[1, 88], [91, 92]], ...}``: for each run the ranges of good sections,
both ends included.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from af_kit.corrections.files import once_per_file, read_text
from af_kit.errors import InputError

__all__ = ["GoldenJSON", "certified"]

_SIMULATED_RUN = 1
"""The run number of simulated events in CMS."""

# A run and a section make one integer of 64 bits.
_BITS = np.int64(32)


def certified(golden: GoldenJSON | None, run: Any, luminosity_block: Any, *, is_simulation: bool) -> NDArray[np.bool_]:
    """Return which events may be used: those of good sections in data, all in simulation.

    Parameters
    ----------
    golden : GoldenJSON, optional
        Needed for data, not used for simulation.
    run, luminosity_block : array of integers
        Of each event.
    is_simulation : bool
        From the dataset's metadata.

    Raises
    ------
    InputError
        It is data and there is no golden JSON, or an event of it is of run 1, which is simulation.
    """
    if is_simulation:
        return np.ones(len(run), dtype=bool)
    if golden is None:
        raise InputError("Data need a golden JSON: without it, events of bad luminosity sections would be used.")
    return golden.mask(run, luminosity_block)


@dataclass(frozen=True, eq=False, repr=False)
class GoldenJSON:
    """Ranges of luminosity sections.

    Two are added with ``+`` (all sections of either), so `process` merges those of its chunks.
    """

    # the first and the last section of each range, sorted, without overlap
    _first: NDArray[np.int64] = field(repr=False)
    _last: NDArray[np.int64] = field(repr=False)

    @classmethod
    def load(cls, path: str | Path) -> GoldenJSON:
        """Read a file, once per process.

        Raises
        ------
        InputError
            The file cannot be read, is not a golden JSON, or a range is not a pair of ascending positive integers.
        """
        return _read(path)

    @classmethod
    def from_ranges(cls, ranges: Mapping[Any, Sequence[Sequence[int]]]) -> GoldenJSON:
        """Return the sections of a mapping in the format of the files; ranges may overlap, in any order."""
        found = []
        for run, of_run in ranges.items():
            for pair in of_run:
                number, first, last = _integer(run), *(_integer(end) for end in pair)
                if not 0 < first <= last < 2**32 or not 0 < number < 2**31:
                    raise ValueError(f"the range {list(pair)} of run {run}")
                found.append((number << 32 | first, number << 32 | last))
        return cls(*_merged(np.array(found, dtype=np.int64).reshape(-1, 2)))

    @classmethod
    def from_sections(cls, run: Any, luminosity_block: Any) -> GoldenJSON:
        """Return the sections of events, or of the tree ``LuminosityBlocks``, each once or repeated, in any order."""
        key = np.unique(_key(run, luminosity_block))
        return cls(*_merged(np.stack([key, key], axis=1)))

    def mask(self, run: Any, luminosity_block: Any) -> NDArray[np.bool_]:
        """Return whether each event is in a good section.

        Parameters
        ----------
        run, luminosity_block : array of integers
            Of each event of data.

        Raises
        ------
        InputError
            An event is of run 1: that is simulation, of which the mask would select nothing.
        """
        key = _key(run, luminosity_block)
        if (simulated := int(np.count_nonzero(key >> _BITS == _SIMULATED_RUN))) > 0:
            raise InputError(
                f"{simulated} of {len(key)} events are of run 1: they are simulated. A golden JSON is for data only."
            )
        return self._contains(key)

    def remainder(self, processed: GoldenJSON) -> GoldenJSON:
        """Return the sections that were not processed, such as those of files that are missing or failed.

        Parameters
        ----------
        processed : GoldenJSON
            What was processed, from `from_sections`. Sections outside this golden JSON are ignored.
        """
        key = self._sections()
        left = key[~processed._contains(key)]
        return GoldenJSON(*_merged(np.stack([left, left], axis=1)))

    def to_dict(self) -> dict[str, list[list[int]]]:
        """Return the ranges in the format of the files, sorted by run."""
        ranges: dict[str, list[list[int]]] = {}
        for first, last in zip(self._first.tolist(), self._last.tolist(), strict=True):
            ranges.setdefault(str(first >> 32), []).append([first & 0xFFFFFFFF, last & 0xFFFFFFFF])
        return ranges

    def write(self, path: str | Path) -> None:
        """Write a file in the compact format, which brilcalc and CRAB take."""
        Path(path).write_text(json.dumps(self.to_dict()) + "\n", encoding="utf-8")

    def __len__(self) -> int:
        """Return the number of sections."""
        return int((self._last - self._first + 1).sum())

    def __add__(self, other: GoldenJSON) -> GoldenJSON:
        if not isinstance(other, GoldenJSON):
            return NotImplemented
        first, last = (np.concatenate(ends) for ends in ((self._first, other._first), (self._last, other._last)))
        return GoldenJSON(*_merged(np.stack([first, last], axis=1)))

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, GoldenJSON):
            return NotImplemented
        return np.array_equal(self._first, other._first) and np.array_equal(self._last, other._last)

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"<GoldenJSON: {len(self)} luminosity sections of {len(np.unique(self._first >> _BITS))} runs>"

    def _contains(self, key: NDArray[np.int64]) -> NDArray[np.bool_]:
        if not len(self._first):
            return np.zeros(len(key), dtype=bool)
        at = np.searchsorted(self._first, key, side="right") - 1
        return (at >= 0) & (key <= self._last[at])

    def _sections(self) -> NDArray[np.int64]:
        """Return every section as one number each, sorted."""
        counts = self._last - self._first + 1
        before = np.cumsum(counts) - counts
        return np.arange(counts.sum()) + np.repeat(self._first - before, counts)


@once_per_file
def _read(path: str) -> GoldenJSON:
    try:
        return GoldenJSON.from_ranges(json.loads(read_text(path)))
    except (ValueError, TypeError, AttributeError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(
            f'{path} is not a golden JSON, which is like {{"315257": [[1, 88], [91, 92]]}}: {error}'
        ) from error


def _integer(value: Any) -> int:
    if isinstance(value, (float, bool)):
        raise ValueError(f"{value!r} is not an integer")
    return int(value)


def _key(run: Any, luminosity_block: Any) -> NDArray[np.int64]:
    numbers = []
    for name, given in (("run", run), ("luminosity_block", luminosity_block)):
        array = np.atleast_1d(np.asarray(given))
        if array.dtype.kind not in "iu" and len(array):
            raise InputError(f"Golden JSON: {name} must be integers, and is of type {array.dtype}.")
        numbers.append(array.astype(np.int64))
    if numbers[0].shape != numbers[1].shape:
        raise InputError(f"Golden JSON: there are {len(numbers[0])} runs and {len(numbers[1])} luminosity sections.")
    return (numbers[0] << _BITS) | numbers[1]


def _merged(ranges: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return sorted ranges (first, last), with those united that overlap or touch.

    Ranges of two runs never touch, as no section has the number 0.
    """
    ordered = ranges[np.argsort(ranges[:, 0], kind="stable")]
    if not len(ordered):
        return ordered[:, 0], ordered[:, 1]
    reached = np.maximum.accumulate(ordered[:, 1])
    starts = np.append(True, ordered[1:, 0] > reached[:-1] + 1)
    return ordered[starts, 0], reached[np.append(starts[1:], True)]
