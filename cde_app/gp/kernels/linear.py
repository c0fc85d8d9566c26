"""Kernels that do not depend on a distance: planes through the origin, and one level for all points.

Letters: n points, d inputs of a kernel.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Self

import numpy as np

from cde_app.arrays import Array
from cde_app.gp.kernels.kernel import Leaf, Pullback


@dataclass(frozen=True)
class Linear(Leaf):
    """sum_d v_d x_d z_d."""

    kind = "linear"
    variance: Array
    """v, [d]."""

    @classmethod
    def start(
        cls, settings: Any, *, variance: float, lengthscales: Array, scales: Array, columns: tuple[int, ...] | None
    ) -> Self:
        """Return the kernel before training: d standardised inputs with variances v / d each."""
        return cls(np.full(len(scales), variance / len(scales)), columns=columns)

    def diagonal(self, X: Array) -> Array:
        """Return k(x, x) of each point; [n, D] to [n]."""
        return self.inputs(X) ** 2 @ self.variance

    def diagonal_gradient(self, X: Array, upstream: Array) -> Array:
        """Return the gradient of sum_n upstream_n k(x_n, x_n) with respect to the log variances, [d]."""
        return self.variance * (upstream @ self.inputs(X) ** 2)

    def _to(self, z: Array) -> Callable[[Array], Array]:
        weighted = (self.variance * z).T
        return lambda x: x @ weighted

    def _with_pullback(self, x: Array, z: Array) -> tuple[Array, Pullback]:
        def pullback(upstream: Array) -> tuple[Array, Array, Array]:
            at_x, at_z = upstream @ z, upstream.T @ x
            return self.variance * np.einsum("nd,nd->d", x, at_x), self.variance * at_x, self.variance * at_z

        return (self.variance * x) @ z.T, pullback


@dataclass(frozen=True)
class Constant(Leaf):
    """One level v for all points."""

    kind = "constant"
    variance: float
    """v."""

    @classmethod
    def start(
        cls, settings: Any, *, variance: float, lengthscales: Array, scales: Array, columns: tuple[int, ...] | None
    ) -> Self:
        """Return the kernel before training."""
        return cls(variance, columns=columns)

    def _to(self, z: Array) -> Callable[[Array], Array]:
        return lambda x: np.full((len(x), len(z)), self.variance)

    def _with_pullback(self, x: Array, z: Array) -> tuple[Array, Pullback]:
        nothing = np.zeros(x.shape), np.zeros(z.shape)
        covariance = np.full((len(x), len(z)), self.variance)
        return covariance, lambda upstream: (np.array([self.variance * upstream.sum()]), *nothing)
