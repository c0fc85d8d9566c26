"""What is wrong with a table: every sentence about columns and cells that break the column contract.

A column is read chunk by chunk, as numbers; its faults are gathered on the way and told at the end, all at once.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

import numpy as np
import pandas as pd

from cde_app import config
from cde_app.data.columns import (
    LARGEST_NUMBER,
    FloatArray,
    missing_column_fault,
    read_days,
    read_gaps,
    read_labels,
    read_numbers,
    row_of,
)

Kind = Literal["numeric", "categorical", "cyclic", "datetime"]
MissingKind = Literal["error", "drop", "impute_with_indicator"]
Role = Literal["data.inputs", "data.targets"]

_EXPECTED: dict[Kind, str] = {
    "numeric": "numbers",
    "cyclic": "numbers",
    "datetime": "ISO 8601 dates such as 2024-01-31T12:00",
    "categorical": "labels",
}
_ADVICE: dict[Role, str] = {
    "data.inputs": "Clean the column, or give it kind: categorical.",
    "data.targets": "Clean the column, or choose another target.",
}


class ColumnReader:
    """One column, read chunk by chunk, and what is wrong with its cells.

    Args:
        name: the column.
        kind: what its cells are.
        role: where the configuration names it.
        allows_gaps: whether a gap is no fault.
        source: the table, as errors name it.

    Attributes:
        labels: the labels met so far, in the order in which they were met; `categorical` only.
    """

    def __init__(self, name: str, kind: Kind, role: Role, *, allows_gaps: bool, source: str) -> None:
        self.name, self.kind, self.labels = name, kind, list[str]()
        self._role, self._allows_gaps, self._source = role, allows_gaps, source
        self._column = f"{source}: column {name!r}"
        self._places: dict[str, int] = {}
        self._missing: str | None = None
        self._num_gaps, self._first_gap = 0, ""
        self._other: str | None = None
        self._huge: str | None = None

    def read(self, frame: pd.DataFrame) -> FloatArray:
        """Read the column in one chunk, N rows.

        Returns:
            [N] numbers; days since 1970-01-01 UTC for dates; for labels their places in `labels`. NaN where the cell
            is a gap, or a fault.
        """
        if self.name not in frame.columns:
            columns = list(frame.columns)
            self._missing = missing_column_fault(self.name, columns, source=self._source, role=self._role)
            return np.full(len(frame), np.nan)
        cells = frame[self.name]
        gaps = read_gaps(cells)
        if gaps.any():
            self._first_gap = self._first_gap or row_of(gaps, cells)
            self._num_gaps += int(gaps.sum())
        if self.kind == "categorical":
            return self._read_labels(cells)
        values, is_other = (read_days if self.kind == "datetime" else read_numbers)(cells)
        if is_other.any() and self._other is None:
            self._other = f"{_python_value(cells[is_other].iloc[0])!r} in {row_of(is_other, cells)}"
        huge = np.abs(values) > LARGEST_NUMBER
        if huge.any() and self._huge is None:
            self._huge = f"{values[huge][0]:g} in {row_of(huge, cells)}"
        return values

    def faults(self) -> list[str]:
        """Write what is wrong with all that was read: no such column, gaps, text among numbers, infinities."""
        if self._missing is not None:
            return [self._missing]
        faults = []
        column, expected = self._column, _EXPECTED[self.kind]
        if self._num_gaps and not self._allows_gaps:
            cell = "cell" if self._num_gaps == 1 else "cells"
            faults.append(
                f"{column} must be {expected} without gaps; got {self._num_gaps} empty {cell}, first in "
                f"{self._first_gap}. Set data.missing or clean the file."
            )
        if self._other is not None:
            faults.append(f"{column} must be {expected}; got {self._other}. {_ADVICE[self._role]}")
        if self._huge is not None:
            faults.append(f"{column} must be finite numbers; got {self._huge}. Clean the file.")
        return faults

    def _read_labels(self, cells: pd.Series) -> FloatArray:
        codes, labels = read_labels(cells)
        for label in labels:
            if label not in self._places:
                self._places[label] = len(self.labels)
                self.labels.append(label)
        return np.array([*(self._places[label] for label in labels), np.nan])[codes]


class TargetReader(ColumnReader):
    """A target to be trained on, which must vary and lie where its transform is defined."""

    def __init__(self, target: config.TargetColumn, *, allows_gaps: bool, source: str) -> None:
        super().__init__(target.column, "numeric", "data.targets", allows_gaps=allows_gaps, source=source)
        self._transform = target.transform
        self._num_rows = 0
        self._first, self._low, self._high = np.nan, np.inf, -np.inf
        self._outside: str | None = None

    def read(self, frame: pd.DataFrame) -> FloatArray:
        """Read the column in one chunk, see `ColumnReader.read`."""
        values = super().read(frame)
        self._num_rows += len(values)
        present = values[~np.isnan(values)]
        if present.size:
            self._first = present[0] if np.isnan(self._first) else self._first
            self._low, self._high = min(self._low, present.min()), max(self._high, present.max())
        self._outside = self._outside or self._outside_fault(values, frame)
        return values

    def faults(self) -> list[str]:
        """Write what is wrong with the cells; if nothing, that the target is constant or outside its transform."""
        found = super().faults()
        if found or self._num_rows < 2:
            return found
        column = self._column
        if np.isnan(self._first):
            return [f"{column} must be numbers; got empty cells only. Choose another target."]
        if self._high - self._low <= 1e-9 * max(abs(self._low), abs(self._high)):
            return [f"{column} must vary; got {self._first:g} in every row. Choose another target."]
        return [self._outside] if self._outside else []

    def _outside_fault(self, values: FloatArray, frame: pd.DataFrame) -> str | None:
        """Write where the transform is not defined, first among these rows; None if it is defined for all of them."""
        match self._transform:
            case config.LogTransform(shift=shift):
                outside = values + shift <= 0
                expected = f"be above {0.0 - shift:g} for its log transform"
                advice = "Raise the shift, or choose yeo_johnson or identity."
            case config.LogitTransform(lower=lower, upper=upper):
                outside = (values <= lower) | (values >= upper)
                expected = f"lie strictly between {lower:g} and {upper:g} for its logit transform"
                advice = "Widen the bounds, or choose yeo_johnson or identity."
            case _:
                return None
        if not outside.any():
            return None
        got = f"{values[outside][0]:g}"
        return f"{self._column} must {expected}; got {got} in {row_of(outside, frame)}. {advice}"


def faults_of(readers: Iterable[ColumnReader]) -> list[str]:
    """Write what is wrong with all that several readers have read."""
    return [fault for reader in readers for fault in reader.faults()]


def _python_value(value: object) -> object:
    """Turn a NumPy scalar into a Python one, whose repr is plain; a timestamp into text."""
    if isinstance(value, np.generic):
        return value.item()
    return str(value) if isinstance(value, pd.Timestamp | pd.Timedelta) else value
