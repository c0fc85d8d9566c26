"""Where the output layer starts: as the warm start, and a plane in w where it sees w.

Letters: N rows, n points of a design, D features, P targets, Q GPs of a term (P of them where the layer does not mix),
M inducing inputs.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.linalg import solve_triangular

from cde_app import config
from cde_app.arrays import Array
from cde_app.model.start import GPStart
from cde_app.predictive.kernels import Kernel
from cde_app.predictive.mean_function import MeanFunction
from cde_app.predictive.sparse_gp import cholesky
from cde_app.training.inducing import choose_inducing
from cde_app.training.kernel_start import Axis, start_kernel
from cde_app.training.latent_start import LatentPlane
from cde_app.training.linear_maps import unmixed
from cde_app.training.warm_start import SparseRegression, posterior_of_whitened

PLANE_NOISE = 0.01
"""Relative noise of the regression that turns h into a plane."""


@dataclass(frozen=True)
class WarmOutput:
    """The warm start as the GPs f of the output layer see it; y = m(x) + f P + e, and f = (y - m(x)) P' at first."""

    regression: SparseRegression
    """Of f."""
    features: Array
    """[N, D], with which the layer starts."""
    axes: tuple[Axis, ...]
    """[D], what the features are."""
    moved: bool
    """Whether they are others than those that the regression was fitted to."""
    values: Array
    """Of f by the targets, [N, Q]."""
    mean: Array
    """Of f by the regression, [N, Q]."""
    mixing: Array | None
    """P, [Q, P]; None where each target has GPs of its own."""
    lost: Array
    """Variance of the regression's mean that P leaves out, [P]."""


def warm_output(
    regression: SparseRegression,
    Y: Array,
    mean: Array,
    *,
    features: Array,
    axes: tuple[Axis, ...],
    moved: bool,
    mean_function: MeanFunction,
    mixing: Array | None,
) -> WarmOutput:
    """Tell the warm start of f.

    Args:
        regression: the warm start, of y.
        Y: [N, P], standardised targets.
        mean: [N, P], of the regression at these rows.
        features: [N, D], with which the layer starts.
        axes: [D], what the features are.
        moved: whether they are others than those that the regression was fitted to.
        mean_function: m, [D] to [P].
        mixing: P, [Q, P], its rows orthonormal; None where each target has GPs of its own.
    """
    offset = mean_function(features)
    values, mean, lost = Y - offset, mean - offset, np.zeros(Y.shape[1])
    if mixing is not None:
        lost = ((mean - mean @ mixing.T @ mixing) ** 2).mean(0)
        regression, values, mean = unmixed(regression, mixing), values @ mixing.T, mean @ mixing.T
    return WarmOutput(regression, features, axes, moved, values, mean, mixing, lost)


def output_terms(
    output: config.Output, warm: WarmOutput, plane: LatentPlane | None, *, projects: bool, seed: int
) -> tuple[tuple[GPStart, ...], Array]:
    """Return the terms of the output layer, and the variance of y that they cannot tell and leave to the noise, [P].

    Args:
        output: the `output` block.
        warm: what the terms start as.
        plane: what is added to it; None without latent variables.
        projects: whether the features are a projection of those that the warm start saw.
        seed: of k-means.
    """
    terms: tuple[GPStart, ...] = ()
    lost = warm.lost
    if plane is None or output.structure == "additive":
        trend = trend_term(output, warm, seed=seed)
        terms = (trend,)
        if projects:
            lost = lost + unexplained(trend, warm.features, warm.mean, warm.mixing)
    if plane is None:
        return terms, lost
    values, is_exact = plane.values, plane.compositor.widens
    if output.structure == "additive":
        term = plane_term(output, plane, seed=seed)
    else:
        values, is_exact = warm.mean[plane.rows] + values, is_exact and not projects
        term = joint_term(output, warm, plane, values, seed=seed)
    if not is_exact:
        lost = lost + unexplained(term, plane.inputs, values, warm.mixing)
    return (*terms, term), lost


def trend_term(output: config.Output, warm: WarmOutput, *, seed: int) -> GPStart:
    """Return g(x) as the warm start has it, refitted where the inner layers change the features."""
    regression, features = warm.regression, warm.features
    if not warm.moved:
        return GPStart(regression.kernel, regression.inducing_inputs, regression.q_mu, regression.q_sqrt, False)
    kernel = start_kernel(
        output.kernel,
        axes=warm.axes,
        variance=float(regression.kernel.diagonal(regression.inducing_inputs).mean()),
        lengthscales=np.full(features.shape[1], np.sqrt(features.shape[1])),
    )
    Z = choose_inducing(output.inducing, kernel, features, output.num_inducing, seed=seed)
    return fitted_term(kernel, Z, features, warm.values, regression.noise, sees_latent=False)


def plane_term(output: config.AdditiveOutput, plane: LatentPlane, *, seed: int) -> GPStart:
    """Return h(x, w) that starts as the plane."""
    amplitude = float((plane.slope**2).sum(1).mean())
    kernel = start_kernel(
        output.kernel_latent, axes=plane.axes, variance=4.0 * amplitude, lengthscales=plane.lengthscales
    )
    noise = np.full(len(plane.slope), PLANE_NOISE * amplitude)
    Z = choose_inducing(output.inducing, kernel, plane.inputs, output.num_inducing_latent, seed=seed)
    return fitted_term(kernel, Z, plane.inputs, plane.values, noise, sees_latent=True)


def joint_term(
    output: config.JointOutput, warm: WarmOutput, plane: LatentPlane, values: Array, *, seed: int
) -> GPStart:
    """Return f(x, w) that starts at `values` [n, Q], the warm start's mean plus the plane."""
    kernel = start_kernel(output.kernel, axes=plane.axes, variance=1.0, lengthscales=plane.lengthscales)
    noise = np.maximum(PLANE_NOISE * warm.regression.noise, 1e-4)
    Z = choose_inducing(output.inducing, kernel, plane.inputs, output.num_inducing, seed=seed)
    return fitted_term(kernel, Z, plane.inputs, values, noise, sees_latent=True)


def unexplained(term: GPStart, inputs: Array, values: Array, mixing: Array | None) -> Array:
    """Return the variance of `values` of f [n, Q] about the GPs' mean, as the targets have it, [P].

    What c(x, w), or the projection of x, cannot tell is noise at first.
    """
    factor = cholesky(term.kernel.covariance(term.inducing_inputs, term.inducing_inputs))
    weights = solve_triangular(factor.T, term.q_mu, lower=False)
    variance: Array = ((values - term.kernel.covariance(inputs, term.inducing_inputs) @ weights) ** 2).mean(0)
    return variance if mixing is None else variance @ mixing**2


def fitted_term(kernel: Kernel, Z: Array, inputs: Array, values: Array, noise: Array, *, sees_latent: bool) -> GPStart:
    """Return a GP with inducing inputs Z whose q(u) is the regression of `values` [N, P] on `inputs` [N, D]."""
    factor = cholesky(kernel.covariance(Z, Z))
    A = solve_triangular(factor, kernel.covariance(Z, inputs), lower=True)
    q_mu, q_sqrt = posterior_of_whitened(A @ A.T, A @ values, noise)
    return GPStart(kernel, Z, q_mu, q_sqrt, sees_latent)
