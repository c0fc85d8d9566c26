from __future__ import annotations

import math
import warnings
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.integrate import quad, simpson
from scipy.special import ndtr
from scipy.stats import kstwobign, lognorm, multivariate_normal, norm

from cde_app.machine import blocks
from cde_app.predictive.mixture import Mixture
from cde_app.targets import Identity, TargetTransform
from cde_app.targets.log import Log
from cde_app.targets.yeo_johnson import YeoJohnson
from tests.transforms import EXAMPLES

IDENTITY = Identity(5.0, 3.0)
LOG = Log(0.4, 0.8, shift=2.0)
YEO_JOHNSON = YeoJohnson(0.1, 1.1, exponent=0.4, centre=1.0, spread=2.0)
TRANSFORMS = pytest.mark.parametrize("transform", EXAMPLES.values(), ids=EXAMPLES.keys())


def make_mixture(
    num_rows: int, transforms: tuple[TargetTransform, ...], *, num_components: int = 4, correlated: bool = False
) -> Mixture:
    random = np.random.default_rng(0)
    num_targets = len(transforms)
    weights = random.dirichlet(np.ones(num_components))
    means = random.normal(size=(num_rows, num_components, num_targets))
    variances = random.uniform(0.05, 0.5, size=means.shape)
    if not correlated:
        return Mixture(weights, means, variances, transforms)
    correlations = np.full((num_targets, num_targets), 0.6)
    np.fill_diagonal(correlations, 1.0)
    sds = np.sqrt(variances)
    covariances = correlations * sds[..., :, None] * sds[..., None, :]
    return Mixture(weights, means, variances, transforms, covariances)


def make_normal(mean: float, sd: float, transform: TargetTransform) -> Mixture:
    return Mixture(np.ones(1), np.full((1, 1, 1), mean), np.full((1, 1, 1), sd**2), (transform,))


def even_grid(mixture: Mixture, target: int, num_points: int) -> tuple[np.ndarray, np.ndarray]:
    """Points of one target, even in the standardised scale, and dy/dz there."""
    z = np.linspace(-8, 8, num_points)
    y = mixture.transforms[target].inverse(z)
    return y, np.exp(-mixture.transforms[target].log_jacobian(y))


# --- densities ----------------------------------------------------------------------------------------------------


@TRANSFORMS
def test_the_density_of_one_target_integrates_to_one(transform: TargetTransform) -> None:
    mixture = make_mixture(3, (transform,))
    y, slope = even_grid(mixture, 0, 2001)
    masses = np.exp(mixture.log_prob_at(y[:, None])) * slope
    np.testing.assert_allclose(simpson(masses, dx=16 / 2000, axis=1), 1.0, rtol=1e-10)
    half = make_normal(0.0, 1.0, transform)
    half = Mixture(half.weights / 2, half.means, half.variances, half.transforms)
    assert simpson(np.exp(half.log_prob_at(y[:, None])) * slope, dx=16 / 2000) == pytest.approx(0.5)


@pytest.mark.parametrize("correlated", [False, True])
@pytest.mark.parametrize("transforms", [(IDENTITY, IDENTITY), (LOG, YEO_JOHNSON)], ids=["affine", "transformed"])
def test_the_joint_density_of_two_targets_integrates_to_one(
    transforms: tuple[TargetTransform, ...], *, correlated: bool
) -> None:
    mixture = make_mixture(2, transforms, correlated=correlated)
    (first, first_slope), (second, second_slope) = even_grid(mixture, 0, 321), even_grid(mixture, 1, 321)
    points = np.stack(np.meshgrid(first, second, indexing="ij"), axis=-1).reshape(-1, 2)
    density = np.exp(mixture.log_prob_at(points)).reshape(2, 321, 321) * np.outer(first_slope, second_slope)
    np.testing.assert_allclose(simpson(simpson(density, dx=0.05), dx=0.05), 1.0, rtol=1e-9)


def test_the_log_density_equals_scipys() -> None:
    mixture = make_mixture(5, (IDENTITY, IDENTITY), correlated=True)
    targets = np.random.default_rng(1).normal(5, 3, size=(5, 2))
    expected = [
        math.log(
            sum(
                weight
                * multivariate_normal.pdf((targets[n] - 5) / 3, mixture.means[n, c], mixture.covariances[n, c])
                / 9
                for c, weight in enumerate(mixture.weights)
            )
        )
        for n in range(5)
    ]
    np.testing.assert_allclose(mixture.log_prob(targets), expected, rtol=1e-10)


def test_one_component_behind_a_log_transform_is_scipys_lognormal() -> None:
    mixture = make_normal(0.3, 0.7, Log(0.4, 0.8, shift=0.0))
    truth = lognorm(s=0.8 * 0.7, scale=math.exp(0.4 + 0.8 * 0.3))
    y = np.array([0.1, 1.0, 3.0, 20.0])
    np.testing.assert_allclose(mixture.log_prob_at(y[:, None])[0], truth.logpdf(y), rtol=1e-12)
    np.testing.assert_allclose(mixture.mean(), truth.mean(), rtol=1e-12)
    np.testing.assert_allclose(mixture.sd(), truth.std(), rtol=1e-12)
    np.testing.assert_allclose(mixture.quantile([1e-6, 0.5, 0.999])[:, 0, 0], truth.ppf([1e-6, 0.5, 0.999]), rtol=1e-9)
    np.testing.assert_allclose(mixture.cdf([[2.0]]), truth.cdf(2.0), rtol=1e-12)


@pytest.mark.parametrize("correlated", [False, True])
def test_the_density_at_points_is_the_density_row_by_row(monkeypatch: pytest.MonkeyPatch, *, correlated: bool) -> None:
    mixture = make_mixture(7, (LOG, IDENTITY), correlated=correlated)
    points = mixture.sample(1, seed=1)[0]
    row_by_row = np.stack([mixture.log_prob(np.broadcast_to(point, (7, 2))) for point in points], axis=1)
    np.testing.assert_allclose(mixture.log_prob_at(points), row_by_row, rtol=1e-12)
    monkeypatch.setattr(blocks, "FLOATS_IN_CACHE", 24)
    np.testing.assert_allclose(mixture.log_prob_at(points), row_by_row, rtol=1e-12)


def test_one_covariance_for_all_rows_is_the_same_covariance_in_every_row() -> None:
    several = make_mixture(4, (IDENTITY, LOG), correlated=True)
    one = Mixture(
        several.weights, several.means, several.variances[:1].repeat(4, 0), several.transforms, several.covariances[:1]
    )
    repeated = Mixture(one.weights, one.means, one.variances, one.transforms, several.covariances[:1].repeat(4, 0))
    y = one.sample(1, seed=0)[0]
    np.testing.assert_array_equal(one.sample(3, seed=2), repeated.sample(3, seed=2))
    np.testing.assert_allclose(one.log_prob(y), repeated.log_prob(y), rtol=1e-13)
    np.testing.assert_allclose(one.covariance(), repeated.covariance(), rtol=1e-13)
    np.testing.assert_allclose(one[[2]].log_prob(y[[2]]), one.log_prob(y)[[2]], rtol=1e-13)


def test_the_marginal_density_is_the_joint_one_integrated_over_the_other_target() -> None:
    mixture = make_mixture(1, (LOG, IDENTITY), correlated=True)
    y, slope = even_grid(mixture, 1, 801)
    joint = np.exp(mixture.log_prob_at(np.column_stack([np.full(801, 1.5), y]))) * slope
    marginal = mixture.marginal(0).log_prob([1.5])[0]
    assert marginal == pytest.approx(math.log(simpson(joint[0], dx=0.02)), rel=1e-9)
    assert marginal == pytest.approx(mixture.marginal(0).log_prob_at(np.array([1.5]))[0, 0], rel=1e-13)


def test_outside_the_support_the_density_is_zero_and_the_distribution_function_an_end() -> None:
    mixture = make_mixture(2, (LOG,))
    outside = np.array([[-2.0], [-7.0]])
    np.testing.assert_array_equal(mixture.log_prob(outside), -np.inf)
    np.testing.assert_array_equal(mixture.log_prob_at(outside), -np.inf)
    np.testing.assert_array_equal(mixture.cdf(outside), 0.0)


@TRANSFORMS
def test_components_of_weight_zero_change_nothing(transform: TargetTransform) -> None:
    plain = make_mixture(3, (transform,))
    padded = Mixture(
        np.append(plain.weights, 0.0),
        np.concatenate([plain.means, np.full((3, 1, 1), 50.0)], axis=1),
        np.concatenate([plain.variances, np.full((3, 1, 1), 9.0)], axis=1),
        plain.transforms,
    )
    y = plain.sample(1, seed=0)[0]
    for method in ("log_prob", "cdf", "crps"):
        np.testing.assert_allclose(getattr(padded, method)(y), getattr(plain, method)(y), rtol=1e-10)
    np.testing.assert_allclose(padded.quantile([0.1, 0.9]), plain.quantile([0.1, 0.9]), rtol=1e-12)
    np.testing.assert_array_equal(padded.sample(20, seed=3), plain.sample(20, seed=3))
    np.testing.assert_allclose(padded.mean(), plain.mean(), rtol=1e-12)


# --- distribution functions ---------------------------------------------------------------------------------------


@TRANSFORMS
def test_the_distribution_function_is_the_integral_of_the_density(transform: TargetTransform) -> None:
    mixture = make_mixture(1, (transform,))
    start, stop = transform.inverse([-1.0, 0.5])
    # The slope of Yeo-Johnson has a kink there.
    mass, _ = quad(
        lambda y: math.exp(mixture.log_prob_at(np.array([[y]]))[0, 0]),
        start,
        stop,
        epsabs=1e-12,
        points=[transform.bend],
    )
    difference = mixture.cdf([[stop]]) - mixture.cdf([[start]])
    assert difference[0, 0] == pytest.approx(mass, abs=1e-11)


@TRANSFORMS
def test_quantiles_invert_the_distribution_function_also_in_the_far_tails(transform: TargetTransform) -> None:
    mixture = make_mixture(20, (transform,), num_components=6)
    levels = np.array([1e-12, 1e-6, 0.01, 0.3, 0.5, 0.77, 0.99, 1 - 1e-6, 1 - 1e-12])
    quantiles = mixture.quantile(levels)
    for level, quantile in zip(levels, quantiles, strict=True):
        np.testing.assert_allclose(mixture.cdf(quantile), level, rtol=1e-10)
    assert np.all(np.diff(quantiles, axis=0) > 0)


def test_quantiles_find_their_way_between_far_and_narrow_components() -> None:
    means = np.array([[-1e3, 1e3, 1e3 + 1e-3]])[:, :, None]
    mixture = Mixture(np.array([0.4, 0.3, 0.3]), means, np.full((1, 3, 1), 1e-10), (Identity(0, 1),))
    levels = np.array([1e-9, 0.2, 0.399999, 0.400001, 0.6, 0.7000001, 0.9, 1 - 1e-9])
    quantiles = mixture.quantile(levels)[:, 0, 0]
    # One rounding of a quantile near 1000 moves the cdf by density x 1e-13 = 2e4 x 1e-13.
    np.testing.assert_allclose([mixture.cdf([[y]])[0, 0] for y in quantiles], levels, atol=1e-8)
    np.testing.assert_allclose(quantiles[:3], norm.ppf(levels[:3] / 0.4, -1e3, 1e-5), rtol=1e-13)
    assert -1e3 < mixture.quantile([0.4])[0, 0, 0] < 1e3


# --- moments ------------------------------------------------------------------------------------------------------


@TRANSFORMS
def test_mean_and_sd_equal_their_integrals(transform: TargetTransform) -> None:
    # Yeo-Johnson's second derivative jumps at the centre, where Gauss-Hermite converges slowly: 1e-4 with 32 nodes.
    tolerance = 1e-4 if transform.kind == "yeo_johnson" else 1e-10
    mixture = make_mixture(3, (transform,))
    y, slope = even_grid(mixture, 0, 20001)
    masses = np.exp(mixture.log_prob_at(y[:, None])) * slope
    mean = simpson(masses * y, dx=16 / 20000, axis=1)
    variance = simpson(masses * (y - mean[:, None]) ** 2, dx=16 / 20000, axis=1)
    np.testing.assert_allclose(mixture.mean()[:, 0], mean, rtol=tolerance)
    np.testing.assert_allclose(mixture.sd()[:, 0], np.sqrt(variance), rtol=tolerance)
    np.testing.assert_allclose(mixture.covariance()[:, 0, 0], variance, rtol=2 * tolerance)


def test_wide_components_behind_a_log_transform_have_the_lognormals_moments() -> None:
    mixture = make_normal(0.0, 4.0, Log(0.0, 1.0, shift=0.0))
    truth = lognorm(s=4.0)
    np.testing.assert_allclose([mixture.mean()[0, 0], mixture.sd()[0, 0]], [truth.mean(), truth.std()], rtol=1e-12)


@pytest.mark.parametrize("correlated", [False, True])
@pytest.mark.parametrize(
    ("transforms", "tolerance"),
    [
        ((IDENTITY, IDENTITY), 1e-9),
        ((LOG, IDENTITY), 1e-9),
        ((LOG, LOG), 1e-9),
        ((YEO_JOHNSON, LOG), 1e-3),
        ((EXAMPLES["arcsinh"], LOG), 1e-9),
    ],
)
def test_the_covariance_equals_its_integral(
    transforms: tuple[TargetTransform, ...], tolerance: float, *, correlated: bool
) -> None:
    mixture = make_mixture(1, transforms, correlated=correlated)
    (first, first_slope), (second, second_slope) = even_grid(mixture, 0, 641), even_grid(mixture, 1, 641)
    points = np.stack(np.meshgrid(first, second, indexing="ij"), axis=-1)
    density = np.exp(mixture.log_prob_at(points.reshape(-1, 2))).reshape(641, 641)
    density *= np.outer(first_slope, second_slope) * 0.025**2
    deviations = points - mixture.mean()[0]
    expected = np.einsum("ab,abp,abq->pq", density, deviations, deviations)
    np.testing.assert_allclose(mixture.covariance()[0], expected, rtol=tolerance, atol=tolerance)


# --- draws --------------------------------------------------------------------------------------------------------


@settings(max_examples=25, deadline=None)
@given(st.lists(st.integers(0, 600), min_size=1, max_size=4), st.booleans())
def test_draws_do_not_depend_on_the_chunks(cuts: list[int], correlated: bool) -> None:
    mixture = make_mixture(600, (LOG, IDENTITY), correlated=correlated)
    whole = mixture.sample(3, seed=11)
    edges = [0, *sorted(set(cuts) - {0, 600}), 600]
    chunks = [mixture[a:b].sample(3, seed=11, rows=np.arange(a, b)) for a, b in pairwise(edges)]
    np.testing.assert_array_equal(np.concatenate(chunks, axis=1), whole)


def test_draws_of_another_seed_or_another_place_differ() -> None:
    mixture = make_mixture(4, (IDENTITY,))
    assert not np.any(mixture.sample(3, seed=0) == mixture.sample(3, seed=1))
    assert not np.any(mixture.sample(3, seed=0) == mixture.sample(3, seed=0, rows=np.arange(mixture.num_rows) + 4))


@TRANSFORMS
def test_draws_have_the_mixtures_distribution_function(transform: TargetTransform) -> None:
    num_draws = 20_000
    mixture = make_mixture(1, (transform,))
    draws = np.sort(mixture.sample(num_draws, seed=4)[:, 0, 0])
    # The chance of an exact sampler to lie beyond this is that of 4 standard errors, 6e-5.
    critical = kstwobign.isf(2 * norm.sf(4.0)) / math.sqrt(num_draws)
    steps = (np.arange(num_draws) + 0.5) / num_draws

    def distance(model: Mixture) -> float:
        return float(np.max(np.abs(ndtr_of(model, draws) - steps)))

    assert distance(mixture) < critical
    # Negative control: standard deviations ten per cent too wide are noticed.
    wrong = Mixture(mixture.weights, mixture.means + 0.1, mixture.variances, mixture.transforms)
    assert distance(wrong) > critical


def ndtr_of(mixture: Mixture, y: np.ndarray) -> np.ndarray:
    """The distribution function of a one-row mixture, written out."""
    z = mixture.transforms[0].forward(y)
    return ndtr((z[:, None] - mixture.means[0, :, 0]) / np.sqrt(mixture.variances[0, :, 0])) @ mixture.weights


def test_draws_of_two_targets_have_the_mixtures_correlation() -> None:
    num_draws = 20_000
    dependent = make_mixture(1, (IDENTITY, IDENTITY), correlated=True)
    independent = Mixture(dependent.weights, dependent.means, dependent.variances, dependent.transforms)
    covariance = dependent.covariance()[0]
    draws = dependent.sample(num_draws, seed=5)[:, 0]
    products = (draws - draws.mean(0)).prod(1)
    standard_error = products.std() / math.sqrt(num_draws)
    assert abs(products.mean() - covariance[0, 1]) < 4 * standard_error
    assert abs(products.mean() - independent.covariance()[0, 0, 1]) > 4 * standard_error  # negative control


def test_the_highest_density_level_is_uniform_for_a_calibrated_density_alone() -> None:
    num_rows = 2000
    mixture = make_mixture(num_rows, (LOG, IDENTITY), correlated=True)
    truth = mixture.sample(1, seed=6)[0]
    critical = kstwobign.isf(2 * norm.sf(4.0)) / math.sqrt(num_rows)
    num_samples = 400  # a level is a multiple of 1/400: a step well below the critical distance of 0.05
    steps = (np.arange(num_rows) + 0.5) / num_rows

    def distance(model: Mixture) -> float:
        return float(np.max(np.abs(np.sort(model.hpd_level(truth, num_samples=num_samples, seed=7)) - steps)))

    assert distance(mixture) < critical
    wide = Mixture(mixture.weights, mixture.means, 2 * mixture.variances, mixture.transforms, 2 * mixture.covariances)
    assert distance(wide) > critical


def test_a_mixture_of_some_rows_is_that_of_the_whole() -> None:
    mixture = make_mixture(6, (LOG, IDENTITY), correlated=True)
    y = mixture.sample(1, seed=8)[0]
    for rows in (slice(1, 4), np.array([5, 0]), np.arange(6) % 2 == 0):
        np.testing.assert_allclose(mixture[rows].log_prob(y[rows]), mixture.log_prob(y)[rows], rtol=1e-13)


@TRANSFORMS
def test_draws_mean_sd_quantiles_and_distribution_function_are_of_one_distribution(transform: TargetTransform) -> None:
    """A wide component of 2 % among narrow ones: whatever has part in the draws has part in all else."""
    num_draws = 100_000
    means, variances = np.array([[[0.0], [0.3], [0.1]]]), np.array([[[0.04], [0.09], [1.0]]])
    mixture = Mixture(np.array([0.6, 0.38, 0.02]), means, variances, (transform,))
    draws = mixture.sample(num_draws, seed=3)[:, 0, 0]
    mean, sd = mixture.mean()[0, 0], mixture.sd()[0, 0]
    assert abs(draws.mean() - mean) < 4 * draws.std() / np.sqrt(num_draws)
    squares = (draws - mean) ** 2
    assert abs(squares.mean() - sd**2) < 4 * squares.std() / np.sqrt(num_draws)
    levels = np.array([1e-3, 0.05, 0.5, 0.95, 0.999])
    quantiles = mixture.quantile(levels)[:, 0, 0]
    errors = np.sqrt(levels * (1 - levels) / num_draws)
    assert np.all(np.abs((draws[:, None] <= quantiles).mean(0) - levels) < 4 * errors)
    cdf = [mixture.cdf(np.array([[quantile]]))[0, 0] for quantile in quantiles]
    np.testing.assert_allclose(cdf, levels, rtol=1e-8)
    narrow = Mixture(np.array([0.6, 0.4]), means[:, :2], variances[:, :2], (transform,))
    assert abs(squares.mean() - narrow.sd()[0, 0] ** 2) > 4 * squares.std() / np.sqrt(num_draws), "the control"


def test_limits_and_points_far_away_have_the_probabilities_0_and_1_without_a_warning() -> None:
    mixture = Mixture(np.ones(1), np.zeros((2, 1, 1)), np.full((2, 1, 1), 1e-4), (Identity(0.0, 1.0),))
    far = np.full(2, 1e308)
    with warnings.catch_warnings(action="error"):
        assert mixture.probability(above=far, below=np.full(2, np.inf)).tolist() == [0.0, 0.0]
        assert mixture.probability(above=-far, below=far).tolist() == [1.0, 1.0]
        np.testing.assert_array_equal(mixture.cdf_along(np.array([[-1e308, 1e308]] * 2)), [[0.0, 1.0]] * 2)
