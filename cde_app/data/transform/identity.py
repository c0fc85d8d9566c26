"""No transform but the standardisation."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from cde_app.data.transform.target_transform import FloatArray, TargetTransform


@dataclass(frozen=True)
class Identity(TargetTransform):
    """T(y) = y."""

    kind = "identity"
    is_affine = True
    auto_may_choose = True

    def _value(self, y: FloatArray) -> FloatArray:
        return y

    def _inverse_value(self, u: FloatArray) -> FloatArray:
        return u

    def _log_slope(self, y: FloatArray) -> FloatArray:
        return 0.0 * np.where(np.isinf(y), 0.0, y)  # NaN stays NaN

    def normal_moments(self, means: FloatArray, variances: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Return mean and variance of a normal."""
        return self.location + self.scale * means, self.scale**2 * variances
