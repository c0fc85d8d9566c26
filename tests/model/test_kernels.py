"""What every kernel fulfils: it is a kind everywhere, and its values and gradients are GPflow's, in both forms."""

from __future__ import annotations

from typing import Any, get_args

import numpy as np
import pytest
import tensorflow as tf

from cde_app import config
from cde_app.gp.kernels import COMBINATIONS, LEAVES
from cde_app.model.kernels import COUNTERPARTS, build_kernel, covariance, read_kernel
from cde_app.trees import to_tree
from tests.kernel_zoo import KERNELS, gpflow_parameters


def test_every_kind_has_settings_a_class_a_counterpart_and_a_test() -> None:
    union, _ = get_args(config.Kernel)
    settings = [kind for one in get_args(union) for kind in get_args(one.model_fields["kind"].annotation)]
    assert settings == [*LEAVES, *COMBINATIONS] == list(COUNTERPARTS)
    assert set(settings) <= {kernel.kind for kernel in KERNELS.values()}


@pytest.mark.parametrize("name", KERNELS)
def test_a_kernel_survives_the_way_to_gpflow_and_back(name: str) -> None:
    kernel, built = KERNELS[name], build_kernel(KERNELS[name])
    X = np.random.default_rng(3).standard_normal((5, 3))
    Z = np.random.default_rng(4).standard_normal((7, 3))
    np.testing.assert_allclose(built(X, Z), kernel.covariance(X, Z), atol=1e-10)
    np.testing.assert_allclose(built(X), kernel.covariance(X, X), atol=1e-7)
    np.testing.assert_allclose(built(X, full_cov=False), kernel.diagonal(X), atol=1e-10)
    assert_same_tree(to_tree(read_kernel(built)), to_tree(kernel))
    assert len(built.trainable_variables) == len(gpflow_parameters(built, kernel))


def assert_same_tree(ours: dict[str, Any], truth: dict[str, Any]) -> None:
    assert ours.keys() == truth.keys()
    for part, other in zip(ours.get("parts", ()), truth.get("parts", ()), strict=True):
        assert_same_tree(part, other)
    for key in truth.keys() - {"parts"}:
        assert type(ours[key]) is type(truth[key])
        if key in ("kind", "columns"):
            assert ours[key] == truth[key]
        else:
            np.testing.assert_allclose(ours[key], truth[key], rtol=1e-12)


@pytest.mark.parametrize("name", KERNELS)
def test_the_covariance_and_its_gradient_equal_gpflow(name: str) -> None:
    kernel = build_kernel(KERNELS[name])
    random = np.random.default_rng(5)
    Z = tf.Variable(random.standard_normal((6, 3)))
    X = tf.Variable(np.concatenate([Z[:2] + 1e-6, random.standard_normal((7, 3))]))  # some points all but coincide
    weights = tf.constant(random.standard_normal((6, 9)))

    def with_gradients(function: Any) -> tuple[tf.Tensor, list[tf.Tensor]]:
        with tf.GradientTape() as tape:
            values = function(Z, X)
            loss = tf.reduce_sum(weights * values)
        zero = tf.UnconnectedGradients.ZERO
        return values, tape.gradient(loss, [Z, X, *kernel.trainable_variables], unconnected_gradients=zero)

    ours, ours_gradients = with_gradients(lambda Z, X: covariance(kernel, Z, X))
    truth, truth_gradients = with_gradients(kernel)
    np.testing.assert_allclose(ours, truth, atol=1e-8)
    for own, other in zip(ours_gradients, truth_gradients, strict=True):
        np.testing.assert_allclose(tf.convert_to_tensor(own), tf.convert_to_tensor(other), atol=1e-5)


@pytest.mark.parametrize("kind", ["matern32", "matern52", "squared_exponential"])
def test_the_gradient_of_a_fast_kernel_is_finite_where_points_coincide(kind: str) -> None:
    Z = tf.Variable(np.random.default_rng(6).standard_normal((4, 3)))
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(covariance(build_kernel(KERNELS[kind]), Z, tf.identity(Z)))
    assert np.isfinite(tape.gradient(loss, Z)).all()


@pytest.mark.parametrize("name", KERNELS)
def test_the_gradient_in_numpy_equals_gpflows(name: str) -> None:
    ours, theirs, random = KERNELS[name], build_kernel(KERNELS[name]), np.random.default_rng(7)
    X, Z = (tf.Variable(random.standard_normal((num_points, 3))) for num_points in (9, 6))
    upstream, upstream_diagonal = random.standard_normal((9, 6)), random.standard_normal(9)
    logs = [parameter.unconstrained_variable for parameter in gpflow_parameters(theirs, ours)]
    with tf.GradientTape(persistent=True) as tape:
        across = tf.reduce_sum(upstream * theirs(X, Z))
        diagonal = tf.reduce_sum(upstream_diagonal * theirs(X, full_cov=False))
    zero = tf.UnconnectedGradients.ZERO
    *to_logs, to_X, to_Z = tape.gradient(across, [*logs, X, Z], unconnected_gradients=zero)
    expected = np.concatenate([np.ravel(part) for part in to_logs]), to_X, to_Z
    for own, truth in zip(ours.with_pullback(X.numpy(), Z.numpy())[1](upstream), expected, strict=True):
        np.testing.assert_allclose(own, truth, rtol=1e-9, atol=1e-11)
    to_logs = tape.gradient(diagonal, logs, unconnected_gradients=zero)
    own = ours.diagonal_gradient(X.numpy(), upstream_diagonal)
    np.testing.assert_allclose(own, np.concatenate([np.ravel(part) for part in to_logs]), rtol=1e-9, atol=1e-11)
