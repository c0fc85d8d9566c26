"""Every type of column that a Parquet file can hold: used as what it is, or left out and refused by name."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from cde_app import config
from cde_app.data.columns import read_gaps
from cde_app.data.encoding import encode_inputs, fit_contract
from cde_app.data.frame import plain_frame
from cde_app.data.infer import infer_data
from cde_app.data.prepared import prepare_evaluation
from cde_app.data.readings import Readings, read_for_training
from cde_app.data.split import Split
from cde_app.data.table import iter_table, read_table
from cde_app.errors import DataError

NUM_ROWS = 60
GAPS = ("error", "impute_with_indicator")


def cells(make: Any, *, gap: bool) -> list[Any]:
    """Sixty cells that vary, the tenth of them empty or not."""
    return [None if gap and n == 9 else make(n % 7) for n in range(NUM_ROWS)]


def number(n: int) -> float:
    return n + 0.5


def day(n: int) -> dt.datetime:
    return dt.datetime(2024, 1, 1 + n)


NUMBERS: dict[str, tuple[pa.DataType, Any]] = {
    "bool": (pa.bool_(), lambda n: n > 3),
    **{str(kind): (kind, int) for kind in (pa.int8(), pa.uint8(), pa.int32(), pa.int64(), pa.uint64())},
    "uint64 above int64": (pa.uint64(), lambda n: 2**63 + 2**40 * n),
    "half": (pa.float16(), lambda n: np.float16(number(n))),
    **{str(kind): (kind, number) for kind in (pa.float32(), pa.float64())},
    **{
        str(kind): (kind, lambda n: Decimal(number(n)))
        for kind in (pa.decimal32(5, 2), pa.decimal64(9, 2), pa.decimal128(20, 2), pa.decimal256(50, 2))
    },
    "numbers in a dictionary": (pa.dictionary(pa.int8(), pa.float64()), number),
    "bool8": (pa.bool8(), lambda n: int(n > 3)),
}
DATES: dict[str, tuple[pa.DataType, Any]] = {
    **{
        f"{unit} {zone}": (pa.timestamp(unit, zone), day)
        for unit in ("s", "ms", "us", "ns")
        for zone in (None, "UTC", "Europe/Berlin")
    },
    "a year that nanoseconds do not reach": (pa.timestamp("us"), lambda n: dt.datetime(9990, 1, 1 + n)),
    "date32": (pa.date32(), lambda n: day(n).date()),
    "date64": (pa.date64(), lambda n: day(n).date()),
    "dates in a dictionary": (pa.dictionary(pa.int8(), pa.date32()), lambda n: day(n).date()),
}
LABELS: dict[str, tuple[pa.DataType, Any]] = {
    **{str(kind): (kind, "label {}".format) for kind in (pa.string(), pa.large_string(), pa.string_view())},
    "labels in a dictionary": (pa.dictionary(pa.int8(), pa.string()), "label {}".format),
    "json": (pa.json_(), '"{}"'.format),
}
FOREIGN: dict[str, tuple[pa.DataType, Any, str]] = {
    "list": (pa.list_(pa.int64()), lambda n: [n], "lists"),
    "large list": (pa.large_list(pa.int64()), lambda n: [n], "lists"),
    "fixed-size list": (pa.list_(pa.float32(), 2), lambda n: [n, n], "lists"),
    "list view": (pa.list_view(pa.int64()), lambda n: [n], "lists"),
    "list of records": (pa.list_(pa.struct({"a": pa.int64()})), lambda n: [{"a": n}], "lists"),
    "struct": (pa.struct({"a": pa.int64()}), lambda n: {"a": n}, "records"),
    "struct of lists": (pa.struct({"a": pa.list_(pa.int64())}), lambda n: {"a": [n]}, "records"),
    "map": (pa.map_(pa.string(), pa.int64()), lambda n: [("a", n)], "maps"),
    "binary": (pa.binary(), lambda n: bytes([n]), "bytes"),
    "large binary": (pa.large_binary(), lambda n: bytes([n]), "bytes"),
    "binary of one size": (pa.binary(1), lambda n: bytes([n]), "bytes"),
    "binary view": (pa.binary_view(), lambda n: bytes([n]), "bytes"),
    "bytes in a dictionary": (pa.dictionary(pa.int8(), pa.binary()), lambda n: bytes([n]), "bytes"),
    "uuid": (pa.uuid(), lambda n: bytes([n]) * 16, "bytes"),
    "duration": (pa.duration("us"), lambda n: dt.timedelta(n), "durations"),
    "time32": (pa.time32("s"), lambda n: dt.time(n), "times of day"),
    "time64": (pa.time64("us"), lambda n: dt.time(n), "times of day"),
}
EXPECTED = {
    "numeric": "numbers",
    "datetime": "ISO 8601 dates such as 2024-01-31T12:00",
    "categorical": "labels",
}


def array_of(kind: pa.DataType, values: list[Any]) -> pa.Array:
    """Make an array; pyarrow makes no dictionary of everything, and no extension type of plain values."""
    if isinstance(kind, pa.BaseExtensionType):
        return pa.ExtensionArray.from_storage(kind, pa.array(values, kind.storage_type))
    if isinstance(kind, pa.DictionaryType):
        return pa.array(values, kind.value_type).dictionary_encode()
    return pa.array(values, kind)


def write(kind: pa.DataType, values: list[Any], *, name: str = "a.parquet", column: str = "c") -> None:
    y = np.random.default_rng(0).standard_normal(len(values))
    table = pa.table({"x": np.sin(np.arange(len(values))), column: array_of(kind, values), "y": y})
    pq.write_table(table, name)


def data_of(*inputs: Any, policy: str = "error", **more: Any) -> config.Data:
    block = {"path": "a.parquet", "inputs": inputs, "targets": ["y"], "missing": {"kind": policy}, **more}
    return config.Data.model_validate(block)


def read_all(data: config.Data) -> Readings:
    return read_for_training(data, iter_table("a.parquet", chunk_rows=25), Path("r.npy"), source="a.parquet")


def use(data: config.Data) -> None:
    """Read the table for a training, fit the contract, and read it again for a prediction and for an evaluation."""
    readings = read_all(data)
    contract = fit_contract(
        data, lambda n: readings.column(n, readings.kept), readings.labels, readings.has_offset, source="a.parquet"
    )
    for chunk in iter_table("a.parquet", chunk_rows=25):
        assert np.isfinite(encode_inputs(contract, chunk, source="a.parquet")).all()
    split = Split(np.arange(0), np.arange(0), np.arange(NUM_ROWS))
    table = prepare_evaluation("a.parquet", contract, data.split, split, Path.cwd())
    assert table.inputs.shape == (NUM_ROWS, len(contract.feature_names))


@pytest.fixture(autouse=True)
def in_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


USED = [
    *((name, "numeric", *entry) for name, entry in NUMBERS.items()),
    *((name, "datetime", *entry) for name, entry in DATES.items()),
    *((name, "categorical", *entry) for name, entry in LABELS.items()),
]


@pytest.mark.parametrize("policy", GAPS)
@pytest.mark.parametrize(("name", "kind", "arrow", "make"), USED, ids=[entry[0] for entry in USED])
def test_a_column_of_a_usable_type_is_used_as_what_it_is(
    name: str, kind: str, arrow: pa.DataType, make: Any, policy: str
) -> None:
    write(arrow, cells(make, gap=policy != "error"))
    inference = infer_data(read_table("a.parquet"), ["y"], path="a.parquet")
    assert {column.column: column.kind for column in inference.data.inputs}["c"] == kind
    assert inference.data.missing.kind == policy
    use(inference.data)
    use(data_of("x", {"column": "c", "kind": "categorical"}, policy=policy))


@pytest.mark.parametrize(("arrow", "make"), NUMBERS.values(), ids=NUMBERS.keys())
def test_numbers_have_their_values_and_may_be_targets(arrow: pa.DataType, make: Any) -> None:
    write(arrow, cells(make, gap=True))
    expected = [np.nan if value is None else float(value) for value in cells(make, gap=True)]
    readings = read_all(data_of("x", "c", policy="drop"))
    np.testing.assert_array_equal(readings.values[:, 1], expected)
    write(arrow, cells(make, gap=False))
    block = {"path": "a.parquet", "inputs": ["x"], "targets": ["c"]}
    np.testing.assert_array_equal(read_all(config.Data.model_validate(block)).values[:, 1], cells(make, gap=False))


def test_integers_beside_gaps_keep_every_digit_as_labels() -> None:
    write(pa.int64(), [None, *range(2**60, 2**60 + NUM_ROWS - 1)])
    data = data_of("x", {"column": "c", "kind": "categorical"}, policy="drop")
    assert read_all(data).labels[1] == tuple(str(2**60 + n) for n in range(NUM_ROWS - 1))


def test_dates_of_all_types_are_the_same_days() -> None:
    expected = [(day(n % 7) - dt.datetime(1970, 1, 1)) / dt.timedelta(days=1) for n in range(NUM_ROWS)]
    for name, (arrow, make) in DATES.items():
        if "year" not in name:
            write(arrow, cells(make, gap=False))
            readings = read_all(data_of({"column": "c", "kind": "datetime"}))
            np.testing.assert_array_equal(readings.values[:, 0], expected, err_msg=name)


FAR_DAYS = [
    (3_000_000, "10183-09-21"),
    (2_932_897, "10000-01-01"),
    (-719_163, "0000-12-31"),
    (-800_000, "-221-09-04"),
]
NEAR_DAYS = [(2_932_896, "9999-12-31"), (-719_162, "0001-01-01")]
PER_DAY = {"s": 86_400, "ms": 86_400 * 10**3, "us": 86_400 * 10**6}
TIMES = [pa.timestamp(unit, zone) for unit in PER_DAY for zone in (None, "UTC", "Europe/Berlin", "America/New_York")]
CALENDARS = [pa.date32(), pa.date64(), pa.dictionary(pa.int8(), pa.date32()), *TIMES]


def date_cells(kind: pa.DataType, last: int) -> pa.Array:
    """Make dates of which the last is far from the others, with a gap."""
    days = [*range(NUM_ROWS - 2), None, last]
    if isinstance(kind, pa.DictionaryType):
        return pa.array(days, pa.int32()).cast(pa.date32()).dictionary_encode()
    if pa.types.is_date32(kind):
        return pa.array(days, pa.int32()).cast(kind)
    factor = PER_DAY["ms"] if pa.types.is_date64(kind) else PER_DAY[kind.unit]
    return pa.array([None if day is None else day * factor for day in days], pa.int64()).cast(kind)


@pytest.mark.parametrize("kind", CALENDARS, ids=str)
def test_a_date_outside_the_years_of_the_calendar_is_named_by_its_column_and_row(kind: pa.DataType) -> None:
    y = np.random.default_rng(0).standard_normal(NUM_ROWS)
    dates = data_of({"column": "c", "kind": "datetime"}, policy="drop")
    for last, text in FAR_DAYS:
        table = pa.table({"c": date_cells(kind, last), "y": y})
        pq.write_table(table, "a.parquet")
        time = "T00:00:00" + ("Z" if kind.tz else "") if pa.types.is_timestamp(kind) else ""
        with pytest.raises(DataError) as caught:
            read_all(dates)
        assert str(caught.value) == (
            f"a.parquet: column 'c' must be ISO 8601 dates such as 2024-01-31T12:00; got {text + time!r} in row "
            f"{NUM_ROWS} of the table. It looks like a date outside the years 1 to 9999; leave the cell empty if it "
            "means that there is none."
        )
        assert text + time in read_all(data_of({"column": "c", "kind": "categorical"}, policy="drop")).labels[0]
        with pytest.raises(DataError, match=f"because of '{text + time}' in row {NUM_ROWS} of the table"):
            infer_data(read_table("a.parquet"), ["y"], path="a.parquet")
        frames = [table.to_pandas(types_mapper=pd.ArrowDtype)]
        frames += [table.to_pandas()] if pa.types.is_timestamp(kind) else []
        assert [plain_frame(frame)["c"].iloc[-1] for frame in frames] == [text + time] * len(frames)


@pytest.mark.parametrize("kind", CALENDARS, ids=str)
def test_the_first_and_the_last_day_of_the_calendar_are_dates(kind: pa.DataType) -> None:
    for last, text in NEAR_DAYS:
        pq.write_table(pa.table({"c": date_cells(kind, last), "y": np.arange(float(NUM_ROWS))}), "a.parquet")
        readings = read_all(data_of({"column": "c", "kind": "datetime"}, policy="drop"))
        assert readings.values[-1, 0] == last
        labels = read_all(data_of({"column": "c", "kind": "categorical"}, policy="drop")).labels[0]
        assert len(labels) == NUM_ROWS - 1
        if getattr(kind, "tz", None) is None:
            assert any(label.startswith(text) for label in labels)


@pytest.mark.parametrize(("arrow", "make", "noun"), FOREIGN.values(), ids=FOREIGN.keys())
def test_a_column_of_a_foreign_type_is_left_out_with_a_remark_and_refused_by_name(
    arrow: pa.DataType, make: Any, noun: str
) -> None:
    write(arrow, cells(make, gap=not pa.types.is_fixed_size_list(arrow)))
    inference = infer_data(read_table("a.parquet"), ["y"], path="a.parquet")
    assert [column.column for column in inference.data.inputs] == ["x"]
    assert inference.remarks == (f"column 'c' holds {noun} and is left out.",)
    use(inference.data)
    advice = "Write numbers, dates or labels instead, or choose another column."
    for kind, expected in EXPECTED.items():
        with pytest.raises(DataError) as caught:
            read_all(data_of("x", {"column": "c", "kind": kind}, policy="drop"))
        assert str(caught.value) == f"a.parquet: column 'c' must be {expected}; got {noun}. {advice}"
    for kind, expected in {"group": "labels", "column": "labels", "time": "numbers or dates"}.items():
        with pytest.raises(DataError) as caught:
            read_all(data_of("x", split={"kind": kind, "column": "c"}))
        assert str(caught.value) == f"a.parquet: column 'c' must be {expected}; got {noun}. {advice}"
    with pytest.raises(DataError) as caught:
        infer_data(read_table("a.parquet"), ["c"], path="a.parquet")
    assert str(caught.value) == f"a.parquet: column 'c' must be numbers; got {noun}. {advice}"


def test_a_run_refuses_a_column_that_has_become_foreign() -> None:
    write(pa.float64(), cells(number, gap=False))
    data = data_of("x", "c")
    readings = read_all(data)
    contract = fit_contract(
        data, lambda n: readings.column(n, readings.kept), readings.labels, readings.has_offset, source="a.parquet"
    )
    write(pa.list_(pa.float64()), cells(lambda n: [number(n)], gap=False))
    with pytest.raises(DataError, match="column 'c' must be numbers; got lists"):
        encode_inputs(contract, read_table("a.parquet"), source="a.parquet")


def test_a_column_without_a_type_is_empty() -> None:
    write(pa.null(), [None] * NUM_ROWS)
    inference = infer_data(read_table("a.parquet"), ["y"], path="a.parquet")
    assert inference.remarks == ("column 'c' is empty and left out.",)
    with pytest.raises(DataError, match="column 'c' must be numbers without gaps; got 60 empty cells"):
        read_all(data_of("x", "c"))


def test_a_column_that_is_foreign_in_one_partition_is_foreign_in_all() -> None:
    write(pa.string(), cells(str, gap=False), name="1.parquet")
    write(pa.list_(pa.int64()), cells(lambda n: [n], gap=False), name="2.parquet")
    inference = infer_data(read_table("?.parquet"), ["y"], path="?.parquet")
    assert inference.remarks == ("column 'c' holds lists and is left out.",)
    assert sum(len(chunk) for chunk in iter_table("?.parquet", chunk_rows=25)) == 2 * NUM_ROWS


def test_gaps_written_as_words_are_gaps_in_a_dictionary_too() -> None:
    for kind in (pa.string(), pa.dictionary(pa.int8(), pa.string())):
        write(kind, ["NA", *cells("label {}".format, gap=False)[1:]])
        gaps = read_gaps(read_table("a.parquet")["c"], config.TableFormat())
        assert gaps.tolist() == [True] + [False] * (NUM_ROWS - 1)


def test_an_index_that_pandas_stored_is_no_input() -> None:
    frame = pd.DataFrame({"x": np.arange(8.0) ** 2, "y": np.arange(8.0)}, index=[5, 3, 1, 8, 2, 9, 4, 7])
    frame.to_parquet("1.parquet")
    inference = infer_data(read_table("1.parquet"), ["y"], path="1.parquet")
    assert [column.column for column in inference.data.inputs] == ["x"]
    assert inference.remarks == (
        "column '__index_level_0__' is the index of a table that pandas wrote and is left out.",
    )
    frame.to_parquet("2.parquet", index=False)
    for names in (("1", "2"), ("2", "1")):
        for new, old in zip(("a", "b"), names, strict=True):
            Path(f"part-{new}.parquet").write_bytes(Path(f"{old}.parquet").read_bytes())
        assert list(read_table("part-?.parquet").columns) == ["x", "y"]


@pytest.mark.parametrize("column", ["self", "a.b", "x.y", "c d", ""])
def test_a_column_may_have_any_name(column: str) -> None:
    write(pa.string(), cells("label {}".format, gap=True), column=column)
    frames = [read_table("a.parquet"), pd.concat(iter_table("a.parquet", chunk_rows=25))]
    for frame in frames:
        assert list(frame.columns) == ["x", column, "y"]
        assert frame[column].isna().sum() == 1


@pytest.mark.parametrize("name", ["a.csv", "a.parquet"])
def test_names_that_repeat_are_refused(name: str) -> None:
    if name == "a.csv":
        Path(name).write_text("x,c,c\n1,2,3\n")
    else:
        pq.write_table(pa.table([[1], [2], [3]], names=["x", "c", "c"]), name)
    with pytest.raises(DataError) as caught:
        read_table(name)
    assert str(caught.value) == f"{name}: column names must differ; got ['c'] more than once. Rename the columns."
