from __future__ import annotations

import numpy as np
import pytest

from cde_app.explanation.donors import NEIGHBOURS, PENALTIES, alike_donors, any_donors, expectation


def test_any_row_is_the_donor_of_one_other_row() -> None:
    donors = any_donors(7, 50, np.random.default_rng(0))
    assert donors.shape == (50, 7)
    for chosen in donors:
        assert sorted(chosen) == list(range(7))
        assert (chosen != np.arange(7)).all()
    assert len({tuple(chosen) for chosen in donors}) > 40


def test_alike_rows_are_among_the_nearest_and_never_the_row_itself() -> None:
    expected = np.arange(100.0)[:, None]
    donors = alike_donors(expected, 20, np.random.default_rng(0))
    assert (donors != np.arange(100)).all()
    assert np.abs(donors - np.arange(100)).max() <= NEIGHBOURS
    assert np.abs(any_donors(100, 20, np.random.default_rng(0)) - np.arange(100)).max() > NEIGHBOURS, "the control"


def test_rows_that_are_equally_alike_are_equally_likely() -> None:
    num_rows, num_repeats = 40, 2000
    donors = alike_donors(np.zeros((num_rows, 1)), num_repeats, np.random.default_rng(0))
    counts = np.bincount(donors[:, 0], minlength=num_rows)[1:]
    share = 1 / (num_rows - 1)
    assert np.abs(counts / num_repeats - share).max() < 5 * np.sqrt(share / num_repeats)


def test_two_rows_are_each_others_donors() -> None:
    for donors in (
        any_donors(2, 3, np.random.default_rng(0)),
        alike_donors(np.ones((2, 1)), 3, np.random.default_rng(0)),
    ):
        assert donors.tolist() == [[1, 0]] * 3


def test_the_share_that_others_explain_is_that_of_rows_that_are_left_out() -> None:
    random = np.random.default_rng(1)
    X = random.standard_normal((30, 3))
    X[:, 0] = X[:, 1] - 0.5 * X[:, 2] ** 2 + 0.5 * random.standard_normal(30)
    _, explained = expectation(X, (0,))
    own = (X[:, 0] - X[:, 0].mean()) / X[:, 0].std()
    others = (X[:, 1:] - X[:, 1:].mean(0)) / X[:, 1:].std(0)
    squares = (others**2 - (others**2).mean(0)) / (others**2).std(0)
    basis = np.hstack([np.ones((30, 1)), others, squares])
    errors = []
    for penalty in 30 * PENALTIES:
        ridge = penalty * np.diag([0.0, 1, 1, 1, 1])
        left_out = []
        for row in range(30):
            kept = np.arange(30) != row
            normal = basis[kept].T @ basis[kept] + ridge
            left_out.append(own[row] - basis[row] @ np.linalg.solve(normal, basis[kept].T @ own[kept]))
        errors.append(np.sum(np.square(left_out)))
    baseline = sum((own[row] - own[np.arange(30) != row].mean()) ** 2 for row in range(30))
    assert explained == pytest.approx(1 - min(errors) / baseline, rel=1e-8)
    assert explained > 0.5


def test_an_input_that_the_others_know_nothing_of_is_not_explained() -> None:
    X = np.random.default_rng(0).standard_normal((400, 4))
    assert expectation(X, (0,))[1] < 0.02  # the leave-one-out error may be below the variance by 2 / sqrt(400 * 7)
    X[:, 0] = 3 * X[:, 1]
    assert expectation(X, (0,))[1] > 0.999, "the control"


def test_a_constant_input_is_explained_by_nothing() -> None:
    X = np.random.default_rng(0).standard_normal((20, 2))
    X[:, 0] = 1.0
    expected, explained = expectation(X, (0,))
    assert explained == 0.0
    assert not expected.any()
