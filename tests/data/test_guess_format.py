"""How `cde init` finds out how numbers and dates are written, and what it says of it."""

from __future__ import annotations

from typing import Any

import pandas as pd
import pytest

from cde_app.config import TableFormat
from cde_app.data.guess_format import guess_format
from cde_app.data.infer import Inference, infer_data
from cde_app.errors import DataError


def frame_of(**columns: list[str]) -> pd.DataFrame:
    return pd.DataFrame({name: pd.Series(cells, dtype="string") for name, cells in columns.items()})


def infer(*, num_copies: int = 20, **columns: list[str]) -> Inference:
    """Infer from a table that repeats its rows, with a target y."""
    num_rows = num_copies * len(next(iter(columns.values())))
    targets = {} if "y" in columns else {"y": [f"{number % 17}.{number}" for number in range(num_rows)]}
    return infer_data(
        frame_of(**{name: cells * num_copies for name, cells in columns.items()}, **targets), ("y",), path="a.csv"
    )


@pytest.mark.parametrize(
    ("columns", "settings", "found"),
    [
        ({"a": ["7,5", "8"]}, {"decimal": ","}, "'7,5' in column 'a' are read as 7.5"),
        (
            {"a": ["NA", "1.234,5", "7"]},
            {"decimal": ",", "thousands": "."},
            "'1.234,5' in column 'a' are read as 1234.5",
        ),
        ({"a": ["1,234", "7"], "b": ["0.5", "1"]}, {"thousands": ","}, "'1,234' in column 'a' are read as 1234"),
        (
            {"a": ["7,5", "8"], "b": ["1.234", "2"]},
            {"decimal": ",", "thousands": "."},
            "'7,5' in column 'a' are read as 7.5",
        ),
        ({"a": ["1 234", "7"]}, {"thousands": " "}, "'1 234' in column 'a' are read as 1234"),
        (
            {"d": ["01.02.2023", "31.12.2023"]},
            {"dates": "day_first"},
            "'01.02.2023' in column 'd' are read as 2023-02-01",
        ),
        (
            {"d": ["1/2/2023", "12/31/2023 10:00"]},
            {"dates": "month_first"},
            "'1/2/2023' in column 'd' are read as 2023-01-02",
        ),
        (
            {"d": ["03.02.2023"], "e": ["31.12.2023"]},
            {"dates": "day_first"},
            "'03.02.2023' in column 'd' are read as 2023-02-03",
        ),
        ({"a": ["7.5", "8"], "c": ["x", "7,5"], "d": ["2023-01-01"]}, {}, ""),
        ({"a": ["1,234", "7"], "b": ["3", "1"]}, {}, ""),
        ({"a": ["7,5", "8"], "b": ["7.5", "8"]}, {}, ""),
        ({"d": ["01.02.2023", "03.04.2023"]}, {}, ""),
        ({"d": ["31.12.2023"], "e": ["12/31/2023"]}, {}, ""),
    ],
    ids=[
        "decimal comma",
        "points and comma",
        "commas by another column",
        "points by another column",
        "blanks",
        "day first",
        "month first",
        "order by another column",
        "as by default",
        "ambiguous thousands",
        "two decimal marks",
        "ambiguous dates",
        "two orders",
    ],
)
def test_a_format_is_guessed_if_there_is_one_way_to_read_all(
    columns: dict[str, list[str]], settings: dict[str, Any], found: str
) -> None:
    form, remarks = guess_format(frame_of(**columns))
    assert form == TableFormat.model_validate(settings)
    kind = "dates" if "dates" in settings else "numbers"
    assert remarks == ([f"{kind} such as {found}; see data.format."] if found else [])


def test_columns_are_read_by_the_format_that_was_guessed() -> None:
    inference = infer(a=["7,5", "8,25"], d=["31.12.2023", "1.2.2023"], y=["1,5", "2"])
    assert [(column.column, column.kind) for column in inference.data.inputs] == [("a", "numeric"), ("d", "datetime")]
    assert inference.data.format == TableFormat(decimal=",", dates="day_first")


def test_what_cannot_be_read_in_one_way_says_what_it_looks_like() -> None:
    inference = infer(a=["1,234", "7,654"], d=["01.02.2023", "03.04.2023"], p=["5%", "7%"], y=["1", "2"])
    assert [column.kind for column in inference.data.inputs] == ["categorical"] * 3
    assert inference.remarks == (
        (
            "column 'a' is categorical, yet has labels such as '1,234'. It looks like a number with a decimal comma or "
            "with commas between thousands; set data.format.decimal or .thousands."
        ),
        (
            "column 'd' is categorical, yet has labels such as '01.02.2023'. It looks like a date that begins with the "
            "day or the month; set data.format.dates to day_first or month_first."
        ),
        (
            "column 'p' is categorical, yet has labels such as '5%'. It looks like a percentage; write plain digits, "
            "such as 1234.5."
        ),
    )
    cells = {"a": [f"{number},{number + 100}" for number in range(100, 200)], "b": ["1", "2", "1", "2"] * 25}
    assert infer(num_copies=1, **cells, y=[str(number * 7) for number in range(100)]).remarks == (
        (
            "column 'a' has 100 labels in 100 rows and is left out. It looks like a number with a decimal comma or "
            "with commas between thousands; set data.format.decimal or .thousands."
        ),
    )


def test_codes_with_leading_zeros_are_labels() -> None:
    inference = infer(a=["007", "12", "07"])
    assert inference.data.inputs[0].kind == "categorical"
    assert inference.remarks == (
        (
            "column 'a' has leading zeros, such as '007', and is read as labels; give it kind: numeric if they are "
            "numbers."
        ),
        "column 'a' has labels that differ only in their spelling, such as '007' and '07'; they stay distinct.",
    )
    assert infer(a=["0", "0.5", "-0.25"]).data.inputs[0].kind == "numeric"


def test_numbers_that_may_be_labels_are_told() -> None:
    inference = infer(a=["1.1", "1.10", "2"], b=["12E3", "7e2", "5"])
    assert [column.kind for column in inference.data.inputs] == ["numeric", "numeric"]
    assert inference.remarks == (
        (
            "column 'a' has the number 1.1 in two spellings, '1.1' and '1.10'; if they are labels, give it "
            "kind: categorical."
        ),
        "column 'b' has cells such as '12E3', read as numbers; if they are labels, give it kind: categorical.",
    )


def test_the_words_that_are_read_as_gaps_are_told() -> None:
    inference = infer(c=["NA", "DE", "FR", "", "None"])
    assert inference.remarks == (
        "words are read as gaps ('c': 'NA', 'None'); a word that is a label must not be among data.format.gaps.",
        "gaps are imputed and marked by a feature of their own: 'c'.",
    )


def test_times_with_and_without_an_offset_in_one_column_are_told() -> None:
    inference = infer(d=["2023-01-01T00:00", "2023-01-01T00:00Z", "2023-01-02"])
    assert inference.data.inputs[0].kind == "datetime"
    assert inference.remarks[0] == (
        "column 'd' has times with and without an offset from UTC; set the timezone for those without."
    )


def test_what_is_mostly_dates_says_what_keeps_it_from_being_some() -> None:
    inference = infer(num_copies=1, d=["2023-01-01", "2023-01-02"] * 6 + ["now"])
    assert inference.data.inputs[0].kind == "categorical"
    (remark,) = inference.remarks
    assert remark == (
        "column 'd' is categorical because of 'now' in row 13 of the table, yet it is mostly dates; clean it to make "
        "it datetime."
    )


def test_integers_that_numbers_do_not_hold_are_told() -> None:
    inference = infer(a=[str(2**60 + 1), "5", str(2**60 + 2)])
    (remark,) = inference.remarks
    assert remark == (
        "column 'a' has integers too large for exact numbers, such as 1152921504606846977; if they are labels, "
        "give it kind: categorical."
    )


def test_integers_that_become_equal_are_not_called_constant() -> None:
    inference = infer(a=["1", "2", "3"], b=[str(10**17 + number) for number in (1, 2, 3)])
    assert [column.column for column in inference.data.inputs] == ["a"]
    (remark,) = inference.remarks
    assert remark == (
        "column 'b' has integers too large for exact numbers, such as 100000000000000001, which are all equal as "
        "numbers, and is left out; if they are labels, add it with kind: categorical."
    )


def test_a_table_without_an_input_says_why_each_column_is_left_out() -> None:
    cells = {"a": [f"{number}.5" for number in range(60)], "k": ["1"] * 60}
    with pytest.raises(DataError) as caught:
        infer(num_copies=1, **{**cells, "a": [*cells["a"][:-1], "7,5"]})
    assert caught.value.faults == (
        "a.csv: no column is left as an input; got 'a', 'k', 'y'. Add a column.",
        (
            "a.csv: column 'a' is left out because of '7,5' in row 60 of the table, yet it is mostly numbers; clean it "
            "to make it numeric. It looks like a number with a decimal comma; set data.format.decimal to ','."
        ),
        "a.csv: column 'k' is constant and left out.",
    )
