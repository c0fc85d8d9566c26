"""What is wrong with a table: every sentence about columns and cells that break the column contract.

A column is read chunk by chunk, as numbers; its faults are gathered on the way and told at the end, all at once.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Literal, NamedTuple

import numpy as np
import pandas as pd

from cde_app import config
from cde_app.arrays import Array, BoolArray, IndexArray
from cde_app.data.columns import (
    LARGEST_NUMBER,
    foreign_fault,
    foreign_noun,
    gap_words,
    missing_column_fault,
    read_days,
    read_gaps,
    read_labels,
    read_numbers,
    rounded_integers,
    row_of,
    shown,
)
from cde_app.data.looks import Look, look_of, look_of_date, look_of_number
from cde_app.data.text import BLANKS, Days, number_pattern
from cde_app.data.transform import domain_of
from cde_app.errors import FaultOfSetting

Kind = Literal["numeric", "categorical", "cyclic", "datetime"]
MissingKind = Literal["error", "drop", "impute_with_indicator"]
Role = Literal["data.inputs", "data.targets"]

_EXPECTED: dict[Kind, str] = {
    "numeric": "numbers",
    "cyclic": "numbers",
    "datetime": "ISO 8601 dates such as 2024-01-31T12:00",
    "categorical": "labels",
}


@dataclass(frozen=True)
class Advice:
    """What to do about a column's cells."""

    gaps: str
    """About empty ones."""
    others: str
    """About what is no number or no date."""
    looks: Callable[[Look], str] = lambda look: look.advice
    """About what looks like one."""


_ADVICE: dict[Role, Advice] = {
    "data.inputs": Advice("Set data.missing or clean the file.", "Clean the column, or give it kind: categorical."),
    "data.targets": Advice(
        "Set data.missing to drop, or clean the file.", "Clean the column, or choose another target."
    ),
}
FOR_A_RUN = Advice(
    "Fill them, or leave those rows out.",
    "Clean the column.",
    lambda look: f"It looks like {look.words}; write it as the table of the training has it.",
)
"""The configuration of a trained model can no longer be changed."""


_MOSTLY = 0.9
_NUMBER = re.compile(number_pattern(config.TableFormat()))


class RowFault(NamedTuple):
    """What is wrong with one cell."""

    row: int
    """Its place in the table, counted from 1."""
    column: str
    reason: str

    def __str__(self) -> str:
        return f"row {self.row}, column {self.column!r}: {self.reason}"


class MarkedCells:
    """The cells of a column that share a fault, counted chunk by chunk, and the first of them.

    Attributes:
        last: the marked rows of the chunk that was added last, and what shows the cell of one.
    """

    def __init__(self) -> None:
        self.num_cells, self.first_row, self._first_value = 0, "", ""
        self.last: tuple[IndexArray, Callable[[int], str]] | None = None

    def add(self, marks: BoolArray, chunk: pd.DataFrame | pd.Series, write: Callable[[int], str]) -> None:
        """Count the marked ones, [N], of a chunk of N rows; `write` shows the cell of a row of it."""
        self.last = np.flatnonzero(marks), write
        if not marks.any():
            return
        if not self.num_cells:
            self.first_row, self._first_value = row_of(marks, chunk), write(int(np.argmax(marks)))
        self.num_cells += int(np.count_nonzero(marks))

    def __str__(self) -> str:
        """Say how many they are, what the first of them holds, and where it is."""
        if self.num_cells == 1:
            return f"{self._first_value} in {self.first_row}"
        return f"{self.num_cells} cells such as {self._first_value}, first in {self.first_row}"


class OffsetCells:
    """The dates of a column with an offset from UTC, and those without; all must be alike, as those of the training.

    Args:
        column: the column, as errors name it.
        expected: whether the training had offsets; None before it, or where a time zone makes all alike.
        timezone: of those without.
    """

    def __init__(self, column: str, *, expected: bool | None = None, timezone: str = "") -> None:
        self._column, self._expected, self._timezone = column, expected, timezone
        self._with, self._without, self._unclear = MarkedCells(), MarkedCells(), MarkedCells()

    @property
    def has_offset(self) -> bool | None:
        """Whether the dates had offsets; None if there were none, or a time zone makes them alike."""
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
        """Return the cells of the chunk that was added last which are faults of their rows, and what they are.

        Without a training to be like, times without an offset stay where there are both.
        """
        if self._timezone:
            return [(self._unclear, f"does not occur once in {self._timezone}")]
        needs_offset = not self._without.num_cells if self._expected is None else self._expected
        return [(self._without, "has no offset from UTC") if needs_offset else (self._with, "has an offset from UTC")]

    def faults(self) -> list[str]:
        """Write that offsets are mixed or other than in the training, or that a local time is unclear."""
        fault = ""
        wrong = self._without if self._expected else self._with
        if self._unclear.num_cells:
            fault = (
                f"must hold times that occur once in {self._timezone}; got {self._unclear}. Write them with an offset "
                "such as +01:00."
            )
        elif self._expected is not None and wrong.num_cells:
            fault = (
                f"must have times {'with' if self._expected else 'without'} an offset from UTC, as the table of the "
                f"training has; got {wrong}. Write them so, or train with the column's timezone."
            )
        elif self._expected is None and not self._timezone and self._with.num_cells and self._without.num_cells:
            fault = (
                f"must have an offset from UTC in every time or in none; got none for {self._without}, and one for "
                f"{self._with}. Write all alike, or name the timezone of those without in the column's settings."
            )
        return [f"{self._column} {fault}"] if fault else []


class ColumnReader:
    """One column, read chunk by chunk, and what is wrong with its cells.

    Args:
        name: the column.
        kind: what its cells are.
        role: where the configuration names it.
        form: how its cells are written.
        allows_gaps: whether a gap is no fault.
        source: the table, as errors name it.
        advice: what to do about its cells; None is the advice for a configuration that can be changed.
        timezone: where times without an offset are local.
        has_offset: whether the dates of the training had offsets; None before it.
        key: the setting that has the column's name, if a configuration can be changed.

    Attributes:
        labels: the labels met so far, in the order in which they were met; `categorical` only.
        gap_words: the words that stood for a gap, counted; an empty cell is "".
        offsets: which dates have offsets; `datetime` only.
    """

    def __init__(
        self,
        name: str,
        kind: Kind,
        role: Role,
        *,
        form: config.TableFormat,
        allows_gaps: bool,
        source: str,
        advice: Advice | None = None,
        timezone: str = "",
        has_offset: bool | None = None,
        key: tuple[str | int, ...] = (),
    ) -> None:
        self.name, self.kind, self.labels, self.gap_words = name, kind, list[str](), Counter[str]()
        self._key = key
        self._role, self._allows_gaps, self._source, self._advice = role, allows_gaps, source, advice or _ADVICE[role]
        self._form, self._timezone, self._column = form, timezone, f"{source}: column {name!r}"
        self._places: dict[str, int] = {}
        self._missing: str | None = None
        self._foreign: str | None = None
        self._look: Look | None = None
        self._gaps, self._other, self._huge, self._rounded = MarkedCells(), MarkedCells(), MarkedCells(), MarkedCells()
        self.offsets = OffsetCells(self._column, expected=has_offset, timezone=timezone)

    def read(self, frame: pd.DataFrame) -> Array:
        """Read the column in one chunk, N rows.

        Returns:
            [N] numbers; days since 1970-01-01 UTC for dates; for labels their places in `labels`. NaN where the cell
            is a gap, or a fault.
        """
        if self.name not in frame.columns:
            columns = list(frame.columns)
            missing = missing_column_fault(self.name, columns, source=self._source, role=self._role)
            self._missing = FaultOfSetting(missing, self._key) if self._key else missing
            return np.full(len(frame), np.nan)
        cells = frame[self.name]
        if noun := foreign_noun(cells):
            self._foreign = foreign_fault(noun, self.name, _EXPECTED[self.kind], source=self._source)
            return np.full(len(frame), np.nan)
        if self.kind == "categorical":
            values = self._read_labels(cells)
        elif self.kind == "datetime":
            days = read_days(cells, self._form, self._timezone)
            self.offsets.add(days, cells)
            values = days.values
            self._add_other(days.is_other, cells)
        else:
            values, is_other = read_numbers(cells, self._form)
            self._add_other(is_other, cells)
            self._rounded.add(rounded_integers(cells, values, self._form), cells, lambda row: str(cells.iloc[row]))
        if np.isnan(values).any():
            self._gaps.add(read_gaps(cells, self._form), cells, lambda row: _written_gap(cells.iloc[row]))
            self.gap_words.update(gap_words(cells, self._form))
        self._huge.add(np.abs(values) > LARGEST_NUMBER, cells, lambda row: str(cells.iloc[row]).strip())
        return values

    def faults(self) -> list[str]:
        """Write what is wrong with all that was read: no such column, gaps, text among numbers, infinities."""
        if self._missing is not None:
            return [self._missing]
        if self._foreign is not None:
            return [self._foreign]
        faults = []
        column, expected = self._column, _EXPECTED[self.kind]
        if self._gaps.num_cells and not self._allows_gaps:
            faults.append(
                f"{column} must be {expected} without gaps; got {count_gaps(self.gap_words)}, first in "
                f"{self._gaps.first_row}. {self._advice.gaps}"
            )
        if self._other.num_cells:
            advice = self._advice.looks(self._look) if self._look else self._advice.others
            faults.append(f"{column} must be {expected}; got {self._other}. {advice}")
        if self._huge.num_cells:
            faults.append(
                f"{column} must be finite numbers up to {LARGEST_NUMBER:g}; got {self._huge}. Clean the file."
            )
        return faults + self.offsets.faults()

    def remarks(self) -> list[str]:
        """Write what was read otherwise than one may think: words as gaps, large integers, labels that look alike."""
        remarks = []
        if self._rounded.num_cells:
            remarks.append(
                f"column {self.name!r} has integers above 2^53, rounded to the nearest number of 53 bits: "
                f"{self._rounded}."
            )
        if self.kind == "categorical":
            if any(self.gap_words):
                remarks.append(
                    f"column {self.name!r} has {count_gaps(self.gap_words)}; a word that is a label must not be among "
                    "data.format.gaps."
                )
            remarks += label_remarks(self.name, self.labels, self._form)
        return remarks

    def _add_other(self, is_other: BoolArray, cells: pd.Series) -> None:
        """Count what is no number or date; say what the first of it looks like."""
        if is_other.any() and not self._other.num_cells:
            first = cells.iloc[int(np.argmax(is_other))]
            if isinstance(first, str):
                self._look = (
                    look_of_date(first, self._form) if self.kind == "datetime" else look_of_number(first, self._form)
                )
        self._other.add(is_other, cells, lambda row: shown(cells.iloc[row]))

    def row_faults(self, frame: pd.DataFrame) -> Iterator[RowFault]:
        """Read the column in one chunk, and yield what is wrong with its rows."""
        self.read(frame)
        noun = "ISO 8601 date" if self.kind == "datetime" else "number"
        kinds = [
            (self._other, f"is no {noun}"),
            (self._huge, f"is no finite number up to {LARGEST_NUMBER:g}"),
            *self.offsets.row_faults(),
        ]
        for cells, reason in kinds if self._allows_gaps else [(self._gaps, ""), *kinds]:
            places, write = cells.last or ((), str)
            for place in places:
                yield RowFault(int(frame.index[place]) + 1, self.name, f"{write(place)} {reason}".strip())

    def _read_labels(self, cells: pd.Series) -> Array:
        codes, labels = read_labels(cells, self._form)
        for label in labels:
            if label not in self._places:
                self._places[label] = len(self.labels)
                self.labels.append(label)
        return np.array([*(self._places[label] for label in labels), np.nan])[codes]


def _written_gap(cell: object) -> str:
    """Say what stands for a gap."""
    word = cell.strip(BLANKS) if isinstance(cell, str) else ""
    return f"{word!r} is a gap" if word else "empty"


def count_gaps(words: Counter[str]) -> str:
    """Say how many cells are gaps, and which words stood there."""
    total = words.total()
    if set(words) == {""}:
        return f"{total} empty {'cell' if total == 1 else 'cells'}"
    found = ", ".join(f"{count} {repr(word) if word else 'empty'}" for word, count in words.most_common())
    return f"{total} {'gap' if total == 1 else 'gaps'} ({found})"


def label_remarks(name: str, labels: Sequence[str], form: config.TableFormat) -> list[str]:
    """Write that labels differ in their spelling only, or look like numbers."""
    remarks = []
    if alike := _find_alike(sorted(labels)):
        remarks.append(
            f"column {name!r} has labels that differ in their spelling only, such as {alike[0]!r} and {alike[1]!r}; "
            "they stay apart."
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
    """Return what a label means if case, blanks and the way to write a number mean nothing."""
    plain = " ".join(label.split()).casefold()
    return Decimal(plain) if _NUMBER.fullmatch(plain) else plain


class TargetReader(ColumnReader):
    """A target to be trained on, which must vary and lie where its transform is defined."""

    def __init__(
        self,
        target: config.TargetColumn,
        *,
        form: config.TableFormat,
        allows_gaps: bool,
        source: str,
        key: tuple[str | int, ...] = (),
    ) -> None:
        super().__init__(
            target.column, "numeric", "data.targets", form=form, allows_gaps=allows_gaps, source=source, key=key
        )
        self._domain = domain_of(target.transform)
        self._num_rows = 0
        self._first, self._low, self._high = np.nan, np.inf, -np.inf
        self._outside = MarkedCells()

    def read(self, frame: pd.DataFrame) -> Array:
        """Read the column in one chunk, see `ColumnReader.read`."""
        values = super().read(frame)
        self._num_rows += len(values)
        present = values[~np.isnan(values)]
        if present.size:
            self._first = present[0] if np.isnan(self._first) else self._first
            self._low, self._high = min(self._low, present.min()), max(self._high, present.max())
        self._outside.add(self._domain.is_outside(values), frame, lambda row: f"{values[row]:g}")
        return values

    def faults(self) -> list[str]:
        """Write what is wrong with the cells; if nothing, that the target is constant or outside its transform."""
        found = super().faults()
        if found or self._num_rows < 2:
            return found
        column = self._column
        if np.isnan(self._first):
            return [f"{column} must be numbers; got empty cells only. Choose another target."]
        if self._high == self._low:
            return [f"{column} must vary; got {self._first:g} in every row. Choose another target."]
        if self._outside.num_cells:
            return [f"{column} must {self._domain.expected}; got {self._outside}. {self._domain.advice}"]
        return []


def faults_of(readers: Iterable[ColumnReader]) -> list[str]:
    """Write what is wrong with all that several readers have read."""
    return [fault for reader in readers for fault in reader.faults()]
