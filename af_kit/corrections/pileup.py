"""Pile-up weights: the number of interactions in simulation brought to that of the data.

The weights are those of the profiles of the data and of the whole campaign. They are not normalised again to the events
of a chunk, because the result would depend on its size. Normalise after the merge.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from af_kit.corrections import histogram
from af_kit.corrections.columns import Column, columns
from af_kit.corrections.weight import Pair, Weight
from af_kit.errors import InputError

__all__ = ["Pileup"]

_DATA = {"nominal": "pileup", "up": "pileup_plus", "down": "pileup_minus"}
_SIMULATION = "pu_mc"


@dataclass(frozen=True)
class Pileup:
    """The weights of a year, in bins of one interaction.

    Attributes
    ----------
    source : str
        Name of the systematic source in the weights.
    data, simulation : str
        The files of the profiles.
    cap : float, optional
        The largest weight; a larger one is replaced by it.
    """

    data: str
    simulation: str
    cap: float | None
    source: str
    _weights: dict[str, Column] = field(repr=False, compare=False)

    @classmethod
    def load(
        cls, data: str | Path, simulation: str | Path, *, cap: float | None = None, source: str = "pileup"
    ) -> Pileup:
        """Read the profiles.

        Parameters
        ----------
        data : path
            ROOT file with ``pileup``, and with ``pileup_plus`` and ``pileup_minus`` for a cross-section of minimum-bias
            events that is larger and smaller by its error.
        simulation : path
            ROOT file with ``pu_mc``.
        cap : float, optional
            The largest weight. The first bins of some campaigns have very few simulated events and weights of
            thousands; no cap by default.

        Raises
        ------
        InputError
            A file cannot be read, a profile is empty or has a negative bin, or the two have different bins.
        """
        if cap is not None and not cap > 0:
            raise InputError(f"cap must be a positive weight, not {cap!r}.")
        simulated = _profile(simulation, _SIMULATION)
        weights = {}
        for direction, name in _DATA.items():
            recorded = _profile(data, name)
            if len(recorded) != len(simulated):
                raise InputError(
                    f"The profiles have different bins: {len(recorded)} in {data}, {len(simulated)} in {simulation}. "
                    "They are of different campaigns."
                )
            # NaN: a bin that the data have and the simulation has not
            missing = np.where(recorded > 0, np.nan, 0.0)
            ratio = np.divide(recorded, simulated, out=missing, where=simulated > 0)
            weights[direction] = ratio if cap is None else np.minimum(ratio, cap)
        return cls(str(data), str(simulation), cap, source, weights)

    def weight(self, n_true_int: Any) -> Weight:
        """Return the weight of each event, and that for more (up) and less (down) pile-up.

        Parameters
        ----------
        n_true_int : array
            ``Pileup_nTrueInt``: the mean number of interactions with which the event was simulated. Its integer part is
            the bin. Beyond the last bin there are no data, so the weight is 0.

        Raises
        ------
        InputError
            A number is NaN, infinite or negative; or the campaign's profile has no events with such a number: it is the
            profile of another campaign.
        """
        (number,), restore = columns(self.source, {"nTrueInt": n_true_int})
        if (number < 0).any():
            raise InputError(f"{self.source}: nTrueInt is negative for {int((number < 0).sum())} events.")
        size = len(self._weights["nominal"])
        bins = np.minimum(number, size).astype(np.intp)
        found = {direction: np.append(table, 0.0)[bins] for direction, table in self._weights.items()}
        bad = np.logical_or.reduce([np.isnan(weight) for weight in found.values()])
        if bad.any():
            raise InputError(
                f"{self.source}: {int(bad.sum())} events have an nTrueInt (such as {number[bad][0]:g}) that does not "
                f"occur in the profile {self.simulation}. Use the profile of the campaign of these events."
            )
        nominal, up, down = (restore(found[direction]) for direction in _DATA)
        return Weight(nominal, {self.source: Pair(up, down)})


def _profile(path: str | Path, name: str) -> Column:
    """Return a profile in bins of one interaction from 0, normalised to 1."""
    table = histogram.read(path, name)
    edges = table.edges[0]
    if len(table.edges) != 1 or not np.array_equal(edges, np.arange(len(edges))):
        raise InputError(f"{table.name} does not have bins of one interaction from 0 on.")
    if (table.values < 0).any() or not table.values.sum() > 0:
        raise InputError(f"{table.name} is empty or has negative bins.")
    return table.values / table.values.sum()
