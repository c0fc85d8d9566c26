"""The gradient of a covariance matrix, in NumPy: what the warm start needs, where a compiled graph would not pay.

A kernel's parameters are told by their logarithms, leaf by leaf: the variance (of a linear kernel one per input), then
where the kind has them the lengthscales, alpha, and the periods. These are the parameters that GPflow trains.

Letters: n points, M inducing inputs, D inputs of a kernel, d inputs of a leaf, R parameters.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import reduce
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cde_app.predictive.sparse_gp import DISTANCE_FACTORS, Kernel, squared_distance_to

Array = NDArray[np.float64]
Pullback = Callable[[Array], tuple[Array, Array, Array]]
"""The gradient to k(X, Z), [n, M], to the gradients to the log parameters [R], to X [n, D] and to Z [M, D]."""

SMALLEST_SQUARE = 1e-12
"""Below this squared distance two points are one: a kernel that has a kink there has no slope."""


def log_parameters(kernel: Kernel) -> Array:
    """Return the logarithms of a kernel's parameters, [R]."""
    return np.log(
        np.concatenate([np.atleast_1d(value) for leaf in kernel.leaves() for value in _values(leaf).values()])
    )


def with_log_parameters(kernel: Kernel, logs: Array) -> Kernel:
    """Return the kernel with other parameters, [R]; the inverse of `log_parameters`."""
    if kernel.parts:
        ends = np.cumsum([len(log_parameters(part)) for part in kernel.parts])
        parts = zip(kernel.parts, np.split(logs, ends[:-1]), strict=True)
        return replace(kernel, parts=tuple(with_log_parameters(part, share) for part, share in parts))
    values, start = np.exp(logs), 0
    changed: dict[str, Any] = {}
    for name, value in _values(kernel).items():
        stop = start + np.size(value)
        changed[name] = float(values[start]) if np.ndim(value) == 0 else values[start:stop]
        start = stop
    return replace(kernel, **changed)


def covariance_with_pullback(kernel: Kernel, X: Array, Z: Array) -> tuple[Array, Pullback]:
    """Return k(X, Z) and its gradient; [n, D] and [M, D] to [n, M]."""
    if not kernel.parts:
        return _leaf_with_pullback(kernel, X, Z)
    covariances, pullbacks = zip(*[covariance_with_pullback(part, X, Z) for part in kernel.parts], strict=True)

    def pullback(upstream: Array) -> tuple[Array, Array, Array]:
        factors = _factors(kernel, covariances)
        pulled = [
            pull(upstream if factor is None else upstream * factor)
            for pull, factor in zip(pullbacks, factors, strict=True)
        ]
        to_logs, to_X, to_Z = zip(*pulled, strict=True)
        return np.concatenate(to_logs), sum(to_X), sum(to_Z)

    return reduce(np.add if kernel.kind == "sum" else np.multiply, covariances), pullback


def diagonal_gradient(kernel: Kernel, X: Array, upstream: Array) -> Array:
    """Return the gradient to the log parameters, [R], of sum_n upstream_n k(x_n, x_n); [n, D] and [n]."""
    if kernel.parts:
        factors = _factors(kernel, [part.diagonal(X) for part in kernel.parts])
        parts = zip(kernel.parts, factors, strict=True)
        return np.concatenate(
            [diagonal_gradient(part, X, upstream if factor is None else upstream * factor) for part, factor in parts]
        )
    if kernel.kind == "linear":
        return kernel.variance * (upstream @ kernel.inputs(X) ** 2)
    gradient = np.zeros(len(log_parameters(kernel)))  # of the others the variance alone
    gradient[0] = upstream @ kernel.diagonal(X)
    return gradient


def _values(leaf: Kernel) -> dict[str, float | Array]:
    """Return the parameters that a leaf has, by the name of their field."""
    names = ["variance"]
    if leaf.kind not in ("linear", "constant"):
        names.append("lengthscales")
    if leaf.kind == "rational_quadratic":
        names.append("alpha")
    if leaf.kind == "periodic":
        names.append("period")
    return {name: getattr(leaf, name) for name in names}


def _factors(kernel: Kernel, values: Sequence[Array]) -> list[Array | None]:
    """Return the derivative of a sum or a product to each of its parts; None for one."""
    if kernel.kind == "sum" or len(values) == 1:
        return [None] * len(values)
    return [
        reduce(np.multiply, [value for other, value in enumerate(values) if other != part])
        for part in range(len(values))
    ]


def _leaf_with_pullback(kernel: Kernel, X: Array, Z: Array) -> tuple[Array, Pullback]:
    x, z = kernel.inputs(X), kernel.inputs(Z)

    def widened(to_x: Array, to_z: Array) -> tuple[Array, Array]:
        """Return gradients to the leaf's inputs as gradients to all of them."""
        if kernel.columns is None:
            return to_x, to_z
        to_X, to_Z = np.zeros(X.shape), np.zeros(Z.shape)
        to_X[:, list(kernel.columns)], to_Z[:, list(kernel.columns)] = to_x, to_z
        return to_X, to_Z

    if kernel.kind == "constant":
        covariance = np.full((len(X), len(Z)), kernel.variance)
        nothing = np.zeros(X.shape), np.zeros(Z.shape)
        return covariance, lambda upstream: (np.array([kernel.variance * upstream.sum()]), *nothing)
    if kernel.kind == "linear":

        def linear(upstream: Array) -> tuple[Array, Array, Array]:
            at_x, at_z = upstream @ z, upstream.T @ x
            to_inputs = widened(kernel.variance * at_x, kernel.variance * at_z)
            return kernel.variance * np.einsum("nd,nd->d", x, at_x), *to_inputs

        return (kernel.variance * x) @ z.T, linear
    points, inducing = kernel.scaled(X), kernel.scaled(Z)
    square = squared_distance_to(inducing, factor=1.0)(points)
    covariance, decline = _of_square(kernel, square)

    def stationary(upstream: Array) -> tuple[Array, Array, Array]:
        weights = upstream * decline
        to_points = weights @ inducing - weights.sum(1)[:, None] * points
        to_inducing = weights.T @ points - weights.sum(0)[:, None] * inducing
        to_logs = [np.array([np.vdot(upstream, covariance)]), -_both(to_points * points, to_inducing * inducing)]
        if kernel.kind == "rational_quadratic":
            to_logs.append(np.array([np.vdot(upstream, covariance * _growth_with_alpha(kernel, square))]))
        if kernel.kind == "periodic":
            to_logs[1] = to_logs[1].reshape(2, -1).sum(0)  # cosines and sines
            angle = 2.0 * np.pi / kernel.period
            to_x, to_z = angle * _along_circles(points, to_points), angle * _along_circles(inducing, to_inducing)
            to_logs.append(-_both(to_x * x, to_z * z))
        else:
            to_x, to_z = to_points / kernel.lengthscales, to_inducing / kernel.lengthscales
        return np.concatenate(to_logs), *widened(to_x, to_z)

    return covariance, stationary


def _both(at_points: Array, at_inducing: Array) -> Array:
    return at_points.sum(0) + at_inducing.sum(0)


def _of_square(kernel: Kernel, square: Array) -> tuple[Array, Array]:
    """Return a stationary kernel at squared distances, and -2 times its derivative to them.

    Temporaries are written into: memory that is asked for again and again costs as much as the arithmetic.
    """
    variance = kernel.variance
    match kernel.kind:
        case "squared_exponential" | "periodic":
            covariance = np.multiply(square, -0.5)
            np.exp(covariance, out=covariance)
            covariance *= variance
            return covariance, covariance
        case "rational_quadratic":
            base = 1.0 + np.maximum(square, 0.0) / (2.0 * kernel.alpha)
            covariance = variance * base**-kernel.alpha
            return covariance, covariance / base
    root = np.maximum(square, 0.0)
    root *= DISTANCE_FACTORS[kernel.kind]
    np.sqrt(root, out=root)
    decline = np.negative(root)
    np.exp(decline, out=decline)
    decline *= variance
    match kernel.kind:
        case "matern12":  # v e^-r
            covariance = decline
            decline = np.divide(covariance, root, out=np.zeros_like(root), where=square > SMALLEST_SQUARE)
        case "matern32":  # v (1 + r) e^-r
            root += 1.0
            root *= decline
            decline *= 3.0
            covariance = root
        case _:  # v (1 + r + r^2 / 3) e^-r
            covariance = np.square(root)
            covariance *= decline
            root += 1.0
            decline *= root
            covariance /= 3.0
            covariance += decline
            decline *= 5.0 / 3.0
    return covariance, decline


def _growth_with_alpha(kernel: Kernel, square: Array) -> Array:
    """Return the derivative of a rational quadratic's logarithm to log alpha."""
    excess = np.maximum(square, 0.0) / (2.0 * kernel.alpha)
    return kernel.alpha * (excess / (1.0 + excess) - np.log1p(excess))


def _along_circles(on_circles: Array, gradient: Array) -> Array:
    """Return the gradient to the angles of points on circles, [n, 2 d] to [n, d]."""
    cosines, sines = np.split(on_circles, 2, axis=1)
    to_cosines, to_sines = np.split(gradient, 2, axis=1)
    return cosines * to_sines - sines * to_cosines
