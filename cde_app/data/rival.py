"""The file of another forecaster: draws, quantiles or normals of the rows of a table.

Letters: N rows, P targets, K draws, levels or moments of a row.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd

from cde_app.arrays import Array, BoolArray, IndexArray
from cde_app.config import TableFormat
from cde_app.data.columns import missing_column_fault
from cde_app.data.files import source_name
from cde_app.data.readers import FOR_A_RUN, ColumnReader, faults_of
from cde_app.data.table import read_table
from cde_app.errors import DataError
from cde_app.words import listed

RivalKind = Literal["samples", "quantiles", "normal"]
FEWEST_DRAWS = 20
"""With fewer, the 5 % and 95 % quantiles are beyond the draws."""
SMALLEST_SD = 1e-150
"""Its square is still a float."""
MOMENTS = ("mean", "sd")
_PLAIN = TableFormat()
_LEVEL = re.compile(r"(?P<target>.+)_q(?P<percent>[0-9]+(\.[0-9]+)?)")
_MOMENT = re.compile(r"(?P<target>.+)_(?P<moment>mean|sd)")
_FORMS: dict[RivalKind, str] = {
    "samples": "row, draw and a column for each target",
    "quantiles": "row and columns such as y_q05, y_q50 and y_q95 for each target y of the table",
    "normal": "row, y_mean and y_sd for each target y of the table",
}


@dataclass(frozen=True)
class Rival:
    """The forecasts of another forecaster for N rows of a table, and what happened there."""

    targets: tuple[str, ...]
    """[P]."""
    rows: IndexArray
    """[N], positions of the rows in the table, ascending."""
    observed: Array
    """[N, P]."""
    values: Array
    """[K, N, P], the draws, the quantiles, or the mean and the sd."""
    levels: tuple[float, ...]
    """[K], the levels of quantiles, ascending; else empty."""
    warnings: tuple[str, ...]
    """How many rows of the table are not judged, and why."""


def read_rival(path: Path, kind: RivalKind, table_path: Path, targets: Sequence[str]) -> Rival:
    """Read a forecaster's file and the table that it forecasts.

    Rows belong together by the column `row` of the file, which counts the rows of the table from 1. Without it,
    quantiles and normals are those of the table's rows in their order.

    Args:
        path: CSV or Parquet, in the form of `samples.csv` or `summary.csv` of `cde predict`.
        kind: what it holds.
        table_path: the table with the targets.
        targets: the targets; empty for those of the file that are columns of the table.

    Raises:
        DataError: a column is missing or a cell is no number; rows do not match; rows have different numbers of draws,
            or fewer than `FEWEST_DRAWS`; quantiles decrease or an sd is not positive; or no row can be judged.
    """
    source, table_source = source_name(path), source_name(table_path)
    frame, table = read_table(path), read_table(table_path)
    names = tuple(targets) or _targets_in(frame, kind, table, source=source, table_source=table_source)
    if lacking := [name for name in names if name not in table.columns]:
        raise DataError(
            *(missing_column_fault(n, list(table.columns), source=table_source, role="--target") for n in lacking)
        )
    columns, levels = _columns_of(frame, kind, names, source=source)
    cells = _numbers(frame, [name for own in columns for name in own], source=source)
    numbers = _row_numbers(frame, kind, len(table), source=source, table_source=table_source)
    values = np.stack([np.stack([cells[name] for name in own], axis=-1) for own in columns])  # [K, lines, P]
    if kind == "samples":
        numbers, values = _draws_of_rows(numbers, values[0], source=source)
    order = np.argsort(numbers, kind="stable")
    numbers, values = numbers[order], values[:, order]
    if (repeated := numbers[:-1][np.diff(numbers) == 0]).size:
        raise DataError(f"{source}: column 'row' must name each row once; got {repeated[0]} again. Remove the copies.")
    _check_values(values, kind, names, numbers, levels, source=source)
    observed = np.stack(list(_numbers(table, names, source=table_source, allows_gaps=True).values()), axis=-1)
    known: BoolArray = ~np.isnan(observed[numbers - 1]).any(axis=1)
    if not known.any():
        raise DataError(
            f"{table_source}: expected a value of every target in at least one row; got none. Fill the gaps."
        )
    warnings = []
    if missing := len(table) - len(numbers):
        warnings.append(f"{missing} of {len(table)} rows of {table_source} have no forecast and are not judged.")
    if gaps := int(np.sum(~known)):
        warnings.append(f"{gaps} rows of {table_source} have a gap in a target and are not judged.")
    rows = numbers[known] - 1
    return Rival(names, rows, observed[rows], values[:, known], levels, tuple(warnings))


def _targets_in(
    frame: pd.DataFrame, kind: RivalKind, table: pd.DataFrame, *, source: str, table_source: str
) -> tuple[str, ...]:
    """Return the targets that the file has columns for and that are columns of the table."""
    found = list(frame.columns)
    if kind != "samples":
        pattern = _LEVEL if kind == "quantiles" else _MOMENT
        found = [match["target"] for name in found if (match := pattern.fullmatch(name))]
    names = tuple(dict.fromkeys(name for name in found if name in table.columns and name not in ("row", "draw")))
    if not names:
        raise DataError(
            f"{source}: expected the columns {_FORMS[kind]}, of targets that {table_source} has too; got "
            f"{listed(frame.columns)}. Rename the columns."
        )
    return names


def _columns_of(
    frame: pd.DataFrame, kind: RivalKind, targets: Sequence[str], *, source: str
) -> tuple[list[list[str]], tuple[float, ...]]:
    """Return the columns of each of K numbers, [P] names each, and the levels of quantiles."""
    levels: tuple[float, ...] = ()
    if kind == "samples":
        columns = [list(targets)]
    elif kind == "normal":
        columns = [[f"{name}_{moment}" for name in targets] for moment in MOMENTS]
    else:
        found = {name: _levels_of(frame, name, source=source) for name in targets}
        levels = tuple(sorted(next(iter(found.values()))))
        if different := [name for name in targets if tuple(sorted(found[name])) != levels]:
            raise DataError(
                f"{source}: expected quantiles of the same levels for every target; got others for {different[0]!r} "
                f"than for {targets[0]!r}. Name one of them with --target."
            )
        if not levels:
            raise DataError(f"{source}: expected columns such as {targets[0]}_q05; got none. Rename the columns.")
        columns = [[found[name][level] for name in targets] for level in levels]
    missing = [name for own in columns for name in own if name not in frame.columns]
    if missing:
        raise DataError(*(missing_column_fault(name, list(frame.columns), source=source) for name in missing))
    return columns, levels


def _levels_of(frame: pd.DataFrame, target: str, *, source: str) -> dict[float, str]:
    """Return the levels of a target's quantiles, and their columns."""
    found: dict[float, str] = {}
    for name in frame.columns:
        match = _LEVEL.fullmatch(name)
        if match is None or match["target"] != target:
            continue
        level = float(match["percent"]) / 100
        if not 0 < level < 1:
            raise DataError(f"{source}: column {name!r} must be a quantile between 0 and 100 %. Remove the column.")
        if level in found:
            raise DataError(f"{source}: expected each level once; got {found[level]!r} and {name!r}. Remove one.")
        found[level] = name
    return found


def _numbers(
    frame: pd.DataFrame, names: Sequence[str], *, source: str, allows_gaps: bool = False
) -> Mapping[str, Array]:
    """Read columns as numbers; all faults at once."""
    readers = [
        ColumnReader(
            name, "numeric", "a forecast", form=_PLAIN, allows_gaps=allows_gaps, source=source, advice=FOR_A_RUN
        )
        for name in dict.fromkeys(names)
    ]
    values = {reader.name: reader.read(frame) for reader in readers}
    if faults := faults_of(readers):
        raise DataError(*faults)
    return values


def _row_numbers(frame: pd.DataFrame, kind: RivalKind, num_rows: int, *, source: str, table_source: str) -> IndexArray:
    """Return the row of the table that each line of the file is about, from 1."""
    if "row" not in frame.columns:
        if kind == "samples":
            raise DataError(missing_column_fault("row", list(frame.columns), source=source))
        if len(frame) != num_rows:
            raise DataError(
                f"{source}: expected a column 'row' that says which rows of {table_source} are forecast, or one line "
                f"for each of its {num_rows} rows; got {len(frame)} lines. Add the column."
            )
        return np.arange(1, num_rows + 1)
    numbers = _numbers(frame, ["row"], source=source)["row"]
    wrong = (numbers < 1) | (numbers > num_rows) | (numbers != np.floor(numbers))
    if wrong.any():
        raise DataError(
            f"{source}: column 'row' must count the rows of {table_source}, from 1 to {num_rows}; got "
            f"{numbers[wrong][0]:.10g} in line {int(np.argmax(wrong)) + 1}. Forecast the rows of that table."
        )
    return numbers.astype(np.intp)


def _draws_of_rows(numbers: IndexArray, values: Array, *, source: str) -> tuple[IndexArray, Array]:
    """Put the draws of each row side by side; [lines] and [lines, P] to the rows, [N], and [S, N, P]."""
    rows, counts = np.unique(numbers, return_counts=True)
    if counts.min() < FEWEST_DRAWS:
        row = rows[np.argmin(counts)]
        raise DataError(
            f"{source}: expected at least {FEWEST_DRAWS} draws of each row; got {counts.min()} of row {row}. Draw more."
        )
    if counts.min() < counts.max():
        row, usual = rows[np.argmin(counts)], counts.max()
        raise DataError(
            f"{source}: expected the same number of draws of each row; got {counts.min()} of row {row} and {usual} of "
            f"row {rows[np.argmax(counts)]}. Complete the file."
        )
    ordered = values[np.argsort(numbers, kind="stable")].reshape(len(rows), counts[0], -1)
    return rows, np.swapaxes(ordered, 0, 1)


def _check_values(
    values: Array, kind: RivalKind, targets: Sequence[str], numbers: IndexArray, levels: Sequence[float], *, source: str
) -> None:
    """Check that quantiles ascend and that standard deviations are positive."""
    if kind == "quantiles":
        for k, p, n in np.argwhere(np.diff(values, axis=0).transpose(0, 2, 1) < 0):
            low, high = values[k : k + 2, n, p]
            raise DataError(
                f"{source}: the quantiles of a row must not decrease; got {low:.6g} at {levels[k]:.4g} and {high:.6g} "
                f"at {levels[k + 1]:.4g} for {targets[p]!r} in row {numbers[n]}. Sort them."
            )
    if kind == "normal":
        for n, p in np.argwhere(values[1] < SMALLEST_SD):
            raise DataError(
                f"{source}: column '{targets[p]}_sd' must be positive, and at least {SMALLEST_SD:g}; got "
                f"{values[1, n, p]:.6g} in row {numbers[n]}. Correct the file."
            )
