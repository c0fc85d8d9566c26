"""The nodes at which a mixture has its components: points of a low-discrepancy sequence."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.special import ndtri

from cde_app.arrays import Array, IndexArray

LEAST_LEVEL = 1e-6
"""A density's tails are followed down to this probability."""


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


def split_outermost(nodes: Array, axes: Sequence[int]) -> tuple[Array, Array]:
    """Split the outermost nodes of some coordinates, so that the tails are as fine as the middle; return weights too.

    Of C points of equal weight the outermost stands for all beyond the level 1 / C, where a density's tails are. It
    becomes several, at the middle levels of (1 / (4 C), 1 / C), (1 / (16 C), 1 / (4 C)) and so on down to
    `LEAST_LEVEL`; its other coordinates stay.

    Args:
        nodes: [C, d], standard normal quantiles of points in the unit cube, evenly spread along each coordinate.
        axes: the coordinates.

    Returns:
        The nodes [C', d] and their weights [C'], which sum to one.
    """
    num_nodes = len(nodes)
    weights = np.full(num_nodes, 1.0 / num_nodes)
    edges = [1.0 / num_nodes]
    while edges[-1] > LEAST_LEVEL:
        edges.append(0.25 * edges[-1])
    edges[-1] = 0.0
    shares = -np.diff(edges) * num_nodes
    middles = ndtri(0.5 * (np.array(edges[:-1]) + edges[1:]))
    for axis in axes if num_nodes > 1 else ():
        for sign in (1.0, -1.0):
            place = int(np.argmin(sign * nodes[:, axis]))
            copies = np.repeat(nodes[place, None], len(shares), axis=0)
            copies[:, axis] = sign * middles
            nodes = np.concatenate([np.delete(nodes, place, axis=0), copies])
            weights = np.concatenate([np.delete(weights, place), weights[place] * shares])
    return nodes, weights


def in_boxes(points: Array, axis: int = 0) -> IndexArray:
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
