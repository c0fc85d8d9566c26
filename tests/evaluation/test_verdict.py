from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest
from scipy.stats import binom, kstest

from cde_app.evaluation.verdict import (
    coverage_curve,
    ecdf_difference,
    in_words,
    inside_central_interval,
    ks_critical_value,
    ks_distance,
    pit_histogram,
    two_errors,
    verdict,
    worth,
)


def make_metrics(
    *, num_rows: int = 1000, ks: float = 0.02, coverage: float = 0.9, climatology: float = 0.4, linear: float = 0.2
) -> dict[str, Any]:
    """Scores of a forecast of one target, as `cde evaluate --json` prints them."""
    return {
        "num_rows": num_rows,
        "nlpd": {"value": 1.0, "se": 0.1},
        "crps": {"value": 0.5, "se": 0.01, "per_target": {"y": {"value": 0.5, "se": 0.01}}},
        "coverage": {"0.9": {"value": coverage, "se": 0.01, "per_target": {"y": {"value": coverage, "se": 0.01}}}},
        "pit_ks": {"value": ks, "se": 0.01, "per_target": {"y": {"value": ks, "se": 0.01}}},
        "skill": {
            "climatology": {"crps": {"value": climatology, "se": 0.01}},
            "linear_gaussian": {"crps": {"value": linear, "se": 0.01}},
        },
    }


def test_the_histogram_counts_every_row_and_its_band_is_the_binomial_one():
    pit = np.random.default_rng(0).random(1000)
    histogram = pit_histogram(pit, num_bins=10)
    assert histogram.counts.sum() == 1000
    assert histogram.expected == 100
    assert (histogram.lower[0], histogram.upper[0]) == binom.interval(0.95, 1000, 0.1)
    assert len(histogram.edges) == 11


def test_values_on_the_edges_are_counted():
    assert pit_histogram(np.array([0.0, 1.0]), num_bins=5).counts.tolist() == [1, 0, 0, 0, 1]


def test_the_band_of_the_histogram_holds_its_share_of_calibrated_counts_and_not_of_overconfident_ones():
    random = np.random.default_rng(1)
    inside = inside_proud = total = 0
    for _ in range(200):
        calibrated = pit_histogram(random.random(200), num_bins=10)
        proud = pit_histogram(random.beta(0.4, 0.4, 200), num_bins=10)
        inside += int(np.sum((calibrated.counts >= calibrated.lower) & (calibrated.counts <= calibrated.upper)))
        inside_proud += int(np.sum((proud.counts >= proud.lower) & (proud.counts <= proud.upper)))
        total += 10
    # The interval of a discrete law holds at least 95%; the counts of one histogram are negatively correlated, so
    # sqrt(p (1 - p) / total) is no smaller than the standard error.
    tolerance = 4 * np.sqrt(0.95 * 0.05 / total)
    assert inside / total > 0.95 - tolerance
    assert inside_proud / total < 0.95 - tolerance


def test_the_number_of_bins_grows_with_the_rows():
    assert len(pit_histogram(np.linspace(0, 1, 30)).counts) == 5
    assert len(pit_histogram(np.linspace(0, 1, 5000)).counts) == 20


def test_the_coverage_curve_counts_the_rows_inside_each_central_interval():
    pit = np.array([0.5, 0.3, 0.05, 0.99])
    curve = coverage_curve(pit, levels=[0.1, 0.4, 0.9, 0.98])
    np.testing.assert_allclose(curve.actual, [0.25, 0.5, 0.75, 1.0])
    np.testing.assert_allclose(curve.actual, [inside_central_interval(pit, level).mean() for level in curve.nominal])


def test_the_band_of_the_coverage_curve_is_the_exact_binomial_one():
    curve = coverage_curve(np.random.default_rng(2).random(50), levels=[0.9])
    lower, upper = binom.interval(0.95, 50, 0.9)
    assert curve.lower[0] == pytest.approx(lower / 50)
    assert curve.upper[0] == pytest.approx(upper / 50)


def test_the_ks_distance_and_its_critical_value_are_those_of_the_kolmogorov_smirnov_test():
    pit = np.random.default_rng(3).random(77)
    assert ks_distance(pit) == pytest.approx(kstest(pit, "uniform").statistic)
    # Tables: D_{0.05} = 0.2940 for 20 rows (Massey 1951) and 1.358 / sqrt(N) for many.
    assert ks_critical_value(20) == pytest.approx(0.2941, abs=2e-4)
    assert ks_critical_value(100_000) * np.sqrt(100_000) == pytest.approx(1.358, abs=2e-3)


def test_good_scores_are_trusted():
    result = verdict(make_metrics())
    assert result.trusted
    assert result.sentences[0] == "Yes: on the rows held out, these densities can be trusted."
    assert "They are 40.0% better than a forecast that ignores the inputs." in result.sentences


def test_a_pit_far_from_uniform_is_not_trusted():
    result = verdict(make_metrics(ks=0.1))
    assert not result.trusted
    assert result.sentences[0].startswith("No:")
    assert "off by up to 10.0 percentage points" in result.sentences[1]


def test_a_pit_just_beyond_chance_gets_a_reservation_not_a_no():
    assert ks_critical_value(1000) < 0.05 < ks_critical_value(1000, level=0.999)
    result = verdict(make_metrics(ks=0.05))
    assert not result.trusted
    assert result.sentences[0].startswith("With reservations: the densities may be slightly off")


def test_the_same_distance_is_chance_in_a_small_sample():
    assert verdict(make_metrics(ks=0.1, num_rows=150)).trusted


def test_the_first_sentence_says_that_few_rows_show_little():
    few, many = (verdict(make_metrics(num_rows=num_rows)).sentences[0] for num_rows in (34, 100))
    assert few == "Yes, as far as 34 rows can show: on the rows held out, these densities can be trusted."
    assert many == "Yes: on the rows held out, these densities can be trusted."


def test_rows_that_were_trained_on_allow_no_verdict():
    metrics = make_metrics(num_rows=1000)
    assert in_words(metrics)["verdict"].startswith("Yes: ")
    seen = in_words(metrics, num_seen=7)
    assert seen["verdict"].endswith("densities can be trusted: 7 of these 1000 rows were trained on.")
    assert seen["worth"] == "Whether the deep GP is worth it is unknown: 7 of these 1000 rows were trained on."


def test_a_distance_that_is_significant_but_harmless_is_trusted():
    assert ks_critical_value(100_000) < 0.015
    assert verdict(make_metrics(ks=0.015, coverage=0.905, num_rows=100_000)).trusted
    assert not verdict(make_metrics(ks=0.03, coverage=0.905, num_rows=100_000)).trusted


@pytest.mark.parametrize(("coverage", "words"), [(0.7, "too narrow"), (0.98, "too wide")])
def test_a_wrong_coverage_is_not_trusted_and_its_direction_is_named(coverage: float, words: str):
    result = verdict(make_metrics(coverage=coverage))
    assert not result.trusted
    assert any(words in sentence and f"{coverage:.0%}" in sentence for sentence in result.sentences)


def test_a_coverage_within_three_standard_errors_is_trusted():
    limit = 3 * np.sqrt(0.09 / 1000)
    assert verdict(make_metrics(coverage=0.9 - limit + 1e-6)).trusted
    assert not verdict(make_metrics(coverage=0.9 - limit - 1e-6)).trusted


def test_a_model_no_better_than_the_straight_line_gets_a_reservation():
    result = verdict(make_metrics(linear=-0.01))
    assert not result.trusted
    assert result.sentences[0].startswith("With reservations:")
    assert any("The simpler forecast does as well." in sentence for sentence in result.sentences)


@pytest.mark.parametrize("baseline", ["climatology", "linear"])
def test_a_gain_within_two_standard_errors_may_be_chance_and_gets_a_reservation(baseline: str):
    result = verdict(make_metrics(**{baseline: 0.015}))
    assert not result.trusted
    assert result.sentences[0].startswith("With reservations: the densities are calibrated, but not shown")
    assert any("may be chance" in sentence for sentence in result.sentences)
    assert verdict(make_metrics(**{baseline: 0.025})).trusted


def test_no_rows_and_too_few_rows_are_never_trusted():
    for metrics in ({}, {"num_rows": 0}, make_metrics(num_rows=19)):
        assert not verdict(metrics).trusted
    assert "no rows were held out" in verdict({}).sentences[0]
    assert "Too few" in verdict(make_metrics(num_rows=19)).sentences[0]


def test_missing_calibration_scores_are_not_taken_for_good_ones():
    metrics = make_metrics()
    del metrics["pit_ks"]
    assert not verdict(metrics).trusted


def test_rows_of_density_zero_are_not_trusted():
    metrics = make_metrics()
    metrics["nlpd"] = {"value": None, "se": None, "num_infinite": 3}
    result = verdict(metrics)
    assert not result.trusted
    assert any("3 of 1000 rows" in sentence for sentence in result.sentences)


def test_one_bad_target_among_several_is_named_and_the_energy_score_decides_the_skill():
    metrics = copy.deepcopy(make_metrics())
    for entry in (metrics["crps"], metrics["pit_ks"], metrics["coverage"]["0.9"]):
        entry["per_target"]["weight"] = dict(entry["per_target"]["y"])
    for entry in metrics["skill"].values():
        entry["energy_score"] = {"value": 0.3, "se": 0.01}
    assert verdict(metrics).trusted
    metrics["pit_ks"]["per_target"]["weight"]["value"] = 0.2
    result = verdict(metrics)
    assert not result.trusted
    assert any("for 'weight'" in sentence for sentence in result.sentences)
    assert not any("for 'y'" in sentence for sentence in result.sentences)
    assert any("30.0%" in sentence for sentence in result.sentences)


def skills(crps: tuple[float, float], nlpd: tuple[float, float]) -> dict[str, Any]:
    return {name: {"value": value, "se": se} for name, (value, se) in (("crps", crps), ("nlpd", nlpd))}


@pytest.mark.parametrize(
    ("hardest", "answer"),
    [
        (
            skills((0.1, 0.02), (0.2, 0.05)),
            "The deep GP is worth it on this table: against its best rival, one sparse GP",
        ),
        (skills((0.01, 0.02), (0.2, 0.05)), "The deep GP is worth it"),
        (skills((0.01, 0.02), (0.02, 0.05)), "Whether the deep GP is worth it on this table is not decided"),
        (skills((-0.1, 0.02), (0.2, 0.05)), "Whether the deep GP is worth it on this table is not decided"),
        (skills((-0.1, 0.02), (0.02, 0.05)), "The deep GP is not worth it"),
    ],
)
def test_whether_the_deep_gp_is_worth_it_is_one_sentence_about_its_best_rival(hardest: dict, answer: str):
    easy = skills((0.5, 0.01), (1.0, 0.1))
    metrics = make_metrics() | {"skill": {"climatology": easy, "sparse_gp": hardest}}
    assert worth(metrics).startswith(answer)
    assert worth(metrics | {"num_rows": 10}).startswith("Whether the deep GP is worth it is unknown")
    assert worth(metrics | {"skill": {"climatology": easy}}).startswith("The deep GP is worth it"), "the control"


def test_few_rows_or_groups_name_no_winner():
    metrics = make_metrics() | {"skill": {"sparse_gp": skills((0.1, 0.04), (0.2, 0.08))}}
    few = "Whether the deep GP is worth it is unknown: "
    assert worth(metrics | {"num_rows": 34}) == few + "34 rows are too few to tell; at least 100 rows can."
    assert worth(metrics, 5) == few + "5 groups of rows are too few to tell; at least 6 groups can."
    assert worth(metrics | {"num_rows": 100}).startswith("The deep GP is worth it")
    assert worth(metrics, 6).startswith("Whether the deep GP is worth it on this table is not decided"), "2.5 errors"
    assert worth(metrics, 60).startswith("The deep GP is worth it")


@pytest.mark.parametrize("num_values", [6, 100])
def test_a_mean_without_an_effect_exceeds_two_errors_as_seldom_as_a_normal_one(num_values: int):
    values, repeats = np.random.default_rng(9).normal(size=(20_000, num_values)), 20_000
    errors = values.mean(axis=1) / (values.std(axis=1, ddof=1) / np.sqrt(num_values))
    rate, tolerance = 0.02275, 4 * np.sqrt(0.02275 / repeats)  # P(a standard normal exceeds two)
    assert abs(np.mean(errors > two_errors(num_values)) - rate) < tolerance
    if num_values == 6:
        assert np.mean(errors > 2.0) > rate + 2 * tolerance, "two of these errors are not enough"


def test_the_amounts_in_the_sentence_are_those_of_the_scores():
    metrics = make_metrics() | {"skill": {"sparse_gp": skills((0.104, 0.02), (-0.02, 0.05))}}
    assert worth(metrics) == (
        "The deep GP is worth it on this table: against its best rival, one sparse GP with constant noise, the CRPS is "
        "10.4% \u00b1 2.0% lower and the log density 0.02 \u00b1 0.05 nats lower."
    )


@pytest.mark.parametrize("num_rows", [13, 200, 5000])
def test_a_uniform_sample_is_inside_the_simultaneous_band_everywhere_in_95_percent_of_samples(num_rows: int):
    random, num_samples = np.random.default_rng(7), 1500

    def is_inside(values: np.ndarray) -> bool:
        curve = ecdf_difference(values)
        return bool(np.all((curve.difference >= curve.lower - 1e-12) & (curve.difference <= curve.upper + 1e-12)))

    inside = np.mean([is_inside(random.random(num_rows)) for _ in range(num_samples)])
    # Standard errors: of 1500 samples here, and of the 4000 from which the band was computed. A band of few rows has
    # few possible levels, and then covers more.
    error = 4 * np.sqrt(0.95 * 0.05 * (1 / num_samples + 1 / 4000))
    assert inside > 0.95 - error
    assert inside < 0.95 + error + (0.03 if num_rows < 50 else 0.005)


def test_the_simultaneous_band_is_wider_than_the_pointwise_one_and_excludes_a_wrong_forecast():
    random = np.random.default_rng(8)
    curve = ecdf_difference(random.beta(0.7, 0.7, 1000))
    assert np.any((curve.difference < curve.lower) | (curve.difference > curve.upper))
    lower, upper = binom.interval(0.95, 1000, curve.points)
    assert np.all(curve.lower <= lower / 1000 - curve.points + 1e-12)
    assert np.all(curve.upper >= upper / 1000 - curve.points - 1e-12)
    values = np.array([0.105, 0.5, 0.995])
    points = ecdf_difference(values)
    np.testing.assert_allclose(points.difference, [np.mean(values <= u) - u for u in points.points], atol=1e-12)
