"""Read and write tables: CSV or Parquet, one file or a glob of partitions, at once or in chunks of bounded memory.

pyarrow.parquet is imported only where a Parquet file is read or written.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import IO, TYPE_CHECKING, Any, Literal

import numpy as np
import pandas as pd
import pyarrow as pa

from cde_app.config import TableFormat
from cde_app.data.arrow import to_pandas
from cde_app.data.columns import Foreign
from cde_app.data.compression import DAMAGED
from cde_app.data.files import Partition, columns_of, open_partitions, source_name
from cde_app.errors import DataError
from cde_app.machine.storage import TEMPORARY_PREFIX, make_folder, sync_folder

if TYPE_CHECKING:
    import pyarrow.parquet as pq

FileFormat = Literal["csv", "parquet"]

ROWS_PER_GROUP = 65_536
"""Rows of a Parquet file that are written together; its writer keeps a description of every group until the end."""

_PLAIN = TableFormat()


def read_table(path: str | Path, *, columns: Sequence[str] | None = None, form: TableFormat = _PLAIN) -> pd.DataFrame:
    """Read a whole table.

    The kind of a file, compressed or not, is recognised by its content. The first line of a CSV is the header; every
    cell is unchanged text. The files of a glob are read in the order of their names.

    Args:
        path: a file, a glob of partitions, or `-` for standard input.
        columns: the columns to read, in this order; None reads all.
        form: the delimiter and the encoding of a CSV.

    Returns:
        [N] rows with index 0..N-1, N >= 1.

    Raises:
        DataError: a file is missing, a directory, empty, of another kind, damaged, not in its encoding or ragged,
            repeats a column name or lacks a column.
    """
    with open_partitions(path, columns, form) as partitions:
        wanted = columns_of(partitions) if columns is None else list(columns)
        foreign = _foreign(partitions)
        frames = [chunk for partition in partitions for chunk in _read_chunks(partition, wanted, foreign, None)]
    return frames[0] if len(frames) == 1 else pd.concat(frames, ignore_index=True)


def iter_table(
    path: str | Path,
    *,
    columns: Sequence[str] | None = None,
    chunk_rows: int,
    form: TableFormat = _PLAIN,
    allows_no_rows: bool = False,
) -> Iterator[pd.DataFrame]:
    """Read a table in chunks, with memory that does not grow with its rows; all files are checked before the first one.

    Args:
        path: a file, a glob of partitions, or `-` for standard input.
        columns: the columns to read, in this order; None reads all.
        chunk_rows: the largest number of rows per chunk.
        form: the delimiter and the encoding of a CSV.
        allows_no_rows: a table with a header only is no fault.

    Yields:
        At most `chunk_rows` rows; the index continues across chunks. One chunk without rows if there are none.

    Raises:
        DataError: as `read_table`.
    """
    with open_partitions(path, columns, form, allows_no_rows=allows_no_rows) as partitions:
        wanted = columns_of(partitions) if columns is None else list(columns)
        first_row, foreign = 0, _foreign(partitions)
        for partition in partitions:
            for chunk in _read_chunks(partition, wanted, foreign, chunk_rows):
                chunk.index = pd.RangeIndex(first_row, first_row + len(chunk))
                first_row += len(chunk)
                if len(chunk):
                    yield chunk
        if first_row == 0:
            yield pd.DataFrame({name: pd.Series(dtype="string") for name in wanted})


class TableWriter:
    """Write a table piece by piece; the complete file appears when the block ends, and none if it fails.

    Args:
        path: the file; its folder is created.
        file_format: `csv` or `parquet`.

    Raises:
        DataError: a column changes its type between pieces of a Parquet file.
    """

    def __init__(self, path: Path, *, file_format: FileFormat) -> None:
        self._path = Path(path)
        self._temporary = self._path.with_name(f"{TEMPORARY_PREFIX}{os.getpid()}-{self._path.name}")
        self._format = file_format
        self._parquet: pq.ParquetWriter | None = None
        self._group: list[pa.Table] = []
        self._num_pieces = 0

    def __enter__(self) -> TableWriter:
        make_folder(self._path.parent)
        self._file: IO[bytes] = open(self._temporary, "wb")
        return self

    def append(self, columns: Mapping[str, np.ndarray[Any, Any] | Sequence[Any]]) -> None:
        """Write more rows.

        Args:
            columns: name -> [N] values; the same names in the same order each time.
        """
        frame = pd.DataFrame(dict(columns))
        if self._format == "csv":
            text = frame.to_csv(index=False, header=self._num_pieces == 0, lineterminator="\n")
            self._file.write(text.encode("utf-8"))
        else:
            self._append_parquet(frame)
        self._num_pieces += 1

    def _append_parquet(self, frame: pd.DataFrame) -> None:
        import pyarrow.parquet as pq

        piece = pa.Table.from_pandas(frame, preserve_index=False).replace_schema_metadata(None)
        if self._parquet is None:
            text = (pa.null(), pa.large_string())
            fields = [field.with_type(pa.string()) if field.type in text else field for field in piece.schema]
            self._parquet = pq.ParquetWriter(self._file, pa.schema(fields))
        schema = self._parquet.schema
        for field in piece.schema:
            expected = schema.field(field.name).type
            alike = (pa.null(), expected, *((pa.large_string(),) if expected == pa.string() else ()))
            if field.type not in alike:
                raise DataError(
                    f"{source_name(self._path)}: column {field.name!r} must keep one type for Parquet; got {expected}, "
                    f"then {field.type}. Write CSV, or fill the column's gaps."
                )
        self._group.append(piece.cast(schema))
        if sum(one.num_rows for one in self._group) >= ROWS_PER_GROUP:
            self._write_group()

    def _write_group(self) -> None:
        """Write the pieces that wait for it."""
        if self._parquet is not None and self._group:
            self._parquet.write_table(pa.concat_tables(self._group))
            self._group = []

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if kind is None:
                self._write_group()
                if self._parquet is not None:
                    self._parquet.close()
                self._file.flush()
                os.fsync(self._file.fileno())
                self._file.close()
                os.replace(self._temporary, self._path)
                sync_folder(self._path.parent)
        finally:
            if self._parquet is not None:  # after a failure; otherwise its destructor would write to the closed file
                with contextlib.suppress(Exception):
                    self._parquet.close()
            self._file.close()
            self._temporary.unlink(missing_ok=True)


def write_table(
    path: Path, columns: Mapping[str, np.ndarray[Any, Any] | Sequence[Any]], *, file_format: FileFormat
) -> None:
    """Write a table at once and atomically.

    Args:
        path: the file; its folder is created.
        columns: name -> [N] values.
        file_format: `csv` or `parquet`.
    """
    with TableWriter(path, file_format=file_format) as writer:
        writer.append(columns)


def _foreign(partitions: Sequence[Partition]) -> dict[str, Foreign]:
    """List the columns that hold neither numbers, dates nor labels in at least one of the files."""
    return {name: Foreign(noun) for partition in partitions for name, noun in partition.foreign.items()}


def _read_chunks(
    partition: Partition, columns: list[str], foreign: Mapping[str, Foreign], chunk_rows: int | None
) -> Iterator[pd.DataFrame]:
    """Read the columns of one checked file, whole (None) or in chunks; no cell of a foreign column is read."""
    read = _read_parquet if partition.delimiter is None else _read_csv
    read_columns = [name for name in columns if name not in foreign]
    try:
        for frame in read(partition, read_columns, chunk_rows):
            for name in columns:
                if name in foreign:
                    frame[name] = pd.Series(foreign[name], frame.index, dtype=object)
            yield frame[columns]
    except (*DAMAGED, ValueError) as error:  # including the read errors of pandas and pyarrow
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise DataError(f"{partition.source}: must be readable to its end; got {reason!r}. Check the file.") from None


def _read_csv(partition: Partition, columns: list[str], chunk_rows: int | None) -> Iterator[pd.DataFrame]:
    """Read columns of a CSV as text."""
    with partition.open() as file:
        read = pd.read_csv(
            file,
            sep=partition.delimiter,
            header=0,
            names=list(partition.columns),
            usecols=columns,
            index_col=False,
            dtype="string",  # pandas' guesses would turn 007 into 7 and `now` into a date
            na_filter=False,
            low_memory=False,
            encoding=partition.encoding,
            chunksize=chunk_rows,
        )
        yield from [read] if isinstance(read, pd.DataFrame) else read


def _read_parquet(partition: Partition, columns: list[str], chunk_rows: int | None) -> Iterator[pd.DataFrame]:
    """Read columns of a Parquet file; ignore pandas' own metadata, such as an index."""
    import pyarrow.parquet as pq

    with pq.ParquetFile(partition.path, pre_buffer=False) as file:  # a buffer would keep all that has been read
        if chunk_rows is None:
            yield _frame(file.read(columns=columns), columns)
            return
        for batch in file.iter_batches(batch_size=chunk_rows, columns=columns):
            yield _frame(pa.Table.from_batches([batch]), columns)


def _frame(table: pa.Table, columns: list[str]) -> pd.DataFrame:
    """Turn an Arrow table into a frame of the requested columns; pyarrow reads `a.b` along with `a`."""
    return pd.DataFrame({name: to_pandas(table.column(name)) for name in columns}, index=pd.RangeIndex(table.num_rows))
