"""What is wrong with a table: every sentence about columns and cells that break the column contract."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd

from cde_app import config
from cde_app.data.columns import (
    LARGEST_NUMBER,
    BoolArray,
    missing_column_fault,
    read_days,
    read_gaps,
    read_numbers,
    row_of,
)
from cde_app.errors import DataError

Kind = Literal["numeric", "categorical", "cyclic", "datetime"]
MissingKind = Literal["error", "drop", "impute_with_indicator"]

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


_FOR_INPUT = Advice("Set data.missing or clean the file.", "Clean the column, or give it kind: categorical.")
_FOR_TARGET = Advice("Set data.missing to drop, or clean the file.", "Clean the column, or choose another target.")
FOR_A_RUN = Advice("Fill them, or leave those rows out.", "Clean the column.")
"""The configuration of a trained model can no longer be changed."""


def check_table(data: config.Data, frame: pd.DataFrame, *, source: str) -> None:
    """Hold a table against the configuration before anything is fitted.

    Args:
        data: the configuration's `data` block.
        frame: N rows.
        source: the table, as errors name it.

    Raises:
        DataError: a column is missing, holds something that is no number or date, is infinite or has a gap the
            policy does not allow; a target is constant or outside its transform; there are fewer than two rows. All
            faults at once.
    """
    policy = data.missing.kind
    faults = []
    for column in data.inputs:
        faults += input_faults(column.column, column.kind, frame, allows_gaps=policy != "error", source=source)
    for target in data.targets:
        found = target_faults(target.column, frame, allows_gaps=policy == "drop", source=source)
        faults += found or (_distribution_faults(target, frame, source) if len(frame) > 1 else [])
    if not isinstance(data.split, config.RandomSplit) and data.split.column not in frame.columns:
        faults.append(missing_column_fault(data.split.column, list(frame.columns), source=source, role="data.split"))
    if faults:
        raise DataError(*faults)
    names = [column.column for column in (*data.inputs, *data.targets)] if policy == "drop" else []
    num_rows = len(frame.dropna(subset=names))
    if num_rows < 2:
        raise DataError(f"{source}: must have at least 2 rows without gaps; got {num_rows}. Add rows.")


def input_faults(
    name: str, kind: Kind, frame: pd.DataFrame, *, allows_gaps: bool, source: str, advice: Advice = _FOR_INPUT
) -> list[str]:
    """Write what is wrong with one input column."""
    if name not in frame.columns:
        return [missing_column_fault(name, list(frame.columns), source=source, role="data.inputs")]
    return _cell_faults(frame[name], name, kind, allows_gaps=allows_gaps, source=source, advice=advice)


def target_faults(
    name: str, frame: pd.DataFrame, *, allows_gaps: bool, source: str, advice: Advice = _FOR_TARGET
) -> list[str]:
    """Write what is wrong with one target column."""
    if name not in frame.columns:
        return [missing_column_fault(name, list(frame.columns), source=source, role="data.targets")]
    return _cell_faults(frame[name], name, "numeric", allows_gaps=allows_gaps, source=source, advice=advice)


def _cell_faults(
    cells: pd.Series, name: str, kind: Kind, *, allows_gaps: bool, source: str, advice: Advice
) -> list[str]:
    """Write what is wrong with a column's cells: gaps, text among numbers, infinities."""
    faults = []
    gaps = read_gaps(cells)
    expected = _EXPECTED[kind]
    if gaps.any() and not allows_gaps:
        cell = "cell" if gaps.sum() == 1 else "cells"
        faults.append(
            f"{source}: column {name!r} must be {expected} without gaps; got {gaps.sum()} empty {cell}, first in "
            f"{row_of(gaps, cells)}. {advice.gaps}"
        )
    if kind == "categorical":
        return faults
    values, is_other = (read_days if kind == "datetime" else read_numbers)(cells)
    if is_other.any():
        got = _counted(is_other, cells, repr(_python_value(cells[is_other].iloc[0])))
        faults.append(f"{source}: column {name!r} must be {expected}; got {got}. {advice.others}")
    huge = np.abs(values) > LARGEST_NUMBER
    if huge.any():
        got = _counted(huge, cells, f"{values[huge][0]:g}")
        faults.append(f"{source}: column {name!r} must be finite numbers; got {got}. Clean the file.")
    return faults


def _counted(mask: BoolArray, cells: pd.Series, first: str) -> str:
    """Say how many cells are marked, what the first of them holds, and where it is."""
    row, num_cells = row_of(mask, cells), np.count_nonzero(mask)
    return f"{first} in {row}" if num_cells == 1 else f"{num_cells} cells such as {first}, first in {row}"


def _distribution_faults(target: config.TargetColumn, frame: pd.DataFrame, source: str) -> list[str]:
    """Write that a target is constant or outside its transform."""
    name = target.column
    values = read_numbers(frame[name])[0]
    present = values[~np.isnan(values)]
    if not present.size:
        return [f"{source}: column {name!r} must be numbers; got empty cells only. Choose another target."]
    if np.ptp(present) <= 1e-9 * np.max(np.abs(present)):
        return [f"{source}: column {name!r} must vary; got {present[0]:g} in every row. Choose another target."]
    if isinstance(target.transform, config.LogTransform):
        outside = values + target.transform.shift <= 0
        if outside.any():
            got, least = _counted(outside, frame[name], f"{values[outside][0]:g}"), 0.0 - target.transform.shift
            return [
                (
                    f"{source}: column {name!r} must be above {least:g} for its log transform; got {got}. "
                    "Raise the shift, or choose yeo_johnson or identity."
                )
            ]
    if isinstance(target.transform, config.LogitTransform):
        lower, upper = target.transform.lower, target.transform.upper
        outside = (values <= lower) | (values >= upper)
        if outside.any():
            got = _counted(outside, frame[name], f"{values[outside][0]:g}")
            return [
                (
                    f"{source}: column {name!r} must lie strictly between {lower:g} and {upper:g} for its logit "
                    f"transform; got {got}. Widen the bounds, or choose yeo_johnson or identity."
                )
            ]
    return []


def _python_value(value: object) -> object:
    """Turn a NumPy scalar into a Python one, whose repr is plain; a timestamp into text."""
    if isinstance(value, np.generic):
        return value.item()
    return str(value) if isinstance(value, pd.Timestamp | pd.Timedelta) else value
