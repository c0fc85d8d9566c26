"""The logarithm, for positive targets with a long right tail."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from cde_app.arrays import Array
from cde_app.targets.transform import LARGEST_LOG, Domain, TargetTransform


@dataclass(frozen=True)
class Log(TargetTransform):
    """T(y) = log(y + shift).

    Args:
        shift: added before the logarithm [units of the target].
    """

    shift: float

    kind = "log"
    auto_may_choose = True

    @classmethod
    def domain(cls, **options: float) -> Domain:
        """Return y > -shift."""
        lower = 0.0 - options["shift"]
        return Domain(
            lower=lower,
            expected=f"be above {lower:g} for its log transform",
            advice="Raise the shift, or choose yeo_johnson or identity.",
        )

    def _value(self, y: Array) -> Array:
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.where(y + self.shift <= 0, -np.inf, np.log(y + self.shift))

    def _inverse_value(self, u: Array) -> Array:
        return np.asarray(np.exp(np.minimum(u, LARGEST_LOG)) - self.shift)

    def _log_slope(self, y: Array) -> Array:
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.where(y + self.shift <= 0, -np.inf, -np.log(y + self.shift))

    def _log_slope_at(self, u: Array) -> Array:
        return -u

    def normal_moments(self, means: Array, variances: Array) -> tuple[Array, Array]:
        """Return mean and variance of a shifted lognormal."""
        variances = self.scale**2 * variances
        medians = self.location + self.scale * means
        mean = np.exp(np.minimum(medians + 0.5 * variances, LARGEST_LOG)) - self.shift
        with np.errstate(over="ignore"):
            return mean, np.exp(np.minimum(2 * medians + variances, LARGEST_LOG)) * np.expm1(variances)
