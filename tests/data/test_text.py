"""What the text of a cell means: the grammar of numbers, dates, gaps and labels, and what is refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest

from cde_app.config import TableFormat
from cde_app.data.columns import gap_words, read_days, read_gaps, read_labels, read_numbers, rounded_integers
from cde_app.data.looks import look_of_date, look_of_number


def column(*cells: str | None) -> pd.Series:
    return pd.Series(cells, dtype="string")


def form_of(**settings: Any) -> TableFormat:
    return TableFormat.model_validate(settings)


@pytest.mark.parametrize(
    ("cell", "value"),
    [
        ("5", 5),
        ("+5", 5),
        (" 5\t", 5),
        ("007", 7),
        (".5", 0.5),
        ("5.", 5),
        ("-1E+05", -1e5),
        ("1e400", np.inf),
        ("-inf", -np.inf),
        ("Infinity", np.inf),
        ("TRUE", 1),
        ("false", 0),
        ("0.1", 0.1),
        ("2.225073858507201e-308", 2.225073858507201e-308),
    ],
)
def test_a_number_is_the_nearest_float(cell: str, value: float) -> None:
    values, is_other = read_numbers(column(cell, "1"), TableFormat())
    assert (values[0], is_other.tolist()) == (value, [False, False])


NO_NUMBERS = [
    "1_000",
    "0x10",
    "1,5",
    "1.234,5",
    "1,234",
    "1 000",
    "١٢",
    "½",
    "5%",
    "$5",
    "−5",
    "1e",
    "1d5",
    "--5",
    "1.2.3",
    ".",
    "e5",
    "5 kg",
    "\u00a05",
    "T",
    "yes",
    "0b1",
    "1/2",
    "12:30",
]


@pytest.mark.parametrize("cell", NO_NUMBERS)
def test_what_is_no_number_by_the_grammar_is_none(cell: str) -> None:
    values, is_other = read_numbers(column(cell, "1", "NA"), TableFormat())
    assert is_other.tolist() == [True, False, False]
    assert np.isnan(values[[0, 2]]).all()


@pytest.mark.parametrize(
    ("settings", "cells", "values"),
    [
        ({"decimal": ","}, ["7,5", ",5", "-1,5e3", "7.5", "1.000"], [7.5, 0.5, -1500, None, None]),
        (
            {"decimal": ",", "thousands": "."},
            ["1.234,5", "1.234", "12.34", "0.125", "1234"],
            [1234.5, 1234, None, None, 1234],
        ),
        ({"thousands": ","}, ["1,234.5", "1,234,567", "12,34", "1,2345"], [1234.5, 1234567, None, None]),
        ({"thousands": " "}, ["1 234", "1\u00a0234\u202f567", "1  234"], [1234, 1234567, None]),
        ({"thousands": "'"}, ["1'234", "1\u2019234.5"], [1234, 1234.5]),
    ],
)
def test_a_format_reads_its_own_marks_and_no_others(
    settings: dict[str, str], cells: list[str], values: list[float | None]
) -> None:
    found, is_other = read_numbers(column(*cells), form_of(**settings))
    assert [None if other else value for value, other in zip(found, is_other, strict=True)] == values


@pytest.mark.parametrize(
    ("cell", "day"),
    [
        ("2023", "2023-01-01"),
        ("2023-02", "2023-02-01"),
        ("20230203", "2023-02-03"),
        (" 2023-02-03 ", "2023-02-03"),
        ("2023-02-03T04", "2023-02-03T04"),
        ("2023-02-03 04:05:06.5", "2023-02-03T04:05:06.5"),
        ("20230203T0405", "2023-02-03T04:05"),
        ("2023-02-03T04:05Z", "2023-02-03T04:05"),
        ("2023-02-03T04:05+0530", "2023-02-02T22:35"),
        ("2023-02-03T04:05-07", "2023-02-03T11:05"),
        ("2023-02-03T00:00:00.123456789", "2023-02-03T00:00:00.123456"),
        ("0001-01-01", "0001-01-01"),
        ("9999-12-31", "9999-12-31"),
    ],
)
def test_an_iso_date_is_read_whatever_stands_beside_it(cell: str, day: str) -> None:
    expected = np.datetime64(day, "us").astype(np.int64) / 86_400e6
    for cells in ((cell,), (cell, "0001-01-01", "2023-02-03T00:00:00.123456789", "now")):
        days = read_days(column(*cells), TableFormat())
        assert (days.values[0], days.is_other[0]) == (expected, False)


NO_DATES = [
    "0000-01-01",
    "0000",
    "00000101",
    "now",
    "today",
    "NaT",
    "nat",
    "2023-W05",
    "2023-032",
    "12:30",
    "Jan",
    "1 Jan 2023",
    "2023-02-30",
    "2023-1-5",
    "202301",
    "2023-01-01T24:00",
    "2023-01-01T23:59:60",
    "2023-01-01T12:60",
    "2023-01-01Z",
    "2023-01-01T",
    "2023-01-01 00:00 +01:00",
    "2023-01-01T00:00+25:00",
    "2023-01-01T00:00:00,5",
    "31.12.2023",
    "12/31/2023",
    "12023-01-01",
    "-2023",
    "99",
    "1672531200",
]


@pytest.mark.parametrize("cell", NO_DATES)
def test_what_is_no_iso_date_is_none(cell: str) -> None:
    days = read_days(column(cell, "2023-01-01", "NA"), TableFormat())
    assert days.is_other.tolist() == [True, False, False]
    assert np.isnan(days.values[[0, 2]]).all()


@pytest.mark.parametrize(
    ("order", "cells", "days"),
    [
        (
            "day_first",
            ["31.12.2023", "1/2/2023", "01-02-2023 12:30", "12/31/2023", "1.2-2023", "1.2.23"],
            ["2023-12-31", "2023-02-01", "2023-02-01T12:30", None, None, None],
        ),
        (
            "month_first",
            ["12/31/2023", "1.2.2023", "2023-05-06", "31/12/2023"],
            ["2023-12-31", "2023-01-02", "2023-05-06", None],
        ),
    ],
)
def test_a_format_reads_dates_in_its_order(order: str, cells: list[str], days: list[str | None]) -> None:
    found = read_days(column(*cells), form_of(dates=order))
    expected = [np.nan if day is None else np.datetime64(day, "us").astype(np.int64) / 86_400e6 for day in days]
    np.testing.assert_array_equal(found.values, expected)
    assert found.is_other.tolist() == [day is None for day in days]


@pytest.mark.parametrize("cell", ["0001-01-01", "1066-10-14", "9999-12-31", "9999-12-31T23:59:59.5"])
@pytest.mark.parametrize("timezone", ["America/New_York", "Europe/Berlin", "Asia/Tokyo"])
def test_a_date_whose_year_no_time_zone_knows_keeps_the_nearest_offset(cell: str, timezone: str) -> None:
    found, plain = read_days(column(cell), TableFormat(), timezone), read_days(column(cell), TableFormat())
    nearest = "1700-01-01" if cell < "1700" else "9998-12-31"
    offset = (
        read_days(column(nearest), TableFormat(), timezone).values - read_days(column(nearest), TableFormat()).values
    )
    np.testing.assert_allclose(found.values, plain.values + offset, rtol=0, atol=1e-9)
    assert 1e-3 < np.abs(offset) < 0.5
    assert not (found.is_other | found.is_unclear | found.has_offset).any()


def test_the_words_for_gaps_are_those_of_the_format_and_blanks_around_them_do_not_count() -> None:
    cells = column("NA", " NA ", "None", "", "  ", None, "na", "-")
    assert read_gaps(cells, TableFormat()).tolist() == [True] * 6 + [False] * 2
    assert gap_words(cells, TableFormat()) == {"NA": 2, "None": 1, "": 3}
    other = form_of(gaps=["-"])
    assert read_gaps(cells, other).tolist() == [False] * 3 + [True] * 3 + [False, True]
    assert read_labels(cells, other)[1] == [" NA ", "NA", "None", "na"]


def test_integers_that_a_float_does_not_hold_are_found() -> None:
    exact, rounded = str(2**53 + 2), str(2**53 + 1)
    for cells in (column(exact, rounded, "1e300", "0.5"), pd.Series([2**53 + 2, 2**53 + 1, 0, 5])):
        values, _ = read_numbers(cells, TableFormat())
        assert rounded_integers(cells, values, TableFormat()).tolist() == [False, True, False, False]


@pytest.mark.parametrize(
    ("cell", "look"),
    [
        ("7,5", "a number with a decimal comma; set data.format.decimal to ','."),
        (
            "1,234",
            "a number with a decimal comma or with commas between thousands; set data.format.decimal or .thousands.",
        ),
        ("1,234,567.8", "a number with commas between thousands; set data.format.thousands to ','."),
        (
            "1.234,5",
            "a number with points between thousands; set data.format.decimal to ',' and data.format.thousands to '.'.",
        ),
        ("1\u202f234,5", "a number with blanks between thousands; set data.format.thousands to ' '."),
        ("1'234", 'a number with apostrophes between thousands; set data.format.thousands to "\'".'),
        ("5 %", "a percentage; write plain digits, such as 1234.5."),
        ("$5", "an amount of money; write plain digits, such as 1234.5."),
        ("0x1F", "a hexadecimal number; write plain digits, such as 1234.5."),
        ("1_000", "a number with underscores; write plain digits, such as 1234.5."),
        ("5 kg", "a number with a unit; write plain digits, such as 1234.5."),
        ("١٢", "a number with characters other than + - . and 0 to 9; write plain digits, such as 1234.5."),
        ("½", "a number with characters other than + - . and 0 to 9; write plain digits, such as 1234.5."),
        ("−5", "a number with characters other than + - . and 0 to 9; write plain digits, such as 1234.5."),
        *((cell, "") for cell in ("5", "north", "7C2", "", "a,b", "1.2.3")),
    ],
)
def test_a_cell_that_is_no_number_says_what_it_looks_like(cell: str, look: str) -> None:
    found = look_of_number(cell, TableFormat())
    assert (found.advice if found else "") == (look and f"It looks like {look}")


def test_the_look_of_a_number_or_date_depends_on_the_format() -> None:
    found = look_of_number("7.5", form_of(decimal=","))
    assert found is not None
    assert found.advice == "It looks like a number with a decimal point; set data.format.decimal to '.'."
    assert look_of_number("7,5", form_of(decimal=",")) is None
    assert look_of_date("31.12.2023", TableFormat()) is not None
    assert look_of_date("31.12.2023", form_of(dates="day_first")) is None
    for cell in ("10183-09-21", "-221-09-04T00:00:00Z", "0000-12-31"):
        assert look_of_date(cell, form_of(dates="day_first")).words == "a date outside the years 1 to 9999"
