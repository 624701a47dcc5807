"""The Rochester correction: the momentum scale and resolution of muons, from the text tables of CMS.

In data the scale is corrected (kScaleDT). In simulation it is corrected too, and the resolution is brought to that of
the data: with the generated momentum if the muon is matched to a generated one (kSpreadMC), else with a random number
(kSmearMC). The method and its formulas: A. Bodek et al., Eur. Phys. J. C 72 (2012) 2194, and the RoccoR code of its
authors.

The correction's error comes from 104 further tables, so it costs a hundred times the correction. coffea's
``rochester_lookup`` has the same numbers, but takes seconds for 20 000 muons; here all tables of a bin are next to each
other in memory.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from af_kit.corrections import rochester_table
from af_kit.corrections.columns import Column, columns
from af_kit.corrections.rochester_table import DATA, SIMULATION, Tables
from af_kit.errors import InputError

__all__ = ["Rochester", "Scale"]

# Muons whose tables (105 numbers each) are worked on together stay in the processor's cache.
_BLOCK = 256
# phi of float32 may be larger than pi by its rounding
_LARGEST_PHI = math.pi + 1e-5


class Scale(NamedTuple):
    """The factor on the transverse momentum of each muon, and its absolute error, in the shape of the inputs.

    The error is None if it was not asked for. The systematic variation is ``factor + error`` and ``factor - error``,
    for all muons together.
    """

    factor: Any
    error: Any


@dataclass(frozen=True)
class Rochester:
    """The tables of one year.

    Attributes
    ----------
    path : str
        The file they come from.
    """

    path: str
    _tables: Tables = field(repr=False, compare=False)

    @classmethod
    def load(cls, path: str | Path) -> Rochester:
        """Read the tables of a year (``RoccoR2018.txt``, also compressed by gzip), once per process.

        Raises
        ------
        InputError
            The file cannot be read, or is not such a table, or lines are missing.
        """
        return cls(str(path), rochester_table.read(path))

    def data(self, pt: Any, eta: Any, phi: Any, charge: Any, *, errors: bool = True) -> Scale:
        """Return the correction of muons in data.

        ``factor = 1 / (M + charge * A * pt)``, with M and A in bins of eta and phi.

        Parameters
        ----------
        pt, eta, phi, charge : array
            Of each muon, as in the file: pt in GeV, phi in -pi..pi, charge 1 or -1. Outside |eta| < 2.4 the last bin is
            used.
        errors : bool
            Calculate the error, which takes most of the time.

        Raises
        ------
        InputError
            An input is NaN or infinite, pt is not positive, phi or the charge is out of range.
        """
        inputs = {"pt": pt, "eta": eta, "phi": phi, "charge": charge}
        (pt_, eta_, phi_, charge_), restore = columns("Rochester", inputs)
        self._check(pt_, phi_, charge_)
        tables, signed = self._tables, charge_ * pt_
        bins = tables.scale_bins(eta_, phi_)

        def factors(rows: slice, members: slice) -> Column:
            inverse = tables.inverse_scale(DATA, bins[rows], members, signed[rows])
            return np.divide(1.0, inverse, out=inverse)

        factor, error = self._evaluate(factors, len(pt_), errors)
        return Scale(restore(factor), restore(error) if errors else None)

    def simulation(
        self, pt: Any, eta: Any, phi: Any, charge: Any, *, gen_pt: Any, layers: Any, random: Any, errors: bool = True
    ) -> Scale:
        """Return the correction of muons in simulation.

        With the scale ``k = 1 / (M + charge * A * pt)``: for a muon that is matched to a generated one
        ``factor = k x / (1 + (x - 1) r)``, where ``x = gen_pt / (k pt)`` and r is the resolution in data over the one
        in simulation. Else ``factor = k / (1 + s t)``, where t is a random number from a Crystal Ball distribution and
        s the resolution that the simulation lacks.

        Parameters
        ----------
        pt, eta, phi, charge : array
            As for `data`.
        gen_pt : array
            Transverse momentum of the matched generated muon in GeV; NaN for a muon without match.
        layers : array
            Tracker layers with a measurement (``nTrackerLayers``). Below and above the table the nearest entry is used.
        random : array
            A random number in (0, 1) for each muon, of the event's own (`randoms.uniform`), so that it is the same for
            the nominal selection and all variations. Only used for muons without match.
        errors : bool
            Calculate the error, which takes most of the time.

        Raises
        ------
        InputError
            As for `data`; also if gen_pt is zero or negative (a match that is missing is NaN), or if the random number
            of a muon without match is not in (0, 1).
        """
        inputs = {
            "pt": pt, "eta": eta, "phi": phi, "charge": charge, "gen_pt": gen_pt, "layers": layers, "random": random,
        }  # fmt: skip
        flat, restore = columns("Rochester", inputs, may_be_nan=("gen_pt", "random"))
        pt_, eta_, phi_, charge_, gen_, layers_, random_ = flat
        self._check(pt_, phi_, charge_)
        is_matched = ~np.isnan(gen_)
        if (gen_[is_matched] <= 0).any():
            raise InputError("Rochester: gen_pt is zero or negative for some muons. It is NaN for one without match.")
        factor, error = np.empty(len(pt_)), np.empty(len(pt_))
        for rows, kernel in ((is_matched, self._spread), (~is_matched, self._smear)):
            if rows.any():
                chosen = [column[rows] for column in (pt_, eta_, phi_, charge_, gen_, layers_, random_)]
                nominal, spread = self._evaluate(kernel(*chosen), int(rows.sum()), errors)
                factor[rows] = nominal
                if errors:
                    error[rows] = spread
        return Scale(restore(factor), restore(error) if errors else None)

    def _spread(
        self, pt: Column, eta: Column, phi: Column, charge: Column, gen_pt: Column, _: Column, __: Column
    ) -> Callable[[slice, slice], Column]:
        tables, signed, ratio = self._tables, charge * pt, gen_pt / pt
        bins, resolution_bins = tables.scale_bins(eta, phi), tables.resolution_bins(eta)

        def factors(rows: slice, members: slice) -> Column:
            # k x is gen_pt / pt: one division instead of three
            x = tables.inverse_scale(SIMULATION, bins[rows], members, signed[rows])
            x *= ratio[rows, None]
            x -= 1.0
            x *= tables.ratio[:, members].take(resolution_bins[rows], axis=0)
            x += 1.0
            return np.divide(ratio[rows, None], x, out=x)

        return factors

    def _smear(
        self, pt: Column, eta: Column, phi: Column, charge: Column, _: Column, layers: Column, random: Column
    ) -> Callable[[slice, slice], Column]:
        if not ((random > 0) & (random < 1)).all():
            raise InputError("Rochester: muons without match need a random number larger than 0 and smaller than 1.")
        tables, signed = self._tables, charge * pt
        bins, resolution_bins = tables.scale_bins(eta, phi), tables.resolution_bins(eta)
        cells = tables.smearing_bins(eta, layers)

        def factors(rows: slice, members: slice) -> Column:
            k = 1.0 / tables.inverse_scale(SIMULATION, bins[rows], members, signed[rows])
            lacking = tables.lacking[:, members].take(resolution_bins[rows], axis=0)
            x = lacking * tables.smearing(cells[rows], members, k * pt[rows, None], random[rows, None])
            return np.where(x > -1.0, k / (1.0 + x), k)

        return factors

    def _evaluate(self, factors: Callable[[slice, slice], Column], size: int, errors: bool) -> tuple[Column, Column]:
        """Return the nominal factors, and the root of the weighted sum of squared differences of the other tables."""
        if not errors:
            return factors(slice(0, size), slice(0, 1))[:, 0], np.empty(0)
        factor, error = np.empty(size), np.empty(size)
        for start in range(0, size, _BLOCK):
            rows = slice(start, min(start + _BLOCK, size))
            values = factors(rows, slice(None))
            factor[rows] = values[:, 0]
            values -= values[:, :1].copy()
            values *= values
            error[rows] = np.sqrt(values @ self._tables.weights)
        return factor, error

    def _check(self, pt: Column, phi: Column, charge: Column) -> None:
        checks: tuple[tuple[str, NDArray[np.bool_]], ...] = (
            ("pt must be positive", pt <= 0),
            ("phi must be in -pi..pi", np.abs(phi) > _LARGEST_PHI),
            ("the charge must be 1 or -1", np.abs(charge) != 1),
        )
        for rule, bad in checks:
            if bad.any():
                raise InputError(f"Rochester: {rule}, and {int(bad.sum())} of {len(bad)} muons break this.")
