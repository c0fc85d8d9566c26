"""The kernels in TensorFlow: one table row per kind, for everything that its NumPy class does not contain.

The covariances are computed for fast training, with one product and one exponential if the kernel allows it. A kernel
of GPflow takes about ten passes over its [M, n] values and as many again for their gradient, and each pass goes through
memory. Here the squared distance (with the variance, if possible) is one product of matrices with d + 2 columns, and
its gradient is two such products.

Letters: n points, M inducing inputs, d inputs of a kernel.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import gpflow
import tensorflow as tf

from cde_app.gp.kernels import COMBINATIONS, LEAVES, Combination, Kernel
from cde_app.model.parameter import positive_parameter

SMALLEST_SQUARE = 1e-36
"""Lower limit of a squared distance, before the square root."""


@dataclass(frozen=True)
class Counterpart:
    """The GPflow kernel that corresponds to one of ours; its parameters have the same names."""

    gpflow_class: type[Any]
    covariance: Callable[[Any, tf.Tensor, tf.Tensor], tf.Tensor] | None = None
    """A faster k(Z, X); None to use GPflow's."""
    in_base: tuple[str, ...] = ()
    """Parameters that belong to its `base_kernel`, a squared exponential."""

    def build(self, parameters: dict[str, Any], active_dims: list[int] | None) -> gpflow.kernels.Kernel:
        """Return the kernel with these parameters, which are trainable."""
        base = {name: parameters[name] for name in self.in_base}
        own = {name: value for name, value in parameters.items() if name not in base}
        if base:
            kernel = self.gpflow_class(gpflow.kernels.SquaredExponential(**base, active_dims=active_dims), **own)
        else:
            kernel = self.gpflow_class(**own, active_dims=active_dims)
        for name, value in parameters.items():
            setattr(self._holder(kernel, name), name, positive_parameter(value))
        return kernel

    def read(self, kernel: gpflow.kernels.Kernel, name: str) -> Any:
        """Return the value of a parameter, an array or a number."""
        value = getattr(self._holder(kernel, name), name).numpy()
        return value if value.ndim else float(value)

    def _holder(self, kernel: gpflow.kernels.Kernel, name: str) -> gpflow.kernels.Kernel:
        return kernel.base_kernel if name in self.in_base else kernel


def build_kernel(start: Kernel) -> gpflow.kernels.Kernel:
    """Return the GPflow kernel with the same hyperparameters."""
    counterpart = COUNTERPARTS[start.kind]
    if isinstance(start, Combination):
        return counterpart.gpflow_class([build_kernel(part) for part in start.parts])
    (leaf,) = start.leaves()
    return counterpart.build(leaf.parameters(), None if leaf.columns is None else list(leaf.columns))


def read_kernel(kernel: gpflow.kernels.Kernel) -> Kernel:
    """Undo `build_kernel`: return the kernel as plain arrays; a sum of sums becomes one sum, as in GPflow."""
    kind = KIND_OF[type(kernel)]
    if kind in COMBINATIONS:
        return COMBINATIONS[kind](tuple(read_kernel(part) for part in kernel.kernels))
    values = {name: COUNTERPARTS[kind].read(kernel, name) for name in LEAVES[kind].parameter_names()}
    dims = kernel.active_dims
    return LEAVES[kind](**values, columns=None if isinstance(dims, slice) else tuple(int(dim) for dim in dims))


def covariance(kernel: gpflow.kernels.Kernel, Z: tf.Tensor, X: tf.Tensor) -> tf.Tensor:
    """Return k(Z, X), equal to `kernel(Z, X)`; Z [M, D], X [n, D] to [M, n]."""
    faster = COUNTERPARTS[KIND_OF[type(kernel)]].covariance
    return kernel(Z, X) if faster is None else faster(kernel, Z, X)


def _sum(kernel: gpflow.kernels.Sum, Z: tf.Tensor, X: tf.Tensor) -> tf.Tensor:
    return tf.add_n([covariance(part, Z, X) for part in kernel.kernels])


def _squared_exponential(kernel: gpflow.kernels.SquaredExponential, Z: tf.Tensor, X: tf.Tensor) -> tf.Tensor:
    return tf.exp(_scaled_distance(kernel, Z, X, factor=-0.5, offset=tf.math.log(kernel.variance)))


def _matern32(kernel: gpflow.kernels.Matern32, Z: tf.Tensor, X: tf.Tensor) -> tf.Tensor:
    return kernel.variance * _matern32_of_square(_scaled_distance(kernel, Z, X, factor=3.0))


def _matern52(kernel: gpflow.kernels.Matern52, Z: tf.Tensor, X: tf.Tensor) -> tf.Tensor:
    return kernel.variance * _matern52_of_square(_scaled_distance(kernel, Z, X, factor=5.0))


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
def _matern32_of_square(square: tf.Tensor) -> tuple[tf.Tensor, Callable[[tf.Tensor], Any]]:
    """Return (1 + s) exp(-s), given s^2; its derivative with respect to s^2, -exp(-s) / 2, is finite at zero."""
    root = tf.sqrt(tf.maximum(square, SMALLEST_SQUARE))
    decay = tf.exp(-root)
    return (1.0 + root) * decay, lambda upstream: -0.5 * upstream * decay


@tf.custom_gradient
def _matern52_of_square(square: tf.Tensor) -> tuple[tf.Tensor, Callable[[tf.Tensor], Any]]:
    """Return (1 + s + s^2 / 3) exp(-s), given s^2; its derivative with respect to s^2 is -(1 + s) exp(-s) / 6."""
    root = tf.sqrt(tf.maximum(square, SMALLEST_SQUARE))
    decay = tf.exp(-root)
    linear = (1.0 + root) * decay
    return linear + tf.square(root) * decay / 3.0, lambda upstream: -upstream * linear / 6.0


COUNTERPARTS: dict[str, Counterpart] = {
    "squared_exponential": Counterpart(gpflow.kernels.SquaredExponential, _squared_exponential),
    "matern12": Counterpart(gpflow.kernels.Matern12),
    "matern32": Counterpart(gpflow.kernels.Matern32, _matern32),
    "matern52": Counterpart(gpflow.kernels.Matern52, _matern52),
    "rational_quadratic": Counterpart(gpflow.kernels.RationalQuadratic),
    "periodic": Counterpart(gpflow.kernels.Periodic, in_base=("variance", "lengthscales")),
    "linear": Counterpart(gpflow.kernels.Linear),
    "constant": Counterpart(gpflow.kernels.Constant),
    "sum": Counterpart(gpflow.kernels.Sum, _sum),
    "product": Counterpart(gpflow.kernels.Product),
}
KIND_OF = {counterpart.gpflow_class: kind for kind, counterpart in COUNTERPARTS.items()}
