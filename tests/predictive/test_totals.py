"""Sums over groups of rows: what is exact, what they share with single rows, and what they do not depend on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pytest

from cde_app.predictive.functions import Functions
from cde_app.predictive.predictor import Predictor
from cde_app.predictive.totals import BLOCK_ROWS, NUM_DRAWS, Totals, total_of
from tests.predictive.test_functions import chained, joint, rows_of
from tests.predictive.test_posterior import make_posterior

LEVELS = (0.05, 0.5, 0.95)
NAMES = ("y", "z")
Columns = Mapping[str, Sequence[Any]]


def numbers(columns: Columns, name: str, **cells: object) -> np.ndarray:
    """A column of the lines with these cells."""
    chosen = [n for n in range(len(columns["rows"])) if all(columns[key][n] == cell for key, cell in cells.items())]
    return np.array([columns[name][n] for n in chosen], float)


@pytest.fixture(scope="module")
def small() -> tuple[Predictor, np.ndarray]:
    """A joint model of two targets, the second behind a logarithm, and ten rows near each other."""
    return joint(make_posterior(latent_dim=1, num_inner=1, defence=True)), rows_of(10)


def test_means_are_the_sums_of_the_rows_means_and_so_are_the_variances_of_independent_errors(small: Any) -> None:
    predictor, X = small
    columns = total_of(predictor, X, np.array([0, 1] * 5), seed=0).columns(NAMES, LEVELS, ["even", "odd"])
    forecast = predictor.predict(X)
    for start, group in enumerate(("even", "odd")):
        for p, target in enumerate(NAMES):
            mean, variance = forecast.mean()[start::2, p].sum(), (forecast.sd()[start::2, p] ** 2).sum()
            for statistic, count in (("sum", 1), ("mean", 5)):
                cells = {"group": group, "target": target, "statistic": statistic}
                np.testing.assert_allclose(numbers(columns, "mean", **cells), mean / count, rtol=1e-12)
                found = numbers(columns, "sd", **cells, errors="independent")
                np.testing.assert_allclose(found, np.sqrt(variance) / count, rtol=1e-12)
    assert list(columns) == ["group", "target", "statistic", "errors", "rows", "mean", "sd", "q05", "q50", "q95"]
    assert list(columns["rows"]) == [5] * 16


def test_quantiles_and_shared_sds_are_those_of_the_summed_draws(small: Any) -> None:
    predictor, X = small
    columns = total_of(predictor, X, np.zeros(10, int), seed=3).columns(NAMES, LEVELS, None)
    own = predictor.predict(X).sample(NUM_DRAWS, seed=3).sum(axis=1)
    shared = Functions(predictor, NUM_DRAWS, 3).sample(X, np.arange(10)).sum(axis=1)
    for p, target in enumerate(NAMES):
        for errors, draws in (("independent", own), ("shared", shared)):
            cells = {"target": target, "statistic": "mean", "errors": errors}
            for level, name in zip(LEVELS, ("q05", "q50", "q95"), strict=True):
                found = numbers(columns, name, **cells)
                np.testing.assert_allclose(found, np.quantile(draws[:, p] / 10, level), rtol=1e-10)
        found = numbers(columns, "sd", target=target, statistic="sum", errors="shared")
        np.testing.assert_allclose(found, shared[:, p].std(ddof=1), rtol=1e-10)
    assert "group" not in columns


@pytest.mark.parametrize("kind", ["joint", "chain"])
def test_both_totals_of_one_row_are_its_forecast(kind: str) -> None:
    predictor, X = (
        chained(1) if kind == "chain" else (joint(make_posterior(latent_dim=1, num_inner=0, defence=True)), rows_of(1))
    )
    columns, forecast = (
        total_of(predictor, X, np.zeros(1, int), seed=0).columns(NAMES, LEVELS, None),
        predictor.predict(X),
    )
    for p, target in enumerate(NAMES):
        for errors in ("independent", "shared"):
            cells = {"target": target, "statistic": "sum", "errors": errors}
            for level, name in zip(LEVELS, ("q05", "q50", "q95"), strict=True):
                y = forecast.mean()
                y[0, p] = numbers(columns, name, **cells)[0]
                # four standard errors of the share below a quantile, and the nodes of the chain
                assert forecast.cdf(y)[0, p] == pytest.approx(
                    level, abs=4 * np.sqrt(level * (1 - level) / NUM_DRAWS) + 0.01
                )
        sds = numbers(columns, "sd", target=target, statistic="sum")
        assert sds[0] == forecast.sd()[0, p]


def test_no_bit_depends_on_how_the_rows_arrive() -> None:
    predictor = joint(make_posterior(latent_dim=1, num_inner=1, defence=True))
    X, rows = rows_of(BLOCK_ROWS + 300), np.delete(np.arange(BLOCK_ROWS + 301), 5)
    groups = np.arange(len(rows)) % 3

    def totals_of(cuts: list[int]) -> Columns:
        totals = Totals(predictor, seed=0)
        for part in np.split(np.arange(len(rows)), cuts):
            totals.add(X[part], groups[part], rows[part])
        return totals.columns(NAMES, LEVELS, ["a", "b", "c"])

    one, other = totals_of([]), totals_of([1, 1, 700, BLOCK_ROWS + 2])
    assert all(list(one[name]) == list(other[name]) for name in one)


def test_errors_that_rows_share_do_not_average_out(small: Any) -> None:
    predictor, _ = small
    X = np.tile(rows_of(1), (400, 1))
    columns = total_of(predictor, X, np.zeros(400, int), seed=0).columns(NAMES, (), None)
    independent, shared = numbers(columns, "sd", target="y", statistic="mean")
    one = predictor.predict(X[:1]).sd()[0, 0]
    assert independent == pytest.approx(one / 20)
    assert shared > 2 * independent
