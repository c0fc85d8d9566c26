"""From the warm start to a `ModelStart`: at step zero the model predicts what the sparse GP predicts.

The layers start in the order of the data: x A, inner layers close to their mean functions, the output layer

    y = m(x) + f P + e,        f = g(x) + h(x, w) or one f(x, w),

with m and g from the warm start and h the plane in w (`latent`). The rows of P are orthonormal before training, so f
starts as the warm start of (y - m(x)) P'. What A, P and c(x, w) leave out starts as noise.

Letters: N rows, D features, P targets, Q GPs of a layer (P in the output layer if it does not mix).
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from scipy.linalg import solve_triangular

from cde_app import config
from cde_app.arrays import Array
from cde_app.gp.compositor import Compositor, Concatenation
from cde_app.gp.directions import principal_directions
from cde_app.gp.kernels import Kernel
from cde_app.gp.likelihood import NOISES, Noise
from cde_app.gp.mean_function import MEAN_FUNCTIONS, MeanFunction
from cde_app.gp.sparse_gp import cholesky
from cde_app.machine.streams import Stream, generator
from cde_app.model.prior import Prior, build_prior
from cde_app.model.start import GPStart, InnerStart, ModelStart
from cde_app.training.features import Features, mixed_features
from cde_app.training.gp_start import fitted_gp, start_prior, unexplained_variance
from cde_app.training.start.latent import (
    LatentPlane,
    WarmFit,
    latent_plane,
    start_compositor,
    start_encoder,
    start_factor,
)
from cde_app.training.warm_start import SparseRegression

INNER_VARIANCE, INNER_SD = 0.01, 0.1
"""Kernel variance of an f that starts close to zero, and standard deviation of q(v)."""
NO_COMPOSITOR: Compositor = Concatenation()
"""Compositor of a layer that does not see w."""
PLANE_NOISE = 0.01
"""Relative noise variance of the regression that fits h to the plane."""


def starting_point(
    settings: config.ModelSettings,
    warm_start: config.WarmStart,
    regression: SparseRegression,
    features: Features,
    Y: Array,
    *,
    seed: int,
    noise_floor: Array | float = 0.0,
) -> ModelStart:
    """Return the starting point of the model.

    Args:
        settings: the `model` block.
        warm_start: the `warm_start` block.
        regression: the fitted sparse GP.
        features: N rows.
        Y: [N, P], standardised targets.
        seed: for k-means and the draws of w.
        noise_floor: [P], noise variances that w must leave to the likelihood.
    """
    prior = build_prior(settings.latent) if settings.latent.dim else None
    projection = start_projection(settings.input_projection, features.X)
    mixing = start_mixing(settings.output.mixing, Y)
    seen = features if projection is None else mixed_features(features.X @ projection)
    inner_layers, seen = start_inner_layers(settings, prior, seen, seed=seed)
    warm = WarmFit(regression, features, Y, regression.mean(features.X))
    encoder, plane, noise = None, None, regression.noise
    if prior is not None:
        factor = start_factor(settings.latent.dim, warm_start.latent_share, warm, noise_floor, mixing)
        encoder = start_encoder(settings.latent.encoder, warm, factor)
        plane = latent_plane(settings.latent, prior, warm, factor, seen, mixing, seed=seed)
        noise = regression.noise * factor.noise
    terms, mean_function, unexplained = start_output(settings, warm, seen, plane, mixing, seed=seed)
    floor = np.broadcast_to(np.maximum(noise_floor, settings.likelihood.variance_floor), noise.shape)
    return ModelStart(
        inner_layers=inner_layers,
        output_terms=terms,
        encoder=encoder,
        compositor=NO_COMPOSITOR if plane is None else plane.compositor,
        noise=start_noise(settings.likelihood, noise + unexplained, floor, features),
        noise_floor=floor,
        num_data=len(features),
        output_mean=mean_function,
        input_projection=projection,
        mixing=mixing,
    )


def start_projection(settings: config.InputProjectionSettings | None, X: Array) -> Array | None:
    """Return A, the leading principal directions of X, [D, D'], D' <= D; None without a projection."""
    return None if settings is None else principal_directions(X, min(settings.dim, X.shape[1]))


def start_mixing(settings: config.OutputMixing | None, Y: Array) -> Array | None:
    """Return the leading principal directions of Y as the rows of P, [Q, P]; None without mixing.

    With as many GPs as targets P is the identity, which leaves the warm start unchanged.
    """
    if settings is None:
        return None
    num_targets = Y.shape[1]
    if settings.num_latent_gps >= num_targets:
        return np.eye(num_targets)
    return principal_directions(Y, settings.num_latent_gps).T


def start_inner_layers(
    settings: config.ModelSettings, prior: Prior | None, features: Features, *, seed: int
) -> tuple[tuple[InnerStart, ...], Features]:
    """Return inner layers that start close to their mean functions, and the features that they pass on."""
    starts = []
    for layer in settings.layers:
        directions = principal_directions(features.X, min(layer.num_gps, features.num_features))
        num_features, num_gps = directions.shape
        inputs, compositor = features, NO_COMPOSITOR
        if layer.sees_latent and prior is not None:
            scores = generator(seed, Stream.INNER_SCORES).standard_normal((len(features), settings.latent.dim))
            compositor = start_compositor(settings.latent, prior, features.X)
            inputs = features.with_latent(prior.from_normal_scores(scores), compositor)
        gp = inner_gp(layer, inputs, directions, seed=seed)
        mean_function = MEAN_FUNCTIONS[layer.mean.kind]
        keeps_width = mean_function.keeps_width(num_features, num_gps)
        mean = mean_function.along(np.eye(num_features) if keeps_width else directions)
        starts.append(InnerStart(gp, mean, directions.T if keeps_width else np.eye(num_gps), compositor))
        if not layer.mean.keeps_columns:
            features = mixed_features(features.X if keeps_width else features.X @ directions)
    return tuple(starts), features


def inner_gp(layer: config.InnerLayerSettings, inputs: Features, directions: Array, *, seed: int) -> GPStart:
    """Return f of one layer: close to zero or, if m does not pass x on, the principal components.

    Args:
        layer: its settings.
        inputs: what f sees, x or c(x, w); if w is concatenated, the features come first.
        directions: [D, Q], the principal directions of the features.
        seed: for k-means.
    """
    num_features, num_gps = directions.shape
    f_carries_x = not MEAN_FUNCTIONS[layer.mean.kind].carries_x
    variance = 1.0 if f_carries_x else INNER_VARIANCE
    kernel, Z = start_prior(layer.kernel, layer.inducing, layer.num_inducing, inputs, variance=variance, seed=seed)
    q_mu = np.zeros((len(Z), num_gps))
    if f_carries_x:
        components = Z[:, :num_features] @ directions
        q_mu = solve_triangular(cholesky(kernel.covariance(Z, Z)), components, lower=True)
    return GPStart(kernel, Z, q_mu, np.full((len(Z), num_gps), INNER_SD), layer.sees_latent)


def start_output(
    settings: config.ModelSettings,
    warm: WarmFit,
    seen: Features,
    plane: LatentPlane | None,
    mixing: Array | None,
    *,
    seed: int,
) -> tuple[tuple[GPStart, ...], MeanFunction, Array]:
    """Return the terms of the output layer, m, and the variance of y that they leave to the noise, [P].

    Args:
        settings: the `model` block.
        warm: the warm start, for m and g.
        seen: the features that the layer starts with.
        plane: the starting point of h; None without latent variables.
        mixing: P, [Q, P], with orthonormal rows; None if each target has its own GP.
        seed: for k-means.
    """
    output, regression, mean_function = settings.output, warm.regression, warm.regression.mean_function
    is_of_seen = np.array_equal(seen.X, warm.features.X)
    if not is_of_seen:
        mean_function = MEAN_FUNCTIONS[output.mean.kind].nearest(seen.X, warm.Y)
    offset = mean_function(seen.X)
    F, mean, unexplained = warm.Y - offset, warm.mean - offset, np.zeros(warm.Y.shape[1])
    if mixing is not None:
        unexplained = ((mean - mean @ mixing.T @ mixing) ** 2).mean(0)
        regression, F, mean = unmixed(regression, mixing), F @ mixing.T, mean @ mixing.T
    terms, inexact = [], []  # inexact: terms that see less of x or w than the values they are to take
    if plane is None or output.structure == "additive":
        if is_of_seen:
            g = GPStart(
                regression.kernel, regression.inducing_inputs, regression.q_mu, regression.q_sqrt, sees_latent=False
            )
        else:
            g = refitted_trend(output, regression, seen, F, seed=seed)
        terms.append(g)
        if settings.input_projection is not None:
            inexact.append((g, seen, mean))
    if plane is not None and output.structure == "additive":
        h = plane_term(output, plane, seed=seed)
        terms.append(h)
        if not plane.compositor.widens:
            inexact.append((h, plane.features, plane.values))
    if plane is not None and output.structure == "joint":
        values = mean[plane.rows] + plane.values
        f = joint_term(output, plane, values, regression.noise, seed=seed)
        terms.append(f)
        if settings.input_projection is not None or not plane.compositor.widens:
            inexact.append((f, plane.features, values))
    for term, features, values in inexact:
        variance = unexplained_variance(term, features.X, values)
        unexplained = unexplained + (variance if mixing is None else variance @ mixing**2)
    return tuple(terms), mean_function, unexplained


def unmixed(regression: SparseRegression, mixing: Array) -> SparseRegression:
    """Return the regression of f = y P', with independent GPs."""
    squares, q_sqrt = mixing**2, regression.q_sqrt
    S = np.einsum("qp,pmn->qmn", squares, q_sqrt @ np.swapaxes(q_sqrt, 1, 2))
    return replace(
        regression, q_mu=regression.q_mu @ mixing.T, q_sqrt=np.linalg.cholesky(S), noise=squares @ regression.noise
    )


def refitted_trend(
    output: config.Output, regression: SparseRegression, seen: Features, F: Array, *, seed: int
) -> GPStart:
    """Return g(x) fitted to F [N, Q] on the features that the layer sees, with the regression's amplitude and noise."""
    prior = start_prior(
        output.kernel,
        output.inducing,
        output.num_inducing,
        seen,
        variance=float(regression.kernel.diagonal(regression.inducing_inputs).mean()),
        seed=seed,
    )
    return fitted_gp(prior, seen.X, F, regression.noise, sees_latent=False)


def plane_term(output: config.AdditiveOutput, plane: LatentPlane, *, seed: int) -> GPStart:
    """Return an h(x, w) that starts as the plane."""
    prior = start_prior(
        output.kernel_latent,
        output.inducing,
        output.num_inducing_latent,
        plane.features,
        variance=4.0 * plane.amplitude,
        lengthscales=plane.lengthscales,
        seed=seed,
    )
    noise = np.full(plane.values.shape[1], PLANE_NOISE * plane.amplitude)
    return fitted_gp(prior, plane.features.X, plane.values, noise, sees_latent=True)


def joint_term(output: config.JointOutput, plane: LatentPlane, values: Array, noise: Array, *, seed: int) -> GPStart:
    """Return an f(x, w) that starts at values [n, Q], the mean plus the plane; noise [Q] of the warm start."""
    prior = start_prior(
        output.kernel,
        output.inducing,
        output.num_inducing,
        plane.features,
        variance=1.0,
        lengthscales=plane.lengthscales,
        seed=seed,
    )
    return fitted_gp(prior, plane.features.X, values, np.maximum(PLANE_NOISE * noise, 1e-4), sees_latent=True)


def start_noise(settings: config.Likelihood, variance: Array, floor: Array, features: Features) -> Noise:
    """Return the noise before training.

    The inducing inputs of a varying noise are part of the compiled step and so the same for all ensemble members.

    Args:
        settings: the `likelihood` block.
        variance: [P], noise variances before training.
        floor: [P], smallest variances allowed in training.
        features: what a varying noise sees.
    """

    def sparse_prior(sparse: config.HeteroscedasticGaussianLikelihood) -> tuple[Kernel, Array]:
        return start_prior(sparse.kernel, sparse.inducing, sparse.num_inducing, features, variance=1.0, seed=0)

    return NOISES[settings.kind].start(settings, variance, floor, sparse_prior=sparse_prior)
