"""The bound of the warm start and its gradient against GPflow's SGPR, kernel by kernel."""

from __future__ import annotations

from dataclasses import replace

import gpflow
import numpy as np
import pytest
import tensorflow as tf

from cde_app.model.layers import build_kernel
from cde_app.predictive.sparse_gp import Kernel, combined
from cde_app.training.collapsed_bound import LARGEST_LOG, Hyperparameters, collapsed_bound, maximise_bound
from cde_app.training.kernel_gradient import log_parameters, with_log_parameters

LENGTHSCALES = np.array([0.7, 1.3, 2.1])
PERIODIC = Kernel("periodic", 0.9, np.array([0.8, 1.2]), columns=(0, 2), period=np.array([1.7, 2.3]))
SE = Kernel("squared_exponential", 1.4, LENGTHSCALES)
MATERN = Kernel("matern32", 0.5, np.array([0.9]), columns=(1,))
LINEAR = Kernel("linear", np.array([0.4, 0.2, 0.7]), np.empty(0))
KERNELS = {
    "squared_exponential": SE,
    "matern12": Kernel("matern12", 0.8, LENGTHSCALES),
    "matern32": Kernel("matern32", 0.8, LENGTHSCALES),
    "matern52": Kernel("matern52", 0.8, LENGTHSCALES),
    "rational_quadratic": Kernel("rational_quadratic", 0.8, LENGTHSCALES, alpha=0.6),
    "periodic": PERIODIC,
    "linear of some columns": combined("sum", (SE, Kernel("linear", np.array([0.3]), np.empty(0), columns=(2,)))),
    "constant": combined("sum", (SE, Kernel("constant", 0.6, np.empty(0)))),
    "sum": combined("sum", (SE, MATERN)),
    "product": combined("product", (SE, LINEAR, MATERN)),
    "sum of products": combined("sum", (combined("product", (LINEAR, PERIODIC)), SE, MATERN)),
}


def table(num_targets: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    random = np.random.default_rng(0)
    X = random.uniform(-2, 2, (50, 3))
    slopes = random.standard_normal((3, num_targets))
    return X, np.sin(X @ slopes) + 0.3 * random.standard_normal((50, num_targets)), random.uniform(-2, 2, (9, 3))


@pytest.mark.parametrize("num_targets", [1, 2])
@pytest.mark.parametrize("name", KERNELS)
def test_bound_and_gradient_equal_gpflow(name: str, num_targets: int) -> None:
    kernel, noise = KERNELS[name], 0.2
    X, Y, Z = table(num_targets)
    value, gradient = collapsed_bound(Hyperparameters(kernel, Z, noise), X, Y)
    sgpr = gpflow.models.SGPR((X, Y), build_kernel(kernel), inducing_variable=Z, noise_variance=noise)
    # GPflow's fields by the names of ours, in the order of `log_parameters`.
    parameters = [parameter for leaf in leaves(sgpr.kernel) for parameter in parameters_of(leaf)]
    sources = [parameter.unconstrained_variable for parameter in parameters]
    noise_source, Z_source = sgpr.likelihood.variance.unconstrained_variable, sgpr.inducing_variable.Z
    with tf.GradientTape() as tape:
        expected = sgpr.elbo()
    to_logs, to_noise, to_Z = tape.gradient(expected, [sources, noise_source, Z_source.unconstrained_variable])
    np.testing.assert_allclose(value, expected, rtol=1e-8)  # a Matern 1/2 takes the root of rounded squares
    scale = np.abs(np.concatenate([np.ravel(part) for part in to_logs])).max()
    np.testing.assert_allclose(
        gradient.to_logs, np.concatenate([np.ravel(part) for part in to_logs]), rtol=1e-6, atol=1e-8 * scale
    )
    np.testing.assert_allclose(gradient.to_inducing, to_Z, rtol=1e-6, atol=1e-8 * scale)
    slope = sgpr.likelihood.variance.transform.inverse_log_det_jacobian(sgpr.likelihood.variance, 0)
    np.testing.assert_allclose(gradient.to_noise, to_noise * np.exp(slope), rtol=1e-6, atol=1e-8 * scale)


def leaves(kernel: gpflow.kernels.Kernel) -> list[gpflow.kernels.Kernel]:
    if isinstance(kernel, gpflow.kernels.Combination):
        return [leaf for part in kernel.kernels for leaf in leaves(part)]
    return [kernel]


def parameters_of(leaf: gpflow.kernels.Kernel) -> list[gpflow.Parameter]:
    match leaf:
        case gpflow.kernels.Periodic():
            return [leaf.base_kernel.variance, leaf.base_kernel.lengthscales, leaf.period]
        case gpflow.kernels.RationalQuadratic():
            return [leaf.variance, leaf.lengthscales, leaf.alpha]
        case gpflow.kernels.Linear() | gpflow.kernels.Constant():
            return [leaf.variance]
    return [leaf.variance, leaf.lengthscales]


@pytest.mark.parametrize("name", KERNELS)
def test_log_parameters_come_back(name: str) -> None:
    kernel = KERNELS[name]
    logs = log_parameters(kernel) + 0.1
    np.testing.assert_allclose(log_parameters(with_log_parameters(kernel, logs)), logs, rtol=1e-12)


def test_the_maximum_is_gpflows() -> None:
    """Two inducing inputs leave one maximum; GPflow climbs it by the same method, to a relative 2e-9 of the bound."""
    X, Y, Z = table(1)
    start = Hyperparameters(SE, Z[:2], 0.2)
    found = maximise_bound(start, X, Y, max_steps=500)
    sgpr = gpflow.models.SGPR((X, Y), build_kernel(SE), inducing_variable=Z[:2], noise_variance=0.2)
    gpflow.optimizers.Scipy().minimize(sgpr.training_loss, sgpr.trainable_variables, options={"maxiter": 500})
    ours, theirs, before = (
        collapsed_bound(found, X, Y)[0],
        float(sgpr.elbo()),
        collapsed_bound(start, X, Y)[0],
    )
    np.testing.assert_allclose(ours, theirs, rtol=1e-7)
    assert ours > before


def test_a_parameter_that_is_about_to_overflow_is_held_where_it_changes_nothing() -> None:
    X, Y, Z = table(1)
    beyond, far = (replace(SE, lengthscales=np.array([0.7, 1.3, np.exp(log)])) for log in (600.0, LARGEST_LOG))
    found = maximise_bound(Hyperparameters(beyond, Z, 0.2), X, Y, max_steps=50)
    np.testing.assert_allclose(found.kernel.lengthscales[2], np.exp(LARGEST_LOG))
    there, here = (collapsed_bound(Hyperparameters(kernel, Z, 0.2), X, Y)[0] for kernel in (beyond, far))
    np.testing.assert_allclose(there, here, rtol=1e-12)
    assert collapsed_bound(found, X, Y)[0] > here


def test_where_the_bound_is_not_finite_the_start_stays() -> None:
    X, Y, Z = table(1)
    Y[0] = np.inf
    start = Hyperparameters(SE, Z, 0.2)
    assert maximise_bound(start, X, Y, max_steps=50) is start
