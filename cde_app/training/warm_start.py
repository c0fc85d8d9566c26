"""A sparse GP regression, fitted first: the point from which the whole model starts.

Letters: N rows, D features, P targets, M inducing inputs.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from scipy.linalg import solve_triangular

from cde_app import config
from cde_app.arrays import Array
from cde_app.gp.kernels import Kernel
from cde_app.gp.mean_function import MEAN_FUNCTIONS, MeanFunction, ZeroMeanFunction
from cde_app.gp.sparse_gp import SparseGP, cholesky
from cde_app.machine.blocks import map_blocks
from cde_app.machine.rows import blocks_of, draw_rows
from cde_app.machine.streams import Stream, generator
from cde_app.training.collapsed_bound import SMALLEST_NOISE, Hyperparameters, maximise_bound
from cde_app.training.features import Features
from cde_app.training.gp_start import posterior_of_whitened, start_prior

INITIAL_NOISE = 0.1
CHUNK_ROWS = 8192
REGRESSION_ROWS = 500_000
"""Largest number of training rows, drawn at random, from which q(u) is solved: thousands for each inducing input."""
MEAN_ROWS = 200_000
"""Largest number of training rows, drawn at random, to which the mean function is fitted."""
ROUNDS = 3
"""Largest number of fits, each to targets clipped by the residuals of the fit before; one if there are no outliers."""
LATER_STEPS = 0.25
"""Largest number of steps of each fit after the first, as a share: it goes on from the fit before."""
OUTLYING = 3.0
"""Largest residual, in widths of the residuals' central 90 %: ten standard deviations of a normal."""
CAUCHY_SHARE = 0.02
SCREENING_STEPS = 50
SCREENING_INDUCING = 64


@dataclass(frozen=True)
class SparseRegression:
    """y = m(x) + g(x) + e with the optimal q(u) given every row; one kernel, one noise variance per target."""

    kernel: Kernel
    inducing_inputs: Array
    """Z, [M, D]."""
    factor: Array
    """L, [M, M], `cholesky(k(Z, Z))`."""
    q_mu: Array
    """[M, P], whitened."""
    q_sqrt: Array
    """[P, M, M], whitened."""
    noise: Array
    """[P], noise variances."""
    mean_function: MeanFunction
    """m, [D] to [P]."""

    def as_sparse_gp(self) -> SparseGP:
        """Return g in the form that prediction uses."""
        whitening = solve_triangular(self.factor, np.eye(len(self.factor)), lower=True)
        return SparseGP(
            self.kernel, self.inducing_inputs, whitening, self.q_mu, _transpose(self.q_sqrt) @ whitening, False
        )

    def mean(self, X: Array) -> Array:
        """Return the posterior mean; [N, D] to [N, P]."""
        gp = self.as_sparse_gp()
        blocks = (X[block] for block in blocks_of(len(X), CHUNK_ROWS))
        return np.concatenate([self.mean_function(block) + gp.moments(block)[0] for block in blocks])

    def log_density(self, X: Array, Y: Array) -> Array:
        """Return log p(y | x) of each row and target; [N, P]."""
        mean, variance = self.as_sparse_gp().moments(X)
        variance = variance + self.noise
        return -0.5 * ((Y - self.mean_function(X) - mean) ** 2 / variance + np.log(2 * np.pi * variance))

    def robust_log_density(self, X: Array, Y: Array) -> Array:
        """Return the log density of each row and target, [N, P], mixed with a Cauchy's, so that no row decides."""
        mean, variance = self.as_sparse_gp().moments(X)
        variance = variance + self.noise
        ratio = (Y - self.mean_function(X) - mean) ** 2 / variance
        normal = np.log1p(-CAUCHY_SHARE) - 0.5 * (ratio + np.log(2 * np.pi))
        cauchy = np.log(CAUCHY_SHARE / np.pi) - np.log1p(ratio)
        return np.logaddexp(normal, cauchy) - 0.5 * np.log(variance)


def fit_sparse_regression(
    features: Features,
    Y: Array,
    settings: config.WarmStart,
    output: config.Output,
    *,
    seed: int,
    noise_floor: Array | float = 0.0,
) -> SparseRegression:
    """Fit the hyperparameters by L-BFGS on at most `max_rows` rows, then q(u) in closed form on all that are used.

    The mean function is fitted by least squares, g to its residuals.

    Args:
        features: N rows; of more than `REGRESSION_ROWS`, that many are used.
        Y: [N, P], standardised targets.
        settings: the `warm_start` block; if it is not enabled, the prior is returned.
        output: kernel, inducing inputs (fewer if there are fewer distinct rows) and mean function.
        seed: for the choice of rows and k-means.
        noise_floor: [P], smallest noise variances.

    Source: Titsias (2009) for the bound and the optimal q(u).
    """
    if len(features) > REGRESSION_ROWS:
        used = draw_rows(len(features), REGRESSION_ROWS, seed=seed, stream=Stream.REGRESSION_ROWS)
        features, Y = features.select(used), Y[used]
    X, num_targets = features.X, Y.shape[1]
    rows = generator(seed, Stream.WARM_START_ROWS).permutation(len(X))[: settings.max_rows]
    some = draw_rows(len(X), MEAN_ROWS, seed=seed, stream=Stream.MEAN_ROWS)
    mean_function = MEAN_FUNCTIONS[output.mean.kind].nearest(X[some], Y[some])
    Y = Y - np.concatenate([mean_function(X[block]) for block in blocks_of(len(X), CHUNK_ROWS)])
    drawn = features.select(rows)
    start, Z = start_prior(output.kernel, output.inducing, output.num_inducing, drawn, variance=1.0, seed=seed)
    if not settings.enabled:
        prior_mean, prior_factor = np.zeros((len(Z), num_targets)), np.stack([np.eye(len(Z))] * num_targets)
        noise = np.maximum(np.full(num_targets, INITIAL_NOISE), noise_floor)
        factor = cholesky(start.covariance(Z, Z))
        return SparseRegression(start, Z, factor, prior_mean, prior_factor, noise, mean_function)
    tame, fitted = tamed(Y, np.zeros_like(Y)), Hyperparameters(start, Z, INITIAL_NOISE)
    for round_ in range(ROUNDS):
        max_steps = settings.max_steps if round_ == 0 else max(1, round(LATER_STEPS * settings.max_steps))
        fitted = maximise_bound(fitted, drawn.X, tame[rows], max_steps=max_steps)
        noise = np.maximum(np.full(num_targets, fitted.noise), noise_floor)
        regression = solve_sparse_regression(X, tame, fitted.kernel, fitted.inducing_inputs, noise)
        mean = regression.mean(X)
        if num_targets > 1:
            noise = np.maximum(((tame - mean) ** 2).mean(0), np.maximum(SMALLEST_NOISE, noise_floor))
            regression = solve_sparse_regression(X, tame, fitted.kernel, fitted.inducing_inputs, noise)
        before, tame = tame, tamed(Y, mean)
        if np.array_equal(before, tame):
            break
    return replace(regression, mean_function=mean_function)


def tamed(Y: Array, mean: Array) -> Array:
    """Return the targets with outliers clipped towards the mean: a normal density would chase them.

    Args:
        Y: [N, P], targets.
        mean: [N, P], their expected values.
    """
    low, high = np.quantile(Y - mean, [0.05, 0.95], axis=0)
    limit = np.where(high > low, OUTLYING * (high - low), np.inf)
    if (np.abs(Y - mean) <= limit).all():
        return Y
    return mean + np.clip(Y - mean, -limit, limit)


def fit_screening_regression(
    features: Features,
    Y: Array,
    settings: config.Config,
    *,
    noise_floor: Array | float = 0.0,
    rough: bool = True,
) -> SparseRegression:
    """Fit to compare ways of preparing the data, quickly if `rough`; see `fit_sparse_regression`.

    The identity is the mean function of several targets together. A single one may be fitted here, so zero replaces it.
    """
    warm_start, output = settings.training.warm_start, settings.model.output
    max_steps, num_inducing = warm_start.max_steps, output.num_inducing
    if rough:
        max_steps, num_inducing = min(SCREENING_STEPS, max_steps), min(SCREENING_INDUCING, num_inducing)
    warm_start = warm_start.model_copy(update={"enabled": True, "max_steps": max_steps})
    mean = config.ZeroMean() if output.mean.keeps_columns else output.mean
    output = output.model_copy(update={"num_inducing": num_inducing, "mean": mean})
    return fit_sparse_regression(features, Y, warm_start, output, seed=settings.seed, noise_floor=noise_floor)


def solve_sparse_regression(X: Array, Y: Array, kernel: Kernel, Z: Array, noise: Array) -> SparseRegression:
    """Return the optimal q(u) for given hyperparameters and a zero mean function, from all rows, in chunks.

    S = (I + A A' / noise)^-1, mu = S A y / noise, with A = L^-1 k(Z, X): the whitened form of Titsias (2009).
    """
    num_inducing = len(Z)
    factor = cholesky(kernel.covariance(Z, Z))
    gram, moment = np.zeros((num_inducing, num_inducing)), np.zeros((num_inducing, Y.shape[1]))
    whitening, covariance = np.linalg.inv(factor), kernel.to(Z)
    for block in blocks_of(len(X), CHUNK_ROWS):
        more_gram, more_moment = _products(lambda X: covariance(X) @ whitening.T, X[block], Y[block], num_inducing)
        gram += more_gram
        moment += more_moment
    q_mu, q_sqrt = posterior_of_whitened(gram, moment, noise)
    mean_function = ZeroMeanFunction(np.zeros((X.shape[1], Y.shape[1])))
    return SparseRegression(kernel, Z, factor, q_mu, q_sqrt, noise, mean_function)


def _products(whitened: Callable[[Array], Array], X: Array, Y: Array, num_inducing: int) -> tuple[Array, Array]:
    """Return A A' [M, M] and A y [M, P] of some rows; `whitened` gives A', [n, D] to [n, M]."""

    def block_products(rows: slice) -> tuple[Array, Array]:
        A = whitened(X[rows])
        return A.T @ A, A.T @ Y[rows]

    grams, moments = zip(*map_blocks(block_products, len(X), num_inducing).values(), strict=True)
    return sum(grams), sum(moments)


def _transpose(A: Array) -> Array:
    return np.swapaxes(A, -1, -2)
