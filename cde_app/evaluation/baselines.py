"""Baselines: two simple densities that every model should beat; they are mixtures, so that scoring is the same."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from cde_app.arrays import Array
from cde_app.machine.blocks import one_blas_thread
from cde_app.predictive.kernel_density import SMALLEST_SD, kernel_density
from cde_app.predictive.mixture import Mixture
from cde_app.targets import Identity

# 2^8 = 256 components, the default number of a model's density, so that scoring costs the same.
MERGE_DEPTH = 8
# Relative to the mean square of a standardised feature: affects only collinear columns.
RIDGE = 1e-8


@dataclass(frozen=True)
class Climatology:
    """The unconditional density of the targets, which ignores the inputs.

    Args:
        weights: [C].
        means: [C, P], kernel centres [standardised].
        variances: [C, P], kernel variances [standardised].
        location: [P], training means [units of the targets].
        scale: [P], training standard deviations [units of the targets].
    """

    weights: Array
    means: Array
    variances: Array
    location: Array
    scale: Array

    def predict(self, num_rows: int) -> Mixture:
        """Return the same density for every one of `num_rows` rows (views, no memory)."""
        shape = (num_rows, *self.means.shape)
        return Mixture(
            weights=self.weights,
            means=np.broadcast_to(self.means, shape),
            variances=np.broadcast_to(self.variances, shape),
            transforms=_affine_transforms(self.location, self.scale),
        )


@dataclass(frozen=True)
class LinearGaussian:
    """y = b + A x + e, where e is normal with the same covariance in all rows.

    Args:
        coefficients: [D + 1, P], intercept first [standardised targets].
        residual_covariance: [P, P] [standardised targets].
        location: [P], training means [units of the targets].
        scale: [P], training standard deviations [units of the targets].
    """

    coefficients: Array
    residual_covariance: Array
    location: Array
    scale: Array

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


def fit_climatology(targets: ArrayLike, steps: ArrayLike = 0.0) -> Climatology:
    """Fit a Gaussian kernel density to the training targets; see `kernel_density`.

    Args:
        targets: [N, P], training targets [units of the targets].
        steps: [P], steps of the targets' rounding, 0 if immaterial. A kernel is at least as wide as the rounding error,
            like the model's noise, so that both are judged at the same resolution [units of the targets].
    """
    location, scale, standardised = _standardise(targets)
    least_variance = np.square(np.asarray(steps, dtype=np.float64) / scale) / 12.0
    density = kernel_density(standardised, merge_depth=MERGE_DEPTH, least_variance=least_variance)
    return Climatology(*density, location, scale)


@one_blas_thread()
def fit_linear_gaussian(X: ArrayLike, targets: ArrayLike) -> LinearGaussian:
    """Fit a linear model by least squares, with one full residual covariance.

    A = (X'X + ridge N I)^-1 X'Y on centred columns; the covariance is R'R / (N - degrees of freedom), where the degrees
    of freedom are the trace of the hat matrix.

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


def _standardise(targets: ArrayLike) -> tuple[Array, Array, Array]:
    """Return means [P], standard deviations [P] and the standardised targets [N, P]."""
    targets = np.asarray(targets, dtype=np.float64)
    location, scale = targets.mean(axis=0), targets.std(axis=0)
    scale = np.where(scale > 0, scale, 1.0)
    return location, scale, (targets - location) / scale


def _affine_transforms(location: Array, scale: Array) -> tuple[Identity, ...]:
    """Return one standardising transform per target."""
    return tuple(Identity(float(mean), float(sd)) for mean, sd in zip(location, scale, strict=True))
