"""The base class of target transforms: each has its own monotone map T; all share the standardisation after it."""

from __future__ import annotations

import dataclasses
import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar, Self

import numpy as np
from numpy.typing import ArrayLike

from cde_app.arrays import Array, BoolArray
from cde_app.errors import DataError
from cde_app.targets.standardisation import robust_location_and_scale

LARGEST_LOG = 690.0  # exp(690) = 1e299 is still a float


class UnsuitedError(DataError):
    """The targets vary, but some are outside the transform's domain, or it maps all of them to the same value."""


@dataclass(frozen=True)
class Domain:
    """Where a transform is defined, and the message for a value elsewhere: `must <expected>; got <value>. <advice>`.

    Args:
        lower, upper: ends of the open interval [units of the target].
        expected: the condition on a value.
        advice: what to do about other values.
    """

    lower: float = -np.inf
    upper: float = np.inf
    expected: str = "be a finite number"
    advice: str = "Clean the table."

    def is_outside(self, y: Array) -> BoolArray:
        """Return which targets are outside; any shape."""
        return (y <= self.lower) | (y >= self.upper)


@dataclass(frozen=True)
class TargetTransform(ABC):
    """One target's map y -> z = (T(y) - location) / scale, strictly increasing.

    A kind of transform is a subclass, whose further fields are the parameters of its T. It implements T, its inverse
    and its slope, and overrides the defaults that do not hold for it: the class variables, `domain`, `_parameters`,
    `bend`, `normal_moments`.

    Args:
        location: mean of T(y) over the training rows, or the median if outliers dominate the mean [units of T].
        scale: standard deviation of T(y) over them, or likewise the width of the central 90 %; > 0 [units of T].
    """

    location: float
    scale: float

    kind: ClassVar[str]
    """The name in the configuration."""
    is_affine: ClassVar[bool] = False
    """Whether y = location + scale z, so that moments and quantiles need no integration."""
    auto_may_choose: ClassVar[bool] = False
    """Whether `auto` tries it, with the settings' defaults."""

    # --- fit ------------------------------------------------------------------------------------------------------

    @classmethod
    def fit(cls, y: ArrayLike, *, label: str = "the target", **options: float) -> Self:
        """Fit the transform to the training targets.

        Args:
            y: [N], training targets [units of the target].
            label: how an error names the target, such as `wine.csv: column 'quality'`.
            options: the settings of the kind, without its name.

        Raises:
            DataError: y has a gap or an infinity, or is constant.
            UnsuitedError: a target lies outside the transform's domain, or T(y) is constant.
        """
        y = np.asarray(y, dtype=np.float64)
        if not y.size or not np.all(np.isfinite(y)):
            raise DataError(
                f"{label}: must be finite numbers in every training row; got {_first_bad(y)}. Clean the table."
            )
        if np.ptp(y) == 0:
            raise DataError(f"{label}: must vary over the training rows; got {y[0]:g} in each. Choose another target.")
        domain = cls.domain(**options)
        outside = y[domain.is_outside(y)]
        if outside.size:
            raise UnsuitedError(f"{label}: must {domain.expected}; got {outside[0]:g}. {domain.advice}")
        not_standardised = cls(location=0.0, scale=1.0, **cls._parameters(y, **options))
        values = not_standardised._value(y)
        if np.ptp(values) == 0:
            raise UnsuitedError(
                f"{label}: must vary over the training rows after its {cls.kind} transform; got {values[0]:g} in each. "
                "Choose yeo_johnson or identity."
            )
        location, scale = robust_location_and_scale(values)
        return dataclasses.replace(not_standardised, location=location, scale=scale)

    @classmethod
    def domain(cls, **options: float) -> Domain:
        """Return where T is defined, which depends only on the options; the default is everywhere."""
        return Domain()

    @classmethod
    def _parameters(cls, y: Array, **options: float) -> dict[str, float]:
        """Return T's parameters for finite targets [N] that vary; by default, these are the options."""
        return options

    # --- both ways ------------------------------------------------------------------------------------------------

    def forward(self, y: ArrayLike) -> Array:
        """Map targets to the standardised scale.

        Args:
            y: targets, any shape [units of the target].

        Returns:
            z, same shape; -inf at or below the lower end of the domain, inf at or above the upper end, so that the
            density there is zero.
        """
        return (self._value(np.asarray(y, dtype=np.float64)) - self.location) / self.scale

    def inverse(self, z: ArrayLike) -> Array:
        """Map standardised values back to targets.

        Saturates near 1e299 instead of overflowing, and at the edge of T's range if that is bounded; strictly
        increasing elsewhere (up to rounding).

        Args:
            z: standardised values, any shape.

        Returns:
            y, same shape [units of the target]; NaN only where z is NaN.
        """
        return self._inverse_value(self.location + self.scale * np.asarray(z, dtype=np.float64))

    def log_jacobian(self, y: ArrayLike) -> Array:
        """Compute log dz/dy, which turns the log density of z into that of y.

        Args:
            y: targets, any shape [units of the target].

        Returns:
            log dz/dy, same shape [nats per unit of the target]; -inf where y has no image, so that the log density of
            y is -inf there and never NaN.
        """
        y = np.asarray(y, dtype=np.float64)
        return np.where(np.isinf(y), -np.inf, self._log_slope(y) - math.log(self.scale))

    def log_jacobian_at(self, z: ArrayLike) -> Array:
        """Return log |dz/dy| at standardised values, also where the user's units can no longer tell them apart."""
        u = self.location + self.scale * np.asarray(z, float)
        return self._log_slope_at(u) - math.log(self.scale)

    def _log_slope_at(self, u: Array) -> Array:
        """Return log dT/dy where T(y) = u."""
        return self._log_slope(self._inverse_value(u))

    @abstractmethod
    def _value(self, y: Array) -> Array:
        """Compute T(y), any shape; -inf at and below the domain, inf at and above it, without a warning."""

    @abstractmethod
    def _inverse_value(self, u: Array) -> Array:
        """Compute the y with T(y) = u, any shape, saturating as `inverse` says."""

    @abstractmethod
    def _log_slope(self, y: Array) -> Array:
        """Compute log dT/dy, any shape; -inf outside the domain, anything at infinities."""

    # --- integrals ------------------------------------------------------------------------------------------------

    @property
    def bend(self) -> float:
        """A target at which T bends and a panel of a quadrature should end; arbitrary if there is none."""
        return 0.0

    def normal_moments(self, means: Array, variances: Array) -> tuple[Array, Array] | None:
        """Return mean and variance of y for a normal z, if there is a closed form, else None.

        Args:
            means: any shape, standardised.
            variances: same shape, standardised.

        Returns:
            Two of the same shape [units of the target, and their square].
        """
        return None


def _first_bad(y: Array) -> str:
    """Name the first value that is not finite."""
    return f"{y[~np.isfinite(y)][0]}" if y.size else "no rows"
