"""Fewer Gaussians per row for a page that shows densities: groups of components, each replaced by one normal.

A component of a mixture is a node of the latent variable (or a defence), with the same weight in all rows, and its mean
and standard deviation vary smoothly with x. Components that stay close to each other in all rows are one group.

Letters: N rows, C components, K groups, P targets, D features.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy.special import softmax

from cde_app.arrays import Array

if TYPE_CHECKING:
    from cde_app.predictive.mixture import Mixture

COMPARED_ROWS = 100
"""The number of rows in which components are compared."""
ROUNDS = 20
OVERLAP = 2.0
"""The width of the groups of two targets jointly, as a multiple of the typical distance from their centres."""
LARGEST_CORRELATION = 0.999


@dataclass(frozen=True)
class Condensation:
    """Which components are one, the same in all rows; a group keeps the mean and the covariance of its components."""

    weights: Array
    """[K], sum one."""
    shares: Array
    """[K, C], the weight of each component within its group; rows sum to one."""

    def __call__(self, mixture: Mixture) -> Array:
        """Return the groups' parameters in each row, [N, K x 2 P], and K more if there are two targets.

        For each target the means and the logarithms of the standard deviations, standardised, K each; for two targets
        then atanh of the correlations. Any values of these parameters are a density, so that they may be interpolated.
        """
        means = np.einsum("kc,ncp->nkp", self.shares, mixture.means)
        squares = np.einsum("kc,ncp->nkp", self.shares, mixture.variances + mixture.means**2)
        variances = np.maximum(squares - means**2, np.finfo(float).tiny)
        columns = []
        for p in range(mixture.num_targets):
            columns += [means[:, :, p], 0.5 * np.log(variances[:, :, p])]
        if mixture.num_targets == 2:
            products = np.prod(mixture.means, axis=-1)
            if mixture.covariances is not None:
                products = products + mixture.covariances[..., 0, 1]
            covariance = products @ self.shares.T - np.prod(means, axis=-1)
            correlation = covariance / np.sqrt(np.prod(variances, axis=-1))
            columns.append(np.arctanh(np.clip(correlation, -LARGEST_CORRELATION, LARGEST_CORRELATION)))
        return np.concatenate(columns, axis=1)


def condense(mixture: Mixture, num_groups: int) -> Condensation:
    """Group the components of a mixture whose weights are the same in all rows.

    k-means with the components' weights, in up to `COMPARED_ROWS` rows; it starts from the components that are
    farthest from those chosen before, with the weights as a factor. For one target it compares the means, in units of
    the typical component's standard deviation, and the logarithms of the standard deviations. For two it compares the
    means alone, in units of the targets' standard deviations, as the nodes of a chain have no width of their own in
    the first target. These groups overlap: a component has a share in all groups near it, so that the joint density is
    smooth.

    Args:
        mixture: N >= 1 rows, one or two targets.
        num_groups: the largest K.

    Source: Lloyd (1982), "Least squares quantization in PCM"; moments of merged components: Runnalls (2007),
    "Kullback-Leibler approach to Gaussian mixture reduction", equations 2 to 4.
    """
    rows = np.unique(np.linspace(0, mixture.num_rows - 1, COMPARED_ROWS).astype(int))
    means, num_components = mixture.means[rows], mixture.num_components
    log_sds = 0.5 * np.log(np.maximum(mixture.variances[rows], np.finfo(float).tiny))
    if mixture.num_targets == 1:
        typical = np.exp(np.einsum("ncp,c->np", log_sds, mixture.weights))
        places = np.concatenate([means / typical[:, None], log_sds], axis=2)
    else:
        places = means / np.sqrt(means.var(axis=1) + np.exp(2 * log_sds).mean(axis=1))[:, None]
    places = np.moveaxis(places, 1, 0).reshape(num_components, -1) / np.sqrt(len(rows))
    centres = _centres(places, mixture.weights, min(num_groups, num_components))
    squared = _squared_distances(places, centres)
    if mixture.num_targets == 1:
        shares = np.eye(len(centres))[:, np.argmin(squared, axis=1)]
    else:
        variance = OVERLAP**2 * np.min(squared, axis=1).mean() / mixture.num_targets
        shares = softmax(-0.5 * squared / max(variance, np.finfo(float).tiny), axis=1).T
    shares = shares[shares.any(axis=1)] * mixture.weights
    weights = shares.sum(axis=1)
    return Condensation(weights, shares / weights[:, None])


def _squared_distances(places: Array, centres: Array) -> Array:
    """Return the squared distances of all pairs; [C, F] and [K, F] to [C, K]."""
    squared = np.sum(places**2, axis=1)[:, None] - 2 * places @ centres.T + np.sum(centres**2, axis=1)
    return np.asarray(np.maximum(squared, 0.0))


def _centres(places: Array, weights: Array, num_groups: int) -> Array:
    """Return the centres of the groups of some places, [C, F] to [K, F]."""
    chosen = [int(np.argmax(weights))]
    distances = np.sum((places - places[chosen[0]]) ** 2, axis=1)
    while len(chosen) < num_groups and np.any(weights * distances > 0):
        chosen.append(int(np.argmax(weights * distances)))
        distances = np.minimum(distances, np.sum((places - places[chosen[-1]]) ** 2, axis=1))
    centres = places[chosen]
    for _ in range(ROUNDS):
        group = np.argmin(_squared_distances(places, centres), axis=1)
        totals = np.bincount(group, weights, len(centres))[:, None]
        sums = np.zeros_like(centres)
        np.add.at(sums, group, weights[:, None] * places)
        centres = np.where(totals > 0, sums / np.where(totals > 0, totals, 1.0), centres)
    return centres
