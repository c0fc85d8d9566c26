"""Baselines: the two simplest densities any model has to beat, as mixtures, so that they are scored the same way."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from cde_app.data.transform import TargetTransform
from cde_app.predictive.blocks import one_blas_thread
from cde_app.predictive.mixture import Mixture

FloatArray = NDArray[np.float64]

# 2^8 = 256 components: as many as a model's density has by default, so that scoring costs the same.
MERGE_DEPTH = 8
# Relative to the mean square of a standardised feature: settles collinear columns, changes nothing else.
RIDGE = 1e-8
# The kernel's and the residual's smallest standard deviation, in standard deviations of the target.
SMALLEST_SD = 1e-3


@dataclass(frozen=True)
class Climatology:
    """The unconditional density of the targets: what is known without looking at the inputs.

    Args:
        weights: [C].
        means: [C, P], kernel centres [standardised].
        variances: [C, P], kernel variances [standardised].
        location: [P], training means [units of the targets].
        scale: [P], training standard deviations [units of the targets].
    """

    weights: FloatArray
    means: FloatArray
    variances: FloatArray
    location: FloatArray
    scale: FloatArray

    def predict(self, num_rows: int) -> Mixture:
        """Return the same density for every one of `num_rows` rows (views, no memory)."""
        shape = (num_rows, *self.means.shape)
        return Mixture(
            weights=self.weights,
            means=np.broadcast_to(self.means, shape),
            variances=np.broadcast_to(self.variances, shape),
            transforms=_affine_transforms(self.location, self.scale),
        )

    def arrays(self) -> dict[str, FloatArray]:
        """Return what `from_arrays` needs."""
        return {name: getattr(self, name) for name in self.__dataclass_fields__}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, ArrayLike]) -> Climatology:
        """Rebuild what `arrays` returned."""
        return cls(**{name: np.asarray(arrays[name], dtype=np.float64) for name in cls.__dataclass_fields__})


@dataclass(frozen=True)
class LinearGaussian:
    """y = b + A x + e, e normal with one covariance for all rows.

    Args:
        coefficients: [D + 1, P], intercept first [standardised targets].
        residual_covariance: [P, P] [standardised targets].
        location: [P], training means [units of the targets].
        scale: [P], training standard deviations [units of the targets].
    """

    coefficients: FloatArray
    residual_covariance: FloatArray
    location: FloatArray
    scale: FloatArray

    @one_blas_thread()
    def predict(self, X: ArrayLike) -> Mixture:
        """Predict one Gaussian per row.

        Args:
            X: [N, D], standardised features.
        """
        X = np.asarray(X, dtype=np.float64)
        means = (self.coefficients[0] + X @ self.coefficients[1:])[:, None, :]
        num_targets = means.shape[-1]
        return Mixture(
            weights=np.ones(1),
            means=means,
            variances=np.broadcast_to(np.diag(self.residual_covariance), means.shape),
            transforms=_affine_transforms(self.location, self.scale),
            covariances=self.residual_covariance[None, None] if num_targets > 1 else None,
        )

    def arrays(self) -> dict[str, FloatArray]:
        """Return what `from_arrays` needs."""
        return {name: getattr(self, name) for name in self.__dataclass_fields__}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, ArrayLike]) -> LinearGaussian:
        """Rebuild what `arrays` returned."""
        return cls(**{name: np.asarray(arrays[name], dtype=np.float64) for name in cls.__dataclass_fields__})


def fit_climatology(targets: ArrayLike) -> Climatology:
    """Fit a Gaussian kernel density to the training targets, near kernels merged into at most 256.

    Bandwidth for one target 0.9 min(sd, IQR / 1.349) N^(-1/5), for several
    h_p = (4 / (P + 2))^(1 / (P + 4)) N^(-1 / (P + 4)) sd_p. With more than 256 rows, halving the rows at the median of
    their widest target makes 256 groups; each becomes one component with the mean of its rows and with variance
    h^2 + the group's own, so that mean and variances of the density are those of the full sum. One more component, a
    normal with twice the standard deviation, has weight 2 / (N + 1): the chance that a new value lies outside the range
    of N exchangeable ones.

    Args:
        targets: [N, P], training targets [units of the targets].

    Source: Silverman (1986), "Density estimation", eq. 3.31; Scott (1992), "Multivariate density estimation", eq. 6.41.
    """
    location, scale, standardised = _standardise(targets)
    num_rows, num_targets = standardised.shape
    sd = np.std(standardised, axis=0)
    if num_targets == 1:
        quartiles = np.quantile(standardised[:, 0], [0.25, 0.75])
        robust_sd = float(quartiles[1] - quartiles[0]) / 1.349
        bandwidth = 0.9 * (np.minimum(sd, robust_sd) if robust_sd > 0 else sd) * num_rows**-0.2
    else:
        power = 1.0 / (num_targets + 4)
        bandwidth = (4.0 / (num_targets + 2)) ** power * sd * num_rows**-power
    bandwidth = np.maximum(bandwidth, SMALLEST_SD)
    groups = _nearby_groups(standardised)
    outside = 2.0 / (num_rows + 1) if num_rows > 1 else 0.5
    return Climatology(
        weights=np.array([(1 - outside) * len(group) / num_rows for group in groups] + [outside]),
        means=np.array([group.mean(axis=0) for group in groups] + [np.zeros(num_targets)]),
        variances=np.array([bandwidth**2 + group.var(axis=0) for group in groups] + [np.full(num_targets, 4.0)]),
        location=location,
        scale=scale,
    )


@one_blas_thread()
def fit_linear_gaussian(X: ArrayLike, targets: ArrayLike) -> LinearGaussian:
    """Fit least squares with one full residual covariance.

    A = (X'X + ridge N I)^-1 X'Y on centred columns; covariance R'R / (N - degrees of freedom), the degrees of freedom
    being the trace of the hat matrix.

    Args:
        X: [N, D], standardised training features.
        targets: [N, P], training targets [units of the targets].

    Source: Hastie, Tibshirani and Friedman (2009), "The elements of statistical learning", eq. 3.8, 3.44 and 3.50.
    """
    location, scale, standardised = _standardise(targets)
    X = np.asarray(X, dtype=np.float64)
    num_rows = len(X)
    centre = X.mean(axis=0)
    left, singular, right = np.linalg.svd(X - centre, full_matrices=False)
    shrunk = singular**2 + RIDGE * num_rows
    slopes = right.T @ ((singular / shrunk)[:, None] * (left.T @ standardised))
    coefficients = np.vstack([-centre @ slopes, slopes])
    residuals = standardised - coefficients[0] - X @ slopes
    degrees_of_freedom = 1.0 + float(np.sum(singular**2 / shrunk))
    covariance = residuals.T @ residuals / max(num_rows - degrees_of_freedom, 1.0)
    covariance[np.diag_indices_from(covariance)] += SMALLEST_SD**2
    return LinearGaussian(coefficients, covariance, location, scale)


def _standardise(targets: ArrayLike) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Return means [P], standard deviations [P] and the standardised targets [N, P]."""
    targets = np.asarray(targets, dtype=np.float64)
    location, scale = targets.mean(axis=0), targets.std(axis=0)
    scale = np.where(scale > 0, scale, 1.0)
    return location, scale, (targets - location) / scale


def _nearby_groups(points: FloatArray) -> list[FloatArray]:
    """Halve the rows [N, P] at the median of their widest column, again and again; no halving if N is small."""
    if len(points) <= 2**MERGE_DEPTH:
        return [points[n : n + 1] for n in range(len(points))]
    groups = [points]
    for _ in range(MERGE_DEPTH):
        ordered = [group[np.argsort(group[:, int(np.argmax(group.var(axis=0)))], kind="stable")] for group in groups]
        groups = [half for group in ordered for half in (group[: len(group) // 2], group[len(group) // 2 :])]
    return groups


def _affine_transforms(location: FloatArray, scale: FloatArray) -> tuple[TargetTransform, ...]:
    """Return one standardising transform per target."""
    return tuple(
        TargetTransform("identity", location=float(mean), scale=float(sd))
        for mean, sd in zip(location, scale, strict=True)
    )
