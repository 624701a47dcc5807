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
from af_kit.errors import InputError, nearest


@dataclass(frozen=True)
class Evaluated:
    """The values of a correction.

    Attributes
    ----------
    values : awkward.Array, numpy.ndarray or float
        In the shape of the inputs; the file's description states meaning and unit.
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
    """
    where = Path(path)
    try:
        state = where.stat()
    except OSError as error:
        raise InputError(f"The correction file {path} cannot be read: {error.strerror}.") from error
    return _load(str(where.resolve()), state.st_mtime_ns, state.st_size)


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


@functools.lru_cache(maxsize=32)
def _load(path: str, changed: int, size: int) -> Corrections:
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
        Input to (lowest, highest) value, for inputs with a limited range.
    choices : dict
        Input to possible values, for inputs such as the name of a variation.
    """

    def __init__(self, correction: Any, data: Any, path: str) -> None:
        self._correction = correction
        self._path = path
        self.name = str(correction.name)
        self.inputs = [str(item.name) for item in correction.inputs]
        self.bounds = bounds_of(data, self.inputs)
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
            One argument per input of the correction, in the unit of the file: awkward (also jagged) or numpy arrays of
            the same shape, or single numbers and strings. A number per event is broadcast to a list per event.

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
        flat, restore = _flatten(inputs)
        clamped: dict[str, int] = {}
        for name, (low, high) in self.bounds.items():
            flat[name], outside = self._clamp(name, np.asarray(flat[name], dtype=float), low, high, edges)
            if outside:
                clamped[name] = outside
        return flat, restore, clamped

    def _clamp(self, name: str, values: np.ndarray, low: float, high: float, edges: str) -> tuple[Any, int]:
        if np.isnan(values).any():
            raise InputError(f"{self.name}: {int(np.isnan(values).sum())} values of {name} are NaN.")
        # the upper edge itself belongs to no bin
        last = high if np.isinf(high) else np.nextafter(high, -np.inf)
        outside = (values < low) | (values > last)
        number = int(outside.sum())
        if number and edges == "raise":
            first = values[outside].flat[0] if values.ndim else values
            raise InputError(
                f"{self.name} is defined for {low} <= {name} < {high}; {number} of {values.size} values are outside "
                f'(first: {first}). Cut them away, or pass edges="clamp" to use the value at the edge.'
            )
        return (np.clip(values, low, last) if number else values), number


def _flatten(inputs: Mapping[str, Any]) -> tuple[dict[str, Any], Any]:
    """Flatten arrays of one shape, and return a function that gives a flat result this shape."""
    import awkward as ak

    arrays = {name: value for name, value in inputs.items() if isinstance(value, (ak.Array, np.ndarray, list))}
    flat = dict(inputs)
    if not arrays:
        return flat, float
    try:
        together = dict(zip(arrays, ak.broadcast_arrays(*arrays.values()), strict=True))
    except ValueError as error:
        raise InputError(
            f"The shapes of the inputs {', '.join(arrays)} are incompatible: {str(error).splitlines()[0]}"
        ) from error
    for name, array in together.items():
        flat[name] = ak.to_numpy(ak.flatten(array, axis=None))
    model = next(iter(together.values()))
    if any(isinstance(value, ak.Array) for value in arrays.values()):
        return flat, functools.partial(_like, model)
    return flat, np.asarray


def _like(model: Any, values: np.ndarray) -> Any:
    """Return ``values`` in the shape of ``model``, an array of numbers in nested lists."""
    import awkward as ak

    counts = []
    while model.ndim > 1:
        counts.append(ak.to_numpy(ak.num(model)))
        model = ak.flatten(model)
    shaped = ak.Array(values)
    for count in reversed(counts):
        shaped = ak.unflatten(shaped, count)
    return shaped
