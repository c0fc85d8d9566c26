"""Find out whether the order of a table's rows shows groups, which a random split would tear apart."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from cde_app import config
from cde_app.arrays import AnyArray, Array, IndexArray
from cde_app.data.columns import foreign_noun, read_days, read_gaps, read_numbers

FEWEST_VALUES, FEWEST_ROWS = 10, 3
"""Fewer values are kinds of rows rather than groups; groups with fewer rows on average do not matter."""
MANY_LABELS = 50
"""A categorical input with at most this many labels is assumed to be known for new rows."""
GLANCE = 1000
"""After this many rows, a column with fewer than `FEWEST_ROWS` rows per value is dropped."""
MOST_COMPARED = 200_000
"""The largest number of rows whose targets are compared."""
MATERIAL = 0.8
"""The mean squared difference within groups must be below this share of that between groups."""


@dataclass
class OrderedColumn:
    """A column that the rows are sorted by: each value has one run of rows, or dates rise or fall throughout.

    Args:
        are_dates: whether it holds dates.
        starts: the first row of each run, one array per chunk.
        values: the value of each run; empty for dates.
        last: the value of the last row so far.
        directions: for dates, whether they have risen (1) and fallen (-1).
    """

    are_dates: bool
    starts: list[IndexArray] = field(default_factory=list)
    values: list[object] = field(default_factory=list)
    last: object = None
    directions: set[float] = field(default_factory=set)

    def add(self, values: AnyArray, first_row: int) -> bool:
        """Add the values of the next rows; return whether the column may still be in order."""
        before = values[:1] if self.last is None else np.array([self.last], dtype=values.dtype)
        previous = np.concatenate([before, values[:-1]])
        begins = values != previous
        begins[0] |= self.last is None
        self.starts.append(np.flatnonzero(begins) + first_row)
        self.last = values[-1]
        if self.are_dates:
            self.directions |= set(np.sign(values[begins] - previous[begins])) - {0.0}
            return len(self.directions) < 2
        self.values += list(values[begins])
        num_rows = first_row + len(values)
        return num_rows < GLANCE or FEWEST_ROWS * len(self.values) <= num_rows

    def is_grouped(self, num_rows: int) -> bool:
        """Return whether every value has a single run, with several rows on average."""
        return FEWEST_ROWS * len(self.values) <= num_rows and len(set(self.values)) == len(self.values)


class OrderedColumns:
    """The columns by which a table is sorted, found chunk by chunk; only for a random split.

    Args:
        data: the configuration's `data` block.
    """

    def __init__(self, data: config.Data) -> None:
        self._is_random, self._num_rows = isinstance(data.split, config.RandomSplit), 0
        self._form = data.format
        self._ignored = {column.column for column in data.targets}
        self._labels = {column.column for column in data.inputs if column.kind == "categorical"}
        self._columns: dict[str, OrderedColumn] = {}

    def add(self, frame: pd.DataFrame) -> None:
        """Add the next chunk."""
        if not self._is_random or frame.empty:
            return
        if not self._num_rows:
            self._columns = {name: OrderedColumn(_holds_dates(frame[name], self._form)) for name in frame.columns}
        for name in list(self._columns):
            column = self._columns[name]
            is_ignored = name in self._ignored
            values = None if is_ignored else _comparable(frame[name], self._form, are_dates=column.are_dates)
            if values is None or not column.add(values, self._num_rows):
                del self._columns[name]
        self._num_rows += len(frame)

    def found(self) -> tuple[tuple[str, bool, IndexArray], ...]:
        """Return each column's name, whether it holds dates, and the first row of each value (at least 10)."""
        found = []
        for name, column in self._columns.items():
            starts = np.concatenate(column.starts)
            is_known = name in self._labels and len(starts) <= MANY_LABELS
            is_ordered = column.are_dates or (column.is_grouped(self._num_rows) and not is_known)
            if len(starts) >= FEWEST_VALUES and is_ordered:
                found.append((name, column.are_dates, starts))
        return tuple(found)


def order_warning(found: tuple[tuple[str, bool, IndexArray], ...], targets: Array) -> str | None:
    """Warn that a random split gives scores that are too good, if consecutive rows have similar targets.

    Targets are similar if they differ less from row to row within a group than between neighbouring groups; or, if the
    rows are in order of time, less than between rows half a table apart. Mere sorting by a column does not make targets
    similar: rows with the same value, and with the next value, are then as different as before.

    Args:
        found: the columns by which the rows are sorted.
        targets: [N, P], of the first rows, at most `MOST_COMPARED`; a gap is NaN.
    """
    ranks = [_ranks(column) for column in targets.T]
    for name, are_dates, starts in sorted(found, key=lambda entry: (not entry[1], len(entry[2]))):
        near, far = _pairs(starts[starts < len(ranks[0])], len(ranks[0]), are_dates=are_dates)
        if not any(_are_alike(y, near, far) for y in ranks):
            continue
        if are_dates:
            kind, what = "time", f"the rows are in the order of {name!r}, and consecutive rows are alike"
        else:
            kind = "group"
            what = f"rows with the same {name!r} are consecutive and alike ({len(starts)} values)"
        new = "later rows" if are_dates else "new values"
        return (
            f"{what}: a random split gives scores that are too good if the model is to predict {new}; in that case set "
            f"data.split to {{kind: {kind}, column: {name}}}."
        )
    return None


def _holds_dates(cells: pd.Series, form: config.TableFormat) -> bool:
    """Return whether a column holds dates and not numbers."""
    first = cells.head(GLANCE)
    if foreign_noun(cells) or read_gaps(cells, form).any() or not read_numbers(first, form)[1].any():
        return False
    return not read_days(first, form).is_other.any()


def _comparable(cells: pd.Series, form: config.TableFormat, *, are_dates: bool) -> AnyArray | None:
    """Return days, or integers and labels as they are written, [n]; None if a cell is neither."""
    if foreign_noun(cells) or read_gaps(cells, form).any():
        return None
    if are_dates:
        days = read_days(cells, form)
        return None if days.is_other.any() else days.values
    numbers, is_other = read_numbers(cells, form)
    if not is_other.any() and (numbers != np.round(numbers)).any():
        return None
    return cells.to_numpy(dtype=object)


def _ranks(values: Array) -> Array:
    """Return the ranks of the values, so that outliers do not dominate; gaps stay."""
    ranks = np.full(len(values), np.nan)
    present = np.flatnonzero(~np.isnan(values))
    ranks[present] = np.unique(values[present], return_inverse=True)[1].ravel()
    return ranks


def _pairs(starts: IndexArray, num_rows: int, *, are_dates: bool) -> tuple[IndexArray, IndexArray]:
    """Return pairs of rows, [2, n], that belong together, and pairs that are as far apart as new rows will be."""
    rows = np.arange(num_rows)
    if are_dates:
        return np.stack([rows[:-1], rows[1:]]), np.stack([rows, (rows + num_rows // 2) % num_rows])
    sizes = np.diff(starts, append=num_rows)
    groups = np.repeat(np.arange(len(starts)), sizes)
    within = groups[:-1] == groups[1:]
    near = np.stack([rows[:-1][within], rows[1:][within]])
    first = rows[groups < len(starts) - 1]
    following = groups[first] + 1
    return near, np.stack([first, starts[following] + (first - starts[following - 1]) % sizes[following]])


def _are_alike(y: Array, near: IndexArray, far: IndexArray) -> bool:
    """Return whether the mean squared difference of near rows is smaller: by a fifth, and by three standard errors.

    For n pairs of ranks, with each rank in two pairs, the ratio of the two means has a standard error near sqrt(5 / n).
    """
    differences = [np.square(y[first] - y[second]) for first, second in (near, far)]
    (close, apart), sizes = [np.nanmean(d) if np.isfinite(d).any() else np.nan for d in differences], near.shape[1]
    return bool(apart > 0 and close / apart < min(MATERIAL, 1 - 3 * np.sqrt(5 / max(sizes, 1))))
