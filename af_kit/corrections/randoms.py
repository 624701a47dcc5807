"""Random numbers that belong to an object of an event, and not to the chunk in which it is read.

A generator that is seeded once per chunk smears a jet differently when the chunk size changes. Here each number is a
hash of the event's own numbers, so it is the same for every chunk size, number of workers and order, and for the
nominal selection and all variations.
"""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["normal", "uniform"]

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)


def uniform(run: Any, luminosity_block: Any, event: Any, *, index: Any = 0, stream: str) -> NDArray[np.float64]:
    """Return one number per object, evenly distributed in the open interval (0, 1).

    Parameters
    ----------
    run, luminosity_block, event : array of integers
        The event's own numbers, one per object (repeat them for a collection) or one for all.
    index : array of integers
        The object's index in its collection, in the order of the file.
    stream : str
        What the number is for, such as ``"jer"``: each stream is independent of all others.

    Returns
    -------
    numpy.ndarray
        float64, in the shape to which the arguments broadcast.

    Notes
    -----
    Each argument goes through the finaliser of SplitMix64 (Steele, Lea and Flood, OOPSLA 2014), as if it were one step
    of a counter-based generator; 53 bits become the number.

    Examples
    --------
    >>> from af_kit.corrections import randoms
    >>> event = [1, 2, 3]
    >>> first = randoms.uniform(1, 10, event, stream="jer")
    >>> bool((first == randoms.uniform(1, 10, event, stream="jer")).all())
    True
    """
    seed = int.from_bytes(hashlib.blake2b(stream.encode(), digest_size=8).digest(), "little")
    state = np.asarray(np.uint64(seed))
    with np.errstate(over="ignore"):  # arithmetic modulo 2^64 is meant
        for number in (run, luminosity_block, event, index):
            state = _mixed(state + _GOLDEN + np.asarray(number).astype(np.int64).astype(np.uint64))
    return ((state >> np.uint64(11)).astype(np.float64) + 0.5) / 2.0**53


def normal(run: Any, luminosity_block: Any, event: Any, *, index: Any = 0, stream: str) -> NDArray[np.float64]:
    """Return one number per object from a normal distribution of mean 0 and width 1; arguments as for `uniform`."""
    from scipy.special import ndtri

    numbers: NDArray[np.float64] = ndtri(uniform(run, luminosity_block, event, index=index, stream=stream))
    return numbers


def _mixed(state: NDArray[np.uint64]) -> NDArray[np.uint64]:
    state = (state ^ (state >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    state = (state ^ (state >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return state ^ (state >> np.uint64(31))
