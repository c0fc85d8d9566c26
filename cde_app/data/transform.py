"""The monotone map from a target to the standardised scale the model sees, with its log-Jacobian.

z = (T(y) - location) / scale, T one of identity, log(y + shift), Yeo-Johnson of (y - centre) / spread, and
logit, log((y - lower) / (upper - y)).
NumPy and SciPy only: prediction reads this module without pandas.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import expit

from cde_app.errors import DataError

FloatArray = NDArray[np.float64]
TransformKind = Literal["identity", "log", "yeo_johnson", "logit"]

# Within these exponents both branches of Yeo-Johnson reach infinity. Outside, its range is bounded and a normal z
# would put mass where no y is: the density would not integrate to one.
EXPONENT_BOUNDS = (0.0, 2.0)
_TINY_POWER = 1e-12
NORMAL_WIDTH = 3.29
"""Of the central 90 % of a normal, in standard deviations."""
HEAVY = 2.5
"""By how many times its standard deviation exceeds that of its central 90 % where outliers make the former."""
_LARGEST_LOG = 690.0  # exp(690) = 1e299 is still a float


@dataclasses.dataclass(frozen=True)
class TargetTransform:
    """One target's map y -> z = (T(y) - location) / scale, strictly increasing.

    Args:
        kind: `identity`, `log`, `yeo_johnson` or `logit`.
        location: mean of T(y) over the training rows [units of T].
        scale: standard deviation of T(y) over the training rows, > 0 [units of T].
        shift: added before the logarithm [units of the target]; `log` only.
        exponent: the power lambda; `yeo_johnson` only.
        centre: median of the training targets [units of the target]; `yeo_johnson` only.
        spread: interquartile range of the training targets, > 0 [units of the target]; `yeo_johnson` only.
        lower, upper: ends of the open interval of possible values [units of the target]; `logit` only.

    Source: Yeo and Johnson (2000), "A new family of power transformations to improve normality or symmetry", eq. 2.1.
    """

    kind: TransformKind
    location: float
    scale: float
    shift: float = 0.0
    exponent: float = 1.0
    centre: float = 0.0
    spread: float = 1.0
    lower: float = 0.0
    upper: float = 1.0

    @property
    def is_affine(self) -> bool:
        """Whether y = location + scale z, so that moments and quantiles need no integration."""
        return self.kind == "identity"

    def forward(self, y: ArrayLike) -> FloatArray:
        """Map targets to the standardised scale.

        Args:
            y: targets, any shape [units of the target].

        Returns:
            z, same shape. `log` gives -inf where y + shift <= 0, `logit` -inf at or below `lower` and inf at or above
            `upper`, so that the density there is zero.
        """
        return (self._untransformed_scale(np.asarray(y, dtype=np.float64)) - self.location) / self.scale

    def inverse(self, z: ArrayLike) -> FloatArray:
        """Map standardised values back to targets.

        Saturates near 1e299 instead of overflowing, and at the edge of T's range if an exponent outside [0, 2] bounds
        it; strictly increasing elsewhere (up to rounding).

        Args:
            z: standardised values, any shape.

        Returns:
            y, same shape [units of the target]; NaN only where z is NaN.
        """
        u = self.location + self.scale * np.asarray(z, dtype=np.float64)
        if self.kind == "identity":
            return u
        if self.kind == "log":
            return np.asarray(np.exp(np.minimum(u, _LARGEST_LOG)) - self.shift)
        if self.kind == "logit":
            return np.asarray(self.lower + (self.upper - self.lower) * expit(u))
        return self.centre + self.spread * _inverse_yeo_johnson(u, self.exponent)

    def log_jacobian(self, y: ArrayLike) -> FloatArray:
        """Compute log dz/dy, which turns the log density of z into that of y.

        Args:
            y: targets, any shape [units of the target].

        Returns:
            log dz/dy, same shape [nats per unit of the target]; -inf where y has no image, so that the log density of
            y is -inf there and never NaN.
        """
        y = np.asarray(y, dtype=np.float64)
        if self.kind == "identity":
            slope = 0 * np.where(np.isinf(y), 0, y)
        elif self.kind == "log":
            with np.errstate(divide="ignore", invalid="ignore"):
                slope = np.where(y + self.shift <= 0, -np.inf, -np.log(y + self.shift))
        elif self.kind == "logit":
            below, above = y - self.lower, self.upper - y
            with np.errstate(divide="ignore", invalid="ignore"):
                slope = math.log(self.upper - self.lower) - np.log(below) - np.log(above)
            slope = np.where((below <= 0) | (above <= 0), -np.inf, slope)
        else:
            t = (y - self.centre) / self.spread
            with np.errstate(invalid="ignore"):
                slope = (self.exponent - 1) * np.sign(t) * np.log1p(np.abs(t)) - math.log(self.spread)
        return np.where(np.isinf(y), -np.inf, slope - math.log(self.scale))

    def to_json(self) -> dict[str, Any]:
        """Return the fields as plain JSON values."""
        return dataclasses.asdict(self)

    @classmethod
    def from_json(cls, fields: Mapping[str, Any]) -> TargetTransform:
        """Rebuild what `to_json` returned."""
        return cls(**fields)

    def _untransformed_scale(self, y: FloatArray) -> FloatArray:
        """Compute T(y)."""
        if self.kind == "identity":
            return y
        if self.kind == "log":
            with np.errstate(divide="ignore", invalid="ignore"):
                return np.where(y + self.shift <= 0, -np.inf, np.log(y + self.shift))
        if self.kind == "logit":
            below, above = np.maximum(y - self.lower, 0.0), np.maximum(self.upper - y, 0.0)
            with np.errstate(divide="ignore"):
                return np.asarray(np.log(below) - np.log(above))
        return _yeo_johnson((y - self.centre) / self.spread, self.exponent)


def fit_transform(
    kind: TransformKind,
    y: ArrayLike,
    *,
    shift: float = 0.0,
    lower: float = 0.0,
    upper: float = 1.0,
    label: str = "the target",
) -> TargetTransform:
    """Fit a transform to the training targets.

    The Yeo-Johnson exponent maximises the likelihood of a normal T(y) within [0, 2], where both tails are unbounded.
    y is centred by its median and divided by its interquartile range first, so that the exponent does not depend on
    the units.

    Args:
        kind: `identity`, `log`, `yeo_johnson` or `logit`.
        y: [N], training targets [units of the target].
        shift: added before the logarithm [units of the target].
        lower: lower end of the logit's interval [units of the target].
        upper: upper end of it.
        label: how an error names the target, such as `wine.csv: column 'quality'`.

    Raises:
        DataError: y has a gap or an infinity, is constant, is not positive after the shift under `log`, or not strictly
            between the bounds under `logit`.

    Source: Yeo and Johnson (2000), eq. 3.1 (profile log likelihood of the exponent).
    """
    y = np.asarray(y, dtype=np.float64)
    if not y.size or not np.all(np.isfinite(y)):
        raise DataError(f"{label}: must be finite numbers in every training row; got {_first_bad(y)}. Clean the table.")
    if np.ptp(y) == 0:
        raise DataError(f"{label}: must vary over the training rows; got {y[0]:g} in each. Choose another target.")
    if kind == "identity":
        return TargetTransform(kind, *robust_location_and_scale(y))
    if kind == "log":
        if np.min(y) + shift <= 0:
            raise DataError(
                f"{label}: must be above {0.0 - shift:g} for a log transform with shift {shift:g}; got {np.min(y):g}. "
                "Raise the shift, or choose yeo_johnson or identity."
            )
        logs = _varying(np.log(y + shift), kind, label)
        return TargetTransform(kind, *robust_location_and_scale(logs), shift=float(shift))
    if kind == "logit":
        outside = y[(y <= lower) | (y >= upper)]
        if outside.size:
            raise DataError(
                f"{label}: must lie strictly between {lower:g} and {upper:g} for a logit transform; got "
                f"{outside[0]:g}. Widen the bounds, or choose yeo_johnson or identity."
            )
        logits = _varying(np.log(y - lower) - np.log(upper - y), kind, label)
        return TargetTransform(kind, *robust_location_and_scale(logits), lower=float(lower), upper=float(upper))
    first, centre, third = (float(value) for value in np.quantile(y, [0.25, 0.5, 0.75]))
    _, deviation = mean_and_sd(y)
    spread = third - first if third - first > 1e-3 * deviation else deviation
    t = (y - centre) / spread
    exponent = _fit_exponent(t)
    location, scale = robust_location_and_scale(_yeo_johnson(t, exponent))
    return TargetTransform(kind, location, scale, exponent=exponent, centre=centre, spread=spread)


def robust_location_and_scale(u: FloatArray) -> tuple[float, float]:
    """Return mean and standard deviation, or, where a few rows make them, median and width of the central 90 %.

    A value of 1e9 among some hundred of about one would else leave all others the same to twelve digits.

    Args:
        u: [N].
    """
    (mean, deviation), (low, middle, high) = mean_and_sd(u), np.quantile(u, [0.05, 0.5, 0.95])
    width = float(high - low) / NORMAL_WIDTH
    if width > 0 and deviation > HEAVY * width:
        return float(middle), width
    return mean, deviation


def mean_and_sd(values: FloatArray) -> tuple[float, float]:
    """Return the mean and the standard deviation of values [N]; it is above 0 wherever two of them differ.

    They are divided by a power of two meanwhile, which rounds nothing, so that no unit makes a square vanish.
    """
    _, exponent = math.frexp(float(np.max(np.abs(values))))
    scaled = np.ldexp(values, -exponent)
    return math.ldexp(float(np.mean(scaled)), exponent), math.ldexp(float(np.std(scaled)), exponent)


def candidate_transforms(y: ArrayLike, *, label: str = "the target") -> list[TargetTransform]:
    """Fit every transform that `auto` chooses from: identity, log if all y > 0, Yeo-Johnson.

    Args:
        y: [N], training targets [units of the target].
        label: how an error names the target.

    Raises:
        DataError: y has a gap or an infinity, or is constant.
    """
    y = np.asarray(y, dtype=np.float64)
    kinds: list[TransformKind] = ["identity", "yeo_johnson"]
    if y.size and np.min(y) > 0 and np.ptp(np.log(y)) > 0:
        kinds.insert(1, "log")
    return [fit_transform(kind, y, label=label) for kind in kinds]


def _fit_exponent(t: FloatArray) -> float:
    """Maximise the profile log likelihood of the Yeo-Johnson exponent, sum log dT/dt - N/2 log var T."""
    from scipy.optimize import minimize_scalar

    signed_logs = float(np.mean(np.sign(t) * np.log1p(np.abs(t))))

    def loss(exponent: float) -> float:
        return 0.5 * math.log(float(np.var(_yeo_johnson(t, exponent)))) - (exponent - 1) * signed_logs

    found = float(minimize_scalar(loss, bounds=EXPONENT_BOUNDS, method="bounded", options={"xatol": 1e-6}).x)
    return min((found, *EXPONENT_BOUNDS), key=loss)


def _yeo_johnson(t: FloatArray, exponent: float) -> FloatArray:
    """Compute T(t): ((1 + t)^lambda - 1) / lambda for t >= 0, its mirror image with 2 - lambda for t < 0."""
    return np.where(t < 0, -_power(np.maximum(-t, 0), 2 - exponent), _power(np.maximum(t, 0), exponent))


def _inverse_yeo_johnson(u: FloatArray, exponent: float) -> FloatArray:
    """Invert `_yeo_johnson`."""
    return np.where(u < 0, -_inverse_power(np.maximum(-u, 0), 2 - exponent), _inverse_power(np.maximum(u, 0), exponent))


def _power(a: FloatArray, power: float) -> FloatArray:
    """Compute ((1 + a)^power - 1) / power for a >= 0, accurate near power 0, where it is log(1 + a)."""
    logs: FloatArray = np.log1p(a)
    if abs(power) < _TINY_POWER:
        return logs
    with np.errstate(over="ignore"):
        return np.asarray(np.expm1(power * logs) / power)


def _inverse_power(u: FloatArray, power: float) -> FloatArray:
    """Invert `_power` for u >= 0; beyond its range (power < 0) give the value at the range's edge."""
    if abs(power) < _TINY_POWER:
        logs = u
    else:
        with np.errstate(over="ignore"):
            logs = np.log1p(np.maximum(power * u, -1 + 1e-15)) / power
    return np.asarray(np.expm1(np.minimum(logs, _LARGEST_LOG)))


def _varying(transformed: FloatArray, kind: TransformKind, label: str) -> FloatArray:
    """Refuse values of which too few digits are left to tell them apart."""
    if np.ptp(transformed) == 0:
        raise DataError(
            f"{label}: must vary over the training rows after its {kind} transform; got {transformed[0]:g} in each. "
            "Choose yeo_johnson or identity."
        )
    return transformed


def _first_bad(y: FloatArray) -> str:
    """Name the first value that is not finite."""
    return f"{y[~np.isfinite(y)][0]}" if y.size else "no rows"
