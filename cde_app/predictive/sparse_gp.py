"""A trained sparse Gaussian process as arrays: kernels and moments in NumPy.

Letters: n points, M inducing inputs, Q independent GPs that share the kernel and the inducing inputs.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from cde_app.predictive.blocks import blocks

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    Array = NDArray[np.float64]

DISTANCE_FACTORS = {"squared_exponential": -0.5, "periodic": -0.5, "matern12": 1.0, "matern32": 3.0, "matern52": 5.0}
"""What the squared distance is multiplied by where a kernel's formula is simplest."""


@dataclass(frozen=True)
class Kernel:
    """A kernel of D inputs, or a sum or a product of kernels; a leaf acts on d of the inputs."""

    kind: str
    """squared_exponential | matern12 | matern32 | matern52 | rational_quadratic | periodic | linear | constant | sum |
    product."""
    variance: float | Array
    """k(x, x); of a linear kernel [d], one per input. Unused by a sum and a product."""
    lengthscales: Array
    """[d]; unused by a linear and a constant kernel, a sum and a product."""
    parts: tuple[Kernel, ...] = ()
    """The summands of a sum, the factors of a product."""
    columns: tuple[int, ...] | None = None
    """The d inputs that a leaf acts on; None for all."""
    alpha: float = 1.0
    """Of a rational quadratic: the weight of the longer lengthscales falls with it."""
    period: Array = field(default_factory=lambda: np.empty(0))
    """[d], of a periodic kernel."""

    def covariance(self, X: Array, Z: Array) -> Array:
        """Return k(X, Z); [n, D] and [M, D] to [n, M].

        Source: Rasmussen and Williams (2006), chapter 4, with GPflow's parameters; the periodic kernel is GPflow's
        `Periodic` of a squared exponential, exp(-sum_d sin^2(pi (x_d - z_d) / p_d) / (2 l_d^2)).
        """
        return self.to(Z)(X)

    def to(self, Z: Array) -> Callable[[Array], Array]:
        """Return X -> k(X, Z), with what depends on Z alone computed once; Z [M, D], X [n, D] to [n, M]."""
        if self.kind in ("sum", "product"):
            first, *rest = [part.to(Z) for part in self.parts]
            combine = np.add if self.kind == "sum" else np.multiply

            def combined(X: Array) -> Array:
                covariance = first(X)
                for part in rest:
                    combine(covariance, part(X), out=covariance)
                return covariance

            return combined
        if self.kind == "constant":
            return lambda X: np.full((len(X), len(Z)), self.variance)
        if self.kind == "linear":
            weighted = (self.variance * self.inputs(Z)).T
            return lambda X: self.inputs(X) @ weighted
        factors = {**DISTANCE_FACTORS, "rational_quadratic": 0.5 / self.alpha}
        if self.kind not in factors:
            raise ValueError(
                "kernel kind must be one of squared_exponential, matern12, matern32, matern52, rational_quadratic, "
                f"periodic, linear, constant, sum, product; got {self.kind!r}"
            )
        distance = squared_distance_to(self.scaled(Z), factor=factors[self.kind])
        return lambda X: self._of_distance(distance(self.scaled(X)))

    def _of_distance(self, values: Array) -> Array:
        """Turn squared distances, times the kind's factor, into covariances; overwrites its argument."""
        match self.kind:
            case "squared_exponential" | "periodic":
                np.exp(values, out=values)
                values *= self.variance
                return values
            case "rational_quadratic":
                values += 1.0
                np.power(values, -self.alpha, out=values)
                values *= self.variance
                return values
        # The Matern kernels: v e^-r, v (1 + r) e^-r and v (1 + r + r^2 / 3) e^-r, with r^2 = 2 nu |x - z|^2.
        np.maximum(values, 0.0, out=values)  # which rounding may leave a little below
        np.sqrt(values, out=values)
        match self.kind:
            case "matern12":
                polynomial: Array | float = self.variance
            case "matern32":
                polynomial = values + 1.0
                polynomial *= self.variance
            case _:
                polynomial = values / 3.0
                polynomial += 1.0
                polynomial *= values
                polynomial += 1.0
                polynomial *= self.variance
        np.negative(values, out=values)
        np.exp(values, out=values)
        values *= polynomial
        return values

    def diagonal(self, X: Array) -> Array:
        """Return k(x, x) of each point; [n, D] to [n]."""
        match self.kind:
            case "sum":
                return np.sum([part.diagonal(X) for part in self.parts], axis=0)
            case "product":
                return np.prod([part.diagonal(X) for part in self.parts], axis=0)
            case "linear":
                return self.inputs(X) ** 2 @ self.variance
        return np.full(len(X), self.variance)

    def leaves(self) -> list[Kernel]:
        """Return the kernels that are no sum or product, in their order."""
        return [leaf for part in self.parts for leaf in part.leaves()] if self.parts else [self]

    def inputs(self, X: Array) -> Array:
        """Return the inputs that the leaf acts on; [n, D] to [n, d]."""
        return X if self.columns is None else X[:, list(self.columns)]

    def scaled(self, X: Array) -> Array:
        """Return points whose Euclidean distance is that of the leaf; [n, D] to [n, d or 2 d]."""
        X = self.inputs(X)
        return self._on_circles(X) if self.kind == "periodic" else X / self.lengthscales

    def _on_circles(self, X: Array) -> Array:
        """Return points whose distance is that of the periodic kernel; [n, d] to [n, 2 d].

        On a circle of radius 1 / (2 l) the squared distance of the angles 2 pi x / p and 2 pi z / p is
        sin^2(pi (x - z) / p) / l^2.
        """
        angles = 2.0 * np.pi * X / self.period
        return np.concatenate([np.cos(angles), np.sin(angles)], axis=1) / np.tile(2.0 * self.lengthscales, 2)

    def to_tree(self) -> dict[str, Any]:
        """Return plain values and arrays; `from_tree` reads them."""
        return {
            "kind": self.kind,
            "variance": self.variance,
            "lengthscales": self.lengthscales,
            "parts": [part.to_tree() for part in self.parts],
            "columns": None if self.columns is None else list(self.columns),
            "alpha": self.alpha,
            "period": self.period,
        }

    @classmethod
    def from_tree(cls, tree: dict[str, Any]) -> Kernel:
        """Rebuild what `to_tree` returned."""
        columns = None if tree["columns"] is None else tuple(tree["columns"])
        return cls(**{**tree, "parts": tuple(map(cls.from_tree, tree["parts"])), "columns": columns})


def combined(kind: str, parts: tuple[Kernel, ...]) -> Kernel:
    """Return the sum or the product of kernels."""
    return Kernel(kind, 1.0, np.empty(0), parts)


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
        for rows in blocks(len(X), len(self.inducing_inputs) * self.num_gps):
            covariance = self._covariance(X[rows])
            means[rows] = covariance @ self._mean_weights
            for q, (reduction, signs) in enumerate(self._reductions):
                reduced = covariance @ reduction
                np.square(reduced, out=reduced)
                variances[rows, q] = reduced @ signs
        return means, np.maximum(self.kernel.diagonal(X)[:, None] + variances, 0.0)

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
        """Per GP the columns b_j, [M, M], and the signs s_j, [M], of the variance as a signed sum of squares.

        v(x) = k(x, x) + sum_j s_j (b_j' k)^2, from the eigenvectors of q_sqrt q_sqrt' - I: one product per GP where the
        definition takes two. (k' A k with one matrix A would cost the same, but the entries of L^-T L^-1 are as large
        as 1 / jitter and cost half of the digits.)
        """
        reductions = []
        for projection in self.q_projection:
            q_sqrt = np.linalg.solve(self.whitening.T, projection.T)
            values, vectors = np.linalg.eigh(q_sqrt @ q_sqrt.T - np.eye(len(q_sqrt)))
            reductions.append((self.whitening.T @ (vectors * np.sqrt(np.abs(values))), np.sign(values)))
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


def squared_distance_to(Z: Array, *, factor: float) -> Callable[[Array], Array]:
    """Return X -> factor |x - z|^2, [n, d] to [n, M], as one product of centred points, so that little cancels."""
    (num_points, dim), centre = Z.shape, Z.mean(0)
    Z = Z - centre
    columns = factor * np.vstack([-2.0 * Z.T, np.einsum("md,md->m", Z, Z), np.ones(num_points)])

    def distance(X: Array) -> Array:
        rows = np.empty((len(X), dim + 2))
        centred = rows[:, :dim]
        np.subtract(X, centre, out=centred)
        rows[:, dim] = 1.0
        np.einsum("nd,nd->n", centred, centred, out=rows[:, dim + 1])
        return rows @ columns

    return distance
