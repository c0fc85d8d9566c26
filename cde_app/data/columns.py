"""The values of one column, read as numbers, labels or days, and the messages about a column of another kind."""

from __future__ import annotations

import datetime
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import numpy as np
import pandas as pd

from cde_app.arrays import Array, BoolArray, IndexArray
from cde_app.config import TableFormat
from cde_app.data.text import (
    BLANKS,
    Days,
    is_text,
    text_days,
    text_gaps,
    text_numbers,
    time_days,
    to_text,
)
from cde_app.words import list_names, nearest

LARGEST_NUMBER = 1e150  # its square is still a float, so means and standard deviations are finite
SMALLEST_RANGE, LARGEST_RANGE = 1e-70, 1e70
"""Limits on the range of a target, so that the square of a squared error is still a float."""
MOST_SHOWN = 80
"""Letters of a cell that a message shows."""
_LARGEST_EXACT = 2.0**53  # from here on, a float cannot represent every integer


@dataclass(frozen=True)
class Foreign:
    """The value of every cell in a column that holds neither numbers, dates nor labels.

    Some such columns cannot be read at all. The cells of any chunk therefore only say what the column holds.
    """

    noun: str
    """What the column holds, such as `lists`."""


def foreign_noun(column: pd.Series) -> str | None:
    """Name the content of a column if it is neither numbers, dates nor labels; else None."""
    first = column.iloc[0] if len(column) else None
    return first.noun if isinstance(first, Foreign) else None


def foreign_fault(noun: str, name: str, expected: str, *, source: str) -> str:
    """Report a column whose content cannot be used."""
    return (
        f"{source}: column {name!r} must be {expected}; got {noun}. "
        "Write numbers, dates or labels instead, or choose another column."
    )


def read_gaps(column: pd.Series, form: TableFormat) -> BoolArray:
    """Return which cells are empty or hold a word for a gap, [N]."""
    column = _plain(column, form)
    return text_gaps(to_text(column), form) if is_text(column) else column.isna().to_numpy(dtype=bool)


def gap_words(column: pd.Series, form: TableFormat) -> Counter[str]:
    """Count the words that are read as gaps; an empty cell is ""."""
    gaps: list[object] = column[read_gaps(column, form)].tolist()
    return Counter(cell.strip(BLANKS) if isinstance(cell, str) else "" for cell in gaps)


def read_numbers(column: pd.Series, form: TableFormat) -> tuple[Array, BoolArray]:
    """Read a column as numbers; booleans count as 0 and 1.

    Returns:
        [N] numbers, NaN where the cell is empty or not a number; [N] whether the cell holds anything but a number.
    """
    types, column = pd.api.types, _plain(column, form)
    if is_text(column):
        text = to_text(column)
        values, is_number = text_numbers(text, form)
        return values, ~is_number if is_number.all() else ~is_number & ~text_gaps(text, form)
    gaps = column.isna().to_numpy(dtype=bool)
    if not (types.is_numeric_dtype(column) or types.is_bool_dtype(column)) or types.is_complex_dtype(column):
        return np.full(len(column), np.nan), ~gaps
    values = column.to_numpy(dtype=np.float64, na_value=np.nan)
    return values, np.isnan(values) & ~gaps


def rounded_integers(column: pd.Series, values: Array, form: TableFormat) -> BoolArray:
    """Return which cells, [N], are integers, also written as `5.0`, that their numbers, [N], do not have exactly."""
    rounded = np.zeros(len(column), dtype=bool)
    large = np.flatnonzero((np.abs(values) >= _LARGEST_EXACT) & np.isfinite(values))
    if len(large) and not pd.api.types.is_float_dtype(column):
        marks = str.maketrans("", "", f"{form.thousands}'\u00a0\u202f\u2019 +")
        digits = [_label(cell).strip(BLANKS).translate(marks) for cell in column.iloc[large].tolist()]
        for row, text in zip(large, digits, strict=True):
            whole, _, rest = text.partition(form.decimal)
            rounded[row] = whole.lstrip("-").isdecimal() and not rest.strip("0") and int(whole) != int(values[row])
    return rounded


def read_days(column: pd.Series, form: TableFormat, timezone: str = "") -> Days:
    """Read a column as dates.

    Args:
        column: N cells.
        form: how dates are written.
        timezone: the time zone of times without an offset; empty for UTC.
    """
    types, column = pd.api.types, _plain(column, form)
    if types.is_datetime64_any_dtype(column):
        has_offset = np.full(len(column), getattr(column.dtype, "tz", None) is not None)
        return time_days(pd.to_datetime(column, utc=True), has_offset, timezone)
    if not is_text(column) and types.is_numeric_dtype(column) and not types.is_bool_dtype(column):
        column = _written(column)  # a year, or 20240131
    if is_text(column):
        text = to_text(column)
        found = text_days(text, form, timezone)
        return found._replace(is_other=found.is_other & ~text_gaps(text, form)) if found.is_other.any() else found
    none = np.zeros(len(column), dtype=bool)
    return Days(np.full(len(column), np.nan), ~column.isna().to_numpy(dtype=bool), none, none)


def read_labels(column: pd.Series, form: TableFormat) -> tuple[IndexArray, list[str]]:
    """Read a column as labels.

    A label is the unchanged text. Other types in a Parquet file become the text that a CSV would have: the digits of an
    integer, the shortest digits of another number, True or False for a truth value.

    Returns:
        [N] index into the labels, -1 where the cell is empty; the labels, sorted.
    """
    codes, distinct = pd.factorize(column)
    written = [_label(value) for value in distinct]
    gaps = {"", *form.gaps}
    labels = sorted({label for label in written if label.strip(BLANKS) not in gaps})
    position = {label: index for index, label in enumerate(labels)}
    lookup = np.array([*(position.get(label, -1) for label in written), -1], dtype=np.intp)
    return lookup[codes], labels


def read_order(column: pd.Series, form: TableFormat) -> tuple[Array, BoolArray]:
    """Read a column as points in time: numbers if it holds numbers, else dates; returns the same as `read_numbers`."""
    values, is_other = read_numbers(column, form)
    return read_days(column, form)[:2] if is_other.any() else (values, is_other)


def counts_rows(values: Array) -> bool:
    """Return whether numbers, [N], are row numbers: 0, 1, 2, ... or 1, 2, 3, ... in at least three rows."""
    return bool(len(values) >= 3 and values[0] in (0, 1) and np.all(np.diff(values) == 1))


def row_of(mask: BoolArray, frame: pd.DataFrame | pd.Series) -> str:
    """Name the first marked row by its number; the row below the header is row 1."""
    return f"row {int(frame.index[int(np.argmax(mask))]) + 1} of the table"


def missing_column_fault(name: str, columns: Sequence[str], *, source: str, role: str = "") -> str:
    """Write that a column does not exist, with the existing columns and the most similar one.

    Args:
        name: the missing column.
        columns: the columns of the table.
        source: the table, as errors name it.
        role: the setting that names the column, such as `data.targets`.
    """
    needed_by = f" ({role})" if role else ""
    near = nearest(name, columns)
    advice = "Correct the name or the table." if near is None else f"Did you mean {near!r}?"
    return f"{source}: no column {name!r}{needed_by}; columns are {list_names(columns)}. {advice}"


def shown(cell: object) -> str:
    """Write a cell for a message."""
    text = repr(cell.item()) if isinstance(cell, np.generic) else repr(cell if isinstance(cell, str) else _label(cell))
    return text if len(text) <= MOST_SHOWN else f"{text[: MOST_SHOWN - 20]} ... {text[-12:]}"


def _label(value: object) -> str:
    """Write one value as a CSV would have it."""
    if isinstance(value, float | np.floating):
        return str(int(value)) if float(value).is_integer() else str(value)
    if isinstance(value, Decimal) and value.is_finite():
        digits = format(value, "f")
        return digits.rstrip("0").rstrip(".") if "." in digits else digits
    if isinstance(value, datetime.date) and not pd.isna(value):  # also a datetime and pandas' own
        return value.isoformat()
    return str(value)


def _written(column: pd.Series) -> pd.Series:
    """Turn values into text one by one; an empty cell stays empty."""
    return column.map(lambda value: None if _is_gap(value) else _label(value)).astype("string")


def _plain(column: pd.Series, form: TableFormat) -> pd.Series:
    """Turn a column of objects into text, and one of categories into the type of its categories."""
    if isinstance(column.dtype, pd.CategoricalDtype):
        column = column.astype(column.cat.categories.dtype)
    if not pd.api.types.is_object_dtype(column):
        return column

    def write(value: object) -> object:
        if _is_gap(value) or isinstance(value, str):
            return value
        is_number = isinstance(value, float | np.floating | Decimal)
        return _label(value).replace(".", form.decimal) if is_number else _label(value)

    return column.map(write).astype("string")


def _is_gap(value: Any) -> bool:
    return bool(pd.api.types.is_scalar(value) and pd.isna(value))
