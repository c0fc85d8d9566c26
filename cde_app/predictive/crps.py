"""The continuous ranked probability score of Gaussian mixtures: in closed form, or by quadrature behind a transform.

Letters: N rows, C components, K panels of the real line, G nodes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy.special import ndtr

from cde_app.arrays import Array, IndexArray
from cde_app.machine.blocks import work_in_blocks
from cde_app.predictive.panels import (
    FEWEST_PANELS,
    LANDMARKS,
    MASS_TOLERANCE,
    distribution_on_panels,
    integrate_rows,
    panel_edges,
)
from cde_app.predictive.weights import average, of_rows, present

if TYPE_CHECKING:
    from cde_app.predictive.probability_map import ProbabilityMap
    from cde_app.targets import TargetTransform


MANY_COMPONENTS = 96
"""With at least this many components, panels cost less than pairs of components."""


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
    weights: Array,
    means: Array,
    variances: Array,
    transform: TargetTransform,
    targets: Array,
    *,
    mapped: ProbabilityMap | None = None,
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
        mapped: G, if the distribution function is G(F(t)).

    Returns:
        [N], [units of the target].
    """
    some = present(weights)
    weights = weights[..., some]

    def integrate(rows: IndexArray, num_panels: int) -> tuple[Array, Array]:
        return _score_on_panels(
            of_rows(weights, rows),
            means[rows][:, some],
            np.sqrt(variances[rows][:, some]),
            transform,
            targets[rows],
            num_panels,
            None if mapped is None else mapped.of_rows(rows),
        )

    return integrate_rows(integrate, len(means), len(some))


def _score_on_panels(
    weights: Array,
    means: Array,
    sds: Array,
    transform: TargetTransform,
    targets: Array,
    num_panels: int,
    mapped: ProbabilityMap | None,
) -> tuple[Array, Array]:
    """Return the rows' scores and the density's mass by quadrature, which is one if the panels are narrow enough."""
    low, high = (means + LANDMARKS[0] * sds).min(1), (means + LANDMARKS[-1] * sds).max(1)
    observed = np.clip(transform.forward(targets), low, high)
    junction = np.clip(transform.forward(transform.bend), low, high)
    edges = np.sort(np.column_stack([panel_edges(means, sds, num_panels), observed, junction]), axis=1)
    nodes, node_weights, _, below, above, mass = distribution_on_panels(edges, weights, means, sds)
    if mapped is not None:
        flat = len(means), -1
        below = mapped.forward(below.reshape(flat)).reshape(below.shape)
        above = mapped.mirrored.forward(above.reshape(flat)).reshape(above.shape)
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
        edges = panel_edges(means, sds, FEWEST_PANELS)
        _, node_weights, _, below, above, mass = distribution_on_panels(edges, weights, means, sds)
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
