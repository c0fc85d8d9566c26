"""Where the latent layer starts, and the plane in w with which the output layer starts.

The plane is A z, A the loadings of the factor analysis of the residual and z the normal scores of w, Phi^-1(F(w)),
which are normal whatever the prior. The encoder starts as the exact posterior of w in that linear model.

Letters: N rows, n points of a design, D features, Dw latent variables, P targets, Q GPs of the output layer.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.linalg import solve_triangular

from cde_app import config
from cde_app.arrays import Array, IndexArray
from cde_app.model.encoder import RESIDUAL_RANGE
from cde_app.model.prior import Prior
from cde_app.model.start import EncoderStart, TrendStart
from cde_app.predictive.compositor import COMPOSITORS, Compositor, central_ends
from cde_app.rows import Stream, generator
from cde_app.training.kernel_start import Axis, composed_axes, lengthscales_of
from cde_app.training.noise_split import LinearFactor
from cde_app.training.warm_start import SparseRegression

DESIGN_POINTS = 4096


@dataclass(frozen=True)
class LatentPlane:
    """The plane A z at the points where a start with w is fitted: rows, repeated where few, and w from the prior."""

    slope: Array
    """A, of f, [Q, Dw], in standardised units of y."""
    compositor: Compositor
    """c(x, w)."""
    rows: IndexArray
    """[n]."""
    scores: Array
    """z, [n, Dw]."""
    inputs: Array
    """c(x, w) at the rows."""
    axes: tuple[Axis, ...]
    """What the inputs are."""
    lengthscales: Array
    """Of a kernel on the inputs."""

    @property
    def values(self) -> Array:
        """A z, [n, Q]."""
        return self.scores @ self.slope.T


def latent_plane(
    settings: config.Latent,
    prior: Prior,
    regression: SparseRegression,
    features: Array,
    axes: tuple[Axis, ...],
    *,
    slope: Array,
    seed: int,
) -> LatentPlane:
    """Draw the points and evaluate what a GP on c(x, w) sees there.

    Args:
        settings: the `latent` block.
        prior: p(w).
        regression: the warm start.
        features: [N, D], with which the output layer starts.
        axes: [D], what the features are.
        slope: A, [Q, Dw].
        seed: of the draws.
    """
    compositor = start_compositor(settings, prior, features)
    random = generator(seed, Stream.LATENT_PLANE)
    repeats = -(-DESIGN_POINTS // len(features))
    rows = np.concatenate([random.permutation(len(features)) for _ in range(repeats)])[:DESIGN_POINTS]
    scores = random.standard_normal((DESIGN_POINTS, settings.dim))
    return LatentPlane(
        slope=slope,
        compositor=compositor,
        rows=rows,
        scores=scores,
        inputs=compositor.compose(features[rows], prior.from_normal_scores(scores)),
        axes=composed_axes(compositor, axes, latent_dim=settings.dim),
        lengthscales=latent_lengthscales(regression, features, prior, compositor, latent_dim=settings.dim),
    )


def start_compositor(settings: config.Latent, prior: Prior, features: Array) -> Compositor:
    """Return how x and w are joined before training; features [N, D]."""
    return COMPOSITORS[settings.compositor.kind].start(
        settings.compositor, features, quantiles=prior.from_normal_scores, latent_dim=settings.dim
    )


def latent_lengthscales(
    regression: SparseRegression, features: Array, prior: Prior, compositor: Compositor, *, latent_dim: int
) -> Array:
    """Return lengthscales for c(x, w), one for each of its columns.

    Those of x are the warm start's, within reason. That of a w beside x is half the width of what the compositor makes
    of the prior's central 68 %, at x = 0.
    """
    num_features = features.shape[1]
    if regression.inducing_inputs.shape[1] == num_features:
        warm = lengthscales_of(regression.kernel, num_features)
    else:
        warm = np.full(num_features, np.sqrt(num_features))
    of_features = np.clip(warm, 0.5, 1.0 + np.sqrt(num_features))
    if not compositor.widens:
        return of_features
    ends = central_ends(prior.from_normal_scores, latent_dim)
    low, high = compositor.compose(np.zeros((2, num_features)), ends)[:, num_features:]
    return np.concatenate([of_features, 0.5 * (high - low)])


def start_encoder(
    settings: config.MLPEncoder | config.PerRowEncoder,
    regression: SparseRegression,
    factor: LinearFactor,
    residual: Array,
) -> EncoderStart:
    """Return the posterior of w in the linear model, as far as the encoder can represent it.

    Args:
        settings: the `encoder` block.
        regression: the warm start, whose mean the encoder subtracts.
        factor: r = A w + e.
        residual: r, [N, P].
    """
    slope, sd = factor.posterior()
    means = np.clip(residual, -RESIDUAL_RANGE, RESIDUAL_RANGE) @ slope
    if settings.initial_width is not None:
        sd = np.full(len(sd), settings.initial_width)
    if settings.kind == "mlp" and not settings.residual:
        return EncoderStart(None, 0 * slope, sd, 0 * means)
    trend = TrendStart(
        regression.kernel,
        regression.inducing_inputs,
        solve_triangular(regression.factor.T, regression.q_mu, lower=False),
        regression.mean_function,
        np.sqrt(regression.noise),
    )
    return EncoderStart(trend, slope, sd, means)
