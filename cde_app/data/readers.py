"""The columns of a table, read chunk by chunk as numbers; their faults are reported at the end."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd

from cde_app import config
from cde_app.arrays import Array, BoolArray
from cde_app.data.columns import (
    LARGEST_NUMBER,
    LARGEST_RANGE,
    SMALLEST_RANGE,
    foreign_fault,
    foreign_noun,
    gap_words,
    missing_column_fault,
    read_days,
    read_gaps,
    read_labels,
    read_numbers,
    rounded_integers,
    shown,
)
from cde_app.data.faults import MarkedCells, OffsetCells, RowFault, count_gaps, label_remarks, written_gap
from cde_app.data.looks import Look, look_of_date, look_of_number
from cde_app.errors import FaultOfSetting
from cde_app.targets import domain_of

Kind = Literal["numeric", "categorical", "cyclic", "datetime"]
MissingKind = Literal["error", "drop", "impute_with_indicator"]
Role = Literal["data.inputs", "data.targets", "--threshold", "a forecast"]

_EXPECTED: dict[Kind, str] = {
    "numeric": "numbers",
    "cyclic": "numbers",
    "datetime": "ISO 8601 dates such as 2024-01-31T12:00",
    "categorical": "labels",
}


@dataclass(frozen=True)
class Advice:
    """What to do about faulty cells of a column."""

    gaps: str
    """Advice about empty cells."""
    others: str
    """Advice about cells that are not numbers or dates."""
    looks: Callable[[Look], str] = lambda look: look.advice
    """Advice about cells that look like numbers or dates."""


_ADVICE: dict[Role, Advice] = {
    "data.inputs": Advice("Set data.missing or clean the file.", "Clean the column, or give it kind: categorical."),
    "data.targets": Advice(
        "Set data.missing to drop, or clean the file.", "Clean the column, or choose another target."
    ),
}
FOR_A_RUN = Advice(
    "Fill them, or leave those rows out.",
    "Clean the column.",
    lambda look: f"It looks like {look.words}; write it as in the training table.",
)
"""The configuration of a trained model can no longer be changed."""


class ColumnReader:
    """One column, read chunk by chunk, and the faults of its cells.

    Args:
        name: the column.
        kind: the kind of its cells.
        role: the setting that lists it.
        form: the format of its cells.
        allows_gaps: whether gaps are allowed.
        source: the table, as errors name it.
        advice: what to do about faulty cells; None gives the advice for a configuration that can be changed.
        timezone: the time zone of times without an offset.
        has_offset: whether the dates of the training had offsets; None before it.
        key: the setting that has the column's name, if a configuration can be changed.

    Attributes:
        labels: the labels so far, in order of first appearance; `categorical` only.
        gap_words: the words that were read as gaps, counted; an empty cell is "".
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
        self._codes: dict[str, int] = {}
        self._missing: str | None = None
        self._foreign: str | None = None
        self._look: Look | None = None
        self._gaps, self._other, self._huge, self._rounded = MarkedCells(), MarkedCells(), MarkedCells(), MarkedCells()
        self.offsets = OffsetCells(self._column, expected=has_offset, timezone=timezone)

    def read(self, frame: pd.DataFrame) -> Array:
        """Read the column in one chunk, N rows.

        Returns:
            [N] numbers; days since 1970-01-01 UTC for dates; indices into `labels` for labels. NaN where the cell is a
            gap or faulty.
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
            self._gaps.add(read_gaps(cells, self._form), cells, lambda row: written_gap(cells.iloc[row]))
            self.gap_words.update(gap_words(cells, self._form))
        self._huge.add(np.abs(values) > LARGEST_NUMBER, cells, lambda row: str(cells.iloc[row]).strip())
        return values

    def faults(self) -> list[str]:
        """Report the faults of all chunks: a missing column, gaps, text among numbers, infinities."""
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
        """Report what was read in an unexpected way: words as gaps, large integers, labels that look alike."""
        remarks = []
        if self._rounded.num_cells:
            labels = "" if self._role == "data.targets" else "If they are labels, give it kind: categorical; else "
            advice = f"{labels}subtract a constant from them."
            remarks.append(
                f"column {self.name!r} has integers above 2^53, rounded to the nearest number of 53 bits, so that "
                f"neighbours are not told apart: {self._rounded}. {advice[0].upper()}{advice[1:]}"
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
        """Count the cells that are not numbers or dates; note what the first one looks like."""
        if is_other.any() and not self._other.num_cells:
            first = cells.iloc[int(np.argmax(is_other))]
            if isinstance(first, str):
                self._look = (
                    look_of_date(first, self._form) if self.kind == "datetime" else look_of_number(first, self._form)
                )
        self._other.add(is_other, cells, lambda row: shown(cells.iloc[row]))

    def row_faults(self, frame: pd.DataFrame) -> Iterator[RowFault]:
        """Read the column in one chunk, and yield the faults of its rows."""
        self.read(frame)
        noun = "ISO 8601 date" if self.kind == "datetime" else "number"
        kinds = [
            (self._other, f"is no {noun}"),
            (self._huge, f"is no finite number up to {LARGEST_NUMBER:g}"),
            *self.offsets.row_faults(),
        ]
        for cells, reason in kinds if self._allows_gaps else [(self._gaps, ""), *kinds]:
            rows, write = cells.last or ((), str)
            for row in rows:
                yield RowFault(int(frame.index[row]) + 1, self.name, f"{write(row)} {reason}".strip())

    def _read_labels(self, cells: pd.Series) -> Array:
        codes, labels = read_labels(cells, self._form)
        for label in labels:
            if label not in self._codes:
                self._codes[label] = len(self.labels)
                self.labels.append(label)
        return np.array([*(self._codes[label] for label in labels), np.nan])[codes]


class TargetReader(ColumnReader):
    """A target to train on; it must vary and lie in the domain of its transform."""

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
        """Read the column in one chunk; see `ColumnReader.read`."""
        values = super().read(frame)
        self._num_rows += len(values)
        present = values[~np.isnan(values)]
        if present.size:
            self._first = present[0] if np.isnan(self._first) else self._first
            self._low, self._high = min(self._low, present.min()), max(self._high, present.max())
        self._outside.add(self._domain.is_outside(values), frame, lambda row: f"{values[row]:g}")
        return values

    def faults(self) -> list[str]:
        """Report the faults of the cells; if there are none, a constant target or values outside the domain."""
        found = super().faults()
        if found or self._num_rows < 2:
            return found
        column = self._column
        if np.isnan(self._first):
            return [f"{column} must be numbers; got empty cells only. Choose another target."]
        if self._high == self._low and self._rounded.num_cells:
            got = f"{self._first:.17g} in every row, rounded from {self._rounded}"
            return [f"{column} must vary in the 53 bits of a number; got {got}. Subtract a constant from them."]
        if self._high == self._low:
            return [f"{column} must vary; got {self._first:g} in every row. Choose another target."]
        if not SMALLEST_RANGE <= self._high - self._low <= LARGEST_RANGE:
            expected = f"a range between {SMALLEST_RANGE:g} and {LARGEST_RANGE:g}"
            return [f"{column} must have {expected}; got {self._high - self._low:g}. Write it in another unit."]
        if self._outside.num_cells:
            return [f"{column} must {self._domain.expected}; got {self._outside}. {self._domain.advice}"]
        return []


def faults_of(readers: Iterable[ColumnReader]) -> list[str]:
    """Report the faults of several readers."""
    return [fault for reader in readers for fault in reader.faults()]
