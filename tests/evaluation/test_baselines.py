from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.stats import norm

from cde_app.evaluation.baselines import fit_climatology, fit_linear_gaussian, fit_nearest_neighbours
from cde_app.evaluation.verdict import ks_distance
from cde_app.predictive.posterior import warm_start_of
from tests.conftest import needs_tensorflow
from tests.storing import stored_and_read


def test_the_climatology_of_a_few_rows_is_the_kernel_density_by_hand():
    targets = np.array([[1.0], [2.0], [4.0], [8.0], [9.0]])
    grid = np.linspace(-5, 15, 41)
    density = np.exp(fit_climatology(targets).predict(1).marginal(0).log_prob_at(grid))[0]
    y, sd = targets[:, 0], targets.std()
    robust = np.subtract(*np.quantile(y, [0.75, 0.25])) / 1.349
    bandwidth = 0.9 * min(sd, robust) * 5**-0.2
    kernels = np.mean([norm.pdf(grid, centre, bandwidth) for centre in y], axis=0)
    np.testing.assert_allclose(density, (1 - 2 / 6) * kernels + 2 / 6 * norm.pdf(grid, y.mean(), 2 * sd), rtol=1e-9)


@pytest.mark.parametrize("num_targets", [1, 2])
def test_merging_kernels_keeps_the_moments_and_bounds_the_components(num_targets: int):
    random = np.random.default_rng(0)
    targets = random.gamma(2.0, size=(3001, num_targets)) * 100
    climatology = fit_climatology(targets)
    mixture = climatology.predict(2)
    assert mixture.num_components == 257
    assert mixture.weights.sum() == pytest.approx(1)
    np.testing.assert_allclose(mixture.mean()[1], targets.mean(axis=0), rtol=1e-6)
    # Of the full sum: the data's variance + h^2, and the wide component's share 2 / (N + 1) x 4.
    iqr = np.subtract(*np.quantile(targets / targets.std(axis=0), [0.75, 0.25], axis=0)) / 1.349
    bandwidth = (0.9 * np.minimum(1, iqr) * 3001**-0.2) if num_targets == 1 else np.full(2, 3001 ** (-1 / 6))
    share = 2 / 3002
    expected = targets.std(axis=0) * np.sqrt((1 - share) * (1 + bandwidth**2) + 4 * share)
    np.testing.assert_allclose(mixture.sd()[1], expected, rtol=1e-6)


def test_merging_kernels_changes_the_density_little():
    targets = np.random.default_rng(1).gamma(2.0, size=(2000, 1))
    grid = np.linspace(0.2, 8, 60)
    density = np.exp(fit_climatology(targets).predict(1).marginal(0).log_prob_at(grid))[0]
    robust = np.subtract(*np.quantile(targets, [0.75, 0.25])) / 1.349
    bandwidth = 0.9 * min(targets.std(), robust) * 2000**-0.2
    full = norm.pdf(grid[:, None], targets[:, 0], bandwidth).mean(axis=1)
    assert np.abs(density - full).max() < 0.02 * full.max()


def test_the_climatology_is_calibrated_on_new_rows_of_the_same_law_and_not_on_another():
    random = np.random.default_rng(2)
    climatology = fit_climatology(random.gamma(2.0, size=(5000, 1)))
    distances = [
        ks_distance(climatology.predict(500).cdf(random.gamma(2.0, size=(500, 1)) + shift)) for shift in (0.0, 0.5)
    ]
    # D of two samples of 500 and 5000 rows exceeds 2.3 sqrt(1/500 + 1/5000) with probability 5e-5.
    limit = 2.3 * math.sqrt(1 / 500 + 1 / 5000)
    assert distances[0] < limit < distances[1]


def test_a_target_with_half_its_rows_at_one_value_gives_a_proper_density():
    targets = np.concatenate([np.zeros(300), np.random.default_rng(3).gamma(2.0, size=200)])[:, None]
    mixture = fit_climatology(targets).predict(1)
    grid = np.linspace(-12, 20, 8001)
    density = np.exp(mixture.marginal(0).log_prob_at(grid))[0]
    assert np.sum(density) * (grid[1] - grid[0]) == pytest.approx(1, abs=1e-6)


def test_an_outlier_beyond_the_training_range_keeps_a_finite_density():
    mixture = fit_climatology(np.random.default_rng(4).normal(size=(1000, 1))).predict(1)
    assert mixture.log_prob(np.array([[8.0]]))[0] > -20


def test_least_squares_recovers_the_line_and_the_residual_covariance():
    random = np.random.default_rng(5)
    num_rows = 4000
    X = random.normal(size=(num_rows, 2))
    slopes = np.array([[1.0, -2.0], [0.5, 3.0]])
    covariance = np.array([[1.0, 0.6], [0.6, 2.0]])
    noise = random.multivariate_normal(np.zeros(2), covariance, num_rows)
    baseline = fit_linear_gaussian(X, 10.0 + X @ slopes + noise)
    mixture = baseline.predict(np.array([[0.0, 0.0], [1.0, 1.0]]))
    # Standard errors: of a mean at x, sqrt(v (1 + x'x) / N); of a covariance entry, at most sqrt(2 v_i v_j / N).
    tolerance = 4 * np.sqrt(2.0 * 3 / num_rows)
    np.testing.assert_allclose(mixture.mean(), [[10, 10], [11.5, 11.0]], atol=tolerance)
    np.testing.assert_allclose(mixture.covariance()[0], covariance, atol=4 * np.sqrt(2 * 4.0 / num_rows))


def test_the_residual_variance_is_corrected_for_the_fitted_coefficients():
    random = np.random.default_rng(6)
    num_repeats, num_rows, num_features = 300, 20, 9
    variances = []
    for _ in range(num_repeats):
        X, y = random.normal(size=(num_rows, num_features)), random.normal(size=(num_rows, 1))
        variances.append(fit_linear_gaussian(X, y).predict(X[:1]).sd()[0, 0] ** 2)
    # Var(s^2) = 2 / (N - D - 1); without the correction the mean would be 1/2.
    tolerance = 4 * math.sqrt(2 / (num_rows - num_features - 1) / num_repeats)
    assert abs(np.mean(variances) - 1) < tolerance < 0.5


def test_collinear_columns_and_more_columns_than_rows_give_finite_forecasts():
    random = np.random.default_rng(7)
    x, y = random.normal(size=(30, 1)), random.normal(size=(30, 1))
    twin = fit_linear_gaussian(np.hstack([x, x]), y).predict(np.hstack([x, x]))
    single = fit_linear_gaussian(x, y).predict(x)
    np.testing.assert_allclose(twin.mean(), single.mean(), atol=1e-5)
    np.testing.assert_allclose(twin.sd(), single.sd(), rtol=1e-5)
    wide = random.normal(size=(10, 40))
    mixture = fit_linear_gaussian(wide, y[:10]).predict(random.normal(size=(5, 40)))
    assert np.all(np.isfinite(mixture.log_prob(np.zeros((5, 1)))))


@pytest.mark.parametrize("num_targets", [1, 2])
def test_baselines_survive_being_stored(num_targets: int):
    random = np.random.default_rng(8)
    X, targets = random.normal(size=(50, 3)), random.normal(size=(50, num_targets))
    for baseline, argument in ((fit_climatology(targets), 50), (fit_linear_gaussian(X, targets), X)):
        before, after = baseline.predict(argument), stored_and_read(baseline).predict(argument)
        assert np.array_equal(before.log_prob(targets), after.log_prob(targets))


def test_the_climatology_of_many_rows_takes_no_memory_per_row():
    mixture = fit_climatology(np.arange(1000.0)[:, None]).predict(10**9)
    assert mixture.num_rows == 10**9
    assert mixture[:3].cdf(np.full((3, 1), 500.0)).shape == (3, 1)


def heteroscedastic(num_rows: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Two features, the second of which says nothing; the mean and the noise follow the first."""
    random = np.random.default_rng(seed)
    X = random.uniform(-1.7, 1.7, (num_rows, 2))
    return X, (np.sin(2 * X[:, :1]) + (0.1 + 0.3 * np.abs(X[:, :1])) * random.standard_normal((num_rows, 1))) * 5 + 100


def test_the_neighbours_density_is_the_slow_sum_over_the_nearest_rows():
    X, targets = heteroscedastic(200, 0)
    baseline = fit_nearest_neighbours(X, targets)
    assert baseline is not None
    at, y = np.array([[0.3, -0.2]]), 102.5
    nearest = np.argsort(((X - at) ** 2).sum(axis=1))[: baseline.count]
    sd, scale, k = math.sqrt(baseline.variances[0]) * targets.std(), targets.std(), baseline.count
    kernels = norm.pdf(y, targets[nearest, 0], sd).sum() / (k + 1)
    expected = kernels + norm.pdf(y, targets.mean(), 2 * scale) / (k + 1)
    assert np.exp(baseline.predict(at).log_prob(np.array([[y]])))[0] == pytest.approx(expected, rel=1e-10)


def test_the_neighbours_density_knows_the_inputs_and_is_calibrated_on_new_rows():
    (X, targets), (new_X, new) = heteroscedastic(2000, 1), heteroscedastic(1000, 2)
    baseline = fit_nearest_neighbours(X, targets)
    assert baseline is not None
    forecast, without = baseline.predict(new_X), fit_climatology(targets).predict(1000)
    gained = forecast.log_prob(new) - without.log_prob(new)
    assert gained.mean() > 4 * gained.std(ddof=1) / math.sqrt(1000)
    # D of 1000 rows is below 2.3 / sqrt(1000) but for a probability of 5e-5; the wide normal adds its share.
    limit = 2.3 / math.sqrt(1000) + 1 / (baseline.count + 1)
    assert ks_distance(forecast.cdf(new)) < limit < ks_distance(forecast.cdf(new + 2 * targets.std()))


def test_a_row_is_not_its_own_neighbour_when_the_bandwidth_is_chosen():
    random = np.random.default_rng(3)
    X, targets = random.standard_normal((300, 2)), random.standard_normal((300, 1))  # y does not depend on x
    baseline = fit_nearest_neighbours(X, targets)
    assert baseline is not None
    # A row that found itself would want the narrowest kernels and the fewest neighbours.
    assert baseline.count == 64
    assert baseline.variances[0] > 0.1


def test_too_few_rows_have_no_neighbours_density_and_copies_do_no_harm():
    assert fit_nearest_neighbours(np.zeros((15, 1)), np.arange(15.0)[:, None]) is None
    baseline = fit_nearest_neighbours(np.zeros((100, 1)), np.arange(100.0)[:, None] % 3, steps=[1.0])
    assert baseline is not None
    sd = np.std(np.arange(100) % 3)
    assert baseline.variances[0] >= 1 / sd**2 / 12 * (1 - 1e-12)  # at least the rounding's


@needs_tensorflow
@pytest.mark.parametrize("num_targets", [1, 2])
def test_the_sparse_gp_is_the_warm_start_of_the_training(num_targets: int):
    from tests.small_models import small_model

    small = small_model(num_targets)
    posterior = small.posterior()
    Y = np.stack([transform.inverse(y) for transform, y in zip(posterior.transforms, small.Y.T, strict=True)], axis=-1)
    found = warm_start_of(posterior).predict(small.X)
    assert found.num_components == 1
    scale = np.prod([transform.scale for transform in posterior.transforms])
    expected = small.regression.log_density(small.X, small.Y).sum(axis=1) - np.log(scale)
    np.testing.assert_allclose(found.log_prob(Y), expected, rtol=1e-7)
