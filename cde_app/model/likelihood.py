"""p(y | f): normal noise with one variance per target or one that varies with x, or Student's t.

Letters: B rows of a batch, K draws per row, D features, P targets, M inducing inputs of the noise.
"""

from __future__ import annotations

import gpflow
import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp
from check_shapes import inherit_check_shapes
from gpflow.likelihoods import Gaussian, ScalarLikelihood, StudentT
from numpy.typing import NDArray
from scipy.special import logsumexp

from cde_app import config
from cde_app.model.kernels import build_kernel
from cde_app.model.moments import whitened_covariance
from cde_app.model.start import ModelStart, NoiseStart

Array = NDArray[np.float64]

LOG_2PI = float(np.log(2 * np.pi))
ROOM_ABOVE_FLOOR = 0.1
"""The noise starts at least this share above its floor: on the log scale of the rest it can grow from there."""
HERMITE_NODES, HERMITE_WEIGHTS = np.polynomial.hermite_e.hermegauss(32)
HERMITE_WEIGHTS /= HERMITE_WEIGHTS.sum()


class VaryingVariance(gpflow.functions.Function):
    """s_p^2(x) = floor_p + exp(b_p + a_p(x)), a(x) = k(x, Z) L^-T V with whitened weights V ~ N(0, I), found by MAP.

    GPflux's likelihood layer knows no x. Its own `fit`, `elbo` and `predict_y` therefore raise with this noise, where
    they would otherwise train another model; the objectives of `cde` and its prediction call this function.
    """

    def __init__(self, start: NoiseStart, level: Array, floor: Array) -> None:
        """Start at the constant variances floor + level, [P]."""
        super().__init__()
        self.kernel = build_kernel(start.kernel)
        self.inducing_inputs = tf.Variable(start.inducing_inputs, trainable=False)
        self.level = gpflow.Parameter(level, transform=tfp.bijectors.Exp(), dtype=gpflow.default_float())
        self.weights = gpflow.Parameter(np.zeros((len(start.inducing_inputs), len(level))))
        self.floor = tf.constant(floor)

    @inherit_check_shapes
    def __call__(self, X: tf.Tensor) -> tf.Tensor:
        """Return the noise variances, [..., D] to [..., P]."""
        if X is None:
            raise ValueError("noise that varies with x needs x; GPflux passes X=None. Train and predict by cde.")
        trend = tf.matmul(whitened_covariance(self.kernel, self.inducing_inputs, X), self.weights, transpose_a=True)
        return self.floor + self.level * tf.exp(trend)

    def log_prior(self) -> tf.Tensor:
        """Return log p(V) up to a constant."""
        return -0.5 * tf.reduce_sum(tf.square(self.weights))


def build_likelihood(settings: config.Likelihood, start: ModelStart) -> ScalarLikelihood:
    """Return GPflow's likelihood at the starting noise, what lies above the floor on the log scale.

    Student's t starts with the scale whose variance s^2 nu / (nu - 2) is the starting noise.
    """
    floor = np.broadcast_to(np.maximum(start.noise_floor, settings.variance_floor), start.noise.shape)
    room = np.maximum(ROOM_ABOVE_FLOOR * floor, settings.variance_floor)
    variance = np.maximum(start.noise, floor + room)
    if start.noise_start is not None:
        return Gaussian(variance=VaryingVariance(start.noise_start, variance - floor, floor))
    if settings.kind == "student_t":
        degrees = settings.degrees_of_freedom
        scale = np.sqrt(np.maximum(start.noise * (degrees - 2) / degrees, floor + room))
        likelihood = StudentT(scale=scale, df=degrees)
        likelihood.scale = _parameter_above(np.sqrt(floor), scale)
        return likelihood
    likelihood = Gaussian(variance=variance)
    likelihood.variance = _parameter_above(floor, variance)
    return likelihood


def noise_variance(likelihood: ScalarLikelihood, X: tf.Tensor) -> tf.Tensor:
    """Return the noise variances, or Student's squared scales; X [B, D] to [P], or to [B, P] where they vary."""
    if isinstance(likelihood, StudentT):
        return tf.square(likelihood.scale)
    variance = likelihood.variance
    return variance(X) if isinstance(variance, VaryingVariance) else tf.convert_to_tensor(variance)


def noise_log_prior(likelihood: ScalarLikelihood) -> tf.Tensor:
    """Return the log prior of the noise's own weights; zero where it has none."""
    variance = likelihood.variance if isinstance(likelihood, Gaussian) else None
    if isinstance(variance, VaryingVariance):
        return variance.log_prior()
    return tf.zeros([], gpflow.default_float())


def log_predictive(
    likelihood: ScalarLikelihood, X: tf.Tensor, Y: tf.Tensor, mean: tf.Tensor, variance: tf.Tensor
) -> tf.Tensor:
    """Return log E p(y | f) for f ~ N(mean, variance), summed over the targets.

    Args:
        likelihood: the noise.
        X: [B, D], features before the inner layers.
        Y: [B, P].
        mean: [K or 1, B, P].
        variance: the same.

    Returns:
        [K or 1, B].
    """
    noise = noise_variance(likelihood, X)
    if isinstance(likelihood, StudentT):
        return tf.reduce_sum(_student_t_predictive(Y - mean, variance, noise, likelihood.df), axis=-1)
    total = variance + noise
    return -0.5 * tf.reduce_sum((Y - mean) ** 2 / total + tf.math.log(total) + LOG_2PI, axis=-1)


def log_predictive_mixed(
    likelihood: Gaussian, X: tf.Tensor, Y: tf.Tensor, mean: tf.Tensor, variance: tf.Tensor, mixing: tf.Tensor
) -> tf.Tensor:
    """Return log N(y; mean, P' diag(v) P + noise), the density of y = f P + e; the targets depend on each other.

    Args:
        likelihood: normal noise.
        X: [B, D], features before the inner layers.
        Y: [B, P].
        mean: of f P, [K or 1, B, P].
        variance: v of f, [K or 1, B, Q].
        mixing: P, [Q, P].

    Returns:
        [K or 1, B].
    """
    noise = noise_variance(likelihood, X)
    covariance = tf.einsum("...q,qp,qr->...pr", variance, mixing, mixing) + tf.linalg.diag(noise)
    factor = tf.linalg.cholesky(covariance)
    whitened = tf.linalg.triangular_solve(factor, (Y - mean)[..., None])[..., 0]
    log_scales = tf.math.log(tf.linalg.diag_part(factor))
    return -tf.reduce_sum(0.5 * (whitened**2 + LOG_2PI) + log_scales, axis=-1)


def expected_log_likelihood(
    likelihood: ScalarLikelihood, X: tf.Tensor, Y: tf.Tensor, mean: tf.Tensor, variance: tf.Tensor
) -> tf.Tensor:
    """Return E log p(y | f) for f ~ N(mean, variance), summed over the targets; shapes as in `log_predictive`.

    In closed form for normal noise, by Gauss-Hermite quadrature for Student's t.

    Source: Hensman et al. (2013), equation 4.
    """
    noise = noise_variance(likelihood, X)
    if isinstance(likelihood, StudentT):
        F = mean[..., None] + tf.sqrt(variance)[..., None] * HERMITE_NODES
        log_t = gpflow.logdensities.student_t(Y[..., None], F, tf.sqrt(noise)[..., None], likelihood.df)
        return tf.reduce_sum(log_t * HERMITE_WEIGHTS, axis=[-2, -1])
    return -0.5 * tf.reduce_sum(((Y - mean) ** 2 + variance) / noise + tf.math.log(noise) + LOG_2PI, axis=-1)


def _student_t_predictive(residual: tf.Tensor, variance: tf.Tensor, noise: tf.Tensor, degrees: float) -> tf.Tensor:
    """Return log E t(y | f), elementwise, as log int N(y; mean, variance + noise / lambda) p(lambda) dlambda.

    One integral over lambda, in which f is exact; quadrature over f would need more nodes the wider q(f) is.
    """
    log_precisions, log_masses = _precision_nodes(degrees)
    total = variance[..., None] + noise[..., None] * np.exp(-log_precisions)
    log_normal = -0.5 * (residual[..., None] ** 2 / total + tf.math.log(total) + LOG_2PI)
    return tf.reduce_logsumexp(log_normal + log_masses, axis=-1)


def _precision_nodes(degrees: float) -> tuple[Array, Array]:
    """Return nodes and log weights for log lambda, lambda ~ Gamma(nu / 2, nu / 2).

    The trapezoidal rule, on a smooth function that vanishes at both ends, converges faster than any power of the
    distance. Far to the left lie the precisions of outliers.
    """
    nodes = min(0.5, np.sqrt(2.0 / degrees)) * np.arange(-35, 8)
    log_masses = 0.5 * degrees * (nodes - np.exp(nodes))
    return nodes, log_masses - logsumexp(log_masses)


def _parameter_above(lower: Array, value: Array) -> gpflow.Parameter:
    """Return a parameter of [P] values, what lies above the lower bounds on the log scale."""
    above = tfp.bijectors.Chain([tfp.bijectors.Shift(lower), tfp.bijectors.Exp()])
    return gpflow.Parameter(value, transform=above, dtype=gpflow.default_float())
