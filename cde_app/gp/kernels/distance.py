"""Kernels that are functions of a distance.

Letters: n points, M inducing inputs, d inputs of a kernel, e coordinates of the points whose distance is taken.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Self

import numpy as np

from cde_app.arrays import Array
from cde_app.gp.kernels.kernel import Leaf, Pullback

Pair = tuple[Array, Array]
"""An array for X and the corresponding one for Z."""


@dataclass(frozen=True)
class DistanceKernel(Leaf):
    """v rho(|p(x) - p(z)|^2), where p(x) are points in e dimensions and rho(0) = 1.

    A subclass implements its formula twice: for prediction, a constant factor is included in the distance at no cost;
    the gradient needs the pure distance.
    """

    variance: float
    """v."""
    lengthscales: Array
    """[d]."""

    @property
    @abstractmethod
    def factor(self) -> float:
        """Factor on the squared distance with which the formula is simplest."""

    @abstractmethod
    def of_distance(self, values: Array) -> Array:
        """Return the covariances at squared distances times `factor`; overwrites its argument."""

    @abstractmethod
    def of_square(self, square: Array) -> tuple[Array, Array]:
        """Return the covariances at squared distances, and -2 times their derivatives with respect to these.

        Temporaries are reused: repeated allocation costs as much as the arithmetic.
        """

    @abstractmethod
    def points(self, x: Array) -> Array:
        """Return p(x); [n, d] to [n, e]."""

    @abstractmethod
    def pull_points(self, inputs: Pair, points: Pair, to_points: Pair) -> tuple[list[Array], Pair]:
        """Turn gradients with respect to the points into those with respect to the parameters of p and the inputs.

        Args:
            inputs: x, [n, d], and z, [M, d].
            points: p(x), [n, e], and p(z), [M, e].
            to_points: the gradients with respect to the points.

        Returns:
            The gradients with respect to the log parameters of p, one array per parameter, and to the inputs.
        """

    def shape_slopes(self, covariance: Array, square: Array) -> list[Array]:
        """Return the derivatives of the covariances with respect to the log parameters of rho; most have none."""
        return []

    def _to(self, z: Array) -> Callable[[Array], Array]:
        distance = squared_distance_to(self.points(z), factor=self.factor)
        return lambda x: self.of_distance(distance(self.points(x)))

    def _with_pullback(self, x: Array, z: Array) -> tuple[Array, Pullback]:
        points, inducing = self.points(x), self.points(z)
        square = squared_distance_to(inducing, factor=1.0)(points)
        covariance, decline = self.of_square(square)

        def pullback(upstream: Array) -> tuple[Array, Array, Array]:
            weights = upstream * decline
            to_points = weights @ inducing - weights.sum(1)[:, None] * points
            to_inducing = weights.T @ points - weights.sum(0)[:, None] * inducing
            to_variance = np.array([np.vdot(upstream, covariance)])
            of_points, to_inputs = self.pull_points((x, z), (points, inducing), (to_points, to_inducing))
            of_shape = [np.array([np.vdot(upstream, slope)]) for slope in self.shape_slopes(covariance, square)]
            return np.concatenate([to_variance, *of_points, *of_shape]), *to_inputs

        return covariance, pullback


@dataclass(frozen=True)
class Stationary(DistanceKernel):
    """A function of the distance in units of the lengthscales, p(x) = x / l."""

    @classmethod
    def start(
        cls, settings: Any, *, variance: float, lengthscales: Array, scales: Array, columns: tuple[int, ...] | None
    ) -> Self:
        """Return the kernel before training."""
        return cls(variance, np.array(lengthscales, float), columns=columns)

    def points(self, x: Array) -> Array:
        """Return x / l; [n, d] to [n, d]."""
        return x / self.lengthscales

    def pull_points(self, inputs: Pair, points: Pair, to_points: Pair) -> tuple[list[Array], Pair]:
        """Turn gradients with respect to the points into those with respect to lengthscales and inputs."""
        to_x, to_z = to_points
        return [-summed_products(to_points, points)], (to_x / self.lengthscales, to_z / self.lengthscales)


def summed_products(left: Pair, right: Pair) -> Array:
    """Return the sums over the rows of the products of two pairs, element by element; [n, e] and [M, e] to [e]."""
    return (left[0] * right[0]).sum(0) + (left[1] * right[1]).sum(0)


def squared_distance_to(Z: Array, *, factor: float) -> Callable[[Array], Array]:
    """Return X -> factor |x - z|^2, [n, e] to [n, M]: one product of points, centred to reduce cancellation."""
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
