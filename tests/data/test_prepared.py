"""A table made ready: the same arrays from one file and from partitions, in memory that the rows do not fill."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from cde_app.config import Config
from cde_app.data import prepared
from cde_app.data.prepared import PreparedTable, prepare_evaluation, prepare_training
from cde_app.data.table import read_table, write_table
from cde_app.machine import rows


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (rows, prepared):
        monkeypatch.setattr(module, "BLOCK_ROWS", 500)


def config_of(path: str, inputs: list[Any], **data: Any) -> Config:
    data = {"path": path, "inputs": inputs, "targets": ["y"], **data}
    return Config.model_validate({"schema_version": 1, "data": data})


def prepare(config: Config, name: str) -> PreparedTable:
    Path(name).mkdir()
    return prepare_training(config, Path(name))


def mixed_table(num_rows: int) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    a = rng.normal(size=num_rows)
    a[::50] = np.nan
    minutes = pd.date_range("2024-01-01", periods=num_rows, freq="37min").strftime("%Y-%m-%dT%H:%M")
    columns = {"a": a, "c": rng.choice(["x", "y", "z"], num_rows), "d": minutes, "h": rng.uniform(0, 24, num_rows)}
    return pd.DataFrame({**columns, "g": rng.integers(0, 40, num_rows), "y": rng.normal(size=num_rows)})


MIXED = [
    "a",
    {"column": "c", "kind": "categorical"},
    {"column": "d", "kind": "datetime"},
    {"column": "h", "kind": "cyclic", "period": 24},
]


@pytest.mark.usefixtures("small_blocks")
@pytest.mark.parametrize(
    "split", [{"kind": "random"}, {"kind": "group", "column": "g"}, {"kind": "time", "column": "d"}]
)
@pytest.mark.parametrize("missing", ["drop", "impute_with_indicator"])
def test_partitions_of_any_format_and_size_give_the_bytes_of_one_file(missing: str, split: dict[str, str]) -> None:
    frame = mixed_table(2600)
    write_table(Path("whole.csv"), dict(frame.items()), file_format="csv")
    for number, (first, last) in enumerate([(0, 300), (300, 1800), (1800, 2600)]):
        part = frame[first:last]
        write_table(Path(f"part{number}"), dict(part.items()), file_format="parquet" if number == 1 else "csv")
    whole, parts = (
        prepare(config_of(path, MIXED, split=split, missing={"kind": missing}), name)
        for path, name in (("whole.csv", "w"), ("part*", "p"))
    )
    assert whole.contract == parts.contract
    for name in ("rows", "inputs", "targets"):
        assert getattr(whole, name).tobytes() == getattr(parts, name).tobytes(), name
    for name in ("train", "validation", "test"):
        np.testing.assert_array_equal(getattr(whole.split, name), getattr(parts.split, name))
    assert len(whole.rows) == (2548 if missing == "drop" else 2600)
    Path("e").mkdir()
    again = prepare_evaluation(
        "part*", whole.contract, config_of("part*", MIXED, split=split).data.split, whole.split, Path("e")
    )
    assert again.inputs.tobytes() == whole.inputs.tobytes()
    np.testing.assert_array_equal(again.rows, whole.rows)


def peak_bytes(work: Callable[[], object]) -> int:
    """Return the most bytes in use at once, by NumPy and Python."""
    tracemalloc.start()
    work()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return peak


@pytest.mark.usefixtures("small_blocks")
def test_memory_grows_by_a_few_numbers_a_row_however_many_columns_there_are() -> None:
    names = [f"x{number}" for number in range(30)]
    rng, few, many = np.random.default_rng(0), 3_000, 15_000
    for num_rows in (few, many):
        values = {name: rng.integers(0, 1000, num_rows) for name in [*names, "y"]}
        write_table(Path(f"{num_rows}.csv"), values, file_format="csv")

    def growth(work: Callable[[str], object]) -> float:
        """Return the bytes of memory that one more row takes."""
        return (peak_bytes(lambda: work(f"{many}.csv")) - peak_bytes(lambda: work(f"{few}.csv"))) / (many - few)

    number = 8
    assert growth(lambda path: prepare(config_of(path, names), path.removesuffix(".csv"))) < 8 * number
    numbers = lambda path: read_table(path).astype(float)  # noqa: E731
    assert growth(numbers) > 30 * number, "the control: a table in memory takes a number for each of its cells"


def test_of_a_prepared_table_four_bytes_a_row_stay_in_memory() -> None:
    names, few, many = ["x0", "x1"], 5_000, 45_000
    for num_rows in (few, many):
        values = {name: np.random.default_rng(0).normal(size=num_rows).round(3) for name in [*names, "y"]}
        write_table(Path(f"{num_rows}.csv"), values, file_format="csv")

    def kept_bytes(num_rows: int) -> int:
        tracemalloc.start()
        table = prepare(config_of(f"{num_rows}.csv", names), str(num_rows))
        kept = tracemalloc.get_traced_memory()[0]
        tracemalloc.stop()
        assert len(table.inputs) == num_rows
        return kept

    prepare(config_of(f"{few}.csv", names), "first")  # what is cached once
    assert (kept_bytes(many) - kept_bytes(few)) / (many - few) == pytest.approx(4, abs=1)


def test_a_training_is_warned_of_what_its_cells_and_its_target_are() -> None:
    y = np.where(np.arange(300) % 3, 0.0, np.random.default_rng(0).gamma(2.0, size=300))
    labels = ["NA", "a", "A", *["b"] * 297]
    pd.DataFrame({"x": np.random.default_rng(1).normal(size=300), "c": labels, "y": y}).to_csv("t.csv", index=False)
    config = config_of(
        "t.csv", ["x", {"column": "c", "kind": "categorical"}], missing={"kind": "impute_with_indicator"}
    )
    assert prepare(config, "folder").warnings == (
        "column 'c' has 1 gap (1 'NA'); a word that is a label must not be among data.format.gaps.",
        "column 'c' has labels that differ only in their spelling, such as 'A' and 'a'; they stay distinct.",
        (
            "target 'y' is exactly 0 in 67 % of the rows and never below: forecasts will have mass below 0; read it as "
            "mass at 0."
        ),
    )


@pytest.mark.parametrize(("test", "num_groups"), [(0.1, 3), (0.7, 21)])
def test_a_score_on_few_groups_is_told(test: float, num_groups: int) -> None:
    random, groups = np.random.default_rng(0), np.repeat(np.arange(30), 5)
    table = {"g": groups, "x": random.normal(size=150), "y": random.normal(size=150)}
    pd.DataFrame(table).to_csv("t.csv", index=False)
    config = config_of("t.csv", ["x"], split={"kind": "group", "column": "g", "test": test, "validation": 0})
    warning = (
        "the test rows are from 3 groups of 'g', whose rows may be alike: so few groups make the standard errors "
        "rough, and the verdict, which counts rows, too optimistic. Raise data.split.test, or evaluate a table of new "
        "groups."
    )
    assert prepare(config, "folder").warnings == ((warning,) if num_groups < 20 else ())


@pytest.mark.parametrize("is_input", [True, False])
def test_rows_know_their_groups_and_a_group_that_is_an_input_is_warned_of(*, is_input: bool) -> None:
    frame = mixed_table(400).assign(g=np.repeat(np.arange(40), 10))
    write_table(Path("t.csv"), dict(frame.items()), file_format="csv")
    inputs = [*MIXED[1:], *(["g"] if is_input else [])]
    table = prepare(config_of("t.csv", inputs, split={"kind": "group", "column": "g"}), "folder")
    assert table.groups is not None
    for group in range(40):
        assert len(set(table.groups[frame.g.to_numpy() == group])) == 1
    assert len(set(table.groups)) == 40
    warned = [warning for warning in table.warnings if "groups the split and is an input too" in warning]
    assert len(warned) == is_input
    assert prepare(config_of("t.csv", inputs), "other").groups is None
