"""The Yeo-Johnson power transform, for skewed targets of any sign.

Source: Yeo and Johnson (2000), "A new family of power transformations to improve normality or symmetry".
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from cde_app.arrays import Array
from cde_app.targets.standardisation import mean_and_sd
from cde_app.targets.transform import LARGEST_LOG, TargetTransform

# Between these exponents both branches are unbounded. Outside, the range is bounded, and a normal z would put mass
# where there is no y: the density would not integrate to one.
EXPONENT_BOUNDS = (0.0, 2.0)
_TINY_POWER = 1e-12


@dataclass(frozen=True)
class YeoJohnson(TargetTransform):
    """T(y) = ((1 + t)^exponent - 1) / exponent for t = (y - centre) / spread >= 0, and the mirror image for t < 0.

    The exponent of the mirror image is 2 - exponent.

    Args:
        exponent: the power lambda.
        centre: median of the training targets [units of the target].
        spread: their interquartile range, > 0 [units of the target].

    Source: Yeo and Johnson (2000), eq. 2.1.
    """

    exponent: float
    centre: float
    spread: float

    kind = "yeo_johnson"
    auto_may_choose = True

    @classmethod
    def _parameters(cls, y: Array, **options: float) -> dict[str, float]:
        """Return centre, spread, and the exponent in [0, 2] that maximises the likelihood of a normal T(y).

        y is first centred by its median and divided by its interquartile range, so that the exponent does not depend on
        the units.
        """
        first, centre, third = (float(value) for value in np.quantile(y, [0.25, 0.5, 0.75]))
        _, deviation = mean_and_sd(y)
        spread = third - first if third - first > 1e-3 * deviation else deviation
        return {"exponent": _fit_exponent((y - centre) / spread), "centre": centre, "spread": spread}

    @property
    def bend(self) -> float:
        """The centre, where the branches meet."""
        return self.centre

    def _value(self, y: Array) -> Array:
        return _yeo_johnson((y - self.centre) / self.spread, self.exponent)

    def _inverse_value(self, u: Array) -> Array:
        return self.centre + self.spread * _inverse_yeo_johnson(u, self.exponent)

    def _log_slope(self, y: Array) -> Array:
        t = (y - self.centre) / self.spread
        with np.errstate(invalid="ignore"):
            return (self.exponent - 1) * np.sign(t) * np.log1p(np.abs(t)) - math.log(self.spread)


def _fit_exponent(t: Array) -> float:
    """Maximise the profile log likelihood of the exponent, sum log dT/dt - N/2 log var T (eq. 3.1)."""
    from scipy.optimize import minimize_scalar

    signed_logs = float(np.mean(np.sign(t) * np.log1p(np.abs(t))))

    def loss(exponent: float) -> float:
        return 0.5 * math.log(float(np.var(_yeo_johnson(t, exponent)))) - (exponent - 1) * signed_logs

    found = float(minimize_scalar(loss, bounds=EXPONENT_BOUNDS, method="bounded", options={"xatol": 1e-6}).x)
    return min((found, *EXPONENT_BOUNDS), key=loss)


def _yeo_johnson(t: Array, exponent: float) -> Array:
    """Compute T(t): ((1 + t)^lambda - 1) / lambda for t >= 0, its mirror image with 2 - lambda for t < 0."""
    return np.where(t < 0, -_power(np.maximum(-t, 0), 2 - exponent), _power(np.maximum(t, 0), exponent))


def _inverse_yeo_johnson(u: Array, exponent: float) -> Array:
    """Invert `_yeo_johnson`."""
    return np.where(u < 0, -_inverse_power(np.maximum(-u, 0), 2 - exponent), _inverse_power(np.maximum(u, 0), exponent))


def _power(a: Array, power: float) -> Array:
    """Compute ((1 + a)^power - 1) / power for a >= 0, accurate near power 0, where it is log(1 + a)."""
    logs: Array = np.log1p(a)
    if abs(power) < _TINY_POWER:
        return logs
    with np.errstate(over="ignore"):
        return np.asarray(np.expm1(power * logs) / power)


def _inverse_power(u: Array, power: float) -> Array:
    """Invert `_power` for u >= 0; beyond its range (power < 0) return the value at the edge of the range."""
    if abs(power) < _TINY_POWER:
        logs = u
    else:
        with np.errstate(over="ignore"):
            logs = np.log1p(np.maximum(power * u, -1 + 1e-15)) / power
    return np.asarray(np.expm1(np.minimum(logs, LARGEST_LOG)))
