"""The bins of an axis as boost-histogram decides them, for kernels that count by themselves."""

from __future__ import annotations

from typing import Any

import numpy as np


def first_values(axis: Any) -> np.ndarray:
    """The smallest number that each bin takes, and at the end the smallest that overflows.

    A regular axis with a transform does not compare with its edges: it computes a bin number, and rounding puts some
    numbers next to an edge on its other side. With these values ``first[i] <= x < first[i + 1]`` says exactly what
    ``axis.index(x) == i`` says.

    Parameters
    ----------
    axis
        A continuous axis of boost-histogram or hist with positive edges.

    Returns
    -------
    numpy.ndarray
        ``len(axis) + 1`` increasing numbers, each within 64 representable numbers of the axis' nominal edge.
    """
    # Neighbouring positive doubles are neighbouring integers.
    near = (axis.edges.view(np.int64)[:, np.newaxis] + np.arange(-64, 65)).view(np.float64)
    reached = axis.index(near) >= np.arange(len(axis.edges))[:, np.newaxis]
    if reached[:, 0].any() or not reached[:, -1].all():
        raise ValueError(f"The bins of {axis!r} do not begin near its edges.")
    return near[np.arange(len(near)), reached.argmax(axis=1)]
