"""Jet corrections of correctionlib files: the same inputs as the text files, and no value that stands for an error.

Outside their bins these files return 1 for a correction and a resolution, and -999 for an uncertainty. Inputs for which
that makes no sense are therefore moved into the range.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from af_kit.corrections.bounds import edges_of
from af_kit.corrections.files import once_per_file, read_text
from af_kit.errors import InputError, nearest

__all__ = ["LibCorrection", "read_corrections"]


@dataclass(frozen=True, eq=False)
class LibCorrection:
    """One correction of a correctionlib file, simple or compound, which can be pickled.

    Attributes
    ----------
    name : str
        Its name in the file.
    inputs : tuple of str
        Names of its inputs, in the file's order, such as ``JetEta`` and ``JetPt``.
    limits : dict
        Lowest and highest value of each binned input.
    """

    name: str
    inputs: tuple[str, ...]
    limits: Mapping[str, tuple[float, float]]
    content: str = field(repr=False)
    """A file with this correction, and those that it is made of."""

    def evaluate(
        self, inputs: Mapping[str, Any], *, clamp: Sequence[str] = (), outside: float | None = None
    ) -> NDArray[np.float64]:
        """Return the value for each point.

        Parameters
        ----------
        inputs : mapping
            Name to a flat array, or to a text, for all of `inputs`; others are ignored.
        clamp : sequence of str
            Inputs to be moved to the edge where they are outside their range.
        outside : float, optional
            Not used: the file itself states the value outside its bins.
        """
        arguments = []
        for name in self.inputs:
            value = inputs.get(name)
            if value is None:
                raise InputError(f"{self.name} also needs {name}; its inputs are {', '.join(self.inputs)}.")
            if name in clamp and name in self.limits:
                low, high = self.limits[name]
                value = np.clip(value, low, np.nextafter(high, -np.inf))  # the upper edge belongs to no bin
            arguments.append(value if isinstance(value, str) else np.asarray(value, dtype=float))
        try:
            return np.asarray(_opened(self.content, self.name).evaluate(*arguments))
        except Exception as error:
            raise InputError(f"{self.name} cannot be evaluated: {error}.") from error


@once_per_file
def read_corrections(path: str, names: tuple[str, ...]) -> dict[str, LibCorrection]:
    """Return corrections of a correctionlib file by name; only what they need is kept in memory.

    Raises
    ------
    InputError
        The file cannot be read, is not a correctionlib file of schema version 2, or has no correction of such a name.
    """
    try:
        file = json.loads(read_text(path))
        version = file["schema_version"]
        simple = {item["name"]: item for item in file["corrections"]}
        compound = {item["name"]: item for item in file.get("compound_corrections") or []}
    except (ValueError, KeyError, TypeError) as error:
        reason = f"it has no {error}." if isinstance(error, KeyError) else "it is not JSON, or of another structure."
        raise (
            error
            if isinstance(error, InputError)
            else InputError(f"{path} is not a correctionlib file of schema version 2: {reason}")
        ) from error
    if version != 2:
        raise InputError(f"{path} has schema version {version}; the kit reads version 2.")
    return {name: _correction(name, simple, compound, path) for name in names}


def _correction(name: str, simple: Mapping[str, Any], compound: Mapping[str, Any], path: str) -> LibCorrection:
    known = {**simple, **compound}
    if name not in known:
        raise InputError(f"There is no correction {name!r} in {path}.{nearest(name, known)}")
    parts = [simple[part] for part in compound[name]["stack"]] if name in compound else [simple[name]]
    wanted = {
        "schema_version": 2,
        "corrections": parts,
        "compound_corrections": [compound[name]] if name in compound else [],
    }
    limits: dict[str, tuple[float, float]] = {}
    for part in parts:
        _collect(part["data"], limits)
    inputs = tuple(item["name"] for item in known[name]["inputs"])
    return LibCorrection(name, inputs, limits, json.dumps(wanted))


@functools.lru_cache(maxsize=64)
def _opened(text: str, name: str) -> Any:
    import correctionlib

    corrections = correctionlib.CorrectionSet.from_string(text)
    return corrections.compound[name] if name in corrections.compound else corrections[name]


def _collect(node: Any, limits: dict[str, tuple[float, float]]) -> None:
    """Add the widest range of each binned input."""
    if not isinstance(node, Mapping):
        return
    if node.get("nodetype") == "binning":
        low, *_, high = edges_of(node["edges"])
        known = limits.get(node["input"], (low, high))
        limits[node["input"]] = (min(known[0], low), max(known[1], high))
    for item in node["content"] if isinstance(node.get("content"), list) else []:
        _collect(item.get("value") if isinstance(item, Mapping) and "key" in item else item, limits)
