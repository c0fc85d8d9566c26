"""Means and variances of q(f) as training evaluates them: GPflux's `GPLayer.predict` in fewer and larger products.

With u = L v, L L' = k(Z, Z), q(v) = N(mu, S), and a(x) = L^-1 k(Z, x) the whitened covariance,

    mean f(x) = a' mu,    var f(x) = k(x, x) - a' (I - S) a,

each variance one product with a symmetric matrix forward and one backward.

Letters: n points, D inputs, M inducing inputs, Q GPs of a layer, K draws of a row, B rows.
"""

from __future__ import annotations

from typing import Any

import gpflow
import tensorflow as tf
from check_shapes import check_shapes
from gpflux.layers import GPLayer

from cde_app.model.covariance import covariance

SMALLEST_VARIANCE = 1e-12


def q_covariance(q_sqrt: tf.Tensor) -> tf.Tensor:
    """Return S of q(v) = N(., S): [Q, M, M] factors to [Q, M, M], [M, Q] standard deviations to variances [M, Q]."""
    if q_sqrt.shape.rank == 2:
        return tf.square(q_sqrt)
    return tf.matmul(q_sqrt, q_sqrt, transpose_b=True)


@check_shapes("X: [n, D]", "q_mu: [M, Q]", "return[0]: [n, Q]", "return[1]: [n, Q]")
def moments(gp: GPLayer, X: tf.Tensor, q_mu: tf.Tensor, S: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Return the marginal means and variances of q(f(X)); S as `q_covariance` returns it."""
    kernel, Z = gp.kernel.kernel, gp.inducing_variable.inducing_variable.Z
    num_inducing, num_gps = q_mu.shape
    values, whitening, reduction, weights = covariance(kernel, Z, X), whitening_matrix(gp), one_minus(S), q_mu
    # Either the points are whitened, or each GP's matrices: the first costs 3 n M^2, the second 6 Q M^3.
    if S.shape.rank == 2 or X.shape[0] < 2 * num_gps * num_inducing:
        values = whitening @ values
    else:
        reduction = tf.matmul(whitening, reduction @ whitening, transpose_a=True)
        weights = tf.matmul(whitening, q_mu, transpose_a=True)
    if S.shape.rank == 2:
        explained = tf.matmul(tf.square(values), reduction, transpose_a=True)
    else:
        explained = tf.transpose(quadratic_forms(reduction, values))
    variances = kernel(X, full_cov=False)[:, None] - explained
    return tf.matmul(values, weights, transpose_a=True), tf.maximum(variances, SMALLEST_VARIANCE)


def joint_moments(gp: GPLayer, inputs: tf.Tensor, q_mu: tf.Tensor, S: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Return the means [K, B, Q] and, per row, the covariance over its K points, [B, Q, K, K]; inputs [K, B, D]."""
    kernel, Z = gp.kernel.kernel, gp.inducing_variable.inducing_variable.Z
    num_draws, num_rows, num_inputs = inputs.shape
    whitened = whitening_matrix(gp) @ covariance(kernel, Z, tf.reshape(inputs, [-1, num_inputs]))
    mean = tf.reshape(tf.matmul(whitened, q_mu, transpose_a=True), [num_draws, num_rows, -1])
    per_row = tf.reshape(whitened, [-1, num_draws, num_rows])
    form = "mkb,mq,mlb->bqkl" if S.shape.rank == 2 else "mkb,qmp,plb->bqkl"
    explained = tf.einsum(form, per_row, one_minus(S), per_row, optimize="optimal")
    prior = kernel(tf.transpose(inputs, [1, 0, 2]))[:, None]
    jitter = gpflow.default_jitter() * tf.eye(num_draws, dtype=inputs.dtype)
    return mean, prior - explained + jitter


def one_minus(S: tf.Tensor) -> tf.Tensor:
    """Return I - S, of a diagonal S its diagonal."""
    return 1.0 - S if S.shape.rank == 2 else tf.eye(S.shape[-1], dtype=S.dtype) - S


def whitening_matrix(gp: GPLayer) -> tf.Tensor:
    """Return L^-1, L the Cholesky factor of k(Z, Z) + jitter, [M, M]."""
    factor = jittered_factor(gp.kernel.kernel, gp.inducing_variable.inducing_variable.Z)
    return tf.linalg.triangular_solve(factor, tf.eye(factor.shape[0], dtype=factor.dtype))


def whitened_covariance(kernel: gpflow.kernels.Kernel, Z: tf.Tensor, X: tf.Tensor) -> tf.Tensor:
    """Return L^-1 k(Z, X), L the Cholesky factor of k(Z, Z) + jitter; Z [M, D], X [n, D] to [M, n]."""
    return tf.linalg.triangular_solve(jittered_factor(kernel, Z), covariance(kernel, Z, X))


def jittered_factor(kernel: gpflow.kernels.Kernel, Z: tf.Tensor) -> tf.Tensor:
    """Return the Cholesky factor of k(Z, Z) + jitter, [M, M]."""
    Z = tf.convert_to_tensor(Z)
    return tf.linalg.cholesky(covariance(kernel, Z, Z) + gpflow.default_jitter() * tf.eye(Z.shape[0], dtype=Z.dtype))


@tf.custom_gradient
def quadratic_forms(A: tf.Tensor, K: tf.Tensor) -> Any:
    """Return k_n' A_q k_n for the columns k_n of K; symmetric A [Q, M, M], K [M, n] to [Q, n].

    The Q matrices are stacked, so that all forms are one product, and their gradient to A another.
    """
    num_forms, size = A.shape[0], A.shape[-1]
    product = tf.reshape(tf.reshape(A, [num_forms * size, size]) @ K, [num_forms, size, -1])

    def gradient(upstream: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        weighted = tf.reshape(K * upstream[:, None], [num_forms * size, -1])
        to_A = tf.reshape(tf.matmul(weighted, K, transpose_b=True), A.shape)
        return to_A, 2.0 * tf.reduce_sum(product * upstream[:, None], axis=0)

    return tf.reduce_sum(K * product, axis=1), gradient
