"""Splits: every row once, whole groups, the last rows in time, the same seed the same split."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pandas as pd
import pytest

from cde_app import config
from cde_app.data.split import Split, split_rows
from cde_app.errors import DataError

SPLITS: dict[str, config.Split] = {
    "random": config.RandomSplit(validation=0.2, test=0.1),
    "group": config.GroupSplit(column="g", validation=0.2, test=0.1),
    "time": config.TimeSplit(column="t", validation=0.2, test=0.1),
    "column": config.ColumnSplit(column="part"),
}
splits = pytest.mark.parametrize("split", SPLITS.values(), ids=SPLITS.keys())


def table(num_rows: int = 100) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    parts = rng.choice(["train", "validation", "test"], num_rows)
    return pd.DataFrame({"g": rng.integers(0, 20, num_rows), "t": rng.permutation(num_rows), "part": parts})


def split_of(split: config.Split, frame: pd.DataFrame, seed: int = 0) -> Split:
    return split_rows(split, frame, seed=seed, source="a.csv")


def fault_of(split: config.Split, **columns: Any) -> str:
    with pytest.raises(DataError) as caught:
        split_of(split, pd.DataFrame(columns))
    return str(caught.value)


@splits
def test_every_row_is_in_exactly_one_part_and_parts_are_sorted(split: config.Split) -> None:
    parts = split_of(split, table())
    rows = [parts.train, parts.validation, parts.test]
    assert all(len(part) and np.all(np.diff(part) > 0) for part in rows)
    np.testing.assert_array_equal(np.sort(np.concatenate(rows)), np.arange(100))


@splits
def test_the_same_seed_gives_the_same_split(split: config.Split) -> None:
    first, second = split_of(split, table(), seed=3), split_of(split, table(), seed=3)
    np.testing.assert_array_equal(first.test, second.test)
    np.testing.assert_array_equal(first.validation, second.validation)


@pytest.mark.parametrize("kind", ["random", "group"])
def test_another_seed_gives_another_split(kind: str) -> None:
    first, second = split_of(SPLITS[kind], table(), seed=3), split_of(SPLITS[kind], table(), seed=4)
    assert first.train.tolist() != second.train.tolist()


@splits
def test_positions_count_from_the_first_row_whatever_the_index(split: config.Split) -> None:
    frame = table()
    shifted = frame.set_axis(np.arange(500, 600), axis=0)
    np.testing.assert_array_equal(split_of(split, frame).test, split_of(split, shifted).test)


def test_fractions_are_shares_of_all_rows() -> None:
    parts = split_of(SPLITS["random"], table(1000))
    assert (len(parts.train), len(parts.validation), len(parts.test)) == (700, 200, 100)


def test_a_fraction_of_zero_holds_out_nothing_and_any_other_at_least_one_row() -> None:
    parts = split_of(config.RandomSplit(validation=0, test=0.01), table(10))
    assert (len(parts.train), len(parts.validation), len(parts.test)) == (9, 0, 1)


@pytest.mark.parametrize(
    ("split", "enough"),
    [(config.RandomSplit(), 22_222), (config.GroupSplit(column="g"), 2222), (config.TimeSplit(column="t"), 2222)],
)
def test_automatic_validation_starts_where_enough_rows_are_left_besides_the_test_rows(
    split: config.Split, enough: int
) -> None:
    """At 20,000 rows of a random split, where below the members leave out rows of their own, else at 2000."""
    assert len(split_of(split, table(enough - 1)).validation) == 0
    frame = table(enough)
    validation = split_of(split, frame).validation
    if split.kind == "group":
        assert frame["g"].iloc[validation].nunique() == 2, "a tenth of the groups"
    else:
        assert len(validation) == round(0.1 * enough)


@pytest.mark.parametrize("test", [0.1, 0.15, 0.25, 0.3])
def test_a_random_split_of_2000_rows_or_more_leaves_each_training_rows_that_judge_it(test: float) -> None:
    training, edge = config.Training(), round(20_000 / (1 - test))
    for num_rows in (3000, 10_000, *range(edge - 3, edge + 4)):
        parts = split_of(config.RandomSplit(test=test), table(num_rows))
        num_train, num_validation = len(parts.train), len(parts.validation)
        num_left_out = training.resolved_left_out(num_train, num_validation_rows=num_validation)
        assert (num_validation > 0) != (num_left_out > 0)
        assert training.resolved_ensemble(num_train, num_validation_rows=num_validation) == (1 if num_validation else 2)


def test_groups_are_never_divided() -> None:
    frame = table(300)
    parts = split_of(SPLITS["group"], frame)
    groups = [set(frame["g"].iloc[part]) for part in (parts.train, parts.validation, parts.test)]
    assert [len(group) for group in groups] == [14, 4, 2]
    assert not groups[0] & groups[1]
    assert not groups[0] & groups[2]
    assert not groups[1] & groups[2]


def test_the_order_of_the_rows_does_not_change_which_groups_are_held_out() -> None:
    frame = table()
    turned = frame.iloc[::-1]
    first, second = split_of(SPLITS["group"], frame), split_of(SPLITS["group"], turned)
    assert set(frame["g"].iloc[first.test]) == set(turned["g"].iloc[second.test])


@pytest.mark.parametrize("as_dates", [False, True])
def test_the_last_rows_in_time_are_the_test_rows_and_those_before_them_validation(as_dates: bool) -> None:
    frame = table()
    order = frame["t"].to_numpy()
    if as_dates:
        frame["t"] = (pd.Timestamp("2024-01-01") + pd.to_timedelta(frame["t"], unit="D")).dt.strftime("%Y-%m-%d")
    parts = split_of(SPLITS["time"], frame)
    assert sorted(order[parts.test]) == list(range(90, 100))
    assert sorted(order[parts.validation]) == list(range(70, 90))


def test_a_column_says_which_row_is_which() -> None:
    parts = split_of(SPLITS["column"], pd.DataFrame({"part": ["test", "train", "train", "test"]}))
    assert (parts.train.tolist(), parts.validation.tolist(), parts.test.tolist()) == ([1, 2], [], [0, 3])


def test_an_unknown_label_of_a_column_split_is_named() -> None:
    assert fault_of(SPLITS["column"], part=["train", "Train", "valid"]) == (
        "a.csv: column 'part' must say 'train', 'validation' or 'test' in every row; got 'Train', 'valid', first in "
        "row 2 of the table. Correct the labels, or choose another data.split."
    )


@pytest.mark.parametrize("kind", ["column", "group", "time"])
def test_a_gap_in_the_column_of_a_split_is_named(kind: str) -> None:
    split = SPLITS[kind]
    name = split.column  # type: ignore[union-attr]
    assert fault_of(split, **{name: [1, None, 3]}) == (
        f"a.csv: column {name!r} must have a value in every row, as data.split uses it; got 1 empty, first in "
        "row 2 of the table. Fill the column, or choose another data.split."
    )


def test_a_missing_split_column_is_named() -> None:
    assert fault_of(config.TimeSplit(column="tme"), time=[1, 2, 3]) == (
        "a.csv: no column 'tme' (data.split); columns are 'time'. Did you mean 'time'?"
    )


def test_text_that_is_no_time_is_named() -> None:
    assert fault_of(SPLITS["time"], t=["2024-01-01", "soon"]) == (
        "a.csv: column 't' must be numbers or ISO 8601 dates to split by time; got 'soon' in row 2 of the table. "
        "Rewrite the column, or split otherwise."
    )


def test_a_split_that_leaves_no_training_rows_is_refused() -> None:
    assert fault_of(config.RandomSplit(validation=0.5, test=0.6), t=[1, 2, 3, 4]) == (
        "a.csv: the split must leave at least 2 training rows; got 0 of 4. "
        "Lower data.split.test and data.split.validation, or add rows."
    )


def test_too_few_groups_are_refused() -> None:
    assert fault_of(SPLITS["group"], g=[1, 1, 2, 2]) == (
        "a.csv: column 'g' must have enough groups to train, validate and test; got 2. "
        "Lower data.split.test and data.split.validation, or choose another column."
    )


# --- rows that are kept out for a map of the probabilities ------------------------------------------------------------


@splits
def test_kept_out_rows_come_from_those_to_train_on_and_nothing_else_moves(split: config.Split) -> None:
    frame = table(1000)
    before, after = split_of(split, frame), split_rows(split, frame, seed=0, source="a.csv", kept_out=0.2)
    assert not len(before.calibration)
    assert before.names == ("train", "validation", "test")
    assert after.names == ("train", "validation", "test", "calibration")
    np.testing.assert_array_equal(after.test, before.test)
    np.testing.assert_array_equal(after.validation, before.validation)
    np.testing.assert_array_equal(np.union1d(after.train, after.calibration), before.train)
    assert len(after.train) + len(after.calibration) == len(before.train)
    assert abs(len(after.calibration) - 200) <= (100 if split.kind == "group" else 0)


def test_whole_groups_and_the_latest_rows_are_kept_out() -> None:
    frame = table(1000)
    by_group = split_rows(SPLITS["group"], frame, seed=0, source="a.csv", kept_out=0.2)
    assert not set(frame["g"].iloc[by_group.calibration]) & set(frame["g"].iloc[by_group.train])
    in_time = split_rows(SPLITS["time"], frame, seed=0, source="a.csv", kept_out=0.2)
    times = [frame["t"].iloc[part] for part in (in_time.train, in_time.calibration, in_time.validation, in_time.test)]
    assert all(before.max() < after.min() for before, after in itertools.pairwise(times))


def test_too_few_rows_for_a_map_are_refused() -> None:
    with pytest.raises(DataError) as caught:
        split_rows(SPLITS["random"], table(), seed=0, source="a.csv", kept_out=0.2)
    assert str(caught.value) == (
        "a.csv: expected at least 39 rows kept out of the training for a map of the probabilities; got 20 of 100. "
        "Raise training.calibration.kept_out, add rows, or set training.calibration.kind to width."
    )
