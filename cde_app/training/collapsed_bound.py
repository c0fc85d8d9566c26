"""The evidence lower bound of a sparse GP regression with the optimal q(u), its gradient, and its maximum.

It is maximised a few times before a training starts, on at most a few thousand rows: too rarely for a compiled graph,
whose tracing alone takes longer than all these fits.

Letters: N rows, D features, P targets, M inducing inputs, R parameters of the kernel; the noise variance is shared.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass

import numpy as np
from scipy.optimize import minimize

from cde_app.arrays import Array
from cde_app.gp.kernels import Kernel, Pullback
from cde_app.gp.sparse_gp import cholesky
from cde_app.machine.blocks import map_blocks

SMALLEST_NOISE = 1e-6
LARGEST_LOG_PARAMETER = 50.0
"""Limit on the log of a parameter, which has no effect beyond it: the lengthscale of an irrelevant input would
otherwise grow until it overflows."""


@dataclass(frozen=True)
class Hyperparameters:
    """The arguments of the bound."""

    kernel: Kernel
    inducing_inputs: Array
    """Z, [M, D]."""
    noise: float
    """Noise variance."""


@dataclass(frozen=True)
class BoundGradient:
    """The gradient of the bound."""

    to_logs: Array
    """With respect to the logarithms of the kernel's parameters, [R]."""
    to_inducing: Array
    """With respect to Z, [M, D]."""
    to_noise: float
    """With respect to the noise variance."""


def collapsed_bound(at: Hyperparameters, X: Array, Y: Array) -> tuple[float, BoundGradient]:
    """Return log N(Y | 0, Q + noise I) - tr(K - Q) / (2 noise), summed over the targets, and its gradient.

    Q = k(X, Z) k(Z, Z)^-1 k(Z, X), with the jitter on k(Z, Z).

    Args:
        at: kernel, inducing inputs and noise variance.
        X: [N, D], features.
        Y: [N, P], targets.

    Raises:
        numpy.linalg.LinAlgError: k(Z, Z) is not positive definite.

    Source: Titsias (2009), equation 9; the gradient is ours.
    """
    kernel, Z, noise = at.kernel, at.inducing_inputs, at.noise
    (num_rows, num_targets), identity = Y.shape, np.eye(len(Z))
    among, pullback_among = kernel.with_pullback(Z, Z)
    # With L L' = k(Z, Z) and A = k(X, Z) L^-T: Q = A A', and the rest needs only B = I + A' A / noise.
    whitening = np.linalg.inv(cholesky(among))

    def block_products(rows: slice) -> tuple[Array, Pullback, Array, Array]:
        across, pullback_across = kernel.with_pullback(X[rows], Z)
        A: Array = across @ whitening.T
        return across, pullback_across, A.T @ A, A.T @ Y[rows]

    products = map_blocks(block_products, num_rows, len(Z))
    gram, moment = sum(each[2] for each in products.values()), sum(each[3] for each in products.values())
    factor = np.linalg.cholesky(identity + gram / noise)
    whitening_B = np.linalg.inv(factor)
    reduction = identity - whitening_B.T @ whitening_B
    weights = whitening.T @ (moment - reduction @ moment) / noise  # of k(x, Z) in the posterior mean
    explained = num_targets * whitening.T @ reduction @ whitening

    def block_gradient(rows: slice) -> tuple[Array, Array, float, float]:
        across, pullback_across, *_ = products[rows.start]
        residual = Y[rows] - across @ weights
        to_across = across @ explained
        to_across += residual @ weights.T
        to_across /= noise
        to_logs, _, to_Z = pullback_across(to_across)
        return to_logs, to_Z, np.vdot(Y[rows], residual), np.vdot(residual, residual)

    gradients = list(map_blocks(block_gradient, num_rows, len(Z)).values())
    across_logs, across_Z, quadratic, residual_square = (sum(parts) for parts in zip(*gradients, strict=True))
    among_logs, *among_Z = pullback_among(
        0.5 * (explained - num_targets / noise * whitening.T @ gram @ whitening - weights @ weights.T)
    )
    diagonal_logs = kernel.diagonal_gradient(X, np.full(num_rows, -num_targets / (2.0 * noise)))
    unexplained = kernel.diagonal(X).sum() - np.trace(gram)
    log_determinant = 2.0 * np.log(np.diag(factor)).sum() + num_rows * np.log(2.0 * np.pi * noise)
    value = -0.5 * (num_targets * (log_determinant + unexplained / noise) + quadratic / noise)
    # The trace of B^-1 A' A / noise is that of I - B^-1.
    to_noise = num_targets * (np.trace(reduction) - num_rows + unexplained / noise) + residual_square / noise
    return float(value), BoundGradient(
        among_logs + across_logs + diagonal_logs, sum(among_Z) + across_Z, float(to_noise / (2.0 * noise))
    )


def maximise_bound(start: Hyperparameters, X: Array, Y: Array, *, max_steps: int) -> Hyperparameters:
    """Return the best point that L-BFGS finds from a start; a failed factorisation ends the search.

    Args:
        start: kernel, inducing inputs and noise variance.
        X: [N, D], features.
        Y: [N, P], targets.
        max_steps: largest number of iterations.
    """
    num_logs = len(start.kernel.log_parameters())
    best, lowest = start, np.inf

    def at(point: Array) -> Hyperparameters:
        logs, Z = np.clip(point[: 1 + num_logs], -LARGEST_LOG_PARAMETER, LARGEST_LOG_PARAMETER), point[1 + num_logs :]
        kernel, noise = start.kernel.with_log_parameters(logs[1:]), SMALLEST_NOISE + float(np.exp(logs[0]))
        return Hyperparameters(kernel, Z.reshape(start.inducing_inputs.shape), noise)

    def loss(point: Array) -> tuple[float, Array]:
        nonlocal best, lowest
        here = at(point)
        value, gradient = collapsed_bound(here, X, Y)
        if not np.isfinite(value):
            raise np.linalg.LinAlgError("the bound is not finite")
        if -value < lowest:
            best, lowest = here, -value
        to_log_noise = gradient.to_noise * (here.noise - SMALLEST_NOISE)
        to_logs = np.concatenate([[to_log_noise], gradient.to_logs]) * (
            np.abs(point[: 1 + num_logs]) < LARGEST_LOG_PARAMETER
        )
        return -value, -np.concatenate([to_logs, gradient.to_inducing.ravel()])

    begin = np.concatenate(
        [[np.log(start.noise - SMALLEST_NOISE)], start.kernel.log_parameters(), start.inducing_inputs.ravel()]
    )
    with contextlib.suppress(np.linalg.LinAlgError), np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        minimize(loss, begin, jac=True, method="L-BFGS-B", options={"maxiter": max_steps})
    return best
