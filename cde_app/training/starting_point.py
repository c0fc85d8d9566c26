"""From the warm start to a `ModelStart`: at step zero the model predicts what the sparse GP predicts.

The warm start's noise is split between the latent variables and the likelihood. With r the standardised residual,
r = A w + e, A the leading principal directions of its correlation scaled so that w explains `latent_share` of them;
h(x, w) starts as the plane A w, and the encoder as the exact posterior of w in this linear model. Where the prior is
not normal the plane is one in the prior's normal scores, Phi^-1(F(w)), which are normal whatever the prior.

Where the output layer mixes Q GPs, y = f P + e, all of this is told of f = y P' (the rows of P are orthonormal before
training), and what P leaves out is noise at first; so is what a projection of the features leaves out.

Letters: N rows, D features, Dw latent variables, P targets, Q GPs that are mixed, M inducing inputs.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import solve_triangular

from cde_app import config
from cde_app.model.encoder import RESIDUAL_RANGE
from cde_app.model.likelihood import ROOM_ABOVE_FLOOR
from cde_app.model.prior import Prior, build_prior
from cde_app.model.start import EncoderStart, GPStart, InnerStart, MeanStart, ModelStart, NoiseStart, TrendStart
from cde_app.predictive.compositor import Compositor
from cde_app.predictive.mean_function import MeanFunction
from cde_app.predictive.sparse_gp import Kernel
from cde_app.training.inducing import choose_inducing
from cde_app.training.kernel_start import Axis, composed_axes, lengthscales_of, start_kernel
from cde_app.training.mean_start import least_squares_mean, start_mean
from cde_app.training.warm_start import SparseRegression, cholesky, posterior_of_whitened

Array = NDArray[np.float64]

NOISE_SHARE_FLOOR = 0.05
LATENT_SHARE_FLOOR = 0.05
PLANE_NOISE = 0.01
"""Relative noise of the regression that turns h into a plane."""
DESIGN_POINTS = 4096
INNER_VARIANCE = 0.01
INNER_SD = 0.1
ADDED_LENGTH = 2.0
"""How far a latent variable of one moves x where it is added to it [standard deviations of x]."""


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

    def within(self, projector: Array) -> LinearFactor:
        """Return the factor with what the projector [P, P] takes from its loadings left to the noise."""
        loadings = projector @ self.loadings
        return LinearFactor(loadings, self.noise + ((self.loadings - loadings) ** 2).sum(1))


def split_noise(
    residual: Array, *, latent_dim: int, latent_share: float, noise_share: Array | float = NOISE_SHARE_FLOOR
) -> LinearFactor:
    """Hand `latent_share` of the residual's leading principal directions to the latent variables.

    Args:
        residual: [N, P], standard deviation about one per target.
        latent_dim: Dw.
        latent_share: share of those directions' variance that w explains, in (0, 1).
        noise_share: [P], smallest share of each target's variance that w leaves unexplained, in (0, 1).
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
    loadings *= np.sqrt(np.minimum(1.0, (1 - noise_share) / np.maximum(explained, 1e-12)))[:, None]
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
    noise_floor: Array | float = 0.0,
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
        noise_floor: [P], noise variances that w must leave to the likelihood.
    """
    latent_dim = settings.latent.dim
    prior = build_prior(settings.latent) if latent_dim else None
    projection = start_projection(settings.input_projection, X)
    seen, seen_axes = X, axes
    if projection is not None:
        seen, seen_axes = X @ projection, (Axis(""),) * projection.shape[1]
    inner_layers, features, inner_axes = inner_starts(settings, prior, seen, seen_axes, seed=seed)
    moved = features is not X
    mean_function = least_squares_mean(settings.output.mean, features, Y) if moved else regression.mean_function
    output_mean = start_mean(settings.output.mean, mean_function)
    rest = Y - mean_function(features)
    noise_sd = np.sqrt(regression.noise)
    noise_start = start_noise(settings.likelihood, X, axes)
    mixing = start_mixing(settings.output.mixing, Y)
    warm_mean, lost = regression.mean(X), np.zeros(len(noise_sd))
    of_f, F, mean = regression, rest, warm_mean - mean_function(features)
    if mixing is not None:
        of_f, F = unmixed(regression, mixing), rest @ mixing.T
        lost += ((mean - mean @ mixing.T @ mixing) ** 2).mean(0)
        mean = mean @ mixing.T

    def trend_term() -> GPStart:
        return regression_term(
            settings.output, of_f, features, inner_axes, F, moved=moved, sees_latent=False, seed=seed
        )

    if prior is None:
        terms: tuple[GPStart, ...] = (trend_term(),)
        if projection is not None:
            lost += unexplained(terms[0], features, mean, mixing)
        compositor = Compositor("concatenate", None)
        return ModelStart(
            inner_layers,
            terms,
            None,
            compositor,
            regression.noise + lost,
            len(X),
            output_mean,
            noise_floor,
            noise_start,
            projection,
            mixing,
        )
    residual = (Y - warm_mean) / noise_sd
    required = np.clip(
        (1 + ROOM_ABOVE_FLOOR) * noise_floor / regression.noise, NOISE_SHARE_FLOOR, 1 - LATENT_SHARE_FLOOR
    )
    factor = split_noise(residual, latent_dim=latent_dim, latent_share=warm_start.latent_share, noise_share=required)
    if mixing is not None:
        factor = factor.within(mixing.T @ mixing / noise_sd[:, None] * noise_sd)
    slope, sd = factor.posterior()
    plane = factor.loadings * noise_sd[:, None]
    plane = plane if mixing is None else mixing @ plane
    compositor = start_compositor(settings.latent, features)
    design = latent_design(features, inner_axes, prior, compositor, latent_dim=latent_dim, seed=seed)
    lengthscales = latent_lengthscales(regression, features, prior, compositor, latent_dim=latent_dim)
    if settings.output.structure == "additive":
        values = design.scores @ plane.T
        terms = (trend_term(), plane_term(settings.output, design, lengthscales, plane, seed=seed))
        if projection is not None:
            lost += unexplained(terms[0], features, mean, mixing)
    else:
        values = mean[design.rows] + design.scores @ plane.T
        terms = (joint_term(settings.output, design, lengthscales, of_f, values, seed=seed),)
    if compositor.kind != "concatenate" or (projection is not None and settings.output.structure == "joint"):
        lost += unexplained(terms[-1], design.inputs, values, mixing)
    noise = regression.noise * factor.noise + lost
    frozen = TrendStart(
        regression.kernel,
        regression.inducing_inputs,
        solve_triangular(regression.factor.T, regression.q_mu, lower=False),
        regression.mean_function,
        noise_sd,
    )
    encoder_settings = settings.latent.encoder
    means = np.clip(residual, -RESIDUAL_RANGE, RESIDUAL_RANGE) @ slope
    if encoder_settings.initial_width is not None:
        sd = np.full(latent_dim, encoder_settings.initial_width)
    if encoder_settings.kind == "mlp" and not encoder_settings.residual:
        encoder = EncoderStart(None, 0 * slope, sd, 0 * means)
    else:
        encoder = EncoderStart(frozen, slope, sd, means)
    return ModelStart(
        inner_layers,
        terms,
        encoder,
        compositor,
        noise,
        len(X),
        output_mean,
        noise_floor,
        noise_start,
        projection,
        mixing,
    )


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


def start_noise(settings: config.Likelihood, X: Array, axes: tuple[Axis, ...]) -> NoiseStart | None:
    """Return where noise that varies with x starts; None for noise that does not.

    Its inducing inputs are part of the compiled step, and so the same for all members of an ensemble.
    """
    if settings.kind != "heteroscedastic_gaussian":
        return None
    lengthscales = np.full(X.shape[1], np.sqrt(X.shape[1]))
    kernel = start_kernel(settings.kernel, axes=axes, variance=1.0, lengthscales=lengthscales)
    return NoiseStart(kernel, choose_inducing(settings.inducing, kernel, X, settings.num_inducing, seed=0))


def start_compositor(settings: config.Latent, features: Array) -> Compositor:
    """Return how x and w are joined before training.

    Where w is added, it moves x along the directions in which x varies least, and is told apart from it best; where it
    multiplies, the latent variables take the features in turn.
    """
    kind, latent_dim, num_features = settings.compositor.kind, settings.dim, features.shape[1]
    if kind == "concatenate" or latent_dim == num_features:
        return Compositor(kind, None)
    if kind == "add" and latent_dim < num_features:
        directions = principal_directions(features, num_features)[:, ::-1][:, :latent_dim]
        return Compositor(kind, ADDED_LENGTH * directions.T)
    w, x = np.ogrid[:latent_dim, :num_features]
    takes_turns = (x % latent_dim == w) | (w % num_features == x)
    return Compositor(kind, takes_turns.astype(float))


def inner_starts(
    settings: config.Model, prior: Prior | None, X: Array, axes: tuple[Axis, ...], *, seed: int
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
        inputs, input_axes, compositor = features, axes, Compositor("concatenate", None)
        if layer.sees_latent and prior is not None:
            scores = np.random.default_rng([seed, 4]).standard_normal((len(X), settings.latent.dim))
            compositor = start_compositor(settings.latent, features)
            inputs = compositor.compose(features, prior.from_normal_scores(scores))
            input_axes = composed_axes(compositor, axes, latent_dim=settings.latent.dim)
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
        starts.append(InnerStart(gp, mean, projection, compositor))
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


@dataclass(frozen=True)
class LatentDesign:
    """The points at which a start with w is fitted: rows, repeated where they are few, and w from the prior."""

    rows: NDArray[np.intp]
    scores: Array
    """Normal scores of w, [n, Dw]."""
    inputs: Array
    """c(x, w) at the rows."""
    axes: tuple[Axis, ...]
    """What the inputs are."""


def plane_term(
    output: config.AdditiveOutput, design: LatentDesign, lengthscales: Array, plane: Array, *, seed: int
) -> GPStart:
    """Return h(x, w) that starts as the plane A z, z the normal scores of w; A [P, Dw] in standardised units of y."""
    amplitude = float((plane**2).sum(1).mean())
    kernel = start_kernel(output.kernel_latent, axes=design.axes, variance=4.0 * amplitude, lengthscales=lengthscales)
    noise = np.full(len(plane), PLANE_NOISE * amplitude)
    Z = choose_inducing(output.inducing, kernel, design.inputs, output.num_inducing_latent, seed=seed)
    return fitted_term(kernel, Z, design.inputs, design.scores @ plane.T, noise, sees_latent=True)


def joint_term(
    output: config.JointOutput,
    design: LatentDesign,
    lengthscales: Array,
    regression: SparseRegression,
    values: Array,
    *,
    seed: int,
) -> GPStart:
    """Return f(x, w) that starts at `values` [n, P] of the design: the warm start's mean less m(x), plus A z."""
    kernel = start_kernel(output.kernel, axes=design.axes, variance=1.0, lengthscales=lengthscales)
    noise = np.maximum(PLANE_NOISE * regression.noise, 1e-4)
    Z = choose_inducing(output.inducing, kernel, design.inputs, output.num_inducing, seed=seed)
    return fitted_term(kernel, Z, design.inputs, values, noise, sees_latent=True)


def unexplained(term: GPStart, inputs: Array, values: Array, mixing: Array | None) -> Array:
    """Return the variance of `values` of f [n, Q] about the GPs' mean, as the targets have it, [P].

    What c(x, w), or the projection of x, cannot tell is noise at first.
    """
    factor = cholesky(term.kernel.covariance(term.inducing_inputs, term.inducing_inputs))
    weights = solve_triangular(factor.T, term.q_mu, lower=False)
    variance: Array = ((values - term.kernel.covariance(inputs, term.inducing_inputs) @ weights) ** 2).mean(0)
    return variance if mixing is None else variance @ mixing**2


def latent_design(
    features: Array, axes: tuple[Axis, ...], prior: Prior, compositor: Compositor, *, latent_dim: int, seed: int
) -> LatentDesign:
    """Draw the design."""
    random = np.random.default_rng([seed, 5])
    repeats = -(-DESIGN_POINTS // len(features))
    rows = np.concatenate([random.permutation(len(features)) for _ in range(repeats)])[:DESIGN_POINTS]
    scores = random.standard_normal((DESIGN_POINTS, latent_dim))
    inputs = compositor.compose(features[rows], prior.from_normal_scores(scores))
    return LatentDesign(rows, scores, inputs, composed_axes(compositor, axes, latent_dim=latent_dim))


def latent_lengthscales(
    regression: SparseRegression, features: Array, prior: Prior, compositor: Compositor, *, latent_dim: int
) -> Array:
    """Return lengthscales for c(x, w): the warm start's for x, within reason, and the prior's spread for w beside x.

    The spread is half the width of the prior's central 68 %, one for the normal.
    """
    num_features = features.shape[1]
    if regression.inducing_inputs.shape[1] == num_features:
        warm = lengthscales_of(regression.kernel, num_features)
    else:
        warm = np.full(num_features, np.sqrt(num_features))
    of_features = np.clip(warm, 0.5, 1.0 + np.sqrt(num_features))
    if compositor.kind != "concatenate":
        return of_features
    low, high = prior.from_normal_scores(np.array([[-1.0], [1.0]]) * np.ones(latent_dim))
    return np.concatenate([of_features, 0.5 * (high - low)])


def fitted_term(kernel: Kernel, Z: Array, inputs: Array, values: Array, noise: Array, *, sees_latent: bool) -> GPStart:
    """Return a GP with inducing inputs Z whose q(u) is the regression of `values` [N, P] on `inputs` [N, D]."""
    factor = cholesky(kernel.covariance(Z, Z))
    A = solve_triangular(factor, kernel.covariance(Z, inputs), lower=True)
    q_mu, q_sqrt = posterior_of_whitened(A @ A.T, A @ values, noise)
    return GPStart(kernel, Z, q_mu, q_sqrt, sees_latent)
