"""Recalibrated forecasts: G(F(y)) exactly, every answer follows from it, and the dependence of the targets is kept."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy.integrate import simpson
from scipy.stats import norm

from cde_app.evaluation.verdict import ks_critical_value, ks_distance
from cde_app.explanation.quantities import entropy
from cde_app.predictive.chain import Chain
from cde_app.predictive.ensemble import Ensemble
from cde_app.predictive.mixture import Mixture
from cde_app.predictive.nodes import uniform_nodes
from cde_app.predictive.predictor import Predictor
from cde_app.predictive.probability_map import ProbabilityMap
from cde_app.predictive.recalibrated import Recalibrated, RecalibratedMarginal
from cde_app.predictive.recalibration import Recalibration
from cde_app.targets import Identity, TargetTransform
from cde_app.trees import from_tree, to_tree
from tests.predictive.test_chain import make_member
from tests.storing import stored_and_read
from tests.transforms import EXAMPLES

LEVELS = np.array([0.0, 0.05, 0.25, 0.5, 0.75, 0.95, 1.0])
PLACES = np.array([[0.0, 0.11, 0.2, 0.6, 0.7, 0.97, 1.0], [0.0, 0.02, 0.3, 0.4, 0.8, 0.9, 1.0]])
MAPS = ProbabilityMap(PLACES, LEVELS)
SAME = ProbabilityMap(LEVELS[None], LEVELS)


def mixture_of(transform: TargetTransform) -> Mixture:
    """Two rows: two modes, and a narrow component in a wide one."""
    means = np.array([[-0.8, 0.9, 0.2], [0.1, 0.1, 0.5]])[:, :, None]
    variances = np.array([[0.1, 0.2, 0.5], [0.01, 0.4, 0.3]])[:, :, None]
    return Mixture(np.array([0.5, 0.3, 0.2]), means, variances, (transform,))


def marginal_of(transform: TargetTransform, mapped: ProbabilityMap = MAPS) -> RecalibratedMarginal:
    return RecalibratedMarginal(mixture_of(transform), mapped)


def grid_of(transform: TargetTransform, num_points: int = 40_001) -> np.ndarray:
    return transform.inverse(np.linspace(-4.5, 4.5, num_points))


transforms = pytest.mark.parametrize("transform", EXAMPLES.values(), ids=EXAMPLES.keys())


# --- maps -------------------------------------------------------------------------------------------------------------


def test_a_map_goes_through_its_points_rises_and_is_inverted() -> None:
    u = np.tile(np.linspace(1e-9, 1 - 1e-9, 5001), (2, 1))
    v = MAPS.forward(u)
    assert_allclose(MAPS.forward(PLACES), np.tile(LEVELS, (2, 1)), atol=1e-15)
    assert np.all(np.diff(v) > 0)
    assert_allclose(MAPS.inverse(v), u, rtol=1e-9, atol=1e-14)


def test_the_slope_of_a_map_is_its_derivative_and_continuous() -> None:
    u = np.tile(np.linspace(0.001, 0.999, 997), (2, 1))
    step = 1e-7
    assert_allclose(
        np.exp(MAPS.log_slope(u)), (MAPS.forward(u + step) - MAPS.forward(u - step)) / (2 * step), rtol=1e-4
    )
    beside = MAPS.log_slope(PLACES[:, 1:-1] - 1e-12), MAPS.log_slope(PLACES[:, 1:-1] + 1e-12)
    assert_allclose(*beside, atol=1e-6)


def test_the_mirrored_map_keeps_the_digits_of_small_upper_probabilities() -> None:
    tail = np.full((2, 1), 1e-40)
    slopes = np.exp(MAPS.log_slope(np.ones((2, 1))))
    assert_allclose(MAPS.mirrored.forward(tail), tail * slopes, rtol=1e-9)
    assert np.all(1.0 - MAPS.forward(1.0 - tail) == 0), "which the map itself loses"


# --- one target -------------------------------------------------------------------------------------------------------


@transforms
def test_density_distribution_quantiles_and_moments_agree(transform: TargetTransform) -> None:
    forecast, y = marginal_of(transform), grid_of(transform)
    density = np.exp(forecast.log_prob_at(y))
    total = simpson(density, x=y, axis=1)
    assert_allclose(total, 1.0, atol=2e-5)
    cdf = forecast.cdf_along(np.tile(transform.forward(y), (2, 1)))
    assert_allclose(
        np.concatenate([[0.0], simpson(density[0, :20_001], x=y[:20_001])[None]])[1], cdf[0, 20_000], atol=2e-5
    )
    assert_allclose(cdf, MAPS.forward(forecast.mixture.cdf_along(np.tile(transform.forward(y), (2, 1)))), atol=1e-15)
    levels = np.array([1e-6, 0.05, 0.3, 0.5, 0.95, 1 - 1e-6])
    assert_allclose([forecast.cdf(q)[:, 0] for q in forecast.quantile(levels)], np.tile(levels, (2, 1)).T, atol=1e-12)
    mean = simpson(y * density, x=y, axis=1) / total
    sd = np.sqrt(simpson((y - mean[:, None]) ** 2 * density, x=y, axis=1) / total)
    assert_allclose(forecast.mean()[:, 0], mean, atol=2e-4 * sd.min())
    assert_allclose(forecast.sd()[:, 0], sd, rtol=2e-3)
    heights = np.where(density > 0, density, 1.0)
    assert_allclose(entropy(forecast), -simpson(density * np.log(heights), x=y, axis=1), atol=2e-3)


@transforms
def test_the_crps_is_the_integral_of_its_definition(transform: TargetTransform) -> None:
    forecast, y = marginal_of(transform), grid_of(transform)
    observed = transform.inverse(np.array([-0.4, 1.3]))
    cdf = forecast.cdf_along(np.tile(transform.forward(y), (2, 1)))
    errors = np.square(cdf - (y >= observed[:, None]))
    expected = np.sum(0.5 * (errors[:, 1:] + errors[:, :-1]) * np.diff(y), axis=1)
    assert_allclose(forecast.crps(observed)[:, 0], expected, rtol=1e-3)
    assert np.all(np.abs(forecast.crps(observed) / forecast.mixture.crps(observed) - 1) > 0.005), (
        "and not the mixture's"
    )


@transforms
def test_a_map_that_changes_nothing_gives_the_mixture(transform: TargetTransform) -> None:
    forecast, mixture = marginal_of(transform, SAME), mixture_of(transform)
    observed = transform.inverse(np.array([-0.4, 1.3]))
    for answer in ("log_prob", "cdf", "crps"):
        assert_allclose(getattr(forecast, answer)(observed), getattr(mixture, answer)(observed), rtol=1e-6)
    for answer in ("mean", "sd", "covariance"):
        assert_allclose(getattr(forecast, answer)(), getattr(mixture, answer)(), rtol=1e-5)
    assert_allclose(forecast.quantile([0.01, 0.6]), mixture.quantile([0.01, 0.6]), rtol=1e-9)
    assert_allclose(forecast.sample(3, seed=5), mixture.sample(3, seed=5), rtol=1e-9)
    assert_allclose(np.concatenate(forecast.hdi(0.8)), np.concatenate(mixture.hdi(0.8)), rtol=1e-5)
    assert_allclose(np.concatenate(forecast.modes()), np.concatenate(mixture.modes()), rtol=1e-9)
    assert_allclose(entropy(forecast), entropy(mixture), atol=1e-5)


def test_regions_and_probabilities_are_those_of_the_mapped_density() -> None:
    forecast = marginal_of(EXAMPLES["log"])
    for row, pieces in enumerate(forecast.hdi(0.8)):
        one = forecast[np.full(len(pieces), row)]
        assert_allclose(one.probability(above=pieces[:, 0], below=pieces[:, 1]).sum(), 0.8, atol=1e-5)
        assert_allclose(one.log_prob(pieces[:, 0]), one.log_prob(pieces[:, 1]), atol=1e-5)
    far = np.full(2, EXAMPLES["log"].inverse(np.array(9.0)))
    tail = forecast.probability(above=far)
    assert np.all((tail > 0) & (tail < 1e-20)), "a small upper tail keeps its digits"
    ratio = tail / forecast.mixture.probability(above=far)
    assert_allclose(ratio, np.exp(MAPS.log_slope(np.ones((2, 1))))[:, 0], rtol=1e-9)
    assert_allclose(forecast.probability(above=1.0) + forecast.probability(below=1.0), 1.0, atol=1e-12)


def test_draws_are_from_the_mapped_density() -> None:
    forecast, num_draws = marginal_of(EXAMPLES["yeo_johnson"]), 4000
    draws = forecast.sample(num_draws, seed=1)
    for row in range(2):
        of_row = forecast[np.full(num_draws, row)]
        pit = of_row.cdf(draws[:, row])[:, 0]
        assert ks_distance(pit) < ks_critical_value(num_draws, level=1 - 1e-4)
        assert ks_distance(of_row.mixture.cdf(draws[:, row])[:, 0]) > 2 * ks_critical_value(num_draws)
    levels = forecast.hpd_level(forecast.quantile(0.5), num_samples=num_draws, seed=2)
    exact = [
        np.mean(forecast[[n]].log_prob_at(draws[:, n, 0]) > forecast[[n]].log_prob(forecast[[n]].quantile(0.5)))
        for n in (0, 1)
    ]
    assert_allclose(levels, exact, atol=4 * np.sqrt(0.5 / num_draws))


# --- several targets --------------------------------------------------------------------------------------------------


def joint_mixture() -> Mixture:
    """Two rows of two targets that depend on each other, within a component and across them."""
    covariance = np.array([[[0.3, 0.2], [0.2, 0.3]], [[0.4, -0.1], [-0.1, 0.2]]])[None]
    means = np.array([[[-0.5, -0.4], [0.6, 0.7]], [[0.2, 0.5], [0.1, -0.3]]])
    variances = np.broadcast_to(np.diagonal(covariance, axis1=-2, axis2=-1), means.shape)
    return Mixture(
        np.array([0.6, 0.4]), means, variances, (Identity(0.0, 1.0), EXAMPLES["log"]), covariance, names=("a", "b")
    )


def chain_of_two() -> Chain:
    members = [Ensemble((make_member(2 + k, Identity(1.0, 2.0), seed=10 * k),)) for k in range(2)]
    return Chain(tuple(members), (1, 0), uniform_nodes(512, 4, seed=0), np.array([[0.1, -0.4], [0.7, 0.2]]))


def recalibrated(forecast: Mixture | Chain) -> Recalibrated:
    each = tuple(RecalibratedMarginal(one, MAPS) for one in forecast.marginals())
    return Recalibrated(forecast, each, names=("a", "b"))


def test_the_joint_density_integrates_to_the_mapped_marginals() -> None:
    forecast = recalibrated(joint_mixture())
    sides = [np.linspace(-4, 4, 401), EXAMPLES["log"].inverse(np.linspace(-4.5, 4.5, 401))]
    points = np.stack(np.meshgrid(*sides, indexing="ij"), axis=-1).reshape(-1, 2)
    density = np.exp(forecast.log_prob_at(points)).reshape(2, 401, 401)
    first, second = simpson(density, x=sides[1], axis=2), simpson(density, x=sides[0], axis=1)
    assert_allclose(simpson(first, x=sides[0], axis=1), 1.0, atol=2e-3)
    assert_allclose(first, np.exp(forecast.marginal("a").log_prob_at(sides[0])), atol=6e-3)
    expected = np.exp(forecast.marginal("b").log_prob_at(sides[1]))
    assert_allclose(second, expected, atol=0.01 * expected.max())
    original = np.exp(forecast.original.marginal("a").log_prob_at(sides[0]))
    assert np.max(np.abs(first - original)) > 0.1, "and not to the original's"


@pytest.mark.parametrize("original", [joint_mixture(), chain_of_two()], ids=["mixture", "chain"])
def test_answers_of_several_targets_agree(original: Mixture | Chain) -> None:
    forecast = recalibrated(original)
    observed = forecast.quantile(0.4)
    at_once = forecast.log_prob_at(observed)
    assert_allclose(forecast.log_prob(observed), np.diagonal(at_once), rtol=1e-9)
    assert_allclose(forecast.cdf(observed), 0.4, atol=1e-12)
    assert_allclose(forecast.mean()[:, 1], forecast.marginal("b").mean()[:, 0])
    assert_allclose(np.diagonal(forecast.covariance(), axis1=1, axis2=2), forecast.sd() ** 2, rtol=1e-9)
    pair = forecast.pair()
    assert pair.names == tuple(forecast.names[p] for p in forecast.closest_pair)
    assert_allclose(pair.log_prob(observed[:, list(forecast.closest_pair)]), forecast.log_prob(observed), rtol=1e-9)
    assert_allclose(forecast[1:].log_prob(observed[1:]), forecast.log_prob(observed)[1:], rtol=1e-12)
    same = replace(forecast, each=tuple(replace(one, mapped=SAME) for one in forecast.each))
    assert_allclose(same.log_prob(observed), original.log_prob(observed), rtol=1e-8)
    assert np.all(np.abs(forecast.log_prob(observed) - original.log_prob(observed)) > 0.01)


def test_draws_keep_their_ranks_and_so_the_dependence() -> None:
    forecast = recalibrated(joint_mixture())
    draws, before = forecast.sample(200, seed=3), forecast.original.sample(200, seed=3)
    assert np.array_equal(np.argsort(draws, axis=0), np.argsort(before, axis=0))
    assert np.abs(draws - before).max() > 0.05
    densities = [np.exp(forecast.log_prob(draw)) for draw in draws]
    assert np.all(np.isfinite(densities))


def test_far_away_the_joint_density_is_small_and_finite() -> None:
    forecast = recalibrated(joint_mixture())
    assert np.all(np.isfinite(forecast.log_prob(np.array([[40.0, 1.0], [-40.0, 1.0]]))))
    assert np.all(forecast.log_prob(np.array([[40.0, 1.0], [-40.0, 1.0]])) < -500)


def test_what_a_recalibrated_forecast_cannot_answer_is_refused() -> None:
    forecast = recalibrated(joint_mixture())
    with pytest.raises(ValueError, match="given: expected a model that is not recalibrated"):
        forecast.given(a=0.0)
    for one in (forecast, forecast.marginal("a")):
        with pytest.raises(ValueError, match="components: expected a model that is not recalibrated"):
            one.components()


# --- as a model has it ------------------------------------------------------------------------------------------------


def test_each_row_takes_the_map_of_its_group_and_an_unknown_group_that_of_all_rows() -> None:
    maps = np.stack([LEVELS, *PLACES])[None]
    recalibration = Recalibration(LEVELS, maps, (1,), np.array([[-1.0], [1.0]]))
    mixture = mixture_of(Identity(0.0, 1.0))[[0, 0, 0]]
    X = np.array([[0.3, 1.0], [0.3, -1.0], [0.3, 0.0]])
    found = stored_and_read(recalibration).apply(mixture, X).cdf(np.full(3, 0.4))[:, 0]
    u = mixture.cdf(np.full(3, 0.4))[:1]
    assert_allclose(
        found, [MAPS.of_rows([1]).forward(u)[0, 0], MAPS.of_rows([0]).forward(u)[0, 0], u[0, 0]], atol=1e-12
    )


def test_a_predictor_stored_before_there_were_maps_has_none() -> None:
    factor = Ensemble((make_member(2, Identity(1.0, 2.0), seed=0),))
    tree = to_tree(Predictor(None, (factor,), (0,), np.empty((24, 0))))
    assert tree.pop("recalibration") is None
    assert from_tree(Predictor, tree).recalibration is None
    tree.pop("nodes")
    with pytest.raises(KeyError, match="nodes"):
        from_tree(Predictor, tree)


def test_the_density_is_the_mixtures_times_the_slope_of_the_map() -> None:
    """A single Gaussian and a map by hand: log N(y) + log g(Phi(y))."""
    normal = Mixture(np.ones(1), np.zeros((1, 1, 1)), np.ones((1, 1, 1)), (Identity(0.0, 1.0),))
    forecast = RecalibratedMarginal(normal, MAPS.of_rows([0]))
    y = np.linspace(-3, 3, 13)
    expected = norm.logpdf(y) + MAPS.of_rows([0]).log_slope(norm.cdf(y)[None])[0]
    assert_allclose(forecast.log_prob_at(y)[0], expected, rtol=1e-12)
