"""The noise around the output layer as arrays: a class for each likelihood, with all that NumPy has to know of it.

y = f + e, and e is normal at every node of a mixture; the variance of Student's t is a coordinate of the nodes.

Letters: N rows, D features, P targets, M inducing inputs, C nodes.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np
from scipy.special import gammaincinv, ndtr

from cde_app.arrays import Array
from cde_app.predictive.kernels import Kernel

if TYPE_CHECKING:
    SparsePrior = Callable[[Any], tuple[Kernel, Array]]
    """From settings with a kernel and inducing inputs to both on the training rows' x, Z [M, D]."""

ROOM_ABOVE_FLOOR = 0.1
"""The noise starts at least this share above its floor: on the log scale of the rest it can grow from there."""


@dataclass(frozen=True)
class Noise(ABC):
    """e of standardised targets."""

    variance: Array
    """[P], about which it varies; of normal noise the variances, of Student's t the squared scales."""

    kind: ClassVar[str]
    """The name in the settings and in what is stored."""

    @classmethod
    @abstractmethod
    def start(cls, settings: Any, variance: Array, floor: Array, *, sparse_prior: SparsePrior) -> Self:
        """Return the noise before training, that of the warm start or a little above the floor.

        Args:
            settings: those of this likelihood.
            variance: [P], noise variances of the warm start.
            floor: [P], below which training may not go.
            sparse_prior: for what varies with x.
        """

    def at(self, X: Array) -> Array:
        """Return the variances before any factors, [N, D] to [N or 1, P]."""
        return self.variance[None]

    @property
    def num_coordinates(self) -> int:
        """How many coordinates of a node the noise has."""
        return 0

    def factors(self, normals: Array) -> Array | None:
        """Return what the variances are multiplied by at each node, [C, P]; None for nothing.

        Args:
            normals: the noise's coordinates of the nodes, standard normal, [C, `num_coordinates`].
        """
        return None


@dataclass(frozen=True)
class NormalNoise(Noise):
    """e ~ N(0, s_p^2)."""

    kind = "gaussian"

    @classmethod
    def start(cls, settings: Any, variance: Array, floor: Array, *, sparse_prior: SparsePrior) -> Self:
        """Return one normal for each target."""
        return cls(np.maximum(variance, least_start(settings, floor)))


@dataclass(frozen=True)
class VaryingNoise(Noise):
    """e ~ N(0, s_p^2(x)), s_p^2(x) = floor_p + level_p exp(k(x, Z) A)_p."""

    kind = "heteroscedastic_gaussian"
    kernel: Kernel
    inducing_inputs: Array
    """Z, [M, D]."""
    weights: Array
    """A, [M, P]."""
    level: Array
    """[P]."""
    floor: Array
    """[P]."""

    @classmethod
    def start(cls, settings: Any, variance: Array, floor: Array, *, sparse_prior: SparsePrior) -> Self:
        """Return noise that does not vary yet."""
        variance = np.maximum(variance, least_start(settings, floor))
        kernel, Z = sparse_prior(settings)
        return cls(variance, kernel, Z, np.zeros((len(Z), len(variance))), variance - floor, floor)

    def at(self, X: Array) -> Array:
        """Return the noise variances, [N, D] to [N, P]."""
        return self.floor + self.level * np.exp(self.kernel.covariance(X, self.inducing_inputs) @ self.weights)


@dataclass(frozen=True)
class StudentTNoise(Noise):
    """e ~ s_p t_nu, or N(0, s_p^2 / lambda) with lambda ~ Gamma(nu / 2, nu / 2), a coordinate for each target."""

    kind = "student_t"
    degrees_of_freedom: float
    """nu."""

    @classmethod
    def start(cls, settings: Any, variance: Array, floor: Array, *, sparse_prior: SparsePrior) -> Self:
        """Return the t whose variance, s^2 nu / (nu - 2), is that of the warm start."""
        degrees = settings.degrees_of_freedom
        return cls(np.maximum(variance * (degrees - 2) / degrees, least_start(settings, floor)), degrees)

    @property
    def num_coordinates(self) -> int:
        """One for each target."""
        return len(self.variance)

    def factors(self, normals: Array) -> Array:
        """Return 1 / lambda at each node, [C, P]; normals [C, P]."""
        half = 0.5 * self.degrees_of_freedom
        return half / gammaincinv(half, ndtr(normals))


NOISES: dict[str, type[Noise]] = {noise.kind: noise for noise in (NormalNoise, VaryingNoise, StudentTNoise)}


def least_start(settings: Any, floor: Array) -> Array:
    """Return the smallest variances with which a training may begin, above the floor, two [P]."""
    return floor + np.maximum(ROOM_ABOVE_FLOOR * floor, settings.variance_floor)
