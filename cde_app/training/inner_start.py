"""Where the inner layers start: close to their mean functions.

Letters: N rows, D features, Q GPs of a layer.
"""

from __future__ import annotations

import numpy as np
from scipy.linalg import solve_triangular

from cde_app import config
from cde_app.arrays import Array
from cde_app.model.prior import Prior
from cde_app.model.start import GPStart, InnerStart
from cde_app.predictive.compositor import Compositor, Concatenation
from cde_app.predictive.directions import principal_directions
from cde_app.predictive.mean_function import MEAN_FUNCTIONS
from cde_app.predictive.sparse_gp import cholesky
from cde_app.rows import Stream, generator
from cde_app.training.inducing import choose_inducing
from cde_app.training.kernel_start import Axis, composed_axes, start_kernel
from cde_app.training.latent_start import start_compositor

INNER_VARIANCE = 0.01
INNER_SD = 0.1


def inner_starts(
    settings: config.Model, prior: Prior | None, X: Array, axes: tuple[Axis, ...], *, seed: int
) -> tuple[tuple[InnerStart, ...], Array, tuple[Axis, ...]]:
    """Return inner layers that start close to their mean functions, and the features and axes that they start with."""
    starts = []
    features = X
    for layer in settings.layers:
        num_features = features.shape[1]
        directions = principal_directions(features, min(layer.num_gps, num_features))
        num_gps = directions.shape[1]
        mean_function = MEAN_FUNCTIONS[layer.mean.kind]
        keeps_width = mean_function.keeps_width(num_features, num_gps)
        inputs, input_axes = features, axes
        compositor: Compositor = Concatenation()
        if layer.sees_latent and prior is not None:
            scores = generator(seed, Stream.INNER_SCORES).standard_normal((len(X), settings.latent.dim))
            compositor = start_compositor(settings.latent, prior, features)
            inputs = compositor.compose(features, prior.from_normal_scores(scores))
            input_axes = composed_axes(compositor, axes, latent_dim=settings.latent.dim)
        gp = inner_gp(layer, inputs, input_axes, directions, seed=seed)
        mean = mean_function.along(np.eye(num_features) if keeps_width else directions)
        starts.append(InnerStart(gp, mean, directions.T if keeps_width else np.eye(num_gps), compositor))
        if not layer.mean.keeps_columns:
            axes = (Axis(""),) * num_gps
        features = features if keeps_width else features @ directions
    return tuple(starts), features, axes


def inner_gp(
    layer: config.InnerLayer, inputs: Array, axes: tuple[Axis, ...], directions: Array, *, seed: int
) -> GPStart:
    """Return f of one layer, almost zero, or the principal components themselves where m does not carry x on.

    Args:
        layer: its settings.
        inputs: what f sees, x or c(x, w); where w is concatenated, the features come first.
        axes: what the inputs are.
        directions: [D, Q], the principal directions of the features.
        seed: of k-means.
    """
    num_features, num_gps = directions.shape
    carries = not MEAN_FUNCTIONS[layer.mean.kind].carries_x
    lengthscales = np.full(inputs.shape[1], np.sqrt(inputs.shape[1]))
    variance = 1.0 if carries else INNER_VARIANCE
    kernel = start_kernel(layer.kernel, axes=axes, variance=variance, lengthscales=lengthscales)
    Z = choose_inducing(layer.inducing, kernel, inputs, layer.num_inducing, seed=seed)
    q_mu = np.zeros((len(Z), num_gps))
    if carries:
        components = Z[:, :num_features] @ directions
        q_mu = solve_triangular(cholesky(kernel.covariance(Z, Z)), components, lower=True)
    return GPStart(kernel, Z, q_mu, np.full((len(Z), num_gps), INNER_SD), layer.sees_latent)
