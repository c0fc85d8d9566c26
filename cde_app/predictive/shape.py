"""The shape of a density of one target: its highest-density regions and its modes.

Both follow a row's density along points that its quantiles place, so that they are dense where its mass is.

Letters: N rows, G points, K pieces or modes of a row.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from scipy.special import ndtr

from cde_app.arrays import Array, IntArray
from cde_app.predictive.mixture import Mixture

SCORES = np.linspace(-6.0, 6.0, 241)
"""Normal scores of the quantiles between which the points lie."""
POINTS_PER_GAP = 4
"""A gap between two quantiles may hide a valley between two modes, so that it has points of its own."""
HALVINGS = 40
ROUNDS = 6
VALLEY = 0.8
"""Two peaks are two modes if the density between them falls below this share of the lower one."""
LEAST_WEIGHT = 0.01
"""A mode with less probability counts as part of its neighbour."""


@dataclass(frozen=True)
class Curves:
    """The densities of N rows at G points of their own."""

    mixture: Mixture
    z: Array
    """[N, G], ascending, standardised."""
    log_density: Array
    """[N, G], of the target in its units."""
    cdf: Array
    """[N, G]."""

    @classmethod
    def of(cls, mixture: Mixture) -> Curves:
        """Follow the densities of a mixture of one target."""
        transform = mixture.transforms[0]
        knots = transform.forward(mixture.quantile(ndtr(SCORES))[:, :, 0]).T
        shares = np.arange(POINTS_PER_GAP) / POINTS_PER_GAP
        inner = knots[:, :-1, None] + np.diff(knots, axis=1)[:, :, None] * shares
        z = np.column_stack([inner.reshape(len(knots), (len(SCORES) - 1) * POINTS_PER_GAP), knots[:, -1]])
        return cls(mixture, z, *mixture.along(z))


def hdi(mixture: Mixture, mass: float) -> list[Array]:
    """Return each row's highest-density region; its mass is right to 1e-5, to 1e-3 where a valley touches its level.

    The level of the density at which the region ends is found on the points, the ends then on the density itself. What
    the region lacks in exact mass is aimed at in addition, in a few rounds.

    Args:
        mixture: N rows of one target.
        mass: of the region, in (0, 1).

    Returns:
        [K, 2] for each row, the lower and upper ends of its intervals, ascending, in the user's units.

    Source: Hyndman (1996), "Computing and graphing highest density regions", The American Statistician 50.
    """
    curves, goal = Curves.of(mixture), np.full(mixture.num_rows, mass)
    for _ in range(ROUNDS):
        row, ends = _ends(curves, _level(curves, goal))
        signs = np.where(np.arange(len(ends)) % 2, 1.0, -1.0)
        found = np.bincount(row, signs * mixture[row].along(ends[:, None])[1][:, 0], minlength=mixture.num_rows)
        goal = np.clip(goal + mass - found, 0.0, 1.0)
    ends = mixture.transforms[0].inverse(ends)
    return [ends[row == n].reshape(-1, 2) for n in range(mixture.num_rows)]


def _ends(curves: Curves, level: Array) -> tuple[IntArray, Array]:
    """Return where the rows' densities cross a level, [N]: the row of each crossing, ascending, and its z."""
    inside = curves.log_density > level[:, None]
    inside[:, [0, -1]] = False
    row, cell = np.nonzero(inside[:, :-1] != inside[:, 1:])
    rises = inside[row, cell + 1]
    low, high = curves.z[row, cell], curves.z[row, cell + 1]
    crossed = curves.mixture[row]
    for _ in range(HALVINGS):
        middle = 0.5 * (low + high)
        is_beyond = (crossed.along(middle[:, None])[0][:, 0] > level[row]) == rises
        low, high = np.where(is_beyond, low, middle), np.where(is_beyond, middle, high)
    return row, 0.5 * (low + high)


def _level(curves: Curves, mass: Array) -> Array:
    """Return the log density above which the rows have a mass, [N] to [N], from the points.

    Within a cell the log density is taken as linear, so that its mass is that under an exponential curve.
    """
    log_density, cdf = curves.log_density, curves.cdf
    low, high = log_density.min(axis=1), log_density.max(axis=1)
    first, last = log_density[:, :-1], log_density[:, 1:]
    steps = np.diff(cdf, axis=1)
    rise, top = np.abs(last - first), np.maximum(first, last)
    for _ in range(HALVINGS):
        level = 0.5 * (low + high)
        with np.errstate(divide="ignore", invalid="ignore"):
            above = np.clip(top - level[:, None], 0.0, rise)
            share = np.where(rise > 1e-9, np.expm1(-above) / np.expm1(-rise), top > level[:, None])
        enough = (steps * share).sum(axis=1) > mass
        low, high = np.where(enough, level, low), np.where(enough, high, level)
    return 0.5 * (low + high)


def modes(mixture: Mixture) -> list[Array]:
    """Return each row's modes, the peaks of the density between which it falls below `VALLEY` of the lower one.

    A mode weighs what lies between the valleys beside it. One below `LEAST_WEIGHT` is part of its neighbour: so many
    nodes leave ripples in the tails.

    Args:
        mixture: N rows of one target.

    Returns:
        [K, 2] for each row, the places of its modes, ascending, in the user's units, and their probabilities.
    """
    curves = Curves.of(mixture)
    inverse = mixture.transforms[0].inverse
    found = []
    for z, log_density, cdf in zip(curves.z, curves.log_density, curves.cdf, strict=True):
        peaks, valleys = _peaks_and_valleys(log_density, cdf)
        edges = np.concatenate([[0.0], cdf[valleys], [1.0]])
        places = inverse(np.array([_top(z, log_density, peak) for peak in peaks]))
        found.append(np.column_stack([places, np.diff(edges)]))
    return found


def _peaks_and_valleys(log_density: Array, cdf: Array) -> tuple[IntArray, IntArray]:
    """Return the points of a row's modes, [K], and of the valleys between them, [K - 1]."""
    padded = np.concatenate([[-np.inf], log_density, [-np.inf]])
    peaks = list(np.flatnonzero((padded[1:-1] > padded[:-2]) & (padded[1:-1] >= padded[2:])))
    valleys = [int(low + np.argmin(log_density[low:high])) for low, high in pairwise(peaks)]
    while valleys:
        depths = [min(log_density[peaks[k]], log_density[peaks[k + 1]]) - log_density[v] for k, v in enumerate(valleys)]
        weights = np.diff(np.concatenate([[0.0], cdf[valleys], [1.0]]))
        shallow, light = int(np.argmin(depths)), int(np.argmin(weights))
        if depths[shallow] < -np.log(VALLEY):
            removed = shallow
        elif weights[light] < LEAST_WEIGHT:
            beside = [k for k in (light - 1, light) if 0 <= k < len(valleys)]
            removed = max(beside, key=lambda k: log_density[valleys[k]])
        else:
            break
        del valleys[removed]
        del peaks[removed if log_density[peaks[removed]] < log_density[peaks[removed + 1]] else removed + 1]
    return np.array(peaks), np.array(valleys, dtype=int)


def _top(z: Array, log_density: Array, peak: int) -> float:
    """Return the top of the parabola through a peak and the points beside it."""
    if peak in (0, len(z) - 1):
        return float(z[peak])
    left, right = z[peak - 1] - z[peak], z[peak + 1] - z[peak]
    falls = log_density[peak - 1] - log_density[peak], log_density[peak + 1] - log_density[peak]
    curvature = (falls[1] / right - falls[0] / left) / (right - left)
    slope = falls[0] / left - curvature * left
    return float(z[peak] + (np.clip(-0.5 * slope / curvature, left, right) if curvature < 0 else 0.0))
