"""The distribution of the sum and of the mean of each target over groups of rows.

Letters: N rows, D features, P targets, S draws, L quantile levels, G groups.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from cde_app.arrays import AnyArray, Array, IndexArray, IntArray
from cde_app.machine.rows import blocks_of
from cde_app.predictive.columns import percentage
from cde_app.predictive.functions import Functions
from cde_app.predictive.mixture import DRAW_BLOCK

if TYPE_CHECKING:
    from cde_app.predictive.predictor import Predictor

NUM_DRAWS = 1000
"""S. For a normal total the standard error of an sd from draws is 2.2 % of it; that of the median is 4 %, that of the
quantile at 0.05 or 0.95 is 7 % of the sd."""
BLOCK_ROWS = 4 * DRAW_BLOCK
"""Positions in the table that are computed together, so that no bit depends on how the rows arrive."""
ERRORS = ("independent", "shared")
"""How the rows' errors are related, in the order of `_Sums.draws`."""


@dataclass
class _Sums:
    """What is kept of a group: sums over its rows."""

    rows: int
    means: Array
    """[P], of the rows' means."""
    variances: Array
    """[P], of the rows' variances."""
    draws: Array
    """[2, S, P], of the rows' draws, independent and with the function shared."""


class Totals:
    """Sums over groups of rows, to which the rows of a table are added chunk by chunk.

    With `independent` errors every row is drawn for itself from its forecast. With `shared` errors each draw has one
    function for all rows, from the posterior (`Functions`): what the model does not know about the function is an error
    that the rows have in common and that no number of rows averages out. By itself, a row has the same distribution in
    both. Exact, given the rows' forecasts: the means of both, and the standard deviations of `independent`. From
    `NUM_DRAWS` draws: the standard deviations of `shared` and all quantiles.

    The memory grows with the number of groups (16 kB per group and target), not with that of the rows.

    Args:
        predictor: the trained model.
        seed: seed of the draws.
    """

    def __init__(self, predictor: Predictor, *, seed: int) -> None:
        self._predictor, self._seed = predictor, seed
        self._functions = Functions(predictor, NUM_DRAWS, seed)
        self._sums: dict[int, _Sums] = {}
        self._waiting: list[tuple[Array, IndexArray, IntArray]] = []

    def add(self, X: Array, groups: IndexArray, rows: IntArray) -> None:
        """Add rows.

        Args:
            X: [N, D], standardised features.
            groups: [N], the index of each row's group.
            rows: [N], positions of the rows in the table, ascending, also from one call to the next.
        """
        edges = np.flatnonzero(np.diff(rows // BLOCK_ROWS)) + 1
        for own in np.split(np.arange(len(rows)), edges):
            if not len(own):
                continue
            if self._waiting and self._waiting[-1][2][-1] // BLOCK_ROWS != rows[own[0]] // BLOCK_ROWS:
                self._add_block()
            self._waiting.append((X[own], groups[own], rows[own]))

    def columns(
        self, target_names: Sequence[str], quantiles: Sequence[float], group_names: Sequence[str | None] | None
    ) -> dict[str, Sequence[object] | AnyArray]:
        """Return a table with one row per group, target, statistic (sum, mean) and relation of the errors.

        Args:
            target_names: [P].
            quantiles: [L], levels of the quantile columns.
            group_names: [G], the content of the column `group`; None leaves the column out.
        """
        self._add_block()
        levels = tuple(dict.fromkeys(quantiles))
        shown = [f"q{percentage(level)}" for level in levels]
        names = ["group", "target", "statistic", "errors", "rows", "mean", "sd", *shown]
        columns: dict[str, list[object]] = {name: [] for name in names}
        for group, sums in sorted(self._sums.items()):
            sds = np.stack([np.sqrt(sums.variances), sums.draws[1].std(axis=0, ddof=1)])
            values = np.quantile(sums.draws, levels, axis=1)
            for p, target in enumerate(target_names):
                for statistic, count in (("sum", 1), ("mean", sums.rows)):
                    for e, errors in enumerate(ERRORS):
                        numbers = np.array([sums.means[p], sds[e, p], *values[:, e, p]]) / count
                        name = None if group_names is None else group_names[group]
                        cells = [name, target, statistic, errors, sums.rows, *numbers.tolist()]
                        for column, cell in zip(columns.values(), cells, strict=True):
                            column.append(cell)
        table: dict[str, Sequence[object] | AnyArray] = {name: columns[name] for name in names[group_names is None : 4]}
        table["rows"] = np.array(columns["rows"], np.int64)
        return table | {name: np.array(columns[name], float) for name in names[5:]}

    def _add_block(self) -> None:
        """Add the rows that wait to the sums of their groups."""
        if not self._waiting:
            return
        X, groups, rows = (np.concatenate(parts) for parts in zip(*self._waiting, strict=True))
        self._waiting.clear()
        features = self._predictor.features(X)
        forecast = self._predictor.forecast(features)
        own_draws = forecast.sample(NUM_DRAWS, seed=self._seed, rows=rows)
        draws = np.stack([own_draws, self._functions.sample(features, rows)])
        means, variances = forecast.mean(), forecast.sd() ** 2
        order = np.argsort(groups, kind="stable")
        for own in np.split(order, np.flatnonzero(np.diff(groups[order])) + 1):
            added = _Sums(len(own), means[own].sum(axis=0), variances[own].sum(axis=0), draws[:, :, own].sum(axis=2))
            self._sums[int(groups[own[0]])] = _joined(self._sums.get(int(groups[own[0]])), added)


def total_of(predictor: Predictor, X: Array, groups: IndexArray, *, seed: int) -> Totals:
    """Return the totals of rows that are in memory; X [N, D], standardised, and groups [N], indices."""
    totals = Totals(predictor, seed=seed)
    for block in blocks_of(len(X), BLOCK_ROWS):
        totals.add(X[block], groups[block], np.arange(block.start, block.stop))
    return totals


def _joined(one: _Sums | None, other: _Sums) -> _Sums:
    if one is None:
        return other
    return _Sums(
        one.rows + other.rows, one.means + other.means, one.variances + other.variances, one.draws + other.draws
    )
