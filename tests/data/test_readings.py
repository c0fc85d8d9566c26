"""A table read in chunks is the table read at once: its values, its labels, its faults and the cells of its split."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from cde_app import config
from cde_app.data.readings import Readings, read_for_training
from cde_app.data.split import SplitCells, split_rows
from cde_app.errors import DataError

INPUTS = ["a", {"column": "c", "kind": "categorical"}, {"column": "d", "kind": "datetime"}]


def data_of(missing: str = "error", **blocks: Any) -> config.Data:
    return config.Data.model_validate(
        {"path": "a.csv", "inputs": INPUTS, "targets": ["y"], "missing": {"kind": missing}, **blocks}
    )


def table(num_rows: int = 60) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    days = pd.date_range("2024-01-01", periods=num_rows).strftime("%Y-%m-%d")
    labels = rng.choice(["north", "01", "x"], num_rows)
    return pd.DataFrame({"a": rng.normal(size=num_rows), "c": labels, "d": days, "y": rng.normal(size=num_rows)})


def chunks_of(frame: pd.DataFrame, size: int = 7) -> list[pd.DataFrame]:
    return [frame.iloc[start : start + size] for start in range(0, len(frame), size)]


def named(readings: Readings) -> np.ndarray:
    """Return the values with labels in place of their places."""
    values = readings.values.astype(object)
    for place, labels in enumerate(readings.labels):
        if labels:
            values[:, place] = [None if np.isnan(value) else labels[int(value)] for value in values[:, place]]
    return values


@pytest.mark.parametrize("missing", ["drop", "impute_with_indicator"])
def test_chunks_read_as_the_whole_table_does(missing: str, tmp_path: Path) -> None:
    frame = table()
    frame.loc[[3, 40], "a"] = np.nan
    frame.loc[[9], "c"] = None
    read = [
        read_for_training(data_of(missing), chunks, tmp_path / f"{name}.npy", source="a.csv")
        for name, chunks in (("whole", [frame]), ("chunks", chunks_of(frame)))
    ]
    np.testing.assert_array_equal(*(pd.DataFrame(named(one), dtype=object).fillna(-1).to_numpy() for one in read))
    np.testing.assert_array_equal(read[0].kept, read[1].kept)
    assert len(read[0].kept) == (57 if missing == "drop" else 60)


def test_a_label_that_one_chunk_holds_as_a_number_is_that_of_its_digits(tmp_path: Path) -> None:
    frame = table(5)
    chunks = [frame[:2].assign(c=[1, 2]), frame[2:4].assign(c=["01", "2"]), frame[4:].assign(c=[1.0])]
    readings = read_for_training(data_of(), chunks, tmp_path / "a.npy", source="a.csv")
    assert readings.labels[1] == ("1", "2", "01")
    assert readings.column(1).tolist() == [0, 1, 2, 1, 0]


def test_the_faults_of_all_chunks_are_told_at_once_with_their_counts_and_first_rows(tmp_path: Path) -> None:
    frame = table().astype({"a": object})
    frame.loc[[8, 30, 31], "a"] = None
    frame.loc[[20, 50], "d"] = "soon"
    frame.loc[45, "a"] = "high"
    frame.loc[[12, 13, 59], "a"] = -np.inf
    frame["y"] = 3.0
    frame["z"] = [*range(57), -2, 3, -1]
    targets, said = ["y", {"column": "z", "transform": {"kind": "log"}}], []
    for chunks in ([frame], chunks_of(frame)):
        with pytest.raises(DataError) as caught:
            read_for_training(data_of(targets=targets), chunks, tmp_path / "a.npy", source="a.csv")
        said.append(caught.value.faults)
    assert said[0] == said[1]
    assert [fault.partition("; ")[2].partition(". ")[0] for fault in said[1]] == [
        "got 3 empty cells, first in row 9 of the table",
        "got 'high' in row 46 of the table",
        "got 3 cells such as -inf, first in row 13 of the table",
        "got 2 cells such as 'soon', first in row 21 of the table",
        "got 3 in every row",
        "got 3 cells such as 0, first in row 1 of the table",
    ]


SPLITS = [
    config.GroupSplit(column="s", validation=0.2, test=0.2),
    config.TimeSplit(column="s", validation=0.2, test=0.2),
]


@pytest.mark.parametrize("split", SPLITS, ids=["group", "time"])
@pytest.mark.parametrize("cells", ["numbers", "dates", "years then dates"])
def test_a_split_by_chunks_is_the_split_of_the_whole_column(split: config.Split, cells: str) -> None:
    order = np.random.default_rng(1).permutation(60)
    dates = pd.Series(pd.date_range("2024-01-01", periods=60).strftime("%Y-%m-%d"))[order].reset_index(drop=True)
    columns = {
        "numbers": pd.Series(order),
        "dates": dates,
        "years then dates": pd.concat([pd.Series(np.sort(order)[:14] + 1900).astype(str), dates[14:]]),
    }
    frame = columns[cells].to_frame("s")
    gathered = SplitCells(split, form=config.TableFormat(), timezone="", source="a.csv")
    for number, chunk in enumerate(chunks_of(frame)):
        gathered.add(chunk.astype(int) if cells == "years then dates" and number < 2 else chunk)
    kept = np.flatnonzero(np.arange(60) % 11)
    found = split_rows(split, gathered.rows(kept), seed=0, source="a.csv")
    expected = split_rows(split, frame.iloc[kept], seed=0, source="a.csv")
    for part in ("train", "validation", "test"):
        np.testing.assert_array_equal(getattr(found, part), getattr(expected, part))
        assert len(getattr(found, part))


def test_a_time_that_is_none_is_named_by_its_row() -> None:
    frame = pd.DataFrame({"s": [*range(20), "later", *range(20)]}, dtype=object)
    gathered = SplitCells(config.TimeSplit(column="s"), form=config.TableFormat(), timezone="", source="a.csv")
    for chunk in (frame[:20].astype(int), frame[20:21], frame[21:].astype(int)):
        gathered.add(chunk)
    with pytest.raises(DataError, match=r"numbers or ISO 8601 dates to split by time; got 'later' in row 21 of the"):
        split_rows(config.TimeSplit(column="s"), gathered.rows(np.arange(41)), seed=0, source="a.csv")


def test_a_time_split_refuses_times_with_and_without_an_offset_unless_the_column_has_a_timezone(tmp_path: Path) -> None:
    days = [f"2024-01-{day:02}T00:00{'Z' if day > 5 else ''}" for day in range(1, 31)]
    frame = table(30).assign(t=days)
    data = data_of(split={"kind": "time", "column": "t"})
    with pytest.raises(
        DataError, match=r"column 't' must have an offset from UTC in every time or in none; got none for"
    ):
        read_for_training(data, chunks_of(frame), tmp_path / "a.npy", source="a.csv")
    with pytest.raises(DataError) as caught:
        both = data_of(inputs=[*INPUTS, {"column": "t", "kind": "datetime"}], split={"kind": "time", "column": "t"})
        read_for_training(both, chunks_of(frame), tmp_path / "a.npy", source="a.csv")
    assert len(caught.value.faults) == 1
    inputs = [*INPUTS, {"column": "t", "kind": "datetime", "timezone": "Europe/Berlin"}]
    readings = read_for_training(
        data_of(inputs=inputs, split={"kind": "time", "column": "t"}),
        chunks_of(frame),
        tmp_path / "a.npy",
        source="a.csv",
    )
    np.testing.assert_array_equal(readings.by["t"], readings.column(3))
