"""A table that is a pandas frame in memory: checked as a file is, and given out in the same chunks."""

from __future__ import annotations

import datetime
import hashlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from cde_app.arrays import AnyArray
from cde_app.config import FRAME_PATH
from cde_app.data.arrow import noun_of_foreign, text_of_far_times
from cde_app.data.columns import Foreign
from cde_app.data.files import source_name
from cde_app.errors import DataError, UsageError
from cde_app.words import list_names

_SOURCE = source_name(FRAME_PATH)
_FOREIGN_OBJECTS: tuple[tuple[tuple[type, ...], str], ...] = (
    ((list, tuple, set, frozenset, np.ndarray, pd.Series), "lists"),
    ((dict, pd.DataFrame), "records"),
    ((bytes, bytearray, memoryview), "bytes"),
    ((datetime.timedelta, np.timedelta64), "durations"),
    ((datetime.time,), "times of day"),
    ((complex, np.complexfloating), "complex numbers"),
)


def checked_frame(frame: Any) -> pd.DataFrame:
    """Check a frame as a table to train on, and return it as `plain_frame` does.

    Raises:
        DataError: the frame has no rows, repeats a column name, or has a name that is not text.
        UsageError: it is no frame.
    """
    plain = plain_frame(frame, "source: expected the path of a YAML file or a pandas DataFrame")
    others = [name for name in plain.columns if not isinstance(name, str)]
    if others:
        raise DataError(
            f"{_SOURCE}: column names must be text; got {list_names(others)}. "
            "Name the columns, or use frame.rename(columns=str)."
        )
    if plain.empty:
        raise DataError(f"{_SOURCE}: must have rows and columns; got {len(frame)} and {frame.shape[1]}. Check it.")
    return plain


def plain_frame(frame: Any, expected: str = "frame: expected a pandas DataFrame") -> pd.DataFrame:
    """Return a frame with rows counted from 0; its own index is ignored.

    As in a Parquet file, a column of objects that are all text is text, a column with dates outside the years 1 to 9999
    too, and a column that holds neither numbers, dates nor labels is replaced by a word for what it holds.

    Raises:
        DataError: the frame repeats a column name.
        UsageError: it is no frame; the message begins with `expected`.
    """
    if not isinstance(frame, pd.DataFrame):
        kind = f"{type(frame).__module__.partition('.')[0]}.{type(frame).__name__}".removeprefix("builtins.")
        raise UsageError(f"{expected}; got {kind}. Make it a DataFrame with named columns.")
    repeated = sorted(map(str, set(frame.columns[frame.columns.duplicated()])))
    if repeated:
        raise DataError(f"{_SOURCE}: column names must differ; got {repeated} more than once. Rename the columns.")
    plain = frame.reset_index(drop=True)
    foreign = {name: noun for name in plain.columns if (noun := _foreign(plain[name]))}
    words = {name: pd.Series(Foreign(noun), plain.index, dtype=object) for name, noun in foreign.items()}
    texts = {name: plain[name].astype("string") for name in plain.columns if _holds_text(plain[name])}
    times = {name: text for name in plain.columns if (text := _far_times(plain[name])) is not None}
    changed = words | texts | times
    return plain if not changed else pd.DataFrame({name: changed.get(name, plain[name]) for name in plain.columns})


def is_frame(table: Any) -> bool:
    """Return whether it is a pandas frame."""
    return isinstance(table, pd.DataFrame)


def frame_of(columns: Mapping[str, AnyArray | Sequence[Any]]) -> pd.DataFrame:
    """Make a frame; name -> [N] values."""
    return pd.DataFrame(dict(columns))


def with_columns(frame: pd.DataFrame, columns: Sequence[str]) -> pd.DataFrame:
    """Return the frame with other names of its columns, and rows counted from 0."""
    return frame.set_axis(list(columns), axis=1).reset_index(drop=True)


def iter_frame(frame: pd.DataFrame, *, chunk_rows: int) -> Iterator[pd.DataFrame]:
    """Yield the rows of a checked frame in chunks, as `iter_table` does those of a file."""
    for first in range(0, len(frame), chunk_rows):
        yield frame.iloc[first : first + chunk_rows]


def content_hash(*arrays: AnyArray) -> str:
    """Return the SHA-256 of some arrays; it stands for the hash of a file where there is none."""
    found = hashlib.sha256()
    for array in arrays:
        found.update(f"{array.dtype}{array.shape}".encode())
        found.update(np.ascontiguousarray(array).data)
    return found.hexdigest()


def _holds_text(column: pd.Series) -> bool:
    """Return whether a column of objects holds text and gaps only."""
    if not pd.api.types.is_object_dtype(column):
        return False
    kinds = set(map(type, column[~column.isna()].tolist()))
    return bool(kinds) and all(issubclass(kind, str) for kind in kinds)


def _far_times(column: pd.Series) -> pd.Series | None:
    """Return a column with dates that are none in a Parquet file as text; None if it has none."""
    if not pd.api.types.is_datetime64_any_dtype(column) and not isinstance(column.dtype, pd.ArrowDtype):
        return None
    cells = pa.array(column, from_pandas=True)
    return text_of_far_times(cells if isinstance(cells, pa.ChunkedArray) else pa.chunked_array([cells]))


def _foreign(column: pd.Series) -> str | None:
    """Name the content of a column if it is neither numbers, dates nor labels; else None."""
    if isinstance(column.dtype, pd.ArrowDtype):
        return noun_of_foreign(column.dtype.pyarrow_dtype)
    if pd.api.types.is_timedelta64_dtype(column):
        return "durations"
    if pd.api.types.is_complex_dtype(column):
        return "complex numbers"
    if not pd.api.types.is_object_dtype(column):
        return None
    kinds = list(dict.fromkeys(map(type, column.tolist())))
    nouns = (noun for kind in kinds for foreign, noun in _FOREIGN_OBJECTS if issubclass(kind, foreign))
    return next(nouns, None)
