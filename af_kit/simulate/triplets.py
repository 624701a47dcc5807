"""Parts of the simulation of three-track candidates: two-body decays, a resolution with a tail, triggers."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from af_kit.simulate.kinematics import Floats

# Names, their order and their number change with the version of the menu. Some names resemble the selected ones.
HLT_MENUS = (
    ("HLT_DoubleMu3_Trk_Tau3mu_v1", "HLT_DoubleMu3_Trk_Tau3mu_NoL1Mass_v1", "HLT_IsoMu27_v9"),
    ("HLT_DoubleMu3_Trk_Tau3mu_v4", "HLT_DoubleMu4_3_Jpsi_Displaced_v7", "HLT_IsoMu27_v13"),
    ("HLT_IsoMu27_v14", "HLT_DoubleMu3_Trk_Tau3mu_NoL1Mass_v2", "HLT_DoubleMu3_Trk_Tau3mu_v12"),
    ("HLT_DoubleMu3_Trk_Tau3mu_NoL1Mass_v2", "HLT_IsoMu27_v14"),
)
L1_MENUS = (
    ("L1_SingleMu22", "L1_DoubleMu0er1p5_SQ_OS_dR_Max1p4", "L1_TripleMu_5_3_0_DoubleMu_5_3_OS_Mass_Max17"),
    ("L1_DoubleMu4_SQ_OS_dR_Max1p2", "L1_SingleMu22", "L1_TripleMu_5SQ_3SQ_0"),
    ("L1_SingleMu22", "L1_SingleMu25", "L1_DoubleEG_25_12"),
)
_SELECTING = ("HLT_DoubleMu3_Trk_Tau3mu_v", "L1_DoubleMu", "L1_TripleMu")


class Menus(NamedTuple):
    """The list of names of each event (an index into the menus), and its length."""

    lists: dict[str, NDArray[np.int64]]
    counts: dict[str, NDArray[np.uint32]]


def triggers(generator: np.random.Generator, number: int) -> tuple[Menus, dict[str, NDArray[np.int32]]]:
    """Draw names and decisions for ``number`` events."""
    lists: dict[str, Any] = {}
    counts: dict[str, Any] = {}
    decisions: dict[str, Any] = {}
    for level, menus, shares in (("hlt", HLT_MENUS, (0.3, 0.35, 0.3, 0.05)), ("l1", L1_MENUS, (0.5, 0.45, 0.05))):
        menu = generator.choice(len(menus), size=number, p=shares)
        chance = np.zeros((len(menus), max(map(len, menus))))
        for row, names in enumerate(menus):
            chance[row, : len(names)] = [0.85 if name.startswith(_SELECTING) else 0.3 for name in names]
        fired = generator.random((number, chance.shape[1])) < chance[menu]
        lengths = np.array([len(names) for names in menus])[menu]
        exists = np.arange(chance.shape[1]) < lengths[:, np.newaxis]
        lists[f"Trigger_{level}name"] = menu
        counts[level] = lengths.astype(np.uint32)
        decisions[f"Trigger_{level}decision"] = fired[exists].astype(np.int32)
    return Menus(lists, counts), decisions


def crystal_ball(uniform: Floats, alpha: float, n: float) -> Floats:
    """Convert uniform numbers in 0..1 to a Crystal Ball distribution of mean 0, width 1 and a tail on the left.

    Definition: J. E. Gaiser, SLAC-R-255 (1982), appendix F.
    """
    from scipy.special import ndtr, ndtri

    core = np.sqrt(2 * np.pi) * ndtr(alpha)
    tail = n / alpha / (n - 1) * np.exp(-(alpha**2) / 2)
    share = tail / (tail + core)
    below = np.maximum(uniform / share, 1e-12)
    above = (uniform - share) / (1 - share)
    left = n / alpha - alpha - n / alpha * np.minimum(below, 1) ** (-1 / (n - 1))
    right = ndtri(np.clip(ndtr(-alpha) + np.maximum(above, 0) * ndtr(alpha), 0, 1 - 1e-15))
    return np.where(uniform < share, left, right)


def momenta(pt: Floats, eta: Floats, phi: Floats) -> Floats:
    """Return the three components of momenta."""
    return np.stack([pt * np.cos(phi), pt * np.sin(phi), pt * np.sinh(eta)])


def polar(momentum: Floats) -> tuple[Floats, Floats, Floats]:
    """Return transverse momentum, pseudorapidity and azimuth of momenta."""
    pt = np.hypot(momentum[0], momentum[1])
    return pt, np.arcsinh(momentum[2] / pt), np.arctan2(momentum[1], momentum[0])


def two_body(
    parent: Floats, mass: Floats, first: Floats | float, second: Floats | float, cos_theta: Floats, azimuth: Floats
) -> tuple[Floats, Floats]:
    """Return the momenta of the two daughters of decaying particles.

    Parameters
    ----------
    parent, mass
        Momenta (three components) and masses of the particles.
    first, second
        Masses of the daughters.
    cos_theta, azimuth
        Direction of the first daughter in the particle's rest frame, with the axes of the laboratory frame.
    """
    energy = np.sqrt(mass**2 + (parent**2).sum(axis=0))
    inside = (mass**2 - (first + second) ** 2) * (mass**2 - (first - second) ** 2)
    momentum = np.sqrt(np.maximum(inside, 0)) / (2 * mass)
    sin_theta = np.sqrt(1 - cos_theta**2)
    at_rest = momentum * np.stack([sin_theta * np.cos(azimuth), sin_theta * np.sin(azimuth), cos_theta])
    along = (parent * at_rest).sum(axis=0) / (mass * (energy + mass)) + np.sqrt(first**2 + momentum**2) / mass
    daughter = at_rest + along * parent
    return daughter, parent - daughter
