"""Kernels of the distance in units of the lengthscales: squared exponential, Matern, rational quadratic.

Source: Rasmussen and Williams (2006), chapter 4, with GPflow's parameters.
"""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

import numpy as np

from cde_app.arrays import Array
from cde_app.gp.kernels.distance import Stationary

if TYPE_CHECKING:
    from cde_app import config

SQUARE_OF_THE_SAME = 1e-12
"""Points with a smaller squared distance count as equal: there, a kernel with a kink gets a slope of zero."""


@dataclass(frozen=True)
class SquaredExponential(Stationary):
    """v exp(-s / 2) for the squared distance s."""

    kind = "squared_exponential"
    factor = -0.5

    def of_distance(self, values: Array) -> Array:
        """Return v e^a for a = -s / 2."""
        return exponential(values, self.variance)

    def of_square(self, square: Array) -> tuple[Array, Array]:
        """Return v exp(-s / 2) twice, because it equals -2 times its derivative."""
        covariance = exponential(np.multiply(square, self.factor), self.variance)
        return covariance, covariance


@dataclass(frozen=True)
class RationalQuadratic(Stationary):
    """v (1 + s / (2 alpha))^-alpha for the squared distance s."""

    kind = "rational_quadratic"
    alpha: float
    """The larger it is, the lower the weight of longer lengthscales."""

    @classmethod
    def start(
        cls,
        settings: config.RationalQuadraticKernel,
        *,
        variance: float,
        lengthscales: Array,
        scales: Array,
        columns: tuple[int, ...] | None,
    ) -> Self:
        """Return the kernel before training."""
        return cls(variance, np.array(lengthscales, float), settings.alpha, columns=columns)

    @property
    def factor(self) -> float:
        """1 / (2 alpha)."""
        return 0.5 / self.alpha

    def of_distance(self, values: Array) -> Array:
        """Return v (1 + a)^-alpha for a = s / (2 alpha)."""
        values += 1.0
        np.power(values, -self.alpha, out=values)
        values *= self.variance
        return values

    def of_square(self, square: Array) -> tuple[Array, Array]:
        """Return the covariances, and -2 times their derivative: the covariances divided by 1 + s / (2 alpha)."""
        base = 1.0 + self._excess(square)
        covariance = self.variance * base**-self.alpha
        return covariance, covariance / base

    def shape_slopes(self, covariance: Array, square: Array) -> list[Array]:
        """Return the derivative of the covariances with respect to log alpha."""
        excess = self._excess(square)
        return [covariance * (self.alpha * (excess / (1.0 + excess) - np.log1p(excess)))]

    def _excess(self, square: Array) -> Array:
        return np.maximum(square, 0.0) / (2.0 * self.alpha)


@dataclass(frozen=True)
class Matern(Stationary):
    """v p(r) e^-r for r^2 = 2 nu s, with squared distance s and a polynomial p of degree nu - 1/2; `factor` is 2 nu."""

    @abstractmethod
    def polynomial(self, root: Array) -> Array | float:
        """Return v p(r)."""

    @abstractmethod
    def with_decline(self, root: Array, decay: Array, square: Array) -> tuple[Array, Array]:
        """Return the result of `of_square`; overwrites the first two arguments.

        Args:
            root: r.
            decay: v e^-r.
            square: s.
        """

    def of_distance(self, values: Array) -> Array:
        """Return v p(r) e^-r, given r^2."""
        np.maximum(values, 0.0, out=values)  # rounding may make them slightly negative
        np.sqrt(values, out=values)
        polynomial = self.polynomial(values)
        np.negative(values, out=values)
        np.exp(values, out=values)
        values *= polynomial
        return values

    def of_square(self, square: Array) -> tuple[Array, Array]:
        """Return the covariances at squared distances, and -2 times their derivatives with respect to these."""
        root = np.maximum(square, 0.0)
        root *= self.factor
        np.sqrt(root, out=root)
        decay = exponential(np.negative(root), self.variance)
        return self.with_decline(root, decay, square)


@dataclass(frozen=True)
class Matern12(Matern):
    """v e^-r for r^2 = s."""

    kind = "matern12"
    factor = 1.0

    def polynomial(self, root: Array) -> float:
        """Return v."""
        return self.variance

    def with_decline(self, root: Array, decay: Array, square: Array) -> tuple[Array, Array]:
        """Return v e^-r and v e^-r / r."""
        return decay, np.divide(decay, root, out=np.zeros_like(root), where=square > SQUARE_OF_THE_SAME)


@dataclass(frozen=True)
class Matern32(Matern):
    """v (1 + r) e^-r for r^2 = 3 s."""

    kind = "matern32"
    factor = 3.0

    def polynomial(self, root: Array) -> Array:
        """Return v (1 + r)."""
        polynomial = root + 1.0
        polynomial *= self.variance
        return polynomial

    def with_decline(self, root: Array, decay: Array, square: Array) -> tuple[Array, Array]:
        """Return v (1 + r) e^-r and 3 v e^-r."""
        root += 1.0
        root *= decay
        decay *= 3.0
        return root, decay


@dataclass(frozen=True)
class Matern52(Matern):
    """v (1 + r + r^2 / 3) e^-r for r^2 = 5 s."""

    kind = "matern52"
    factor = 5.0

    def polynomial(self, root: Array) -> Array:
        """Return v (1 + r + r^2 / 3)."""
        polynomial = root / 3.0
        polynomial += 1.0
        polynomial *= root
        polynomial += 1.0
        polynomial *= self.variance
        return polynomial

    def with_decline(self, root: Array, decay: Array, square: Array) -> tuple[Array, Array]:
        """Return v (1 + r + r^2 / 3) e^-r and 5 / 3 v (1 + r) e^-r."""
        covariance = np.square(root)
        covariance *= decay
        root += 1.0
        decay *= root
        covariance /= 3.0
        covariance += decay
        decay *= 5.0 / 3.0
        return covariance, decay


def exponential(values: Array, variance: float) -> Array:
    """Return v e^a; overwrites its argument."""
    np.exp(values, out=values)
    values *= variance
    return values
