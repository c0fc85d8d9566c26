"""A few rows of a table, drawn at random while it is read chunk by chunk."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import pandas as pd

from cde_app.arrays import Array, IndexArray
from cde_app.data.encoding import ColumnContract, complete_rows, input_values
from cde_app.data.prepared import PreparedTable, known_targets
from cde_app.machine.streams import Stream, generator


@dataclass(frozen=True)
class DrawnRows:
    """N rows of a table, in its order."""

    cells: Array
    """[N, inputs], as `input_values` reads them."""
    targets: Array | None
    """[N, P], without gaps; None if no row of the table has them all."""
    rows: IndexArray
    """[N], positions in the table, counted from 0."""
    num_rows: int
    """The rows from which they were drawn."""
    num_without_targets: int
    """Rows that were left out, because they lack a target that others have."""


def draw_held_out_rows(table: PreparedTable, most: int, *, seed: int) -> DrawnRows:
    """Draw up to `most` of the rows that a run has held out of its table: those with the smallest numbers.

    Args:
        table: with its split.
        most: the largest number of rows.
        seed: of the random numbers.
    """
    held_out = np.array(table.split.test, dtype=np.intp)
    positions = np.array(table.rows[held_out], dtype=np.intp)
    order = np.argsort(positions)
    held_out, positions = held_out[order], positions[order]
    keys = generator(seed, Stream.EXPLAINED_ROWS).random(int(positions.max(initial=-1)) + 1)[positions]
    chosen = np.sort(np.argsort(keys, kind="stable")[:most])
    own = held_out[chosen]
    return DrawnRows(np.array(table.values[own]), np.array(table.targets[own]), positions[chosen], len(held_out), 0)


def draw_table_rows(
    contract: ColumnContract,
    chunks: Iterable[pd.DataFrame],
    most: int,
    *,
    seed: int,
    source: str,
) -> DrawnRows:
    """Draw up to `most` rows that can be predicted; which ones does not depend on the chunks.

    Every row has a random number, and those with the smallest are kept. Rows that lack a target come last, and are left
    out if others have it.

    Args:
        contract: the column contract of the run.
        chunks: the table.
        most: the largest number of rows.
        seed: of the random numbers.
        source: the table, as errors name it.

    Raises:
        DataError: the table breaks the column contract.
    """
    random = generator(seed, Stream.EXPLAINED_ROWS)
    num_inputs, num_targets = len(contract.inputs), len(contract.targets)
    kept = np.empty((0, 2 + num_inputs + num_targets))  # the random number, the position, the inputs, the targets
    num_rows = num_known = 0
    for chunk in chunks:
        keys = pd.Series(random.random(len(chunk)), chunk.index)
        frame = chunk[complete_rows(contract, chunk, source=source, with_targets=False)]
        if frame.empty:
            continue
        targets = known_targets(contract, frame, source)
        if targets is None:
            targets = np.full((len(frame), num_targets), np.nan)
        is_known = ~np.isnan(targets).any(axis=1)
        num_rows, num_known = num_rows + len(frame), num_known + int(is_known.sum())
        numbers = keys[frame.index].to_numpy() + ~is_known
        values = input_values(contract, frame, source=source)
        kept = np.vstack([kept, np.column_stack([numbers, frame.index.to_numpy(), values, targets])])
        kept = kept[np.argsort(kept[:, 0], kind="stable")[:most]]
    left_out = num_rows - num_known if num_known else 0
    if num_known:
        kept = kept[kept[:, 0] < 1]
    kept = kept[np.argsort(kept[:, 1])]
    cells, targets = kept[:, 2 : 2 + num_inputs], kept[:, 2 + num_inputs :]
    positions = kept[:, 1].astype(np.intp)
    return DrawnRows(cells, targets if num_known else None, positions, num_rows - left_out, left_out)
