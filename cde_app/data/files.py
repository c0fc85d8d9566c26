"""Find the files of a table and check their structure, before their cells are interpreted."""

from __future__ import annotations

import codecs
import contextlib
import csv
import glob
import io
import itertools
import os
import re
import shutil
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import IO

import numpy as np

from cde_app.config import FRAME_PATH, TableFormat
from cde_app.data.arrow import noun_of_foreign
from cde_app.data.columns import missing_column_fault
from cde_app.data.compression import DAMAGED, NUM_FIRST_BYTES, Compression, check_is_text, compression_of, open_plain
from cde_app.errors import DataError
from cde_app.machine.standard_input import standard_input
from cde_app.words import list_names

UTF8 = "utf-8-sig"
_LONGEST_LINE = 1 << 26
_BLOCK_BYTES = 1 << 16


@dataclass(frozen=True)
class Partition:
    """One checked file: its path, its name in errors, its columns, and the format of a CSV.

    Args:
        path: the file.
        source: the file, as errors name it.
        columns: names of the columns.
        delimiter: the delimiter of a CSV; None for Parquet.
        encoding: the encoding of a CSV.
        compression: the compression of a CSV, if any.
        foreign: the columns that hold neither numbers, dates nor labels -> what they hold.
    """

    path: Path
    source: str
    columns: tuple[str, ...]
    delimiter: str | None
    encoding: str = ""
    compression: Compression | None = None
    foreign: Mapping[str, str] = field(default_factory=dict)

    def open(self) -> IO[bytes]:
        """Open the file, decompressed."""
        return open_plain(self.path, self.compression)


def is_stored_index(name: str) -> bool:
    """Return whether a column is an unnamed index that pandas has stored, not a column of the table."""
    return re.fullmatch(r"__index_level_\d+__", name) is not None


def columns_of(partitions: Sequence[Partition]) -> list[str]:
    """List the columns of a table of several files; an index that pandas stored counts only if all files have it."""
    return [
        name
        for name in partitions[0].columns
        if not is_stored_index(name) or all(name in partition.columns for partition in partitions)
    ]


STANDARD_INPUT = "<stdin>"
"""How errors name a table that comes from standard input."""


def source_name(path: str | Path) -> str:
    """Name a table as errors do: relative to the working directory if it lies below it."""
    if str(path) == "-":
        return STANDARD_INPUT
    if str(path) == FRAME_PATH:
        return "the frame"
    absolute = Path(os.path.abspath(path))
    return str(absolute.relative_to(Path.cwd())) if absolute.is_relative_to(Path.cwd()) else str(path)


@contextlib.contextmanager
def open_partitions(
    path: str | Path, columns: Sequence[str] | None, form: TableFormat, *, allows_no_rows: bool = False
) -> Iterator[list[Partition]]:
    """Find and check every file of a table, with all faults at once; standard input is copied to a temporary file."""
    if str(path) != "-":
        with unchanged(path):
            yield _check_all([(file, source_name(file)) for file in find_files(path)], columns, form, allows_no_rows)
        return
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "stdin"
        with open(file, "wb") as copy:
            shutil.copyfileobj(standard_input(), copy)
        yield _check_all([(file, source_name("-"))], columns, form, allows_no_rows)


@contextlib.contextmanager
def unchanged(path: str | Path) -> Iterator[None]:
    """Check that a table's files do not change during a block, so that all its readers see the same content.

    Raises:
        DataError: a file was written, replaced or removed meanwhile, or a new one matches the glob.
    """
    before = {file: _state(file) for file in find_files(path)}
    try:
        yield
    except (DataError, OSError):
        _check_unchanged(path, before)  # a change explains the fault
        raise
    _check_unchanged(path, before)


def _check_unchanged(path: str | Path, before: dict[Path, tuple[int, ...] | None]) -> None:
    """See `unchanged`."""
    with contextlib.suppress(DataError):  # a missing file is reported below
        before = dict.fromkeys(find_files(path)) | before
    faults = []
    for file, state in before.items():
        if (now := _state(file)) != state:
            got = "a new file" if state is None else "no such file" if now is None else "a changed file"
            faults.append(
                f"{source_name(file)}: must not change while it is read; got {got}. "
                "Wait until it is complete, or use a copy."
            )
    if faults:
        raise DataError(*faults)


def _state(file: Path) -> tuple[int, ...] | None:
    """Return what changes when a file is written or replaced; None if there is no such file."""
    try:
        found = os.stat(file)
    except OSError:
        return None
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns


def find_files(path: str | Path) -> list[Path]:
    """List the file, or the files of a glob, sorted by name; empty for standard input."""
    if str(path) == "-":
        return []
    source = source_name(path)
    if str(path) == FRAME_PATH:
        raise DataError(f"{source}: must be a CSV or Parquet file; got a frame that was in memory. Name a table.")
    if os.path.isdir(path):
        ending = "parquet" if any(Path(path).glob("*.parquet")) and not any(Path(path).glob("*.csv")) else "csv"
        advice = f"Name a file in it, or a glob such as '{source}/*.{ending}'."
        raise DataError(f"{source}: must be a file; got a directory. {advice}")
    if os.path.exists(path) and not os.path.isfile(path):
        raise DataError(f"{source}: must be a file that can be read twice; got a pipe or a device. Send it to '-'.")
    if os.path.exists(path):
        return [Path(path)]
    if not glob.has_magic(str(path)):
        raise DataError(f"{source}: must be a CSV or Parquet file; got no such file. Correct the path.")
    files = sorted(Path(name) for name in glob.glob(str(path), recursive=True) if os.path.isfile(name))
    if not files:
        raise DataError(f"{source}: must match a file; got none. Correct the glob.")
    return files


def _check_all(
    files: Sequence[tuple[Path, str]], columns: Sequence[str] | None, form: TableFormat, allows_no_rows: bool
) -> list[Partition]:
    """Check every file, and that each has the requested columns."""
    partitions: list[Partition] = []
    faults: list[str] = []
    for path, source in files:
        try:
            partitions.append(_check_file(path, source, form, allows_no_rows))
        except DataError as error:
            faults += error.faults
        except OSError as error:
            faults.append(f"{source}: must be readable; got {error.strerror!r}. Check the file and its permissions.")
    for partition in partitions:
        wanted = columns_of(partitions) if columns is None else columns
        present = frozenset(partition.columns)
        faults += [
            missing_column_fault(name, partition.columns, source=partition.source)
            for name in dict.fromkeys(wanted)
            if name not in present
        ]
        extra = present - set(partitions[0].columns) if columns is None else set()
        extra = {name for name in extra if not is_stored_index(name)}
        if extra:
            faults.append(
                f"{partition.source}: must have the columns of {partitions[0].source}; got also "
                f"[{list_names(sorted(extra))}]. Make the files alike."
            )
    if faults:
        raise DataError(*faults)
    return partitions


def _check_file(path: Path, source: str, form: TableFormat, allows_no_rows: bool) -> Partition:
    """Recognise the kind of a file by its first bytes, and check its structure."""
    with open(path, "rb") as file:
        start = file.read(NUM_FIRST_BYTES)
    if not start:
        raise DataError(f"{source}: must have a header line and rows; got an empty file. Check what wrote it.")
    if start.startswith(b"PAR1"):
        partition, num_rows = _check_parquet(path, source)
    else:
        partition, num_rows = _check_csv(path, source, form, compression_of(path, start, source))
    if repeated := sorted(name for name, number in Counter(partition.columns).items() if number > 1):
        raise DataError(
            f"{source}: column names must differ; got [{list_names(repeated)}] more than once. Rename the columns."
        )
    if num_rows == 0 and not allows_no_rows:
        raise DataError(f"{source}: must have rows; got the header only. Check what wrote it.")
    return partition


def _check_parquet(path: Path, source: str) -> tuple[Partition, int]:
    """Read a Parquet file's column names and number of rows."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path) as file:
            schema = file.schema_arrow
            foreign = {field.name: noun for field in schema if (noun := noun_of_foreign(field.type))}
            return Partition(path, source, tuple(schema.names), None, foreign=foreign), file.metadata.num_rows
    except (pa.ArrowException, OSError) as error:
        reason = str(error).splitlines()[0]
        raise DataError(f"{source}: must be a complete Parquet file; got {reason!r}. Check what wrote it.") from None


def _check_csv(path: Path, source: str, form: TableFormat, compression: Compression | None) -> tuple[Partition, int]:
    """Read a CSV's column names and count its rows, each of which must have one cell per column."""
    try:
        with open_plain(path, compression) as file:
            start = file.read(NUM_FIRST_BYTES)
        if not start:
            raise DataError(f"{source}: must have a header line and rows; got an empty file. Check what wrote it.")
        check_is_text(start, source, compression)
        encoding = _encoding(form, start)
        try:
            with open_plain(path, compression) as file:
                return _count_rows(file, Partition(path, source, (), None, encoding, compression), form)
        except (DataError, UnicodeError) as error:
            if compression is not None:
                _read_to_the_end(path, compression)  # a damaged file decompresses to anything
            if isinstance(error, DataError):
                raise
            raise DataError(_not_in_encoding(path, source, encoding, compression)) from None
    except DAMAGED as error:
        if compression is None:
            raise
        reason = str(error) or type(error).__name__
        raise DataError(
            f"{source}: must be a complete {compression} file; got {reason!r}. Check what wrote or sent it."
        ) from None


def _read_to_the_end(path: Path, compression: Compression) -> None:
    """Raise one of `DAMAGED` if a compressed file is damaged."""
    with open_plain(path, compression) as file:
        while file.read(1 << 20):
            pass


def _count_rows(file: IO[bytes], partition: Partition, form: TableFormat) -> tuple[Partition, int]:
    """Read a CSV's columns and count its rows."""
    source, encoding = partition.source, partition.encoding
    header = _header(_lines(file, source, encoding))
    delimiter = form.delimiter
    if delimiter == "auto":
        delimiter = next((mark for mark in (",", ";", "\t") if mark in header), ",")
    with partition.open() as plain:
        reader = csv.reader(_lines(plain, source, encoding), delimiter=delimiter)
        columns: tuple[str, ...] = ()
        num_rows, line = 0, 1
        try:
            for cells in reader:
                if len(cells) > 1 or (cells and cells[0].strip()):
                    if not columns:
                        columns = tuple(cells)
                        simple = _count_simple_rows(partition, reader.line_num, delimiter, len(columns))
                        if simple is not None:
                            num_rows = simple
                            break
                    elif len(cells) != len(columns):
                        raise DataError(
                            f"{source}:{line}: must have {len(columns)} cells, as the header has; got {len(cells)}. "
                            "Correct the line, or quote a cell that holds a delimiter."
                        )
                    else:
                        num_rows += 1
                line = reader.line_num + 1
        except csv.Error as error:
            raise DataError(f"{source}:{line}: must be a CSV line; got {str(error)!r}. Check its quotes.") from None
    if not columns:
        raise DataError(f"{source}: must have a header line and rows; got blank lines only. Check what wrote it.")
    return replace(partition, columns=columns, delimiter=delimiter), num_rows


def _count_simple_rows(partition: Partition, num_lines: int, delimiter: str, num_cells: int) -> int | None:
    """Count the rows below the header without reading their cells, which takes five times as long.

    None if that is not possible, because the file is not UTF-8 or a line is not simply one row: it has a quote, a
    carriage return or a NUL, it is long or blank, or it has another number of cells than the header.

    Args:
        partition: the file.
        num_lines: lines of the header.
        delimiter: its delimiter.
        num_cells: cells of the header.
    """
    if partition.encoding != UTF8 or num_cells < 2 or not delimiter.isascii():
        return None
    num_rows, longest = 0, csv.field_size_limit()
    with partition.open() as file:
        for _ in range(num_lines):
            file.readline()
        rest = b""
        while content := file.read(_BLOCK_BYTES):
            *whole, rest = (rest + content).rsplit(b"\n", 1)
            for lines in whole:
                found = _simple_rows(lines, delimiter, num_cells, longest)
                if found is None:
                    return None
                num_rows += found
            if len(rest) > longest:
                return None
    found = _simple_rows(rest, delimiter, num_cells, longest) if rest else 0
    return None if found is None else num_rows + found


def _simple_rows(lines: bytes, delimiter: str, num_cells: int, longest: int) -> int | None:
    """Count lines; None if one of them is not simply a row of so many cells, see `_count_simple_rows`."""
    if any(mark in lines for mark in (b'"', b"\r", b"\0")):
        return None
    try:
        lines.decode("utf-8")
    except UnicodeDecodeError:
        return None
    letters = np.frombuffer(lines + b"\n", np.uint8)
    ends, marks = np.flatnonzero(letters == ord("\n")), np.flatnonzero(letters == ord(delimiter))
    cells = np.diff(np.searchsorted(marks, ends), prepend=0) + 1
    is_simple = (cells == num_cells).all() and np.diff(ends, prepend=-1).max() <= longest
    return len(ends) if is_simple else None


def _lines(file: IO[bytes], source: str, encoding: str) -> Iterator[str]:
    """Yield a file's lines; refuse a line that would fill the memory, or a NUL, at which pandas ends a cell."""
    with io.TextIOWrapper(file, encoding=encoding, newline="") as text:
        for number in itertools.count(1):
            if not (line := text.readline(_LONGEST_LINE)):
                return
            if "\0" in line:
                raise DataError(
                    f"{source}:{number}: must be text; got a NUL character. The file may be half written, or in "
                    "UTF-16: then name its encoding in data.format.encoding."
                )
            if len(line) == _LONGEST_LINE:
                raise DataError(
                    f"{source}: must have lines of fewer than {_LONGEST_LINE} characters; got a longer one. "
                    "Check what wrote it."
                )
            yield line


def _header(lines: Iterator[str]) -> str:
    """Return the first line that is not blank."""
    return next((line for line in lines if line.strip()), "")


def _encoding(form: TableFormat, start: bytes) -> str:
    """Resolve `auto`; a byte order mark of UTF-8 is not part of the header."""
    if form.encoding == "auto":
        return "utf-16" if start.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) else UTF8
    name = codecs.lookup(form.encoding).name
    return UTF8 if name == "utf-8" else name


def _not_in_encoding(path: Path, source: str, encoding: str, compression: Compression | None) -> str:
    """Report the line and the byte that are not valid in the encoding."""
    name, advice = encoding, "Correct data.format.encoding."
    if encoding == UTF8:
        name, advice = "UTF-8", "Save it as UTF-8, or name its encoding, such as cp1252, in data.format.encoding."
        with open_plain(path, compression) as file:
            for number, line in enumerate(iter(lambda: file.readline(_LONGEST_LINE), b""), start=1):
                try:
                    line.decode("utf-8")
                except UnicodeDecodeError as error:
                    return f"{source}:{number}: must be {name} text; got byte 0x{line[error.start]:02x}. {advice}"
    return f"{source}: must be {name} text; got other bytes. {advice}"
