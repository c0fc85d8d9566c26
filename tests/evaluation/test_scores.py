from __future__ import annotations

import json
import math

import numpy as np
import pytest
from scipy.stats import norm

from cde_app.evaluation.scores import concatenate_rows, energy_score, score_rows, skill, summarise
from cde_app.predictive.mixture import Mixture
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
    rows = {"pit": pit, "crps": pit, "squared_error": pit, "nlpd": pit[:, 0], "energy_score": pit[:, 0]}
    rows |= {"scaled_crps": pit[:, 0], "scaled_squared_error": pit[:, 0]}
    coverage = summarise(rows)["coverage"]["0.9"]
    assert (coverage["value"], coverage["se"]) == (1.0, pytest.approx(0.075))
    assert coverage["per_target"]["0"]["se"] == pytest.approx(0.075)
