"""Which rows are for training, which choose the training step, and which are held out for the scores."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from cde_app import config
from cde_app.arrays import BoolArray, IndexArray
from cde_app.config.training import FEWEST_KEPT_OUT, LARGE_TABLE, SMALL_TABLE
from cde_app.data.columns import (
    foreign_fault,
    foreign_noun,
    missing_column_fault,
    read_days,
    read_gaps,
    read_labels,
    read_numbers,
    read_order,
    row_of,
)
from cde_app.data.faults import OffsetCells
from cde_app.data.readers import ColumnReader
from cde_app.errors import DataError, FaultOfSetting
from cde_app.machine.rows import index_type, permuted_rows
from cde_app.words import list_names

LABELS = ("train", "validation", "test")
PARTS = (*LABELS, "calibration")

_AUTO_VALIDATION = 0.1
_Dealt = config.RandomSplit | config.GroupSplit | config.TimeSplit
_AS_READ = config.TableFormat(gaps=())  # the cells were read before; words for gaps are gone
_STREAM = 1  # separates these draws from other draws with the same seed


@dataclass(frozen=True)
class Split:
    """Positions of the rows, sorted; each row is in one part. Only the rows after a fold in time are in none.

    Args:
        train: [num_train], at least two.
        validation: [num_validation], may be empty.
        test: [num_test], may be empty.
        calibration: [num_calibration], kept out for a map of the probabilities; empty without one.
    """

    train: IndexArray
    validation: IndexArray
    test: IndexArray
    calibration: IndexArray = field(default_factory=lambda: np.array([], np.intp))

    @property
    def names(self) -> tuple[str, ...]:
        """The parts; without a map of the probabilities, there is no calibration."""
        return PARTS if len(self.calibration) else LABELS

    def check(self) -> None:
        """Check that the parts are positions.

        Raises:
            ValueError: they are not.
        """
        for name in PARTS:
            part = getattr(self, name)
            if part.ndim != 1 or part.dtype.kind != "i" or (part < 0).any():
                raise ValueError(f"{name}: expected positions; got an array {part.dtype}{list(part.shape)}")


NO_ROWS = Split(*[np.array([], np.intp)] * 3)
"""The split of no rows."""


class SplitCells:
    """The cells of the column that a split uses, collected chunk by chunk: eight bytes per row; none if it is random.

    Args:
        split: the configuration's `data.split` block.
        form: the format of the cells.
        timezone: the time zone of times without an offset.
        source: the table, as errors name it.
    """

    def __init__(self, split: config.Split, *, form: config.TableFormat, timezone: str, source: str) -> None:
        self._form, self._timezone = form, timezone
        self._name = None if isinstance(split, config.RandomSplit) else split.column
        self._goes_by_time = isinstance(split, config.TimeSplit)
        self._labels = ColumnReader(
            self._name or "", "categorical", "data.inputs", form=self._form, allows_gaps=True, source=source
        )
        self._offsets = OffsetCells(f"{source}: column {self._name!r}", timezone=timezone)
        self._pieces: list[pd.Series] = []
        self._bad: list[pd.Series] = []
        self._are_dates = False
        self._source = source
        self._missing: list[str] = []

    def add(self, frame: pd.DataFrame) -> None:
        """Read the split's column in one chunk."""
        if self._name is None:
            return
        if self._name not in frame.columns:
            columns = list(frame.columns)
            missing = missing_column_fault(self._name, columns, source=self._source, role="data.split")
            self._missing = [FaultOfSetting(missing, ("data", "split", "column"))]
        elif noun := foreign_noun(frame[self._name]):
            expected = "numbers or dates" if self._goes_by_time else "labels"
            self._missing = [foreign_fault(noun, self._name, expected, source=self._source)]
        elif self._goes_by_time:
            self._add_times(frame[self._name])
        else:
            self._pieces.append(pd.Series(self._labels.read(frame), frame.index))

    def faults(self) -> list[str]:
        """Report that the column is missing or of the wrong kind, or that its dates are of two kinds."""
        return self._missing or self._offsets.faults()

    def rows(self, kept: IndexArray) -> pd.DataFrame:
        """Return the kept rows (positions in the table) with this column only, for `split_rows`."""
        if self._name is None or not self._pieces:
            return pd.DataFrame(index=kept)
        bad = pd.concat(self._bad) if self._bad else pd.Series(dtype=object)
        bad = bad[bad.index.isin(kept)]
        if len(bad):
            return bad.to_frame(self._name)
        cells = pd.concat(self._pieces).iloc[kept]
        if not self._goes_by_time:
            codes = cells.fillna(-1).to_numpy(dtype=np.intp)
            cells = pd.Series(pd.Categorical.from_codes(codes, pd.Index(self._labels.labels)), cells.index)
        return cells.to_frame(self._name)

    def _add_times(self, cells: pd.Series) -> None:
        """Read numbers until a cell is not one; then all cells are dates, including the earlier ones."""
        values, is_text = read_numbers(cells, self._form)
        if not is_text.any() and not self._are_dates:
            self._pieces.append(pd.Series(values, cells.index))
            return
        days = self._days(cells)
        if not self._are_dates:
            self._are_dates = True
            self._pieces = [self._days(piece) for piece in self._pieces]  # numbers that are years
        self._pieces.append(days)

    def _days(self, cells: pd.Series) -> pd.Series:
        """Read dates as days; store the other cells for the error."""
        days = read_days(cells, self._form, self._timezone)
        self._offsets.add(days, cells)
        if days.is_other.any():
            self._bad.append(cells[days.is_other].astype(object))
        return pd.Series(days.values, cells.index)


def split_rows(split: config.Split, frame: pd.DataFrame, *, seed: int, source: str, kept_out: float = 0.0) -> Split:
    """Split a table's rows.

    A fraction above 0 holds out at least one row (one group in a group split). `validation: auto` is 0.1 with at least
    2000 rows without the test rows, else 0. In a random split the limit is 20,000 rows, because with fewer rows each
    member of the ensemble leaves out rows of its own.

    Args:
        split: the configuration's `data.split` block.
        frame: N rows; positions count from its first row, whatever its index.
        seed: seed of the draw; the same seed and rows give the same split.
        source: the table, as errors name it.
        kept_out: share of the rows (or groups) for `calibration`; in time, those before the validation rows.

    Raises:
        DataError: the split's column is missing, has a gap or an unknown label, fewer than two rows are left for
            training, or too few for a map.
    """
    if isinstance(split, config.ColumnSplit):
        parts = _split_by_label(split.column, frame, source)
        drawn = parts.train[_generator(seed).permutation(len(parts.train))[: _count(kept_out, len(frame))]]
        parts = Split(np.setdiff1d(parts.train, drawn), parts.validation, parts.test, np.sort(drawn))
    else:
        validation = _validation_fraction(split, num_rows=len(frame))
        if isinstance(split, config.GroupSplit):
            parts = _split_by_group(split, frame, validation, kept_out, seed, source)
        elif isinstance(split, config.TimeSplit):
            parts = _deal(split, _order_in_time(split.column, frame, source), validation, kept_out, source)
        else:
            parts = _deal(split, permuted_rows(_generator(seed), len(frame)), validation, kept_out, source)
    if len(parts.train) < 2:
        raise DataError(
            f"{source}: the split must leave at least 2 training rows; got {len(parts.train)} of {len(frame)}. "
            "Lower data.split.test and data.split.validation, or add rows."
        )
    if kept_out and len(parts.calibration) < FEWEST_KEPT_OUT:
        raise DataError(
            f"{source}: expected at least {FEWEST_KEPT_OUT} rows kept out of the training for a map of the "
            f"probabilities; got {len(parts.calibration)} of {len(frame)}. Raise training.calibration.kept_out, add "
            "rows, or set training.calibration.kind to width."
        )
    small = index_type(len(frame))
    return Split(*(getattr(parts, name).astype(small, copy=False) for name in PARTS))


def _validation_fraction(split: _Dealt, *, num_rows: int) -> float:
    """Resolve `auto`."""
    if split.validation != "auto":
        return split.validation
    enough = LARGE_TABLE if isinstance(split, config.RandomSplit) else SMALL_TABLE
    start, stop = _test_range(split, num_rows)
    num_rest = start if split.is_ordered else num_rows - (stop - start)
    return _AUTO_VALIDATION if num_rest >= enough else 0.0


def _generator(seed: int) -> np.random.Generator:
    """Return the generator of random numbers for splits."""
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(_STREAM,)))


def _deal(split: _Dealt, order: IndexArray, validation: float, kept_out: float, source: str) -> Split:
    """Hold out a share, the last of the ordered rows (or groups), or a fold of them; of the rest, the last validate.

    The ones before those that validate are kept out for the calibration.

    Raises:
        DataError: there are more folds than rows or groups.
    """
    if isinstance(split.test, config.Fold) and len(order) < (fewest := split.test.of + split.is_ordered):
        noun = f"groups of {split.column!r}" if isinstance(split, config.GroupSplit) else "rows"
        raise DataError(
            f"{source}: expected at least {fewest} {noun} for {split.test.of} folds; got {len(order)}. "
            "Make fewer folds."
        )
    start, stop = _test_range(split, len(order))
    rest = order[:start] if split.is_ordered else np.concatenate([order[:start], order[stop:]])
    num_validation = _count(validation, len(rest) + stop - start)
    num_calibration = _count(kept_out, len(rest) + stop - start)
    ends = [max(len(rest) - num_validation - num_calibration, 0), max(len(rest) - num_validation, 0)]
    train, calibration, held_out = np.split(rest, ends)
    return Split(np.sort(train), np.sort(held_out), np.sort(order[start:stop]), np.sort(calibration))


def _test_range(split: _Dealt, total: int) -> tuple[int, int]:
    """Return which of the ordered rows (or groups) are the test rows: the first, and the one after the last."""
    if not isinstance(split.test, config.Fold):
        return max(total - _count(split.test, total), 0), total
    block, num_blocks = split.test.fold - 1 + split.is_ordered, split.test.of + split.is_ordered
    return total * block // num_blocks, total * (block + 1) // num_blocks


def _count(fraction: float, total: int) -> int:
    """Turn a fraction into a number of rows, which is at least one if the fraction is above 0."""
    return max(1, round(fraction * total)) if fraction > 0 else 0


def _split_by_group(
    split: config.GroupSplit, frame: pd.DataFrame, validation: float, kept_out: float, seed: int, source: str
) -> Split:
    """Assign whole groups at random; the result does not depend on the order of the rows."""
    cells = _split_column(split.column, frame, source)
    codes, labels = read_labels(cells, _AS_READ)
    groups = _deal(split, _generator(seed).permutation(len(labels)), validation, kept_out, source)
    if not len(groups.train):
        raise DataError(
            f"{source}: column {split.column!r} must have enough groups to train, validate and test; got "
            f"{len(labels)}. Lower data.split.test and data.split.validation, or choose another column."
        )
    return Split(*(np.flatnonzero(np.isin(codes, getattr(groups, name))) for name in PARTS))


def _order_in_time(name: str, frame: pd.DataFrame, source: str) -> IndexArray:
    """Order rows by time; rows with the same time stay in the table's order."""
    cells = _split_column(name, frame, source)
    times, is_other = read_order(cells, _AS_READ)
    if is_other.any():
        raise DataError(
            f"{source}: column {name!r} must be numbers or ISO 8601 dates to split by time; got "
            f"{str(cells[is_other].iloc[0])!r} in {row_of(is_other, cells)}. Rewrite the column, or split otherwise."
        )
    return np.argsort(times, kind="stable")


def _split_by_label(name: str, frame: pd.DataFrame, source: str) -> Split:
    """Read the parts from a column of train, validation and test."""
    cells = _split_column(name, frame, source)
    codes, labels = read_labels(cells, _AS_READ)
    unknown = [label for label in labels if label not in LABELS]
    if unknown:
        first: BoolArray = codes == labels.index(unknown[0])
        raise DataError(
            f"{source}: column {name!r} must say 'train', 'validation' or 'test' in every row; got "
            f"{list_names(unknown)}, first in {row_of(first, cells)}. Correct the labels, or choose another data.split."
        )
    rows = {label: np.flatnonzero(codes == code) for code, label in enumerate(labels)}
    none = np.array([], dtype=np.intp)
    return Split(*(rows.get(label, none) for label in LABELS))


def _split_column(name: str, frame: pd.DataFrame, source: str) -> pd.Series:
    """Return the column that a split uses; refuse gaps."""
    if name not in frame.columns:
        raise DataError(missing_column_fault(name, list(frame.columns), source=source, role="data.split"))
    gaps = read_gaps(frame[name], _AS_READ)
    if gaps.any():
        raise DataError(
            f"{source}: column {name!r} must have a value in every row, as data.split uses it; got {gaps.sum()} "
            f"empty, first in {row_of(gaps, frame)}. Fill the column, or choose another data.split."
        )
    return frame[name]
