"""Whole trainings where tails are heavy or rows say little: right tails, and never worse than the climatology."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy.stats import norm
from scipy.stats import t as student_t

from cde_app.evaluation.baselines import fit_climatology
from cde_app.runs.run import Run
from cde_app.trained_model import TrainedModel

NUM_FRESH = 4000
STANDARD_ERRORS = 4.0
Table = tuple[np.ndarray, np.ndarray]


def trained(cde: Callable[..., Any], folder: Path, table: Table) -> Callable[[np.ndarray], Any]:
    """Train on a table by default settings, no rows held out, and return what forecasts inputs [N, D]."""
    X, y = table
    names = [f"x{d}" for d in range(X.shape[1])]
    pd.DataFrame(X, columns=names).assign(y=y).to_csv(folder / "t.csv", index=False)
    data = {"path": "t.csv", "inputs": names, "targets": ["y"], "split": {"kind": "random", "test": 0}}
    (folder / "c.yaml").write_text(f"schema_version: 1\ndata: {data}\n")
    outcome = cde("train", folder / "c.yaml", "--out", folder / "run", "--quiet")
    assert outcome.code == 0, outcome.err
    model = TrainedModel.load(Run.open(folder / "run"))
    features = [column.features[0] for column in model.contract.inputs]
    centres, scales = (np.array([getattr(f, name) for f in features]) for name in ("centre", "scale"))
    return lambda X: model.predictor.predict((X - centres) / scales)


def noisy_sine(num_rows: int, noise: Callable[[int, np.random.Generator], np.ndarray], seed: int) -> Table:
    random = np.random.default_rng(seed)
    x = random.uniform(-3, 3, num_rows)
    return x[:, None], np.sin(x) + noise(num_rows, random)


@pytest.mark.slow
@pytest.mark.parametrize("degrees_of_freedom", [1.0, 2.0, 3.0])
def test_heavy_tails_are_met_within_a_tenth_of_a_nat(
    cde: Callable[..., Any], tmp_path: Path, degrees_of_freedom: float
) -> None:
    noise = student_t(degrees_of_freedom, scale=0.3)
    forecast = trained(cde, tmp_path, noisy_sine(2000, lambda n, r: noise.rvs(n, random_state=r), 1))
    X, y = noisy_sine(NUM_FRESH, lambda n, r: noise.rvs(n, random_state=r), 2)
    mixture = forecast(X)
    losses = noise.logpdf(y - np.sin(X[:, 0])) - mixture.log_prob(y[:, None])
    error = losses.std() / np.sqrt(NUM_FRESH)
    assert -STANDARD_ERRORS * error < losses.mean() < 0.1
    few = mixture[:400]
    for probability in (1e-2, 1e-3, 1e-4):
        limit = noise.isf(probability)
        exact = noise.sf(limit - np.sin(X[:400, 0])).mean()
        found = 1 - few.cdf(np.full((400, 1), limit)).mean()
        assert 0.5 < found / exact < 2.0


@pytest.mark.slow
def test_a_log_normal_target_has_the_mean_and_the_tail_that_its_draws_have(
    cde: Callable[..., Any], tmp_path: Path
) -> None:
    random = np.random.default_rng(3)
    x = random.uniform(0, 10, 2000)
    forecast = trained(cde, tmp_path, (x[:, None], np.exp(0.3 * x + 1.2 * random.standard_normal(2000))))
    grid = np.linspace(0.2, 9.8, 100)
    mixture = forecast(grid[:, None])
    draws = mixture.sample(1000, seed=4)[:, :, 0]
    assert abs(draws.mean() - mixture.mean().mean()) < STANDARD_ERRORS * draws.std() / np.sqrt(draws.size)
    truth = np.exp(0.3 * grid + 0.72)
    # The mean of 2000 rows' logs is known to 1.2 / sqrt(2000), their variance to 1.44 sqrt(2 / 2000): 0.035 together.
    assert abs(np.log(mixture.mean().mean() / truth.mean())) < STANDARD_ERRORS * 0.035
    for limit in (200.0, 500.0, 1000.0):
        scores = (np.log(limit) - 0.3 * grid) / 1.2
        exact = norm.sf(scores).mean()
        found = 1 - mixture.cdf(np.full((100, 1), limit)).mean()
        assert exact > 1e-5
        # Even if the family is known, 2000 rows know its mean to 0.022 sd and its sd to 1.6 percent, and the log of
        # P(z > s) changes by about s per sd and by s^2 per relative change of the sd.
        score = np.average(scores, weights=norm.sf(scores))
        error = score * np.hypot(0.022, 0.016 * score)
        assert abs(np.log(found / exact)) < max(np.log(2.0), STANDARD_ERRORS * error)


def few_rows(random: np.random.Generator, num_rows: int) -> Table:
    x = random.uniform(-3, 3, num_rows)
    return x[:, None], np.sin(x) + 0.3 * random.standard_normal(num_rows)


def ten_rows(random: np.random.Generator, *, fresh: bool) -> Table:
    return few_rows(random, NUM_FRESH if fresh else 10)


def many_columns(random: np.random.Generator, *, fresh: bool) -> Table:
    X = random.standard_normal((NUM_FRESH if fresh else 30, 60))
    return X, X[:, 0] + 0.5 * random.standard_normal(len(X))


def one_cell(random: np.random.Generator, *, fresh: bool) -> Table:
    X, y = few_rows(random, NUM_FRESH if fresh else 400)
    if not fresh:
        y[17] = 1e9
    return X, y


def zero_or_one(random: np.random.Generator, *, fresh: bool) -> Table:
    x = random.uniform(-3, 3, NUM_FRESH if fresh else 400)
    return x[:, None], (random.random(len(x)) < 1 / (1 + np.exp(-2 * x))).astype(float)


def nothing_to_learn(random: np.random.Generator, *, fresh: bool) -> Table:
    X = random.standard_normal((NUM_FRESH if fresh else 100, 3))
    return X, random.standard_normal(len(X))


@pytest.mark.slow
@pytest.mark.parametrize("draw", [ten_rows, many_columns, one_cell, zero_or_one, nothing_to_learn])
def test_no_run_is_worse_than_its_climatology(
    cde: Callable[..., Any], tmp_path: Path, draw: Callable[..., Table]
) -> None:
    random = np.random.default_rng(5)
    table = draw(random, fresh=False)
    X, y = draw(random, fresh=True)
    forecast = trained(cde, tmp_path, table)
    climatology = fit_climatology(table[1][:, None]).predict(NUM_FRESH)
    losses = climatology.log_prob(y[:, None]) - forecast(X).log_prob(y[:, None])
    # What is learned from few rows is known to their number: by chance a table of n rows costs 1 / sqrt(n) nats.
    allowed = STANDARD_ERRORS * losses.std() / np.sqrt(NUM_FRESH) + 1 / np.sqrt(len(table[1]))
    assert losses.mean() < allowed
