"""Faults in the cells of a column, collected chunk by chunk, and the sentences that report them."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from decimal import Decimal
from typing import NamedTuple

import numpy as np
import pandas as pd

from cde_app import config
from cde_app.arrays import BoolArray, IndexArray
from cde_app.data.columns import (
    row_of,
    shown,
)
from cde_app.data.looks import look_of
from cde_app.data.text import BLANKS, Days, number_pattern

_MOSTLY = 0.9
_NUMBER = re.compile(number_pattern(config.TableFormat()))


class RowFault(NamedTuple):
    """A fault in one cell."""

    row: int
    """Row number in the table, counted from 1."""
    column: str
    reason: str

    def __str__(self) -> str:
        return f"row {self.row}, column {self.column!r}: {self.reason}"


class MarkedCells:
    """The cells of a column with the same fault, counted chunk by chunk, and the first of them.

    Attributes:
        last: the marked rows of the last chunk, and the function that shows the cell of such a row.
    """

    def __init__(self) -> None:
        self.num_cells, self.first_row, self._first_value = 0, "", ""
        self.last: tuple[IndexArray, Callable[[int], str]] | None = None

    def add(self, marks: BoolArray, chunk: pd.DataFrame | pd.Series, write: Callable[[int], str]) -> None:
        """Count the marked rows, [N], of a chunk of N rows; `write` shows the cell of one of its rows."""
        self.last = np.flatnonzero(marks), write
        if not marks.any():
            return
        if not self.num_cells:
            self.first_row, self._first_value = row_of(marks, chunk), write(int(np.argmax(marks)))
        self.num_cells += int(np.count_nonzero(marks))

    def __str__(self) -> str:
        """Say how many cells there are, and the content and the row of the first one."""
        if self.num_cells == 1:
            return f"{self._first_value} in {self.first_row}"
        return f"{self.num_cells} cells such as {self._first_value}, first in {self.first_row}"


class OffsetCells:
    """Which dates of a column have an offset from UTC; all must be alike, and as in the training.

    Args:
        column: the column, as errors name it.
        expected: whether the training had offsets; None before it, or if a time zone makes all dates alike.
        timezone: the time zone of dates without an offset.
    """

    def __init__(self, column: str, *, expected: bool | None = None, timezone: str = "") -> None:
        self._column, self._expected, self._timezone = column, expected, timezone
        self._with, self._without, self._unclear = MarkedCells(), MarkedCells(), MarkedCells()

    @property
    def has_offset(self) -> bool | None:
        """Whether the dates had offsets; None if there were no dates, or a time zone makes them alike."""
        if self._timezone or not (self._with.num_cells or self._without.num_cells):
            return None
        return self._with.num_cells > 0

    def add(self, days: Days, cells: pd.Series) -> None:
        """Count the dates of a chunk."""

        def write(row: int) -> str:
            return shown(cells.iloc[row])

        self._with.add(days.has_offset, cells, write)
        self._without.add(~days.has_offset & ~np.isnan(days.values), cells, write)
        self._unclear.add(days.is_unclear, cells, write)

    def row_faults(self) -> list[tuple[MarkedCells, str]]:
        """Return the faulty cells of the last chunk, and what is wrong with them.

        Before a training, if there are times with and without an offset, those without are taken as correct.
        """
        if self._timezone:
            return [(self._unclear, f"does not occur once in {self._timezone}")]
        needs_offset = not self._without.num_cells if self._expected is None else self._expected
        return [(self._without, "has no offset from UTC") if needs_offset else (self._with, "has an offset from UTC")]

    def faults(self) -> list[str]:
        """Write that offsets are mixed, that they differ from the training, or that a local time is ambiguous."""
        fault = ""
        wrong = self._without if self._expected else self._with
        if self._unclear.num_cells:
            fault = (
                f"must hold times that occur once in {self._timezone}; got {self._unclear}. Write them with an offset "
                "such as +01:00."
            )
        elif self._expected is not None and wrong.num_cells:
            fault = (
                f"must have times {'with' if self._expected else 'without'} an offset from UTC, like the training "
                f"table; got {wrong}. Write them like that, or train with the column's timezone."
            )
        elif self._expected is None and not self._timezone and self._with.num_cells and self._without.num_cells:
            fault = (
                f"must have an offset from UTC in every time or in none; got none for {self._without}, and one for "
                f"{self._with}. Write all alike, or set the column's timezone for those without."
            )
        return [f"{self._column} {fault}"] if fault else []


def written_gap(cell: object) -> str:
    """Show a cell that is read as a gap."""
    word = cell.strip(BLANKS) if isinstance(cell, str) else ""
    return f"{word!r} is a gap" if word else "empty"


def count_gaps(words: Counter[str]) -> str:
    """Say how many cells are gaps, and which words they hold."""
    total = words.total()
    if set(words) == {""}:
        return f"{total} empty {'cell' if total == 1 else 'cells'}"
    found = ", ".join(f"{count} {repr(word) if word else 'empty'}" for word, count in words.most_common())
    return f"{total} {'gap' if total == 1 else 'gaps'} ({found})"


def label_remarks(name: str, labels: Sequence[str], form: config.TableFormat) -> list[str]:
    """Remark on labels that differ only in their spelling, or look like numbers."""
    remarks = []
    if alike := _find_alike(sorted(labels)):
        remarks.append(
            f"column {name!r} has labels that differ only in their spelling, such as {alike[0]!r} and {alike[1]!r}; "
            "they stay distinct."
        )
    looks = [(label, look) for label in labels if (look := look_of(label, form)) and look.is_sure]
    if looks and len(looks) >= _MOSTLY * len(labels):
        label, look = looks[0]
        remarks.append(f"column {name!r} is categorical, yet has labels such as {label!r}. {look.advice}")
    return remarks


def _find_alike(labels: Iterable[str]) -> tuple[str, str] | None:
    """Find two labels that are the same when spelled plainly."""
    seen: dict[object, str] = {}
    for label in labels:
        if seen.setdefault(key := spelled_plainly(label), label) != label:
            return seen[key], label
    return None


def spelled_plainly(label: str) -> object:
    """Return a label without what is only spelling: case, blanks and the notation of numbers."""
    plain = " ".join(label.split()).casefold()
    return Decimal(plain) if _NUMBER.fullmatch(plain) else plain
