"""Guess the format of the numbers and dates of a table, if there is only one way to read them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from cde_app.arrays import Array
from cde_app.config import TableFormat
from cde_app.data.looks import look_of_date
from cde_app.data.text import is_text, text_days, text_gaps, text_numbers, to_text

_NUMBERS = tuple(
    TableFormat.model_validate({"decimal": decimal, "thousands": thousands})
    for decimal, thousands in (
        (".", ""), (",", ""), (".", ","), (",", "."), (".", " "), (",", " "), (".", "'"), (",", "'"),
    )
)  # fmt: skip
_DATES = tuple(TableFormat(dates=dates) for dates in ("iso", "day_first", "month_first"))

_Read = Callable[[Any, TableFormat], Any]


@dataclass(frozen=True)
class _Found:
    """A format, and a cell of a column that needs it, with its value."""

    form: TableFormat
    name: str
    cell: str
    value: float


def guess_format(frame: pd.DataFrame) -> tuple[TableFormat, list[str]]:
    """Guess decimal and thousands marks and the order of dates, and report them.

    A format is chosen if it reads all numbers (dates) of the table and every other format that reads them all gives
    the same values; otherwise the default stays.

    Args:
        frame: the table, N rows, cells as text.

    Returns:
        The format; a sentence for each difference from the default.
    """
    columns = {str(name): _distinct(frame[name]) for name in frame.columns if is_text(frame[name])}
    columns = {name: text for name, text in columns.items() if len(text)}
    form, remarks = TableFormat(), []
    if found := _only_way(columns, _NUMBERS, _numbers):
        form = form.model_copy(update={"decimal": found.form.decimal, "thousands": found.form.thousands})
        remarks.append(
            f"numbers such as {found.cell!r} in column {found.name!r} are read as {found.value:.10g}; see data.format."
        )
    looks = {name: text for name, text in columns.items() if look_of_date(str(text[0]), form)}
    if found := _only_way(looks, _DATES, _days):
        form = form.model_copy(update={"dates": found.form.dates})
        day = np.datetime64(int(found.value // 1), "D")
        remarks.append(f"dates such as {found.cell!r} in column {found.name!r} are read as {day}; see data.format.")
    return form, remarks


def _distinct(column: pd.Series) -> Any:
    """Return the distinct cells of a column of text, without gaps."""
    text = pc.unique(to_text(column))
    return text.filter(pa.array(~text_gaps(text, TableFormat())))


def _only_way(columns: dict[str, Any], ways: Sequence[TableFormat], read: _Read) -> _Found | None:
    """Find the format for all columns that any format reads; None if it is the first one, or if several disagree."""
    plain, odd = dict[str, list[Any]](), dict[str, list[Any]]()
    for name, text in columns.items():
        by_default = _read_all(read, text, ways[0])
        (odd if by_default is None else plain)[name] = [by_default]
    for name in odd:
        odd[name] += [_read_all(read, columns[name], way) for way in ways[1:]]
    odd = {name: values for name, values in odd.items() if any(one is not None for one in values)}
    if not odd:
        return None
    for name in plain:
        plain[name] += [_read_all(read, columns[name], way) for way in ways[1:]]
    by_way = zip(ways, *odd.values(), *plain.values(), strict=True)
    fitting = [values for values in by_way if all(one is not None for one in values)]
    if not fitting or not all(_are_equal(fitting[0][1:], other[1:]) for other in fitting):
        return None
    name = next(iter(odd))
    first = next(row for row, cell in enumerate(columns[name]) if read(columns[name][row : row + 1], ways[0]) is None)
    return _Found(fitting[0][0], name, columns[name][first].as_py(), float(fitting[0][1][first]))


def _are_equal(first: Sequence[Array], second: Sequence[Array]) -> bool:
    return all(np.array_equal(one, other) for one, other in zip(first, second, strict=True))


def _read_all(read: _Read, text: Any, way: TableFormat) -> Any:
    """Read all cells; None if one has another format, which the first cell usually shows."""
    return None if read(text[:1], way) is None else read(text, way)


def _numbers(text: Any, form: TableFormat) -> Array | None:
    """Read numbers; None if a cell is not one."""
    values, is_number = text_numbers(text, form)
    return values if is_number.all() else None


def _days(text: Any, form: TableFormat) -> Array | None:
    """Read dates; None if a cell is not one."""
    days = text_days(text, form, "")
    return None if days.is_other.any() else days.values
