"""The text format of the Rochester correction, as arrays of (bin, member).

A file has several sets of members: set 0 is the correction, the others give its error (replicas of the statistical
one, and systematic ones). Its lines, after the binning: ``set member tag ...`` with the tags

    C   scale: type (0 simulation, 1 data), parameter (0: M in % above 1, 1: A in %), bin of eta, a value per bin of phi
    F   resolution: type (0 simulation, 1 data), a value per bin of |eta|
    R   smearing: parameter (0..2: resolution against pt, 3..5: Crystal Ball), bin of |eta|, a value per layers
    T   distribution of the number of layers, which is not needed here
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from af_kit.corrections.columns import Column
from af_kit.corrections.crystal_ball import CrystalBall
from af_kit.corrections.files import once_per_file, read_text
from af_kit.errors import InputError

Bins = NDArray[np.intp]

SIMULATION, DATA = 0, 1
"""The types of the scale and of the resolution, as numbered in the files."""

_PERCENT = 0.01
_REFERENCE_PT = 45.0  # GeV, about which the resolution is a polynomial


@dataclass(frozen=True, eq=False)
class Tables:
    """The parameters of all members; the last axis is the member, of which 0 is the nominal one.

    Attributes
    ----------
    weights : array
        One over the number of members of the member's set: the weight of its squared difference.
    m, a : array
        Scale: (type, bin of eta and phi, member); a is per GeV.
    ratio, lacking : array
        Resolution: (bin of |eta|, member): data over simulation, and the root of the difference of their squares, 0
        where the simulation's is larger.
    polynomial : array
        (3, cell, member): resolution against pt, for a cell of |eta| and layers.
    crystal_ball, width : CrystalBall and array
        The Crystal Ball of each (cell, member), and its width.
    """

    eta: Column
    abs_eta: Column
    n_phi: int
    least_layers: int
    n_layers: int
    weights: Column
    m: Column
    a: Column
    ratio: Column
    lacking: Column
    polynomial: Column
    crystal_ball: CrystalBall
    width: Column

    def scale_bins(self, eta: Column, phi: Column) -> Bins:
        """Return the bin of eta and phi."""
        across = _bins(self.eta, eta)
        around = ((phi + math.pi) * (self.n_phi / (2 * math.pi))).astype(np.intp)
        return across * self.n_phi + np.clip(around, 0, self.n_phi - 1)

    def resolution_bins(self, eta: Column) -> Bins:
        """Return the bin of |eta|."""
        return _bins(self.abs_eta, np.abs(eta))

    def smearing_bins(self, eta: Column, layers: Column) -> Bins:
        """Return the cell of |eta| and layers."""
        layer = np.clip(layers - self.least_layers, 0, self.n_layers - 1).astype(np.intp)
        return self.resolution_bins(eta) * self.n_layers + layer

    def inverse_scale(self, kind: int, bins: Bins, members: slice, charge_pt: Column) -> Column:
        """Return M + charge A pt, of (muon, member)."""
        inverse: Column = self.a[kind, :, members].take(bins, axis=0)
        inverse *= charge_pt[:, None]
        inverse += self.m[kind, :, members].take(bins, axis=0)
        return inverse

    def smearing(self, cells: Bins, members: slice, pt: Column, random: Column) -> Column:
        """Return the resolution at a pt (muon, member) times the quantile of the Crystal Ball at a random number."""
        p0, p1, p2 = (parameter[:, members].take(cells, axis=0) for parameter in self.polynomial)
        distance = pt - _REFERENCE_PT
        sigma: Column = p0 + (p1 + p2 * distance) * distance
        sigma *= self.width[:, members].take(cells, axis=0)
        sigma *= self.crystal_ball.at(cells, members).quantile(random)
        return sigma


def _bins(edges: Column, values: Column) -> Bins:
    return np.clip(np.searchsorted(edges, values, side="right") - 1, 0, len(edges) - 2)


@once_per_file
def read(path: str) -> Tables:
    """Read a file of tables, compressed by gzip or not.

    Raises
    ------
    InputError
        The file cannot be read, is not of this format, or lines are missing.
    """
    try:
        return _parse(read_text(path).splitlines())
    except InputError:
        raise
    except (ValueError, KeyError, IndexError) as error:
        reason = f"{type(error).__name__}: {error}"
        raise InputError(f"{path} is not a table of Rochester corrections (RoccoR...txt): {reason}") from error


def _parse(lines: list[str]) -> Tables:
    head = {words[0]: words[1:] for line in lines if (words := line.split()) and words[0].isalpha()}
    in_set = [int(word) for word in head["NMEM"]]
    first = np.cumsum([0, *in_set])
    eta, abs_eta = (np.array(head[tag][1:], dtype=np.float64) for tag in ("CETA", "RETA"))
    n_phi, n_layers = int(head["CPHI"][0]), int(head["RTRK"][0])
    n_eta, n_abs, members = len(eta) - 1, len(abs_eta) - 1, int(first[-1])
    # filled with NaN, to notice lines that are missing
    scale = np.full((2, 2, n_eta, n_phi, members), np.nan)
    resolution = np.full((2, n_abs, members), np.nan)
    smearing = np.full((6, n_abs, n_layers, members), np.nan)
    for line in lines:
        words = line.split()
        if len(words) < 4 or words[2] not in ("C", "F", "R"):
            continue
        member = first[int(words[0])] + int(words[1])
        if words[2] == "C":
            scale[int(words[4]), int(words[3]), int(words[5]), :, member] = [float(word) for word in words[6:]]
        elif words[2] == "F":
            resolution[int(words[3]), :, member] = [float(word) for word in words[4:]]
        else:
            smearing[int(words[3]), int(words[4]), :, member] = [float(word) for word in words[5:]]
    for tag, table in (("C", scale), ("F", resolution), ("R", smearing)):
        if not np.isfinite(table).all():
            raise ValueError(f"lines of tag {tag} are missing, or contain NaN")
    if not ((resolution > 0).all() and (smearing[4] > 0).all() and (smearing[5] > 1).all()):
        raise ValueError("a resolution or the start of a tail is not positive, or a tail's power is not larger than 1")
    smearing[2] *= _PERCENT
    flat = (2, n_eta * n_phi, members)
    cells = smearing.reshape(6, n_abs * n_layers, members)
    simulated, recorded = resolution[SIMULATION], resolution[DATA]
    return Tables(
        eta=eta,
        abs_eta=abs_eta,
        n_phi=n_phi,
        least_layers=int(head["RMIN"][0]),
        n_layers=n_layers,
        weights=np.repeat(1.0 / np.array(in_set), in_set),
        m=1.0 + _PERCENT * scale[0].reshape(flat),
        a=_PERCENT * scale[1].reshape(flat),
        ratio=recorded / simulated,
        lacking=np.sqrt(np.maximum(recorded**2 - simulated**2, 0.0)),
        polynomial=cells[:3],
        crystal_ball=CrystalBall.of(cells[4], cells[5]),
        width=cells[3],
    )
