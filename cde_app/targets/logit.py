"""The logit, for targets strictly between two bounds that the user knows."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy.special import expit, log_expit

from cde_app.arrays import Array
from cde_app.targets.transform import Domain, TargetTransform


@dataclass(frozen=True)
class Logit(TargetTransform):
    """T(y) = log((y - lower) / (upper - y)).

    `auto` never chooses it, because only the user knows the bounds.

    Args:
        lower, upper: ends of the open interval of possible values [units of the target].
    """

    lower: float
    upper: float

    kind = "logit"

    @classmethod
    def domain(cls, **options: float) -> Domain:
        """Return lower < y < upper."""
        lower, upper = options["lower"], options["upper"]
        return Domain(
            lower,
            upper,
            expected=f"lie strictly between {lower:g} and {upper:g} for its logit transform",
            advice="Widen the bounds, or choose yeo_johnson or identity.",
        )

    def _value(self, y: Array) -> Array:
        below, above = np.maximum(y - self.lower, 0.0), np.maximum(self.upper - y, 0.0)
        with np.errstate(divide="ignore"):
            return np.asarray(np.log(below) - np.log(above))

    def _inverse_value(self, u: Array) -> Array:
        return np.asarray(self.lower + (self.upper - self.lower) * expit(u))

    def _log_slope(self, y: Array) -> Array:
        below, above = y - self.lower, self.upper - y
        with np.errstate(divide="ignore", invalid="ignore"):
            slope = math.log(self.upper - self.lower) - np.log(below) - np.log(above)
        return np.where((below <= 0) | (above <= 0), -np.inf, slope)

    def _log_slope_at(self, u: Array) -> Array:
        return np.asarray(-math.log(self.upper - self.lower) - log_expit(u) - log_expit(-u))
