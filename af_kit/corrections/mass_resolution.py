"""The mass resolution of a pair of muons, event by event, and its calibration."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from af_kit.corrections import histogram
from af_kit.corrections.columns import columns
from af_kit.errors import InputError

__all__ = ["Calibration", "Resolution", "mass_resolution"]


class Resolution(NamedTuple):
    """The expected error of the mass of each pair, in the shape of the inputs."""

    absolute: Any
    """GeV."""
    relative: Any
    """Over the mass."""


def mass_resolution(
    mass: Any,
    *,
    pt: tuple[Any, Any],
    pt_error: tuple[Any, Any],
    calibration: Any = 1.0,
) -> Resolution:
    """Return the mass resolution from the errors of the momenta.

    ``c m sqrt((e1 / 2 pt1)^2 + (e2 / 2 pt2)^2)``: the mass is proportional to the root of each momentum, and the angles
    are known well.

    Parameters
    ----------
    mass : array
        Of the pair, in GeV.
    pt, pt_error : two arrays
        Of the first and of the second muon: transverse momentum and its error (``Muon_ptErr``) in GeV.
    calibration : array
        The factor c, from `Calibration.factor`; 1 without.

    Raises
    ------
    InputError
        An input is NaN or infinite, or a pt is not positive.
    """
    inputs = {
        "mass": mass, "pt1": pt[0], "pt2": pt[1], "pt_error1": pt_error[0], "pt_error2": pt_error[1],
        "calibration": calibration,
    }  # fmt: skip
    (mass_, pt1, pt2, error1, error2, factor), restore = columns("mass resolution", inputs)
    if (pt1 <= 0).any() or (pt2 <= 0).any():
        raise InputError("mass resolution: pt must be positive for all muons.")
    relative = factor * 0.5 * np.hypot(error1 / pt1, error2 / pt2)
    return Resolution(restore(relative * mass_), restore(relative))


@dataclass(frozen=True)
class Calibration:
    """The ratio of the true resolution to the one calculated, in bins of the muons' pt1, |eta1| and |eta2|."""

    _table: histogram.Histogram = field(compare=False)

    @classmethod
    def load(cls, path: str | Path) -> Calibration:
        """Read the map of a year, for data or simulation: the only TH3 in a ROOT file.

        Raises
        ------
        InputError
            The file cannot be read, or does not have exactly one TH3.
        """
        found = [name for name, kind in histogram.names(path).items() if kind.startswith("TH3")]
        if len(found) != 1:
            raise InputError(f"{path} has {len(found)} histograms of three dimensions; a calibration map is one.")
        return cls(histogram.read(path, found[0]))

    def factor(self, pt1: Any, eta1: Any, eta2: Any) -> Any:
        """Return the factor of each pair, in the shape of the inputs.

        Parameters
        ----------
        pt1, eta1 : array
            Of the leading muon; pt in GeV.
        eta2 : array
            Of the other muon. Outside the map the nearest bin is used.
        """
        flat, restore = columns("mass calibration", {"pt1": pt1, "eta1": eta1, "eta2": eta2})
        return restore(self._table.at(flat[0], np.abs(flat[1]), np.abs(flat[2]))[0])
