"""Where values lie and how widely: of features, and of targets behind their transform."""

from __future__ import annotations

import math

import numpy as np

from cde_app.arrays import Array

NORMAL_WIDTH = 3.29
"""Of the central 90 % of a normal, in standard deviations."""
HEAVY = 2.5
"""By how many times its standard deviation exceeds that of its central 90 % where outliers make the former."""


def robust_location_and_scale(u: Array) -> tuple[float, float]:
    """Return mean and standard deviation, or, where a few rows make them, median and width of the central 90 %.

    A value of 1e9 among some hundred of about one would else leave all others the same to twelve digits.

    Args:
        u: [N].
    """
    (mean, deviation), (low, middle, high) = mean_and_sd(u), np.quantile(u, [0.05, 0.5, 0.95])
    width = float(high - low) / NORMAL_WIDTH
    if width > 0 and deviation > HEAVY * width:
        return float(middle), width
    return mean, deviation


def mean_and_sd(values: Array) -> tuple[float, float]:
    """Return the mean and the standard deviation of values [N]; it is above 0 wherever two of them differ.

    They are divided by a power of two meanwhile, which rounds nothing, so that no unit makes a square vanish.
    """
    _, exponent = math.frexp(float(np.max(np.abs(values))))
    scaled = np.ldexp(values, -exponent)
    return math.ldexp(float(np.mean(scaled)), exponent), math.ldexp(float(np.std(scaled)), exponent)
