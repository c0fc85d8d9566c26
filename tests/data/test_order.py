"""A random split of rows that belong together is warned of; of rows that are merely sorted it is not."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from cde_app import config
from cde_app.data.readings import read_for_training

CHUNK = 700


def warnings_of(frame: pd.DataFrame, folder: Path, *, inputs: Any = ("x",), **more: Any) -> tuple[str, ...]:
    block = {"path": "a.csv", "inputs": inputs, "targets": ["y"], "missing": {"kind": "drop"}, **more}
    chunks = [frame.iloc[start : start + CHUNK] for start in range(0, len(frame), CHUNK)]
    return read_for_training(
        config.Data.model_validate(block), chunks, folder / "readings.npy", source="a.csv"
    ).warnings


def random(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def patients(num_groups: int = 100, size: int = 20, *, effect: float = 1.0, seed: int = 0) -> pd.DataFrame:
    """Groups of consecutive rows, the target of each about a level of its own."""
    group = np.repeat(np.arange(num_groups), size)
    y = effect * random(seed).standard_normal(num_groups)[group] + random(seed + 1).standard_normal(len(group))
    return pd.DataFrame({"id": group, "x": random(seed + 2).standard_normal(len(group)), "y": y})


def hours(num_rows: int = 2000, *, wander: float = 0.2) -> pd.DataFrame:
    """Rows in time, the target of which wanders."""
    y = np.cumsum(wander * random().standard_normal(num_rows)) + random(1).standard_normal(num_rows)
    time = pd.date_range("2026-01-01", periods=num_rows, freq="h")
    return pd.DataFrame({"time": time, "x": random(2).standard_normal(num_rows), "y": y})


GROUPS = (
    "rows with the same 'id' are consecutive and alike (100 values): a random split gives scores that are too good if "
    "the model is to predict new values; in that case set data.split to {kind: group, column: id}."
)
TIMES = (
    "the rows are in the order of 'time', and consecutive rows are alike: a random split gives scores that are too "
    "good if the model is to predict later rows; in that case set data.split to {kind: time, column: time}."
)


@pytest.mark.parametrize(
    "change",
    [
        lambda frame: frame,
        lambda frame: frame.assign(id="patient " + frame["id"].astype(str)),
        lambda frame: frame.assign(id=(7 * frame["id"]) % 101),
        lambda frame: frame.assign(y=np.exp(5 * frame["y"])),
        lambda frame: frame.assign(y=frame["y"].mask(frame.index % 9 == 0)),
        lambda frame: frame[random().uniform(size=len(frame)) < 0.5].reset_index(drop=True),
    ],
    ids=["numbers", "labels", "numbers in no order", "outliers", "gaps in the target", "groups of several sizes"],
)
def test_groups_of_rows_that_are_alike_are_named(
    change: Callable[[pd.DataFrame], pd.DataFrame], tmp_path: Path
) -> None:
    assert warnings_of(change(patients()), tmp_path) == (GROUPS,)


def test_rows_of_a_group_that_resemble_the_row_before_are_alike_too(tmp_path: Path) -> None:
    frame = patients(effect=0.0)
    frame["y"] = frame["y"].rolling(5, min_periods=1).mean()
    assert warnings_of(frame, tmp_path) == (GROUPS,)


def test_a_group_that_is_an_input_is_named_unless_its_labels_are_few(tmp_path: Path) -> None:
    assert warnings_of(patients(), tmp_path, inputs=("x", "id")) == (GROUPS,)
    known = {"column": "id", "kind": "categorical"}
    assert warnings_of(patients(), tmp_path, inputs=("x", known)) == (GROUPS,)
    assert warnings_of(patients(50, 40), tmp_path, inputs=("x", known)) == ()


def test_of_nested_groups_the_largest_are_named(tmp_path: Path) -> None:
    frame = patients()
    assert "'clinic'" in warnings_of(frame.assign(clinic=frame["id"] // 4, y=frame["id"] // 4 % 7), tmp_path)[0]


@pytest.mark.parametrize("text", [False, True])
@pytest.mark.parametrize("falling", [False, True])
def test_dates_in_order_are_named(text: bool, falling: bool, tmp_path: Path) -> None:
    frame = hours()
    frame["time"] = frame["time"].dt.strftime("%Y-%m-%dT%H:%M") if text else frame["time"]
    frame = frame[::-1].reset_index(drop=True) if falling else frame
    assert warnings_of(frame, tmp_path) == (TIMES,)


def test_another_split_is_not_warned_of(tmp_path: Path) -> None:
    for split in ({"kind": "group", "column": "id"}, {"kind": "time", "column": "id"}):
        assert warnings_of(patients(), tmp_path, split=split) == ()


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize(
    "make",
    [
        lambda seed: patients(effect=0.0, seed=seed),
        lambda seed: patients(effect=0.3, seed=seed),
        lambda seed: patients(seed=seed).sample(frac=1, random_state=seed).reset_index(drop=True),
        lambda seed: patients(8, 250, seed=seed),
        lambda seed: patients(1000, 2, seed=seed),
        lambda seed: hours().assign(y=random(seed).standard_normal(2000)),
        lambda seed: hours().sample(frac=1, random_state=seed).reset_index(drop=True),
    ],
    ids=[
        "groups without an effect",
        "groups with a small effect",
        "groups in no order",
        "few groups",
        "pairs",
        "dates without an effect",
        "dates in no order",
    ],
)
def test_rows_that_need_not_stay_together_raise_no_alarm(
    make: Callable[[int], pd.DataFrame], seed: int, tmp_path: Path
) -> None:
    assert warnings_of(make(seed), tmp_path) == ()


@pytest.mark.parametrize("num_rows", [200, 2000, 20_000])
def test_rows_that_are_sorted_by_an_input_raise_no_alarm(num_rows: int, tmp_path: Path) -> None:
    age = np.sort(random().integers(18, 90, num_rows))
    y = 0.05 * age + random(1).standard_normal(num_rows)
    frame = pd.DataFrame({"age": age, "x": random(2).standard_normal(num_rows), "y": y})
    assert warnings_of(frame, tmp_path, inputs=("age", "x")) == ()
    rounded = pd.DataFrame({"age": age / 10, "x": frame["x"], "y": frame["y"]})
    assert warnings_of(rounded, tmp_path, inputs=("age", "x")) == ()


def test_a_designed_experiment_raises_no_alarm(tmp_path: Path) -> None:
    a, b, c = (axis.ravel() for axis in np.meshgrid(np.arange(12), np.arange(4), np.arange(16), indexing="ij"))
    frame = pd.DataFrame({"a": a, "b": b, "c": c, "y": a - 2.0 * b + 0.1 * c + random().standard_normal(a.size)})
    for order in (["a", "b", "c"], ["b", "c", "a"], ["c", "a", "b"]):
        ordered = frame.sort_values(order).reset_index(drop=True)
        assert warnings_of(ordered, tmp_path, inputs=("a", "b", "c")) == (), order


def test_the_chunks_do_not_matter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for size in (1, 19, 20, 333, 5000):
        monkeypatch.setitem(globals(), "CHUNK", size)
        assert warnings_of(patients(30, 20, effect=2.0), tmp_path) == (GROUPS.replace("100", "30"),)


def test_the_text_of_a_csv_is_looked_at_as_what_it_means(tmp_path: Path) -> None:
    age = np.sort(random().integers(18, 90, 2000)) / 10
    by_age = hours().assign(age=age, y=5 * age + random(1).standard_normal(2000)).drop(columns="time")
    for frame, expected in ((patients(), (GROUPS,)), (hours(), (TIMES,)), (by_age, ())):
        text = frame.astype("string")
        assert warnings_of(text, tmp_path) == expected
        commas = text.apply(lambda cells: cells.str.replace(".", ",", regex=False))
        assert warnings_of(commas, tmp_path, format={"decimal": ","}) == expected


def test_a_column_with_a_gap_in_words_is_in_no_order(tmp_path: Path) -> None:
    text = patients().astype("string")
    text.loc[7, "id"] = "NA"
    assert warnings_of(text, tmp_path) == ()
    assert warnings_of(text, tmp_path, format={"gaps": []}) == ()  # a label that interrupts another
