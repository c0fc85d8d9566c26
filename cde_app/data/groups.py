"""The groups of rows that a column of labels makes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from cde_app.arrays import IndexArray
from cde_app.config import TableFormat
from cde_app.data.columns import foreign_fault, foreign_noun, missing_column_fault, read_labels
from cde_app.errors import DataError

if TYPE_CHECKING:
    import pandas as pd

MOST_GROUPS = 10_000
"""The largest number of groups; each takes memory for its draws."""


class RowGroups:
    """The groups of a table's rows, numbered in the order in which they occur.

    Rows with a gap in the column are a group of their own, so that no row is lost.

    Args:
        column: the column of labels; None makes one group of all rows.
        form: the format of the cells.
        source: the table, as errors name it.
    """

    def __init__(self, column: str | None, *, form: TableFormat, source: str) -> None:
        self._column, self._form, self._source = column, form, source
        self._index: dict[str | None, int] = {}
        self.num_gaps = 0
        """Rows with a gap in the column."""

    @property
    def names(self) -> list[str | None] | None:
        """[G], the label of each group, None for the gap; None without a column."""
        return None if self._column is None else list(self._index)

    def read(self, frame: pd.DataFrame) -> IndexArray:
        """Return the index of each row's group, [N].

        Raises:
            DataError: the table has no such column, the column holds no labels, or there are too many groups.
        """
        name = self._column
        if name is None:
            return np.zeros(len(frame), dtype=np.intp)
        if name not in frame.columns:
            raise DataError(missing_column_fault(name, list(frame.columns), source=self._source, role="total_by"))
        if noun := foreign_noun(frame[name]):
            raise DataError(foreign_fault(noun, name, "labels (total_by)", source=self._source))
        codes, labels = read_labels(frame[name], self._form)
        self.num_gaps += int(np.sum(codes < 0))
        own: list[str | None] = [*labels, None]  # the code of a gap is -1, the last
        distinct, first = np.unique(codes, return_index=True)
        for code in distinct[np.argsort(first)]:
            self._index.setdefault(own[code], len(self._index))
        if len(self._index) > MOST_GROUPS:
            raise DataError(
                f"{self._source}: column {name!r} (total_by) must have at most {MOST_GROUPS} different values; got "
                "more. Choose one with fewer."
            )
        return np.array([self._index.get(label, -1) for label in own], dtype=np.intp)[codes]
