"""Does what happens still follow the forecasts? A test that may be read after every row.

A player bets that the next rows look different from the earlier ones. If they do not, the player's capital is a
martingale that starts at 1: the probability that it ever reaches c is at most 1 / c (Ville, 1939), wherever one looks
or stops. Capital is therefore evidence: 1000 means that chance has at most one in a thousand to do as well.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right, insort

import numpy as np

from cde_app.arrays import Array

JUMPING_RATES = np.array([1e-4, 1e-3, 1e-2, 1e-1, 1.0])
STAKES = np.array([-1.0, -0.5, -0.25, 0.0, 0.25, 0.5, 1.0])


def conformal_p_values(old: Array, new: Array, *, random: np.random.Generator) -> Array:
    """Rank every new number among all that came before it; ties are broken at random.

    p_i = (#{j: s_j < s_i} + u_i #{j: s_j = s_i}) / n_i over the n_i numbers up to and with s_i, u_i uniform. If new and
    old numbers are exchangeable, the p_i are independent and uniform on [0, 1], whatever the distribution of s.

    Args:
        old: [M].
        new: [N], in the order in which they came.
        random: draws the u_i.

    Returns:
        [N].

    Source: Vovk, Gammerman and Shafer (2022), "Algorithmic learning in a random world", 2nd ed., section 8.1.
    """
    known, p_values = sorted(old.tolist()), np.empty(len(new))
    for i, (score, u) in enumerate(zip(new.tolist(), random.random(len(new)), strict=True)):
        below, up_to = bisect_left(known, score), bisect_right(known, score)
        p_values[i] = (below + u * (up_to - below + 1)) / (len(known) + 1)
        insort(known, score)
    return p_values


def log_capital(p_values: Array) -> Array:
    """Bet against independent uniform numbers; return the log of the capital after each, for several games at once.

    The capital is the mean of ten players. Each bets 1 + e L(p) with stakes e in `STAKES`, starts with the same amount
    on every stake, and before each number moves a share of it, one of `JUMPING_RATES`, evenly to all stakes. Half bet
    on the mean, L(p) = 2p - 1, half on the spread, L(p) = 6p² - 6p + 1. Slow players see small lasting changes, fast
    ones sudden ones.

    Args:
        p_values: [N, K], of K games.

    Returns:
        [N, K].

    Source: Vovk et al. (2021), "Retrain or not retrain: conformal test martingales for change-point detection", PMLR
    152, section 4 (the Simple Jumper); Hallberg Szabadvary (2026), arXiv:2606.20859 (bets on Legendre polynomials and
    the mean over jumping rates).
    """
    num_rows, num_games = p_values.shape
    bets = np.stack([2 * p_values - 1, 6 * p_values**2 - 6 * p_values + 1], axis=-1)  # [N, K, 2]
    shares = np.full((num_games, 2, len(JUMPING_RATES), len(STAKES)), 1 / len(STAKES))
    capital = np.zeros((num_games, 2, len(JUMPING_RATES)))
    stays, moves = 1 - JUMPING_RATES[:, None], JUMPING_RATES[:, None] / len(STAKES)
    path = np.empty((num_rows, num_games))
    for i in range(num_rows):
        shares = (stays * shares + moves) * (1 + bets[i, :, :, None, None] * STAKES)
        growth = shares.sum(axis=-1)
        shares /= growth[..., None]
        capital += np.log(growth)
        path[i] = np.logaddexp.reduce(capital, axis=(1, 2))
    return path - np.log(2 * len(JUMPING_RATES))
