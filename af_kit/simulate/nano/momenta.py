"""Four-momenta as arrays of shape (4, objects): px, py, pz, E in GeV."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


def momentum(pt: Any, eta: Any, phi: Any, mass: Any) -> Floats:
    """Return four-momenta from transverse momentum, pseudorapidity, azimuth and mass."""
    px, py, pz = pt * np.cos(phi), pt * np.sin(phi), pt * np.sinh(eta)
    return np.stack([px, py, pz, np.sqrt(px**2 + py**2 + pz**2 + np.square(mass))])


def from_rapidity(px: Floats, py: Floats, rapidity: Floats, mass: Floats) -> Floats:
    """Return four-momenta from transverse momentum, rapidity and mass."""
    transverse = np.sqrt(px**2 + py**2 + mass**2)
    return np.stack([px, py, transverse * np.sinh(rapidity), transverse * np.cosh(rapidity)])


def mass_of(p: Floats) -> Floats:
    """Return the invariant masses."""
    return np.sqrt(np.maximum(p[3] ** 2 - p[0] ** 2 - p[1] ** 2 - p[2] ** 2, 0))


def coordinates(p: Floats) -> dict[str, Floats]:
    """Return the columns pt, eta and phi."""
    pt = np.maximum(np.hypot(p[0], p[1]), 1e-6)
    return {"pt": pt, "eta": np.arcsinh(p[2] / pt), "phi": np.arctan2(p[1], p[0])}


def wrapped(angle: Floats) -> Floats:
    """Return the same angles between -pi and pi."""
    return (angle + np.pi) % (2 * np.pi) - np.pi


def two_body(
    parent: Floats, masses: tuple[Any, Any], cos_theta: Floats, azimuth: Floats, *, is_along: bool = False
) -> tuple[Floats, Floats]:
    """Decay each particle to two.

    Parameters
    ----------
    parent : array
        Four-momenta in the laboratory frame.
    masses : pair of arrays or numbers
        Masses of the products; their sum is below the parent's mass, else the products are at rest in its frame.
    cos_theta, azimuth : array
        Direction of the first product in the parent's rest frame, with the axes of the laboratory frame.
    is_along : bool
        The polar axis is the direction in which the parent moves, not the beam.

    Returns
    -------
    two arrays
        The products in the laboratory frame; their sum is the parent.
    """
    mass = np.maximum(mass_of(parent), 1e-9)
    first, second = masses
    squared = (mass**2 - (first + second) ** 2) * (mass**2 - (first - second) ** 2)
    size = np.sqrt(np.maximum(squared, 0)) / (2 * mass)
    sin_theta = np.sqrt(1 - cos_theta**2)
    at_rest = np.stack([sin_theta * np.cos(azimuth), sin_theta * np.sin(azimuth), cos_theta])
    if is_along:
        axis = parent[:3] / np.maximum(np.sqrt((parent[:3] ** 2).sum(axis=0)), 1e-9)
        # Any vector that is not along the axis gives the other two axes.
        other = np.where(np.abs(axis[2]) < 0.9, np.array([[0.0], [0.0], [1.0]]), np.array([[1.0], [0.0], [0.0]]))
        across = np.cross(axis, other, axis=0)
        across /= np.sqrt((across**2).sum(axis=0))
        at_rest = at_rest[0] * np.cross(across, axis, axis=0) + at_rest[1] * across + at_rest[2] * axis
    at_rest = size * at_rest
    energy = np.sqrt(size**2 + np.square(first))
    # Lorentz boost with the parent's velocity.
    along = (parent[:3] * at_rest).sum(axis=0) / mass
    momentum = at_rest + parent[:3] / mass * (energy + along / (parent[3] / mass + 1))
    product = np.concatenate([momentum, [parent[3] / mass * energy + along]])
    return product, parent - product


def z_angles(generator: np.random.Generator, size: int) -> tuple[Floats, Floats]:
    """Draw polar angle, with the density 3/8 (1 + cos^2) of a transversely polarised boson, and azimuth."""
    uniform = generator.uniform(-1, 1, size)
    cos_theta = np.where(generator.random(size) < 0.75, uniform, np.cbrt(uniform))
    return cos_theta, generator.uniform(-np.pi, np.pi, size)


def isotropic(generator: np.random.Generator, size: int) -> tuple[Floats, Floats]:
    """Draw polar angle and azimuth."""
    return generator.uniform(-1, 1, size), generator.uniform(-np.pi, np.pi, size)
