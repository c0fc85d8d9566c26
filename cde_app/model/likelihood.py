"""p(y | f) in training: GPflow's likelihood for every class of `gp/likelihood.py`, with some further methods.

Letters: B rows of a batch, K draws per row, D features, P targets, Q GPs, M inducing inputs of the noise.
"""

from __future__ import annotations

from abc import abstractmethod

import gpflow
import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp
from check_shapes import inherit_check_shapes
from gpflow.likelihoods import Gaussian, ScalarLikelihood, StudentT
from scipy.linalg import solve_triangular
from scipy.special import logsumexp

from cde_app.arrays import Array
from cde_app.gp.likelihood import Noise, NormalNoise, StudentTNoise, VaryingNoise
from cde_app.gp.quadrature import HERMITE_NODES, HERMITE_WEIGHTS
from cde_app.gp.sparse_gp import cholesky
from cde_app.model.kernels import build_kernel, read_kernel
from cde_app.model.moments import whitened_covariance

LOG_2PI = float(np.log(2 * np.pi))


class VaryingVariance(gpflow.functions.Function):
    """s_p^2(x) = floor_p + exp(b_p + a_p(x)), a(x) = k(x, Z) L^-T V with whitened weights V ~ N(0, I), fitted by MAP.

    GPflux's likelihood layer does not see x. GPflux's `fit`, `elbo` and `predict_y` therefore raise an error with this
    noise instead of training another model; the objectives and the prediction of `cde` call this function.
    """

    def __init__(self, start: VaryingNoise) -> None:
        """Start at a noise of arrays: with V = L' A its variances are the same."""
        super().__init__()
        self.kernel = build_kernel(start.kernel)
        self.inducing_inputs = tf.Variable(start.inducing_inputs, trainable=False)
        self.level = gpflow.Parameter(start.level, transform=tfp.bijectors.Exp(), dtype=gpflow.default_float())
        factor = cholesky(start.kernel.covariance(start.inducing_inputs, start.inducing_inputs))
        self.weights = gpflow.Parameter(factor.T @ start.weights)
        self.floor = tf.constant(start.floor)

    @inherit_check_shapes
    def __call__(self, X: tf.Tensor) -> tf.Tensor:
        """Return the noise variances, [..., D] to [..., P]."""
        if X is None:
            raise ValueError("noise that varies with x needs x; GPflux passes X=None. Train and predict by cde.")
        whitened = whitened_covariance(self.kernel, self.inducing_inputs, X, gpflow.default_jitter())
        trend = tf.matmul(whitened, self.weights, transpose_a=True)
        return self.floor + self.level * tf.exp(trend)


class TrainedNoise(ScalarLikelihood):
    """The methods of a likelihood that training and export need."""

    @abstractmethod
    def noise_variance(self, X: tf.Tensor) -> tf.Tensor:
        """Return the noise variances, or squared scales; X [B, D] to [P], or to [B, P] if they vary with x."""

    @abstractmethod
    def log_predictive(self, X: tf.Tensor, Y: tf.Tensor, mean: tf.Tensor, variance: tf.Tensor) -> tf.Tensor:
        """Return log E p(y | f) for f ~ N(mean, variance), summed over the targets.

        Args:
            X: [B, D], features before the inner layers.
            Y: [B, P].
            mean: [K or 1, B, P].
            variance: [K or 1, B, P].

        Returns:
            [K or 1, B].
        """

    @abstractmethod
    def expected_log_likelihood(self, X: tf.Tensor, Y: tf.Tensor, mean: tf.Tensor, variance: tf.Tensor) -> tf.Tensor:
        """Return E log p(y | f) for f ~ N(mean, variance), summed over the targets; shapes as in `log_predictive`.

        Source: Hensman et al. (2013), equation 4.
        """

    def log_prior(self) -> tf.Tensor:
        """Return the log prior of the noise's own weights, zero if it has none."""
        return tf.zeros([], gpflow.default_float())

    @abstractmethod
    def read(self) -> Noise:
        """Return the noise as plain arrays."""


class TrainedNormalNoise(TrainedNoise, Gaussian):
    """One variance per target; its excess over the floor is trained on the log scale."""

    def __init__(self, start: NormalNoise, floor: Array) -> None:
        super().__init__(variance=start.variance)
        self.variance = _parameter_above(floor, start.variance)

    def noise_variance(self, X: tf.Tensor) -> tf.Tensor:
        """Return the noise variances, [P]."""
        return tf.convert_to_tensor(self.variance)

    def log_predictive(self, X: tf.Tensor, Y: tf.Tensor, mean: tf.Tensor, variance: tf.Tensor) -> tf.Tensor:
        """Return log N(y; mean, variance + noise), summed over the targets; see `TrainedNoise`."""
        total = variance + self.noise_variance(X)
        return -0.5 * tf.reduce_sum((Y - mean) ** 2 / total + tf.math.log(total) + LOG_2PI, axis=-1)

    def log_predictive_mixed(
        self, X: tf.Tensor, Y: tf.Tensor, mean: tf.Tensor, variance: tf.Tensor, mixing: tf.Tensor
    ) -> tf.Tensor:
        """Return log N(y; mean, P' diag(v) P + noise), the density of y = f P + e, with dependent targets.

        Args:
            X: [B, D], features before the inner layers.
            Y: [B, P].
            mean: mean of f P, [K or 1, B, P].
            variance: variance v of f, [K or 1, B, Q].
            mixing: P, [Q, P].

        Returns:
            [K or 1, B].
        """
        noise = self.noise_variance(X)
        covariance = tf.einsum("...q,qp,qr->...pr", variance, mixing, mixing) + tf.linalg.diag(noise)
        factor = tf.linalg.cholesky(covariance)
        whitened = tf.linalg.triangular_solve(factor, (Y - mean)[..., None])[..., 0]
        log_scales = tf.math.log(tf.linalg.diag_part(factor))
        return -tf.reduce_sum(0.5 * (whitened**2 + LOG_2PI) + log_scales, axis=-1)

    def expected_log_likelihood(self, X: tf.Tensor, Y: tf.Tensor, mean: tf.Tensor, variance: tf.Tensor) -> tf.Tensor:
        """Return E log p(y | f) in closed form; see `TrainedNoise`."""
        noise = self.noise_variance(X)
        return -0.5 * tf.reduce_sum(((Y - mean) ** 2 + variance) / noise + tf.math.log(noise) + LOG_2PI, axis=-1)

    def read(self) -> Noise:
        """Return the noise as plain arrays."""
        return NormalNoise(self.noise_variance(None).numpy())


class TrainedVaryingNoise(TrainedNormalNoise):
    """One variance per target, which varies with x."""

    def __init__(self, start: VaryingNoise, floor: Array) -> None:
        Gaussian.__init__(self, variance=VaryingVariance(start))

    def noise_variance(self, X: tf.Tensor) -> tf.Tensor:
        """Return the noise variances, [B, D] to [B, P]."""
        return self.variance(X)

    def log_prior(self) -> tf.Tensor:
        """Return log p(V) up to a constant."""
        return -0.5 * tf.reduce_sum(tf.square(self.variance.weights))

    def read(self) -> Noise:
        """Return the noise as plain arrays."""
        kernel, Z = read_kernel(self.variance.kernel), self.variance.inducing_inputs.numpy()
        weights = solve_triangular(cholesky(kernel.covariance(Z, Z)).T, self.variance.weights.numpy(), lower=False)
        level, floor = self.variance.level.numpy(), self.variance.floor.numpy()
        return VaryingNoise(floor + level, kernel, Z, weights, level, floor)


class TrainedStudentTNoise(TrainedNoise, StudentT):
    """One scale per target; its excess over the root of the floor is trained on the log scale."""

    def __init__(self, start: StudentTNoise, floor: Array) -> None:
        scale = np.sqrt(start.variance)
        super().__init__(scale=scale, df=start.degrees_of_freedom)
        self.scale = _parameter_above(np.sqrt(floor), scale)

    def noise_variance(self, X: tf.Tensor) -> tf.Tensor:
        """Return the squared scales, [P]."""
        return tf.square(self.scale)

    def log_predictive(self, X: tf.Tensor, Y: tf.Tensor, mean: tf.Tensor, variance: tf.Tensor) -> tf.Tensor:
        """Return log E t(y | f), summed over the targets; see `TrainedNoise`."""
        noise = self.noise_variance(X)
        return tf.reduce_sum(_student_t_predictive(Y - mean, variance, noise, self.df), axis=-1)

    def expected_log_likelihood(self, X: tf.Tensor, Y: tf.Tensor, mean: tf.Tensor, variance: tf.Tensor) -> tf.Tensor:
        """Return E log p(y | f) by Gauss-Hermite quadrature; see `TrainedNoise`."""
        noise = self.noise_variance(X)
        F = mean[..., None] + tf.sqrt(variance)[..., None] * HERMITE_NODES
        log_t = gpflow.logdensities.student_t(Y[..., None], F, tf.sqrt(noise)[..., None], self.df)
        return tf.reduce_sum(log_t * HERMITE_WEIGHTS, axis=[-2, -1])

    def read(self) -> Noise:
        """Return the noise as plain arrays."""
        return StudentTNoise(self.noise_variance(None).numpy(), self.df)


TRAINED: dict[type[Noise], type[TrainedNoise]] = {
    NormalNoise: TrainedNormalNoise,
    VaryingNoise: TrainedVaryingNoise,
    StudentTNoise: TrainedStudentTNoise,
}


def build_likelihood(start: Noise, floor: Array) -> TrainedNoise:
    """Return GPflow's likelihood with the initial noise; it is above the floor, [P], and stays above it."""
    return TRAINED[type(start)](start, floor)


def _student_t_predictive(residual: tf.Tensor, variance: tf.Tensor, noise: tf.Tensor, degrees: float) -> tf.Tensor:
    """Return log E t(y | f), elementwise, as log int N(y; mean, variance + noise / lambda) p(lambda) dlambda.

    The integral over lambda treats f exactly; quadrature over f would need more nodes for a wider q(f).
    """
    log_precisions, log_masses = _precision_nodes(degrees)
    total = variance[..., None] + noise[..., None] * np.exp(-log_precisions)
    log_normal = -0.5 * (residual[..., None] ** 2 / total + tf.math.log(total) + LOG_2PI)
    return tf.reduce_logsumexp(log_normal + log_masses, axis=-1)


def _precision_nodes(degrees: float) -> tuple[Array, Array]:
    """Return nodes and log weights for log lambda, lambda ~ Gamma(nu / 2, nu / 2).

    For a smooth function that vanishes at both ends, the trapezoidal rule converges faster than any power of the step
    size. Nodes far to the left are for the precisions of outliers.
    """
    nodes = min(0.5, np.sqrt(2.0 / degrees)) * np.arange(-35, 8)
    log_masses = 0.5 * degrees * (nodes - np.exp(nodes))
    return nodes, log_masses - logsumexp(log_masses)


def _parameter_above(lower: Array, value: Array) -> gpflow.Parameter:
    """Return a parameter of [P] values, whose excess over the lower bounds is on the log scale."""
    above = tfp.bijectors.Chain([tfp.bijectors.Shift(lower), tfp.bijectors.Exp()])
    return gpflow.Parameter(value, transform=above, dtype=gpflow.default_float())
