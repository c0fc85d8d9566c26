"""Do new rows look like those that a model was trained on, and do their targets still follow its forecasts?

Two questions with separate answers. Inputs that have changed leave p(y | x) as it was, but may ask for it where little
is known. Outcomes that no longer follow the forecasts mean that p(y | x) itself is not what it was. A level, the
probability of any accusation if nothing has changed, is shared by the two: half for the inputs, half for the outcomes.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from cde_app.arrays import Array, IntArray
from cde_app.evaluation.martingale import conformal_p_values, log_capital
from cde_app.evaluation.scores import mean_with_error
from cde_app.evaluation.two_samples import (
    Difference,
    compare_extremes,
    compare_jointly,
    compare_numbers,
    compare_shares,
    holm,
)
from cde_app.evaluation.verdict import ks_distance
from cde_app.predictive.forecast import Forecast

LEVEL_DRAWS = 16
"""Draws with which the density of an observation is compared. Each costs a chain a forecast of its later targets. Few
are enough: ties are broken at random, so the tests stay exact."""
MOST_RESAMPLES = 99_999
"""For each comparison of labels; from 500 comparisons at a level of 0.005 on, single labels have less power."""


@dataclass(frozen=True)
class Reference:
    """What a run keeps of its table to compare new rows with.

    Args:
        inputs: [R, I], training rows drawn at random, as they were read: numbers, days, indices of labels, NaN for
            gaps.
        levels: [H, P + 1], of held-out rows, as `levels_of` returns them.
        log_density: [H], of the same rows [nats].
    """

    inputs: Array
    levels: Array
    log_density: Array


@dataclass(frozen=True)
class InputSample:
    """One input column of the training rows and of the new rows.

    Args:
        name: the column.
        kind: numeric, categorical, cyclic or datetime.
        old: [R], as they were read; NaN for gaps.
        new: [N]; a label that is not among the training rows has an index of its own, after the known ones.
        minimum, maximum: of all training rows; of no meaning for labels and cycles.
        num_training: the number of training rows, from which the old ones were drawn.
        period: the length of a cycle.
        labels: the labels, those of the training rows first.
        num_known: how many those are.
    """

    name: str
    kind: Literal["numeric", "categorical", "cyclic", "datetime"]
    old: Array
    new: Array
    minimum: float
    maximum: float
    num_training: int
    period: float = 1.0
    labels: tuple[str, ...] = ()
    num_known: int = 0


def levels_of(forecast: Forecast, targets: Array, *, seed: int) -> Array:
    """Return where outcomes lie in their densities, [N, P + 1]; each is uniform on [0, 1] if the densities are right.

    The first P are F(y_p | x), the last is the probability of a density higher than p(y | x), from draws.
    """
    surprise = forecast.hpd_level(targets, num_samples=LEVEL_DRAWS, seed=seed)
    return np.column_stack([forecast.cdf(targets), surprise])


def input_drift(
    samples: Sequence[InputSample], old: Array, new: Array, *, level: float, random: np.random.Generator
) -> dict[str, Any]:
    """Compare the inputs of new rows with those of training rows, column by column and all together.

    Dates move on by themselves. It is counted how many are outside the range of the training, but not tested.

    Args:
        samples: the columns.
        old: [R, D], features of the training rows, without those of dates.
        new: [N, D], the same of new rows.
        level: the probability of any accusation if the rows are from one distribution; of all tests (Holm).
        random: draws permutations and halves.

    Returns:
        {"columns": {name: {aspect: test}}, "joint": test}, a test being {"distance", "p_value", "changed"}, the p-value
        adjusted for the number of tests; what describes a column is there too.
    """
    resamples = int(min(MOST_RESAMPLES, math.ceil(20 * max(2 * len(samples), 10) / level)))
    found: dict[tuple[str | None, str], Difference] = {}
    for sample in samples:
        aspects = _compare_column(sample, resamples=resamples, random=random)
        found |= {(sample.name, aspect): difference for aspect, difference in aspects.items()}
    found[None, "joint"] = compare_jointly(old, new, random=random)
    adjusted = holm([difference.p_value for difference in found.values()])
    columns: dict[str, Any] = {sample.name: {"kind": sample.kind, **_describe(sample)} for sample in samples}
    joint: dict[str, Any] = {}
    for ((name, aspect), difference), p_value in zip(found.items(), adjusted, strict=True):
        test = {"distance": difference.size, "p_value": p_value, "changed": p_value < level}
        if name is None:
            joint = test
        else:
            columns[name][aspect] = test
    return {"columns": columns, "joint": joint}


def _compare_column(sample: InputSample, *, resamples: int, random: np.random.Generator) -> dict[str, Difference]:
    """Return the tests of a column, by what they look at."""
    old_gaps, new_gaps = np.isnan(sample.old), np.isnan(sample.new)
    old, new = sample.old[~old_gaps], sample.new[~new_gaps]
    if sample.kind == "datetime":
        return {}
    if sample.kind == "categorical":
        counts = _counts(old, sample), _counts(new, sample)
        tests = {"values": compare_shares(*counts, resamples=resamples, random=random)}
    elif sample.kind == "cyclic":
        tests = {"values": compare_numbers(np.mod(old, sample.period), np.mod(new, sample.period))}
    else:
        num_training = round(sample.num_training * (1 - old_gaps.mean())) if len(sample.old) else 0
        above, below = np.count_nonzero(new > sample.maximum), np.count_nonzero(new < sample.minimum)
        tests = {
            "values": compare_numbers(old, new),
            "above": compare_extremes(int(above), num_training, len(new)),
            "below": compare_extremes(int(below), num_training, len(new)),
        }
    old_counts, new_counts = (np.array([gaps.sum(), (~gaps).sum()]) for gaps in (old_gaps, new_gaps))
    return tests | {"gaps": compare_shares(old_counts, new_counts, resamples=resamples, random=random)}


def _counts(codes: Array, sample: InputSample) -> IntArray:
    return np.bincount(codes.astype(np.int64), minlength=len(sample.labels)).astype(np.int64)


def _describe(sample: InputSample) -> dict[str, Any]:
    """Return what a column was like in training, and what it is like now."""

    def describe(values: Array) -> dict[str, Any]:
        gaps = np.isnan(values)
        known = values[~gaps]
        described: dict[str, Any] = {"gaps": float(gaps.mean()) if len(values) else 0.0}
        if sample.kind == "categorical":
            counts = _counts(known, sample)
            total = max(int(counts.sum()), 1)
            shares = {label: int(count) / total for label, count in zip(sample.labels, counts, strict=True)}
            return described | {"shares": shares}
        if sample.kind == "cyclic" or not len(known):
            return described
        quartiles = [float(value) for value in np.quantile(known, [0.25, 0.5, 0.75])]
        return described | {"quartiles": quartiles, "sd": float(known.std())}

    unseen = 0.0
    if sample.kind == "categorical":
        unseen = float(np.mean(sample.new >= sample.num_known)) if len(sample.new) else 0.0
    outside: dict[str, Any] = {"share": unseen}
    if sample.kind in ("numeric", "datetime"):
        above, below = (sample.new > sample.maximum), (sample.new < sample.minimum)
        outside = {
            "share": float(np.mean(above | below)) if len(sample.new) else 0.0,
            "range": [sample.minimum, sample.maximum],
        }
    if unseen:
        outside["labels"] = list(sample.labels[sample.num_known :])
    return {"training": describe(sample.old), "new": describe(sample.new), "outside": outside}


def outcome_drift(
    reference: Reference, levels: Array, log_density: Array, names: Sequence[str], *, level: float, seed: int
) -> dict[str, Any]:
    """Bet that outcomes do not follow the forecasts as those of the held-out rows did.

    New rows are ranked among the held-out rows, so that a model that was never calibrated is not accused of a change.

    Args:
        reference: the run's.
        levels: [N, P + 1], of the new rows in the order in which they came; see `levels_of`.
        log_density: [N], of the same rows.
        names: [P], the targets.
        level: the probability that any of the P + 1 games ever wins if new and held-out rows are exchangeable.
        seed: breaks ties.

    Returns:
        {"num_rows", "num_held_out", "targets": {name: game}, "density": game, "log_score"}. A game is {"distance" (of
        the levels from those of the held-out rows, or without any from uniform ones), "evidence" (log10 of the largest
        capital, divided by the number of games), "changed", "in_any_order" (whether it is won with the rows shuffled,
        too), "position" (of the row at which it was decided, from 0; else None), "mean" and "spread" of the ranks (0.5
        and 0.25 if nothing has changed)}. The log score is the mean log density and its change.
    """
    random = np.random.default_rng(seed)
    capital = _capital(reference, levels, random)
    shuffled = _capital(reference, random.permutation(levels), random)
    played = []
    for k in range(levels.shape[1]):
        won = np.flatnonzero(capital[:, k] >= -math.log(level))
        played.append(
            {
                "distance": compare_numbers(reference.levels[:, k], levels[:, k]).size
                if len(reference.levels)
                else ks_distance(levels[:, k]),
                "evidence": float(capital[:, k].max() / math.log(10)),
                "changed": bool(len(won)),
                "in_any_order": bool(shuffled[:, k].max() >= -math.log(level)),
                "position": int(won[0]) if len(won) else None,
                "mean": float(levels[:, k].mean()),
                "spread": float(np.abs(levels[:, k] - 0.5).mean()),
                "held_out_mean": _mean_or_none(reference.levels[:, k]),
                "held_out_spread": _mean_or_none(np.abs(reference.levels[:, k] - 0.5)),
            }
        )
    return {
        "num_rows": len(levels),
        "num_held_out": len(reference.levels),
        "targets": dict(zip(names, played[:-1], strict=True)),
        "density": played[-1],
        "log_score": _log_score_change(reference.log_density, log_density),
    }


def _capital(reference: Reference, levels: Array, random: np.random.Generator) -> Array:
    """Return the log capital of each game after each new row, [N, P + 1], divided among the games."""
    ranks = [conformal_p_values(old, new, random=random) for old, new in zip(reference.levels.T, levels.T, strict=True)]
    return log_capital(np.stack(ranks, axis=1)) - math.log(levels.shape[1])


def _mean_or_none(values: Array) -> float | None:
    return float(values.mean()) if len(values) else None


def _log_score_change(old: Array, new: Array) -> dict[str, Any]:
    """Return the mean log density of new rows, that of the held-out rows, and the difference."""
    after = mean_with_error(new)
    if not len(old):
        return {"new": after}
    before = mean_with_error(old)
    change: dict[str, Any] = {"value": None, "se": None}
    if None not in (after["value"], before["value"]):
        errors = [error for error in (after["se"], before["se"]) if error is not None]
        change = {"value": after["value"] - before["value"], "se": math.hypot(*errors) if len(errors) == 2 else None}
    return {"held_out": before, "new": after, "change": change}


def sizes(inputs: Mapping[str, Any], outcomes: Mapping[str, Any] | None) -> dict[str, float | None]:
    """Return how far inputs and outcomes have drifted: the largest distance of a test that found a change, or 0.

    Chance alone makes no number here, however few the rows are; without targets, `outcomes` is None.
    """
    tests = [test for column in inputs["columns"].values() for test in column.values() if _is_test(test)]
    found: dict[str, float | None] = {"inputs": _largest([*tests, inputs["joint"]]), "outcomes": None}
    if outcomes is not None:
        found["outcomes"] = _largest([*outcomes["targets"].values(), outcomes["density"]])
    return found


def _is_test(value: Any) -> bool:
    return isinstance(value, Mapping) and "changed" in value


def _largest(tests: Sequence[Mapping[str, Any]]) -> float:
    return max((test["distance"] for test in tests if test["changed"]), default=0.0)
