"""The rows of a table that may not fit in memory: in memory-mapped files, in blocks, or sampled."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import TracebackType
from typing import IO, Any

import numpy as np
from numpy.lib import format as npy

from cde_app.arrays import AnyArray, Array, IndexArray
from cde_app.errors import RunError
from cde_app.machine.streams import Stream, generator

BLOCK_ROWS = 32_768
"""Rows that are in memory at a time when all rows are processed."""
MOST_MAPPED = 1 << 26
"""The largest file [bytes] whose pages may all stay in memory."""
NEARBY = 2
"""Rows of a file that are at most so far apart are read together: to skip one costs more than to read it."""


class RowFile:
    """A `.npy` file of rows, written block by block.

    The header is written again at the end, when the number of rows is known; NumPy leaves room for it to grow. A
    failure leaves a file without rows.

    Args:
        path: the file; its folder exists.
        num_columns: values per row; None for one-dimensional arrays, a value per row.
        dtype: the type of the values.

    Raises:
        RunError: the file cannot be written (no space, no permission).
    """

    def __init__(self, path: Path, num_columns: int | None, dtype: type[np.generic] = np.float64) -> None:
        self._path, self._num_rows, self._num_columns, self._dtype = path, 0, num_columns, np.dtype(dtype)
        self._row_shape = () if num_columns is None else (num_columns,)

    def __enter__(self) -> RowFile:
        with self._reporting_errors():
            self._file: IO[bytes] = self._path.open("wb")
            self._write_header()
        return self

    def append(self, rows: AnyArray) -> None:
        """Write more rows, [n, num_columns] or [n]."""
        if rows.shape[1:] != self._row_shape:
            raise ValueError(f"{self._path}: rows have {self._num_columns} columns; got an array {rows.shape}")
        with self._reporting_errors():
            self._file.write(np.ascontiguousarray(rows, dtype=self._dtype).tobytes())
        self._num_rows += len(rows)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._reporting_errors(), self._file:
            if kind is None:
                self._file.seek(0)
                self._write_header()

    def _write_header(self) -> None:
        shape = (self._num_rows, *self._row_shape)
        npy.write_array_header_1_0(self._file, {"descr": self._dtype.str, "fortran_order": False, "shape": shape})

    @contextlib.contextmanager
    def _reporting_errors(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise RunError(f"{self._path}: expected a file that can be written; got {error.strerror!r}.") from error


class StoredRows(np.ndarray[Any, Any]):
    """What a `RowFile` wrote, [N, num_columns] or [N], read-only; an index reads the rows that it selects.

    It is a memory map, so every function of NumPy takes it. But the pages of a map that have been touched count as
    memory of the process, and the kernel maps up to a megabyte around a row. So an index of a file of more than
    `MOST_MAPPED` bytes does not touch the map: it reads from the file, which must still be there, and returns a copy.
    """

    _path: Path | None
    """The file, if it is a large one; None for views and for results of calculations, which are ordinary arrays."""
    _offset: int
    """Where the rows begin in it."""

    def __array_finalize__(self, source: object) -> None:
        self._path = None

    def __reduce__(self) -> Any:
        """Let another process map the file, too, instead of sending it the rows."""
        return super().__reduce__() if self._path is None else (map_rows, (self._path,))

    def __getitem__(self, index: Any) -> Any:
        """Return rows, by a slice or by an array of any shape; with a second index, columns of them."""
        mapped = self.view(np.ndarray)
        if self._path is None:
            return mapped[index]
        rows, *columns = index if isinstance(index, tuple) else (index,)
        rows = np.arange(*rows.indices(len(self))) if isinstance(rows, slice) else np.asarray(rows)
        rows = np.flatnonzero(rows) if rows.dtype == np.bool_ else rows
        flat, chosen = rows.ravel(), (slice(None), *columns)
        found = [self._read(self._path, flat[block])[chosen] for block in blocks_of(len(flat))]
        values = np.concatenate(found or [mapped[:0][chosen]])
        return values.reshape(*rows.shape, *values.shape[1:])

    def _read(self, path: Path, rows: IndexArray) -> AnyArray:
        """Read rows in any order, those that are close together at once."""
        rows = rows.astype(np.int64)  # 32 bits are enough to count rows, not bytes
        distinct, places = np.unique(np.where(rows < 0, rows + len(self), rows), return_inverse=True)
        begins = np.flatnonzero(np.diff(distinct, prepend=-NEARBY - 1) > NEARBY)
        first, stop = distinct[begins], distinct[np.append(begins[1:], len(distinct)) - 1] + 1
        row_bytes, offset = self.strides[0], self._offset
        with path.open("rb", buffering=0) as file:
            runs = zip((offset + first * row_bytes).tolist(), ((stop - first) * row_bytes).tolist(), strict=True)
            content = b"".join([os.pread(file.fileno(), num_bytes, start) for start, num_bytes in runs])
        read = np.frombuffer(content, self.dtype).reshape(-1, *self.shape[1:])
        # Where each of the rows is in what was read: what lies between the runs is left out.
        skipped = first - np.cumsum(stop - first) + (stop - first)
        shifted = distinct - np.repeat(skipped, np.diff(begins, append=len(distinct)))
        return np.asarray(read[shifted[places]])


def map_rows(path: Path) -> AnyArray:
    """Map what a `RowFile` wrote, [N, num_columns] or [N], read-only; rows are read when they are accessed."""
    mapped = np.load(path, mmap_mode="r", allow_pickle=False)
    rows: StoredRows = mapped.view(StoredRows)
    if rows.nbytes > MOST_MAPPED:
        rows._path, rows._offset = path, mapped.offset
    return rows


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


def permuted_rows(random: np.random.Generator, num_rows: int) -> IndexArray:
    """Return the rows in the order of `random.permutation`, [N], in half of its memory."""
    return random.permutation(np.arange(num_rows, dtype=index_type(num_rows)))


def index_type(num_rows: int) -> type[np.signedinteger[Any]]:
    """Return the smaller type of index that can count the rows of a table."""
    return np.int32 if num_rows <= np.iinfo(np.int32).max else np.int64


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
