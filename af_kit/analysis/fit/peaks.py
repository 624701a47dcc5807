"""The double-sided Crystal Ball in numpy: without the seconds that its compilation takes in each process."""

from __future__ import annotations

import numpy as np


def double_crystal_ball_pdf(x: np.ndarray, low: float, high: float, *parameters: float) -> np.ndarray:
    """Return a Gaussian with its own width and power-law tail on each side, normalised on the range.

    ``parameters`` are alpha, n and width below the mean, the same above it, and the mean. The tail of a side begins
    alpha widths from the mean, and falls with the power n > 0 of the distance.
    """
    t, alpha, n, _ = _side(x, parameters)
    distance = np.maximum(t - alpha, 0)
    density = np.exp(-(np.minimum(t, alpha) ** 2) / 2) * (1 + alpha / n * distance) ** -n
    ends = _integral(np.array([low, high]), parameters)
    result: np.ndarray = density / (ends[1] - ends[0])
    return result


def double_crystal_ball_cdf(x: np.ndarray, low: float, high: float, *parameters: float) -> np.ndarray:
    """Return the integral of :func:`double_crystal_ball_pdf` from ``low``."""
    integral = _integral(np.append(x, [low, high]), parameters)
    result: np.ndarray = (integral[:-2] - integral[-2]) / (integral[-1] - integral[-2])
    return result


def _side(x: np.ndarray, parameters: tuple[float, ...]) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return the distance from the mean in widths, and alpha, n and width of the side."""
    mean = parameters[6]
    above = np.asarray(x) >= mean
    alpha, n, width = (np.where(above, parameters[i + 3], parameters[i]) for i in range(3))
    return np.abs(x - mean) / width, alpha, n, width


def _integral(x: np.ndarray, parameters: tuple[float, ...]) -> np.ndarray:
    """Return the integral of the function with maximum 1 from the mean to ``x``, negative below the mean."""
    from scipy.special import erf, exprel

    t, alpha, n, width = _side(x, parameters)
    core = np.sqrt(np.pi / 2) * erf(np.minimum(t, alpha) / np.sqrt(2))
    logarithm = np.log(1 + alpha / n * np.maximum(t - alpha, 0))
    tail = np.exp(-(alpha**2) / 2) * n / alpha * logarithm * exprel((1 - n) * logarithm)
    result: np.ndarray = np.sign(x - parameters[6]) * width * (core + tail)
    return result
