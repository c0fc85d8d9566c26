"""The starting point of everything that involves w: the warm start's noise is split between w and the likelihood.

With r the residual of the warm start, in standard deviations of its noise,

    r = A w + e,        w ~ N(0, I),        e ~ N(0, diag(noise)),

a factor analysis: A has the leading principal directions of r's correlation, scaled so that w explains `latent_share`
of their variance. If w has another prior F, w here means its normal scores Phi^-1(F(w)), which are normal for every
prior. The encoder starts as the exact posterior of w, h(x, w) as the plane A w in the units of y, and the likelihood as
the noise e.

Letters: N rows, n points, D features, Dw latent variables, P targets, Q GPs of the output layer.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.linalg import solve_triangular

from cde_app import config
from cde_app.arrays import Array, IndexArray
from cde_app.gp.compositor import COMPOSITORS, Compositor, central_ends
from cde_app.gp.likelihood import ROOM_ABOVE_FLOOR
from cde_app.machine.streams import Stream, generator
from cde_app.model.encoder import RESIDUAL_RANGE
from cde_app.model.prior import Prior
from cde_app.model.start import EncoderStart, TrendStart
from cde_app.training.features import Features
from cde_app.training.gp_start import lengthscales_of
from cde_app.training.warm_start import SparseRegression

NOISE_SHARE_FLOOR, LATENT_SHARE_FLOOR = 0.05, 0.05
"""Smallest shares of each target's variance that the likelihood and w keep."""
DESIGN_POINTS = 4096


@dataclass(frozen=True)
class WarmFit:
    """The warm start and the rows from which a model starts."""

    regression: SparseRegression
    features: Features
    """N rows, as the regression sees them."""
    Y: Array
    """[N, P], standardised targets."""
    mean: Array
    """[N, P], mean of the regression."""

    @property
    def residual(self) -> Array:
        """r, [N, P]."""
        return (self.Y - self.mean) / np.sqrt(self.regression.noise)


@dataclass(frozen=True)
class LinearFactor:
    """The factor analysis of r."""

    loadings: Array
    """A, [P, Dw]."""
    noise: Array
    """[P], variances of e."""

    def posterior(self) -> tuple[Array, Array]:
        """Return B [P, Dw] and s [Dw] of q(w | r) = N(r B, diag(s^2)): the exact mean and variances, no covariances."""
        scaled = self.loadings / self.noise[:, None]
        covariance = np.linalg.inv(np.eye(self.loadings.shape[1]) + self.loadings.T @ scaled)
        return scaled @ covariance, np.sqrt(np.diag(covariance))

    def within(self, projector: Array) -> LinearFactor:
        """Return the factor with projected loadings; what the projector [P, P] removes is left to the noise."""
        loadings = projector @ self.loadings
        return LinearFactor(loadings, self.noise + ((self.loadings - loadings) ** 2).sum(1))


def split_noise(
    residual: Array, *, latent_dim: int, latent_share: float, noise_share: Array | float = NOISE_SHARE_FLOOR
) -> LinearFactor:
    """Assign `latent_share` of the residual's leading principal directions to the latent variables.

    Args:
        residual: r, [N, P], with a standard deviation near one per target.
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


def start_factor(
    latent_dim: int, latent_share: float, warm: WarmFit, noise_floor: Array | float, mixing: Array | None
) -> LinearFactor:
    """Split the noise so that the likelihood starts with room above its floor, and keeps what P cannot express of w.

    Args:
        latent_dim: Dw.
        latent_share: as in `split_noise`.
        warm: r and its noise.
        noise_floor: [P], noise variances that w must leave to the likelihood.
        mixing: P, [Q, P]; None if the output layer does not mix.
    """
    noise = warm.regression.noise
    required = np.clip((1 + ROOM_ABOVE_FLOOR) * noise_floor / noise, NOISE_SHARE_FLOOR, 1 - LATENT_SHARE_FLOOR)
    factor = split_noise(warm.residual, latent_dim=latent_dim, latent_share=latent_share, noise_share=required)
    if mixing is None:
        return factor
    noise_sd = np.sqrt(noise)
    return factor.within(mixing.T @ mixing / noise_sd[:, None] * noise_sd)


def start_encoder(
    settings: config.MLPEncoderSettings | config.PerRowEncoder, warm: WarmFit, factor: LinearFactor
) -> EncoderStart:
    """Return the posterior of w given r, as far as the encoder can represent it, and the mean that it subtracts."""
    regression, (slope, sd) = warm.regression, factor.posterior()
    means = np.clip(warm.residual, -RESIDUAL_RANGE, RESIDUAL_RANGE) @ slope
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


@dataclass(frozen=True)
class LatentPlane:
    """The plane A w at points (x, w): rows, repeated if there are few, each with a draw of w from the prior."""

    compositor: Compositor
    """c(x, w)."""
    rows: IndexArray
    """[n]."""
    features: Features
    """c(x, w), the inputs of a GP at the points."""
    values: Array
    """[n, Q], standardised units of y."""
    amplitude: float
    """Variance of the values, averaged over the GPs."""
    lengthscales: Array
    """Lengthscales of a kernel on the features."""


def latent_plane(
    settings: config.Latent,
    prior: Prior,
    warm: WarmFit,
    factor: LinearFactor,
    seen: Features,
    mixing: Array | None,
    *,
    seed: int,
) -> LatentPlane:
    """Draw the points and evaluate the plane.

    Args:
        settings: the `latent` block.
        prior: p(w).
        warm: the warm start.
        factor: the factor analysis of r.
        seen: x as the output layer sees it, N rows.
        mixing: P, [Q, P]; None if the output layer does not mix.
        seed: for the draws.
    """
    slope = factor.loadings * np.sqrt(warm.regression.noise)[:, None]
    slope = slope if mixing is None else mixing @ slope
    compositor = start_compositor(settings, prior, seen.X)
    random = generator(seed, Stream.LATENT_PLANE)
    repeats = -(-DESIGN_POINTS // len(seen))
    rows = np.concatenate([random.permutation(len(seen)) for _ in range(repeats)])[:DESIGN_POINTS]
    scores = random.standard_normal((DESIGN_POINTS, settings.dim))
    return LatentPlane(
        compositor=compositor,
        rows=rows,
        features=seen.select(rows).with_latent(prior.from_normal_scores(scores), compositor),
        values=scores @ slope.T,
        amplitude=float((slope**2).sum(1).mean()),
        lengthscales=latent_lengthscales(warm.regression, prior, compositor, seen.num_features, settings.dim),
    )


def start_compositor(settings: config.Latent, prior: Prior, X: Array) -> Compositor:
    """Return the compositor before training; X [N, D] is x as the layer sees it."""
    return COMPOSITORS[settings.compositor.kind].start(
        settings.compositor, X, quantiles=prior.from_normal_scores, latent_dim=settings.dim
    )


def latent_lengthscales(
    regression: SparseRegression, prior: Prior, compositor: Compositor, num_features: int, latent_dim: int
) -> Array:
    """Return lengthscales for c(x, w), one for each of its columns.

    Those of x are the warm start's, clipped. Those of w, if it has columns of its own, are half the width that the
    prior's central 68 % has in them at x = 0.
    """
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
