"""The nodes at which a mixture has its components: points of a low-discrepancy sequence."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy.special import gammaincinv, ndtr, ndtri

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[np.float64]


def gaussian_nodes(num_nodes: int, dim: int, *, seed: int) -> Array:
    """Return the standard normal quantiles of a scrambled Sobol sequence, [num_nodes, dim].

    Source: Owen (1998), "Scrambling Sobol' and Niederreiter-Xing points".
    """
    return ndtri(uniform_nodes(num_nodes, dim, seed=seed))


def uniform_nodes(num_nodes: int, dim: int, *, seed: int) -> Array:
    """Return the points of a scrambled Sobol sequence, strictly inside (0, 1), [num_nodes, dim]."""
    if dim == 0:
        return np.zeros((num_nodes, 0))
    from scipy.stats import qmc  # a second to load, and only the end of a training needs it

    sequence = qmc.Sobol(dim, scramble=True, rng=np.random.default_rng(seed))
    uniforms = sequence.random(1 << (num_nodes - 1).bit_length())[:num_nodes]
    return np.clip(uniforms, 1e-12, 1 - 1e-12)


def student_t_factors(nodes: Array, degrees_of_freedom: float) -> Array:
    """Return 1 / lambda for t = N(0, s^2 / lambda), lambda ~ Gamma(nu / 2, nu / 2), at standard normal nodes."""
    half = 0.5 * degrees_of_freedom
    return half / gammaincinv(half, ndtr(nodes))
