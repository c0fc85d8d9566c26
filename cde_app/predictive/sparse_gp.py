"""A trained sparse Gaussian process as arrays: kernels and moments in NumPy.

Letters: n points, M inducing inputs, Q independent GPs that share the kernel and the inducing inputs.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[np.float64]

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
        squared = _squared_distance(X / self.lengthscales, Z / self.lengthscales)
        match self.kind:
            case "squared_exponential":
                squared *= -0.5
                np.exp(squared, out=squared)
                squared *= self.variance
                return squared
            case "matern12":
                return self.variance * np.exp(-np.sqrt(squared))
            case "matern32":
                distance = SQRT_3 * np.sqrt(squared)
                return self.variance * (1.0 + distance) * np.exp(-distance)
            case "matern52":
                distance = SQRT_5 * np.sqrt(squared)
                return self.variance * (1.0 + distance + distance**2 / 3.0) * np.exp(-distance)
        raise ValueError(
            f"kernel kind must be one of squared_exponential, matern12, matern32, matern52, sum; got {self.kind!r}"
        )

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
        """Return the marginal means and variances of q(f(X)); [n, D] to two [n, Q]."""
        covariance = self.kernel.covariance(X, self.inducing_inputs)
        whitened = covariance @ self.whitening.T
        explained = np.einsum("nm,nm->n", whitened, whitened)
        variances = np.empty((len(X), self.num_gps))
        for q, projection in enumerate(self.q_projection):
            projected = covariance @ projection.T
            variances[:, q] = self.kernel.variance - explained + np.einsum("nm,nm->n", projected, projected)
        return whitened @ self.q_mu, np.maximum(variances, 0.0)

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
    """Return |x - z|^2, [n, M]."""
    squared = X @ Z.T
    squared *= -2.0
    squared += np.einsum("nd,nd->n", X, X)[:, None]
    squared += np.einsum("md,md->m", Z, Z)
    return np.maximum(squared, 0.0, out=squared)
