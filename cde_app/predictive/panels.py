"""Quadrature over the densities of Gaussian mixtures, on panels of the real line that follow the components.

Letters: N rows, C components, K panels, G nodes.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from cde_app.arrays import Array, IndexArray
from cde_app.machine.blocks import cache_blocks, work_in_blocks

SMALLEST_LOG = -700.0
"""Below this, exp underflows and is eight times slower."""
# Where a component's distribution function bends, in standard deviations from its mean.
LANDMARKS = np.array([-9, -6, -4, -3, -2, -1, 0, 1, 2, 3, 4, 6, 9], float)
NODES, NODE_WEIGHTS = np.polynomial.legendre.leggauss(6)
# Row i integrates the polynomial through the nodes' values from -1 to node i. Legendre polynomials are orthogonal under
# this quadrature, so that no linear system is solved; its rounding would depend on the number of threads.
PARTIAL_WEIGHTS = np.einsum(
    "ki,k,jk,j->ij",
    np.polynomial.legendre.legval(NODES, np.polynomial.legendre.legint(np.eye(6), lbnd=-1)),
    np.arange(6) + 0.5,
    np.polynomial.legendre.legvander(NODES, 5),
    NODE_WEIGHTS,
)


FEWEST_PANELS, MOST_PANELS = 64, 4096
MASS_TOLERANCE = 1e-9


def integrate_rows(
    integrate: Callable[[IndexArray, int], tuple[Array, Array]],
    num_rows: int,
    num_components: int,
    *,
    fewest: int = FEWEST_PANELS,
    most: int = MOST_PANELS,
    tolerance: float = MASS_TOLERANCE,
) -> Array:
    """Return an integral for each row, [N]; the panels of a row are halved until its density integrates to one.

    Args:
        integrate: rows [n] and a number of panels to their integrals and the masses of their densities, two [n].
        num_rows: N.
        num_components: C.
        fewest: panels at first.
        most: panels after which a row is left as it is.
        tolerance: largest difference of a mass from one.
    """
    integrals, masses = np.empty(num_rows), np.empty(num_rows)
    pending, num_panels = np.arange(num_rows), fewest
    while pending.size and num_panels <= most:

        def fill(block: slice, pending: IndexArray = pending, num_panels: int = num_panels) -> None:
            rows = pending[block]
            integrals[rows], masses[rows] = integrate(rows, num_panels)

        work_in_blocks(fill, len(pending), num_panels * len(NODES) + num_components * len(LANDMARKS))
        pending = pending[np.abs(masses[pending] - 1.0) > tolerance]
        num_panels *= 2
    return integrals


def panel_edges(means: Array, sds: Array, num_panels: int) -> Array:
    """Return K + 1 increasing edges per row, dense where components are narrow; [N, C] to [N, K + 1].

    The landmarks of all components and an even grid are sorted, and each gap is weighted by its cube root: many narrow
    components get most of the panels, but a few wide ones and the empty stretches get enough.
    """
    num_rows = len(means)
    landmarks = (means[:, :, None] + sds[:, :, None] * LANDMARKS).reshape(num_rows, -1)
    even = np.linspace(landmarks.min(1), landmarks.max(1), num_panels // 2 + 1, axis=1)
    landmarks = np.sort(np.concatenate([landmarks, even], axis=1), axis=1)
    measure = np.cumsum(np.cbrt(np.diff(landmarks, axis=1)), axis=1)
    measure = np.column_stack([np.zeros(num_rows), measure / measure[:, -1:]])
    # One search for all rows: row n's measure runs from 2 n to 2 n + 1.
    offsets = 2.0 * np.arange(num_rows)[:, None]
    found = np.searchsorted((measure + offsets).ravel(), np.linspace(0, 1, num_panels + 1) + offsets)
    last = landmarks.shape[1] - 1
    indices = np.minimum(found - np.arange(num_rows)[:, None] * landmarks.shape[1], last)
    indices[:, -1] = last
    return np.take_along_axis(landmarks, indices, axis=1)


def distribution_on_panels(
    edges: Array, weights: Array, means: Array, sds: Array
) -> tuple[Array, Array, Array, Array, Array, Array]:
    """Return the distribution of each row at Gauss-Legendre nodes on its panels.

    F and 1 - F are integrals of the density on the same nodes, from the left and from the right.

    Args:
        edges: [N, K + 1], increasing.
        weights: [C] or [N, C].
        means: [N, C].
        sds: [N, C].

    Returns:
        The nodes, their weights, the density, F and 1 - F, each [N, K, nodes]; and the density's integral [N], which is
        one if the panels are narrow enough.
    """
    half_widths = 0.5 * np.diff(edges, axis=1)[:, :, None]
    nodes = edges[:, :-1, None] + half_widths * (1.0 + NODES)
    density = _density(nodes.reshape(len(nodes), -1), weights, means, sds).reshape(nodes.shape)
    node_weights = NODE_WEIGHTS * half_widths
    masses = (density * node_weights).sum(2)
    within = density @ PARTIAL_WEIGHTS.T * half_widths
    below = np.cumsum(masses, axis=1)[:, :, None] - masses[:, :, None] + within
    above = np.cumsum(masses[:, ::-1], axis=1)[:, ::-1, None] - within
    return nodes, node_weights, density, below, above, masses.sum(1)


def _density(nodes: Array, weights: Array, means: Array, sds: Array) -> Array:
    """Return each row's mixture density at its own nodes, [N, G] to [N, G]."""
    precisions = 1.0 / sds
    heights = weights * precisions / np.sqrt(2 * np.pi)
    density = np.empty_like(nodes)
    for rows in cache_blocks(len(nodes), nodes.shape[1] * means.shape[1]):
        exponents = nodes[rows, :, None] - means[rows, None, :]
        exponents *= precisions[rows, None, :]
        np.square(exponents, out=exponents)
        exponents *= -0.5
        np.maximum(exponents, SMALLEST_LOG, out=exponents)
        np.exp(exponents, out=exponents)
        density[rows] = (exponents @ heights[rows, :, None])[..., 0]
    return density
