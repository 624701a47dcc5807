"""Open correctionlib files once per process, and evaluate corrections on arrays of any shape."""

from __future__ import annotations

import functools
import gzip
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from af_kit.corrections.bounds import bounds_of, choices_of
from af_kit.corrections.files import once_per_file
from af_kit.corrections.limits import Limits
from af_kit.corrections.shapes import flatten
from af_kit.errors import InputError, nearest

# correctionlib takes integers of 32 bits.
_LARGEST_INTEGER = 2**31 - 1


@dataclass(frozen=True)
class Evaluated:
    """The values of a correction.

    Attributes
    ----------
    values : awkward.Array, pandas.Series, numpy.ndarray or float
        In the shape of the inputs, missing where one of them is; the file's description states meaning and unit.
    clamped : dict
        For each input with values outside its range, their number: they were moved to the edge.
    """

    values: Any
    clamped: dict[str, int]


@dataclass(frozen=True)
class Varied:
    """A correction with its variations by name, such as ``varied["nominal"]`` and ``varied["systup"]``.

    Attributes
    ----------
    values : dict
        Name of the variation to values, in the shape of the inputs.
    clamped : dict
        As for `Evaluated`; counted once, not per variation.
    """

    values: dict[str, Any]
    clamped: dict[str, int]

    def __getitem__(self, name: str) -> Any:
        if name not in self.values:
            raise InputError(f"There is no variation {name!r}.{nearest(name, self.values)}")
        return self.values[name]


def load(path: str | Path) -> Corrections:
    """Open a correctionlib file (JSON, or JSON compressed by gzip).

    Parameters
    ----------
    path : str or Path
        The file; ``af_kit.file`` returns the path of a file sent to the workers.

    Returns
    -------
    Corrections
        Cached: an unchanged file is opened only once per process, so you can call this in the function of events.

    Raises
    ------
    InputError
        If the file is missing, or is not a correctionlib file of schema version 2.

    Examples
    --------
    >>> from af_kit import corrections, simulate
    >>> path = simulate.muon_scale_factors("muon_Z.json")
    >>> medium = corrections.load(path)["NUM_MediumID_DEN_TrackerMuons"]
    >>> medium.inputs
    ['abseta', 'pt', 'scale_factors']
    >>> weight = medium.evaluate(abseta=[0.5, 2.3], pt=[5.0, 2.0], scale_factors="nominal", edges="clamp")
    >>> weight.values, weight.clamped
    (array([0.992, 0.977]), {'pt': 1})
    """
    return _load(path)


@functools.lru_cache(maxsize=32)
def loads(content: bytes, source: str = "correction") -> Corrections:
    """Open corrections from the content of a file, which can be pickled together with the function that uses it.

    Parameters
    ----------
    content : bytes
        JSON, or JSON compressed by gzip.
    source : str
        Its name in messages.
    """
    return Corrections(source, content)


@once_per_file
def _load(path: str) -> Corrections:
    return Corrections(path)


class Corrections(Mapping[str, "Correction"]):
    """The corrections of one file, by name.

    Parameters
    ----------
    path : str
        A correctionlib file.
    content : bytes, optional
        The content of the file; read from ``path`` by default.
    """

    def __init__(self, path: str, content: bytes | None = None) -> None:
        import correctionlib

        self.path = path
        self._opened: dict[str, Correction] = {}
        try:
            raw = Path(path).read_bytes() if content is None else content
            text = gzip.decompress(raw) if raw[:2] == b"\x1f\x8b" else raw
            self._set = correctionlib.CorrectionSet.from_string(text.decode())
            self._data = {item["name"]: item["data"] for item in json.loads(text)["corrections"]}
        except Exception as error:
            reason = " ".join(str(error).split())[:300]
            raise InputError(f"{path} is not a correctionlib file of schema version 2: {reason}") from error

    def __getitem__(self, name: str) -> Correction:
        if name not in self._data:
            raise InputError(f"There is no correction {name!r} in {self.path}.{nearest(name, self._data)}")
        if name not in self._opened:
            self._opened[name] = Correction(self._set[name], self._data[name], self.path)
        return self._opened[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._data)

    def __len__(self) -> int:
        return len(self._data)

    def __repr__(self) -> str:
        return f"<Corrections {self.path!r}: {', '.join(self._data)}>"


class Correction:
    """One correction of a file.

    Attributes
    ----------
    inputs : list of str
        Names of its inputs, in the file's order.
    bounds : dict
        Input to (lowest, highest) value, for inputs with a limited range. The range can be smaller for some categories
        or bins of other inputs; `evaluate` takes that into account.
    choices : dict
        Input to possible values, for inputs such as the name of a variation.
    """

    def __init__(self, correction: Any, data: Any, path: str) -> None:
        self._correction = correction
        self._path = path
        self.name = str(correction.name)
        self.inputs = [str(item.name) for item in correction.inputs]
        self._types = {str(item.name): str(item.type) for item in correction.inputs}
        self.bounds = bounds_of(data, self.inputs)
        self._limits = Limits(data)
        self.choices = choices_of(data)

    def __repr__(self) -> str:
        return f"<Correction {self.name!r}({', '.join(self.inputs)})>"

    def evaluate(self, *, edges: str = "raise", **inputs: Any) -> Evaluated:
        """Evaluate the correction for each element of the inputs.

        Parameters
        ----------
        edges : {"raise", "clamp"}
            For a value outside the range of an input: raise, or use the value at the edge and count it.
        **inputs
            One argument per input of the correction, in the unit of the file: arrays of awkward (also jagged) or numpy,
            or pandas Series, of the same shape; or single numbers and strings. A number per event is broadcast to a
            list per event. Where a value is missing (None, masked in numpy, NA in pandas), so is the result.

        Returns
        -------
        Evaluated
            The values, in the shape of the inputs, and the number of clamped values.

        Raises
        ------
        InputError
            If an input is missing, unknown or of another shape, or if a value is NaN or (with ``edges="raise"``)
            outside the range.
        """
        flat, restore, clamped = self._prepare(inputs, edges)
        return Evaluated(restore(self._value(flat)), clamped)

    def variations(
        self, *, vary: str, names: Sequence[str] | None = None, edges: str = "raise", **inputs: Any
    ) -> Varied:
        """Evaluate the correction once for each variation.

        Parameters
        ----------
        vary : str
            The input that names the variation, such as ``"scale_factors"`` or ``"systematic"``.
        names : sequence of str, optional
            The variations to evaluate; all by default. The file's description states the meaning of each: a factor, or
            the uncertainty of a factor.
        edges, **inputs
            As for `evaluate`, without ``vary``.

        Returns
        -------
        Varied
            The values of each variation, in the shape of the inputs, and the number of clamped values.

        Raises
        ------
        InputError
            If ``vary`` or a variation is unknown, and as for `evaluate`.
        """
        if vary not in self.choices:
            raise InputError(f"{self.name} has no input {vary!r} with a list of choices.{nearest(vary, self.choices)}")
        names = list(self.choices[vary]) if names is None else list(names)
        for name in names:
            if name not in self.choices[vary]:
                raise InputError(f"{self.name} has no {vary} {name!r}.{nearest(str(name), self.choices[vary])}")
        flat, restore, clamped = self._prepare({**inputs, vary: names[0]}, edges)
        values = {name: restore(self._value({**flat, vary: name})) for name in names}
        return Varied(values, clamped)

    def _value(self, flat: Mapping[str, Any]) -> Any:
        try:
            return self._correction.evaluate(*(flat[name] for name in self.inputs))
        except Exception as error:
            raise InputError(f"{self.name} in {self._path} cannot be evaluated: {error}.") from error

    def _prepare(self, inputs: Mapping[str, Any], edges: str) -> tuple[dict[str, Any], Any, dict[str, int]]:
        if edges not in ("raise", "clamp"):
            raise InputError(f"edges={edges!r} is not valid.{nearest(edges, ['raise', 'clamp'])}")
        for name in inputs:
            if name not in self.inputs:
                raise InputError(f"{self.name} has no input {name!r}.{nearest(name, self.inputs)}")
        missing = [name for name in self.inputs if name not in inputs]
        if missing:
            raise InputError(f"{self.name} also needs {', '.join(missing)}; its inputs are {', '.join(self.inputs)}.")
        flat, restore = flatten(inputs)
        arrays = [value for value in flat.values() if isinstance(value, np.ndarray)]
        for name, kind in self._types.items():
            if kind != "string":
                self._check_numbers(name, kind, flat[name])
        clamped: dict[str, np.ndarray] = {}
        for outside in self._limits.clamp(flat, len(arrays[0]) if arrays else 1):
            if edges == "raise":
                raise InputError(
                    f"{self.name} is defined for {outside.low} <= {outside.name} < {outside.high}; "
                    f"{len(outside.rows)} of {outside.checked} values are outside (first: {outside.first}). "
                    'Cut them away, or pass edges="clamp" to use the value at the edge.'
                )
            before = clamped.get(outside.name)
            clamped[outside.name] = outside.rows if before is None else np.union1d(before, outside.rows)
        if not arrays:
            flat = {name: _scalar(value, self._types[name]) for name, value in flat.items()}
        return flat, restore, {name: len(rows) for name, rows in clamped.items()}

    def _check_numbers(self, name: str, kind: str, values: Any) -> None:
        """Refuse values that correctionlib would take for others: NaN is in its last bin, and 2.7 becomes 2."""
        array = np.asarray(values)
        if array.dtype.kind not in "biuf":
            raise InputError(f"{self.name}: {name} is a number, not of type {array.dtype}.")
        if array.dtype.kind == "f" and (bad := int(np.isnan(array).sum())):
            raise InputError(
                f"{self.name}: {bad} values of {name} are NaN. Cut them away, or make them missing values, for which "
                "the correction is missing, too."
            )
        if kind == "int" and array.dtype.kind in "iuf":
            bad = int(((array != np.rint(array)) | (np.abs(array) > _LARGEST_INTEGER)).sum())
            if bad:
                raise InputError(f"{self.name}: {bad} values of {name} are not integers of 32 bits.")


def _scalar(value: Any, kind: str) -> Any:
    item = np.asarray(value).item()
    return item if kind == "string" else int(item) if kind == "int" else float(item)
