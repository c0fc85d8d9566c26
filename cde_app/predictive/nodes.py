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


def in_boxes(points: Array, axis: int = 0) -> NDArray[np.intp]:
    """Return an order of points in which every half, quarter, eighth ... is a box of them; in one dimension sorted.

    The points are halved at the median of each coordinate in turn. A low-discrepancy number that chooses a place in
    this order covers the points as evenly as it does the unit interval.

    Args:
        points: [C, d], d >= 0; without coordinates they stay as they are.
        axis: the coordinate to begin with.
    """
    num_points, dim = points.shape
    if dim == 0:
        return np.arange(num_points)
    order = np.argsort(points[:, axis], kind="stable")
    if dim == 1 or num_points < 4:
        return order
    halves = order[: num_points // 2], order[num_points // 2 :]
    return np.concatenate([half[in_boxes(points[half], (axis + 1) % dim)] for half in halves])


def student_t_factors(nodes: Array, degrees_of_freedom: float) -> Array:
    """Return 1 / lambda for t = N(0, s^2 / lambda), lambda ~ Gamma(nu / 2, nu / 2), at standard normal nodes."""
    half = 0.5 * degrees_of_freedom
    return half / gammaincinv(half, ndtr(nodes))
