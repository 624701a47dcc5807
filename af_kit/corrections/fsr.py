"""Recovery of final-state radiation: a photon near a muon is added to it.

The four-momenta are added in full, so the muon's mass becomes that of muon and photon; and the photon no longer counts
in the muon's isolation.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from af_kit.corrections.columns import Column, columns
from af_kit.errors import InputError

__all__ = ["MAX_ABS_ETA", "MAX_DISTANCE", "MAX_ISOLATION", "MAX_PT_RATIO", "Recovered", "recover"]

MAX_ISOLATION = 1.8
"""Of the photon, relative, in a cone of 0.3 (``FsrPhoton_relIso03``)."""
MAX_DISTANCE = 0.012
"""Delta R to the muon over the photon's transverse energy squared, in 1/GeV^2 (``FsrPhoton_dROverEt2``)."""
MAX_PT_RATIO = 0.4
"""Transverse momentum of the photon over that of the muon."""
MAX_ABS_ETA = 2.4
"""Of the photon."""

_PHOTON = ("photon_pt", "photon_eta", "photon_phi", "photon_iso", "photon_dr_over_et2")


class Recovered(NamedTuple):
    """The muons after the recovery, in the shape of the inputs. Without a recovered photon a muon is unchanged."""

    pt: Any
    eta: Any
    phi: Any
    mass: Any
    iso: Any
    """Relative isolation, without the photon: (iso pt - photon's pt) / (pt of the sum). It can be negative."""
    used: Any
    """Whether a photon was added (bool)."""


def recover(
    pt: Any,
    eta: Any,
    phi: Any,
    *,
    mass: Any,
    iso: Any,
    photon_pt: Any,
    photon_eta: Any,
    photon_phi: Any,
    photon_iso: Any,
    photon_dr_over_et2: Any,
) -> Recovered:
    """Add to each muon the photon that belongs to it, if the photon passes the four cuts of this module.

    Parameters
    ----------
    pt, eta, phi, mass : array
        Of each muon, after the Rochester correction; GeV.
    iso : array
        Relative isolation of each muon (``pfRelIso04_all``).
    photon_pt, photon_eta, photon_phi, photon_iso, photon_dr_over_et2 : array
        Of the photon with the muon's ``fsrPhotonIdx``, as in the file; NaN where the index is negative.

    Raises
    ------
    InputError
        A quantity of a muon is NaN or infinite, its pt is not positive, or a photon is NaN only in part.
    """
    muon = {"pt": pt, "eta": eta, "phi": phi, "mass": mass, "iso": iso}
    photon = dict(zip(_PHOTON, (photon_pt, photon_eta, photon_phi, photon_iso, photon_dr_over_et2), strict=True))
    flat, restore = columns("FSR recovery", {**muon, **photon}, may_be_nan=_PHOTON)
    pt_, eta_, phi_, mass_, iso_ = (column.copy() for column in flat[:5])
    g_pt, g_eta, _, g_iso, g_distance = flat[5:]
    if (pt_ <= 0).any():
        raise InputError(f"FSR recovery: pt must be positive, and {int((pt_ <= 0).sum())} of {len(pt_)} are not.")
    without = np.isnan(g_pt)
    for name, column in zip(_PHOTON[1:], flat[6:], strict=True):
        if (np.isnan(column) != without).any():
            raise InputError(
                f"FSR recovery: {name} and photon_pt are not NaN for the same muons. Both are NaN where fsrPhotonIdx "
                "is negative, and numbers elsewhere."
            )
    # comparisons with NaN are false
    used = (g_iso < MAX_ISOLATION) & (g_distance < MAX_DISTANCE) & (g_pt < MAX_PT_RATIO * pt_)
    used &= np.abs(g_eta) < MAX_ABS_ETA
    rows = np.flatnonzero(used)
    if len(rows):
        chosen = [column[rows] for column in flat]
        sum_pt, eta_[rows], phi_[rows], mass_[rows] = _add(*chosen[:4], *chosen[5:8])
        iso_[rows] = (chosen[4] * chosen[0] - chosen[5]) / sum_pt
        pt_[rows] = sum_pt
    return Recovered(restore(pt_), restore(eta_), restore(phi_), restore(mass_), restore(iso_), restore(used) != 0)


def _add(
    pt: Column, eta: Column, phi: Column, mass: Column, g_pt: Column, g_eta: Column, g_phi: Column
) -> tuple[Column, Column, Column, Column]:
    """Return pt, eta, phi and mass of a particle and a massless one together."""
    x = pt * np.cos(phi) + g_pt * np.cos(g_phi)
    y = pt * np.sin(phi) + g_pt * np.sin(g_phi)
    z = pt * np.sinh(eta) + g_pt * np.sinh(g_eta)
    sum_pt = np.hypot(x, y)
    # The mass from the product of the four-momenta: a difference of squares would lose all digits for a near photon.
    momentum, g_momentum = pt * np.cosh(eta), g_pt * np.cosh(g_eta)
    energy_minus_momentum = mass * mass / (np.hypot(momentum, mass) + momentum)
    angle = 2 * np.sinh((eta - g_eta) / 2) ** 2 + 2 * np.sin((phi - g_phi) / 2) ** 2
    product = g_momentum * energy_minus_momentum + pt * g_pt * angle
    return sum_pt, np.arcsinh(z / sum_pt), np.arctan2(y, x), np.sqrt(mass * mass + 2 * product)
