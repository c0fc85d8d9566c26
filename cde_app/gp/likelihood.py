"""The noise around the output layer as arrays: one class per likelihood, with everything that NumPy needs.

y = f + e, where e is normal at every node of a mixture; the variance of Student's t is a coordinate of the nodes.

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
from cde_app.gp.kernels import Kernel

if TYPE_CHECKING:
    SparsePrior = Callable[[Any], tuple[Kernel, Array]]
    """Makes the kernel and the inducing inputs Z [M, D] of some settings, from the training rows' x."""

ROOM_ABOVE_FLOOR = 0.1
"""The noise starts at least this share above its floor, because what exceeds the floor is trained on the log scale."""


@dataclass(frozen=True)
class Noise(ABC):
    """The noise e of standardised targets."""

    variance: Array
    """[P], typical values: variances of normal noise, squared scales of Student's t."""

    kind: ClassVar[str]
    """The name in the settings and in stored runs."""

    @classmethod
    @abstractmethod
    def start(cls, settings: Any, variance: Array, floor: Array, *, sparse_prior: SparsePrior) -> Self:
        """Return the noise before training: that of the warm start, but at least slightly above the floor.

        Args:
            settings: the settings of this likelihood.
            variance: [P], noise variances of the warm start.
            floor: [P], lower limits of the variances in training.
            sparse_prior: makes the kernel and the inducing inputs of noise that varies with x.
        """

    def at(self, X: Array) -> Array:
        """Return the variances before any factors, [N, D] to [N or 1, P]."""
        return self.variance[None]

    @property
    def num_coordinates(self) -> int:
        """How many coordinates of a node belong to the noise."""
        return 0

    def factors(self, normals: Array) -> Array | None:
        """Return the factors on the variances at each node, [C, P]; None if there are none.

        Args:
            normals: the coordinates of the nodes that belong to the noise, standard normal, [C, `num_coordinates`].
        """
        return None


@dataclass(frozen=True)
class NormalNoise(Noise):
    """e ~ N(0, s_p^2)."""

    kind = "gaussian"

    @classmethod
    def start(cls, settings: Any, variance: Array, floor: Array, *, sparse_prior: SparsePrior) -> Self:
        """Return one variance for each target."""
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
    """e ~ s_p t_nu, or N(0, s_p^2 / lambda) with lambda ~ Gamma(nu / 2, nu / 2), one coordinate per target."""

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
    """Return the smallest initial variances, which are above the floor; both [P]."""
    return floor + np.maximum(ROOM_ABOVE_FLOOR * floor, settings.variance_floor)
