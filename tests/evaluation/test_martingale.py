"""The bets against exchangeability: fair games that a change makes rich."""

from __future__ import annotations

import math

import numpy as np
import pytest

from cde_app.evaluation.martingale import JUMPING_RATES, STAKES, conformal_p_values, log_capital


def test_a_p_value_is_the_rank_among_all_that_came_before() -> None:
    """The slow obvious twin."""
    old, new = np.array([3.0, 1.0, 2.0, 2.0]), np.array([2.0, 5.0, 2.0, 0.0, 5.0])
    found = conformal_p_values(old, new, random=np.random.default_rng(4))
    drawn = np.random.default_rng(4).random(len(new))
    for i, score in enumerate(new):
        known = np.append(old, new[: i + 1])
        expected = (np.sum(known < score) + drawn[i] * np.sum(known == score)) / len(known)
        assert found[i] == pytest.approx(expected)


def test_the_capital_is_that_of_ten_players_who_keep_their_own_accounts() -> None:
    """The slow obvious twin: every player with every stake, in plain loops."""
    p_values = np.random.default_rng(0).random(30) ** 2
    expected = np.zeros(len(p_values))
    for legendre in (lambda p: 2 * p - 1, lambda p: 6 * p * p - 6 * p + 1):
        for rate in JUMPING_RATES:
            accounts = dict.fromkeys(STAKES, 1 / len(STAKES))
            for i, p in enumerate(p_values):
                total = sum(accounts.values())
                accounts = {e: (1 - rate) * own + rate * total / len(STAKES) for e, own in accounts.items()}
                accounts = {e: own * (1 + e * legendre(p)) for e, own in accounts.items()}
                expected[i] += sum(accounts.values()) / (2 * len(JUMPING_RATES))
    assert np.exp(log_capital(p_values[:, None])[:, 0]) == pytest.approx(expected)


def test_no_bet_wins_or_loses_on_average() -> None:
    """The mean of 1 + e L(p) over uniform p is 1, and no bet can lose more than it has."""
    grid = (np.arange(100_000) + 0.5) / 100_000
    first = np.exp(log_capital(grid[:1, None]))
    assert first.shape == (1, 1)
    gains = [np.exp(log_capital(np.array([[p]])))[0, 0] for p in grid[::1000]]
    assert np.mean(gains) == pytest.approx(1, abs=1e-3)
    assert min(gains) > 0


def played(random: np.random.Generator, num_games: int, new: np.ndarray, num_old: int = 100) -> np.ndarray:
    """Return the log capital over time of games whose old scores are standard normal, [N, K]."""
    games = [conformal_p_values(random.normal(size=num_old), new[:, k], random=random) for k in range(num_games)]
    return log_capital(np.stack(games, axis=1))


def test_chance_alone_rarely_makes_a_player_rich_at_any_time() -> None:
    random, number = np.random.default_rng(5), 400
    best = played(random, number, random.normal(size=(150, number))).max(axis=0)
    for level in (0.1, 0.2):
        assert np.mean(best >= -math.log(level)) <= level + 4 * math.sqrt(level * (1 - level) / number)


@pytest.mark.parametrize("change", [lambda z: z + 1, lambda z: 2 * z, lambda z: z / 3])
def test_a_change_of_place_or_width_makes_players_rich_soon_after_it(change: object) -> None:
    random, number, before = np.random.default_rng(6), 20, 100
    new = random.normal(size=(300, number))
    new[before:] = change(new[before:])  # type: ignore[operator]
    capital = played(random, number, new, num_old=300)
    rich = capital >= math.log(100)
    assert rich.any(axis=0).mean() >= 0.9
    first = rich.argmax(axis=0)[rich.any(axis=0)]
    assert np.median(first) > before
    assert np.mean(first < before) <= 0.1
