"""k(Z, X) as training evaluates it: one product and one exponential where the kernel allows it.

A kernel of GPflow takes some ten passes over its [M, n] values and as many again for their gradient, and each pass goes
through memory. Here the squared distance, with the variance where it fits, is one product of matrices with d + 2
columns, so that its gradient is two such products.

Letters: n points, M inducing inputs, d inputs of a kernel.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import gpflow
import tensorflow as tf

SMALLEST_SQUARE = 1e-36
"""Of a distance, before the square root."""


def covariance(kernel: gpflow.kernels.Kernel, Z: tf.Tensor, X: tf.Tensor) -> tf.Tensor:
    """Return k(Z, X), equal to `kernel(Z, X)`; Z [M, D], X [n, D] to [M, n]."""
    match kernel:
        case gpflow.kernels.Sum():
            return tf.add_n([covariance(part, Z, X) for part in kernel.kernels])
        case gpflow.kernels.SquaredExponential():
            return tf.exp(_scaled_distance(kernel, Z, X, factor=-0.5, offset=tf.math.log(kernel.variance)))
        case gpflow.kernels.Matern32():
            return kernel.variance * _matern32(_scaled_distance(kernel, Z, X, factor=3.0))
        case gpflow.kernels.Matern52():
            return kernel.variance * _matern52(_scaled_distance(kernel, Z, X, factor=5.0))
    return kernel(Z, X)


def _scaled_distance(
    kernel: gpflow.kernels.IsotropicStationary,
    Z: tf.Tensor,
    X: tf.Tensor,
    *,
    factor: float,
    offset: tf.Tensor | float = 0.0,
) -> tf.Tensor:
    """Return factor |x - z|^2 / l^2 + offset as one product, [M, n]."""
    Z, X = (inputs / kernel.lengthscales for inputs in kernel.slice(Z, X))
    squares_z = factor * tf.reduce_sum(tf.square(Z), axis=1, keepdims=True) + offset
    squares_x = factor * tf.reduce_sum(tf.square(X), axis=1, keepdims=True)
    left = tf.concat([-2.0 * factor * Z, squares_z, tf.ones_like(squares_z)], axis=1)
    right = tf.concat([X, tf.ones_like(squares_x), squares_x], axis=1)
    return tf.matmul(left, right, transpose_b=True)


@tf.custom_gradient
def _matern32(square: tf.Tensor) -> tuple[tf.Tensor, Callable[[tf.Tensor], Any]]:
    """Return (1 + s) exp(-s) of s^2; its derivative to s^2, -exp(-s) / 2, is finite at zero."""
    root = tf.sqrt(tf.maximum(square, SMALLEST_SQUARE))
    decay = tf.exp(-root)
    return (1.0 + root) * decay, lambda upstream: -0.5 * upstream * decay


@tf.custom_gradient
def _matern52(square: tf.Tensor) -> tuple[tf.Tensor, Callable[[tf.Tensor], Any]]:
    """Return (1 + s + s^2 / 3) exp(-s) of s^2; its derivative to s^2 is -(1 + s) exp(-s) / 6."""
    root = tf.sqrt(tf.maximum(square, SMALLEST_SQUARE))
    decay = tf.exp(-root)
    linear = (1.0 + root) * decay
    return linear + tf.square(root) * decay / 3.0, lambda upstream: -upstream * linear / 6.0
