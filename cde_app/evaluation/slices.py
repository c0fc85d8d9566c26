"""Slices of a table by one of its columns: ranges of a number, labels, and the rows with a gap.

Letters: N rows, K slices.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace

import numpy as np

from cde_app.arrays import Array, BoolArray, IndexArray
from cde_app.words import written_date

MOST_BINS, MOST_LABELS = 16, 50
"""A number is cut at its quantiles into this many bins, of which neighbours make a slice; rarer labels make none."""


@dataclass(frozen=True)
class Column:
    """A column of inputs."""

    name: str
    values: Array
    """[N], in the units of the column, days since 1970-01-01 for dates, or indices into `labels`; NaN is a gap."""
    labels: tuple[str, ...] = ()
    """The labels of a categorical column; NaN in `values` is one that is not among them, or a gap."""
    is_date: bool = False

    def of_rows(self, rows: IndexArray) -> Column:
        """Return some rows of the column."""
        return replace(self, values=self.values[rows])

    def text(self, value: float) -> str:
        """Write one of the values."""
        if np.isnan(value):
            return "missing, or a label that the training has not seen" if self.labels else "missing"
        if self.labels:
            return repr(self.labels[int(value)])
        if self.is_date:
            return written_date(value).removesuffix("T00:00:00")
        return f"{value:.0f}" if 1e5 <= abs(value) < 1e15 else f"{value:.5g}"


@dataclass(frozen=True)
class Slice:
    """Some rows of a table."""

    column: str
    where: str
    """In words, such as `above 110`."""
    rows: BoolArray = field(repr=False)
    """[N]."""


def slices_of(column: Column, *, fewest_rows: int) -> Iterator[Slice]:
    """Yield the slices of a column: of at least `fewest_rows` rows and not of all; ranges of at most half of them.

    The slices of a number are the ranges between any two edges of its bins, which are quantiles, or single values if
    there are few.
    """
    found = _labels(column) if column.labels else _ranges(column)
    for where, rows in (*found, (column.text(np.nan), np.isnan(column.values))):
        if fewest_rows <= rows.sum() < len(rows):
            yield Slice(column.name, where, rows)


def _labels(column: Column) -> Iterator[tuple[str, BoolArray]]:
    """Yield the rows of each of the most frequent labels."""
    codes, counts = np.unique(column.values[~np.isnan(column.values)], return_counts=True)
    for code in codes[np.argsort(-counts, kind="stable")][:MOST_LABELS]:
        yield f"= {column.text(code)}", column.values == code


def _ranges(column: Column) -> Iterator[tuple[str, BoolArray]]:
    """Yield each range of at most half of the rows; an edge is a value of the column, in the range below it."""
    values = column.values
    known = np.sort(values[~np.isnan(values)])
    if not len(known):
        return
    cuts = np.unique(np.quantile(known, np.arange(1, MOST_BINS) / MOST_BINS, method="lower"))
    edges = np.array([-np.inf, *cuts[cuts < known[-1]], np.inf])
    for first in range(len(edges) - 1):
        for last in range(first + 1, len(edges)):
            low, high = edges[first], edges[last]
            rows = (values > low) & (values <= high)
            inside = values[rows]
            if len(inside) and inside.min() == inside.max():
                yield f"= {column.text(inside[0])}", rows
            elif 2 * len(inside) > len(rows):
                continue
            elif low == -np.inf:
                yield f"up to {column.text(high)}", rows
            elif high == np.inf:
                yield f"above {column.text(low)}", rows
            else:
                yield f"above {column.text(low)} and up to {column.text(high)}", rows
