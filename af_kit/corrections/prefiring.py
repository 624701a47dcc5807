"""The weight for level-1 triggers that fired on the bunch crossing before (2016 and 2017)."""

from __future__ import annotations

from typing import Any

from af_kit.corrections.columns import columns
from af_kit.corrections.weight import Pair, Weight

__all__ = ["prefiring"]


def prefiring(nominal: Any, up: Any, down: Any, *, source: str = "l1prefiring") -> Weight:
    """Return the weights that the sample stores, as copies.

    Parameters
    ----------
    nominal, up, down : array
        ``L1PreFiringWeight_Nom``, ``_Up`` and ``_Dn``: the probability that no trigger fired too early.
    source : str
        Name of the systematic source.

    Raises
    ------
    InputError
        A weight is NaN or infinite.
    """
    inputs = {"nominal": nominal, "up": up, "down": down}
    flat, restore = columns("L1 pre-firing", inputs)
    weights = [restore(column.copy()) for column in flat]
    return Weight(weights[0], {source: Pair(weights[1], weights[2])})
