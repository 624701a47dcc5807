"""Text files of jet corrections: a header with bins, variables and a formula, then one line of numbers per bin.

    {1 JetEta 3 Rho JetPt JetA max(0.0001,1-(z/y)*([0]+[1]*(x-20.0))) Correction L1FastJet}
    -5.191 -4.889  8  0 70  8 6500  0 10  15.779 0.8246

Each line holds the limits of its bins, the count of what follows, the range of each variable, and the parameters.
A variable outside its range is moved to its edge.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from af_kit.corrections.bins import Bins
from af_kit.corrections.files import once_per_file, read_text
from af_kit.corrections.formula import Formula
from af_kit.errors import InputError

__all__ = ["TextTable", "read_sections", "read_table"]

# points evaluated at a time: the intermediate results of a formula then stay in the processor's cache
_BLOCK = 4096


@dataclass(frozen=True, eq=False)
class TextTable:
    """The formula of a text file with its parameters in each bin.

    Attributes
    ----------
    binned, variables : tuple of str
        Names of the inputs that select the bin, and of those of the formula, such as ``JetEta`` and ``JetPt``.
    quantity : str
        What the header calls the values, such as ``"Correction"``, ``"Resolution"`` or ``"ScaleFactor"``.
    """

    binned: tuple[str, ...]
    variables: tuple[str, ...]
    quantity: str
    formula: Formula | None
    bins: Bins
    ranges: NDArray[np.float64]
    """Lower and upper limit of each variable: of shape (variables, 2, bins)."""
    parameters: NDArray[np.float64]
    """Of shape (parameters, bins)."""

    def rows(self, inputs: Mapping[str, Any], *, clamp: Sequence[str] = ()) -> NDArray[np.int32]:
        """Return the bin of each point, -1 outside; inputs in ``clamp`` are moved into the first or last bin."""
        axes = [axis for axis, name in enumerate(self.binned) if name in clamp]
        return self.bins.find([inputs[name] for name in self.binned], clamp=axes)

    def evaluate(self, inputs: Mapping[str, Any], *, outside: float, clamp: Sequence[str] = ()) -> NDArray[np.float64]:
        """Return the formula's value for each point, and ``outside`` for points in no bin.

        Parameters
        ----------
        inputs : mapping
            Name to a flat array, for all of `binned` and `variables`.
        outside : float
            The value where there is no bin.
        clamp : sequence of str
            As for `rows`.
        """
        if self.formula is None:
            raise InputError("This table has columns, but no formula.")
        size = len(inputs[self.binned[0]])
        values = np.empty(size)
        for start in range(0, size, _BLOCK):
            block = slice(start, start + _BLOCK)
            part = {name: inputs[name][block] for name in {*self.binned, *self.variables}}
            values[block] = self._values(self.formula, part, outside, clamp)
        return values

    def _values(self, formula: Formula, inputs: Mapping[str, Any], outside: float, clamp: Sequence[str]) -> Any:
        rows = self.rows(inputs, clamp=clamp)
        used = zip(self.variables[: formula.n_variables], self.ranges, strict=False)
        variables = [np.minimum(np.maximum(inputs[name], low[rows]), high[rows]) for name, (low, high) in used]
        parameters = [parameter[rows] for parameter in self.parameters[: formula.n_parameters]]
        # row -1 took the last bin's parameters
        return np.where(rows >= 0, formula.evaluate(variables, parameters), outside)


@once_per_file
def read_table(path: str) -> TextTable:
    """Read a text file with one table.

    Raises
    ------
    InputError
        The file cannot be read, or a line of it is not of the format: the message names the line.
    """
    sections = read_sections(path)
    if list(sections) != [""]:
        raise InputError(f"{path} has named sections, as files of uncertainty sources have, not one table.")
    lines = sections[""]
    try:
        return _table(lines)
    except (ValueError, IndexError) as error:
        reason = str(error) if isinstance(error, InputError) else "its header is not complete."
        raise InputError(f"{path} is not a text file of jet corrections: {reason}") from error


def read_sections(path: str) -> dict[str, list[str]]:
    """Return the lines of each section of a text file; the lines before the first ``[name]`` are the section ``""``."""
    text = read_text(path)
    sections: dict[str, list[str]] = {}
    name = ""
    for line in (raw.strip() for raw in text.splitlines()):
        if line.startswith("[") and line.endswith("]"):
            name = line[1:-1].strip()
            if name in sections:
                raise InputError(f"{path} has two sections {name!r}.")
            sections[name] = []
        elif line and not line.startswith("#"):
            sections.setdefault(name, []).append(line)
    return sections


def _table(lines: Sequence[str]) -> TextTable:
    header = lines[0].strip("{} \t").split()
    n_bins = int(header[0])
    binned = tuple(header[1 : 1 + n_bins])
    n_variables = int(header[1 + n_bins])
    variables = tuple(header[2 + n_bins : 2 + n_bins + n_variables])
    text, quantity = header[2 + n_bins + n_variables : 4 + n_bins + n_variables]
    formula = None if text in ("None", '""') else Formula(text)
    numbers = [_numbers(line, 2 * n_bins, at) for at, line in enumerate(lines[1:], start=2)]
    if not numbers or len({len(row) for row in numbers}) != 1:
        raise InputError("its lines have no numbers, or different counts of them.")
    table = np.array(numbers)
    limits, rest = table[:, : 2 * n_bins], table[:, 2 * n_bins + 1 :]
    ranges = rest[:, : 2 * n_variables].T.reshape(n_variables, 2, len(table))
    parameters = rest[:, 2 * n_variables :].T
    if formula is not None and (formula.n_parameters > len(parameters) or formula.n_variables > n_variables):
        raise InputError(
            f"its formula has {formula.n_variables} variables and {formula.n_parameters} parameters, "
            f"but the lines have {n_variables} and {len(parameters)}."
        )
    bins = Bins(limits[:, 0::2], limits[:, 1::2])
    return TextTable(binned, variables, quantity, formula, bins, np.array(ranges), np.array(parameters))


def _numbers(line: str, count_at: int, number: int) -> list[float]:
    """Return the numbers of a line, which states at ``count_at`` how many follow."""
    try:
        values = [float(word) for word in line.split()]
        complete = len(values) == count_at + 1 + int(values[count_at])
    except (ValueError, IndexError):
        complete = False
    if not complete:
        raise InputError(f"line {number} does not have as many numbers as it states: {line[:60]!r}")
    return values
