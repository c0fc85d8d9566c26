"""A table, read once and chunk by chunk: its cells become numbers in a file, all its faults are reported at once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from cde_app import config
from cde_app.arrays import Array, IndexArray
from cde_app.data.columns import missing_column_fault
from cde_app.data.encoding import ColumnContract, complete_rows, input_readers, target_readers
from cde_app.data.order import MOST_COMPARED, OrderedColumns, order_warning
from cde_app.data.readers import ColumnReader, TargetReader, faults_of
from cde_app.data.split import SplitCells
from cde_app.errors import DataError, FaultOfSetting
from cde_app.machine.rows import RowFile, index_type, map_rows


@dataclass(frozen=True)
class Readings:
    """The columns of a table that are used.

    Args:
        values: [N, I + P] in a file, the inputs and then the targets, as `ColumnReader` reads them: numbers, days since
            1970-01-01 UTC, indices of labels; a gap is NaN.
        labels: [I], for each input column the labels that its values index; empty if it is not categorical.
        kept: the rows of `values` that the model can use, sorted; all of them unless `missing: drop` leaves some out.
        rows: the positions of the kept rows in the table, from 0.
        by: the kept rows of the column that the split uses, if there is one.
        has_offset: [I], for each input column whether its dates have offsets from UTC; None if that does not matter.
        gap_words: [I + P], for each column the words that were read as gaps, counted; an empty cell is "".
        warnings: what was read in an unexpected way, and what the order of the rows means for the split.
    """

    values: Array
    labels: tuple[tuple[str, ...], ...]
    kept: IndexArray
    rows: IndexArray
    by: pd.DataFrame
    has_offset: tuple[bool | None, ...] = ()
    gap_words: tuple[Counter[str], ...] = ()
    warnings: tuple[str, ...] = ()

    def column(self, index: int, rows: IndexArray | None = None) -> Array:
        """Return a column of `values`, [N] or [len(rows)], in memory."""
        return np.array(self.values[:, index]) if rows is None else self.values[rows, index]

    def block(self, rows: IndexArray) -> tuple[Array, Array]:
        """Return some rows' inputs, [n, I], and targets, [n, P], in memory."""
        values, num_inputs = self.values[rows], len(self.labels)
        return values[:, :num_inputs], values[:, num_inputs:]


def read_for_training(data: config.Data, chunks: Iterable[pd.DataFrame], file: Path, *, source: str) -> Readings:
    """Read a table and check it against the configuration, before anything is fitted.

    Args:
        data: the configuration's `data` block.
        chunks: the table; the index counts its rows.
        file: the file for the values; its folder exists.
        source: the table, as errors name it.

    Raises:
        DataError: a column is missing, has a cell of the wrong kind, is infinite, or has a gap that the policy does
            not allow; a target is constant or outside the domain of its transform; there are fewer than two rows. All
            faults at once.
    """
    policy, form = data.missing.kind, data.format
    timezones = {column.column: column.timezone for column in data.inputs if isinstance(column, config.DatetimeColumn)}
    inputs = [
        ColumnReader(
            column.column,
            column.kind,
            "data.inputs",
            form=form,
            allows_gaps=policy != "error",
            source=source,
            timezone=timezones.get(column.column, ""),
            key=("data", "inputs", index, "column"),
        )
        for index, column in enumerate(data.inputs)
    ]
    targets = [
        TargetReader(
            target,
            form=form,
            allows_gaps=policy == "drop",
            source=source,
            key=("data", "targets", index, "column"),
        )
        for index, target in enumerate(data.targets)
    ]
    timezone = timezones.get(getattr(data.split, "column", ""), "")
    cells, ordered = SplitCells(data.split, form=form, timezone=timezone, source=source), OrderedColumns(data)
    gaps, columns = [], list[str]()
    with RowFile(file, len(inputs) + len(targets)) as values:
        for chunk in chunks:
            values.append(read := _read_side_by_side([*inputs, *targets], chunk))
            gaps.append(np.isnan(read).any(axis=1))
            columns = list(chunk.columns)
            cells.add(chunk)
            ordered.add(chunk)
    missing = [
        FaultOfSetting(missing_column_fault(name, columns, source=source, role="data.id"), ("data", "id", index))
        for index, name in enumerate(data.id)
        if name not in columns
    ]
    if faults := [*faults_of([*inputs, *targets]), *cells.faults(), *missing]:
        raise DataError(*dict.fromkeys(faults))  # a column may be an input and the split's
    is_kept = ~np.concatenate(gaps) | (policy != "drop")
    kept = np.flatnonzero(is_kept).astype(index_type(len(is_kept)))
    if len(kept) < 2:
        raise DataError(f"{source}: must have at least 2 rows without gaps; got {len(kept)}. Add rows.")
    readers, read = [*inputs, *targets], map_rows(file)
    in_order = order_warning(ordered.found(), read[:MOST_COMPARED, len(inputs) :])
    return Readings(
        read,
        _labels(inputs),
        kept,
        kept,
        cells.rows(kept),
        tuple(reader.offsets.has_offset for reader in inputs),
        tuple(reader.gap_words for reader in readers),
        (*(remark for reader in readers for remark in reader.remarks()), *([in_order] if in_order else [])),
    )


def read_for_evaluation(
    contract: ColumnContract, split: config.Split, chunks: Iterable[pd.DataFrame], file: Path, *, source: str
) -> Readings:
    """Read a table under a run's contract; see `read_for_training` for the arguments.

    The column of the split may be missing or of another kind; `by` is then empty.

    Raises:
        DataError: a column is missing, has a cell of the wrong kind, is infinite, or has a gap although the contract
            neither drops nor imputes it. All faults at once.
    """
    inputs = input_readers(contract, allows_gaps=contract.missing == "impute_with_indicator", source=source)
    targets = target_readers(contract, allows_gaps=False, source=source)
    rows, cells = [], SplitCells(split, form=contract.form, timezone="", source=source)
    with RowFile(file, len(inputs) + len(targets)) as values:
        for whole in chunks:
            cells.add(whole)
            chunk = whole[complete_rows(contract, whole, source=source, with_targets=True)]
            values.append(_read_side_by_side([*inputs, *targets], chunk))
            rows.append(chunk.index.to_numpy())
    if faults := faults_of(inputs) or faults_of(targets):
        raise DataError(*faults)
    index = np.concatenate(rows)
    by = pd.DataFrame(index=index) if cells.faults() else cells.rows(index)
    if len(by) != len(index):  # only the cells that are not of the kind
        by = pd.DataFrame(index=index)
    return Readings(map_rows(file), _labels(inputs), np.arange(len(index)), index, by)


def _read_side_by_side(readers: Sequence[ColumnReader], frame: pd.DataFrame) -> Array:
    """Read columns of N rows, [N, number of readers]."""
    return np.stack([reader.read(frame) for reader in readers], axis=1)


def _labels(readers: Sequence[ColumnReader]) -> tuple[tuple[str, ...], ...]:
    return tuple(tuple(reader.labels) for reader in readers)
