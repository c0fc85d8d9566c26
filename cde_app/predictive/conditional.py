"""A chain of targets given some that are not its first: p(free | x, known) as a mixture of weighted nodes.

Letters: N rows, D features, G nodes, F free targets so far, n rows of a block; k counts the factors.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.special import ndtri, softmax

from cde_app.arrays import Array, IndexArray
from cde_app.machine.blocks import work_in_blocks
from cde_app.predictive.ensemble import Ensemble, extend
from cde_app.predictive.mixture import Mixture
from cde_app.predictive.nodes import uniform_nodes

NUM_NODES = 4096
"""Many more than the chain has, as the nodes that contradict what is known do not count."""
SHARE_WITHIN = 0.1
"""Share of a component's variance that is left within a node; the rest is the spread of the nodes."""


def conditional_mixture(factors: Sequence[Ensemble], known: Sequence[Array | None], X: Array) -> Mixture:
    """Return p(free targets | x, known targets) of N rows, standardised targets in the order of the chain.

    A node has a component of every factor and a normal distribution of the free targets so far. A free target widens
    this by the conditional normal of its component. A known target, of which the component says N(m(z), v) given the
    free targets z before it, multiplies the node's weight by the density of what is known and shifts the normal, as a
    Kalman filter does. For that m is taken as linear in z within a node. So that it nearly is, a target on which later
    ones depend has only `SHARE_WITHIN` of its component's variance within a node.

    Source: importance sampling of the earlier targets with each node's normals integrated ("Rao-Blackwellised"),
    Doucet et al. (2000), "Rao-Blackwellised particle filtering for dynamic Bayesian networks".

    Args:
        factors: of the chain, at least two.
        known: for each factor [N] standardised values, or None if its target is free; at least one of each.
        X: [N, D], standardised features.
    """
    points = uniform_nodes(NUM_NODES, 2 * len(factors), seed=0)  # per factor: a component, and the draw from it
    num_free = sum(value is None for value in known)
    shape = (len(X), len(points))
    exponents, means = np.zeros(shape), np.zeros((*shape, num_free))
    covariances = np.zeros((*shape, num_free, num_free))
    components = [factor.component_at(points[:, 2 * k]) for k, factor in enumerate(factors)]
    normals = ndtri(points[:, 1::2])

    def fill(rows: slice) -> None:
        mean, covariance, exponent, num_before = means[rows], covariances[rows], exponents[rows], 0
        before: list[tuple[int | None, Array]] = []  # the place among the free targets, or None and the known values
        for k, factor in enumerate(factors):
            m, v, slope = _linearised(factor, components[k], X[rows], before, mean, covariance)
            across = np.einsum("ngij,ngj->ngi", covariance[:, :, :num_before, :num_before], slope)
            explained = np.einsum("ngi,ngi->ng", across, slope)
            value = known[k]
            if value is not None:
                total = explained + v
                surprise = value[rows, None] - m
                exponent -= 0.5 * (surprise**2 / total + np.log(total))
                gain = across / total[..., None]
                mean[:, :, :num_before] += gain * surprise[..., None]
                covariance[:, :, :num_before, :num_before] -= gain[..., :, None] * across[..., None, :]
                before.append((None, value[rows]))
                continue
            within = v
            if k < len(factors) - 1:
                within = SHARE_WITHIN * v
                m = m + np.sqrt(v - within) * normals[:, k]
            mean[:, :, num_before] = m
            covariance[:, :, num_before, :num_before] = covariance[:, :, :num_before, num_before] = across
            covariance[:, :, num_before, num_before] = explained + within
            before.append((num_before, np.empty(0)))
            num_before += 1

    work_in_blocks(fill, len(X), len(points) * (X.shape[1] + 2 * len(factors)))
    variances = np.diagonal(covariances, axis1=-2, axis2=-1)
    transforms = tuple(f.members[0].transforms[0] for f, value in zip(factors, known, strict=True) if value is None)
    weights = softmax(exponents, axis=1)
    return Mixture(weights, means, variances, transforms, covariances if num_free > 1 else None)


def _linearised(
    factor: Ensemble,
    component: IndexArray,
    X: Array,
    before: Sequence[tuple[int | None, Array]],
    mean: Array,
    covariance: Array,
) -> tuple[Array, Array, Array]:
    """Return a factor's mean and variance at the nodes' means, two [n, G], and its slopes, [n, G, F]."""
    shape = mean.shape[:2]
    chosen = np.broadcast_to(component, shape).ravel()

    def moments(shifted: int | None = None, step: Array | float = 0.0) -> tuple[Array, Array]:
        inputs = np.repeat(X, shape[1], axis=0)
        for place, value in before:
            z = np.broadcast_to(value[:, None], shape) if place is None else mean[:, :, place]
            inputs = extend(inputs, (z + step if place is not None and place == shifted else z).ravel())
        m, v = factor.moments_at(inputs, chosen)
        return m.reshape(shape), v.reshape(shape)

    m, v = moments()
    free = [place for place, _ in before if place is not None]
    slope = np.empty((*shape, len(free)))
    for place in free:
        step = np.sqrt(covariance[:, :, place, place])
        slope[:, :, place] = (moments(place, step)[0] - m) / np.where(step > 0, step, 1.0)
    return m, v, slope
