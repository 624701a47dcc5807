"""Quantiles of the Crystal Ball distribution with two equal tails."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np

from af_kit.corrections.columns import Column

__all__ = ["CrystalBall"]

_SQRT_2PI = math.sqrt(2 * math.pi)


class CrystalBall(NamedTuple):
    """Distributions of mean 0 and width 1: Gaussian in ``|x| < beta``, falling with a power beyond.

    With ``t = power / beta``, the distribution function in the lower tail is
    ``tail / area ((t - beta - x) / t)^(1 - power)``, where ``tail = exp(-beta^2 / 2) t / (power - 1)`` is the area of
    one tail and ``area`` that of the whole; in the core it is linear in that of the Gaussian. The upper half mirrors
    the lower one.
    """

    beta: Column
    t: Column
    exponent: Column
    """-1 / (power - 1)"""
    tail: Column
    area: Column
    below: Column
    """The Gaussian's distribution function at -beta."""

    @classmethod
    def of(cls, beta: Column, power: Column) -> CrystalBall:
        """Return distributions whose tails start at ``beta`` (> 0) and fall with ``power`` (> 1), in arrays."""
        from scipy.special import ndtr

        t = power / beta
        tail = np.exp(-0.5 * beta * beta) * t / (power - 1.0)
        below = ndtr(-beta)
        return cls(beta, t, -1.0 / (power - 1.0), tail, 2.0 * tail + _SQRT_2PI * (1.0 - 2.0 * below), below)

    def at(self, rows: Any, columns: slice) -> CrystalBall:
        """Return a selection of distributions, if they are (row, column)."""
        return CrystalBall(*(array[:, columns].take(rows, axis=0) for array in self))

    def quantile(self, probability: Any) -> Column:
        """Return the values below which a variable is with this probability, in (0, 1)."""
        from scipy.special import ndtri

        lower = np.minimum(probability, 1.0 - probability) * self.area
        in_tail = lower < self.tail
        quantile: Column = (lower - self.tail) / _SQRT_2PI
        quantile += self.below
        # in the tail the Gaussian's argument has no meaning; its quantile is replaced below
        np.clip(quantile, 1e-300, 0.5, out=quantile)
        ndtri(quantile, out=quantile)
        if in_tail.any():
            t, tail = self.t[in_tail], self.tail[in_tail]
            quantile[in_tail] = t * (1.0 - (lower[in_tail] / tail) ** self.exponent[in_tail]) - self.beta[in_tail]
        return np.where(probability < 0.5, quantile, -quantile)
