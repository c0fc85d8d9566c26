from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from scipy.stats import binom, norm

from cde_app.arrays import Array, IntArray
from cde_app.evaluation.local import (
    ACCUSATION_LEVEL,
    CLAIMS,
    Donors,
    judge_locally,
    slice_sums,
    strength,
)
from cde_app.evaluation.slices import Column, slices_of
from cde_app.evaluation.verdict import verdict
from tests.evaluation.test_verdict import make_metrics


def judged(pit: Array, X: Array, groups: IntArray | None = None) -> dict[str, Any]:
    """Judge forecasts of one target y with inputs x0, x1, ..., in units of their own."""
    columns = [Column(f"x{i}", 50 + 10 * x) for i, x in enumerate(X.T)]
    return judge_locally(pit[:, None], columns, X, ["y"], groups)


def simulated(num_rows: int, seed: int, error: Callable[[Array], Array]) -> tuple[Array, Array]:
    """Draw x, [N, 3], and the PIT of y ~ N(0, error(x)^2) under the forecast N(0, 1)."""
    random = np.random.default_rng(seed)
    X = random.standard_normal((num_rows, 3))
    return norm.cdf(error(X) * random.standard_normal(num_rows)), X


def too_narrow_at_large_x1(X: Array) -> Array:
    return np.where(X[:, 1] > 1.0, 1.8, 1.0)


def test_the_planted_defect_is_named_in_the_units_of_the_column_and_nothing_else_is():
    local = judged(*simulated(1500, 1, too_narrow_at_large_x1))
    assert local["num_faults"] == 1
    assert local["p_value"] <= ACCUSATION_LEVEL
    (fault,) = local["faults"]
    assert (fault["column"], fault["claim"]) == ("x1", "interval_0.9")
    # The defect begins at 60; the edges of the slices are sixteenths of the rows.
    low = float(fault["where"].removeprefix("above "))
    assert 50 + 10 * norm.ppf(norm.cdf(1) - 2 / 16) < low < 50 + 10 * norm.ppf(norm.cdf(1) + 2 / 16)
    covers = f"{fault['share']:.0%} of {fault['num_rows']} rows"
    assert local["sentences"] == [f"For x1 above {low:.5g}, the 90% interval covers {covers}; it is too narrow there."]


def test_the_share_and_the_count_of_a_fault_are_those_of_its_rows():
    pit, X = simulated(1500, 1, too_narrow_at_large_x1)
    (fault,) = judged(pit, X)["faults"]
    rows = 50 + 10 * X[:, 1] > float(fault["where"].removeprefix("above ")) + 1e-3
    assert abs(rows.sum() - fault["num_rows"]) <= 1  # the sentence has five digits
    assert np.mean(np.abs(pit[rows] - 0.5) <= 0.45) == pytest.approx(fault["share"], abs=0.01)


def test_calibrated_forecasts_have_no_fault():
    local = judged(*simulated(1500, 3, lambda X: np.ones(len(X))))
    assert local["faults"] == []
    assert local["sentences"] == ["No slice of the 1500 rows by an input shows wrong probabilities beyond chance."]


def test_a_defect_that_only_a_combination_of_inputs_shows_is_found_by_the_regression():
    """The mean is too low where x0 x1 > 0 and too high elsewhere; given either input alone, y has mean 0 and sd 1."""
    random = np.random.default_rng(1)
    X = random.standard_normal((1000, 3))
    pit = norm.cdf(0.4 * np.sign(X[:, 0] * X[:, 1]) + np.sqrt(1 - 0.4**2) * random.standard_normal(1000))
    local = judged(pit, X)
    assert local["faults"] == []
    assert local["p_value"] <= ACCUSATION_LEVEL
    assert local["sentences"][0].startswith("The probabilities stated are wrong for some combinations of the inputs")
    shuffled = judged(np.random.default_rng(0).permutation(pit), X)
    assert shuffled["p_value"] > ACCUSATION_LEVEL


def test_wrong_labels_and_gaps_are_slices():
    random = np.random.default_rng(4)
    codes = random.integers(0, 3, 900).astype(float)
    known = np.where(random.random(900) < 0.2, np.nan, random.standard_normal(900))
    bias = np.where(codes == 2, 0.8, 0.0) + np.where(np.isnan(known), -0.8, 0.0)
    pit = norm.cdf(random.standard_normal(900) + bias)[:, None]
    columns = [Column("site", codes, ("a", "b", "it's")), Column("depth", known)]
    X = np.column_stack([codes, np.nan_to_num(known)])
    local = judge_locally(pit, columns, X, ["y"])
    assert {fault["column"]: fault["where"] for fault in local["faults"][:2]} == {
        "site": '= "it\'s"',
        "depth": "missing",
    }
    assert any(
        line.startswith("For depth missing, ") and line.endswith("it is too high there.") for line in local["sentences"]
    )


def test_several_targets_are_named():
    good, X = simulated(800, 5, lambda X: np.ones(len(X)))
    bad, _ = simulated(800, 5, too_narrow_at_large_x1)
    columns = [Column(f"x{i}", x) for i, x in enumerate(X.T)]
    local = judge_locally(np.column_stack([good, bad]), columns, X, ["calm", "wild"])
    assert {fault["target"] for fault in local["faults"]} == {"wild"}
    assert "the 90% interval of 'wild' covers" in local["sentences"][0]


def test_too_few_rows_are_not_judged():
    assert judged(*simulated(39, 0, too_narrow_at_large_x1)) == {}


def test_the_slices_of_a_number_are_ranges_that_share_no_edge_value():
    slices = list(slices_of(Column("t", np.arange(64.0)), fewest_rows=8))
    words = {one.where: int(one.rows.sum()) for one in slices}
    assert [words[where] for where in ("up to 7", "above 55", "above 15 and up to 23")] == [8, 8, 8]
    assert max(words.values()) == 32
    few = {one.where for one in slices_of(Column("k", np.repeat([1.0, 2.0, 3.0], 20)), fewest_rows=8)}
    assert few == {"= 1", "= 2", "= 3"}


def test_dates_are_written_as_dates():
    column = Column("when", np.array([0.0, 0.25]), is_date=True)
    assert [column.text(value) for value in column.values] == ["1970-01-01", "1970-01-01T06:00:00"]


def test_the_sums_of_overlapping_slices_are_those_of_a_loop():
    random = np.random.default_rng(6)
    values = random.standard_normal((300, 4))
    columns = [Column("a", random.standard_normal(300)), Column("b", random.integers(0, 4, 300).astype(float))]
    slices = [one for column in columns for one in slices_of(column, fewest_rows=20)]
    expected = [values[one.rows].sum(axis=0) for one in slices]
    np.testing.assert_allclose(slice_sums(slices)(values), expected, atol=1e-10)


def test_the_strength_is_the_root_of_the_likelihood_ratio():
    claim, size, hits = CLAIMS[0], 100, 78
    ratio = binom.logpmf(hits, size, hits / size) - binom.logpmf(hits, size, claim.probability)
    sums = np.array([[hits - size * claim.probability]])
    assert strength(sums, np.array([size]), claim)[0, 0] == pytest.approx(np.sqrt(2 * ratio))
    assert strength(np.array([[1.9]]), np.array([size]), claim)[0, 0] == 0  # harmless


def test_simulated_groups_have_the_values_of_whole_groups():
    random = np.random.default_rng(8)
    groups = random.permutation(np.repeat([7, 3, 5, 9], 5))
    pit = random.random(20)
    ranks = (np.argsort(np.argsort(pit)) + 0.5) / 20
    drawn = Donors(pit, groups).draw(50, random)
    whole = {tuple(np.sort(ranks[groups == group])) for group in np.unique(groups)}
    for values in drawn.T:
        assert {tuple(np.sort(values[groups == group])) for group in np.unique(groups)} <= whole
    many = Donors(pit, np.repeat([0, 1], [4, 16])).draw(4000, random)
    # Every row is equally likely, whatever the size of its group: the mean of a row is that of uniform numbers.
    assert np.abs(many.mean(axis=1) - 0.5).max() < 4 * np.sqrt(1 / 12 / 4000)


def test_a_proven_local_fault_is_no_unqualified_yes():
    local = judged(*simulated(1500, 1, too_narrow_at_large_x1))
    answer = verdict(make_metrics() | {"local": local})
    assert not answer.trusted
    assert answer.sentences[0].startswith(
        "With reservations: on average these densities are calibrated, but not for all"
    )
    assert answer.sentences[1] == local["sentences"][0]
    clean = judged(*simulated(1500, 3, lambda X: np.ones(len(X))))
    assert verdict(make_metrics() | {"local": clean}).trusted
    assert verdict(make_metrics(ks=0.1) | {"local": local}).sentences[0].startswith("No:")


SIMULATIONS = 200


def rate(judge: Callable[[int], dict[str, Any]]) -> int:
    """Count the accusations."""
    return sum(judge(seed)["p_value"] <= ACCUSATION_LEVEL for seed in range(SIMULATIONS))


@pytest.mark.slow
def test_calibrated_forecasts_are_accused_at_the_nominal_rate_and_the_planted_defect_nearly_always():
    # At most 5% are accused, the two halves of the level being a bound: the count is below the binomial's 99.99% point.
    most = binom.ppf(0.9999, SIMULATIONS, ACCUSATION_LEVEL)
    assert rate(lambda seed: judged(*simulated(400, seed, lambda X: np.ones(len(X))))) <= most
    assert rate(lambda seed: judged(*simulated(400, seed, too_narrow_at_large_x1))) >= 0.9 * SIMULATIONS


@pytest.mark.slow
def test_rows_of_groups_are_accused_at_the_nominal_rate_and_far_more_often_if_they_count_as_independent():
    def grouped(seed: int, *, known: bool, bias: float = 0.0) -> dict[str, Any]:
        """Sixty groups of eight rows, whose forecasts have errors and inputs in common; biased where x0 > 0."""
        random, groups = np.random.default_rng(seed), np.repeat(np.arange(60), 8)
        own, common = random.standard_normal(480), random.standard_normal(60)[groups]
        X = random.standard_normal((60, 2))[groups] + 0.1 * random.standard_normal((480, 2))
        pit = norm.cdf(0.6 * own + 0.8 * common + np.where(X[:, 0] > 0, bias, 0.0))
        return judged(pit, X, groups if known else None)

    most = binom.ppf(0.9999, SIMULATIONS, ACCUSATION_LEVEL)
    assert rate(lambda seed: grouped(seed, known=True)) <= most
    assert rate(lambda seed: grouped(seed, known=False)) > 2 * most
    assert rate(lambda seed: grouped(seed, known=True, bias=1.5)) > 2 * most
