"""Our moments and our NumPy posterior against GPflux's `GPLayer.predict`, at every layer."""

from __future__ import annotations

from typing import Any

import gpflow
import numpy as np
import pytest
import tensorflow as tf
from gpflow.kullback_leiblers import gauss_kl

from cde_app.gp.kernels import Kernel, SquaredExponential
from cde_app.gp.sparse_gp import JITTER, cholesky
from cde_app.model.kernels import build_kernel
from cde_app.model.layers import build_gp
from cde_app.model.moments import (
    inverse_factor,
    jittered_covariance,
    joint_moments,
    moments,
    quadratic_forms,
    split_square,
    whitened_covariance,
    whitened_kl,
    whitened_posterior,
)
from cde_app.model.start import GPStart
from cde_app.training.export import export_gp
from tests.kernel_zoo import KERNELS
from tests.small_models import perturb, small_model


def random_start(kernel: Kernel, *, num_gps: int, diagonal: bool) -> GPStart:
    random = np.random.default_rng(0)
    q_sqrt = np.tril(random.standard_normal((num_gps, 6, 6))) * 0.3 + np.eye(6) * 0.5
    if diagonal:
        q_sqrt = random.uniform(0.1, 1.0, (6, num_gps))
    return GPStart(kernel, random.standard_normal((6, 3)), random.standard_normal((6, num_gps)), q_sqrt, False)


@pytest.mark.thinned(3)
@pytest.mark.usefixtures("double_forms")
@pytest.mark.parametrize("diagonal", [False, True])
@pytest.mark.parametrize(("num_gps", "num_points"), [(1, 20), (3, 2), (3, 20), (3, 60), (3, 700)])
@pytest.mark.parametrize("name", KERNELS)
def test_moments_in_tensorflow_and_in_numpy_equal_gpflux_predict(
    name: str, num_gps: int, num_points: int, diagonal: bool
) -> None:
    gp = build_gp(random_start(KERNELS[name], num_gps=num_gps, diagonal=diagonal), num_data=10, name="gp")
    X = np.random.default_rng(2).standard_normal((num_points, 3))
    expected = [part.numpy() for part in gp.predict(tf.constant(X))]
    ours = moments(gp, tf.constant(X), whitened_posterior(gp))
    exported = export_gp(gp, sees_latent=False).moments(X)
    for truth, tensorflow, numpy in zip(expected, ours, exported, strict=True):
        np.testing.assert_allclose(tensorflow, truth, atol=1e-8)
        np.testing.assert_allclose(numpy, truth, atol=1e-8)


def gradients_of(function: Any, *inputs: tf.Variable) -> list[np.ndarray]:
    with tf.GradientTape() as tape:
        value = function(*inputs)
    return [gradient.numpy() for gradient in tape.gradient(value, list(inputs))]


@pytest.mark.parametrize("noise", [1e-2, 1e-6])
def test_variances_of_several_gps_and_their_gradient_keep_some_digits_however_small_they_are(
    noise: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """S of a regression with little noise, ill-conditioned: k(x, x) - a' (I - S) a as a whole needs double."""
    random = np.random.default_rng(8)
    Z = random.standard_normal((40, 3))
    kernel = KERNELS["squared_exponential"]
    factor = np.linalg.cholesky(kernel.covariance(Z, Z) + 1e-6 * np.eye(40))
    A = np.linalg.solve(factor, kernel.covariance(Z, random.standard_normal((400, 3))))
    q_sqrt = np.linalg.cholesky(np.linalg.inv(np.eye(40) + A @ A.T / noise))
    start = GPStart(kernel, Z, random.standard_normal((40, 3)), np.stack([q_sqrt] * 3), False)
    gp, X = build_gp(start, num_data=10, name="gp"), tf.constant(Z + 1e-3)
    stored = gp.q_sqrt.unconstrained_variable

    def variances() -> np.ndarray:
        return moments(gp, X, whitened_posterior(gp))[1].numpy()

    def gradient() -> np.ndarray:
        with tf.GradientTape() as tape:
            variance = moments(gp, X, whitened_posterior(gp))[1]
            loss = tf.reduce_sum(tf.math.log(variance))
        return tape.gradient(loss, stored).numpy()

    def relative_error(values: np.ndarray) -> float:
        return float(np.abs(values / truth - 1).max())

    truth = gp.predict(X)[1].numpy()
    assert truth.min() < min(2 * noise, 1e-3)
    single_error, single_gradient = relative_error(variances()), gradient()
    assert single_error < 1e-4
    a = tf.cast(whitened_covariance(gp.kernel.kernel, gp.inducing_variable.inducing_variable.Z, X, JITTER), tf.float32)
    one_minus_S = tf.eye(40, dtype=tf.float64) - gp.q_sqrt @ tf.linalg.matrix_transpose(gp.q_sqrt)
    whole = 1.3 - tf.transpose(quadratic_forms(tf.cast(one_minus_S, tf.float32), a))
    assert relative_error(whole.numpy()) > max(10 * single_error, 1e-2 if noise == 1e-6 else 0), (
        "the control: the subtraction in single precision"
    )
    monkeypatch.setattr("cde_app.model.moments.FORM_PRECISION", tf.float64)
    assert relative_error(variances()) < 1e-7
    assert np.abs(single_gradient - gradient()).max() < 1e-4 * np.abs(gradient()).max()


def test_the_jitter_in_numpy_is_that_of_the_model() -> None:
    Z = np.random.default_rng(3).standard_normal((6, 3))
    theirs = tf.linalg.cholesky(jittered_covariance(build_kernel(KERNELS["matern32"]), tf.constant(Z), JITTER))
    np.testing.assert_allclose(cholesky(KERNELS["matern32"].covariance(Z, Z)), theirs, rtol=1e-12, atol=1e-12)
    assert gpflow.default_jitter() == JITTER


def whiten(K: tf.Tensor, C: tf.Tensor) -> tf.Tensor:
    return inverse_factor(K) @ C


def solve(K: tf.Tensor, C: tf.Tensor) -> tf.Tensor:
    return tf.linalg.triangular_solve(tf.linalg.cholesky(K), C)


def test_whitened_columns_and_their_gradients_equal_those_of_the_triangular_solve() -> None:
    random = np.random.default_rng(11)
    root = tf.constant(random.standard_normal((6, 9)))
    weights, shift = tf.constant(random.standard_normal((6, 4))), tf.Variable(random.standard_normal((6, 6)))
    C = tf.Variable(random.standard_normal((6, 4)))

    def loss(function: Any) -> Any:
        def value(shift: tf.Tensor, C: tf.Tensor) -> tf.Tensor:
            K = tf.matmul(root, root, transpose_b=True) + tf.matmul(shift, shift, transpose_b=True)
            return tf.reduce_sum(weights * tf.sin(function(K, C)))

        return value

    np.testing.assert_allclose(loss(whiten)(shift, C), loss(solve)(shift, C), rtol=1e-12)
    for ours, truth in zip(*(gradients_of(loss(function), shift, C) for function in (whiten, solve)), strict=True):
        np.testing.assert_allclose(ours, truth, atol=1e-11)


def test_whitened_columns_keep_their_gradients_where_the_jitter_alone_makes_the_covariance_invertible() -> None:
    random = np.random.default_rng(11)
    kernel = build_kernel(SquaredExponential(1.0, np.full(3, 3.0)))
    Z, X = tf.Variable(random.standard_normal((40, 3))), tf.constant(random.standard_normal((90, 3)))
    weights = tf.constant(random.standard_normal((40, 90)))

    def loss(function: Any) -> Any:
        return lambda Z: tf.reduce_sum(weights * tf.sin(function(jittered_covariance(kernel, Z, JITTER), kernel(Z, X))))

    assert np.linalg.cond(jittered_covariance(kernel, Z, JITTER)) > 1e6
    (ours,), (truth,) = (gradients_of(loss(function), Z) for function in (whiten, solve))
    np.testing.assert_allclose(ours, truth, rtol=0, atol=1e-6 * np.abs(truth).max())


@pytest.mark.parametrize(("num_gps", "atol"), [(1, 1e-12), (2, 1e-12), (2, 1e-5)])
def test_the_parts_of_a_covariance_and_their_gradient_equal_those_of_the_plain_product(
    num_gps: int, atol: float, request: pytest.FixtureRequest
) -> None:
    """To the last digits in double precision; what several GPs have off the diagonal is in single."""
    if atol == 1e-12:
        request.getfixturevalue("double_forms")
    factor = tf.Variable(np.random.default_rng(9).standard_normal((num_gps, 5, 5)))
    weights = tf.constant(np.random.default_rng(10).standard_normal((num_gps, 5, 5)))  # not symmetric

    def parts(R: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        scales, variances, covariances = split_square(tf.convert_to_tensor(R))
        assert covariances.dtype == (tf.float32 if atol == 1e-5 else tf.float64)
        return scales, tf.cast(covariances, tf.float64) + tf.linalg.diag(tf.transpose(variances))

    def plain(R: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        return tf.transpose(tf.linalg.diag_part(R)), tf.matmul(R, R, transpose_b=True)

    def loss(function: Any) -> Any:
        def value(R: tf.Tensor) -> tf.Tensor:
            scales, square = function(R)
            return tf.reduce_sum(tf.sin(scales)) + tf.reduce_sum(weights * square)

        return value

    (scales, square), (diagonal, product) = parts(factor), plain(factor)
    np.testing.assert_array_equal(scales, diagonal)
    np.testing.assert_allclose(square, product, atol=atol)
    np.testing.assert_allclose(tf.linalg.diag_part(square), tf.linalg.diag_part(product), atol=1e-12)
    ours, truth = (gradients_of(loss(function), factor) for function in (parts, plain))
    np.testing.assert_allclose(ours, truth, atol=atol)


@pytest.mark.parametrize("diagonal", [False, True])
def test_the_kl_of_whitened_gps_and_its_gradient_equal_gpflow(diagonal: bool) -> None:
    gp = build_gp(random_start(KERNELS["sum"], num_gps=3, diagonal=diagonal), num_data=10, name="gp")
    variables = [gp.q_mu.unconstrained_variable, gp.q_sqrt.unconstrained_variable]
    np.testing.assert_allclose(whitened_kl(whitened_posterior(gp)), gauss_kl(gp.q_mu, gp.q_sqrt), rtol=1e-12)
    ours = gradients_of(lambda *_: 0.7 * whitened_kl(whitened_posterior(gp)), *variables)
    for own, truth in zip(ours, gradients_of(lambda *_: 0.7 * gauss_kl(gp.q_mu, gp.q_sqrt), *variables), strict=True):
        np.testing.assert_allclose(own, truth, atol=1e-12)


@pytest.mark.parametrize("num_points", [7, 1030])
def test_the_gradient_of_quadratic_forms_equals_that_of_the_plain_products(num_points: int) -> None:
    random = np.random.default_rng(4)
    A, K = tf.Variable(random.standard_normal((2, 5, 5))), tf.Variable(random.standard_normal((5, num_points)))
    weights = tf.constant(random.standard_normal((2, num_points)))

    def gradients(forms: Any) -> list[np.ndarray]:
        return gradients_of(lambda A, K: tf.reduce_sum(weights * forms(A + tf.linalg.matrix_transpose(A), K)), A, K)

    plain = gradients(lambda S, L: tf.reduce_sum(L * (S @ L), axis=1))
    for ours, truth in zip(gradients(quadratic_forms), plain, strict=True):
        np.testing.assert_allclose(ours, truth, atol=1e-12)


@pytest.mark.usefixtures("double_forms")
@pytest.mark.parametrize("diagonal", [True, False])
def test_joint_moments_over_the_draws_of_a_row_equal_the_full_covariance_of_gpflux(diagonal: bool) -> None:
    gp = build_gp(random_start(KERNELS["sum"], num_gps=2, diagonal=diagonal), num_data=10, name="gp")
    inputs = tf.constant(np.random.default_rng(5).standard_normal((4, 7, 3)))  # K = 4 draws of 7 rows
    mean, covariance = joint_moments(gp, inputs, whitened_posterior(gp))
    for row in range(7):
        expected_mean, expected = gp.predict(inputs[:, row], full_cov=True)
        np.testing.assert_allclose(mean[:, row], expected_mean, atol=1e-8)
        np.testing.assert_allclose(covariance[row], expected + 1e-6 * tf.eye(4, dtype=tf.float64), atol=1e-8)


SETTINGS = {
    "mixed": {
        "kind": "sum",
        "kernels": [
            {"kind": "product", "kernels": [{"kind": "periodic", "period": 3.0}, {"kind": "squared_exponential"}]},
            {"kind": "linear"},
        ],
    },
    "named": {
        "kind": "sum",
        "kernels": [
            {"kind": "periodic", "period": 3.0, "columns": ["b"]},
            {"kind": "linear", "columns": ["a", "c"]},
            {"kind": "rational_quadratic"},
            {"kind": "constant"},
        ],
    },
    "latent": {
        "kind": "product",
        "kernels": [{"kind": "linear", "columns": ["latent"]}, {"kind": "matern52", "columns": ["a", "latent"]}],
    },
}


@pytest.mark.parametrize(
    ("mean", "sees_latent", "kernel", "output", "compositor"),
    [
        *((mean, latent, None, {}, "concatenate") for mean in ("identity", "pca", "zero") for latent in (False, True)),
        ("constant", False, "mixed", {"mean": {"kind": "constant"}, "kernel": SETTINGS["mixed"]}, "concatenate"),
        ("linear", True, "mixed", {"mean": {"kind": "linear"}, "inducing": {"kind": "greedy_variance"}}, "concatenate"),
        ("identity", True, "latent", {"mean": {"kind": "linear"}, "kernel_latent": SETTINGS["latent"]}, "concatenate"),
        ("identity", False, "named", {"structure": "joint", "kernel": SETTINGS["named"]}, "concatenate"),
        ("identity", True, "named", {"kernel_latent": SETTINGS["named"]}, "add"),
        ("pca", True, "named", {"structure": "joint", "inducing": {"kind": "greedy_variance"}}, "multiply"),
        ("pca", False, "mixed", {"mean": {"kind": "linear"}, "kernel": SETTINGS["mixed"]}, "concatenate"),
        ("identity", True, None, {"kernel_latent": SETTINGS["latent"]}, "warp"),
        ("identity", False, None, {}, "warp"),
    ],
)
def test_the_numpy_posterior_propagates_as_the_gpflux_layers_do(
    mean: str, sees_latent: bool, kernel: str | None, output: dict[str, Any], compositor: str
) -> None:
    first = {"mean": {"kind": mean}, "sees_latent": sees_latent} | ({"kernel": SETTINGS[kernel]} if kernel else {})
    layers, latent = [first, {"mean": {"kind": "identity"}}], {"dim": 2, "compositor": {"kind": compositor}}
    built = perturb(small_model(num_targets=2, latent=latent, layers=layers, output=output))
    posterior = built.posterior(num_components=4)
    features, W = built.X[:, None, :], posterior.latent_nodes
    num_nodes = len(W)
    start = 0
    for layer, exported in zip(built.model.inner_layers, posterior.inner_layers, strict=True):
        noise = posterior.inner_noise[:, start : start + exported.gp.num_gps]
        start += exported.gp.num_gps
        stacked = np.broadcast_to(features, (len(built.X), num_nodes, features.shape[-1]))
        W_stacked = tf.constant(np.broadcast_to(W, (len(built.X), *W.shape)))
        inputs = layer.compositor([tf.constant(stacked), W_stacked]) if layer.sees_latent else stacked
        f_mean, f_variance = (part.numpy() for part in layer.gp.predict(tf.reshape(inputs, [-1, inputs.shape[-1]])))
        draws = (f_mean + np.sqrt(f_variance) * np.tile(noise, (len(built.X), 1))) @ layer.projection.numpy()
        expected = layer.carry(tf.constant(stacked)).numpy() + draws.reshape(len(built.X), num_nodes, -1)
        features = exported.propagate(features, W, noise)
        np.testing.assert_allclose(np.broadcast_to(features, expected.shape), expected, atol=1e-8)
    inputs = np.concatenate(
        [np.broadcast_to(features, expected.shape), np.broadcast_to(W, (len(built.X), *W.shape))], axis=-1
    )
    f_mean, f_variance = built.model.output.predict(tf.constant(inputs.reshape(-1, inputs.shape[-1])))
    mixture = posterior.predict(built.X)
    np.testing.assert_allclose(mixture.means[:, :num_nodes], f_mean.numpy().reshape(-1, num_nodes, 2), atol=1e-8)
    expected_variance = (f_variance + built.model.likelihood.variance).numpy().reshape(-1, num_nodes, 2)
    np.testing.assert_allclose(mixture.variances[:, :num_nodes], expected_variance, atol=1e-8)
