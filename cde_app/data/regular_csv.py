"""The quick look at a CSV: its columns and rows, counted block by block, if no line needs the careful one.

A file without quotes (but for its header), of which each line has as many delimiters as the header or is empty, reads
the same to everyone. Only what is not so is worth the time of the csv module, which takes several times as long.
"""

from __future__ import annotations

import csv
from typing import IO

import numpy as np

_BLOCK_BYTES = 1 << 20
_LONGEST_HEADER = 1 << 20
_NEW_LINE, _RETURN = 10, 13


def count_regular(file: IO[bytes], delimiter: str) -> tuple[tuple[str, ...], int] | None:
    """Return the columns and the number of rows of a CSV.

    Args:
        file: it, at its start.
        delimiter: of its cells.

    Returns:
        None where a line is ragged, has a quote or a lone carriage return, is not UTF-8 or is too long for the csv
        module, and for a single column, whose blank lines are no rows: the careful look tells.
    """
    columns = _read_header(file, delimiter)
    if len(columns) < 2:
        return None
    num_rows, rest = 0, b""
    while block := file.read(_BLOCK_BYTES):
        lines, new_line, rest = (rest + block).rpartition(b"\n")
        found = _count_rows(lines + new_line, delimiter, len(columns))
        if found is None or len(rest) > csv.field_size_limit():
            return None
        num_rows += found
    found = _count_rows(rest + b"\n", delimiter, len(columns)) if rest else 0
    return None if found is None else (columns, num_rows + found)


def _read_header(file: IO[bytes], delimiter: str) -> tuple[str, ...]:
    """Read the first line that is not blank; no columns if that is not for sure the header."""
    lines = iter(lambda: file.readline(_LONGEST_HEADER), b"")
    line = next((line for line in lines if line.removeprefix(b"\xef\xbb\xbf").strip()), b"")
    if len(line) == _LONGEST_HEADER:
        return ()
    try:
        text = line.decode("utf-8-sig").removesuffix("\n").removesuffix("\r")
    except UnicodeDecodeError:
        return ()
    if text.count('"') % 2 or "\r" in text or "\0" in text:
        return ()
    return tuple(next(csv.reader([text], delimiter=delimiter), ()))


def _count_rows(lines: bytes, delimiter: str, num_columns: int) -> int | None:
    """Count the lines that are not empty; None if one of them needs the careful look."""
    if b'"' in lines or b"\0" in lines or lines.count(b"\r") != lines.count(b"\r\n"):
        return None
    try:
        lines.decode("utf-8")
    except UnicodeDecodeError:
        return None
    text = np.frombuffer(lines, np.uint8)
    ends = np.flatnonzero(text == _NEW_LINE)
    lengths = np.diff(ends, prepend=-1) - 1
    if not ends.size or lengths.max() > csv.field_size_limit():
        return None if lines else 0
    num_delimiters = np.diff(np.searchsorted(np.flatnonzero(text == ord(delimiter)), ends), prepend=0)
    is_empty = (lengths == 0) | ((lengths == 1) & (text[ends - 1] == _RETURN))
    if ((num_delimiters != num_columns - 1) & ~is_empty).any():
        return None
    return int(np.count_nonzero(~is_empty))
