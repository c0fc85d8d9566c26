"""Fit the defensive components of a training: the heaviness of the tails and the width of the data.

Letters: N rows, D features, P targets.
"""

from __future__ import annotations

import numpy as np
from scipy.linalg import solve_triangular
from scipy.optimize import minimize
from scipy.special import gammaln, stdtr

from cde_app.arrays import Array
from cde_app.predictive.component_moments import component_moments
from cde_app.predictive.defence import LEAST_WEIGHT, Defence, scale_mixture
from cde_app.predictive.kernel_density import kernel_density
from cde_app.targets import TargetTransform
from cde_app.training.warm_start import SparseRegression, solve_sparse_regression

SCALES_BEYOND = 2
"""Number of scales of Student's t beyond the largest residual: the next row may lie further out."""
FEWEST_SCALES = 20
"""Smallest number of scales: at weight one a Cauchy's tails are then exact down to a probability of 1e-6."""
HEAVIEST, LIGHTEST = 1.0, 35.0
"""Limits of the degrees of freedom: the tails of a Cauchy, and nearly those of a normal."""
THRESHOLDS, FEWEST_BEYOND = (0.0, 0.5, 0.8, 0.9, 0.95, 0.98), 20
"""Shares of the smallest residuals that a fit may ignore, and the number of others that it needs."""
CONTRADICTION = 2.0
"""Loss of log likelihood [nats]; chi-squared with two degrees of freedom exceeds twice that with probability 1/7."""
SMALLEST_SQUARE, LOG_CHI_SQUARED_VARIANCE = 0.01, 0.5 * np.pi**2
"""Constant added to a squared residual, so that a zero has a finite log; variance of the log of a squared normal."""
SMALLEST_SCALE = 0.01
"""Smallest scale of Student's t: if half of the residuals are zero, the likelihood is unbounded as it vanishes."""
CLIMATOLOGY_DEPTH = 5
"""Number of times that the climatology halves the rows: it has at most 2^5 kernels."""


def fit_defence(
    regression: SparseRegression,
    X: Array,
    Y: Array,
    transforms: tuple[TargetTransform, ...],
    *,
    noise_floor: Array,
    weight: float,
) -> Defence | None:
    """Return the defensive components, weighted half Student's t and half climatology; None without weight.

    Student's t is fitted to the warm start's standardised residuals. If a transform is not affine, no component reaches
    further beyond the training targets than their range, neither at three standard deviations nor at its mean plus
    one, so that its mean and variance are of their size.

    Args:
        regression: the warm start.
        X: [N, D], standardised features of rows that it was fitted to.
        Y: [N, P], their standardised targets.
        transforms: one per target.
        noise_floor: [P], smallest variances, standardised.
        weight: total weight of the components, before calibration.
    """
    if not weight:
        return None
    residual = (Y - regression.mean(X)) / np.sqrt(regression.noise)
    log_scale = fit_log_scale(regression, X, residual)
    trend = regression.kernel.covariance(X, regression.inducing_inputs) @ log_scale
    scaled = residual * np.exp(-0.5 * trend)
    degrees_of_freedom, scale = fit_student_t(scaled.ravel())
    farthest = np.log2(np.abs(scaled).max() / scale + 1.0)
    num_scales = max(FEWEST_SCALES, int(np.ceil(farthest)) + SCALES_BEYOND)
    inflation, tail_weights = scale_mixture(num_scales, degrees_of_freedom, scale)
    kept = tail_weights >= LEAST_WEIGHT
    return Defence(
        gp=regression.as_sparse_gp(),
        mean=regression.mean_function,
        noise=regression.noise,
        log_scale=log_scale,
        log_scale_range=np.stack([trend.min(0), trend.max(0)]),
        inflation=inflation[kept],
        widest=np.array([widest_variance(t, y) for t, y in zip(transforms, Y.T, strict=True)]),
        tail_weights=0.5 * weight * tail_weights[kept],
        narrowest=np.broadcast_to(noise_floor, (Y.shape[1],)),
        climatology=kernel_density(Y, merge_depth=CLIMATOLOGY_DEPTH, least_variance=noise_floor),
        climatology_share=0.5 * weight,
    )


def fit_log_scale(regression: SparseRegression, X: Array, residual: Array) -> Array:
    """Return A, [M, P]: k(x, Z) A is the trend in x of the log of the squared residuals, about its mean.

    A second sparse GP, with the kernel and the inducing inputs of the first, is fitted to the logs, whose noise is that
    of the log of a chi-squared variable; a priori the trend has a standard deviation of one.

    Args:
        regression: the warm start.
        X: [N, D], standardised features.
        residual: [N, P], in standard deviations of the noise.

    Source: Harvey (1976), "Estimating regression models with multiplicative heteroscedasticity".
    """
    logs = np.log(residual**2 + SMALLEST_SQUARE)
    prior = float(np.mean(regression.kernel.diagonal(regression.inducing_inputs)))
    noise = np.full(residual.shape[1], LOG_CHI_SQUARED_VARIANCE * prior)
    trend = solve_sparse_regression(X, logs - logs.mean(0), regression.kernel, regression.inducing_inputs, noise)
    return np.asarray(solve_triangular(trend.factor.T, trend.q_mu, lower=False))


def fit_student_t(residual: Array) -> tuple[float, float]:
    """Return the degrees of freedom and the scale of the Student's t that has the residuals' tails, within bounds.

    Only the tails matter, but they are known best if Student's t fits all residuals. So it is fitted by maximum
    likelihood to all of them, unless those beyond a threshold contradict it: then to those beyond the lowest threshold
    whose fit no higher one contradicts. Of the residuals below it, only the number counts.

    Args:
        residual: [N].
    """
    sizes = np.abs(residual)
    thresholds = [np.quantile(sizes, q) for q in THRESHOLDS if q == 0.0 or (1.0 - q) * len(sizes) >= FEWEST_BEYOND]
    fits = [student_t_beyond(sizes, threshold) for threshold in thresholds]
    best = [log_likelihood_beyond(sizes, threshold, *fit) for threshold, fit in zip(thresholds, fits, strict=True)]
    for index, fit in enumerate(fits):
        losses = [best[k] - log_likelihood_beyond(sizes, thresholds[k], *fit) for k in range(index, len(fits))]
        if max(losses) <= CONTRADICTION:
            break
    return fit


def student_t_beyond(sizes: Array, threshold: float) -> tuple[float, float]:
    """Return the most likely degrees of freedom and scale for the sizes from the threshold on."""

    def parameters(logs: Array) -> tuple[float, float]:
        degrees = float(np.exp(np.clip(logs[0], np.log(HEAVIEST), np.log(LIGHTEST))))
        return degrees, max(float(np.exp(logs[1])), SMALLEST_SCALE)

    def loss(logs: Array) -> float:
        return -log_likelihood_beyond(sizes, threshold, *parameters(logs)) / len(sizes)

    start = np.log([2.0, max(float(np.median(sizes)), float(threshold), 2.0 * SMALLEST_SCALE)])  # not on a plateau
    return parameters(minimize(loss, start, method="Nelder-Mead", options={"xatol": 1e-3}).x)


def log_likelihood_beyond(sizes: Array, threshold: float, degrees_of_freedom: float, scale: float) -> float:
    """Return the log likelihood of Student's t for the sizes [N] of its values, known only from the threshold on."""
    half = 0.5 * (degrees_of_freedom + 1.0)
    beyond = sizes[sizes >= threshold]
    height = gammaln(half) - gammaln(half - 0.5) - 0.5 * np.log(np.pi * degrees_of_freedom) - np.log(scale)
    known = height * len(beyond) - half * np.log1p((beyond / scale) ** 2 / degrees_of_freedom).sum()
    if len(beyond) == len(sizes):
        return float(known)
    inside = 1.0 - 2.0 * stdtr(degrees_of_freedom, -threshold / scale)
    return float(known + (len(sizes) - len(beyond)) * np.log(inside))


def widest_variance(transform: TargetTransform, z: Array) -> float:
    """Return the largest variance allowed in a component of one target; z [N], its standardised values."""
    if transform.is_affine:
        return np.inf
    low, high = transform.inverse(np.array([z.min(), z.max()]))
    ends = transform.forward(np.array([2.0 * low - high, 2.0 * high - low]))
    variances = float(np.abs(ends - np.median(z)).min()) ** 2 / 9.0 * 0.8 ** np.arange(60)
    with np.errstate(over="ignore", invalid="ignore"):
        mean, variance = component_moments(np.full((1, 60), np.median(z)), variances[None], transform)
        reach = np.abs(mean - 0.5 * (low + high)) + np.sqrt(variance)
    return float(variances[np.argmax(reach[0] <= 1.5 * (high - low))])
