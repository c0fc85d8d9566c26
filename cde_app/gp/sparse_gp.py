"""A trained sparse Gaussian process as arrays, and its moments in NumPy.

Letters: n points, M inducing inputs, Q independent GPs that share the kernel and the inducing inputs, S draws.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields
from functools import cached_property
from typing import Any

import numpy as np

from cde_app.arrays import Array
from cde_app.gp.kernels import Kernel
from cde_app.machine.blocks import cache_blocks

JITTER = 1e-6  # gpflow.default_jitter() as a constant, to avoid loading TensorFlow; a test compares the two
"""Added to the diagonal of k(Z, Z), so that it is positive definite despite rounding."""


@dataclass(frozen=True)
class SparseGP:
    """q(f) of a zero-mean sparse GP with whitened inducing variables, u = L v, q(v) = N(q_mu, q_sqrt q_sqrt').

    Source: Hensman et al. (2015), equations 6 to 8, whitened; equal to GPflux's `GPLayer.predict`.
    """

    kernel: Kernel
    inducing_inputs: Array
    """Z, [M, D]."""
    whitening: Array
    """L^-1, [M, M], L = `cholesky(k(Z, Z))`."""
    q_mu: Array
    """[M, Q]."""
    q_projection: Array
    """q_sqrt' L^-1, [Q, M, M]."""
    sees_latent: bool
    """Whether the inputs are [x, w] or x alone."""

    @property
    def num_gps(self) -> int:
        """Q."""
        return self.q_mu.shape[1]

    def moments(self, X: Array, drawn: Array | None = None) -> tuple[Array, Array]:
        """Return the marginal means and variances of q(f(X)); [n, D] to two [n, Q].

        m(x) = k(x)' L^-T q_mu, v(x) = k(x, x) - k(x)' L^-T (I - q_sqrt q_sqrt') L^-1 k(x).

        Args:
            X: [n, D].
            drawn: a draw from `draw`, [M, Q]; the moments are then those given its v: the mean is k(x)' L^-T v, and
                q_sqrt counts as zero.
        """
        if drawn is not None:
            return self._moments_given(X, drawn)
        means, variances, _ = self.moments_and_sums(X, np.empty((len(self.inducing_inputs), 0)))
        return means, variances

    def moments_and_sums(self, X: Array, weights: Array) -> tuple[Array, Array, Array]:
        """Return the moments and, from the same covariances, k(X, Z) times weights; [n, D] and [M, P] to [n, P]."""
        means, variances = np.empty((len(X), self.num_gps)), np.empty((len(X), self.num_gps))
        sums = np.empty((len(X), weights.shape[1]))
        for rows in cache_blocks(len(X), len(self.inducing_inputs) * self.num_gps):
            covariance = self._covariance(X[rows])
            means[rows], sums[rows] = covariance @ self._mean_weights, covariance @ weights
            for q, (reduction, signs) in enumerate(self._reductions):
                reduced = covariance @ reduction
                np.square(reduced, out=reduced)
                variances[rows, q] = reduced @ signs
        return means, np.maximum(self.kernel.diagonal(X)[:, None] + variances, 0.0), sums

    def draw(self, normals: Array, *, scale: float) -> Array:
        """Turn standard normal numbers into draws of the inducing variables, as `moments` takes them.

        Args:
            normals: [S, M, Q].
            scale: factor on the deviations from q_mu.

        Returns:
            L^-T v, [S, M, Q], with v = q_mu + scale q_sqrt normals.
        """
        return self._mean_weights + scale * np.einsum("qab,saq->sbq", self.q_projection, normals, optimize=True)

    def _moments_given(self, X: Array, drawn: Array) -> tuple[Array, Array]:
        means, variances = np.empty((len(X), self.num_gps)), self.kernel.diagonal(X)
        for rows in cache_blocks(len(X), len(self.inducing_inputs)):
            covariance = self._covariance(X[rows])
            means[rows] = covariance @ drawn
            reduced = covariance @ self.whitening.T
            variances[rows] -= np.einsum("nm,nm->n", reduced, reduced)
        return means, np.broadcast_to(np.maximum(variances, 0.0)[:, None], means.shape)

    def __getstate__(self) -> dict[str, Any]:
        """Return the fields to be pickled or copied, without what was computed from them, which holds functions."""
        return {field.name: getattr(self, field.name) for field in fields(self)}

    @cached_property
    def _covariance(self) -> Callable[[Array], Array]:
        """X -> k(X, Z)."""
        return self.kernel.to(self.inducing_inputs)

    @cached_property
    def _mean_weights(self) -> Array:
        """L^-T q_mu, [M, Q]."""
        return self.whitening.T @ self.q_mu

    @cached_property
    def _reductions(self) -> list[tuple[Array, Array]]:
        """For each GP, the columns b_j, [M, M], and signs s_j, [M], of the variance as a signed sum of squares.

        v(x) = k(x, x) + sum_j s_j (b_j' k)^2, from the eigenvectors of q_sqrt q_sqrt' - I: one product per GP, not
        two. (k' A k with one matrix A would cost the same, but the entries of L^-T L^-1 are as large as 1 / jitter and
        lose half of the digits.)
        """
        reductions = []
        for projection in self.q_projection:
            q_sqrt = np.linalg.solve(self.whitening.T, projection.T)
            values, vectors = np.linalg.eigh(q_sqrt @ q_sqrt.T - np.eye(len(q_sqrt)))
            reductions.append((self.whitening.T @ (vectors * np.sqrt(np.abs(values))), np.sign(values)))
        return reductions


def cholesky(K: Array) -> Array:
    """Return the Cholesky factor of K plus the jitter, [M, M], as in the model.

    Raises:
        numpy.linalg.LinAlgError: K plus the jitter is not positive definite.
    """
    return np.linalg.cholesky(K + JITTER * np.eye(len(K)))
