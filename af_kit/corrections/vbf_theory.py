"""Theory uncertainty of Higgs production by vector-boson fusion: ten sources, by STXS bin."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from af_kit.corrections.columns import Column, columns
from af_kit.corrections.files import once_per_file, read_text
from af_kit.corrections.weight import Pair, Weight
from af_kit.errors import InputError

__all__ = ["VBFTheory"]

_UNKNOWN = 0
_PREFIX = "THU_VBF_"


@dataclass(frozen=True)
class VBFTheory:
    """The effect of each source on each bin.

    Attributes
    ----------
    sources : tuple of str
        Names of the systematic sources: ``THU_VBF_TOT``, ``THU_VBF_PTH200``, ...
    """

    sources: tuple[str, ...]
    _bins: NDArray[np.int64] = field(repr=False, compare=False)
    _effects: Column = field(repr=False, compare=False)

    @classmethod
    def load(cls, path: str | Path) -> VBFTheory:
        """Read a table in JSON: ``names`` of the sources, and ``acceptance``, ``deltas``, ``powheg_xsec``.

        Raises
        ------
        InputError
            The file cannot be read, or is not such a table.
        """
        return cls(*_read(path))

    def weight(self, category: Any) -> Weight:
        """Return the variation of each source: ``1 +- acceptance[bin] delta / cross-section[bin]``.

        Parameters
        ----------
        category : array
            ``HTXS_stage1_1_fine_cat_pTjet30GeV``: the bin, 200 to 224. Events without a bin (0) are not varied.

        Returns
        -------
        Weight
            Nominal 1.

        Raises
        ------
        InputError
            A bin is not one of vector-boson fusion: the weights are for these samples only.
        """
        (bins,), restore = columns("VBF theory", {"category": category})
        row = np.clip(np.searchsorted(self._bins, bins), 0, len(self._bins) - 1)
        is_known = self._bins[row] == bins
        if (other := ~is_known & (bins != _UNKNOWN)).any():
            raise InputError(
                f"VBF theory: {int(other.sum())} events are in STXS bin {bins[other][0]:g} (and others), which is not "
                f"one of {self._bins[0]} to {self._bins[-1]}. These weights are for vector-boson fusion only."
            )
        effects = np.where(is_known[:, None], self._effects[row], 0.0)
        varied = {
            source: Pair(restore(1.0 + effects[:, i]), restore(1.0 - effects[:, i]))
            for i, source in enumerate(self.sources)
        }
        return Weight(restore(np.ones(len(bins))), varied)


@once_per_file
def _read(path: str) -> tuple[tuple[str, ...], NDArray[np.int64], Column]:
    try:
        content = json.loads(read_text(path))
        names = tuple(_PREFIX + str(name) for name in content["names"])
        bins = np.array(sorted(int(key) for key in content["acceptance"]), dtype=np.int64)
        acceptance = np.array([content["acceptance"][str(number)] for number in bins], dtype=np.float64)
        cross_section = np.array([content["powheg_xsec"][str(number)] for number in bins], dtype=np.float64)
        deltas = np.array(content["deltas"], dtype=np.float64)
        effects = acceptance * deltas / cross_section[:, None]
    except (ValueError, KeyError, TypeError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{path} is not a table of VBF uncertainties: {type(error).__name__}: {error}") from error
    complete = acceptance.shape == (len(bins), len(names)) and deltas.shape == (len(names),)
    if not complete or not np.isfinite(effects).all():
        raise InputError(f"{path}: a bin does not have one number for each of the {len(names)} sources.")
    return names, bins, effects
