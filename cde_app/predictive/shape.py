"""The shape of a density of one target: its highest-density regions and its modes.

Both follow a row's density along the nodes of a quadrature, which are dense where its components are narrow.

Letters: N rows, G points, K pieces or modes of a row.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from cde_app.arrays import Array, IntArray
from cde_app.machine.blocks import work_in_blocks
from cde_app.predictive.mixture import Mixture
from cde_app.predictive.panels import NODES, distribution_on_panels, panel_edges
from cde_app.predictive.weights import of_rows

if TYPE_CHECKING:
    from cde_app.predictive.forecast import Marginal

NUM_PANELS = 128
HALVINGS = 30
ROUNDS = 12
MASS_TOLERANCE = 1e-7
VALLEY = 0.8
"""Two peaks are two modes if the density between them falls below this share of the lower one."""
LEAST_WEIGHT = 0.01
"""A mode with less probability counts as part of its neighbour."""


@dataclass(frozen=True)
class Curves:
    """The densities of N rows at G points of their own."""

    z: Array
    """[N, G], ascending, standardised."""
    log_density: Array
    """[N, G], of the target in its units."""
    cdf: Array
    """[N, G]."""
    masses: Array
    """[N, G], what lies around each point; the sum is one."""


def curves_of(forecast: Marginal) -> Curves:
    """Follow the densities of one target."""
    if isinstance(forecast, Mixture):
        return _curves_of_mixture(forecast)
    curves = _curves_of_mixture(forecast.mixture)
    log_slope = forecast.mapped.log_slope(curves.cdf)
    masses = curves.masses * np.exp(log_slope)
    return Curves(curves.z, curves.log_density + log_slope, forecast.mapped.forward(curves.cdf), masses)


def _curves_of_mixture(mixture: Mixture) -> Curves:
    """Follow the densities of a mixture."""
    shape = (mixture.num_rows, NUM_PANELS * len(NODES))
    z, density, cdf, masses = (np.empty(shape) for _ in range(4))

    def fill(rows: slice) -> None:
        weights, means = of_rows(mixture.weights, rows), mixture.means[rows, :, 0]
        sds = np.sqrt(mixture.variances[rows, :, 0])
        edges = panel_edges(means, sds, NUM_PANELS)
        nodes, node_weights, heights, below, _, _ = distribution_on_panels(edges, weights, means, sds)
        flat = (rows.stop - rows.start, shape[1])
        z[rows], density[rows], cdf[rows] = nodes.reshape(flat), heights.reshape(flat), below.reshape(flat)
        masses[rows] = (heights * node_weights).reshape(flat)

    work_in_blocks(fill, mixture.num_rows, 2 * mixture.num_components * len(NODES))
    with np.errstate(divide="ignore"):
        log_density = np.log(density) + mixture.transforms[0].log_jacobian_at(z)
    return Curves(z, log_density, cdf, masses)


def hdi(mixture: Marginal, mass: float) -> list[Array]:
    """Return each row's highest-density region {y: log p(y) > t}, with t such that it has a mass.

    A first t comes from the points, in the order of their density. Newton's method then solves for it inside a bracket,
    with the mass and the ends of the region from the density itself. Where a valley of the density just touches t, the
    mass jumps by what lies in a piece that the points do not resolve, 1e-3 at most; elsewhere it is right to 1e-6.

    Args:
        mixture: N rows of one target.
        mass: of the region, in (0, 1).

    Returns:
        [K, 2] for each row, the lower and upper ends of its intervals, ascending, in the user's units.

    Source: Hyndman (1996), "Computing and graphing highest density regions", The American Statistician 50.
    """
    curves = curves_of(mixture)
    level = _first_level(curves, mass)
    low, high = np.full(mixture.num_rows, -np.inf), curves.log_density.max(axis=1)
    row, ends, slopes = _ends(mixture, curves, level)
    for _ in range(ROUNDS):
        signs = np.where(np.arange(len(ends)) % 2, 1.0, -1.0)
        found = np.bincount(row, signs * mixture[row].cdf_along(ends[:, None])[:, 0], minlength=mixture.num_rows)
        excess = found - mass
        if not np.any(np.abs(excess) > MASS_TOLERANCE):
            break
        low, high = np.where(excess > 0, level, low), np.where(excess < 0, level, high)
        level = _next_level(mixture, level, low, high, excess, row, ends, slopes)
        row, ends, slopes = _ends(mixture, curves, level)
    pieces = mixture.transforms[0].inverse(ends).reshape(-1, 2)
    bounds = np.cumsum([0, *np.bincount(row, minlength=mixture.num_rows) // 2])
    return [pieces[first:last] for first, last in pairwise(bounds)]


def _first_level(curves: Curves, mass: float) -> Array:
    """Return the log density above which the points of each row have a mass, [N]."""
    order = np.argsort(-curves.log_density, axis=1)
    gathered = np.cumsum(np.take_along_axis(curves.masses, order, axis=1), axis=1)
    place = np.minimum((gathered < mass).sum(axis=1), order.shape[1] - 1)
    return np.take_along_axis(curves.log_density, np.take_along_axis(order, place[:, None], axis=1), axis=1)[:, 0]


def _next_level(
    mixture: Marginal, level: Array, low: Array, high: Array, excess: Array, row: IntArray, ends: Array, slopes: Array
) -> Array:
    """Return a step of Newton's method, or the middle of the bracket if it leaves that; [N]."""
    heights = np.exp(level[row] - mixture.transforms[0].log_jacobian_at(ends))  # dF / dz at the ends
    with np.errstate(divide="ignore", invalid="ignore"):
        gain = np.bincount(row, heights / np.abs(slopes), minlength=len(level))  # - d mass / d level
        newton = level + excess / gain
        middle = np.where(np.isinf(low), level - 1.0, 0.5 * (low + high))
        inside = (newton > low) & (newton < high)
    return np.where(np.abs(excess) <= MASS_TOLERANCE, level, np.where(inside, newton, middle))


def _ends(mixture: Marginal, curves: Curves, level: Array) -> tuple[IntArray, Array, Array]:
    """Return where the rows' densities cross a level, [N].

    Returns:
        The row of each crossing, ascending; its z; and the slope of the log density there.
    """
    inside = curves.log_density > level[:, None]
    inside[:, [0, -1]] = False
    row, cell = np.nonzero(inside[:, :-1] != inside[:, 1:])
    rises = inside[row, cell + 1]
    low, high = curves.z[row, cell], curves.z[row, cell + 1]
    with np.errstate(divide="ignore", invalid="ignore"):  # two points may be the same
        slopes = (curves.log_density[row, cell + 1] - curves.log_density[row, cell]) / (high - low)
    crossed = mixture[row]
    for _ in range(HALVINGS):
        middle = 0.5 * (low + high)
        is_beyond = (crossed.log_prob_along(middle[:, None])[:, 0] > level[row]) == rises
        low, high = np.where(is_beyond, low, middle), np.where(is_beyond, middle, high)
    return row, 0.5 * (low + high), slopes


def modes(mixture: Marginal) -> list[Array]:
    """Return each row's modes, the peaks of the density between which it falls below `VALLEY` of the lower one.

    A mode weighs what lies between the valleys beside it. One below `LEAST_WEIGHT` is part of its neighbour: so many
    nodes leave ripples in the tails.

    Args:
        mixture: N rows of one target.

    Returns:
        [K, 2] for each row, the places of its modes, ascending, in the user's units, and their probabilities.
    """
    curves = curves_of(mixture)
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
            lower = log_density[peaks[shallow]] < log_density[peaks[shallow + 1]]
            del peaks[shallow if lower else shallow + 1], valleys[shallow]
        elif weights[light] < LEAST_WEIGHT:
            beside = [k for k in (light - 1, light) if 0 <= k < len(valleys)]
            del peaks[light], valleys[max(beside, key=lambda k: log_density[valleys[k]])]
        else:
            break
    return np.array(peaks), np.array(valleys, dtype=int)


def _top(z: Array, log_density: Array, peak: int) -> float:
    """Return the top of the parabola through a peak and the points beside it."""
    if peak in (0, len(z) - 1) or not np.isfinite(log_density[peak - 1 : peak + 2]).all():
        return float(z[peak])
    left, right = z[peak - 1] - z[peak], z[peak + 1] - z[peak]
    if left == 0 or right == 0:
        return float(z[peak])
    falls = log_density[peak - 1] - log_density[peak], log_density[peak + 1] - log_density[peak]
    curvature = (falls[1] / right - falls[0] / left) / (right - left)
    slope = falls[0] / left - curvature * left
    return float(z[peak] + (np.clip(-0.5 * slope / curvature, left, right) if curvature < 0 else 0.0))
