"""The defensive components: Student's t of the residuals, its unit, and what holds its width."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import t as student_t

from cde_app import config
from cde_app.predictive.defence import scale_mixture
from cde_app.targets import Identity
from cde_app.targets.log import Log
from cde_app.training.features import Axis, Features
from cde_app.training.tails import fit_defence, fit_student_t, student_t_beyond, widest_variance
from cde_app.training.warm_start import SparseRegression, fit_sparse_regression, tamed

NUM_ROWS = 4000
AXES = (Axis("x", 1.0),)
OUTPUT = config.AdditiveOutput(num_inducing=16)


def regression_of(X: np.ndarray, y: np.ndarray) -> SparseRegression:
    return fit_sparse_regression(Features(X, AXES), y[:, None], config.WarmStart(max_steps=30), OUTPUT, seed=0)


@pytest.mark.parametrize("degrees_of_freedom", [1.0, 2.5, 8.0])
def test_a_scale_mixture_is_student_s_t(degrees_of_freedom: float) -> None:
    variances, weights = scale_mixture(40, degrees_of_freedom, 1.5)
    assert weights.sum() == pytest.approx(1.0, abs=1e-12)
    grid = np.concatenate([[0.0], np.geomspace(0.1, 1e4, 60)])
    density = (weights / np.sqrt(2 * np.pi * variances) * np.exp(-0.5 * grid[:, None] ** 2 / variances)).sum(1)
    exact = student_t(degrees_of_freedom, scale=1.5).pdf(grid)
    # A normal stands for those of half to twice its variance, which light tails show far out.
    inside = exact > 1e-3 * exact[0] if degrees_of_freedom > 4 else exact > 1e-9
    assert np.abs(np.log(density[inside] / exact[inside])).max() < np.log(2.0)


@pytest.mark.parametrize("degrees_of_freedom", [1.0, 3.0, 10.0])
def test_the_degrees_of_freedom_and_the_scale_that_drew_the_residuals_are_found(degrees_of_freedom: float) -> None:
    residual = student_t(degrees_of_freedom, scale=0.7).rvs(NUM_ROWS, random_state=np.random.default_rng(0))
    found, scale = fit_student_t(residual)
    # Four standard errors: of log nu about 3 / sqrt(n) at 10 degrees, less below; of log scale 1.5 / sqrt(n).
    assert abs(np.log(found / degrees_of_freedom)) < 4 * 3.0 / np.sqrt(NUM_ROWS)
    assert abs(np.log(scale / 0.7)) < 4 * 1.5 / np.sqrt(NUM_ROWS)


def test_a_body_that_looks_heavy_tailed_does_not_make_the_tails_heavy() -> None:
    random = np.random.default_rng(1)
    residual = np.where(random.random(NUM_ROWS) < 0.5, 1.0, 0.02) * random.standard_normal(NUM_ROWS)
    whole, far = student_t_beyond(np.abs(residual), 0.0), fit_student_t(residual)
    # Truth: two normals, and beyond 5 a share of 3e-7. Student's t fitted to all of it has Cauchy's tails.
    assert whole[0] < 1.5
    assert 2 * student_t(whole[0], scale=whole[1]).sf(5.0) > 0.005
    assert 2 * student_t(far[0], scale=far[1]).sf(5.0) < 0.0005


def test_heavy_tails_behind_a_normal_body_are_found() -> None:
    random = np.random.default_rng(2)
    residual = random.standard_normal(NUM_ROWS)
    far = random.random(NUM_ROWS) < 0.1
    residual[far] = 3.0 * student_t(1.5).rvs(far.sum(), random_state=random)
    whole, far = student_t_beyond(np.abs(residual), 0.0), fit_student_t(residual)
    for limit in (30.0, 300.0):
        exact = 0.1 * student_t(1.5, scale=3.0).sf(limit)
        assert 0.25 < student_t(far[0], scale=far[1]).sf(limit) / exact < 4.0
        assert student_t(whole[0], scale=whole[1]).sf(limit) / exact < 0.25, "the body is no guide"


def test_residuals_of_which_half_are_zero_do_not_make_the_scale_vanish() -> None:
    residual = np.concatenate([np.zeros(60), np.random.default_rng(0).standard_normal(40)])
    degrees_of_freedom, scale = fit_student_t(residual)
    assert scale >= 0.01
    assert 2 * student_t(degrees_of_freedom, scale=scale).sf(5.0) < 0.002, "Cauchy's tails of scale 0.01 have 0.0013"
    variances, weights = scale_mixture(20, degrees_of_freedom, scale)
    assert np.isfinite(variances).all()
    assert weights.sum() == pytest.approx(1.0, abs=1e-12)


def test_the_unit_of_student_s_t_is_small_where_the_rows_are_quiet() -> None:
    random = np.random.default_rng(0)
    x = np.sort(random.uniform(-2, 2, 400))
    sd = np.where(x < 0, 0.05, 1.0)
    y = np.sin(3 * x) + sd * random.standard_normal(400)
    transforms = (Identity.fit(y),)
    defence = fit_defence(
        regression_of(x[:, None], y),
        x[:, None],
        y[:, None],
        transforms,
        noise_floor=np.zeros(1),
        weight=0.1,
    )
    assert defence is not None
    _, variances = defence.components(np.array([[-1.5], [1.5]]))
    quiet, loud = np.sqrt(variances[:, 0, 0])
    assert loud / quiet > 4.0, "the truth is 20, and a prior holds the trend back"


def test_far_from_the_rows_the_unit_is_one_that_rows_have() -> None:
    random = np.random.default_rng(0)
    x = random.uniform(-2, 2, 400)
    y = np.exp(0.8 * x) * random.standard_normal(400)
    transforms = (Identity.fit(y),)
    output = config.AdditiveOutput(num_inducing=16, kernel={"kind": "linear"})
    regression = fit_sparse_regression(
        Features(x[:, None], AXES), y[:, None], config.WarmStart(max_steps=30), output, seed=0
    )
    defence = fit_defence(regression, x[:, None], y[:, None], transforms, noise_floor=np.zeros(1), weight=0.1)
    assert defence is not None
    far = np.array([[-1e3], [1e3]])
    trend = defence.gp.kernel.covariance(far, defence.gp.inducing_inputs) @ defence.log_scale
    assert np.abs(trend).max() > 50, "or nothing is held back"
    _, unit = defence.centre(far)
    _, variance = defence.gp.moments(far)
    assert (np.log((unit - variance) / defence.noise) <= defence.log_scale_range[1] + 1e-6).all()


def test_behind_a_logarithm_no_component_is_wider_than_the_targets_allow() -> None:
    y = np.exp(1.2 * np.random.default_rng(0).standard_normal(300))
    transform = Log.fit(y, shift=0.0)
    z = transform.forward(y)
    assert widest_variance(Identity.fit(y), z) == np.inf
    widest = widest_variance(transform, z)
    assert 0.5 < widest < 9.0
    assert transform.inverse(np.median(z) + 3 * np.sqrt(widest)) <= 2 * y.max()
    wild = np.exp(8.0 * np.random.default_rng(0).standard_normal(200))
    transform = Log.fit(wild, shift=0.0)
    widest = transform.scale**2 * widest_variance(transform, transform.forward(wild))
    assert np.exp(transform.location + 0.5 * widest) < 2 * wild.max(), "the mean of the widest component"


def test_outliers_are_brought_near_and_ordinary_residuals_stay_as_they_are() -> None:
    random = np.random.default_rng(0)
    mean = np.zeros((500, 1))
    ordinary = random.standard_normal((500, 1))
    assert tamed(ordinary, mean) is ordinary
    wild = ordinary.copy()
    wild[7] = 1e9
    brought = tamed(wild, mean)
    np.testing.assert_array_equal(np.delete(brought, 7), np.delete(wild, 7))
    assert 5 < brought[7, 0] < 15
    constant = np.zeros((50, 1))
    constant[3] = 5.0
    assert tamed(constant, np.zeros((50, 1))) is constant, "a width of zero measures nothing"


def test_a_sparse_gp_finds_the_curve_under_cauchy_noise() -> None:
    random = np.random.default_rng(0)
    x = random.uniform(-3, 3, 600)
    y = np.sin(x) + 0.1 * random.standard_cauchy(600)
    grid = np.linspace(-2.8, 2.8, 50)
    transform = Identity.fit(y)
    regression = regression_of(x[:, None], transform.forward(y))
    found = transform.inverse(regression.mean(grid[:, None])[:, 0])
    assert np.abs(found - np.sin(grid)).max() < 0.25
    # The control: by mean and standard deviation, and with the outliers as they are, there is no curve left.
    assert np.std(y) > 3 * transform.scale
