"""Means and variances of q(f) as training evaluates them: GPflux's `GPLayer.predict` in fewer and larger products.

With u = L v, L L' = k(Z, Z), q(v) = N(mu, S), and a(x) = L^-1 k(Z, x) the whitened covariance,

    mean f(x) = a' mu,    var f(x) = k(x, x) - a' (I - S) a,

each variance one product with a symmetric matrix forward and one backward.

The points are whitened even where it would be cheaper to whiten S, by L^-T (I - S) L^-1: its entries grow with the
inverse of the jitter, and the gradient through L drowns in their rounding.

Where several GPs have a full S (joint models of several targets, mixed outputs; not inner layers, whose S is diagonal),
a' S a is in single precision, whose products are two to three times as fast, and k(x, x) - a' a, the difference of
nearly equal numbers, in double: variances are right to some five digits, however small they are.

Letters: n points, D inputs, M inducing inputs, Q GPs of a layer, K draws of a row, B rows.
"""

from __future__ import annotations

from typing import Any

import gpflow
import numpy as np
import tensorflow as tf
from check_shapes import check_shapes
from gpflux.layers import GPLayer

from cde_app.model.covariance import covariance

SMALLEST_VARIANCE = 1e-12
FORM_PRECISION = tf.float32
"""Of a' S a of several GPs."""
FORMS = "quadratic_forms"
"""Scope of their operations, by which a profile knows them."""
MOST_BLOCKS, LEAST_FORMS = 4, 512
"""Forms are computed in so many blocks of points at most, each of so many at least: TensorFlow gives each operation one
thread (`threads.py`)."""


def q_covariance(q_sqrt: tf.Tensor) -> tf.Tensor:
    """Return S of q(v) = N(., S): [Q, M, M] factors to [Q, M, M], [M, Q] standard deviations to variances [M, Q]."""
    return tf.square(q_sqrt) if q_sqrt.shape.rank == 2 else _square(tf.convert_to_tensor(q_sqrt))


@tf.custom_gradient
def _square(factor: tf.Tensor) -> Any:
    """Return R R'; the gradient (G + G') R is one product, where that of a general product is two."""

    def gradient(upstream: tf.Tensor) -> tf.Tensor:
        return (upstream + tf.linalg.matrix_transpose(upstream)) @ factor

    return tf.matmul(factor, factor, transpose_b=True), gradient


@check_shapes("q_mu: [M, Q]", "return: []")
@tf.custom_gradient
def whitened_kl(q_mu: tf.Tensor, q_sqrt: tf.Tensor) -> Any:
    """Return KL[q(v) || N(0, I)], the sum over the GPs, as GPflow's `gauss_kl` does; its gradient is one pass.

    q_sqrt has lower triangular factors [Q, M, M], or standard deviations [M, Q].
    """
    diagonal = q_sqrt if q_sqrt.shape.rank == 2 else tf.linalg.diag_part(q_sqrt)
    squares = tf.nn.l2_loss(q_mu) + tf.nn.l2_loss(q_sqrt) - 0.5 * diagonal.shape.num_elements()

    def gradient(upstream: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        to_diagonal = diagonal - 1.0 / diagonal
        to_sqrt = to_diagonal if q_sqrt.shape.rank == 2 else tf.linalg.set_diag(q_sqrt, to_diagonal)
        return upstream * q_mu, upstream * to_sqrt

    return squares - tf.reduce_sum(tf.math.log(tf.abs(diagonal))), gradient


@check_shapes("X: [n, D]", "q_mu: [M, Q]", "return[0]: [n, Q]", "return[1]: [n, Q]")
def moments(gp: GPLayer, X: tf.Tensor, q_mu: tf.Tensor, S: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Return the marginal means and variances of q(f(X)); S as `q_covariance` returns it."""
    kernel, Z = gp.kernel.kernel, gp.inducing_variable.inducing_variable.Z
    whitened = whitening_matrix(gp) @ covariance(kernel, Z, X)
    prior = kernel(X, full_cov=False)[:, None]
    if S.shape.rank == 2:
        variances = prior - tf.matmul(tf.square(whitened), one_minus(S), transpose_a=True)
    else:
        precision = FORM_PRECISION if S.shape[0] > 1 else S.dtype
        forms = quadratic_forms(tf.cast(S, precision), tf.cast(whitened, precision))
        explained = tf.reduce_sum(tf.square(whitened), axis=0)[:, None]
        variances = prior - explained + tf.cast(tf.transpose(forms), prior.dtype)
    return tf.matmul(whitened, q_mu, transpose_a=True), tf.maximum(variances, SMALLEST_VARIANCE)


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


def quadratic_forms(A: tf.Tensor, K: tf.Tensor) -> tf.Tensor:
    """Return k_n' A_q k_n for the columns k_n of K; symmetric A [Q, M, M], K [M, n] to [Q, n]."""
    num_blocks = max(1, min(MOST_BLOCKS, A.shape[0] * K.shape[1] // LEAST_FORMS))
    edges = np.linspace(0, K.shape[1], num_blocks + 1).astype(int)
    return tf.concat([_forms(A, block) for block in tf.split(K, np.diff(edges), axis=1)], axis=1)


@tf.custom_gradient
def _forms(A: tf.Tensor, K: tf.Tensor) -> Any:
    """Return the forms of a block of points: the Q matrices are stacked into one product, their gradient another."""
    num_forms, size = A.shape[0], A.shape[-1]
    with tf.name_scope(FORMS):
        product = tf.reshape(tf.reshape(A, [num_forms * size, size]) @ K, [num_forms, size, -1])

    def gradient(upstream: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        with tf.name_scope(FORMS):
            weighted = tf.reshape(K * upstream[:, None], [num_forms * size, -1])
            to_A = tf.reshape(tf.matmul(weighted, K, transpose_b=True), A.shape)
            return to_A, 2.0 * tf.reduce_sum(product * upstream[:, None], axis=0)

    return tf.reduce_sum(K * product, axis=1), gradient
