"""Many smooth functions of x, interpolated between the rows where they are known: what a page evaluates for a model.

Letters: N rows, D features, T sites, Q functions, r principal components.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from cde_app.arrays import Array

MAX_RANK = 80
TOLERANCE = 0.01
"""Of the root mean square error that is left to the principal components that are dropped, in units of a function's
scale."""


@dataclass(frozen=True)
class Emulator:
    """Q functions of x: principal components of their values at the sites, each interpolated by a cubic radial basis.

    s(x) = sum_t a_t |x' - x'_t|^3 + b_0 + b x' with x' = scale x, and f(x) = centre + s(x) basis. In one dimension this
    is the natural cubic spline. At the sites it is exact, but for the components that are dropped.

    Source: Duchon (1977), "Splines minimizing rotation-invariant semi-norms in Sobolev spaces"; Higdon et al. (2008),
    "Computer model calibration using high-dimensional output", for the principal components.
    """

    scale: Array
    """[D], factors of the features: the more a feature moves the functions, the larger."""
    sites: Array
    """[T, D], scaled."""
    coefficients: Array
    """[T + 1 + D, r]: a, b_0 and b."""
    centre: Array
    """[Q]."""
    basis: Array
    """[r, Q]."""

    def __call__(self, X: Array) -> Array:
        """Return the functions at some rows; [N, D], standardised, to [N, Q]."""
        scaled = X * self.scale
        values = np.concatenate([_cubes(scaled, self.sites), np.ones((len(X), 1)), scaled], axis=1)
        return self.centre + values @ self.coefficients @ self.basis


def fit_emulator(X: Array, values: Array, units: Array, sensitivity: Array) -> Emulator:
    """Fit the emulator to the values of the functions at distinct rows.

    Args:
        X: [T, D], standardised, distinct rows.
        values: [T, Q].
        units: [Q], the size of an error in each function that matters as much as one in another.
        sensitivity: [D], how fast the functions vary with each feature.

    The square root of the sensitivity is the feature's factor: between treating all features alike and believing the
    sensitivity of few rows, it has the smallest error.
    """
    root = np.sqrt(np.maximum(sensitivity, 1e-3 * sensitivity.max() + np.finfo(float).tiny))
    scale = root / root.max()
    centre = values.mean(axis=0)
    left, sizes, right = np.linalg.svd((values - centre) / units, full_matrices=False)
    left_over = np.sqrt(np.cumsum((sizes**2)[::-1])[::-1] / len(X))
    rank = int(np.clip(np.sum(left_over > TOLERANCE), 1, min(MAX_RANK, len(sizes))))
    scores, basis = left[:, :rank] * sizes[:rank], right[:rank] * units
    sites = X * scale
    trend = np.concatenate([np.ones((len(X), 1)), sites], axis=1)
    num_sites, num_trend = trend.shape
    matrix = np.zeros((num_sites + num_trend, num_sites + num_trend))
    matrix[:num_sites, :num_sites] = _cubes(sites, sites)
    matrix[:num_sites, num_sites:], matrix[num_sites:, :num_sites] = trend, trend.T
    known = np.concatenate([scores, np.zeros((num_trend, rank))])
    # Features that depend on each other linearly at the sites, such as the labels of a column, leave b open.
    coefficients = _solve(matrix, known, num_sites)
    return Emulator(scale, sites, coefficients, centre, basis)


def _solve(matrix: Array, known: Array, num_sites: int) -> Array:
    """Solve for the coefficients; a tiny ridge on the trend makes the solution unique."""
    matrix = matrix.copy()
    trend = np.arange(num_sites, len(matrix))
    matrix[trend, trend] = -1e-10 * num_sites
    return np.asarray(np.linalg.solve(matrix, known))


def _cubes(A: Array, B: Array) -> Array:
    """Return the cubes of the distances of all pairs; [N, D] and [T, D] to [N, T]."""
    squares = np.sum(A**2, axis=1)[:, None] - 2 * A @ B.T + np.sum(B**2, axis=1)
    return np.asarray(np.maximum(squares, 0.0) ** 1.5)
