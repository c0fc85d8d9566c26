"""What is wrong with a table: every sentence about columns and cells that break the column contract.

A column is read chunk by chunk, as numbers; its faults are gathered on the way and told at the end, all at once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from cde_app import config
from cde_app.data.columns import (
    LARGEST_NUMBER,
    BoolArray,
    FloatArray,
    foreign_fault,
    foreign_noun,
    missing_column_fault,
    read_days,
    read_gaps,
    read_labels,
    read_numbers,
    row_of,
)
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


_ADVICE: dict[Role, Advice] = {
    "data.inputs": Advice("Set data.missing or clean the file.", "Clean the column, or give it kind: categorical."),
    "data.targets": Advice(
        "Set data.missing to drop, or clean the file.", "Clean the column, or choose another target."
    ),
}
FOR_A_RUN = Advice("Fill them, or leave those rows out.", "Clean the column.")
"""The configuration of a trained model can no longer be changed."""


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
        self.last: tuple[NDArray[np.intp], Callable[[int], str]] | None = None

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


class ColumnReader:
    """One column, read chunk by chunk, and what is wrong with its cells.

    Args:
        name: the column.
        kind: what its cells are.
        role: where the configuration names it.
        allows_gaps: whether a gap is no fault.
        source: the table, as errors name it.
        advice: what to do about its cells; None is the advice for a configuration that can be changed.
        key: the setting that has the column's name, if a configuration can be changed.

    Attributes:
        labels: the labels met so far, in the order in which they were met; `categorical` only.
    """

    def __init__(
        self,
        name: str,
        kind: Kind,
        role: Role,
        *,
        allows_gaps: bool,
        source: str,
        advice: Advice | None = None,
        key: tuple[str | int, ...] = (),
    ) -> None:
        self.name, self.kind, self.labels = name, kind, list[str]()
        self._key = key
        self._role, self._allows_gaps, self._source, self._advice = role, allows_gaps, source, advice or _ADVICE[role]
        self._column = f"{source}: column {name!r}"
        self._places: dict[str, int] = {}
        self._missing: str | None = None
        self._foreign: str | None = None
        self._gaps, self._other, self._huge = MarkedCells(), MarkedCells(), MarkedCells()

    def read(self, frame: pd.DataFrame) -> FloatArray:
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
        self._gaps.add(read_gaps(cells), cells, lambda _: "")
        if self.kind == "categorical":
            return self._read_labels(cells)
        values, is_other = (read_days if self.kind == "datetime" else read_numbers)(cells)
        self._other.add(is_other, cells, lambda row: repr(_python_value(cells.iloc[row])))
        self._huge.add(np.abs(values) > LARGEST_NUMBER, cells, lambda row: f"{values[row]:g}")
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
            cell = "cell" if self._gaps.num_cells == 1 else "cells"
            faults.append(
                f"{column} must be {expected} without gaps; got {self._gaps.num_cells} empty {cell}, first in "
                f"{self._gaps.first_row}. {self._advice.gaps}"
            )
        if self._other.num_cells:
            faults.append(f"{column} must be {expected}; got {self._other}. {self._advice.others}")
        if self._huge.num_cells:
            faults.append(
                f"{column} must be finite numbers up to {LARGEST_NUMBER:g}; got {self._huge}. Clean the file."
            )
        return faults

    def row_faults(self, frame: pd.DataFrame) -> Iterator[RowFault]:
        """Read the column in one chunk, and yield what is wrong with its rows."""
        self.read(frame)
        noun = "ISO 8601 date" if self.kind == "datetime" else "number"
        kinds = [(self._other, f"is no {noun}"), (self._huge, f"is no finite number up to {LARGEST_NUMBER:g}")]
        for cells, reason in kinds if self._allows_gaps else [(self._gaps, "empty"), *kinds]:
            places, write = cells.last or ((), str)
            for place in places:
                yield RowFault(int(frame.index[place]) + 1, self.name, f"{write(place)} {reason}".strip())

    def _read_labels(self, cells: pd.Series) -> FloatArray:
        codes, labels = read_labels(cells)
        for label in labels:
            if label not in self._places:
                self._places[label] = len(self.labels)
                self.labels.append(label)
        return np.array([*(self._places[label] for label in labels), np.nan])[codes]


class _Domain(NamedTuple):
    """Where a transform is defined: strictly between two bounds, in words, and what helps elsewhere."""

    lower: float = -np.inf
    upper: float = np.inf
    expected: str = ""
    advice: str = ""


class TargetReader(ColumnReader):
    """A target to be trained on, which must vary and lie where its transform is defined."""

    def __init__(
        self, target: config.TargetColumn, *, allows_gaps: bool, source: str, key: tuple[str | int, ...] = ()
    ) -> None:
        super().__init__(target.column, "numeric", "data.targets", allows_gaps=allows_gaps, source=source, key=key)
        self._domain = _domain_of(target.transform)
        self._num_rows = 0
        self._first, self._low, self._high = np.nan, np.inf, -np.inf
        self._outside = MarkedCells()

    def read(self, frame: pd.DataFrame) -> FloatArray:
        """Read the column in one chunk, see `ColumnReader.read`."""
        values = super().read(frame)
        self._num_rows += len(values)
        present = values[~np.isnan(values)]
        if present.size:
            self._first = present[0] if np.isnan(self._first) else self._first
            self._low, self._high = min(self._low, present.min()), max(self._high, present.max())
        outside = (values <= self._domain.lower) | (values >= self._domain.upper)
        self._outside.add(outside, frame, lambda row: f"{values[row]:g}")
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


def _domain_of(transform: config.Transform) -> _Domain:
    match transform:
        case config.LogTransform(shift=shift):
            return _Domain(
                lower=(least := 0.0 - shift),
                expected=f"be above {least:g} for its log transform",
                advice="Raise the shift, or choose yeo_johnson or identity.",
            )
        case config.LogitTransform(lower=lower, upper=upper):
            return _Domain(
                lower,
                upper,
                expected=f"lie strictly between {lower:g} and {upper:g} for its logit transform",
                advice="Widen the bounds, or choose yeo_johnson or identity.",
            )
        case _:
            return _Domain()


def _python_value(value: object) -> object:
    """Turn a NumPy scalar into a Python one, whose repr is plain; a timestamp into text."""
    if isinstance(value, np.generic):
        return value.item()
    return str(value) if isinstance(value, pd.Timestamp | pd.Timedelta) else value
