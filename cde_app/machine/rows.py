"""The rows of a table that may not fit in memory: in memory-mapped files, in blocks, or sampled."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import TracebackType
from typing import IO

import numpy as np
from numpy.lib import format as npy

from cde_app.arrays import Array, IndexArray
from cde_app.errors import RunError
from cde_app.machine.streams import Stream, generator

BLOCK_ROWS = 32_768
"""Rows that are in memory at a time when all rows are processed."""


class RowFile:
    """A `.npy` file of float64 rows, written block by block.

    The header is written again at the end, when the number of rows is known; NumPy leaves room for it to grow. A
    failure leaves a file without rows.

    Args:
        path: the file; its folder exists.
        num_columns: values per row.

    Raises:
        RunError: the file cannot be written (no space, no permission).
    """

    def __init__(self, path: Path, num_columns: int) -> None:
        self._path, self._num_rows, self._num_columns = path, 0, num_columns

    def __enter__(self) -> RowFile:
        with self._reporting_errors():
            self._file: IO[bytes] = self._path.open("wb")
            self._write_header()
        return self

    def append(self, rows: Array) -> None:
        """Write more rows, [n, num_columns]."""
        if rows.shape[1:] != (self._num_columns,):
            raise ValueError(f"{self._path}: rows have {self._num_columns} columns; got an array {rows.shape}")
        with self._reporting_errors():
            self._file.write(np.ascontiguousarray(rows, dtype=np.float64).tobytes())
        self._num_rows += len(rows)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._reporting_errors(), self._file:
            if kind is None:
                self._file.seek(0)
                self._write_header()

    def _write_header(self) -> None:
        shape = (self._num_rows, self._num_columns)
        npy.write_array_header_1_0(self._file, {"descr": "<f8", "fortran_order": False, "shape": shape})

    @contextlib.contextmanager
    def _reporting_errors(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise RunError(f"{self._path}: expected a file that can be written; got {error.strerror!r}.") from error


def map_rows(path: Path) -> Array:
    """Map what a `RowFile` wrote, [N, num_columns], read-only; rows are read when they are accessed."""
    return np.asarray(np.load(path, mmap_mode="r", allow_pickle=False))


def store_rows(path: Path, num_columns: int, blocks: Iterable[Array]) -> Array:
    """Write blocks of rows one after another and return them mapped, [N, num_columns]."""
    with RowFile(path, num_columns) as file:
        for block in blocks:
            file.append(block)
    return map_rows(path)


def gather_rows(path: Path, array: Array, rows: IndexArray) -> Array:
    """Copy some rows of an array, [N, D], into a file, and return them mapped, [len(rows), D]."""
    return store_rows(path, array.shape[1], (array[rows[block]] for block in blocks_of(len(rows))))


def blocks_of(num_rows: int, size: int | None = None) -> Iterator[slice]:
    """Yield the rows in blocks of a size, by default `BLOCK_ROWS`; the last may be smaller."""
    size = BLOCK_ROWS if size is None else size
    for start in range(0, num_rows, size):
        yield slice(start, min(start + size, num_rows))


def draw_rows(num_rows: int, most: int, *, seed: int, stream: Stream) -> IndexArray:
    """Draw up to `most` different rows, sorted; all of them if there are no more.

    Args:
        num_rows: N.
        most: the largest number of rows.
        seed: the run's seed.
        stream: what the rows are for.
    """
    if num_rows <= most:
        return np.arange(num_rows)
    return np.sort(generator(seed, stream).choice(num_rows, most, replace=False))
