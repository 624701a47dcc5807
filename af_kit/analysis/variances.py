"""The variances of a histogram's bins, or an error if nobody knows them."""

from __future__ import annotations

from typing import Any

import numpy as np

from af_kit.errors import InputError

__all__ = ["variances_of"]


def variances_of(histogram: Any) -> np.ndarray | None:
    """Return the sums of squared weights of a histogram's bins, or None if the bins are plain counts.

    Raises
    ------
    InputError
        The bins may be sums of weights (``Double`` storage that was filled with weights, scaled or added up), and their
        squares were not stored.
    """
    storage = getattr(getattr(histogram, "storage_type", None), "__name__", "")
    values, variances = np.asarray(histogram.values(), dtype=float), histogram.variances()
    if storage in ("Int64", "AtomicInt64"):
        return None
    is_count = variances is not None and np.array_equal(variances, values)
    if is_count and np.array_equal(values, np.rint(values)):
        return None
    if variances is None or (is_count and storage in ("Double", "Unlimited")):
        raise InputError(
            f"The bins of this histogram{f' ({storage} storage)' if storage else ''} may be sums of weights, and their "
            "errors are unknown. Fill one with .Weight() storage instead, or with .Int64() if there are no weights."
        )
    return np.asarray(variances, dtype=float)
