"""The greedy choice of inducing inputs against its definition, and against chance."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.cluster.vq import kmeans2
from scipy.spatial.distance import cdist

from cde_app import config
from cde_app.gp.kernels import Kernel, Linear, Matern32
from cde_app.training import gp_start
from cde_app.training.gp_start import choose_inducing, first_centres, greedy_variance

KERNEL = Matern32(1.4, np.array([0.8, 1.3]))


def remaining_variance(kernel: Kernel, X: np.ndarray, chosen: list[int]) -> np.ndarray:
    """The variance of f at every row given f at the chosen ones, by the textbook."""
    cross = kernel.covariance(X, X[chosen])
    return kernel.diagonal(X) - np.sum(cross * np.linalg.solve(kernel.covariance(X[chosen], X[chosen]), cross.T).T, 1)


def rows(num_rows: int = 200) -> np.ndarray:
    random = np.random.default_rng(0)
    return np.concatenate([0.1 * random.standard_normal((num_rows - 20, 2)), 3 * random.standard_normal((20, 2))])


def test_the_greedy_choice_equals_its_slow_definition() -> None:
    X, chosen = rows(), [0]
    while len(chosen) < 12:
        chosen.append(int(np.argmax(remaining_variance(KERNEL, X, chosen))))
    np.testing.assert_array_equal(greedy_variance(KERNEL, X, 12), chosen)


def test_the_greedy_choice_leaves_less_variance_than_a_random_one() -> None:
    X, random = rows(), np.random.default_rng(1)
    greedy = remaining_variance(KERNEL, X, list(greedy_variance(KERNEL, X, 15))).sum()
    assert greedy < min(remaining_variance(KERNEL, X, list(random.permutation(200)[:15])).sum() for _ in range(50))


def test_the_greedy_choice_ends_where_the_kernel_has_no_more_to_say() -> None:
    settings = config.Inducing(kind="greedy_variance")
    line = Linear(np.ones(2))
    assert choose_inducing(settings, line, rows(), 10, seed=0).shape == (2, 2)
    twice = np.repeat(rows()[:10], 2, axis=0)
    assert len(choose_inducing(settings, KERNEL, twice, 20, seed=0)) == 10


def test_the_first_centres_are_those_of_scipy_at_less_expense(monkeypatch: pytest.MonkeyPatch) -> None:
    X, measured = np.random.default_rng(2).standard_normal((400, 60)), list[tuple[int, int]]()

    def counted(A: np.ndarray, B: np.ndarray, *, metric: str) -> np.ndarray:
        measured.append((len(A), len(B)))
        return cdist(A, B, metric=metric)

    monkeypatch.setattr(gp_start, "cdist", counted)
    theirs, _ = kmeans2(X, 100, minit="++", rng=np.random.default_rng(3), iter=1)
    first = first_centres(X, 100, np.random.default_rng(3))
    assert measured == [(1, 400)] * 99, "one row of distances for each new centre, not to all the earlier ones again"
    np.testing.assert_array_equal(kmeans2(X, first, minit="matrix", iter=1)[0], theirs)
    assert len(np.unique(first, axis=0)) == 100
