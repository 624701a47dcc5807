"""Smooth a sequence that has independent fluctuations: running medians and means."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["smoothed"]

Floats = NDArray[np.float64]


def smoothed(values: Floats) -> Floats:
    """Return a smooth copy of a sequence: Friedman's 353QH, twice (J. Friedman, CERN 74-23, 1974).

    Running medians of 3, 5 and 3 values remove outliers; a flat top of three equal values, which medians leave, becomes
    a parabola (Q); a running mean with weights 1/4, 1/2, 1/4 follows (H). The same is done with what is left, and added
    ("twicing"). A sequence of fewer than three values stays as it is.
    """
    values = np.asarray(values, float)
    if values.size < 3:
        return values.copy()
    first = _once(values)
    return first + _once(values - first)


def _once(values: Floats) -> Floats:
    new = _ends(_median(values, 3))
    if new.size >= 5:
        new = _median(new, 5)
    new = _ends(_median(new, 3))
    new = _parabolas(new)
    inner = (new[:-2] + 2 * new[1:-1] + new[2:]) / 4
    return np.concatenate([new[:1], inner, new[-1:]])


def _median(values: Floats, width: int) -> Floats:
    """Return running medians; near the ends, of as many values as there are on both sides."""
    half = width // 2
    new = values.copy()
    for i in range(1, values.size - 1):
        reach = min(half, i, values.size - 1 - i)
        new[i] = np.median(values[i - reach : i + reach + 1])
    return new


def _ends(values: Floats) -> Floats:
    """Return the sequence with its ends replaced by the median of end, neighbour, and the line through the next two."""
    new = values.copy()
    new[0] = np.median([values[0], values[1], 3 * values[1] - 2 * values[2]])
    new[-1] = np.median([values[-1], values[-2], 3 * values[-2] - 2 * values[-3]])
    return new


def _parabolas(values: Floats) -> Floats:
    """Return the sequence with each top or valley of three equal values bent through the two values beyond it."""
    new = values.copy()
    for i in range(2, values.size - 2):
        before, flat, after = values[i - 2], values[i], values[i + 2]
        equal = values[i - 1] == flat == values[i + 1]
        if not equal or (before - flat) * (after - flat) <= 0:
            continue
        # The end of the flat part on the side of the smaller step stays; the parabola passes through it.
        side = 1 if abs(after - flat) < abs(before - flat) else -1
        near, far = (after, before) if side == 1 else (before, after)
        x = np.array([2 * side, side, -2 * side], float)
        coefficients = np.polyfit(x, [near, flat, far], 2)
        new[i] = np.polyval(coefficients, 0.0)
        new[i - side] = np.polyval(coefficients, -side)
    return new
