from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from cde_app.config import TableFormat
from cde_app.config.data import read_split
from cde_app.data.dependence import Dependence, dependence_in
from cde_app.evaluation.scores import mean_with_error

FORM = TableFormat()


def dependence(kind: str, **columns: object) -> Dependence | None:
    split = read_split({"kind": kind} | ({} if kind == "random" else {"column": "by"}))
    return dependence_in(split, pd.DataFrame(columns), form=FORM, source="t.csv")


def test_rows_of_a_group_are_one_block_and_gaps_are_a_group():
    found = dependence("group", by=["b", "a", "b", None, "a", None])
    assert found is not None
    rows = np.array([0, 2, 1, 3, 5])
    blocks = found.blocks(rows)
    assert blocks[0] == blocks[1]
    assert blocks[3] == blocks[4]
    assert sorted(set(blocks.tolist())) == [0, 1, 2]
    assert found.meaning(blocks) == "3 groups of 'by' count as one row each"


@pytest.mark.parametrize("dates", [True, False])
def test_a_block_in_time_is_a_run_of_rows_whatever_their_order_in_the_table(dates: bool):
    order = np.random.default_rng(0).permutation(100)
    times = pd.to_datetime("2024-01-01") + pd.to_timedelta(order, unit="D")
    found = dependence("time", by=times.astype(str) if dates else order)
    assert found is not None
    blocks = found.blocks(np.arange(100))
    np.testing.assert_array_equal(blocks, order // 10)
    assert found.meaning(blocks) == "10 blocks of 10 rows that follow one another in 'by' count as one row each"


def test_without_a_column_that_says_so_no_rows_depend_on_each_other():
    assert dependence("random", by=[1, 2]) is None
    assert dependence("group", other=[1, 2]) is None
    assert dependence("time", by=["soon", "later"]) is None
    assert dependence("time", by=[1.0, None]) is None


def test_the_error_over_blocks_is_that_of_a_dependent_series_and_the_error_over_rows_is_not():
    # An autoregressive series, x_t = 0.7 x_t-1 + e_t: the variance of its mean is (1 + 0.7) / (1 - 0.7) = 5.7 times
    # that of independent values.
    random, num_rows, num_series = np.random.default_rng(1), 900, 300
    series = np.zeros((num_rows, num_series))
    shocks = random.standard_normal((num_rows, num_series))
    for t in range(1, num_rows):
        series[t] = 0.7 * series[t - 1] + shocks[t]
    true = series.mean(axis=0).std(ddof=1)
    blocks = Dependence("t", True, np.arange(num_rows, dtype=float)).blocks(np.arange(num_rows))
    with_blocks = np.mean([mean_with_error(one, blocks)["se"] for one in series.T])
    over_rows = np.mean([mean_with_error(one)["se"] for one in series.T])
    # The sd of 300 means is known to 1 / sqrt(600) = 4 %. Blocks of 30 miss what crosses their ends: 0.7 / (1 - 0.7^2)
    # x 2 / 30 of the variance, 5 % of the sd; and a standard error over 30 blocks is on average 1 % too small.
    assert with_blocks == pytest.approx(true, rel=4 * 0.04 + 0.06)
    assert over_rows < 0.55 * true
