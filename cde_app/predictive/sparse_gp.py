"""A trained sparse Gaussian process as arrays: kernels and moments in NumPy.

Letters: n points, M inducing inputs, Q independent GPs that share the kernel and the inducing inputs.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.linalg import solve_triangular

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[np.float64]

FLOATS_IN_CACHE = 65_536
"""Kernel values per block of points: half a MiB, so that the arithmetic on them stays in the cache of a core."""
SQRT_3, SQRT_5 = float(np.sqrt(3)), float(np.sqrt(5))


@dataclass(frozen=True)
class Kernel:
    """A stationary kernel with one lengthscale per input, or a sum of such kernels."""

    kind: str
    """squared_exponential | matern12 | matern32 | matern52 | sum."""
    variance: float
    """k(x, x)."""
    lengthscales: Array
    """[D]; unused by a sum."""
    parts: tuple[Kernel, ...] = ()
    """The summands of a sum."""

    def covariance(self, X: Array, Z: Array) -> Array:
        """Return k(X, Z); [n, D] and [M, D] to [n, M]."""
        if self.kind == "sum":
            covariance = self.parts[0].covariance(X, Z)
            for part in self.parts[1:]:
                covariance += part.covariance(X, Z)
            return covariance
        values = _squared_distance(X / self.lengthscales, Z / self.lengthscales)
        if self.kind == "squared_exponential":
            values *= -0.5
            np.exp(values, out=values)
            values *= self.variance
            return values
        np.sqrt(values, out=values)
        match self.kind:
            case "matern12":
                polynomial: Array | float = self.variance
            case "matern32":
                values *= SQRT_3
                polynomial = values + 1.0
                polynomial *= self.variance
            case "matern52":
                values *= SQRT_5
                polynomial = values / 3.0
                polynomial += 1.0
                polynomial *= values
                polynomial += 1.0
                polynomial *= self.variance
            case _:
                raise ValueError(
                    "kernel kind must be one of squared_exponential, matern12, matern32, matern52, sum; "
                    f"got {self.kind!r}"
                )
        np.negative(values, out=values)
        np.exp(values, out=values)
        values *= polynomial
        return values

    def to_tree(self) -> dict[str, Any]:
        """Return plain values and arrays; `from_tree` reads them."""
        return {
            "kind": self.kind,
            "variance": self.variance,
            "lengthscales": self.lengthscales,
            "parts": [part.to_tree() for part in self.parts],
        }

    @classmethod
    def from_tree(cls, tree: dict[str, Any]) -> Kernel:
        """Rebuild what `to_tree` returned."""
        return cls(tree["kind"], tree["variance"], tree["lengthscales"], tuple(map(cls.from_tree, tree["parts"])))


@dataclass(frozen=True)
class SparseGP:
    """q(f) of a zero-mean sparse GP with whitened inducing variables, u = L v, q(v) = N(q_mu, q_sqrt q_sqrt').

    Source: Hensman et al. (2015), equations 6 to 8, whitened; equal to GPflux's `GPLayer.predict`.
    """

    kernel: Kernel
    inducing_inputs: Array
    """Z, [M, D]."""
    whitening: Array
    """L^-1, [M, M], L the Cholesky factor of k(Z, Z) + jitter."""
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

    def moments(self, X: Array) -> tuple[Array, Array]:
        """Return the marginal means and variances of q(f(X)); [n, D] to two [n, Q].

        m(x) = k(x)' L^-T q_mu, v(x) = k(x, x) - k(x)' L^-T (I - q_sqrt q_sqrt') L^-1 k(x).
        """
        means = np.empty((len(X), self.num_gps))
        variances = np.empty((len(X), self.num_gps))
        step = max(1, FLOATS_IN_CACHE // len(self.inducing_inputs))
        for start in range(0, len(X), step):
            rows = slice(start, start + step)
            covariance = self.kernel.covariance(X[rows], self.inducing_inputs)
            means[rows] = covariance @ self._mean_weights
            for q, (reduction, split) in enumerate(self._reductions):
                reduced = covariance @ reduction
                np.square(reduced, out=reduced)
                variances[rows, q] = reduced[:, :split].sum(1) - reduced[:, split:].sum(1)
        return means, np.maximum(self.kernel.variance + variances, 0.0)

    @cached_property
    def _mean_weights(self) -> Array:
        """L^-T q_mu, [M, Q]."""
        return self.whitening.T @ self.q_mu

    @cached_property
    def _reductions(self) -> list[tuple[Array, int]]:
        """Per GP a split and the columns b_j, [M, M], of the variance as a difference of two sums of squares.

        v(x) = k(x, x) + sum_{j < split} (b_j' k)^2 - sum_{j >= split} (b_j' k)^2, from the eigenvectors of
        q_sqrt q_sqrt' - I: one product per GP where the definition takes two. (k' A k with one matrix A would cost the
        same, but the entries of L^-T L^-1 are as large as 1 / jitter and cost half of the digits.)
        """
        reductions = []
        for projection in self.q_projection:
            q_sqrt = solve_triangular(self.whitening, projection.T, lower=True, trans="T")
            values, vectors = np.linalg.eigh(q_sqrt @ q_sqrt.T - np.eye(len(q_sqrt)))
            order = np.argsort(-values)
            columns = self.whitening.T @ (vectors[:, order] * np.sqrt(np.abs(values[order])))
            reductions.append((columns, int(np.count_nonzero(values > 0))))
        return reductions

    def to_tree(self) -> dict[str, Any]:
        """Return plain values and arrays; `from_tree` reads them."""
        return {
            "kernel": self.kernel.to_tree(),
            "inducing_inputs": self.inducing_inputs,
            "whitening": self.whitening,
            "q_mu": self.q_mu,
            "q_projection": self.q_projection,
            "sees_latent": self.sees_latent,
        }

    @classmethod
    def from_tree(cls, tree: dict[str, Any]) -> SparseGP:
        """Rebuild what `to_tree` returned."""
        return cls(**{**tree, "kernel": Kernel.from_tree(tree["kernel"])})


def _squared_distance(X: Array, Z: Array) -> Array:
    """Return |x - z|^2 = |x|^2 - 2 x z + |z|^2, [n, M], as one product; centred, which keeps what cancels small."""
    centre = Z.mean(0)
    X, Z = X - centre, Z - centre
    rows = np.column_stack([X, np.ones(len(X)), np.einsum("nd,nd->n", X, X)])
    columns = np.column_stack([-2.0 * Z, np.einsum("md,md->m", Z, Z), np.ones(len(Z))])
    squared = rows @ columns.T
    return np.maximum(squared, 0.0, out=squared)
