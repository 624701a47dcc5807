"""What a correction of weights returns: the nominal weight, and a pair of arrays for each systematic variation."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

__all__ = ["Pair", "Weight"]


class Pair(NamedTuple):
    """A weight in which one systematic source is varied by one standard deviation in each direction."""

    up: Any
    down: Any


class Weight(NamedTuple):
    """A weight per event or object, in the shape of the inputs (float64)."""

    nominal: Any
    variations: Mapping[str, Pair]
    """Name of the systematic source, such as ``"pileup"`` or ``"jes"``, to the varied weights: full weights, not
    ratios to the nominal one. Sources are never derived by cutting ``_up`` or ``_down`` off a name."""
