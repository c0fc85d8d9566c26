"""The nodes in the tails of w and of Student's t."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import logsumexp
from scipy.stats import norm, t

from cde_app.gp.likelihood import StudentTNoise
from cde_app.predictive.nodes import gaussian_nodes, split_outermost

NUM_NODES, SEEDS = 256, range(20)
NOISE = 0.3
LEVELS = np.array([1e-2, 1e-3, 1e-4, 1e-5])


def tail_ratios(nodes: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """P(y > q) over its exact value for y = w + e, at the exact quantiles q of `LEVELS`."""
    quantiles = norm.isf(LEVELS) * np.sqrt(1.0 + NOISE**2)
    return (weights * norm.sf((quantiles[:, None] - nodes[:, 0]) / NOISE)).sum(1) / LEVELS


def test_split_nodes_follow_the_tails_of_w_and_equal_weights_do_not() -> None:
    split, equal = [], []
    for seed in SEEDS:
        nodes = gaussian_nodes(NUM_NODES, 2, seed=seed)
        tails, weights = split_outermost(nodes, [0])
        assert weights.sum() == pytest.approx(1.0, abs=1e-12)
        assert abs(weights @ tails[:, 0]) < 0.01
        assert weights @ tails[:, 0] ** 2 == pytest.approx(1.0, abs=0.03)
        split.append(tail_ratios(tails, weights))
        equal.append(tail_ratios(nodes, np.full(NUM_NODES, 1 / NUM_NODES)))
    assert np.min(split) > 0.8
    assert np.max(split) < 1.2
    assert np.min(equal) < 0.01, "the control"


@pytest.mark.parametrize("degrees_of_freedom", [3.0, 10.0])
def test_split_nodes_follow_the_tails_of_student_s_t(degrees_of_freedom: float) -> None:
    y = np.array([0.0, 2.0, 4.0, 6.0, 8.0, 12.0])
    exact, errors, control = t(degrees_of_freedom).logpdf(y), [], []
    for seed in SEEDS:
        nodes = gaussian_nodes(NUM_NODES, 1, seed=seed)
        for found, (z, weights) in (
            (errors, split_outermost(nodes, [0])),
            (control, (nodes, np.full(NUM_NODES, 1 / NUM_NODES))),
        ):
            factors = StudentTNoise(np.ones(1), degrees_of_freedom).factors(z)[:, 0]
            parts = np.log(weights) - 0.5 * np.log(2 * np.pi * factors) - 0.5 * y[:, None] ** 2 / factors
            found.append(np.abs(logsumexp(parts, axis=1) - exact))
    assert np.max(errors) < 0.25
    assert np.max(control) > np.max(errors)


def test_other_coordinates_keep_their_values_and_one_node_stays_alone() -> None:
    nodes = gaussian_nodes(16, 2, seed=0)
    split, weights = split_outermost(nodes, [1])
    assert set(split[:, 0]) == set(nodes[:, 0])
    assert len(split) == len(weights) > 16
    alone, weight = split_outermost(np.zeros((1, 1)), [0])
    assert (alone.shape, weight.tolist()) == ((1, 1), [1.0])
