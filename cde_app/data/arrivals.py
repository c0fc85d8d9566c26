"""New rows of a table, read under a run's contract as they are: with gaps, with new labels, with or without targets."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from cde_app.arrays import Array, IndexArray
from cde_app.data.encoding import ColumnContract, complete_rows, input_values, new_labels
from cde_app.data.files import source_name, unchanged
from cde_app.data.fingerprints import Fingerprints, fingerprint_rows
from cde_app.data.prepared import known_targets
from cde_app.data.table import iter_table
from cde_app.errors import DataError
from cde_app.machine.rows import BLOCK_ROWS, RowFile, blocks_of, map_rows


@dataclass(frozen=True)
class Arrivals:
    """The N rows of a table that a run is asked about.

    Args:
        values: [N, I] in a file, the inputs as they were read: numbers, days, indices of labels; a gap is NaN, a label
            that is not in the contract -1.
        targets: [N, P] in a file, user's units, NaN where a cell is empty and in tables that lack a target; None if all
            tables do.
        rows: [N], positions in the table, from 0; in a file.
        left_out: rows with a gap that the run's policy drops.
        new_labels: categorical column -> labels that are not in the contract, counted.
        without_targets: the tables that lack a target.
    """

    values: Array
    targets: Array | None
    rows: IndexArray
    left_out: int
    new_labels: dict[str, Counter[str]]
    without_targets: tuple[str, ...] = ()

    def fingerprints(self) -> Fingerprints:
        """Return those of the rows that have targets, [n]; see `fingerprint_rows`."""
        if self.targets is None:
            return fingerprint_rows(np.empty((0, 1)))
        found = []
        for block in blocks_of(len(self.rows), BLOCK_ROWS):
            targets = self.targets[block]
            known = ~np.isnan(targets).any(axis=1)
            found.append(fingerprint_rows(np.hstack([self.values[block][known], targets[known]])))
        return np.concatenate(found)


def read_arrivals(paths: Sequence[Path], contract: ColumnContract, folder: Path) -> Arrivals:
    """Read tables of new rows, one after another, chunk by chunk.

    Args:
        paths: the tables, with the inputs; the rows are counted through all of them.
        contract: the run's contract.
        folder: folder for the arrays; it exists, and the caller deletes it when they are no longer used.

    Raises:
        DataError: a column is missing or has a cell of the wrong kind, or no row is left.
        RunError: the arrays cannot be written to the folder.
    """
    num_read, sources, without = 0, set[str](), dict[str, None]()
    labels = {column.name: Counter[str]() for column in contract.inputs if column.kind == "categorical"}
    values, targets, rows = (folder / f"{name}.npy" for name in ("new_values", "new_targets", "new_rows"))
    with (
        RowFile(values, len(contract.inputs)) as value_file,
        RowFile(targets, len(contract.targets)) as target_file,
        RowFile(rows, None, np.int64) as position_file,
    ):
        for source, whole in _chunks(paths, contract):
            frame = whole[complete_rows(contract, whole, source=source, with_targets=False)]
            value_file.append(input_values(contract, frame, source=source, allows_gaps=True))
            position_file.append(num_read + np.flatnonzero(whole.index.isin(frame.index)))
            num_read += len(whole)
            for name, counts in new_labels(contract, frame).items():
                labels[name].update(counts)
            known = known_targets(contract, frame, source)
            sources.add(source)
            if known is None:
                without[source] = None
                known = np.full((len(frame), len(contract.targets)), np.nan)
            target_file.append(known)
    positions = map_rows(rows)
    if not len(positions):
        raise DataError(f"{source_name(paths[0])}: expected at least one complete row; got none. Fill the gaps.")
    known_somewhere = len(without) < len(sources)
    return Arrivals(
        map_rows(values),
        map_rows(targets) if known_somewhere else None,
        positions,
        num_read - len(positions),
        labels,
        tuple(without),
    )


def _chunks(paths: Sequence[Path], contract: ColumnContract) -> Iterator[tuple[str, pd.DataFrame]]:
    """Yield the name of each table with its rows, in chunks; a table without rows has none."""
    for path in paths:
        with unchanged(path):
            for chunk in iter_table(path, chunk_rows=BLOCK_ROWS, form=contract.form, allows_no_rows=True):
                if len(chunk):
                    yield source_name(path), chunk
