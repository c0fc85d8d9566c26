"""No transform except the standardisation."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from cde_app.arrays import Array
from cde_app.targets.transform import TargetTransform


@dataclass(frozen=True)
class Identity(TargetTransform):
    """T(y) = y."""

    kind = "identity"
    is_affine = True
    auto_may_choose = True

    def _value(self, y: Array) -> Array:
        return y

    def _inverse_value(self, u: Array) -> Array:
        return u

    def _log_slope(self, y: Array) -> Array:
        return 0.0 * np.where(np.isinf(y), 0.0, y)  # NaN stays NaN

    def normal_moments(self, means: Array, variances: Array) -> tuple[Array, Array]:
        """Return mean and variance of a normal."""
        return self.location + self.scale * means, self.scale**2 * variances
