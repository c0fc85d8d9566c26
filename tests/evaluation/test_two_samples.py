"""Tests of two samples: exact against enumeration, accusing by chance at their rate, and not blind."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest

from cde_app.evaluation.two_samples import (
    classifier_features,
    compare_extremes,
    compare_jointly,
    compare_numbers,
    compare_shares,
    holm,
)

REPEATS, RATE = 400, 0.1
MOST = RATE + 4 * math.sqrt(RATE * (1 - RATE) / REPEATS)
"""The largest share of 400 tests at the level 0.1 that chance explains, by four standard errors."""


def test_the_classifier_sees_also_where_columns_hardly_differ() -> None:
    """The ranks of two columns differ in one pair of neighbours: the square of the difference has an sd of 5e-8."""
    ranks = np.arange(2000.0)
    swapped = ranks.copy()
    swapped[[700, 701]] = swapped[[701, 700]]
    found = classifier_features(np.column_stack([ranks, swapped]))
    np.testing.assert_allclose(found.std(axis=0), 1.0, rtol=1e-9)
    same = classifier_features(np.column_stack([ranks, ranks]))
    assert np.count_nonzero(same.std(axis=0)) < same.shape[1], "the control: no difference is no feature"


def test_new_extremes_have_the_probability_that_all_orders_give_them() -> None:
    """The slow obvious twin: of all ways to place three new values among seven, those with the k largest."""
    orders = list(itertools.combinations(range(7), 3))  # the ranks of the new values
    for k in range(4):
        share = np.mean([set(range(7 - k, 7)) <= set(order) for order in orders])
        assert compare_extremes(k, 4, 3).p_value == pytest.approx(share, abs=1e-12)
    assert compare_extremes(2, 4, 3).size == pytest.approx(2 / 3)


def test_a_permutation_test_of_shares_agrees_with_all_permutations() -> None:
    """For two labels the counts are hypergeometric, and the test is Fisher's with Pearson's order of the tables."""
    from scipy.stats import hypergeom

    old, new = np.array([9, 3]), np.array([2, 6])
    counts = np.arange(9)
    probability = hypergeom(20, 11, 8).pmf(counts)
    distance = np.abs(counts - 8 * 11 / 20)
    exact = probability[distance >= distance[2] - 1e-9].sum()
    resamples = 20_000
    found = compare_shares(old, new, resamples=resamples, random=np.random.default_rng(0))
    assert found.p_value == pytest.approx(exact, abs=4 * math.sqrt(exact / resamples))
    assert found.size == pytest.approx(9 / 12 - 2 / 8)


def test_a_label_that_occurs_in_one_sample_only_is_a_difference_also_if_it_is_rare() -> None:
    random = np.random.default_rng(0)
    seen = compare_shares(np.array([600, 400, 0]), np.array([57, 38, 5]), resamples=9999, random=random)
    assert seen.p_value < 0.001
    alike = compare_shares(np.array([600, 400, 0]), np.array([60, 40, 0]), resamples=9999, random=random)
    assert alike.p_value > 0.9


@pytest.mark.parametrize("kind", ["numbers", "ties", "shares", "many labels", "jointly"])
def test_samples_of_one_distribution_are_accused_at_the_rate_that_is_stated(kind: str) -> None:
    random = np.random.default_rng(1)
    shares = np.array([0.5, 0.3, 0.15, 0.05]) if kind == "shares" else np.full(40, 1 / 40)

    def p_value() -> float:
        if kind == "jointly":
            return compare_jointly(random.normal(size=(120, 3)), random.normal(size=(60, 3)), random=random).p_value
        if kind in ("shares", "many labels"):
            old, new = random.multinomial(150, shares), random.multinomial(60, shares)
            return compare_shares(old, new, resamples=199, random=random).p_value
        old, new = random.gamma(2, size=150), random.gamma(2, size=60)
        return compare_numbers(*((old.round(), new.round()) if kind == "ties" else (old, new))).p_value

    assert np.mean([p_value() <= RATE for _ in range(REPEATS)]) <= MOST


def test_a_classifier_sees_a_correlation_that_no_column_shows() -> None:
    random = np.random.default_rng(2)
    mixed = np.array([[1.0, 0.8, 0.0], [0.0, 0.6, 0.0], [0.0, 0.0, 1.0]])
    old, new = random.normal(size=(600, 3)), random.normal(size=(300, 3)) @ mixed
    assert min(compare_numbers(old[:, k], new[:, k]).p_value for k in range(3)) > 0.01
    assert compare_jointly(old, new, random=random).p_value < 1e-4
    assert compare_jointly(old[:300], old[300:], random=random).p_value > 0.01, "the control"


def test_the_size_of_a_joint_difference_is_that_of_the_probabilities() -> None:
    """Two normal distributions whose means differ by d have the total variation distance 2 Phi(d / 2) - 1."""
    from scipy.special import ndtr

    random = np.random.default_rng(3)
    old, new = random.normal(size=(4000, 4)), random.normal(size=(4000, 4)) + np.eye(4)[0]
    expected = 2 * ndtr(0.5) - 1
    assert compare_jointly(old, new, random=random).size == pytest.approx(expected, abs=4 * math.sqrt(0.5 / 2000))


def test_holm_adjusts_by_the_number_of_tests_that_are_left() -> None:
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.9, 0.5]) == [1.0, 1.0]
    assert holm([]) == []


def test_an_empty_sample_shows_nothing() -> None:
    random = np.random.default_rng(0)
    assert compare_numbers(np.array([]), np.arange(3.0)) == (0.0, 1.0)
    assert compare_shares(np.array([0, 0]), np.array([2, 1]), resamples=99, random=random) == (0.0, 1.0)
    assert compare_extremes(0, 5, 0) == (0.0, 1.0)
    assert compare_jointly(np.zeros((3, 2)), np.zeros((50, 2)), random=random) == (0.0, 1.0)
