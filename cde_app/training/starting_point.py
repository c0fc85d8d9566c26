"""From the warm start to a `ModelStart`: at step zero the model predicts what the sparse GP predicts.

The warm start's noise is split between the latent variables and the likelihood. With r the standardised residual,
r = A w + e, A the leading principal directions of its correlation scaled so that w explains `latent_share` of them;
h(x, w) starts as the plane A w, and the encoder as the exact posterior of w in this linear model.

Letters: N rows, D features, Dw latent variables, P targets, M inducing inputs.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import solve_triangular

from cde_app import config
from cde_app.model.start import EncoderStart, GPStart, InnerStart, MeanStart, ModelStart, TrendStart
from cde_app.predictive.mean_function import MeanFunction
from cde_app.predictive.sparse_gp import Kernel
from cde_app.training.inducing import choose_inducing
from cde_app.training.kernel_start import Axis, latent_axes, lengthscales_of, start_kernel
from cde_app.training.mean_start import least_squares_mean, start_mean
from cde_app.training.warm_start import (
    SparseRegression,
    cholesky,
    posterior_of_whitened,
)

Array = NDArray[np.float64]

NOISE_SHARE_FLOOR = 0.05
PLANE_NOISE = 0.01
"""Relative noise of the regression that turns h into a plane."""
DESIGN_POINTS = 4096
INNER_VARIANCE = 0.01
INNER_SD = 0.1


@dataclass(frozen=True)
class LinearFactor:
    """r = A w + e, e ~ N(0, diag(noise)), w ~ N(0, I): factor analysis of the standardised residual."""

    loadings: Array
    """A, [P, Dw]."""
    noise: Array
    """[P]."""

    def posterior(self) -> tuple[Array, Array]:
        """Return B [P, Dw] and s [Dw] of q(w | r) = N(r B, diag(s^2)), the mean exact, the variances its diagonal."""
        scaled = self.loadings / self.noise[:, None]
        covariance = np.linalg.inv(np.eye(self.loadings.shape[1]) + self.loadings.T @ scaled)
        return scaled @ covariance, np.sqrt(np.diag(covariance))


def split_noise(residual: Array, *, latent_dim: int, latent_share: float) -> LinearFactor:
    """Hand `latent_share` of the residual's leading principal directions to the latent variables.

    Args:
        residual: [N, P], standard deviation about one per target.
        latent_dim: Dw.
        latent_share: share of those directions' variance that w explains, in (0, 1).
    """
    num_targets = residual.shape[1]
    correlation = residual.T @ residual / len(residual)
    scale = np.sqrt(np.diag(correlation))
    correlation = correlation / scale[:, None] / scale
    values, vectors = np.linalg.eigh(correlation)
    loadings = np.zeros((num_targets, latent_dim))
    leading = min(latent_dim, num_targets)
    order = np.argsort(values)[::-1][:leading]
    signs = np.sign(vectors[np.abs(vectors[:, order]).argmax(0), order])
    loadings[:, :leading] = vectors[:, order] * signs * np.sqrt(latent_share * values[order])
    explained = (loadings**2).sum(1)
    loadings *= np.sqrt(np.minimum(1.0, (1 - NOISE_SHARE_FLOOR) / np.maximum(explained, 1e-12)))[:, None]
    return LinearFactor(loadings, 1.0 - (loadings**2).sum(1))


def starting_point(
    settings: config.Model,
    warm_start: config.WarmStart,
    regression: SparseRegression,
    X: Array,
    Y: Array,
    *,
    axes: tuple[Axis, ...],
    seed: int,
) -> ModelStart:
    """Return where the model starts.

    Args:
        settings: the `model` block.
        warm_start: the `warm_start` block.
        regression: the fitted sparse GP.
        X: [N, D], standardised features.
        Y: [N, P], standardised targets.
        axes: [D], what the features are.
        seed: of k-means and of the draws of w.
    """
    latent_dim = settings.latent.dim
    inner_layers, features, axes = inner_starts(settings, X, axes, seed=seed)
    moved = features is not X
    mean_function = least_squares_mean(settings.output.mean, features, Y) if moved else regression.mean_function
    output_mean = start_mean(settings.output.mean, mean_function)
    rest = Y - mean_function(features)
    noise_sd = np.sqrt(regression.noise)
    if latent_dim == 0:
        terms: tuple[GPStart, ...] = (
            regression_term(
                settings.output, regression, features, axes, rest, moved=moved, sees_latent=False, seed=seed
            ),
        )
        return ModelStart(inner_layers, terms, None, regression.noise, len(X), output_mean)
    residual = (Y - regression.mean(X)) / noise_sd
    factor = split_noise(residual, latent_dim=latent_dim, latent_share=warm_start.latent_share)
    slope, sd = factor.posterior()
    plane = factor.loadings * noise_sd[:, None]
    if settings.output.structure == "additive":
        trend = regression_term(
            settings.output, regression, features, axes, rest, moved=moved, sees_latent=False, seed=seed
        )
        terms = (trend, plane_term(settings.output, regression, features, axes, plane, seed=seed))
    else:
        mean = regression.mean(X) - mean_function(features)
        terms = (joint_term(settings.output, regression, features, axes, mean, plane, seed=seed),)
    frozen = TrendStart(
        regression.kernel,
        regression.inducing_inputs,
        solve_triangular(regression.factor.T, regression.q_mu, lower=False),
        regression.mean_function,
        noise_sd,
    )
    sees_residual = settings.latent.encoder.residual
    encoder = EncoderStart(frozen if sees_residual else None, slope if sees_residual else 0 * slope, sd)
    return ModelStart(inner_layers, terms, encoder, regression.noise * factor.noise, len(X), output_mean)


def inner_starts(
    settings: config.Model, X: Array, axes: tuple[Axis, ...], *, seed: int
) -> tuple[tuple[InnerStart, ...], Array, tuple[Axis, ...]]:
    """Return inner layers that start close to their mean functions, and the features and axes that they start with."""
    starts = []
    features = X
    for layer in settings.layers:
        num_features = features.shape[1]
        num_gps = min(layer.num_gps, num_features)
        directions = principal_directions(features, num_gps)
        keeps_width = layer.mean.kind == "identity" or (layer.mean.kind == "linear" and num_gps == num_features)
        mean = inner_mean(layer.mean, np.eye(num_features) if keeps_width else directions)
        projection = directions.T if keeps_width else np.eye(num_gps)
        inputs, input_axes = features, axes
        if layer.sees_latent:
            latents = np.random.default_rng([seed, 4]).standard_normal((len(X), settings.latent.dim))
            inputs, input_axes = np.concatenate([features, latents], axis=1), axes + latent_axes(settings.latent.dim)
        lengthscales = np.full(inputs.shape[1], np.sqrt(inputs.shape[1]))
        # With a constant m nothing but f carries x on: its GPs then start as the principal components themselves.
        carries = layer.mean.kind in ("zero", "constant")
        kernel = start_kernel(
            layer.kernel,
            axes=input_axes,
            variance=1.0 if carries else INNER_VARIANCE,
            lengthscales=lengthscales,
        )
        Z = choose_inducing(layer.inducing, kernel, inputs, layer.num_inducing, seed=seed)
        q_mu = np.zeros((len(Z), num_gps))
        if carries:
            components = Z[:, :num_features] @ directions
            q_mu = solve_triangular(cholesky(kernel.covariance(Z, Z)), components, lower=True)
        gp = GPStart(kernel, Z, q_mu, np.full((len(Z), num_gps), INNER_SD), layer.sees_latent)
        starts.append(InnerStart(gp, mean, projection))
        if layer.mean.kind != "identity":
            axes = (Axis(""),) * num_gps
        features = features if keeps_width else features @ directions
    return tuple(starts), features, axes


def inner_mean(settings: config.InnerMean, directions: Array) -> MeanStart:
    """Return the mean function of an inner layer, a linear or narrowing one along `directions` [D, Q]."""
    match settings.kind:
        case "identity":
            function = MeanFunction(None)
        case "pca":
            function = MeanFunction(directions)
        case "linear":
            function = MeanFunction(directions, np.zeros(directions.shape[1]))
        case "zero":
            function = MeanFunction(np.zeros_like(directions))
        case "constant":
            function = MeanFunction(np.zeros_like(directions), np.zeros(directions.shape[1]))
    return start_mean(settings, function)


def principal_directions(X: Array, num_directions: int) -> Array:
    """Return the leading eigenvectors of the covariance of X, signs fixed, [D, num_directions]."""
    _, vectors = np.linalg.eigh(np.cov(X.T).reshape(X.shape[1], X.shape[1]))
    vectors = vectors[:, ::-1][:, :num_directions]
    return vectors * np.sign(vectors[np.abs(vectors).argmax(0), np.arange(num_directions)])


def regression_term(
    output: config.Output,
    regression: SparseRegression,
    features: Array,
    axes: tuple[Axis, ...],
    values: Array,
    *,
    moved: bool,
    sees_latent: bool,
    seed: int,
) -> GPStart:
    """Return g(x) as the warm start has it; refitted to values [N, P] where the inner layers change the features."""
    if not moved:
        return GPStart(regression.kernel, regression.inducing_inputs, regression.q_mu, regression.q_sqrt, sees_latent)
    kernel = start_kernel(
        output.kernel,
        axes=axes,
        variance=float(regression.kernel.diagonal(regression.inducing_inputs).mean()),
        lengthscales=np.full(features.shape[1], np.sqrt(features.shape[1])),
    )
    Z = choose_inducing(output.inducing, kernel, features, output.num_inducing, seed=seed)
    return fitted_term(kernel, Z, features, values, regression.noise, sees_latent=sees_latent)


def plane_term(
    output: config.AdditiveOutput,
    regression: SparseRegression,
    features: Array,
    axes: tuple[Axis, ...],
    plane: Array,
    *,
    seed: int,
) -> GPStart:
    """Return h(x, w) that starts as the plane A w; A [P, Dw] in standardised units of y."""
    rows, W = latent_design(len(features), plane.shape[1], seed=seed)
    amplitude = float((plane**2).sum(1).mean())
    lengthscales = latent_lengthscales(regression, features, plane.shape[1])
    axes += latent_axes(plane.shape[1])
    kernel = start_kernel(output.kernel_latent, axes=axes, variance=4.0 * amplitude, lengthscales=lengthscales)
    inputs = np.concatenate([features[rows], W], axis=1)
    noise = np.full(len(plane), PLANE_NOISE * amplitude)
    Z = choose_inducing(output.inducing, kernel, inputs, output.num_inducing_latent, seed=seed)
    return fitted_term(kernel, Z, inputs, W @ plane.T, noise, sees_latent=True)


def joint_term(
    output: config.JointOutput,
    regression: SparseRegression,
    features: Array,
    axes: tuple[Axis, ...],
    mean: Array,
    plane: Array,
    *,
    seed: int,
) -> GPStart:
    """Return f(x, w) that starts as `mean` [N, P], what the warm start adds to m(x), plus the plane A w."""
    rows, W = latent_design(len(features), plane.shape[1], seed=seed)
    lengthscales = latent_lengthscales(regression, features, plane.shape[1])
    axes += latent_axes(plane.shape[1])
    kernel = start_kernel(output.kernel, axes=axes, variance=1.0, lengthscales=lengthscales)
    inputs = np.concatenate([features[rows], W], axis=1)
    noise = np.maximum(PLANE_NOISE * regression.noise, 1e-4)
    Z = choose_inducing(output.inducing, kernel, inputs, output.num_inducing, seed=seed)
    return fitted_term(kernel, Z, inputs, mean[rows] + W @ plane.T, noise, sees_latent=True)


def latent_design(num_rows: int, latent_dim: int, *, seed: int) -> tuple[NDArray[np.intp], Array]:
    """Return the points at which a start with w is fitted: rows, repeated where they are few, and w from the prior."""
    random = np.random.default_rng([seed, 5])
    repeats = -(-DESIGN_POINTS // num_rows)
    rows = np.concatenate([random.permutation(num_rows) for _ in range(repeats)])[:DESIGN_POINTS]
    return rows, random.standard_normal((DESIGN_POINTS, latent_dim))


def latent_lengthscales(regression: SparseRegression, features: Array, latent_dim: int) -> Array:
    """Return lengthscales for [x, w]: the warm start's for x, within reason, and 2 for w."""
    num_features = features.shape[1]
    if regression.inducing_inputs.shape[1] == num_features:
        warm = lengthscales_of(regression.kernel, num_features)
    else:
        warm = np.full(num_features, np.sqrt(num_features))
    return np.concatenate([np.clip(warm, 0.5, 1.0 + np.sqrt(num_features)), np.full(latent_dim, 1.0)])


def fitted_term(kernel: Kernel, Z: Array, inputs: Array, values: Array, noise: Array, *, sees_latent: bool) -> GPStart:
    """Return a GP with inducing inputs Z whose q(u) is the regression of `values` [N, P] on `inputs` [N, D]."""
    factor = cholesky(kernel.covariance(Z, Z))
    A = solve_triangular(factor, kernel.covariance(Z, inputs), lower=True)
    q_mu, q_sqrt = posterior_of_whitened(A @ A.T, A @ values, noise)
    return GPStart(kernel, Z, q_mu, q_sqrt, sees_latent)
