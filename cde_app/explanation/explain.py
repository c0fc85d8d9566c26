"""The explanation of a model on some rows: importances, curves, Shapley shares and sentences.

Letters: N rows, D features, P targets, M rows with shares, d players, Q quantities.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from cde_app.arrays import AnyArray, Array, IndexArray
from cde_app.config.threshold import Threshold
from cde_app.explanation.curves import LEVELS, Curve, curves
from cde_app.explanation.donors import expectation
from cde_app.explanation.importance import Importance, importances
from cde_app.explanation.inputs import Axis, Input, players
from cde_app.explanation.quantities import Values, described, moments, scored
from cde_app.explanation.sentences import sentences
from cde_app.explanation.shapley import MOST_EXACT, PAIRS, Shares, shapley_shares
from cde_app.explanation.sizes import Sizes
from cde_app.machine.rows import blocks_of
from cde_app.machine.streams import Stream, generator
from cde_app.predictive.forecast import Forecast

BLOCK_ROWS = 1024
"""Rows that are predicted at a time, whatever else is computed, so that no bit depends on anything but the model."""
CURVE_ROWS, SINGLE_ROWS = 32, 8
BACKGROUND_ROWS = 16
LIGHT = 0.5
"""What a forecast for a curve or a share costs, compared with one whose scores and entropy are computed."""

Columns = dict[str, AnyArray]
OnCost = Callable[[float, float], None]


@dataclass(frozen=True)
class Explanation:
    """What moves the forecasts of a model on some rows."""

    rows: IndexArray
    """[N], positions in the table, counted from 0."""
    is_scored: bool
    """Whether the rows have targets, so that there are costs."""
    inputs: tuple[Input, ...]
    """Inputs and groups."""
    explained: Mapping[str, float]
    """Input -> share of its variance that a regression on the other inputs explains."""
    importance: tuple[Importance, ...]
    curves: tuple[Curve, ...]
    single_rows: IndexArray
    """Positions in the table of the single rows of the curves."""
    players: tuple[Input, ...]
    quantities: tuple[tuple[str, str], ...]
    """[Q], (target, quantity) of the shares."""
    shared_rows: IndexArray
    """[M], positions in the table of the rows with shares."""
    shares: Shares | None
    """None if there are no such rows."""
    sentences: tuple[str, ...]

    def importance_columns(self) -> Columns:
        """Return target, input, donors, quantity, measure, value and se, in long form."""
        names = ("target", "input", "donors", "quantity", "measure", "value", "se")
        return {name: np.array([getattr(one, name) for one in self.importance], object) for name in names}

    def curve_columns(self) -> Columns:
        """Return target, input, value, row, mean and the quantiles, in long form.

        The row is counted from 1, and None for the mean over the rows; single rows have quantiles only.
        """
        found: dict[str, list[Any]] = {name: [] for name in ("target", "input", "value", "row", "mean")}
        found |= {quantile_name(level): [] for level in LEVELS}
        for curve in self.curves:
            lines: list[tuple[int | None, Sequence[float | None], Array]] = [
                (None, curve.mean.tolist(), curve.quantiles)
            ]
            for i, position in enumerate(self.single_rows):
                lines.append((int(position) + 1, [None] * len(curve.mean), curve.rows[:, i]))
            for number, mean, quantiles in lines:
                found["target"] += [curve.target] * len(mean)
                found["input"] += [curve.axis.input.name] * len(mean)
                found["value"] += curve.axis.texts
                found["row"] += [number] * len(mean)
                found["mean"] += mean
                for level, line in zip(LEVELS, quantiles, strict=True):
                    found[quantile_name(level)] += line.tolist()
        return {name: np.array(values, object) for name, values in found.items()}

    def share_columns(self) -> Columns:
        """Return row (counted from 1), target, quantity, base, value, input, share and se, in long form."""
        names = ("row", "target", "quantity", "base", "value", "input", "share", "se")
        if self.shares is None:
            return {name: np.array([], object) for name in names}
        own = self.shares
        lines = [
            (
                int(position) + 1,
                target,
                quantity,
                own.base[q],
                own.values[m, q],
                player.name,
                own.shares[m, i, q],
                own.errors[m, i, q],
            )
            for m, position in enumerate(self.shared_rows)
            for q, (target, quantity) in enumerate(self.quantities)
            for i, player in enumerate(self.players)
        ]
        return {name: np.array(column, object) for name, column in zip(names, zip(*lines, strict=True), strict=True)}

    def facts(self) -> dict[str, Any]:
        """Return all of it as plain values, for `explain.json`."""
        return {
            "num_rows": len(self.rows),
            "scored": self.is_scored,
            "sentences": list(self.sentences),
            "columns": {
                one.name: {"members": list(one.members), "explained_by_others": self.explained.get(one.name)}
                for one in self.inputs
            },
            "importance": records(self.importance_columns()),
            "curves": records(self.curve_columns()),
            "shares": {
                "exact": self.shares is not None and self.shares.is_exact,
                "background_rows": min(BACKGROUND_ROWS, len(self.rows)),
                "rows": records(self.share_columns()),
            },
        }


def explain(
    predict: Callable[[Array], Forecast],
    X: Array,
    targets: Array | None,
    inputs: Sequence[Input],
    groups: Sequence[Input],
    axes: Sequence[Axis],
    *,
    rows: IndexArray,
    units: Mapping[str, float],
    thresholds: Sequence[Threshold],
    sizes: Sizes,
    seed: int,
    on_cost: OnCost = lambda done, total: None,
) -> Explanation:
    """Explain a model on some rows.

    Args:
        predict: rows of X to forecasts with the names of their targets.
        X: [N, D], N >= 2, standardised features.
        targets: [N, P], the observations, or None.
        inputs: of the model; every feature belongs to one of them.
        groups: of inputs; they have an importance of their own, and in the shares they replace their members.
        axes: of the curves.
        rows: [N], positions in the table.
        units: target -> its standard deviation in the training.
        thresholds: whose limits are numbers.
        sizes: how much is computed.
        seed: of all that is drawn.
        on_cost: called with what is done, and with all that there is to do, in the same unit.
    """
    moved, playing = [*inputs, *groups], players(inputs, groups)
    expected = {
        one.name: expectation(X, one.features) for one in moved if len(one.features) < X.shape[1] and len(inputs) > 1
    }
    order = generator(seed, Stream.CURVE_ROWS).permutation(len(X))
    averaged, background = X[order[:CURVE_ROWS]], X[order[:BACKGROUND_ROWS]]
    total = cost_of(len(X), moved, expected, axes, len(averaged), len(background), len(playing), sizes)
    done = 0.0

    def spend(cost: float) -> None:
        nonlocal done
        done += cost
        on_cost(done, total)

    def all_values(changed: Array) -> Values:
        blocks = []
        for block in blocks_of(len(changed), BLOCK_ROWS):
            forecast = predict(changed[block])
            values = described(forecast, thresholds)
            blocks.append(values | ({} if targets is None else scored(forecast, targets[block])))
        spend(len(changed))
        return {key: np.concatenate([values[key] for values in blocks]) for key in blocks[0]}

    def all_moments(some: Array) -> tuple[tuple[tuple[str, str], ...], Array]:
        blocks = [moments(predict(some[block]), thresholds) for block in blocks_of(len(some), BLOCK_ROWS)]
        spend(LIGHT * len(some))
        return tuple(blocks[0]), np.concatenate([np.stack(list(values.values()), axis=1) for values in blocks])

    def one_forecast(changed: Array) -> Forecast:
        spend(LIGHT * len(changed))
        return predict(changed)

    importance = tuple(
        importances(
            all_values,
            X,
            moved,
            {name: own[0] for name, own in expected.items()},
            units,
            num_repeats=sizes.repeats,
            seed=seed,
        )
    )
    drawn = tuple(curves(one_forecast, averaged, axes, num_single=SINGLE_ROWS))
    quantities, shares, chosen = tuple[tuple[str, str], ...](), None, np.arange(0)
    if sizes.shares:
        quantities, own = all_moments(X)
        chosen = np.sort(evenly_ranked(own[:, 0], sizes.shares))
        shares = shapley_shares(
            lambda some: all_moments(some)[1], X[chosen], background, [one.features for one in playing], seed=seed
        )
    explained = {name: own[1] for name, own in expected.items()}
    return Explanation(
        rows=rows,
        is_scored=targets is not None,
        inputs=tuple(moved),
        explained=explained,
        importance=importance,
        curves=drawn,
        single_rows=rows[order[:SINGLE_ROWS]],
        players=tuple(playing),
        quantities=quantities,
        shared_rows=rows[chosen],
        shares=shares,
        sentences=tuple(sentences(importance, moved, explained)),
    )


def cost_of(
    num_rows: int,
    moved: Sequence[Input],
    expected: Mapping[str, Any],
    axes: Sequence[Axis],
    num_averaged: int,
    num_background: int,
    num_players: int,
    sizes: Sizes,
) -> float:
    """Return what an explanation costs, in forecasts whose scores and entropy are computed."""
    changed = num_rows * (1 + sizes.repeats * (len(moved) + len(expected)))
    along = num_averaged * sum(len(axis.values) for axis in axes)
    per_row = 2**num_players - 2 if num_players <= MOST_EXACT else 2 * PAIRS * (num_players - 1)
    num_shared = min(sizes.shares, num_rows)
    shared = num_shared * num_background * per_row + (num_rows + num_shared + num_background if num_shared else 0)
    return changed + LIGHT * (along + shared)


def evenly_ranked(values: Array, count: int) -> IndexArray:
    """Return at most `count` rows that are spread evenly over the ranks of some values, [N]."""
    order, count = np.argsort(values, kind="stable"), min(count, len(values))
    chosen: IndexArray = order[((np.arange(count) + 0.5) / count * len(values)).astype(np.intp)]
    return chosen


def quantile_name(level: float) -> str:
    """Return the column of a quantile, such as `q05`."""
    return f"q{round(100 * level):02d}"


def records(columns: Columns) -> list[dict[str, Any]]:
    """Return a table as one mapping per row."""
    return [dict(zip(columns, cells, strict=True)) for cells in zip(*columns.values(), strict=True)]
