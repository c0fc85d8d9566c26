"""The column contract: features per kind, policies for gaps, and one clear line for every fault of a cell."""

from __future__ import annotations

import datetime as dt
import re
import tempfile
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from cde_app import config
from cde_app.arrays import Array
from cde_app.data.columns import read_labels, read_numbers
from cde_app.data.encoding import (
    ColumnContract,
    complete_rows,
    encode_and_judge,
    encode_inputs,
    encode_targets,
    fit_contract,
    has_targets,
    misspelled_labels,
    row_faults,
)
from cde_app.data.readings import Readings, read_for_training
from cde_app.errors import DataError
from tests.storing import stored_and_read


def data_of(*inputs: Any, missing: str = "error", targets: Any = ("y",), **more: Any) -> config.Data:
    return config.Data.model_validate(
        {"path": "a.csv", "inputs": inputs, "targets": targets, "missing": {"kind": missing}, **more}
    )


def frame_of(**columns: Any) -> pd.DataFrame:
    num_rows = len(next(iter(columns.values())))
    return pd.DataFrame({"y": np.arange(float(num_rows)), **columns})


def fit(*inputs: Any, missing: str = "error", **columns: Any) -> tuple[ColumnContract, dict[str, Array]]:
    """Fit a contract; also return the training features by name."""
    contract = fit_frame(data_of(*inputs, missing=missing), frame_of(**columns))
    return contract, encode(contract, **columns)


def fit_frame(data: config.Data, frame: pd.DataFrame) -> ColumnContract:
    readings = read(data, frame)
    columns = lambda place: readings.column(place, readings.kept)  # noqa: E731
    return fit_contract(data, columns, readings.labels, readings.has_offset, source="a.csv")


def read(data: config.Data, *chunks: pd.DataFrame) -> Readings:
    """Read a table of one chunk or more; the values outlive their file."""
    with tempfile.TemporaryDirectory() as folder:
        return read_for_training(data, chunks, Path(folder) / "readings.npy", source="a.csv")


def encode(contract: ColumnContract, **columns: Any) -> dict[str, Array]:
    X = encode_inputs(contract, pd.DataFrame(columns), source="a.csv")
    assert X.dtype == np.float64
    assert X.shape == (len(next(iter(columns.values()))), len(contract.feature_names))
    return dict(zip(contract.feature_names, X.T, strict=True))


def categorical(name: str) -> dict[str, str]:
    return {"column": name, "kind": "categorical"}


def datetime_(name: str) -> dict[str, str]:
    return {"column": name, "kind": "datetime"}


def cyclic(name: str, period: float) -> dict[str, Any]:
    return {"column": name, "kind": "cyclic", "period": period}


# --- features -----------------------------------------------------------------------------------------------------


def test_numbers_are_standardised_by_the_training_rows() -> None:
    contract, X = fit("a", a=[1.0, 2.0, 6.0])
    np.testing.assert_allclose([np.mean(X["a"]), np.std(X["a"])], [0, 1], atol=1e-12)
    np.testing.assert_allclose(encode(contract, a=[3.0])["a"], 0)


@pytest.mark.parametrize(
    "cells",
    [
        [False, True, True],
        np.array([0, 1, 1], dtype=np.uint8),
        pd.array([0, 1, 1], dtype="Int64"),
        pd.array([False, True, True], dtype="boolean"),
        ["0", "1", "1.0"],
        pd.Categorical([0, 1, 1]),
        np.array([False, 1, 1.0], dtype=object),
        [Decimal(0), Decimal(1), Decimal(1)],
        pd.array([0, 1, 1], dtype="Float32"),
    ],
    ids=["bool", "uint8", "Int64", "boolean", "text", "category", "object", "decimal", "Float32"],
)
def test_numbers_are_read_from_every_column_type_that_holds_them(cells: Any) -> None:
    _, X = fit("a", a=cells)
    np.testing.assert_allclose(X["a"], (np.array([0, 1, 1]) - 2 / 3) / np.std([0, 1, 1]))


def test_labels_are_one_hot_with_a_feature_for_unseen_labels_that_is_zero_in_training() -> None:
    contract, X = fit(categorical("c"), c=["b", "a", "b"])
    assert contract.feature_names == ("c=a", "c=b", "c=<other>")
    np.testing.assert_array_equal(np.stack(list(X.values()), axis=1), [[0, 1, 0], [1, 0, 0], [0, 1, 0]])
    unseen = encode(contract, c=["z"])
    assert [values[0] for values in unseen.values()] == [0, 0, 1]


@pytest.mark.parametrize(
    "cells",
    [[1, 2], [1.0, 2.0], ["1", "2"], np.float32([1, 2]), pd.Categorical([1, 2]), [Decimal("1.0"), 2]],
)
def test_a_label_is_the_same_however_its_file_stored_it(cells: Any) -> None:
    contract, _ = fit(categorical("c"), c=[1, 2, 3])
    assert [encode(contract, c=cells)[name][row] for row, name in enumerate(("c=1", "c=2"))] == [1, 1]


def test_a_label_is_its_text_as_it_stands() -> None:
    spellings = [
        "1",
        "1.0",
        "01",
        "1e0",
        " 1",
        "True",
        "true",
        "1E5",
        "10E4",
        "1.1",
        "1.10",
        str(2**60),
        str(2**60 + 1),
    ]
    contract, _ = fit(categorical("c"), c=spellings)
    assert set(contract.inputs[0].vocabulary) == set(spellings)


def test_what_is_no_text_becomes_the_one_that_a_csv_would_have() -> None:
    cells = {"c": [True, 7, 2**60 + 1, 0.1, 1e22, Decimal("1.10"), Decimal("2" * 38), dt.date(2024, 1, 31)]}
    frame = pd.DataFrame(cells, dtype=object)
    assert read_labels(frame["c"], config.TableFormat())[1] == sorted(
        ["True", "7", str(2**60 + 1), "0.1", "10000000000000000000000", "1.1", "2" * 38, "2024-01-31"]
    )


def test_a_new_label_that_is_one_of_the_training_in_another_spelling_is_found() -> None:
    contract, _ = fit("a", categorical("c"), categorical("b"), a=[1, 2, 3], b=[True, False, True], c=[1, 20, 300])
    new = pd.DataFrame({"a": ["1", "2"], "b": ["true", "False"], "c": ["20.0", "4"]})
    assert misspelled_labels(contract, new) == {"b": ("True", "true"), "c": ("20", "20.0")}


def test_a_cycle_is_a_sine_and_a_cosine_that_agree_after_a_turn() -> None:
    contract, X = fit(cyclic("h", 24), h=np.arange(24.0))
    assert contract.feature_names == ("h_sin", "h_cos")
    assert np.std(X["h_sin"]) == pytest.approx(1)
    np.testing.assert_allclose(X["h_sin"] ** 2 + X["h_cos"] ** 2, 2)
    turned = encode(contract, h=np.arange(24.0) - 48)
    np.testing.assert_allclose(turned["h_cos"], X["h_cos"], atol=1e-12)


def test_a_date_gives_its_time_and_the_turns_that_vary() -> None:
    days = pd.date_range("2024-01-01", periods=10).strftime("%Y-%m-%d")
    contract, X = fit(datetime_("d"), d=days)
    assert contract.feature_names == ("d", "d_week_sin", "d_week_cos", "d_year_sin", "d_year_cos")
    assert contract.dropped == ()
    np.testing.assert_allclose(np.diff(X["d"]), X["d"][1] - X["d"][0])
    assert X["d_week_sin"][0] == pytest.approx(X["d_week_sin"][7])


@pytest.mark.parametrize(
    "cells",
    [
        ["2024-01-01", "2024-01-02T12:00"],
        pd.to_datetime(["2024-01-01T00:00", "2024-01-02T12:00"]),
        ["20240101", "2024-01-02 12:00:00.000"],
        np.array([dt.datetime(2024, 1, 1), dt.datetime(2024, 1, 2, 12)], dtype=object),
        pd.to_datetime(["2024-01-01T00:00", "2024-01-02T12:00"]).astype("datetime64[s]"),
    ],
    ids=["text", "naive", "compact", "objects", "seconds"],
)
def test_dates_are_the_same_however_they_are_stored_and_naive_ones_are_utc(cells: Any) -> None:
    contract, X = fit(datetime_("d"), d=["2024-01-01", "2024-01-02T12:00"])
    np.testing.assert_allclose(encode(contract, d=cells)["d"], X["d"])
    assert contract.inputs[0].minimum == 19723.0
    assert contract.inputs[0].maximum == 19724.5


@pytest.mark.parametrize(
    "cells",
    [
        pd.to_datetime(["2024-01-01T00:00", "2024-01-02T12:00"]).tz_localize("UTC").tz_convert("America/New_York"),
        ["2024-01-01T02:00+02:00", "2024-01-02T07:00-0500"],
        ["2024-01-01T00:00Z", "2024-01-02T12Z"],
    ],
    ids=["aware", "mixed offsets", "Z"],
)
def test_dates_with_offsets_are_those_of_utc(cells: Any) -> None:
    contract, X = fit(datetime_("d"), d=["2024-01-01T00:00+00:00", "2024-01-02T12:00+00:00"])
    assert contract.inputs[0].has_offset is True
    np.testing.assert_allclose(encode(contract, d=cells)["d"], X["d"])


NAIVE, AWARE = ["2024-01-01", "2024-01-02T12:00"], ["2024-01-01T00:00Z", "2024-01-02T12:00+01:00"]
STAMPS = pd.to_datetime(["2024-01-01T00:00", "2024-01-02T12:00"])


@pytest.mark.parametrize(
    ("naive", "aware"), [(NAIVE, AWARE), (STAMPS, STAMPS.tz_localize("Asia/Tokyo"))], ids=["text", "Parquet"]
)
def test_dates_have_offsets_in_a_prediction_if_those_of_the_training_had_them(naive: Any, aware: Any) -> None:
    for trained, new, words in ((naive, aware, "without"), (aware, naive, "with")):
        contract, _ = fit(datetime_("d"), d=trained)
        with pytest.raises(DataError) as caught:
            encode(contract, d=new)
        (fault,) = caught.value.faults
        assert re.fullmatch(
            rf"a\.csv: column 'd' must have times {words} an offset from UTC, like the training table; got 2 "
            r"cells such as '2024-01-01.*', first in row 1 of the table\. Write them like that, or train with the "
            r"column's timezone\.",
            fault,
        )


def test_dates_with_and_without_an_offset_in_one_column_are_refused() -> None:
    with pytest.raises(DataError) as caught:
        fit(datetime_("d"), d=["2024-01-01T00:00", "2024-01-02T12:00+01:00", "2024-01-03"])
    assert str(caught.value) == (
        "a.csv: column 'd' must have an offset from UTC in every time or in none; got none for 2 cells such as "
        "'2024-01-01T00:00', first in row 1 of the table, and one for '2024-01-02T12:00+01:00' in row 2 of the "
        "table. Write all alike, or set the column's timezone for those without."
    )


def test_a_column_with_a_timezone_takes_times_with_and_without_an_offset() -> None:
    berlin = {**datetime_("d"), "timezone": "Europe/Berlin"}
    contract, X = fit(berlin, d=["2024-01-01T00:00", "2024-07-01T12:00+02:00", "2024-07-02"])
    assert (contract.inputs[0].timezone, contract.inputs[0].has_offset) == ("Europe/Berlin", None)
    utc = ["2023-12-31T23:00Z", "2024-07-01T10:00Z", "2024-07-01T22:00Z"]
    np.testing.assert_allclose(encode(contract, d=utc)["d"], X["d"])
    np.testing.assert_allclose(encode(contract, d=pd.to_datetime(utc))["d"], X["d"])


def test_a_local_time_that_the_clocks_leave_out_or_repeat_is_refused() -> None:
    berlin = {**datetime_("d"), "timezone": "Europe/Berlin"}
    with pytest.raises(DataError) as caught:
        fit(berlin, d=["2024-03-31T02:30", "2024-10-27T02:30", "2024-10-27T02:30+01:00"])
    assert str(caught.value) == (
        "a.csv: column 'd' must hold times that occur once in Europe/Berlin; got 2 cells such as '2024-03-31T02:30', "
        "first in row 1 of the table. Write them with an offset such as +01:00."
    )


def test_years_and_compact_dates_stored_as_numbers_are_dates() -> None:
    contract, _ = fit(datetime_("d"), d=[2023, 2024, 2026])
    assert contract.inputs[0].minimum == (dt.date(2023, 1, 1) - dt.date(1970, 1, 1)).days
    np.testing.assert_allclose(encode(contract, d=[20230101])["d"], encode(contract, d=["2023"])["d"])


def test_objects_that_are_dates_only_are_dates() -> None:
    contract, _ = fit(datetime_("d"), d=[dt.date(2024, 1, 1), dt.date(2024, 3, 1)])
    assert contract.inputs[0].minimum == 19723.0


def test_columns_are_found_by_name_and_others_are_ignored() -> None:
    contract, X = fit("a", "b", a=[1.0, 2.0], b=[5.0, 1.0])
    shuffled = encode(contract, z=["x", "y"], b=[5.0, 1.0], a=[1.0, 2.0])
    np.testing.assert_array_equal(np.stack(list(shuffled.values())), np.stack(list(X.values())))


def test_a_label_that_is_written_as_the_feature_of_other_labels_has_a_feature_of_its_own() -> None:
    contract, _ = fit(categorical("c"), c=["<other>", "a", "<other>"])
    assert contract.feature_names == ("c=<other>", "c=a", "c=<<other>>")
    X = encode(contract, c=["<other>", "a", "new"])
    np.testing.assert_array_equal(np.stack(list(X.values()), axis=1), np.eye(3))


def test_a_constant_input_is_dropped_and_listed_and_never_divided_by_zero() -> None:
    contract, X = fit("a", "b", categorical("c"), a=[1e9, 1e9], b=[1.0, 2.0], c=["x", "x"])
    assert contract.dropped == ("a", "c=x")
    assert contract.feature_names == ("b", "c=<other>")
    assert np.isfinite(list(X.values())).all()


def test_inputs_that_are_all_constant_are_refused() -> None:
    with pytest.raises(DataError) as caught:
        fit("a", categorical("c"), a=[1, 1], c=["x", "x"])
    assert str(caught.value) == (
        "a.csv: an input must vary over the training rows; got constant columns only. Add to data.inputs."
    )


def test_the_contract_survives_json() -> None:
    contract, X = fit(
        "a", categorical("c"), cyclic("h", 24), datetime_("d"), missing="impute_with_indicator",
        a=[1.0, np.nan, 3.0], c=["x", "y", None], h=[1.0, 2.0, 7.0], d=["2024-01-01T01", "2024-01-02T05", "2024-02-01"],
    )  # fmt: skip
    again = stored_and_read(contract)
    assert again == contract
    assert len(X) == len(again.feature_names)


# --- gaps ---------------------------------------------------------------------------------------------------------


def test_an_imputed_gap_is_the_training_mean_with_an_indicator() -> None:
    contract, X = fit("a", missing="impute_with_indicator", a=[1.0, np.nan, 3.0])
    assert contract.feature_names == ("a", "a_missing")
    np.testing.assert_allclose(X["a"], [-1, 0, 1])
    np.testing.assert_array_equal(X["a_missing"], [0, 1, 0])


def test_an_imputed_turn_is_the_training_mean_of_its_sine_and_cosine() -> None:
    contract, X = fit(cyclic("h", 4), missing="impute_with_indicator", h=[0.0, 1.0, np.nan])
    assert contract.feature_names == ("h_sin", "h_cos", "h_missing")
    np.testing.assert_allclose(X["h_sin"][2], np.mean(X["h_sin"][:2]))


def test_an_imputed_label_goes_to_the_feature_of_other_labels() -> None:
    contract, X = fit(categorical("c"), missing="impute_with_indicator", c=["x", None, "x"])
    assert contract.feature_names == ("c=x", "c=<other>")
    np.testing.assert_array_equal(X["c=x"], [1, 0, 1])
    np.testing.assert_array_equal(X["c=<other>"], [0, 1, 0])


def test_a_column_without_gaps_in_training_has_no_indicator_but_still_imputes() -> None:
    contract, _ = fit("a", missing="impute_with_indicator", a=[1.0, 3.0])
    assert contract.feature_names == ("a",)
    assert encode(contract, a=[np.nan])["a"].tolist() == [0]


def test_complete_rows_drops_rows_with_gaps_under_the_drop_policy_only() -> None:
    frame = pd.DataFrame({"a": [1.0, np.nan, 3.0], "y": [1.0, 2.0, np.nan], "other": [np.nan] * 3})
    for with_targets, kept in ((False, [True, False, True]), (True, [True, False, False])):
        contract, _ = fit("a", missing="drop", a=[1.0, 2.0])
        assert complete_rows(contract, frame, source="a.csv", with_targets=with_targets).tolist() == kept
    contract, _ = fit("a", a=[1.0, 2.0])
    assert complete_rows(contract, frame, source="a.csv", with_targets=True).all()


def test_complete_rows_reads_the_contract_of_a_run_and_names_missing_columns() -> None:
    contract, _ = fit("a", missing="drop", a=[1.0, 2.0])
    assert complete_rows(contract, pd.DataFrame({"a": [np.nan]}), source="a.csv", with_targets=False).tolist() == [
        False
    ]
    with pytest.raises(DataError, match="no column 'y'"):
        complete_rows(contract, pd.DataFrame({"a": [np.nan]}), source="a.csv", with_targets=True)


def test_a_gap_is_named_by_its_count_and_first_row() -> None:
    contract, _ = fit("ph", ph=[1.0, 2.0])
    with pytest.raises(DataError) as caught:
        encode(contract, ph=[1.0, None, 3.0, None])
    assert str(caught.value) == (
        "a.csv: column 'ph' must be numbers without gaps; got 2 empty cells, first in row 2 of the table. "
        "Fill them, or leave those rows out."
    )


def test_a_gap_among_labels_is_named() -> None:
    with pytest.raises(DataError, match="column 'c' must be labels without gaps; got 1 empty cell, first in row 2"):
        fit(categorical("c"), c=["x", None])


# --- faults -------------------------------------------------------------------------------------------------------


def test_text_in_a_numeric_column_is_named_with_its_row_in_the_table() -> None:
    contract, _ = fit("ph", ph=[1.0, 2.0])
    chunk = pd.DataFrame({"ph": ["1", "abc"]}, index=[39, 40])
    with pytest.raises(DataError) as caught:
        encode_inputs(contract, chunk, source="data.csv")
    assert str(caught.value) == (
        "data.csv: column 'ph' must be numbers; got 'abc' in row 41 of the table. Clean the column."
    )


@pytest.mark.parametrize("cells", [pd.to_datetime(["2024-01-01", "2024-01-02"]), [dt.date(2024, 1, 1), 2]])
def test_dates_are_no_numbers(cells: Any) -> None:
    with pytest.raises(DataError, match=r"column 'a' must be numbers; got .*2024.* in row 1 of the table"):
        fit("a", a=cells)


def test_text_that_is_no_date_is_named() -> None:
    with pytest.raises(DataError) as caught:
        fit(datetime_("d"), d=["2024-01-01", "5.1.2024"])
    assert str(caught.value) == (
        "a.csv: column 'd' must be ISO 8601 dates such as 2024-01-31T12:00; got '5.1.2024' in row 2 of the table. "
        "It looks like a date that begins with the day or the month; set data.format.dates to day_first or month_first."
    )


@pytest.mark.parametrize(("cell", "shown"), [(np.inf, "inf"), ("-inf", "-inf"), (1e200, r"1e\+200")])
def test_an_infinite_number_is_named(cell: Any, shown: str) -> None:
    with pytest.raises(
        DataError, match=f"column 'a' must be finite numbers up to 1e\\+150; got {shown} in row 2 of the table"
    ):
        fit("a", a=[1.0, cell])


def test_a_missing_column_names_the_column_and_offers_the_nearest() -> None:
    contract, _ = fit("acidity", acidity=[1.0, 2.0])
    with pytest.raises(DataError) as caught:
        encode(contract, Acidity=[1.0], y=[1.0])
    assert str(caught.value) == (
        "a.csv: no column 'acidity' (data.inputs); columns are 'Acidity', 'y'. Did you mean 'Acidity'?"
    )


def test_all_faults_of_a_prediction_table_are_reported_at_once() -> None:
    contract, _ = fit("a", "b", "c", a=[1.0, 2.0], b=[1.0, 2.0], c=[1.0, 2.0])
    with pytest.raises(DataError) as caught:
        encode(contract, a=["x", None], c=[np.inf, 1])
    assert len(caught.value.faults) == 4


# --- targets and ranges -------------------------------------------------------------------------------------------


def test_targets_keep_their_units_and_their_order() -> None:
    contract = fit_frame(data_of("a", targets=["z", "y"]), frame_of(a=[1, 2], z=[10, 20]))
    targets = encode_targets(contract, frame_of(z=[10, 20]), source="a.csv")
    np.testing.assert_array_equal(targets, [[10, 0], [20, 1]])


def test_a_gap_in_a_target_is_named() -> None:
    contract, _ = fit("a", a=[1.0, 2.0])
    with pytest.raises(DataError, match="column 'y' must be numbers without gaps; got 1 empty cell"):
        encode_targets(contract, pd.DataFrame({"y": [1.0, None]}), source="a.csv")


def test_a_missing_target_is_named() -> None:
    contract, _ = fit("a", a=[1.0, 2.0])
    with pytest.raises(DataError, match=r"no column 'y' \(data.targets\)"):
        encode_targets(contract, pd.DataFrame({"a": [1.0]}), source="a.csv")


def test_a_table_has_targets_if_every_target_column_is_there_whatever_a_chunk_holds() -> None:
    contract, _ = fit("a", a=[1.0, 2.0])
    assert has_targets(contract, pd.DataFrame({"y": [1.0, None]}))
    assert has_targets(contract, pd.DataFrame({"y": [None, None]}))
    assert not has_targets(contract, pd.DataFrame({"a": [1.0]}))


def test_rows_outside_the_training_range_and_unseen_labels_are_out_of_range() -> None:
    contract, _ = fit(
        "a", categorical("c"), datetime_("d"), cyclic("h", 24),
        a=[1.0, 2.0], c=["x", "y"], d=["2024-01-01", "2024-01-02"], h=[1, 2],
    )  # fmt: skip
    rows = pd.DataFrame(
        [
            (1.0, "x", "2024-01-01", 1),
            (1.5, "y", "2024-01-01T12:00", 23),
            (0.9, "x", "2024-01-01", 1),
            (2.1, "x", "2024-01-01", 1),
            (1.0, "z", "2024-01-01", 1),
            (1.0, "x", "2024-01-03", 1),
        ],
        columns=["a", "c", "d", "h"],
    )
    expected = np.zeros((6, 4), dtype=bool)
    expected[[2, 3, 4, 5], [0, 0, 1, 2]] = True
    np.testing.assert_array_equal(encode_and_judge(contract, rows, source="a.csv")[1], expected)


def test_a_gap_is_out_of_range_unless_training_had_gaps_in_that_column() -> None:
    contract, _ = fit(
        "a", "b", categorical("c"), missing="impute_with_indicator",
        a=[1.0, 2.0, None], b=[1.0, 2.0, 3.0], c=["x", None, "y"],
    )  # fmt: skip
    rows = pd.DataFrame({"a": [None, 1.0, 1.0], "b": [1.0, None, 1.0], "c": [None, "x", "z"]})
    expected = np.array([[False, False, False], [False, True, False], [False, False, True]])
    np.testing.assert_array_equal(encode_and_judge(contract, rows, source="a.csv")[1], expected)


# --- read_for_training --------------------------------------------------------------------------------------------


def faults_of(data: config.Data, frame: pd.DataFrame) -> tuple[str, ...]:
    with pytest.raises(DataError) as caught:
        read(data, frame)
    return caught.value.faults


def test_a_good_table_passes_the_check() -> None:
    read(data_of("a", categorical("c")), frame_of(a=[1, 2], c=["x", "y"]))
    read(data_of("a", missing="drop"), frame_of(a=[1, None, 3]))
    read(data_of("a", missing="impute_with_indicator"), frame_of(a=[1, None, 3]))


def test_the_check_reports_all_faults_at_once() -> None:
    data = data_of("a", "b", datetime_("d"), targets=["y", "z"], split={"kind": "group", "column": "grp"})
    faults = faults_of(data, frame_of(a=["x", 1], d=["2024", None], z=[1, 1], group=[1, 2]))
    assert len(faults) == 5
    assert faults[-1].startswith("a.csv: no column 'grp' (data.split); columns are ")
    assert faults[-1].endswith("Did you mean 'group'?")


def test_a_constant_target_is_refused() -> None:
    frame = pd.DataFrame({"a": [1, 2], "y": [3.0, 3.0]})
    assert faults_of(data_of("a"), frame) == (
        "a.csv: column 'y' must vary; got 3 in every row. Choose another target.",
    )


def test_a_target_of_text_is_not_offered_to_be_categorical() -> None:
    frame = pd.DataFrame({"a": [1, 2], "y": ["low", "high"]})
    assert faults_of(data_of("a"), frame) == (
        (
            "a.csv: column 'y' must be numbers; got 2 cells such as 'low', first in row 1 of the table. "
            "Clean the column, or choose another target."
        ),
    )


def test_an_empty_target_is_refused_under_the_drop_policy_too() -> None:
    frame = pd.DataFrame({"a": [1, 2], "y": [None, None]})
    assert faults_of(data_of("a", missing="drop"), frame)[0].startswith("a.csv: column 'y' must be numbers; got empty")


def test_a_log_target_must_be_above_minus_its_shift() -> None:
    frame = pd.DataFrame({"a": [1, 2, 3], "y": [3.0, 0.0, -1.0]})
    data = data_of("a", targets=[{"column": "y", "transform": {"kind": "log"}}])
    assert faults_of(data, frame) == (
        (
            "a.csv: column 'y' must be above 0 for its log transform; got 2 cells such as 0, first in row 2 of the "
            "table. Raise the shift, or choose yeo_johnson or identity."
        ),
    )


def test_a_logit_target_must_lie_strictly_between_its_bounds() -> None:
    frame = pd.DataFrame({"a": [1, 2, 3], "y": [30.0, 100.0, 0.0]})
    data = data_of("a", targets=[{"column": "y", "transform": {"kind": "logit", "upper": 100}}])
    assert faults_of(data, frame) == (
        (
            "a.csv: column 'y' must lie strictly between 0 and 100 for its logit transform; got 2 cells such as 100, "
            "first in row 2 of the table. Widen the bounds, or choose yeo_johnson or identity."
        ),
    )


def test_two_complete_rows_are_the_least() -> None:
    frame = pd.DataFrame({"a": [1, None, None], "y": [1.0, 2.0, 3.0]})
    assert faults_of(data_of("a", missing="drop"), frame) == (
        "a.csv: must have at least 2 rows without gaps; got 1. Add rows.",
    )


# --- rows with faults ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("missing", ["error", "drop", "impute_with_indicator"])
def test_the_faults_of_rows_are_the_cells_for_which_the_table_is_refused(missing: str) -> None:
    inputs = ("a", categorical("c"), datetime_("d"), cyclic("h", 24))
    days = ["2024-01-01", "2024-02-01", "2024-03-01"]
    contract, _ = fit(*inputs, missing=missing, a=[1.0, 2.0, 3.0], c=["x", "z", "x"], d=days, h=[0.0, 6.0, 12.0])
    frame = frame_of(
        a=["1", None, "1", "1", "-inf", "1"],
        c=["x", None, "new", "x", "x", "x"],
        d=["2024-01-01", "2024-01-01", None, "2024-13-01", "2024-01-01", "2024-01-01T12:00"],
        h=[1.0, 2.0, np.nan, 4.0, 1e200, 6.0],
    )
    frame["y"] = [1.0, np.nan, 3.0, np.inf, 5.0, 6.0]
    frame.index += 10  # as the second chunk of a table
    gaps = [(12, "a", "empty"), (12, "c", "empty"), (13, "d", "empty"), (13, "h", "empty")]
    others = [
        (14, "d", "'2024-13-01' is no ISO 8601 date"),
        (14, "y", "inf is no finite number up to 1e+150"),
        (15, "a", "-inf is no finite number up to 1e+150"),
        (15, "h", "1e+200 is no finite number up to 1e+150"),
    ]
    found = row_faults(contract, frame, source="a.csv")
    assert [tuple(fault) for fault in found] == ([] if missing == "impute_with_indicator" else gaps) + others
    good = frame[~frame.index.isin([fault.row - 1 for fault in found])]
    encode_inputs(contract, good, source="a.csv")
    encode_targets(contract, good, source="a.csv", allows_gaps=True)
    with pytest.raises(DataError):
        encode_inputs(contract, frame, source="a.csv")


NAIVE, AWARE = ("2024-01-01T12:00", "2024-03-31T02:30"), ("2024-01-01T12:00Z", "2024-03-31T02:30+01:00")


@pytest.mark.parametrize(
    ("trained_on", "timezone", "faults"),
    [
        (
            NAIVE,
            "",
            {3: "'2024-01-01T12:00Z' has an offset from UTC", 4: "'2024-03-31T02:30+01:00' has an offset from UTC"},
        ),
        (AWARE, "", {1: "'2024-01-01T12:00' has no offset from UTC", 2: "'2024-03-31T02:30' has no offset from UTC"}),
        (AWARE, "Europe/Berlin", {2: "'2024-03-31T02:30' does not occur once in Europe/Berlin"}),
    ],
    ids=["a training without offsets", "a training with offsets", "a time zone"],
)
def test_a_time_with_another_offset_than_the_training_has_is_a_fault_of_its_row(
    trained_on: tuple[str, ...], timezone: str, faults: dict[int, str]
) -> None:
    data = data_of({"column": "d", "kind": "datetime", "timezone": timezone})
    contract = fit_frame(data, frame_of(d=list(trained_on)))
    rows = pd.DataFrame({"d": [*NAIVE, *AWARE]})
    found = row_faults(contract, rows, source="a.csv")
    assert {fault.row: fault.reason for fault in found} == faults
    encode_inputs(contract, rows.drop(index=[row - 1 for row in faults]), source="a.csv")
    with pytest.raises(DataError, match="times that occur once" if timezone else "like the training table"):
        encode_inputs(contract, rows, source="a.csv")


def test_a_column_that_the_training_found_empty_keeps_the_rows_without_an_offset() -> None:
    data = data_of("a", datetime_("d"), missing="impute_with_indicator")
    contract = fit_frame(data, frame_of(a=[1.0, 2.0], d=[None, None]))
    rows = pd.DataFrame({"a": [1.0] * 4, "d": [*NAIVE, *AWARE]})
    assert [fault.row for fault in row_faults(contract, rows, source="a.csv")] == [3, 4]
    encode_inputs(contract, rows.head(2), source="a.csv")
    assert row_faults(contract, rows.tail(2), source="a.csv") == []


def test_the_faults_of_rows_are_those_of_the_format() -> None:
    data = data_of("a", categorical("c"), format={"decimal": ",", "gaps": ["-"]})
    contract = fit_frame(data, pd.DataFrame({"a": ["1,5", "2,5"], "c": ["NA", "x"], "y": ["1", "2"]}))
    rows = pd.DataFrame({"a": ["1,5", " - ", "1.5", ""], "c": ["NA", "x", "x", "-"]})
    assert [tuple(fault) for fault in row_faults(contract, rows, source="a.csv")] == [
        (2, "a", "'-' is a gap"),
        (3, "a", "'1.5' is no number"),
        (4, "a", "empty"),
        (4, "c", "'-' is a gap"),
    ]


def test_a_table_without_the_targets_has_faults_in_its_inputs_alone() -> None:
    contract, _ = fit("a", a=[1.0, 2.0])
    (fault,) = row_faults(contract, pd.DataFrame({"a": ["1", "x"]}), source="a.csv")
    assert str(fault) == "row 2, column 'a': 'x' is no number"


def test_a_number_is_the_same_whatever_else_its_column_holds() -> None:
    rng = np.random.default_rng(0)
    values = rng.normal(size=2000) * 10.0 ** rng.integers(-20, 20, 2000)
    texts = pd.Series([repr(float(value)) for value in values], dtype=object)
    for column in (texts, texts.astype("str"), pd.concat([texts, pd.Series(["x"])], ignore_index=True)):
        assert np.array_equal(read_numbers(column, config.TableFormat())[0][:2000], values)
