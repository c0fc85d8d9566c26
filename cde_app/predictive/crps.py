"""The continuous ranked probability score of Gaussian mixtures: in closed form, or by quadrature behind a transform.

Letters: N rows, C components, K panels of the real line, G nodes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy.special import ndtr

from cde_app.arrays import Array, IndexArray
from cde_app.machine.blocks import cache_blocks, work_in_blocks
from cde_app.predictive.weights import average, of_rows, present

if TYPE_CHECKING:
    from cde_app.targets import TargetTransform


SMALLEST_LOG = -700.0
"""Below this, exp underflows and is eight times slower."""
FEWEST_PANELS, MOST_PANELS = 64, 4096
MASS_TOLERANCE = 1e-9
MANY_COMPONENTS = 96
"""With at least this many components, panels cost less than pairs of components."""
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


def gaussian_mixture_crps(weights: Array, means: Array, variances: Array, y: Array) -> Array:
    """Return sum_c w_c E|Y_c - y| - 1/2 sum_cd w_c w_d E|Y_c - Y_d'|, the first sum in closed form.

    The second sum is in closed form too, over pairs of components, unless it has more than 4,500 terms: then quadrature
    of F (1 - F) agrees to eight digits and costs a third. Rows that are views of one row (a climatology) share it.

    Args:
        weights: [C] or [N, C].
        means: [N, C].
        variances: [N, C].
        y: [N], the observations.

    Returns:
        [N].

    Source: Grimit et al. (2006), "The continuous ranked probability score for circular variables", QJRMS 132, eq. 5.
    """
    some = present(weights)
    weights = weights[..., some]
    alike = weights.ndim == 1 and len(means) > 1 and means.strides[0] == 0 and variances.strides[0] == 0
    half = _half_mean_difference(weights, means[:1, some], variances[:1, some]) if alike else None
    scores = np.empty(len(y))

    def fill(rows: slice) -> None:
        own, spread, shares = means[rows][:, some], variances[rows][:, some], of_rows(weights, rows)
        distance = average(_mean_absolute(y[rows, None] - own, spread), shares)
        scores[rows] = distance - (_half_mean_difference(shares, own, spread) if half is None else half)

    work_in_blocks(fill, len(y), len(some) * (1 if alike else len(LANDMARKS)))
    return scores


def transformed_mixture_crps(
    weights: Array, means: Array, variances: Array, transform: TargetTransform, targets: Array
) -> Array:
    """Return int (F(t) - 1{t >= y})^2 dt over the target's own scale, by Gauss-Legendre quadrature.

    The integral is over the standardised scale z, with dt = (dt/dz) dz, on panels that end where components bend, where
    the transform bends, and at the observation. F and 1 - F are integrals of the density on the same nodes, from the
    left and from the right. The panels of a row are halved until its density integrates to one.

    Args:
        weights: [C] or [N, C].
        means: [N, C], standardised.
        variances: [N, C], standardised.
        transform: from the user's units to standardised ones.
        targets: [N], the observations [units of the target].

    Returns:
        [N], [units of the target].
    """
    some = present(weights)
    weights = weights[..., some]
    scores, masses = np.empty(len(means)), np.empty(len(means))
    pending, num_panels = np.arange(len(means)), FEWEST_PANELS
    while pending.size and num_panels <= MOST_PANELS:

        def fill(block: slice, pending: IndexArray = pending, num_panels: int = num_panels) -> None:
            rows = pending[block]
            own, sds = means[rows][:, some], np.sqrt(variances[rows][:, some])
            scores[rows], masses[rows] = _score_on_panels(
                of_rows(weights, rows), own, sds, transform, targets[rows], num_panels
            )

        work_in_blocks(fill, len(pending), num_panels * len(NODES) + len(some) * len(LANDMARKS))
        pending = pending[np.abs(masses[pending] - 1.0) > MASS_TOLERANCE]
        num_panels *= 2
    return scores


def _score_on_panels(
    weights: Array, means: Array, sds: Array, transform: TargetTransform, targets: Array, num_panels: int
) -> tuple[Array, Array]:
    """Return the rows' scores and the density's mass by quadrature, which is one if the panels are narrow enough."""
    low, high = (means + LANDMARKS[0] * sds).min(1), (means + LANDMARKS[-1] * sds).max(1)
    observed = np.clip(transform.forward(targets), low, high)
    junction = np.clip(transform.forward(transform.bend), low, high)
    edges = np.sort(np.column_stack([_panel_edges(means, sds, num_panels), observed, junction]), axis=1)
    nodes, node_weights, below, above, mass = _distribution_on_panels(edges, weights, means, sds)
    slope = np.exp(-transform.log_jacobian(transform.inverse(nodes)))
    integrand = np.square(np.where(nodes < observed[:, None, None], below, above)) * slope
    outside = np.abs(targets - np.clip(targets, transform.inverse(low), transform.inverse(high)))
    return (integrand * node_weights).sum((1, 2)) + outside, mass


def _mean_absolute(mean: Array, variance: Array) -> Array:
    """Return E|X| for X ~ N(mean, variance)."""
    sd = np.sqrt(variance)
    ratio = mean / sd
    return mean * (2 * ndtr(ratio) - 1) + sd * np.sqrt(2 / np.pi) * np.exp(-0.5 * ratio**2)


def _half_mean_difference(weights: Array, means: Array, variances: Array) -> Array:
    """Return E|Y - Y'| / 2 for two independent draws of each row's mixture, [N].

    This is a sum over all pairs; for many components it is int F (1 - F) on panels, if these are narrow enough.
    """
    num_rows, num_components = means.shape
    halves, unsettled = np.empty(num_rows), np.ones(num_rows, bool)
    if num_components >= MANY_COMPONENTS:
        sds = np.sqrt(variances)
        edges = _panel_edges(means, sds, FEWEST_PANELS)
        _, node_weights, below, above, mass = _distribution_on_panels(edges, weights, means, sds)
        halves = (below * above * node_weights).sum((1, 2))
        unsettled = np.abs(mass - 1.0) > MASS_TOLERANCE
    halves[unsettled] = _half_pair_sum(of_rows(weights, unsettled), means[unsettled], variances[unsettled])
    return halves


def _half_pair_sum(weights: Array, means: Array, variances: Array) -> Array:
    """Return sum_cd w_c w_d E|Y_c - Y_d'| / 2, [N]."""
    halves = average(np.sqrt(variances / np.pi), weights**2)
    m, v = np.ascontiguousarray(means.T), np.ascontiguousarray(variances.T)
    for c in range(len(m) - 1):
        distances = _mean_absolute(m[c + 1 :] - m[c], v[c + 1 :] + v[c])
        halves += weights[..., c] * (
            weights[c + 1 :] @ distances if weights.ndim == 1 else np.einsum("nc,cn->n", weights[:, c + 1 :], distances)
        )
    return halves


def _panel_edges(means: Array, sds: Array, num_panels: int) -> Array:
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


def _distribution_on_panels(
    edges: Array, weights: Array, means: Array, sds: Array
) -> tuple[Array, Array, Array, Array, Array]:
    """Return Gauss-Legendre nodes, their weights, F and 1 - F, each [N, K, nodes], and the density's integral [N]."""
    half_widths = 0.5 * np.diff(edges, axis=1)[:, :, None]
    nodes = edges[:, :-1, None] + half_widths * (1.0 + NODES)
    density = _density(nodes.reshape(len(nodes), -1), weights, means, sds).reshape(nodes.shape)
    node_weights = NODE_WEIGHTS * half_widths
    masses = (density * node_weights).sum(2)
    within = density @ PARTIAL_WEIGHTS.T * half_widths
    below = np.cumsum(masses, axis=1)[:, :, None] - masses[:, :, None] + within
    above = np.cumsum(masses[:, ::-1], axis=1)[:, ::-1, None] - within
    return nodes, node_weights, below, above, masses.sum(1)


def _density(nodes: Array, weights: Array, means: Array, sds: Array) -> Array:
    """Return each row's mixture density at its own nodes, [N, G] to [N, G]."""
    precisions = 1.0 / sds
    heights = weights * precisions / np.sqrt(2 * np.pi)
    density = np.empty_like(nodes)
    for rows in cache_blocks(len(nodes), nodes.shape[1] * len(weights)):
        exponents = nodes[rows, :, None] - means[rows, None, :]
        exponents *= precisions[rows, None, :]
        np.square(exponents, out=exponents)
        exponents *= -0.5
        np.maximum(exponents, SMALLEST_LOG, out=exponents)
        np.exp(exponents, out=exponents)
        density[rows] = (exponents @ heights[rows, :, None])[..., 0]
    return density
