"""Which rows depend on each other, so that together they say less about a mean than as many independent rows."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from cde_app import config
from cde_app.arrays import Array, IndexArray, IntArray
from cde_app.data.split import SplitCells


@dataclass(frozen=True)
class Dependence:
    """Groups of rows, or their order in time, from the column by which the rows are split."""

    column: str
    is_time: bool
    values: Array
    """[N], the number of each row's group, or its point in time."""

    def blocks(self, rows: IndexArray) -> IntArray:
        """Return the block of each of n rows, from 0, such that blocks are roughly independent; [n] to [n].

        In time, a block is a run of about sqrt(n) rows that follow one another. Its length and the number of blocks
        both grow with n, so that the standard error over blocks is consistent if what is far apart is independent.

        Source: Flegal and Jones (2010), "Batch means and spectral variance estimators in Markov chain Monte Carlo", The
        Annals of Statistics 38, for batches of sqrt(n).
        """
        values = self.values[rows]
        if not self.is_time:
            return np.unique(values, return_inverse=True)[1].ravel()
        blocks = np.empty(len(rows), dtype=np.intp)
        blocks[np.argsort(values, kind="stable")] = np.arange(len(rows)) // max(round(len(rows) ** 0.5), 1)
        return blocks

    def meaning(self, blocks: IntArray) -> str:
        """Say how standard errors over these blocks are to be read."""
        number = int(blocks.max()) + 1
        if self.is_time:
            size = int(np.bincount(blocks).max())
            return f"{number} blocks of {size} rows that follow one another in {self.column!r} count as one row each"
        return f"{number} groups of {self.column!r} count as one row each"


def dependence_of(split: config.Split, by: pd.DataFrame) -> Dependence | None:
    """Return how N rows depend on each other; None if the split says nothing or the column cannot be read.

    Args:
        split: the configuration's `data.split` block.
        by: N rows of the split's column, as `SplitCells` reads it; without columns if the table has none.
    """
    if not isinstance(split, config.GroupSplit | config.TimeSplit) or split.column not in by:
        return None
    if isinstance(split, config.GroupSplit):
        codes = pd.factorize(by[split.column], use_na_sentinel=False)[0]
        return Dependence(split.column, False, codes.astype(np.float64))
    values = pd.to_numeric(by[split.column], errors="coerce").to_numpy(dtype=np.float64)
    return None if np.isnan(values).any() else Dependence(split.column, True, values)


def dependence_in(
    split: config.Split, frame: pd.DataFrame, *, form: config.TableFormat, source: str
) -> Dependence | None:
    """Return how the rows of a frame depend on each other; see `dependence_of`."""
    cells = SplitCells(split, form=form, timezone="", source=source)
    cells.add(frame)
    by = cells.rows(np.arange(len(frame)))
    return dependence_of(split, by) if len(by) == len(frame) and not cells.faults() else None
