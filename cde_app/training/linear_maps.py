"""Where the learned linear maps start: the projection A of the features and the mixing P of the output's GPs.

Letters: N rows, D features, P targets, Q GPs that are mixed.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from cde_app import config
from cde_app.arrays import Array
from cde_app.predictive.directions import principal_directions
from cde_app.training.warm_start import SparseRegression


def start_projection(settings: config.InputProjection | None, X: Array) -> Array | None:
    """Return the leading principal directions of X, [D, D'], D' <= D; None without a projection."""
    return None if settings is None else principal_directions(X, min(settings.dim, X.shape[1]))


def start_mixing(settings: config.OutputMixing | None, Y: Array) -> Array | None:
    """Return the leading principal directions of Y as the rows of P, [Q, P]; None without mixing.

    With as many GPs as targets P is the identity, from which the warm start is kept as it is.
    """
    if settings is None:
        return None
    num_targets = Y.shape[1]
    if settings.num_latent_gps >= num_targets:
        return np.eye(num_targets)
    return principal_directions(Y, settings.num_latent_gps).T


def unmixed(regression: SparseRegression, mixing: Array) -> SparseRegression:
    """Return the regression of f = y P', its GPs independent; the rows of P [Q, P] are orthonormal."""
    squares, q_sqrt = mixing**2, regression.q_sqrt
    S = np.einsum("qp,pmn->qmn", squares, q_sqrt @ np.swapaxes(q_sqrt, 1, 2))
    return replace(
        regression, q_mu=regression.q_mu @ mixing.T, q_sqrt=np.linalg.cholesky(S), noise=squares @ regression.noise
    )
