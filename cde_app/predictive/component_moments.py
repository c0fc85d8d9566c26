"""Moments of Gaussian components behind a transform, in the user's units: closed forms or Gauss-Hermite quadrature.

Letters: n rows, C components.
"""

from __future__ import annotations

from math import factorial
from typing import TYPE_CHECKING

import numpy as np

from cde_app.arrays import Array
from cde_app.gp.quadrature import HERMITE_NODES, HERMITE_WEIGHTS

if TYPE_CHECKING:
    from cde_app.targets import TargetTransform


HERMITE_DEGREE = 16


def component_moments(means: Array, variances: Array, transform: TargetTransform) -> tuple[Array, Array]:
    """Return the means and variances of one target's components in the user's units.

    Gauss-Hermite quadrature is used if the transform has no closed form.

    Args:
        means: [n, C], standardised.
        variances: [n, C], standardised.
        transform: from the user's units to standardised.

    Returns:
        Two [n, C].
    """
    exact = transform.normal_moments(means, variances)
    if exact is not None:
        return exact
    values = _hermite_values(means, variances, transform)
    mean = values @ HERMITE_WEIGHTS
    return mean, (values - mean[:, :, None]) ** 2 @ HERMITE_WEIGHTS


def hermite_coefficients(means: Array, variances: Array, transform: TargetTransform) -> Array:
    """Return E[g(m + sd u) He_k(u)] / sqrt(k!) for k = 1 ... 16 and the inverse transform g, [n, C, 16]."""
    norms = np.sqrt([float(factorial(k)) for k in range(HERMITE_DEGREE + 1)])
    basis = HERMITE_WEIGHTS[:, None] * np.polynomial.hermite_e.hermevander(HERMITE_NODES, HERMITE_DEGREE) / norms
    return _hermite_values(means, variances, transform) @ basis[:, 1:]


def _hermite_values(means: Array, variances: Array, transform: TargetTransform) -> Array:
    """Return the values of one target at the components' Gauss-Hermite nodes, [n, C, 32], the user's units."""
    return transform.inverse(means[:, :, None] + np.sqrt(variances)[:, :, None] * HERMITE_NODES)
