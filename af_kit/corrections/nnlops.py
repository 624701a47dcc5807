"""NNLOPS weights: the Higgs boson's pt and jets in gluon fusion, brought to next-to-next-to-leading order."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from af_kit.corrections import histogram
from af_kit.corrections.columns import Column, columns
from af_kit.corrections.weight import Weight
from af_kit.errors import InputError, nearest

__all__ = ["GENERATORS", "NNLOPS"]

GENERATORS = ("mcatnlo", "powheg")
"""Generators for which there are weights."""

_MOST_JETS = 3


@dataclass(frozen=True)
class NNLOPS:
    """The weights for the events of one generator. Apply them to gluon fusion only."""

    generator: str
    _graphs: tuple[tuple[Column, Column], ...] = field(repr=False, compare=False)

    @classmethod
    def load(cls, path: str | Path, *, generator: str) -> NNLOPS:
        """Read the graphs ``gr_NNLOPSratio_pt_{generator}_{0..3}jet`` of a ROOT file.

        Parameters
        ----------
        generator : {"mcatnlo", "powheg"}
            The generator of the events.

        Raises
        ------
        InputError
            The file cannot be read or lacks a graph, or the generator is unknown.
        """
        if generator not in GENERATORS:
            raise InputError(f"There are no NNLOPS weights for {generator!r}.{nearest(generator, GENERATORS)}")
        names = (f"gr_NNLOPSratio_pt_{generator}_{jets}jet" for jets in range(_MOST_JETS + 1))
        return cls(generator, tuple(histogram.read_graph(path, name) for name in names))

    def weight(self, higgs_pt: Any, njets: Any) -> Weight:
        """Return the weight of each event; it has no variations.

        The weight is interpolated linearly between the points of the graph for the event's number of jets, and is that
        of the first or last point outside.

        Parameters
        ----------
        higgs_pt : array
            ``HTXS_Higgs_pt`` in GeV.
        njets : array
            ``HTXS_njets30``; 3 stands for 3 or more.

        Raises
        ------
        InputError
            A value is NaN, infinite or negative.
        """
        (pt, jets), restore = columns("NNLOPS", {"higgs_pt": higgs_pt, "njets": njets})
        if (pt < 0).any() or (jets < 0).any():
            raise InputError("NNLOPS: higgs_pt or njets is negative: are these events of gluon fusion?")
        weight = np.empty(len(pt))
        number = np.minimum(jets, _MOST_JETS).astype(np.intp)
        for i, (x, y) in enumerate(self._graphs):
            rows = number == i
            weight[rows] = np.interp(pt[rows], x, y)
        return Weight(restore(weight), {})
