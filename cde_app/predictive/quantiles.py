"""Quantiles of Gaussian mixtures to the last digits, even far in the tails or deep between two modes.

Letters: N rows, C components, L levels.
"""

from __future__ import annotations

import numpy as np
from scipy.special import ndtr, ndtri

from cde_app.arrays import Array, IndexArray
from cde_app.machine.blocks import work_in_blocks
from cde_app.predictive.panels import SMALLEST_LOG
from cde_app.predictive.weights import average, of_rows, present

MOST_STEPS = 200
SCORE_TOLERANCE = 1e-13
SMOOTH = 0.3
"""A term of the series of a step that is larger, relative to Newton's step, makes the series useless."""
LAST_STEP = 5e-4
"""The longest last step that is not looked at again, in standard deviations of the narrowest component, at the median;
elsewhere times phi^(1/4). Beyond its third derivative F then changes by at most 1e-14 phi: |F| <= 0.6 / sd^4."""


def mixture_quantiles(weights: Array, means: Array, variances: Array, levels: Array) -> Array:
    """Solve F(y) = level for every row and level.

    The normal score of F is a straight line for one component and nearly straight in any tail. Its inverse is expanded
    to the third order around the current point (Householder 1970, "The numerical treatment of a single nonlinear
    equation"), or to the first, Newton's method, where the series does not fall quickly; inside a bracket: the smallest
    and the largest quantile of the components. A step that leaves the bracket or does not halve the error is replaced
    by bisection. A last step whose error is known to be small is not looked at again: two or three evaluations of F
    are enough for most quantiles. Levels above 1/2 are solved in the upper tail, whose
    small probabilities are more precise.

    Args:
        weights: [C] or [N, C].
        means: [N, C].
        variances: [N, C].
        levels: [L], or [L, N] if each row has its own, in (0, 1).

    Returns:
        [L, N].
    """
    levels = levels if levels.ndim == 2 else levels[:, None]
    some = present(weights)
    weights = weights[..., some]
    quantiles = np.empty((len(levels), len(means)))

    def fill(rows: slice) -> None:
        own, sds = means[rows][:, some], np.sqrt(variances[rows][:, some])
        quantiles[:, rows] = _solve(
            of_rows(weights, rows), own, sds, levels if levels.shape[1] == 1 else levels[:, rows]
        )

    work_in_blocks(fill, len(means), len(some) * max(1, len(levels)))
    return quantiles


def _solve(weights: Array, means: Array, sds: Array, levels: Array) -> Array:
    """Return the quantiles of a block of rows, [L, N]; levels [L, N or 1]."""
    num_rows, shape = len(means), (len(levels), len(means))
    sign = np.broadcast_to(np.where(levels > 0.5, -1.0, 1.0), shape).ravel()
    goal = np.broadcast_to(ndtri(np.minimum(levels, 1.0 - levels)), shape).ravel()
    own = np.stack([means + score[:, None] * sds for score in ndtri(levels)])
    low, high = own.min(2).ravel(), own.max(2).ravel()
    y = np.clip(_normal_quantiles(weights, means, sds, levels).ravel(), low, high)
    error = np.full(y.size, np.inf)
    active = np.arange(y.size)
    precisions, narrowest = 1.0 / sds, sds.min(axis=1)
    work = np.empty((4, y.size, means.shape[1]))  # to allocate large arrays anew costs more than what is done with them
    for _ in range(MOST_STEPS):
        rows = active % num_rows
        own_weights, side = of_rows(weights, rows), sign[active]
        score, slope, bend, twist = _score(own_weights, means, precisions, rows, y[active], side, work[:, : len(rows)])
        excess = side * (score - goal[active])
        low[active] = np.where(excess < 0, y[active], low[active])
        high[active] = np.where(excess > 0, y[active], high[active])
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            step = -excess / slope
            second = 0.5 * bend / slope * step
            third = step * step * twist / (6.0 * slope)
            is_smooth = (np.abs(second) < SMOOTH) & (np.abs(third) < SMOOTH)
            step = step * np.where(is_smooth, 1.0 - second + 2.0 * second**2 - third, 1.0)
            newton = y[active] + step
            shrinks = np.maximum(np.abs(second), np.sqrt(np.abs(third)))
            is_last = is_smooth & (np.abs(excess) * shrinks**3 < SCORE_TOLERANCE)
            is_last &= np.abs(step) < narrowest[rows] * LAST_STEP * np.exp(-0.125 * score**2)
        middle = 0.5 * (low[active] + high[active])
        slow = np.abs(excess) > 0.5 * error[active]
        outside = ~((newton > low[active]) & (newton < high[active]))
        error[active] = np.where(slow, np.inf, np.abs(excess))
        settled = (np.abs(excess) <= SCORE_TOLERANCE) | (middle <= low[active]) | (middle >= high[active])
        is_last &= ~(slow | outside)
        y[active] = np.where(settled, y[active], np.where(slow | outside, middle, newton))
        active = active[~(settled | is_last)]
        if not active.size:
            break
    return y.reshape(shape)


def _score(
    weights: Array, means: Array, precisions: Array, rows: IndexArray, y: Array, sign: Array, work: Array
) -> tuple[Array, Array, Array, Array]:
    """Return the normal score of F, or with sign -1 of 1 - F, and three derivatives of the score of F; each [n].

    With the score s, the normal density phi and f = dF/dy, the derivatives of s are

        s1 = f / phi(s),    s2 = f1 / phi(s) + s s1^2,    s3 = f2 / phi(s) + s s1 f1 / phi(s) + s1^3 + 2 s s1 s2.

    Args:
        weights: [C] or [n, C].
        means: [N, C].
        precisions: 1 / sd, [N, C].
        rows: [n], the row of each point.
        y: [n], the points.
        sign: [n], 1 or -1.
        work: [4, n, C], overwritten.
    """
    z, heights, slopes, own = work
    np.take(means, rows, axis=0, out=z, mode="clip")  # the default mode makes one more copy
    np.subtract(y[:, None], z, out=z)
    np.take(precisions, rows, axis=0, out=own, mode="clip")
    z *= own
    np.multiply(sign[:, None], z, out=heights)
    score = ndtri(average(ndtr(heights, out=heights), weights))
    np.square(z, out=heights)
    heights *= -0.5
    np.maximum(heights, SMALLEST_LOG, out=heights)
    np.exp(heights, out=heights)
    heights *= own
    density = average(heights, weights)
    heights *= own
    np.multiply(heights, z, out=slopes)
    first = -average(slopes, weights)
    slopes *= z
    slopes -= heights
    slopes *= own
    second = average(slopes, weights)
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        scale = np.exp(0.5 * score**2)  # 1 / (sqrt(2 pi) phi(score)); the heights lack the same root
        slope, first, second, score_of_f = density * scale, first * scale, second * scale, sign * score
        bend = first + score_of_f * slope**2
        twist = second + score_of_f * slope * first + slope**3 + 2.0 * score_of_f * slope * bend
    return score, slope, bend, twist


def _normal_quantiles(weights: Array, means: Array, sds: Array, levels: Array) -> Array:
    """Return the quantiles of the normals with the mixtures' means and variances, [L, N]; levels [L, N or 1]."""
    mean = average(means, weights)
    sd = np.sqrt(average(sds**2 + (means - mean[:, None]) ** 2, weights))
    return mean + ndtri(levels) * sd
