"""Shapley shares: how much of the difference between a row's forecast and the average one is due to each input.

Letters: M rows that are explained, B rows of the background, D features, d players, Q quantities.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from cde_app.arrays import Array, BoolArray
from cde_app.machine.streams import Stream, generator

MOST_EXACT = 6
"""The largest number of players whose 2^d coalitions are all computed."""
PAIRS = 1
"""Orders that are drawn for each row of the background if there are more players; each is taken in reverse, too."""


@dataclass(frozen=True)
class Shares:
    """The shares of M rows."""

    base: Array
    """[Q], mean over the background."""
    values: Array
    """[M, Q]."""
    shares: Array
    """[M, d, Q]; base + sum over the players = value."""
    errors: Array
    """[M, d, Q], Monte-Carlo standard errors over the background, and over the orders if they are drawn."""
    is_exact: bool
    """Whether all coalitions are computed."""


def shapley_shares(
    quantities: Callable[[Array], Array],
    X: Array,
    background: Array,
    players: Sequence[Sequence[int]],
    *,
    seed: int,
) -> Shares:
    """Return the Shapley values of the game v(S) = mean over the background of f(x_S of the row, the rest of it).

    With one row of the background, v(S) is one evaluation; the shares are means over the background of the shares of
    these games. Up to `MOST_EXACT` players, each of these is computed from all coalitions, else from `PAIRS` random
    orders and their reverses, which is exact if no more than two inputs interact at a time.

    Args:
        quantities: f, rows [N, D] to [N, Q].
        X: [M, D], the rows.
        background: [B, D], B >= 2.
        players: the features of each player; every feature belongs to one of them.
        seed: of the orders.

    Source: Lundberg and Lee (2017), "A unified approach to interpreting model predictions"; Janzing et al. (2020),
    "Feature relevance quantification in explainable AI: a causal problem", for the background that does not depend on
    S; Watson et al. (2023), "Explaining predictive uncertainty with information theoretic Shapley values", for the
    entropy as the quantity; Castro et al. (2009), "Polynomial calculation of the Shapley value based on sampling";
    Mayer and Wuethrich (2025), "Shapley values: paired-sampling approximations", for the reversed orders.
    """
    num_players, num_background = len(players), len(background)
    own, others = quantities(X), quantities(background)
    shape = (len(X), num_background, num_players, own.shape[1])
    by_background, is_exact = np.empty(shape), num_players <= MOST_EXACT
    owner = np.empty(X.shape[1], np.intp)
    for index, player in enumerate(players):
        owner[list(player)] = index
    random = generator(seed, Stream.COALITIONS)
    orders = None if is_exact else _paired_orders(num_background, num_players, random)
    # The coalitions between none and all, [B, K, d]; they are the same for all rows.
    coalitions = _all_coalitions(num_players)[None, 1:-1] if orders is None else _along(orders)
    coalitions = np.broadcast_to(coalitions, (num_background, *coalitions.shape[1:]))
    for row in range(len(X)):
        mixed = np.where(coalitions[:, :, owner], X[row], background[:, None])
        inner = np.empty((num_background, mixed.shape[1], own.shape[1]))
        if mixed.size:
            inner = quantities(mixed.reshape(-1, X.shape[1])).reshape(inner.shape)
        first, last = others[:, None], np.broadcast_to(own[row], (num_background, 1, own.shape[1]))
        if orders is None:
            by_background[row] = _from_all(np.concatenate([first, inner, last], axis=1), num_players)
        else:
            by_background[row] = _from_orders(first, inner, last, orders)
    errors = by_background.std(axis=1, ddof=1) / math.sqrt(num_background)
    return Shares(others.mean(0), own, by_background.mean(1), errors, is_exact)


def _all_coalitions(num_players: int) -> BoolArray:
    """Return all 2^d coalitions; bit i of its index says whether player i is in it."""
    return (np.arange(2**num_players)[:, None] >> np.arange(num_players) & 1).astype(bool)


def _from_all(values: Array, num_players: int) -> Array:
    """Return the shares, [B, d, Q], from the values of all coalitions, [B, 2^d, Q]."""
    members, shares = _all_coalitions(num_players), np.empty((len(values), num_players, values.shape[2]))
    sizes = members.sum(1)
    for player in range(num_players):
        without = np.flatnonzero(~members[:, player])
        weights = 1.0 / (num_players * np.array([math.comb(num_players - 1, size) for size in sizes[without]]))
        gains = values[:, without + 2**player] - values[:, without]
        shares[:, player] = np.einsum("s,bsq->bq", weights, gains)
    return shares


def _paired_orders(num_background: int, num_players: int, random: np.random.Generator) -> Array:
    """Return random orders of the players, each followed by its reverse; [B, 2 PAIRS, d]."""
    drawn = random.permuted(np.tile(np.arange(num_players), (num_background, PAIRS, 1)), axis=2)
    return np.concatenate([drawn, drawn[:, :, ::-1]], axis=1)


def _along(orders: Array) -> BoolArray:
    """Return the coalitions along each order, between none and all; [B, orders (d - 1), d]."""
    num_background, num_orders, num_players = orders.shape
    ranks = np.argsort(orders, axis=2)
    coalitions = ranks[:, :, None, :] < np.arange(1, num_players)[:, None]
    return coalitions.reshape(num_background, num_orders * (num_players - 1), num_players)


def _from_orders(first: Array, inner: Array, last: Array, orders: Array) -> Array:
    """Return the shares, [B, d, Q], from the values along the orders."""
    num_background, num_orders, num_players = orders.shape
    inner = inner.reshape(num_background, num_orders, num_players - 1, -1)
    ends = [np.broadcast_to(end[:, None], (*inner.shape[:2], 1, inner.shape[3])) for end in (first, last)]
    gains = np.diff(np.concatenate([ends[0], inner, ends[1]], axis=2), axis=2)
    ranks = np.argsort(orders, axis=2)
    return np.take_along_axis(gains, ranks[..., None], axis=2).mean(axis=1)
