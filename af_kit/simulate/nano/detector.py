"""What the simulated detector does to momenta, and how efficient it is.

The simulated calibration files (`af_kit.simulate.calibrations`) are written from the same numbers, so that they correct
the simulated files. All numbers are invented; only their sizes are those of a detector like CMS.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from af_kit.simulate.kinematics import momentum_resolution
from af_kit.simulate.nano.campaigns import Campaign

Floats = NDArray[np.float64]

# Muon momentum scale, in bins of eta and phi.
SCALE_ETA = np.array([-2.4, -1.6, -0.8, 0.0, 0.8, 1.6, 2.4])
SCALE_PHI_BINS = 4
RESOLUTION_RATIO = 1.06
"""Resolution of muons in data divided by that in simulation."""
ERROR_CALIBRATION = 1.10
"""True resolution of muons divided by the one that the track fit estimates."""
IMPACT_RESOLUTION = 0.0012
"""Spread of the transverse impact parameter of prompt muons, in cm."""


def muon_scale(year: int, *, is_data: bool) -> tuple[Floats, Floats]:
    """Return the biases of the muon momentum, in bins of eta and phi: factor M, and A per GeV and charge.

    The corrected momentum is pt / (M + charge A pt), as in the Rochester method.
    """
    eta = (SCALE_ETA[1:] + SCALE_ETA[:-1])[:, None] / 2
    phi = (-np.pi + (np.arange(SCALE_PHI_BINS) + 0.5) * 2 * np.pi / SCALE_PHI_BINS)[None, :]
    size = 1.0 if is_data else 0.4
    percent = size * (-0.08 - 0.02 * eta**2 + 0.03 * np.sin(phi + year % 10))
    bend = size * (0.0006 * eta + 0.0008 * np.cos(phi))
    # Rounded as in the file.
    return 1 + 0.01 * np.round(percent, 7), 0.01 * np.round(bend, 7)


def biased_muon_pt(pt: Floats, eta: Floats, phi: Floats, charge: Any, year: int, *, is_data: bool) -> Floats:
    """Return the momentum of which the correction is ``pt``."""
    factors, bends = muon_scale(year, is_data=is_data)
    row = np.clip(np.searchsorted(SCALE_ETA, eta, side="right") - 1, 0, len(SCALE_ETA) - 2)
    column = np.clip(((phi + np.pi) / (2 * np.pi) * SCALE_PHI_BINS).astype(int), 0, SCALE_PHI_BINS - 1)
    return pt * factors[row, column] / (1 - charge * bends[row, column] * pt)


def muon_resolution(eta: Floats, pt: Floats, *, is_data: bool) -> Floats:
    """Return the relative resolution of a muon's transverse momentum, without the effect of the impact parameter."""
    resolution: Floats = momentum_resolution(eta, pt)
    return resolution * (RESOLUTION_RATIO if is_data else 1.0)


def geofit_slope(campaign: Campaign, eta: Floats) -> Floats:
    """Return the relative shift of the momentum per impact parameter (cm), charge and momentum (GeV)."""
    first, second, third = campaign.geofit
    return np.where(np.abs(eta) < 0.9, first, np.where(np.abs(eta) < 1.7, second, third)) / 1e4


# Jets.
JET_ETA = np.array([-5.191, -3.139, -2.5, -1.3, 0.0, 1.3, 2.5, 3.139, 5.191])
_OFFSET = np.array([0.60, 0.55, 0.45, 0.35, 0.35, 0.45, 0.55, 0.60])
_RESPONSE = np.array([1.06, 1.14, 1.08, 1.05, 1.05, 1.08, 1.14, 1.06])
_RESIDUAL = np.array([0.010, 0.020, 0.012, 0.005, 0.004, 0.013, 0.022, 0.009])
JER_ABSETA = np.array([0.0, 1.3, 2.5, 3.139, 4.7])
JER_RHO = np.array([0.0, 15.0, 25.0, 70.0])
_NOISE = np.array([3.0, 3.6, 5.0, 3.5])
_JER_SF = np.array([1.10, 1.14, 1.25, 1.12])


def jet_bin(eta: Floats) -> NDArray[np.intp]:
    """Return the bin of `JET_ETA` of each jet."""
    return np.clip(np.searchsorted(JET_ETA, eta, side="right") - 1, 0, len(JET_ETA) - 2)


def jet_offset() -> Floats:
    """Return the pile-up momentum per area and rho in each bin of `JET_ETA`."""
    return _OFFSET


def jet_response(year: int) -> Floats:
    """Return the factor after the subtraction of pile-up in each bin of `JET_ETA`."""
    return _RESPONSE + 0.002 * (year - 2017)


def jet_residual(year: int, period: Any) -> Floats:
    """Return the further factor for data in each bin of `JET_ETA`, by run period (0 is A; shape: bins, periods).

    Only for 2018 is it known by period; it is 1 in other years.
    """
    if year != 2018:
        return np.ones((len(_RESIDUAL), np.size(period)))
    return 1 + _RESIDUAL[:, None] * (1 + 0.2 * np.atleast_1d(period)[None, :])


def jet_noise(rho_bin: int) -> Floats:
    """Return the noise term of the jet resolution in GeV, in each bin of `JER_ABSETA`, for a bin of `JER_RHO`."""
    return _NOISE + 1.0 * rho_bin


JER_STOCHASTIC, JER_CONSTANT, JER_POWER = 0.80, 0.05, -1.0


def jet_resolution(pt: Floats, eta: Floats, rho: Floats) -> Floats:
    """Return the relative resolution of jet momenta in simulation."""
    rows = np.clip(np.searchsorted(JER_ABSETA, np.abs(eta), side="right") - 1, 0, len(JER_ABSETA) - 2)
    rho_bin = np.clip(np.searchsorted(JER_RHO, rho, side="right") - 1, 0, len(JER_RHO) - 2)
    noise = _NOISE[rows] + 1.0 * rho_bin
    return np.sqrt((noise / pt) ** 2 + JER_STOCHASTIC**2 * pt**JER_POWER + JER_CONSTANT**2)


def jet_resolution_ratio() -> Floats:
    """Return the resolution of jets in data divided by that in simulation, in each bin of `JER_ABSETA`."""
    return _JER_SF


# Efficiencies of muons, in bins of |eta|.
MUON_ABSETA = np.array([0.0, 0.9, 1.2, 2.1, 2.4])
_TRIGGER = np.array([0.945, 0.935, 0.900, 0.820])
_TRIGGER_RATIO = np.array([0.978, 0.970, 0.985, 0.960])
_MEDIUM_ID = np.array([0.985, 0.980, 0.975, 0.960])
_MEDIUM_ID_RATIO = np.array([0.997, 0.996, 0.994, 0.978])


def muon_bin(eta: Floats) -> NDArray[np.intp]:
    """Return the bin of `MUON_ABSETA` of each muon."""
    return np.clip(np.searchsorted(MUON_ABSETA, np.abs(eta), side="right") - 1, 0, len(MUON_ABSETA) - 2)


def trigger_efficiency(pt: Floats, abseta_bin: Any, threshold: float, *, is_data: bool) -> Floats:
    """Return the efficiency of the isolated single-muon trigger for a selected muon: a plateau after a short rise."""
    plateau = _TRIGGER[abseta_bin] * (_TRIGGER_RATIO[abseta_bin] if is_data else 1.0)
    return np.where(pt > threshold, plateau * (1 - 0.06 * np.exp(-(pt - threshold - 2) / 8)), 0.0)


def medium_id_efficiency(abseta_bin: Any, *, is_data: bool) -> Floats:
    """Return the efficiency of the medium identification of prompt muons."""
    return _MEDIUM_ID[abseta_bin] * (_MEDIUM_ID_RATIO[abseta_bin] if is_data else 1.0)


def medium_id_scale_factor() -> Floats:
    """Return data over simulation of the medium identification, in each bin of `MUON_ABSETA`."""
    return _MEDIUM_ID_RATIO


PU_ID_EFFICIENCY = {"L": 0.96, "M": 0.92, "T": 0.85}
"""Probability that a jet of 25 to 50 GeV of the hard collision passes the pile-up identification, in simulation."""
PU_ID_MISTAG = {"L": 0.35, "M": 0.20, "T": 0.10}
"""The same for a jet from pile-up."""
