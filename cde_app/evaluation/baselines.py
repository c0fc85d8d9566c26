"""Baselines: simple densities that a model should beat; they are mixtures, so that scoring is the same.

One more, the sparse GP from which a training started, is a part of the model (`Predictor.sparse_gp`).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike

from cde_app.arrays import Array, IntArray
from cde_app.machine.blocks import one_blas_thread
from cde_app.predictive.kernel_density import SMALLEST_SD, kernel_density
from cde_app.predictive.mixture import Mixture
from cde_app.targets import Identity

if TYPE_CHECKING:
    from scipy.spatial import cKDTree

# 2^8 = 256 components, the default number of a model's density, so that scoring costs the same.
MERGE_DEPTH = 8
# Relative to the mean square of a standardised feature: affects only collinear columns.
RIDGE = 1e-8
WIDE_VARIANCE = 4.0
"""Of the normal that catches what is far from all neighbours: that of the climatology."""
NEIGHBOUR_ROWS, JUDGED_ROWS = 5000, 1000
"""The largest number of training rows among which neighbours are sought, and of those that choose their number."""
NEIGHBOUR_COUNTS, KERNEL_WIDTHS = (8, 16, 32, 64), (0.2, 0.4, 0.7, 1.0)
"""Numbers of neighbours, and widths of the kernels in standard deviations of the targets among neighbours, to try."""


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


@dataclass(frozen=True)
class NearestNeighbours:
    """A kernel density of the targets of the k nearest training rows, and a wide normal with weight 1 / (k + 1).

    Args:
        X: [R, D], standardised features of training rows.
        Y: [R, P], their targets [standardised].
        weights: [k + 1], of the kernels and of the wide normal, k < R.
        variances: [P], of the kernels [standardised].
        location: [P], training means [units of the targets].
        scale: [P], training standard deviations [units of the targets].
    """

    X: Array
    Y: Array
    weights: Array
    variances: Array
    location: Array
    scale: Array

    @property
    def count(self) -> int:
        """K."""
        return len(self.weights) - 1

    def predict(self, X: ArrayLike) -> Mixture:
        """Predict k + 1 Gaussians per row; X [N, D], standardised features."""
        _, found = self._tree.query(np.asarray(X, dtype=np.float64), range(1, self.count + 1))
        return self._mixture(found)

    def _mixture(self, found: IntArray) -> Mixture:
        """Return the mixture of rows whose neighbours have the given indices, [N, k]."""
        num_rows, num_targets = len(found), self.Y.shape[1]
        means = np.concatenate([self.Y[found], np.zeros((num_rows, 1, num_targets))], axis=1)
        widths = np.vstack([np.tile(self.variances, (self.count, 1)), np.full((1, num_targets), WIDE_VARIANCE)])
        return Mixture(
            weights=self.weights,
            means=means,
            variances=np.broadcast_to(widths, means.shape),
            transforms=_affine_transforms(self.location, self.scale),
        )

    @cached_property
    def _tree(self) -> cKDTree:
        from scipy.spatial import cKDTree  # predictions do not need it

        return cKDTree(self.X)


def fit_nearest_neighbours(X: ArrayLike, targets: ArrayLike, steps: ArrayLike = 0.0) -> NearestNeighbours | None:
    """Fit a nearest-neighbour density: its number of neighbours and its bandwidth have the best left-out log density.

    Args:
        X: [N, D], standardised training features; the first `NEIGHBOUR_ROWS` are used, in random order.
        targets: [N, P], training targets [units of the targets].
        steps: [P], steps of the targets' rounding, as for `fit_climatology`.

    Returns:
        None if there are too few rows for the smallest number of neighbours.

    Source: Silverman (1986), "Density estimation", section 3.4.4, for likelihood cross-validation.
    """
    X = np.asarray(X, dtype=np.float64)[:NEIGHBOUR_ROWS]
    location, scale, Y = _standardise(np.asarray(targets, dtype=np.float64)[:NEIGHBOUR_ROWS])
    counts = [count for count in NEIGHBOUR_COUNTS if 2 * count <= len(X)]
    if not counts:
        return None
    judged = np.arange(min(len(X), JUDGED_ROWS))
    least = np.maximum(np.square(np.asarray(steps, dtype=np.float64) / scale) / 12.0, SMALLEST_SD**2)
    all_rows = NearestNeighbours(X, Y, _equal(counts[-1] + 1), least, location, scale)
    _, found = all_rows._tree.query(X[judged], range(1, counts[-1] + 2))
    own = found == judged[:, None]
    own[~own.any(axis=1), -1] = True  # a row with many copies need not find itself
    others = found[~own].reshape(len(judged), counts[-1])
    best, best_score = all_rows, -np.inf
    for count in counts:
        within = Y[others[:, :count]].var(axis=1, ddof=1).mean(axis=0)
        for width in KERNEL_WIDTHS:
            candidate = replace(all_rows, weights=_equal(count + 1), variances=np.maximum(width**2 * within, least))
            score = float(candidate._mixture(others[:, :count]).log_prob(location + scale * Y[judged]).mean())
            if score > best_score:
                best, best_score = candidate, score
    return best


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


def _equal(number: int) -> Array:
    return np.full(number, 1 / number)


def _standardise(targets: ArrayLike) -> tuple[Array, Array, Array]:
    """Return means [P], standard deviations [P] and the standardised targets [N, P]."""
    targets = np.asarray(targets, dtype=np.float64)
    location, scale = targets.mean(axis=0), targets.std(axis=0)
    scale = np.where(scale > 0, scale, 1.0)
    return location, scale, (targets - location) / scale


def _affine_transforms(location: Array, scale: Array) -> tuple[Identity, ...]:
    """Return one standardising transform per target."""
    return tuple(Identity(float(mean), float(sd)) for mean, sd in zip(location, scale, strict=True))
