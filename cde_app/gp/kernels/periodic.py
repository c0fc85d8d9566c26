"""The kernel of periodic functions.

Letters: n points, d inputs of a kernel.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

import numpy as np

from cde_app.arrays import Array
from cde_app.gp.kernels.distance import DistanceKernel, Pair, summed_products
from cde_app.gp.kernels.stationary import exponential

if TYPE_CHECKING:
    from cde_app import config


@dataclass(frozen=True)
class Periodic(DistanceKernel):
    """v exp(-sum_d sin^2(pi (x_d - z_d) / p_d) / (2 l_d^2)): a squared exponential of points on circles.

    Source: GPflow's `Periodic` of a squared exponential, which cites MacKay (1998) for the circles.
    """

    kind = "periodic"
    factor = -0.5
    period: Array
    """p, [d]."""

    @classmethod
    def start(
        cls,
        settings: config.PeriodicKernel,
        *,
        variance: float,
        lengthscales: Array,
        scales: Array,
        columns: tuple[int, ...] | None,
    ) -> Self:
        """Return the kernel before training; the lengthscales are 1, because they refer to circles, not to inputs."""
        return cls(variance, np.ones(len(scales)), settings.period / scales, columns=columns)

    def of_distance(self, values: Array) -> Array:
        """Return v e^a for a = -s / 2, with the squared distance s."""
        return exponential(values, self.variance)

    def of_square(self, square: Array) -> tuple[Array, Array]:
        """Return v exp(-s / 2) twice, because it equals -2 times its derivative."""
        covariance = exponential(np.multiply(square, self.factor), self.variance)
        return covariance, covariance

    def points(self, x: Array) -> Array:
        """Return points on circles of radius 1 / (2 l), at the angles 2 pi x / p; [n, d] to [n, 2 d].

        The squared distance between the points of x and z is sin^2(pi (x - z) / p) / l^2.
        """
        angles = 2.0 * np.pi * x / self.period
        return np.concatenate([np.cos(angles), np.sin(angles)], axis=1) / np.tile(2.0 * self.lengthscales, 2)

    def pull_points(self, inputs: Pair, points: Pair, to_points: Pair) -> tuple[list[Array], Pair]:
        """Turn gradients with respect to the points into those for lengthscales, periods and inputs."""
        to_lengthscales = (-summed_products(to_points, points)).reshape(2, -1).sum(0)  # cosines and sines
        angle = 2.0 * np.pi / self.period
        to_inputs = angle * _along_circles(points[0], to_points[0]), angle * _along_circles(points[1], to_points[1])
        return [to_lengthscales, -summed_products(to_inputs, inputs)], to_inputs


def _along_circles(on_circles: Array, gradient: Array) -> Array:
    """Return the gradient with respect to the angles of points on circles, [n, 2 d] to [n, d]."""
    cosines, sines = np.split(on_circles, 2, axis=1)
    to_cosines, to_sines = np.split(gradient, 2, axis=1)
    return cosines * to_sines - sines * to_cosines
