"""Select events with two muons of opposite charge, and compute their mass."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import awkward as ak
import numpy as np


def select(events: ak.Array) -> ak.Array:
    """Select the events with exactly two muons of opposite charge.

    Returns
    -------
    awkward.Array
        One record per selected event: ``index`` (its position in ``events``), ``first`` and ``second`` (its muons in
        the file's order: ``pt``, ``eta``, ``phi``, ``mass`` in double precision, and ``charge``) and ``mass`` (of the
        pair, in GeV).
    """
    two = ak.num(events.Muon) == 2
    pairs = events.Muon[two]
    first, second = pairs[:, 0], pairs[:, 1]
    opposite = first.charge * second.charge < 0
    first, second = _columns(first[opposite]), _columns(second[opposite])
    return ak.zip(
        {
            "index": np.flatnonzero(two)[opposite],
            "first": ak.zip(first, with_name="Momentum4D"),
            "second": ak.zip(second, with_name="Momentum4D"),
            "mass": pair_mass(first, second),
        },
        depth_limit=1,
    )


def _columns(muons: ak.Array) -> dict[str, np.ndarray]:
    momentum = {name: np.asarray(muons[name], dtype=np.float64) for name in ("pt", "eta", "phi", "mass")}
    return {**momentum, "charge": np.asarray(muons.charge)}


def pair_mass(first: Mapping[str, Any], second: Mapping[str, Any]) -> Any:
    r"""Return the invariant mass of two particles in GeV, without loss of precision for collinear pairs.

    :math:`m^2 = E^2 - p^2` is the small difference of two large numbers. In single precision, as NanoAOD stores its
    branches, the mass of an omega meson of pt 50 GeV at eta 2 is wrong by 0.3 % in the median, and by 2 % (three bins
    of the spectrum) for one pair in a thousand. Here, :math:`m^2` is a sum of positive terms, so that nothing cancels:

    .. math:: m^2 = m_1^2 + m_2^2 + 2 (E_1 E_2 - p_1 p_2) + 2 (p_1 p_2 - \vec p_1 \cdot \vec p_2)

    The first bracket is computed as :math:`(E_1^2 E_2^2 - p_1^2 p_2^2) / (E_1 E_2 + p_1 p_2)`, and twice the second as
    :math:`2 p_{T1} p_{T2} (\sinh^2 \tfrac{\Delta\eta}{2} + \sin^2 \tfrac{\Delta\phi}{2})`.

    Parameters
    ----------
    first, second
        ``pt`` and ``mass`` in GeV, ``eta``, ``phi`` in rad.
    """
    p1, p2 = first["pt"] * np.cosh(first["eta"]), second["pt"] * np.cosh(second["eta"])
    m1_squared, m2_squared = first["mass"] ** 2, second["mass"] ** 2
    mixed = m1_squared * p2**2 + m2_squared * p1**2 + m1_squared * m2_squared
    energies = np.sqrt((p1**2 + m1_squared) * (p2**2 + m2_squared))
    half_eta, half_phi = (first["eta"] - second["eta"]) / 2, (first["phi"] - second["phi"]) / 2
    angle = 2 * first["pt"] * second["pt"] * (np.sinh(half_eta) ** 2 + np.sin(half_phi) ** 2)
    return np.sqrt(m1_squared + m2_squared + 2 * (mixed / (energies + p1 * p2) + angle))
