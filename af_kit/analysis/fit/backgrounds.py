"""Shapes of a smooth background: densities on a range and their integrals, as :mod:`af_kit.analysis.fit.shapes` takes.

A polynomial that falls below zero is zero there. A fit that ends like this is not valid
(:func:`af_kit.analysis.fit.simultaneous.fit_simultaneous`).
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence

import numpy as np

Function = Callable[..., np.ndarray]
Parts = tuple[Function, Function, tuple[str, ...]]

# Mass and width of the Z [GeV]: R. L. Workman et al. (Particle Data Group), PTEP 2022, 083C01; the mass to the 0.1 GeV
# that the functions need.
_Z_MASS, _Z_WIDTH = 91.2, 2.5
# Where slopes are defined: 130 GeV, in units of 100 GeV.
_Y0 = 1.3

# Gauss-Legendre quadrature: points per panel, panels per range. On 110 to 150 GeV, and on any other range that ends
# 1 GeV or more above the mass of the Z, integrals are accurate to 1e-12.
_POINTS, _PANELS = 5, 32


@functools.cache
def _nodes() -> tuple[np.ndarray, np.ndarray]:
    """Return positions between 0 and 1 and their weights."""
    positions, weights = np.polynomial.legendre.leggauss(_POINTS)
    return (positions + 1) / 2, weights / 2


def _integrated(function: Function) -> tuple[Function, Function]:
    """Normalise ``function(x, *parameters)`` by quadrature; it must be positive and smooth on the range."""

    def below(edges: np.ndarray, parameters: Sequence[float]) -> np.ndarray:
        """Return the integral from the first edge to each."""
        return np.append(0, np.cumsum(_pieces(function, edges[:-1], edges[1:], parameters)))

    def pdf(x: np.ndarray, low: float, high: float, *parameters: float) -> np.ndarray:
        density: np.ndarray = function(x, *parameters) / below(_panels(low, high), parameters)[-1]
        return density

    def cdf(x: np.ndarray, low: float, high: float, *parameters: float) -> np.ndarray:
        if _are_edges(x, low, high):
            integrals = below(x, parameters)
            return integrals / integrals[-1]
        edges = _panels(low, high)
        integrals = below(edges, parameters)
        panel = np.clip(np.searchsorted(edges, x, side="right") - 1, 0, _PANELS - 1)
        integral: np.ndarray = (integrals[panel] + _pieces(function, edges[panel], x, parameters)) / integrals[-1]
        return integral

    return pdf, cdf


def _panels(low: float, high: float) -> np.ndarray:
    return np.linspace(low, high, _PANELS + 1)


def _are_edges(x: np.ndarray, low: float, high: float) -> bool:
    """Return whether ``x`` are the edges of bins of the whole range that are as narrow as panels."""
    if len(x) <= _PANELS or x[0] != low or x[-1] != high:
        return False
    widths = np.diff(x)
    return bool(widths.min() >= 0 and widths.max() <= (high - low) / _PANELS)


def _pieces(function: Function, start: np.ndarray, stop: np.ndarray, parameters: Sequence[float]) -> np.ndarray:
    """Return the integral over each interval."""
    positions, weights = _nodes()
    width = stop - start
    points = start[:, None] + width[:, None] * positions
    integral: np.ndarray = width * (function(points.ravel(), *parameters).reshape(points.shape) @ weights)
    return integral


def _bwz_redux(x: np.ndarray, power: float, slope: float, curvature: float) -> np.ndarray:
    r"""Return :math:`e^{a_2 y + a_3 y^2} / (|m - m_Z|^{a_1} + (\Gamma_Z/2)^{a_1})`, with y = m / 100 GeV.

    A. M. Sirunyan et al. (CMS), JHEP 01 (2021) 148. The data hardly tell its a1, a2 and a3 apart: their
    correlation matrix is singular within rounding. The parameters of the same function, up to a factor, are therefore
    the power a1, and the first derivative and half the second of the logarithm at 130 GeV (without the width of the Z);
    :func:`bwz_redux_constants` converts them.
    """
    t, d = x / 100 - _Y0, _Y0 - _Z_MASS / 100
    distance = np.abs(x - _Z_MASS)
    exponent = t * (slope + power / d + t * (curvature - power / (2 * d * d)))
    value: np.ndarray = np.exp(exponent) / (distance**power + (_Z_WIDTH / 2) ** power)
    return value


def bwz_redux_constants(power: float, slope: float, curvature: float) -> tuple[float, float, float]:
    """Return a1, a2 and a3 of the published formula, from the parameters of the shape ``bwz_redux``."""
    d = _Y0 - _Z_MASS / 100
    a3 = curvature - power / (2 * d * d)
    return power, slope + power / d - 2 * _Y0 * a3, a3


def _breit_wigner(x: np.ndarray) -> np.ndarray:
    density: np.ndarray = 1 / ((x - _Z_MASS) ** 2 + _Z_WIDTH**2 / 4)
    return density


def _bwz_exponential(x: np.ndarray, slope: float) -> np.ndarray:
    """The tail of the Z times an exponential."""
    value: np.ndarray = np.exp(slope * (x / 100 - _Y0)) * _breit_wigner(x)
    return value


def _bwz_photon(x: np.ndarray, slope: float, fraction: float) -> np.ndarray:
    """The tail of the Z and 1/m^2 of the photon, mixed, times an exponential.

    ``fraction`` is the share of the Z at 125 GeV, without the exponential.
    """
    z = _breit_wigner(x) / _breit_wigner(np.array(125.0))
    value: np.ndarray = np.exp(slope * (x / 100 - _Y0)) * (fraction * z + (1 - fraction) * (125.0 / x) ** 2)
    return value


def _fractions(parameters: Sequence[float]) -> list[float]:
    """Return the fractions of a sum: each parameter is the share of what the terms before it leave."""
    left, fractions = 1.0, []
    for share in parameters:
        fractions.append(left * share)
        left *= 1 - share
    return [*fractions, left]


def _sum_of(pdf: Function, cdf: Function, name: str, number: int) -> Parts:
    """Return the sum of ``number`` shapes with one parameter each; the parameters are these, then the fractions."""

    def summed(one: Function) -> Function:
        def function(x: np.ndarray, low: float, high: float, *parameters: float) -> np.ndarray:
            total = np.zeros(np.shape(x))
            for own, fraction in zip(parameters[:number], _fractions(parameters[number:]), strict=True):
                total += fraction * one(x, low, high, own)
            return total

        return function

    names = [name] if number == 1 else [f"{name}{i}" for i in range(1, number + 1)]
    fractions = ["fraction"] if number == 2 else [f"fraction{i}" for i in range(1, number)]
    return summed(pdf), summed(cdf), (*names, *fractions)


def _exponential_pdf(x: np.ndarray, low: float, high: float, slope: float) -> np.ndarray:
    if abs(slope * (high - low)) < 1e-9:
        return np.full(np.shape(x), 1 / (high - low))
    density: np.ndarray = slope * np.exp(slope * (x - low)) / np.expm1(slope * (high - low))
    return density


def _exponential_cdf(x: np.ndarray, low: float, high: float, slope: float) -> np.ndarray:
    if abs(slope * (high - low)) < 1e-9:
        return (x - low) / (high - low)
    integral: np.ndarray = np.expm1(slope * (x - low)) / np.expm1(slope * (high - low))
    return integral


def _power_pdf(x: np.ndarray, low: float, high: float, power: float) -> np.ndarray:
    """m^power: an exponential in log m."""
    density: np.ndarray = _exponential_pdf(np.log(x), np.log(low), np.log(high), power + 1) / x
    return density


def _power_cdf(x: np.ndarray, low: float, high: float, power: float) -> np.ndarray:
    return _exponential_cdf(np.log(x), np.log(low), np.log(high), power + 1)


def _polynomial(basis: Callable[[int], np.ndarray], order: int, first: int) -> Parts:
    """Return a polynomial whose coefficient of the first basis function is 1.

    ``basis(order)`` are the basis functions, as coefficients of powers of the position t (0 to 1) in the range.
    """
    table = basis(order)

    def coefficients(parameters: Sequence[float]) -> np.ndarray:
        """Return the coefficients of powers of t, normalised to an integral of 1."""
        sums: np.ndarray = np.array([1.0, *parameters]) @ table
        return sums / np.sum(sums / np.arange(1, order + 2))

    def is_positive(powers: np.ndarray) -> bool:
        return bool(np.polynomial.polynomial.polyval(_GRID, powers).min() >= 0)

    def clipped(powers: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the positive part on a grid, and its integral from the lower end."""
        value = np.maximum(np.polynomial.polynomial.polyval(_GRID, powers), 0)
        integral = np.append(0, np.cumsum((value[1:] + value[:-1]) / 2)) / (_GRID.size - 1)
        return value / integral[-1], integral / integral[-1]

    def pdf(x: np.ndarray, low: float, high: float, *parameters: float) -> np.ndarray:
        t, powers = (x - low) / (high - low), coefficients(parameters)
        value = np.polynomial.polynomial.polyval(t, powers) if is_positive(powers) else None
        density: np.ndarray = (np.interp(t, _GRID, clipped(powers)[0]) if value is None else value) / (high - low)
        return density

    def cdf(x: np.ndarray, low: float, high: float, *parameters: float) -> np.ndarray:
        t, powers = (x - low) / (high - low), coefficients(parameters)
        if not is_positive(powers):
            return np.interp(t, _GRID, clipped(powers)[1])
        integral: np.ndarray = t * np.polynomial.polynomial.polyval(t, powers / np.arange(1, order + 2))
        return integral

    return pdf, cdf, tuple(f"c{i}" for i in range(first, order + 1))


_GRID = np.linspace(0, 1, 401)


def _bernstein(order: int) -> np.ndarray:
    from math import comb

    table = np.zeros((order + 1, order + 1))
    for k in range(order + 1):
        for j in range(k, order + 1):
            table[k, j] = comb(order, k) * comb(order - k, j - k) * (-1) ** (j - k)
    return table


def _chebyshev(order: int) -> np.ndarray:
    table = np.zeros((order + 1, order + 1))
    for k in range(order + 1):
        powers = np.polynomial.Chebyshev.basis(k, domain=[0, 1]).convert(kind=np.polynomial.Polynomial)
        table[k, : k + 1] = powers.coef
    return table


BACKGROUNDS: dict[str, Parts] = {
    # exp(slope * x); a slope of zero is a constant
    "exponential": (_exponential_pdf, _exponential_cdf, ("slope",)),
    "bwz_redux": (*_integrated(_bwz_redux), ("power", "slope", "curvature")),
    "bwz_exponential": (*_integrated(_bwz_exponential), ("slope",)),
    "bwz_photon": (*_integrated(_bwz_photon), ("slope", "fraction")),
    **{f"exponentials{n}": _sum_of(_exponential_pdf, _exponential_cdf, "slope", n) for n in (2, 3)},
    **{f"powers{n}": _sum_of(_power_pdf, _power_cdf, "power", n) for n in (1, 2)},
    **{f"bernstein{n}": _polynomial(_bernstein, n, 1) for n in (1, 2, 3, 4, 5)},
    **{f"chebyshev{n}": _polynomial(_chebyshev, n, 1) for n in (1, 2, 3, 4, 5)},
}
