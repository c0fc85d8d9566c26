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

import numpy as np

from cde_app import config
from cde_app.arrays import Array
from cde_app.model.prior import build_prior
from cde_app.model.start import ModelStart
from cde_app.predictive.compositor import Compositor, Concatenation
from cde_app.predictive.kernels import Kernel
from cde_app.predictive.mean_function import MEAN_FUNCTIONS
from cde_app.predictive.noise import NOISES, ROOM_ABOVE_FLOOR, Noise
from cde_app.training.inducing import choose_inducing
from cde_app.training.inner_start import inner_starts
from cde_app.training.kernel_start import Axis, start_kernel
from cde_app.training.latent_start import latent_plane, start_encoder
from cde_app.training.linear_maps import start_mixing, start_projection
from cde_app.training.noise_split import NOISE_SHARE_FLOOR, LinearFactor, split_noise
from cde_app.training.output_start import output_terms, warm_output
from cde_app.training.warm_start import SparseRegression

LATENT_SHARE_FLOOR = 0.05


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
    prior = build_prior(settings.latent) if settings.latent.dim else None
    projection, mixing = start_projection(settings.input_projection, X), start_mixing(settings.output.mixing, Y)
    seen, seen_axes = X, axes
    if projection is not None:
        seen, seen_axes = X @ projection, (Axis(""),) * projection.shape[1]
    inner_layers, features, feature_axes = inner_starts(settings, prior, seen, seen_axes, seed=seed)
    mean_function, moved = regression.mean_function, features is not X
    if moved:
        mean_function = MEAN_FUNCTIONS[settings.output.mean.kind].nearest(features, Y)
    warm_mean = regression.mean(X)
    warm = warm_output(
        regression,
        Y,
        warm_mean,
        features=features,
        axes=feature_axes,
        moved=moved,
        mean_function=mean_function,
        mixing=mixing,
    )
    plane, encoder, noise = None, None, regression.noise
    compositor: Compositor = Concatenation()
    if prior is not None:
        residual = (Y - warm_mean) / np.sqrt(regression.noise)
        factor = start_factor(settings.latent, warm_start, regression, residual, mixing, noise_floor)
        slope = factor.loadings * np.sqrt(regression.noise)[:, None]
        slope = slope if mixing is None else mixing @ slope
        plane = latent_plane(settings.latent, prior, regression, features, feature_axes, slope=slope, seed=seed)
        encoder = start_encoder(settings.latent.encoder, regression, factor, residual)
        noise, compositor = regression.noise * factor.noise, plane.compositor
    terms, lost = output_terms(settings.output, warm, plane, projects=projection is not None, seed=seed)
    floor = np.broadcast_to(np.maximum(noise_floor, settings.likelihood.variance_floor), noise.shape)
    return ModelStart(
        inner_layers=inner_layers,
        output_terms=terms,
        encoder=encoder,
        compositor=compositor,
        noise=start_noise(settings.likelihood, noise + lost, floor, X, axes),
        noise_floor=floor,
        num_data=len(X),
        output_mean=mean_function,
        input_projection=projection,
        mixing=mixing,
    )


def start_factor(
    latent: config.Latent,
    warm_start: config.WarmStart,
    regression: SparseRegression,
    residual: Array,
    mixing: Array | None,
    noise_floor: Array | float,
) -> LinearFactor:
    """Split the noise so that the likelihood keeps its floor, and what P cannot tell of w.

    Args:
        latent: the `latent` block.
        warm_start: the `warm_start` block.
        regression: the fitted sparse GP.
        residual: [N, P], its standardised residual.
        mixing: P, [Q, P]; None where the output layer does not mix.
        noise_floor: [P], noise variances that w must leave to the likelihood.
    """
    required = np.clip(
        (1 + ROOM_ABOVE_FLOOR) * noise_floor / regression.noise, NOISE_SHARE_FLOOR, 1 - LATENT_SHARE_FLOOR
    )
    factor = split_noise(residual, latent_dim=latent.dim, latent_share=warm_start.latent_share, noise_share=required)
    if mixing is None:
        return factor
    noise_sd = np.sqrt(regression.noise)
    return factor.within(mixing.T @ mixing / noise_sd[:, None] * noise_sd)


def start_noise(settings: config.Likelihood, variance: Array, floor: Array, X: Array, axes: tuple[Axis, ...]) -> Noise:
    """Return where the noise starts.

    The inducing inputs of one that varies are part of the compiled step, and so the same for all members of an
    ensemble.

    Args:
        settings: the `likelihood` block.
        variance: [P], noise variances of the warm start.
        floor: [P], below which training may not go.
        X: [N, D], standardised features.
        axes: [D], what the features are.
    """

    def sparse_prior(sparse: config.HeteroscedasticGaussianLikelihood) -> tuple[Kernel, Array]:
        lengthscales = np.full(X.shape[1], np.sqrt(X.shape[1]))
        kernel = start_kernel(sparse.kernel, axes=axes, variance=1.0, lengthscales=lengthscales)
        return kernel, choose_inducing(sparse.inducing, kernel, X, sparse.num_inducing, seed=0)

    return NOISES[settings.kind].start(settings, variance, floor, sparse_prior=sparse_prior)
