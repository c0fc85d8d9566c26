"""Means and variances of q(f) in training: GPflux's `GPLayer.predict` with fewer and larger products.

With u = L v, L L' = k(Z, Z), q(v) = N(mu, S), and the whitened covariance a(x) = L^-1 k(Z, x),

    mean f(x) = a' mu,    var f(x) = k(x, x) - a' (I - S) a,

where each variance is one product with a symmetric matrix forward and one backward.

The points are whitened even if it would be cheaper to whiten S, by L^-T (I - S) L^-1: the entries of that matrix grow
with the inverse of the jitter, and their rounding errors swamp the gradient through L.

If several GPs have a full S (joint models of several targets, mixed outputs; not inner layers, whose S is diagonal),
the off-diagonal part of S is in single precision, whose products are two to three times as fast. The rest,
k(x, x) - a' (I - diag S) a, is a difference of nearly equal numbers and is in double precision: variances are correct
to about four digits, however small they are.

Letters: n points, D inputs, M inducing inputs, Q GPs of a layer, K draws of a row, B rows.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import gpflow
import tensorflow as tf
from check_shapes import check_shapes
from gpflux.layers import GPLayer

from cde_app.model.kernels import covariance

SMALLEST_VARIANCE = 1e-12
FORM_PRECISION = tf.float32
"""Precision of the off-diagonal part of S if there are several GPs."""
FORMS = "quadratic_forms"
"""Name scope of these operations, which identifies them in a profile."""


class WhitenedPosterior(NamedTuple):
    """q(v) = N(mu, S) of the GPs of a layer, in the form that its moments need."""

    q_mu: tf.Tensor
    """mu, [M, Q]."""
    scales: tf.Tensor
    """The diagonal of the Cholesky factor of S, [M, Q]; the standard deviations if S is diagonal."""
    variances: tf.Tensor
    """The diagonal of S, [M, Q]."""
    covariances: tf.Tensor | None
    """S with zeros on its diagonal, [Q, M, M], in `FORM_PRECISION` for several GPs; None if S is diagonal."""


def whitened_posterior(gp: GPLayer) -> WhitenedPosterior:
    """Return q(v) of a layer whose q_sqrt holds lower triangular factors [Q, M, M], or standard deviations [M, Q]."""
    q_mu, q_sqrt = tf.convert_to_tensor(gp.q_mu), tf.convert_to_tensor(gp.q_sqrt)
    if q_sqrt.shape.rank == 2:
        return WhitenedPosterior(q_mu, q_sqrt, tf.square(q_sqrt), None)
    return WhitenedPosterior(q_mu, *split_square(q_sqrt))


@tf.custom_gradient
def split_square(factor: tf.Tensor) -> Any:
    """Return the diagonals of R and R R', and the off-diagonal part of R R'; R [Q, M, M] to two [M, Q] and [Q, M, M].

    The gradient through the product, (G + G') R, is one product instead of two for a general product, and the gradient
    of a diagonal needs no extra matrix.
    """
    rounded = tf.cast(factor, FORM_PRECISION if factor.shape[0] > 1 else factor.dtype)

    def without_diagonal(matrices: tf.Tensor) -> tf.Tensor:
        return tf.linalg.set_diag(matrices, tf.zeros(matrices.shape[:-1], matrices.dtype))

    def gradient(to_scales: tf.Tensor, to_variances: tf.Tensor, to_rest: tf.Tensor) -> tf.Tensor:
        symmetric = without_diagonal(to_rest + tf.linalg.matrix_transpose(to_rest))
        to_factor = 2.0 * tf.transpose(to_variances)[..., None] * factor + tf.cast(symmetric @ rounded, factor.dtype)
        return tf.linalg.set_diag(to_factor, tf.linalg.diag_part(to_factor) + tf.transpose(to_scales))

    scales = tf.transpose(tf.linalg.diag_part(factor))
    variances = tf.transpose(tf.reduce_sum(tf.square(factor), axis=2))
    return (scales, variances, without_diagonal(tf.matmul(rounded, rounded, transpose_b=True))), gradient


@check_shapes("q.q_mu: [M, Q]", "q.scales: [M, Q]", "q.variances: [M, Q]", "return: []")
def whitened_kl(q: WhitenedPosterior) -> tf.Tensor:
    """Return KL[q(v) || N(0, I)], summed over the GPs, equal to GPflow's `gauss_kl`."""
    squares = tf.square(q.q_mu) + q.variances - 1.0
    return tf.reduce_sum(0.5 * squares - tf.math.log(tf.abs(q.scales)))


@check_shapes("X: [n, D]", "q.q_mu: [M, Q]", "q.variances: [M, Q]", "return[0]: [n, Q]", "return[1]: [n, Q]")
def moments(gp: GPLayer, X: tf.Tensor, q: WhitenedPosterior) -> tuple[tf.Tensor, tf.Tensor]:
    """Return the marginal means and variances of q(f(X))."""
    kernel, Z = gp.kernel.kernel, gp.inducing_variable.inducing_variable.Z
    whitened = whitened_covariance(kernel, Z, X, gp.jitter)
    prior = kernel(X, full_cov=False)[:, None]
    variances = prior - tf.matmul(tf.square(whitened), 1.0 - q.variances, transpose_a=True)
    if q.covariances is not None:
        forms = quadratic_forms(q.covariances, tf.cast(whitened, q.covariances.dtype))
        variances += tf.cast(tf.transpose(forms), prior.dtype)
    return tf.matmul(whitened, q.q_mu, transpose_a=True), tf.maximum(variances, SMALLEST_VARIANCE)


def joint_moments(gp: GPLayer, inputs: tf.Tensor, q: WhitenedPosterior) -> tuple[tf.Tensor, tf.Tensor]:
    """Return the means [K, B, Q] and each row's covariance over its K points, [B, Q, K, K]; inputs [K, B, D]."""
    kernel, Z = gp.kernel.kernel, gp.inducing_variable.inducing_variable.Z
    num_draws, num_rows, num_inputs = inputs.shape
    whitened = whitened_covariance(kernel, Z, tf.reshape(inputs, [-1, num_inputs]), gp.jitter)
    mean = tf.reshape(tf.matmul(whitened, q.q_mu, transpose_a=True), [num_draws, num_rows, -1])
    per_row = tf.reshape(whitened, [-1, num_draws, num_rows])
    explained = tf.einsum("mkb,mq,mlb->bqkl", per_row, 1.0 - q.variances, per_row, optimize="optimal")
    if q.covariances is not None:
        covariances = tf.cast(q.covariances, inputs.dtype)
        explained -= tf.einsum("mkb,qmp,plb->bqkl", per_row, covariances, per_row, optimize="optimal")
    prior = kernel(tf.transpose(inputs, [1, 0, 2]))[:, None]
    return mean, prior - explained + gp.jitter * tf.eye(num_draws, dtype=inputs.dtype)


def whitening_matrix(gp: GPLayer) -> tf.Tensor:
    """Return L^-1, where L is the Cholesky factor of k(Z, Z) + jitter, [M, M]."""
    return inverse_factor(jittered_covariance(gp.kernel.kernel, gp.inducing_variable.inducing_variable.Z, gp.jitter))


def whitened_covariance(
    kernel: gpflow.kernels.Kernel, Z: tf.Tensor, X: tf.Tensor, jitter: tf.Tensor | float
) -> tf.Tensor:
    """Return L^-1 k(Z, X), where L is the Cholesky factor of k(Z, Z) + jitter; Z [M, D], X [n, D] to [M, n]."""
    return inverse_factor(jittered_covariance(kernel, Z, jitter)) @ covariance(kernel, Z, X)


def jittered_covariance(kernel: gpflow.kernels.Kernel, Z: tf.Tensor, jitter: tf.Tensor | float) -> tf.Tensor:
    """Return k(Z, Z) + jitter, [M, M]."""
    Z = tf.convert_to_tensor(Z)
    return covariance(kernel, Z, Z) + jitter * tf.eye(Z.shape[0], dtype=Z.dtype)


@check_shapes("K: [M, M]", "return: [M, M]")
@tf.custom_gradient
def inverse_factor(K: tf.Tensor) -> Any:
    """Return L^-1, where L is the Cholesky factor of K, [M, M].

    If G is the gradient with respect to L^-1, that with respect to L is -L^-T G L^-T. The gradient with respect to K
    needs only L' times the latter, -G L^-T: it is L^-T H L^-1 / 2, where H is the lower triangle of -G L^-T, mirrored
    upwards.
    """
    inverse = tf.linalg.triangular_solve(tf.linalg.cholesky(K), tf.eye(K.shape[0], dtype=K.dtype))

    def gradient(upstream: tf.Tensor) -> tf.Tensor:
        product = tf.matmul(upstream, inverse, transpose_b=True)
        lower = tf.linalg.band_part(product, -1, 0)
        mirrored = tf.linalg.set_diag(lower + tf.transpose(lower), tf.linalg.diag_part(product))
        return -0.5 * tf.matmul(inverse, mirrored @ inverse, transpose_a=True)

    return inverse, gradient


@tf.custom_gradient
def quadratic_forms(A: tf.Tensor, K: tf.Tensor) -> Any:
    """Return k_n' A_q k_n for the columns k_n of K; symmetric A [Q, M, M], K [M, n] to [Q, n].

    The Q matrices are stacked into one product; their gradient is another one.
    """
    num_forms, size = A.shape[0], A.shape[-1]
    with tf.name_scope(FORMS):
        product = tf.reshape(tf.reshape(A, [num_forms * size, size]) @ K, [num_forms, size, -1])

    def gradient(upstream: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        with tf.name_scope(FORMS):
            weighted = tf.reshape(K * upstream[:, None], [num_forms * size, -1])
            to_A = tf.reshape(tf.matmul(weighted, K, transpose_b=True), A.shape)
            return to_A, 2.0 * tf.reduce_sum(product * upstream[:, None], axis=0)

    return tf.reduce_sum(K * product, axis=1), gradient
