from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest

from cde_app.arrays import Array
from cde_app.explanation import shapley
from cde_app.explanation.shapley import shapley_shares

ROWS = np.random.default_rng(0).standard_normal((3, 5))
BACKGROUND = np.random.default_rng(1).standard_normal((6, 5))
PLAYERS = [(0,), (1, 2), (3,), (4,)]


def quantities(X: Array) -> Array:
    product = X[:, 0] * X[:, 1] * X[:, 3] + np.exp(0.3 * X[:, 2] - X[:, 4])
    return np.stack([product, X[:, 0] + 2 * X[:, 2] - X[:, 4]], axis=1)


def over_all_orders(row: Array, background: Array) -> Array:
    """The slow twin: mean over all orders and all rows of the background; [players, Q]."""
    shares, orders = np.zeros((len(PLAYERS), 2)), list(permutations(range(len(PLAYERS))))
    for other in background:
        for order in orders:
            mixed = other.copy()
            for player in order:
                before = quantities(mixed[None])[0]
                mixed[list(PLAYERS[player])] = row[list(PLAYERS[player])]
                shares[player] += quantities(mixed[None])[0] - before
    return shares / (len(orders) * len(background))


def test_exact_shares_are_means_over_all_orders() -> None:
    found = shapley_shares(quantities, ROWS, BACKGROUND, PLAYERS, seed=0)
    assert found.is_exact
    for row, shares in zip(ROWS, found.shares, strict=True):
        np.testing.assert_allclose(shares, over_all_orders(row, BACKGROUND), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("most_exact", [6, 0])
def test_base_and_shares_add_up_to_the_value(monkeypatch: pytest.MonkeyPatch, most_exact: int) -> None:
    monkeypatch.setattr(shapley, "MOST_EXACT", most_exact)
    found = shapley_shares(quantities, ROWS, BACKGROUND, PLAYERS, seed=0)
    assert found.is_exact == (most_exact > 0)
    np.testing.assert_array_equal(found.values, quantities(ROWS))
    np.testing.assert_allclose(found.base + found.shares.sum(1), found.values, rtol=0, atol=1e-13)


def test_the_shares_of_a_sum_are_its_terms_less_their_means() -> None:
    found = shapley_shares(quantities, ROWS, BACKGROUND, PLAYERS, seed=0)
    terms = np.stack([ROWS[:, 0], 2 * ROWS[:, 2], 0 * ROWS[:, 3], -ROWS[:, 4]], axis=1)
    means = np.array([BACKGROUND[:, 0].mean(), 2 * BACKGROUND[:, 2].mean(), 0.0, -BACKGROUND[:, 4].mean()])
    np.testing.assert_allclose(found.shares[:, :, 1], terms - means, atol=1e-13)
    errors = np.array([1.0, 2.0, 0.0, 1.0]) * BACKGROUND[:, [0, 2, 3, 4]].std(0, ddof=1) / np.sqrt(len(BACKGROUND))
    np.testing.assert_allclose(found.errors[0, :, 1], errors, atol=1e-13)


def test_an_input_that_does_nothing_has_no_share() -> None:
    found = shapley_shares(lambda X: X[:, :1] * X[:, 1:2], ROWS, BACKGROUND, [(0,), (1,), (2,), (3, 4)], seed=0)
    assert np.abs(found.shares[:, 2:]).max() == 0.0
    assert np.abs(found.shares[:, :2]).min() > 0.0


def test_orders_and_their_reverses_are_exact_if_inputs_interact_in_pairs(monkeypatch: pytest.MonkeyPatch) -> None:
    def in_pairs(X: Array) -> Array:
        return (X[:, 0] * X[:, 1] + X[:, 2] ** 2 * X[:, 3] - X[:, 4])[:, None]

    exact = shapley_shares(in_pairs, ROWS, BACKGROUND, PLAYERS, seed=0)
    monkeypatch.setattr(shapley, "MOST_EXACT", 0)
    drawn = shapley_shares(in_pairs, ROWS, BACKGROUND, PLAYERS, seed=0)
    np.testing.assert_allclose(drawn.shares, exact.shares, atol=1e-12)
    in_threes = shapley_shares(quantities, ROWS, BACKGROUND, PLAYERS, seed=0)
    assert np.abs(in_threes.shares[0, 0, 0] - over_all_orders(ROWS[0], BACKGROUND)[0, 0]) > 1e-6, "the control"


@pytest.mark.slow
def test_drawn_orders_have_the_monte_carlo_error_that_is_stated(monkeypatch: pytest.MonkeyPatch) -> None:
    """Over 400 seeds, each with a background of its own, the errors are the sd of the shares (to 4 / sqrt(800))."""
    monkeypatch.setattr(shapley, "MOST_EXACT", 0)
    shares, errors = [], []
    for seed in range(400):
        background = np.random.default_rng(100 + seed).standard_normal((30, 5))
        found = shapley_shares(
            lambda X: np.prod(X[:, [0, 1, 3]], axis=1)[:, None], ROWS, background, PLAYERS, seed=seed
        )
        shares.append(found.shares[:, :, 0])
        errors.append(found.errors[:, :, 0])
    spread, stated = np.std(shares, axis=0)[:, :3], np.sqrt(np.mean(np.square(errors), axis=0))[:, :3]
    np.testing.assert_allclose(stated / spread, 1.0, atol=8 / np.sqrt(800))
    assert np.abs(0.5 * stated / spread - 1.0).min() > 8 / np.sqrt(800), "the control"
