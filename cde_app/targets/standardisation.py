"""Location and scale of features and of transformed targets."""

from __future__ import annotations

import math

import numpy as np

from cde_app.arrays import Array

NORMAL_WIDTH = 3.29
"""Width of the central 90 % of a normal distribution, in standard deviations."""
HEAVY = 2.5
"""If the standard deviation is larger than that of the central 90 % by this factor, it is due to outliers."""


def robust_location_and_scale(u: Array) -> tuple[float, float]:
    """Return mean and standard deviation or, if a few rows dominate them, median and width of the central 90 %.

    Otherwise a value of 1e9 among a hundred values near one would make all others equal to twelve digits.

    Args:
        u: [N].
    """
    (mean, deviation), (low, middle, high) = mean_and_sd(u), np.quantile(u, [0.05, 0.5, 0.95])
    width = float(high - low) / NORMAL_WIDTH
    if width > 0 and deviation > HEAVY * width:
        return float(middle), width
    return mean, deviation


def sample_sds(values: Array) -> Array:
    """Return the sample standard deviations of the columns of values [N, P]; [P], above 0 if any two values differ."""
    _, exponents = np.frexp(np.max(np.abs(values), axis=0))
    return np.ldexp(np.ldexp(values, -exponents).std(0, ddof=1), exponents)


def mean_and_sd(values: Array) -> tuple[float, float]:
    """Return the mean and the standard deviation of values [N]; the latter is above 0 if any two values differ.

    The values are scaled by a power of two, which is exact, so that their squares do not underflow in any unit.
    """
    _, exponent = math.frexp(float(np.max(np.abs(values))))
    scaled = np.ldexp(values, -exponent)
    return math.ldexp(float(np.mean(scaled)), exponent), math.ldexp(float(np.std(scaled)), exponent)
