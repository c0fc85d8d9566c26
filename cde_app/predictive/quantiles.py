"""Quantiles of Gaussian mixtures to the last digits, even far in the tails or deep between two modes.

Letters: N rows, C components, L levels.
"""

from __future__ import annotations

import numpy as np
from scipy.special import ndtr, ndtri

from cde_app.arrays import Array
from cde_app.machine.blocks import work_in_blocks
from cde_app.predictive.panels import SMALLEST_LOG
from cde_app.predictive.weights import average, axes_of, of_rows, present

MOST_STEPS = 200
SCORE_TOLERANCE = 1e-13
ROOT_TWO_PI = float(np.sqrt(2 * np.pi))


def mixture_quantiles(weights: Array, means: Array, variances: Array, levels: Array) -> Array:
    """Solve F(y) = level for every row and level.

    Newton's method is applied to the normal score of F, which is a straight line for one component and nearly straight
    in any tail, inside a bracket: the smallest and the largest quantile of the components. A step that leaves the
    bracket or does not halve the error is replaced by bisection. Levels above 1/2 are solved in the upper tail, whose
    small probabilities are more precise.

    Args:
        weights: [C] or [N, C].
        means: [N, C].
        variances: [N, C].
        levels: [L], in (0, 1).

    Returns:
        [L, N].
    """
    some = present(weights)
    weights = weights[..., some]
    quantiles = np.empty((len(levels), len(means)))

    def fill(rows: slice) -> None:
        own, sds = means[rows][:, some], np.sqrt(variances[rows][:, some])
        quantiles[:, rows] = _solve(of_rows(weights, rows), own, sds, levels)

    work_in_blocks(fill, len(means), len(some) * max(1, len(levels)))
    return quantiles


def _solve(weights: Array, means: Array, sds: Array, levels: Array) -> Array:
    """Return the quantiles of a block of rows, [L, N]."""
    num_rows, shape = len(means), (len(levels), len(means))
    sign = np.repeat(np.where(levels > 0.5, -1.0, 1.0), num_rows)
    goal = np.repeat(ndtri(np.minimum(levels, 1.0 - levels)), num_rows)
    own = np.stack([means + score * sds for score in ndtri(levels)])
    low, high = own.min(2).ravel(), own.max(2).ravel()
    y = np.clip(_normal_quantiles(weights, means, sds, levels).ravel(), low, high)
    error = np.full(y.size, np.inf)
    active = np.arange(y.size)
    for _ in range(MOST_STEPS):
        rows = active % num_rows
        standardised = (y[active, None] - means[rows]) / sds[rows]
        own_weights = of_rows(weights, rows)
        tail = average(ndtr(sign[active, None] * standardised), own_weights)
        heights = np.exp(np.maximum(-0.5 * standardised**2, SMALLEST_LOG))
        density = np.einsum(f"nc,nc,{axes_of(weights)}->n", heights, 1.0 / sds[rows], own_weights) / ROOT_TWO_PI
        score = ndtri(tail)
        excess = sign[active] * (score - goal[active])
        low[active] = np.where(excess < 0, y[active], low[active])
        high[active] = np.where(excess > 0, y[active], high[active])
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            newton = y[active] - excess * np.exp(-0.5 * score**2) / (ROOT_TWO_PI * density)
        middle = 0.5 * (low[active] + high[active])
        slow = np.abs(excess) > 0.5 * error[active]
        outside = ~((newton > low[active]) & (newton < high[active]))
        error[active] = np.where(slow, np.inf, np.abs(excess))
        settled = (np.abs(excess) <= SCORE_TOLERANCE) | (middle <= low[active]) | (middle >= high[active])
        y[active] = np.where(settled, y[active], np.where(slow | outside, middle, newton))
        active = active[~settled]
        if not active.size:
            break
    return y.reshape(shape)


def _normal_quantiles(weights: Array, means: Array, sds: Array, levels: Array) -> Array:
    """Return the quantiles of the normals with the mixtures' means and variances, [L, N]."""
    mean = average(means, weights)
    sd = np.sqrt(average(sds**2 + (means - mean[:, None]) ** 2, weights))
    return mean + ndtri(levels)[:, None] * sd
