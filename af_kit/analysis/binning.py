"""The exact bin edges of a boost-histogram axis, for kernels that fill bins themselves."""

from __future__ import annotations

from typing import Any

import numpy as np


def first_values(axis: Any) -> np.ndarray:
    """Return the smallest number in each bin, and the smallest number in the overflow.

    A regular axis with a transform computes a bin number instead of comparing with its edges, and rounding puts some
    numbers close to an edge into the neighbouring bin. With the values returned here, ``first[i] <= x < first[i + 1]``
    is equivalent to ``axis.index(x) == i``.

    Parameters
    ----------
    axis
        A continuous axis of boost-histogram or hist with positive edges.

    Returns
    -------
    numpy.ndarray
        ``len(axis) + 1`` increasing numbers, each within 64 representable numbers of the nominal edge.

    Raises
    ------
    ValueError
        If the bins do not start near the nominal edges, or if an edge is negative.
    """
    # Neighbouring positive doubles are neighbouring integers.
    near = (axis.edges.view(np.int64)[:, np.newaxis] + np.arange(-64, 65)).view(np.float64)
    reached = axis.index(near) >= np.arange(len(axis.edges))[:, np.newaxis]
    if reached[:, 0].any() or not reached[:, -1].all():
        raise ValueError(f"The bins of {axis!r} do not start near its edges; edges must be positive.")
    return near[np.arange(len(near)), reached.argmax(axis=1)]
