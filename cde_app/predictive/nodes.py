"""The nodes of a mixture, one per component: points of a low-discrepancy sequence."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.special import ndtri

from cde_app.arrays import Array, IndexArray

LEAST_LEVEL = 1e-6
"""Tails of a density are resolved down to this probability."""


def gaussian_nodes(num_nodes: int, dim: int, *, seed: int) -> Array:
    """Return the standard normal quantiles of a scrambled Sobol sequence, [num_nodes, dim].

    Source: Owen (1998), "Scrambling Sobol' and Niederreiter-Xing points".
    """
    return ndtri(uniform_nodes(num_nodes, dim, seed=seed))


def uniform_nodes(num_nodes: int, dim: int, *, seed: int) -> Array:
    """Return the points of a scrambled Sobol sequence, strictly inside (0, 1), [num_nodes, dim]."""
    if dim == 0:
        return np.zeros((num_nodes, 0))
    from scipy.stats import qmc  # takes a second to load; no prediction needs it, but for a later target that is given

    sequence = qmc.Sobol(dim, scramble=True, rng=np.random.default_rng(seed))
    uniforms = sequence.random(1 << (num_nodes - 1).bit_length())[:num_nodes]
    return np.clip(uniforms, 1e-12, 1 - 1e-12)


def split_outermost(nodes: Array, axes: Sequence[int]) -> tuple[Array, Array]:
    """Split the outermost nodes of some coordinates to resolve the tails as finely as the middle.

    Of C points with equal weight, the outermost represents everything beyond the level 1 / C, where a density's tails
    are. It is split into several points, at the middle levels of (1 / (4 C), 1 / C), (1 / (16 C), 1 / (4 C)) and so on
    down to `LEAST_LEVEL`; its other coordinates stay.

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
            outermost = int(np.argmin(sign * nodes[:, axis]))
            copies = np.repeat(nodes[outermost, None], len(shares), axis=0)
            copies[:, axis] = sign * middles
            nodes = np.concatenate([np.delete(nodes, outermost, axis=0), copies])
            weights = np.concatenate([np.delete(weights, outermost), weights[outermost] * shares])
    return nodes, weights


def in_boxes(points: Array, axis: int = 0) -> IndexArray:
    """Return an order of points in which each half, quarter, eighth ... fills a box; in one dimension, sort them.

    The points are halved at the median of each coordinate in turn. Low-discrepancy numbers that select positions in
    this order then cover the points as evenly as the unit interval.

    Args:
        points: [C, d], d >= 0; without coordinates they keep their order.
        axis: the first coordinate.
    """
    num_points, dim = points.shape
    if dim == 0:
        return np.arange(num_points)
    order = np.argsort(points[:, axis], kind="stable")
    if dim == 1 or num_points < 4:
        return order
    halves = order[: num_points // 2], order[num_points // 2 :]
    return np.concatenate([half[in_boxes(points[half], (axis + 1) % dim)] for half in halves])
