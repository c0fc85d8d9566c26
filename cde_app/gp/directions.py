"""The directions in which points vary most."""

from __future__ import annotations

import numpy as np

from cde_app.arrays import Array


def principal_directions(X: Array, num_directions: int) -> Array:
    """Return the leading eigenvectors of the covariance of X, signs fixed, [D, num_directions]."""
    _, vectors = np.linalg.eigh(np.cov(X.T).reshape(X.shape[1], X.shape[1]))
    vectors = vectors[:, ::-1][:, :num_directions]
    return vectors * np.sign(vectors[np.abs(vectors).argmax(0), np.arange(num_directions)])
