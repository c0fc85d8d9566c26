"""The values of one column, read as numbers, labels or days, and the words for a column that is not as expected."""

from __future__ import annotations

import difflib
import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]
BoolArray = NDArray[np.bool_]

LARGEST_NUMBER = 1e150  # its square is still a float, so means and standard deviations are finite
_NUMBER = re.compile(r"\s*[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?\s*")
_MICROSECONDS_PER_DAY = 86_400e6
_MICROSECONDS = {"s": 1e6, "ms": 1e3, "us": 1.0}


@dataclass(frozen=True)
class Foreign:
    """Stands in each cell of a column that holds neither numbers, dates nor labels."""

    noun: str
    """What it holds, such as `lists`."""


def foreign_noun(column: pd.Series) -> str | None:
    """Name what a column holds if that is neither numbers, dates nor labels; None if it is one of them."""
    first = column.iloc[0] if len(column) else None
    return first.noun if isinstance(first, Foreign) else None


def foreign_fault(noun: str, name: str, expected: str, *, source: str) -> str:
    """Write that a column holds what cannot be used."""
    return (
        f"{source}: column {name!r} must be {expected}; got {noun}. "
        "Write numbers, dates or labels instead, or choose another column."
    )


def read_gaps(column: pd.Series) -> BoolArray:
    """Say which cells are empty, [N]."""
    return column.isna().to_numpy(dtype=bool)


def read_numbers(column: pd.Series) -> tuple[FloatArray, BoolArray]:
    """Read a column as numbers; booleans count as 0 and 1.

    Returns:
        [N] numbers, NaN where the cell is empty or no number; [N] whether the cell holds something that is no number.
    """
    types, gaps = pd.api.types, read_gaps(column)
    if types.is_datetime64_any_dtype(column) or types.is_timedelta64_dtype(column) or types.is_complex_dtype(column):
        return np.full(len(column), np.nan), ~gaps
    if not types.is_numeric_dtype(column):
        numbers = pd.to_numeric(column.astype(object), errors="coerce").where(_is_plain(column))
        # pandas rounds text otherwise than its CSV reader: the same cell would depend on what else its column holds.
        exact = [
            float(cell) if isinstance(cell, str) and number == number else number
            for cell, number in zip(column, numbers, strict=True)
        ]
        column = pd.Series(exact, column.index)
    values = column.to_numpy(dtype=np.float64, na_value=np.nan)
    return values, np.isnan(values) & ~gaps


def read_days(column: pd.Series) -> tuple[FloatArray, BoolArray]:
    """Read a column as dates (ISO 8601 where it is text), in days since 1970-01-01 UTC; naive times count as UTC.

    Returns:
        [N] days, NaN where the cell is empty or no date; [N] whether the cell holds something that is no date.
    """
    if not pd.api.types.is_datetime64_any_dtype(column):
        if pd.api.types.is_numeric_dtype(column):  # a year, or 20240131
            codes, labels = read_labels(column)
            column = pd.Series([labels[code] if code >= 0 else None for code in codes], dtype=object)
        times = pd.to_datetime(column.astype(object), format="ISO8601", utc=True, errors="coerce")
    else:
        times = pd.to_datetime(column, utc=True)
    absent = times.isna().to_numpy(dtype=bool)
    if times.dt.unit == "ns":
        times = times.dt.as_unit("us")
    counts = times.astype("int64").to_numpy(dtype=np.float64)  # floats, as years that a file holds may be too far off
    microseconds = counts * _MICROSECONDS[times.dt.unit]
    return np.where(absent, np.nan, microseconds / _MICROSECONDS_PER_DAY), absent & ~read_gaps(column)


def read_labels(column: pd.Series) -> tuple[NDArray[np.intp], list[str]]:
    """Read a column as labels.

    A label is the same whether its file, chunk or format stored it as text or as a number: 1, 1.0 and "01" are "1".

    Returns:
        [N] index into the labels, -1 where the cell is empty; the labels, sorted.
    """
    codes, distinct = pd.factorize(column)
    written = [_label(value) for value in distinct]
    labels = sorted(set(written))
    position = {label: index for index, label in enumerate(labels)}
    lookup = np.array([*(position[label] for label in written), -1], dtype=np.intp)
    return lookup[codes], labels


def read_order(column: pd.Series) -> tuple[FloatArray, BoolArray]:
    """Read a column as points in time: numbers if it holds numbers, dates otherwise; returns as `read_days`."""
    values, is_text = read_numbers(column)
    return read_days(column) if is_text.any() else (values, is_text)


def counts_rows(values: FloatArray) -> bool:
    """Say whether numbers, [N], run 0, 1, 2 ... or 1, 2, 3 ... as a row number does; three rows at least."""
    return bool(len(values) >= 3 and values[0] in (0, 1) and np.all(np.diff(values) == 1))


def row_of(mask: BoolArray, frame: pd.DataFrame | pd.Series) -> str:
    """Name the first marked row as the user counts them, the row below the header being row 1."""
    return f"row {int(frame.index[int(np.argmax(mask))]) + 1} of the table"


def list_names(names: Sequence[object]) -> str:
    """Write a list of names, abbreviated above eight."""
    shown = [repr(name) for name in names]
    return ", ".join(shown if len(shown) <= 8 else [*shown[:6], "...", shown[-1]])


def missing_column_fault(name: str, columns: Sequence[str], *, source: str, role: str = "") -> str:
    """Write that a column does not exist, with the columns that do and the nearest of them.

    Args:
        name: the column that was asked for.
        columns: the columns of the table.
        source: the table, as errors name it.
        role: where the column was asked for, such as `data.targets`.
    """
    place = f" ({role})" if role else ""
    near = [column for column in columns if column.strip().casefold() == name.strip().casefold()]
    near = near or difflib.get_close_matches(name, [str(column) for column in columns], n=1)
    advice = f"Did you mean {near[0]!r}?" if near else "Correct the name or the table."
    return f"{source}: no column {name!r}{place}; columns are {list_names(columns)}. {advice}"


def _label(value: object) -> str:
    """Write one value as a label."""
    text = str(value)
    if text.casefold() in ("true", "false"):
        return text.capitalize()
    if _NUMBER.fullmatch(text):
        number = float(text)
        if number.is_integer():
            return str(int(text) if text.strip().lstrip("+-").isdecimal() else int(number))
        return repr(number) if np.isfinite(number) else text
    return text


def _is_plain(column: pd.Series) -> pd.Series:
    """Say which cells of a column of objects may be read as a number at all (dates and durations may not)."""
    if not pd.api.types.is_object_dtype(column):
        return pd.Series(True, index=column.index)
    return column.map(lambda value: not hasattr(value, "isoformat") and not hasattr(value, "total_seconds"))
