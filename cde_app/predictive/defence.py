"""Defensive components for what a model does not expect: Student's t around the warm start, and the climatology.

Letters: N rows, D features, P targets, E scales of Student's t, G kernels of the climatology.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from scipy.special import gammaincc

from cde_app.arrays import Array
from cde_app.gp.mean_function import MeanFunction
from cde_app.gp.sparse_gp import SparseGP
from cde_app.predictive.kernel_density import KernelDensity

LEAST_WEIGHT = 1e-6
"""Components with less weight are left out: they hardly affect the density, but may dominate its variance."""
SHARE_OF_KERNELS = 0.01
"""A climatology with a smaller share of the density is replaced by one normal, to save time."""


@dataclass(frozen=True)
class Defence:
    """Components that keep every row's density above a floor; none of them is wider than the data.

    Student's t is a mixture of normals with scales 2^k. Its centre is the warm start's mean, its unit the typical
    distance of training rows near x from that.
    """

    gp: SparseGP
    mean: MeanFunction
    """Added to the GP's mean, [D] to [P]."""
    noise: Array
    """[P], average noise variances."""
    log_scale: Array
    """A, [M, P]: the noise variances are multiplied by exp(k(x, Z) A), with the GP's k and Z."""
    log_scale_range: Array
    """[2, P], limits of that exponent, from the training rows: with a linear kernel it would grow without bound."""
    inflation: Array
    """[E], factors on the predictive variance."""
    widest: Array
    """[P], largest variance of a component: behind a logarithm, a wider one would dominate the mean."""
    tail_weights: Array
    """[E], weights of the components of Student's t in the whole mixture."""
    narrowest: Array
    """[P], smallest variance of a component: the variance of the targets' rounding."""
    climatology: KernelDensity
    """G kernels, standardised."""
    climatology_share: float
    """Weight of the climatology in the whole mixture."""

    @property
    def weights(self) -> Array:
        """[E + G], weights in the whole mixture."""
        return np.concatenate([self.tail_weights, self.climatology_share * self.climatology.weights])

    def centre(self, X: Array) -> tuple[Array, Array]:
        """Return the centre of Student's t and the square of its unit, two [N, P]."""
        mean, variance, trend = self.gp.moments_and_sums(X, self.log_scale)
        return mean + self.mean(X), variance + self.noise * np.exp(np.clip(trend, *self.log_scale_range))

    def components(self, X: Array) -> tuple[Array, Array]:
        """Return the components' means and variances, two [N, E + G, P]."""
        mean, unit = self.centre(X)
        scaled = self.inflation[:, None] * unit[:, None, :]
        shape = (len(X), len(self.weights), len(self.noise))
        means, variances, num_tails = np.empty(shape), np.empty(shape), len(self.inflation)
        means[:, :num_tails] = mean[:, None, :]
        means[:, num_tails:] = self.climatology.means
        variances[:, :num_tails], variances[:, num_tails:] = scaled, self.climatology.variances
        return means, np.clip(variances, self.narrowest, self.widest, out=variances)

    def with_weights(self, tail_weights: Array, climatology_share: float) -> Defence:
        """Return the defence with other weights in the whole mixture, [E] and a share; drop negligible components."""
        kernels = self.climatology
        if climatology_share < SHARE_OF_KERNELS:
            kernels = one_normal(kernels)
        scales, parts = tail_weights >= LEAST_WEIGHT, climatology_share * kernels.weights >= LEAST_WEIGHT
        return replace(
            self,
            inflation=self.inflation[scales],
            tail_weights=tail_weights[scales],
            climatology=KernelDensity(*(part[parts] for part in kernels)),
            climatology_share=climatology_share,
        )


def one_normal(density: KernelDensity) -> KernelDensity:
    """Return the normal with the same means and variances."""
    mean = density.weights @ density.means
    variance = density.weights @ (density.variances + (density.means - mean) ** 2)
    return KernelDensity(np.ones(1), mean[None], variance[None])


def scale_mixture(num_scales: int, degrees_of_freedom: float, scale: float) -> tuple[Array, Array]:
    """Return the variances s^2 4^k, k = 0, 1, ..., and the weights of normals whose mixture approximates Student's t.

    t = N(0, s^2 v), 1 / v ~ Gamma(nu / 2, nu / 2). The weight of a normal is the probability that v is within a factor
    of two of its own; the first also gets all smaller v, the last all larger ones. The density is off by at most 5 %.

    Args:
        num_scales: E.
        degrees_of_freedom: nu.
        scale: s.
    """
    variances = 4.0 ** np.arange(num_scales)
    half = 0.5 * degrees_of_freedom
    below = gammaincc(half, half / (2.0 * variances[:-1]))  # P(v <= 2 variance) = P(1 / v >= 1 / (2 variance))
    return scale**2 * variances, np.diff(below, prepend=0.0, append=1.0)
