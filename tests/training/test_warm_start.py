"""The sparse GP against GPflow, and the model at step zero against the sparse GP."""

from __future__ import annotations

from typing import Any

import gpflow
import numpy as np
import pytest

from cde_app import config
from cde_app.gp.kernels import Matern32, SquaredExponential
from cde_app.model.kernels import build_kernel
from cde_app.targets.yeo_johnson import YeoJohnson
from cde_app.training import warm_start
from cde_app.training.choose_neighbours import uses_neighbours
from cde_app.training.choose_transform import choose_transform
from cde_app.training.features import Axis, Features
from cde_app.training.gp_start import cluster_centres
from cde_app.training.start.latent import split_noise
from cde_app.training.warm_start import fit_sparse_regression, solve_sparse_regression
from tests.small_models import small_model

AXES = (Axis("x"),)
CONFIG = config.Config.model_validate(
    {"schema_version": 1, "data": {"path": "x.csv", "inputs": ["x"], "targets": ["y"]}}
)
SMOOTH = config.JointOutput(kernel=config.SquaredExponentialKernel(), num_inducing=30)


def table(num_rows: int = 60) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(0)
    X = random.uniform(-2, 2, (num_rows, 1))
    return X, np.sin(3 * X) + 0.2 * random.standard_normal((num_rows, 1))


def test_the_sparse_regression_equals_gpflow_sgpr() -> None:
    X, Y = table()
    kernel = SquaredExponential(1.4, np.array([0.6]))
    Z, noise = X[:12], 0.05
    ours = solve_sparse_regression(X, Y, kernel, Z, np.array([noise]))
    sgpr = gpflow.models.SGPR((X, Y), build_kernel(kernel), inducing_variable=Z, noise_variance=noise)
    grid = np.linspace(-3, 3, 30)[:, None]
    mean, variance = ours.as_sparse_gp().moments(grid)
    expected_mean, expected_variance = sgpr.predict_f(grid)
    np.testing.assert_allclose(mean, expected_mean, atol=1e-6)
    np.testing.assert_allclose(variance, expected_variance, atol=1e-6)


def test_the_regression_does_not_depend_on_the_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    X, Y = table()
    arguments = (X, Y, Matern32(1.0, np.array([1.0])), X[:10], np.array([0.1]))
    whole = solve_sparse_regression(*arguments)
    monkeypatch.setattr("cde_app.training.warm_start.CHUNK_ROWS", 7)
    np.testing.assert_allclose(solve_sparse_regression(*arguments).q_mu, whole.q_mu, atol=1e-8)


def test_the_fit_finds_the_noise() -> None:
    X, Y = table(300)
    fitted = fit_sparse_regression(Features(X, AXES), Y, config.WarmStart(), SMOOTH, seed=0)
    # The maximum-likelihood variance of 300 residuals has a relative standard error of sqrt(2 / 300) = 0.08.
    np.testing.assert_allclose(fitted.noise, 0.04, rtol=4 * 0.082 + 0.02)


def test_with_several_targets_each_has_its_own_noise() -> None:
    X, Y = table(300)
    Y = np.hstack([Y, Y + 0.5 * np.random.default_rng(1).standard_normal(Y.shape)])
    fitted = fit_sparse_regression(Features(X, AXES), Y, config.WarmStart(), SMOOTH, seed=0)
    np.testing.assert_allclose(fitted.noise, [0.04, 0.29], rtol=0.35)


@pytest.mark.parametrize("kind", ["zero", "constant", "linear", "identity"])
def test_without_a_latent_layer_the_model_starts_as_the_sparse_gp(kind: str) -> None:
    num_targets = 3 if kind == "identity" else 2
    small = small_model(num_targets, latent={"dim": 0}, defensive_weight=0, output={"mean": {"kind": kind}})
    mixture = small.posterior().predict(small.X)
    mean, variance = small.regression.as_sparse_gp().moments(small.X)
    mean = mean + small.regression.mean_function(small.X)
    np.testing.assert_allclose(small.regression.mean(small.X), mean, atol=1e-12)
    np.testing.assert_allclose(mixture.means[:, 0], mean, atol=1e-8)
    np.testing.assert_allclose(mixture.variances[:, 0], variance + small.regression.noise, atol=1e-8)


@pytest.mark.parametrize(("compositor", "num_inducing"), [("concatenate", 40), ("warp", 64)])
def test_with_a_latent_layer_the_model_starts_with_the_moments_of_the_sparse_gp(
    compositor: str, num_inducing: int
) -> None:
    """The plane A w hands the noise to w: mean and variance stay, within the plane's own regression error.

    A plane in w is bent in a warped w, and takes more inducing inputs.
    """
    latent = {"dim": 1, "compositor": {"kind": compositor}}
    small = small_model(2, latent=latent, defensive_weight=0, output={"num_inducing_latent": num_inducing})
    mixture = small.posterior(num_components=512).predict(small.X)
    scales = np.array([transform.scale for transform in mixture.transforms])
    mean, variance = small.regression.as_sparse_gp().moments(small.X)
    sd = np.sqrt(variance + small.regression.noise)
    assert np.abs(mixture.means.mean(1) - mean).max() < 0.1 * sd.min()
    # rows far from the others keep some of h's own variance
    assert np.median(np.abs(mixture.sd() / scales / sd - 1)) < 0.1


@pytest.mark.parametrize("num_targets", [1, 2, 3])
@pytest.mark.parametrize("latent_dim", [1, 2])
def test_factor_and_noise_add_up_to_the_variance_and_the_posterior_is_exact(num_targets: int, latent_dim: int) -> None:
    random = np.random.default_rng(0)
    residual = random.standard_normal((500, num_targets)) @ random.standard_normal((num_targets, num_targets))
    factor = split_noise(residual / residual.std(0), latent_dim=latent_dim, latent_share=0.9)
    A, noise = factor.loadings, factor.noise
    np.testing.assert_allclose((A**2).sum(1) + noise, 1.0)
    slope, sd = factor.posterior()
    joint = A @ A.T + np.diag(noise)
    np.testing.assert_allclose(slope.T, A.T @ np.linalg.inv(joint), atol=1e-10)
    np.testing.assert_allclose(sd**2, np.diag(np.eye(latent_dim) - A.T @ np.linalg.inv(joint) @ A), atol=1e-10)


def test_the_latent_variables_leave_the_noise_the_share_that_its_floor_requires() -> None:
    random = np.random.default_rng(0)
    residual = random.standard_normal((500, 2)) @ np.array([[1.0, 0.9], [0.0, 0.4]])
    share = np.array([0.05, 0.6])
    factor = split_noise(residual / residual.std(0), latent_dim=1, latent_share=0.9, noise_share=share)
    assert np.all(factor.noise >= share - 1e-12)
    np.testing.assert_allclose(factor.noise[1], 0.6)
    free = split_noise(residual / residual.std(0), latent_dim=1, latent_share=0.9)
    assert free.noise[1] < 0.6


@pytest.mark.parametrize("kind", ["gaussian", "heteroscedastic_gaussian", "student_t"])
def test_with_a_noise_floor_the_model_still_starts_with_the_moments_of_the_sparse_gp(kind: str) -> None:
    small = small_model(latent={"dim": 1}, defensive_weight=0, output={"num_inducing_latent": 40}, noise_floor=0.05,
                        likelihood={"kind": kind})  # fmt: skip
    assert small.posterior().noise.variance[0] >= 0.05
    mixture = small.posterior(num_components=512).predict(small.X)
    _, variance = small.regression.as_sparse_gp().moments(small.X)
    sd = np.sqrt(variance + small.regression.noise)
    assert np.median(np.abs(mixture.sd() / mixture.transforms[0].scale / sd - 1)) < 0.2


def test_the_linear_mean_is_the_least_squares_plane_and_the_encoder_and_the_defence_have_it() -> None:
    small = small_model(2, latent={"dim": 1}, output={"mean": {"kind": "linear"}})
    design = np.column_stack([small.X, np.ones(len(small.X))])
    plane = design @ np.linalg.lstsq(design, small.Y, rcond=None)[0]
    np.testing.assert_allclose(small.regression.mean_function(small.X), plane, atol=1e-10)
    residual = small.model.latent.encoder.trend.residual(small.X, small.Y)
    sd = np.sqrt(small.regression.noise)
    np.testing.assert_allclose(residual, (small.Y - small.regression.mean(small.X)) / sd, atol=1e-5)
    posterior = small.posterior()
    student_t = posterior.predict(small.X).means[:, len(posterior.latent_nodes)]
    np.testing.assert_allclose(student_t, small.regression.mean(small.X), atol=1e-10)


def test_with_an_inner_layer_of_mean_zero_g_still_starts_at_the_principal_components() -> None:
    """What the first layer hands on at step zero is not m(x) = 0 but the components that its GPs start as."""
    Z = small_model(latent={"dim": 0}, layers=[{"mean": {"kind": "zero"}}]).model.output.terms[0].inducing_variable
    assert Z.inducing_variable.Z.shape == (8, 2)


def test_cluster_centres_are_different_rows_and_no_more_than_there_are() -> None:
    X = np.repeat(np.arange(5.0), 10)[:, None]
    np.testing.assert_array_equal(cluster_centres(X, 20, seed=0), np.arange(5.0)[:, None])
    assert len(cluster_centres(np.random.default_rng(0).standard_normal((200, 2)), 20, seed=0)) <= 20


@pytest.mark.parametrize(("power", "kind"), [(0, "identity"), (1, "log")])
def test_the_automatic_transform_is_the_one_that_the_noise_asks_for(power: int, kind: str) -> None:
    random = np.random.default_rng(0)
    X = random.standard_normal((400, 1))
    y = np.sin(2 * X[:, 0]) + 0.3 * random.standard_normal(400)
    y = np.exp(2 * y) if power else y
    chosen = choose_transform(config.TargetColumn(column="y"), Features(X, AXES), y, y[:0], CONFIG)
    assert chosen.kind == kind or (kind == "log" and chosen.kind == "yeo_johnson" and chosen.exponent < 0.3)


@pytest.mark.slow
@pytest.mark.parametrize("skewed", [False, True])
def test_the_automatic_transform_does_not_depend_on_the_unit_or_the_offset(skewed: bool) -> None:
    random = np.random.default_rng(0)
    X = random.standard_normal((300, 1))
    y = np.sin(2 * X[:, 0]) + 0.3 * random.standard_normal(300)
    y = np.exp(2 * y) if skewed else y

    def kind_of(values: np.ndarray) -> str:
        target = config.TargetColumn(column="y")
        return choose_transform(target, Features(X, AXES), values, values[:0], CONFIG).kind

    assert {kind_of(unit * y) for unit in (1e-15, 1e15)} == {"log" if skewed else "identity"}
    assert kind_of(1e-15 * (y + 1e9)) == ("yeo_johnson" if skewed else "identity")


def test_a_logarithm_that_has_no_place_for_a_validation_row_is_not_chosen() -> None:
    random = np.random.default_rng(0)
    X = random.standard_normal((300, 1))
    y = np.exp(2 * np.sin(2 * X[:, 0]) + 0.6 * random.standard_normal(300))
    features, target = Features(X, AXES), config.TargetColumn(column="y")
    assert choose_transform(target, features, y, np.array([0.5]), CONFIG).kind == "log"
    assert choose_transform(target, features, y, np.array([0.5, 0.0]), CONFIG).kind != "log"


def test_a_transform_that_is_named_is_taken() -> None:
    X, Y = table()
    target = config.TargetColumn(column="y", transform=config.YeoJohnsonTransform())
    chosen = choose_transform(target, Features(X, AXES), Y[:, 0], Y[:0, 0], CONFIG)
    assert chosen == YeoJohnson.fit(Y[:, 0])


def test_where_no_sparse_gp_can_be_fitted_nothing_is_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    random = np.random.default_rng(0)
    X = random.standard_normal((300, 3))
    y = np.exp(2 * np.sin(2 * X[:, 0]) + 0.6 * random.standard_normal(300))
    features, target = Features(X, 3 * AXES), config.TargetColumn(column="y")
    assert choose_transform(target, features, y, y[:0], CONFIG).kind == "log"

    def failing(*_: Any, **__: Any) -> Any:
        raise np.linalg.LinAlgError

    monkeypatch.setattr(warm_start, "solve_sparse_regression", failing)
    assert choose_transform(target, features, y, y[:0], CONFIG).kind == "identity"
    assert not uses_neighbours(CONFIG, features, y[:, None], noise_floor=np.zeros(1))
