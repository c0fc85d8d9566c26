"""The bound of the warm start and its gradient against GPflow's SGPR, kernel by kernel."""

from __future__ import annotations

from dataclasses import replace

import gpflow
import numpy as np
import pytest
import tensorflow as tf

from cde_app.gp.kernels import SquaredExponential, Sum
from cde_app.model.kernels import build_kernel
from cde_app.training.collapsed_bound import LARGEST_LOG_PARAMETER, Hyperparameters, collapsed_bound, maximise_bound
from tests.kernel_zoo import KERNELS, gpflow_parameters

SE = SquaredExponential(1.4, np.array([0.7, 1.3, 2.1]))
LOW_RANK = ("linear", "linear_columns", "constant")
"""Alone they leave k(Z, Z) singular but for the jitter, where no digit is sure."""


def table(num_targets: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    random = np.random.default_rng(0)
    X = random.uniform(-2, 2, (50, 3))
    slopes = random.standard_normal((3, num_targets))
    return X, np.sin(X @ slopes) + 0.3 * random.standard_normal((50, num_targets)), random.uniform(-2, 2, (9, 3))


@pytest.mark.parametrize("num_targets", [1, 2])
@pytest.mark.parametrize("name", KERNELS)
def test_bound_and_gradient_equal_gpflow(name: str, num_targets: int) -> None:
    kernel, noise = Sum((SE, KERNELS[name])) if name in LOW_RANK else KERNELS[name], 0.2
    X, Y, Z = table(num_targets)
    value, gradient = collapsed_bound(Hyperparameters(kernel, Z, noise), X, Y)
    sgpr = gpflow.models.SGPR((X, Y), build_kernel(kernel), inducing_variable=Z, noise_variance=noise)
    sources = [parameter.unconstrained_variable for parameter in gpflow_parameters(sgpr.kernel, kernel)]
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
    beyond, far = (
        replace(SE, lengthscales=np.array([0.7, 1.3, np.exp(log)])) for log in (600.0, LARGEST_LOG_PARAMETER)
    )
    found = maximise_bound(Hyperparameters(beyond, Z, 0.2), X, Y, max_steps=50)
    np.testing.assert_allclose(found.kernel.lengthscales[2], np.exp(LARGEST_LOG_PARAMETER))
    there, here = (collapsed_bound(Hyperparameters(kernel, Z, 0.2), X, Y)[0] for kernel in (beyond, far))
    np.testing.assert_allclose(there, here, rtol=1e-12)
    assert collapsed_bound(found, X, Y)[0] > here


def test_where_the_bound_is_not_finite_the_start_stays() -> None:
    X, Y, Z = table(1)
    Y[0] = np.inf
    start = Hyperparameters(SE, Z, 0.2)
    assert maximise_bound(start, X, Y, max_steps=50) is start
