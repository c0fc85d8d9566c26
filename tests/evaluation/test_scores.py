from __future__ import annotations

import json
import math
from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import norm

from cde_app.evaluation.scores import (
    DENSITY_DRAWS,
    blank_rows,
    concatenate_rows,
    energy_score,
    interval_score,
    score_rows,
    skill,
    summarise,
    variogram_score,
)
from cde_app.evaluation.verdict import ks_distance
from cde_app.predictive.forecast import Forecast
from cde_app.predictive.mixture import Mixture
from cde_app.predictive.probability_map import ProbabilityMap
from cde_app.predictive.recalibrated import Recalibrated, RecalibratedMarginal
from cde_app.targets import Identity
from cde_app.targets.log import Log


def make_gaussian(means: np.ndarray, sds: np.ndarray, *, location: float = 0.0, scale: float = 1.0) -> Mixture:
    """One normal per row; means and sds [N, P], standardised."""
    transforms = tuple(Identity(location, scale) for _ in range(means.shape[1]))
    return Mixture(np.ones(1), means[:, None, :], sds[:, None, :] ** 2, transforms)


def make_mixture(num_rows: int, num_targets: int, *, num_components: int = 3, seed: int = 0) -> Mixture:
    random = np.random.default_rng(seed)
    weights = random.dirichlet(np.ones(num_components))
    means = random.normal(size=(num_rows, num_components, num_targets))
    variances = random.uniform(0.1, 1.0, size=means.shape)
    transforms = tuple(Identity(5.0 * p, 1.0 + p) for p in range(num_targets))
    return Mixture(weights, means, variances, transforms)


def test_the_scores_of_a_normal_forecast_equal_their_closed_forms():
    random = np.random.default_rng(1)
    means, sds, targets = random.normal(size=(40, 1)), random.uniform(0.2, 2, (40, 1)), random.normal(size=(40, 1))
    rows = score_rows(make_gaussian(means, sds), targets, scales=np.array([2.0]), seed=0)
    z = (targets - means) / sds
    crps = sds * (z * (2 * norm.cdf(z) - 1) + 2 * norm.pdf(z) - 1 / math.sqrt(math.pi))
    np.testing.assert_allclose(rows["nlpd"], -norm.logpdf(targets, means, sds)[:, 0], rtol=1e-10)
    np.testing.assert_allclose(rows["crps"], crps, atol=1e-12)
    np.testing.assert_allclose(rows["energy_score"], crps[:, 0] / 2.0, atol=1e-12)
    np.testing.assert_allclose(rows["pit"], norm.cdf(z), atol=1e-12)
    np.testing.assert_allclose(rows["squared_error"], (targets - means) ** 2, atol=1e-12)
    np.testing.assert_allclose(rows["absolute_error"], np.abs(targets - means), atol=1e-12)
    half = norm.ppf(0.95) * sds
    np.testing.assert_allclose(rows["width"], 2 * half, rtol=1e-10)
    outside = np.maximum(np.abs(targets - means) - half, 0.0)
    assert 0 < np.mean(outside > 0) < 1
    np.testing.assert_allclose(rows["interval_score"], 2 * half + 20 * outside, rtol=1e-10)
    cde_loss = 1 / (2 * math.sqrt(math.pi) * sds) - 2 * norm.pdf(targets, means, sds)
    np.testing.assert_allclose(rows["cde_loss"], cde_loss[:, 0], atol=1e-12)
    entropy = 0.5 * np.log(2 * math.pi * math.e * sds**2)[:, 0]
    # -log p of a draw varies by 1/2: it is half a chi-squared variable with one degree of freedom.
    assert np.mean(rows["entropy"] - entropy) == pytest.approx(0, abs=4 * math.sqrt(0.5 / (99 * 40)))


def test_the_fair_energy_score_equals_brute_force():
    random = np.random.default_rng(2)
    draws, targets = random.normal(size=(9, 4, 3)), random.normal(size=(4, 3))
    expected = []
    for n in range(4):
        first = np.mean([np.linalg.norm(draws[s, n] - targets[n]) for s in range(9)])
        pairs = [np.linalg.norm(draws[s, n] - draws[t, n]) for s in range(9) for t in range(9) if s != t]
        expected.append(first - 0.5 * np.mean(pairs))
    np.testing.assert_allclose(energy_score(draws, targets), expected, rtol=1e-12)


def test_the_fair_energy_score_of_draws_of_one_target_is_the_exact_crps_without_bias():
    mixture = make_mixture(400, 1)
    targets = mixture.sample(1, seed=3)[0]
    exact = mixture.crps(targets)[:, 0]
    # Only ten draws per row: the plain form would be off by E|X - X'| / 20, far beyond the tolerance.
    difference = energy_score(mixture.sample(10, seed=4), targets) - exact
    standard_error = np.std(difference, ddof=1) / math.sqrt(len(difference))
    assert abs(difference.mean()) < 4 * standard_error
    draws = mixture.sample(2000, seed=5)[:, :, 0]
    plain_bias = np.mean(np.abs(draws[:1000] - draws[1000:])) / 20
    assert plain_bias > 4 * standard_error  # negative control: the tolerance would notice the plain form


def test_the_energy_score_of_several_targets_divides_them_by_their_scales():
    mixture = make_mixture(6, 2)
    targets = mixture.sample(1, seed=3)[0]
    unit = score_rows(mixture, targets, scales=np.ones(2), seed=0)["energy_score"]
    tenth = score_rows(mixture, targets, scales=np.full(2, 10.0), seed=0)["energy_score"]
    np.testing.assert_allclose(unit, 10 * tenth, rtol=1e-10)


@pytest.mark.parametrize("num_targets", [1, 2])
def test_scoring_in_chunks_gives_the_numbers_of_scoring_at_once(num_targets: int):
    mixture = make_mixture(50, num_targets)
    targets = mixture.sample(1, seed=9)[0]
    scales = np.arange(1.0, num_targets + 1)
    whole = score_rows(mixture, targets, scales=scales, seed=7)
    chunks = [
        score_rows(mixture[part], targets[part], scales=scales, seed=7, rows=np.arange(50)[part])
        for part in (slice(a, a + 13) for a in range(0, 50, 13))
    ]
    joined = concatenate_rows(chunks)
    assert joined.keys() == whole.keys()
    for name in whole:
        np.testing.assert_allclose(joined[name], whole[name], rtol=1e-12, atol=1e-14)


def test_the_summary_has_means_with_standard_errors_and_every_targets_own_numbers():
    mixture = make_mixture(60, 2)
    targets = mixture.sample(1, seed=9)[0]
    rows = score_rows(mixture, targets, scales=np.array([1.0, 4.0]), seed=7)
    summary = summarise(rows, target_names=["height", "weight"])
    assert summary["num_rows"] == 60
    assert summary["nlpd"]["value"] == pytest.approx(rows["nlpd"].mean())
    assert summary["nlpd"]["se"] == pytest.approx(rows["nlpd"].std(ddof=1) / math.sqrt(60))
    assert summary["crps"]["value"] == pytest.approx(np.mean(rows["crps"] / [1.0, 4.0]))
    assert summary["crps"]["per_target"]["weight"]["value"] == pytest.approx(rows["crps"][:, 1].mean())
    rmse = math.sqrt(rows["squared_error"][:, 0].mean())
    own = summary["rmse"]["per_target"]["height"]
    assert own["value"] == pytest.approx(rmse)
    assert own["se"] == pytest.approx(rows["squared_error"][:, 0].std(ddof=1) / math.sqrt(60) / (2 * rmse))
    assert list(summary["coverage"]) == ["0.5", "0.9", "0.95"]
    assert summary["pit_ks"]["se"] > 0
    json.dumps(summary, allow_nan=False)


def test_for_one_target_crps_and_rmse_are_in_the_users_units():
    means, targets = np.zeros((5, 1)), np.arange(5.0)[:, None]
    rows = score_rows(make_gaussian(means, np.ones((5, 1)), scale=3.0), targets, scales=np.array([3.0]), seed=0)
    summary = summarise(rows)
    assert summary["crps"]["value"] == pytest.approx(rows["crps"].mean())
    assert summary["rmse"]["value"] == pytest.approx(math.sqrt(np.mean(targets**2)))


def test_the_summary_of_a_single_row_has_no_standard_errors():
    rows = score_rows(make_mixture(1, 2), np.zeros((1, 2)), scales=np.ones(2), seed=0)
    summary = summarise(rows)
    for name in ("nlpd", "crps", "energy_score", "rmse", "pit_ks"):
        assert summary[name]["se"] is None
        assert math.isfinite(summary[name]["value"])
    assert summary["coverage"]["0.9"]["se"] is None


def test_an_impossible_row_makes_the_nlpd_null_and_is_counted():
    transform = Log(0.0, 1.0, shift=0.0)
    mixture = Mixture(np.ones(1), np.zeros((3, 1, 1)), np.ones((3, 1, 1)), (transform,))
    rows = score_rows(mixture, np.array([[1.0], [2.0], [-1.0]]), scales=np.ones(1), seed=0)
    summary = summarise(rows)
    assert summary["nlpd"] == {"value": None, "se": None, "num_infinite": 1}
    json.dumps(summary, allow_nan=False)


def test_the_summary_of_no_rows_says_so():
    rows = {"crps": np.empty((0, 1)), "nlpd": np.empty(0)}
    assert summarise(rows) == {"num_rows": 0}


def test_coverage_and_pit_are_nominal_for_the_truth_and_not_for_an_overconfident_forecast():
    num_rows = 4000
    random = np.random.default_rng(11)
    means, sds = random.normal(size=(num_rows, 1)), random.uniform(0.5, 2, (num_rows, 1))
    targets = means + sds * random.normal(size=means.shape)
    honest = summarise(score_rows(make_gaussian(means, sds), targets, scales=np.ones(1), seed=0))
    proud = summarise(score_rows(make_gaussian(means, 0.5 * sds), targets, scales=np.ones(1), seed=0))
    for level in (0.5, 0.9, 0.95):
        tolerance = 4 * math.sqrt(level * (1 - level) / num_rows)
        assert abs(honest["coverage"][str(level)]["value"] - level) < tolerance
        assert abs(proud["coverage"][str(level)]["value"] - level) > tolerance
    # P(sqrt(N) D > 2.3) = 2 exp(-2 x 2.3^2) = 5e-5, the tail of four standard errors.
    assert honest["pit_ks"]["value"] < 2.3 / math.sqrt(num_rows)
    assert proud["pit_ks"]["value"] > 2.3 / math.sqrt(num_rows)
    assert honest["nlpd"]["value"] < proud["nlpd"]["value"]
    assert honest["crps"]["value"] < proud["crps"]["value"]


def test_the_bootstrap_error_of_the_ks_distance_is_repeatable_and_shrinks_with_the_rows():
    random = np.random.default_rng(12)
    errors = []
    for num_rows in (100, 10_000):
        rows = score_rows(
            make_gaussian(np.zeros((num_rows, 1)), np.ones((num_rows, 1))),
            random.normal(loc=0.5, size=(num_rows, 1)),
            scales=np.ones(1),
            seed=0,
        )
        first, second = summarise(rows), summarise(rows)
        assert first == second
        errors.append(first["pit_ks"]["se"])
    # D is close to an average over rows here, so its error falls like 1 / sqrt(N): by ten, within bootstrap noise.
    assert 5 < errors[0] / errors[1] < 20


def test_skill_is_zero_against_itself_and_positive_for_the_better_forecast():
    random = np.random.default_rng(13)
    means = random.normal(size=(500, 1))
    targets = means + 0.5 * random.normal(size=means.shape)
    good = score_rows(make_gaussian(means, np.full_like(means, 0.5)), targets, scales=np.ones(1), seed=0)
    poor = score_rows(
        make_gaussian(0 * means, np.full_like(means, math.sqrt(1.25))), targets, scales=np.ones(1), seed=0
    )
    same = skill(good, good)
    assert same["crps"] == {"value": 0.0, "se": 0.0}
    assert same["nlpd"] == {"value": 0.0, "se": 0.0}
    better = skill(good, poor)
    # Both forecasts are calibrated, so their CRPS are as their standard deviations: skill 1 - 0.5 / sqrt(1.25).
    assert abs(better["crps"]["value"] - (1 - 0.5 / math.sqrt(1.25))) < 4 * better["crps"]["se"]
    assert abs(better["nlpd"]["value"] - math.log(math.sqrt(1.25) / 0.5)) < 4 * better["nlpd"]["se"]
    assert better["crps"]["value"] > 4 * better["crps"]["se"]


def test_the_standard_error_of_skill_is_that_of_repeated_experiments():
    random = np.random.default_rng(14)
    values, errors = [], []
    for _ in range(200):
        model, baseline = random.gamma(2.0, size=(100, 1)), np.empty((100, 1))
        baseline = model + random.gamma(1.0, size=(100, 1))
        rows = {"nlpd": model[:, 0], "crps": model, "energy_score": model[:, 0]}
        other = {"nlpd": baseline[:, 0], "crps": baseline, "energy_score": baseline[:, 0]}
        result = skill(rows, other)["crps"]
        values.append(result["value"])
        errors.append(result["se"])
    # The sd of 200 values is known to 1 / sqrt(400) = 5 %; four of those.
    assert np.std(values, ddof=1) == pytest.approx(np.mean(errors), rel=0.2)


def test_wrong_shapes_and_scales_are_refused():
    mixture = make_mixture(3, 2)
    with pytest.raises(ValueError, match=r"expected targets \(3, 2\)"):
        score_rows(mixture, np.zeros((3, 1)), scales=np.ones(2), seed=0)
    with pytest.raises(ValueError, match="expected positive scales"):
        score_rows(mixture, np.zeros((3, 2)), scales=np.array([1.0, 0.0]), seed=0)
    rows = score_rows(mixture, np.zeros((3, 2)), scales=np.ones(2), seed=0)
    with pytest.raises(ValueError, match="expected the same rows"):
        skill(rows, {name: values[:2] for name, values in rows.items()})
    with pytest.raises(ValueError, match="at least one chunk"):
        concatenate_rows([])


def test_the_standard_error_of_the_coverage_is_that_of_a_calibrated_forecast():
    pit = np.full((16, 1), 0.5)  # every row is inside every interval, which proves less than it seems
    rows = blank_rows(1)
    rows = {name: np.zeros((16, *values.shape[1:])) for name, values in rows.items()} | {"pit": pit}
    coverage = summarise(rows)["coverage"]["0.9"]
    assert (coverage["value"], coverage["se"]) == (1.0, pytest.approx(0.075))
    assert coverage["per_target"]["0"]["se"] == pytest.approx(0.075)


def test_the_interval_score_is_the_mean_of_the_two_pinball_losses():
    random = np.random.default_rng(20)
    low, targets = random.normal(size=50), random.normal(size=50)
    high = low + random.random(50)
    for mass in (0.5, 0.9):
        expected = []
        for l, h, y in zip(low, high, targets, strict=True):  # noqa: E741
            lower, upper = (1 - mass) / 2, (1 + mass) / 2
            pinball = [(y - q) * level if y > q else (q - y) * (1 - level) for q, level in ((l, lower), (h, upper))]
            expected.append(sum(pinball) * 2 / (1 - mass))
        np.testing.assert_allclose(interval_score(low, high, targets, mass=mass), expected, atol=1e-12)


def test_the_variogram_score_equals_brute_force_over_pairs_of_targets_and_of_draws():
    random = np.random.default_rng(21)
    draws, targets = random.normal(size=(7, 4, 3)), random.normal(size=(4, 3))
    expected = np.zeros(4)
    for n in range(4):
        for i in range(3):
            for j in range(3):
                observed = abs(targets[n, i] - targets[n, j]) ** 0.5
                gaps = [observed - abs(draws[s, n, i] - draws[s, n, j]) ** 0.5 for s in range(7)]
                # Two different draws are independent, so that the mean product has no bias.
                expected[n] += np.mean([gaps[s] * gaps[t] for s in range(7) for t in range(7) if s != t])
    np.testing.assert_allclose(variogram_score(draws, targets), expected, rtol=1e-10)


def test_the_variogram_score_sees_a_dependence_that_the_marginal_scores_do_not():
    random, shape = np.random.default_rng(22), (500, 1, 2, 2)
    right, wrong = np.broadcast_to([[1.0, 0.8], [0.8, 1.0]], shape), np.broadcast_to(np.eye(2), shape)
    targets = random.multivariate_normal(np.zeros(2), right[0, 0], 500)
    rows = {}
    for name, covariances in (("right", right), ("wrong", wrong)):
        transforms = (Identity(0.0, 1.0), Identity(0.0, 1.0))
        forecast = Mixture(np.ones(1), np.zeros((500, 1, 2)), np.ones((500, 1, 2)), transforms, covariances)
        rows[name] = score_rows(forecast, targets, scales=np.ones(2), seed=0)
    better = skill(rows["right"], rows["wrong"])
    assert better["variogram_score"]["value"] > 4 * better["variogram_score"]["se"]
    assert abs(better["crps"]["value"]) < 1e-12, "the control"


def test_the_monte_carlo_error_is_the_spread_over_other_draws():
    mixture = make_mixture(12, 2)
    correlated = Mixture(
        mixture.weights, mixture.means, mixture.variances, mixture.transforms, mixture.variances[..., None] * np.eye(2)
    )
    targets = mixture.sample(1, seed=9)[0]
    seeds = [summarise(score_rows(correlated, targets, scales=np.ones(2), seed=seed)) for seed in range(60)]
    for name in ("energy_score", "variogram_score", "cde_loss", "entropy"):
        spread = np.std([one[name]["value"] for one in seeds], ddof=1)
        stated = math.sqrt(np.mean([one[name]["monte_carlo"] ** 2 for one in seeds]))
        # The sd of 60 values is known to 1 / sqrt(118) = 9 %; the stated one, a mean square over 720 rows, to 4 %.
        assert stated == pytest.approx(spread, rel=4 * 0.1), name
    exact = summarise(score_rows(mixture, targets, scales=np.ones(2), seed=0))
    assert "monte_carlo" not in exact["cde_loss"]
    drawn = [one["cde_loss"]["value"] for one in seeds]
    assert np.mean(drawn) == pytest.approx(exact["cde_loss"]["value"], abs=4 * np.std(drawn, ddof=1) / math.sqrt(60))


@pytest.mark.parametrize("num_targets", [1, 2])
def test_highest_density_regions_cover_their_share_under_the_truth_and_not_under_an_overconfident_forecast(
    num_targets: int,
):
    mixture = make_mixture(1500, num_targets)
    proud = Mixture(mixture.weights, mixture.means, mixture.variances / 4, mixture.transforms)
    targets, scales = mixture.sample(1, seed=23)[0], np.ones(num_targets)
    honest, narrow = (score_rows(one, targets, scales=scales, seed=1) for one in (mixture, proud))
    for level in (0.5, 0.9, 0.95):
        tolerance = 4 * math.sqrt(level * (1 - level) / 1500)
        assert abs(summarise(honest)["hpd_coverage"][str(level)]["value"] - level) < tolerance
        assert abs(summarise(narrow)["hpd_coverage"][str(level)]["value"] - level) > tolerance, "the control"
    # P(sqrt(N) D > 2.3) = 5e-5 for a uniform variable, which ranks among 19 draws are only because they are spread.
    assert ks_distance(honest["density_rank"]) < 2.3 / math.sqrt(1500)
    assert ks_distance(narrow["density_rank"]) > 2.3 / math.sqrt(1500), "the control"


@pytest.mark.parametrize("num_targets", [1, 3])
def test_the_blank_rows_have_the_names_of_scored_rows(num_targets: int):
    targets = np.zeros((2, num_targets))
    rows = score_rows(make_mixture(2, num_targets), targets, scales=np.ones(num_targets), seed=0)
    assert rows.keys() <= blank_rows(num_targets).keys()
    assert blank_rows(num_targets).keys() - rows.keys() <= {"noise_cde_loss"}


def test_another_implementation_finds_the_same_scores():
    oracle = pytest.importorskip("scoringrules")
    random = np.random.default_rng(24)
    mixture = make_mixture(40, 1)
    y = mixture.sample(1, seed=9)[0]
    rows = score_rows(mixture, y, scales=np.ones(1), seed=0)
    sds, weights = np.sqrt(mixture.variances[:, :, 0]), np.tile(mixture.weights, (40, 1))
    np.testing.assert_allclose(
        rows["crps"][:, 0], oracle.crps_mixnorm(y[:, 0], mixture.means[:, :, 0], sds, weights), rtol=1e-9
    )
    np.testing.assert_allclose(
        rows["nlpd"], oracle.logs_mixnorm(y[:, 0], mixture.means[:, :, 0], sds, weights), rtol=1e-9
    )
    low, high = mixture.interval(0.9)
    np.testing.assert_allclose(
        rows["interval_score"][:, 0], oracle.interval_score(y[:, 0], low[:, 0], high[:, 0], 0.1), rtol=1e-9
    )
    draws, targets = random.normal(size=(50, 6, 3)), random.normal(size=(6, 3))
    members = np.moveaxis(draws, 0, 1)
    fair = oracle.es_ensemble(targets, members, estimator="fair")
    np.testing.assert_allclose(energy_score(draws, targets), fair, rtol=1e-9)
    plain = oracle.vs_ensemble(targets, members, p=0.5)
    gaps = np.abs(draws[..., :, None] - draws[..., None, :]) ** 0.5
    bias = gaps.var(axis=0, ddof=1).sum(axis=(1, 2)) / 50
    np.testing.assert_allclose(variogram_score(draws, targets), plain - bias, rtol=1e-9)


def test_recalibrated_rows_are_ranked_by_the_regions_that_the_forecast_states() -> None:
    """Densities that are too wide, with a map of their regions that knows how many rows each holds."""
    num_rows = 1500
    transforms = (Identity(0.0, 1.0), Identity(0.0, 1.0))
    truth = Mixture(np.ones(1), np.zeros((num_rows, 1, 2)), np.full((num_rows, 1, 2), 1.0), transforms)
    wide = Mixture(np.ones(1), np.zeros((num_rows, 1, 2)), np.full((num_rows, 1, 2), 2.0), transforms)
    y = truth.sample(1, seed=3)[0]
    # The mass of a region is 1 - exp(-r^2 / 2v), so that a mass m of the wide density holds 1 - (1 - m)^2 of the rows.
    levels = np.linspace(0.0, 1.0, 101)
    regions = ProbabilityMap(1 - np.sqrt(1 - levels)[None], levels)
    unchanged = ProbabilityMap(levels[None], levels)
    each = tuple(RecalibratedMarginal(one, unchanged) for one in wide.marginals())
    forecast = Recalibrated(wide, each, regions)

    def error(of: Forecast) -> float:
        ranks = score_rows(of, y, scales=[1.0, 1.0], seed=0)["density_rank"]
        return max(abs(float(np.mean(ranks <= level)) - level) for level in (0.5, 0.9))

    allowed = 4 * 0.5 / np.sqrt(num_rows) + 1 / DENSITY_DRAWS
    assert error(forecast) < allowed
    assert error(replace(forecast, regions=None)) > 2 * allowed, "the regions of the density itself are too large"
    levels_of_rows = forecast.hpd_level(y, num_samples=400, seed=1)
    ranks = score_rows(forecast, y, scales=[1.0, 1.0], seed=0)["density_rank"]
    assert np.abs(levels_of_rows - ranks).mean() < 2 * np.sqrt(1 / (4 * DENSITY_DRAWS)), "hpd_level says the same"
