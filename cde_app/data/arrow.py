"""The content of a Parquet column, however its file stores it: numbers, dates, labels, or something else.

A dictionary column counts as the type of its values, an extension type as its storage type. Dates are those of the
years 1 to 9999, as in a CSV.
"""

from __future__ import annotations

import re
from datetime import date

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as types
from numpy.typing import NDArray

from cde_app.arrays import BoolArray

Times = NDArray[np.datetime64]
_FIRST_DAY, _LAST_DAY = np.datetime64(date.min), np.datetime64(date.max)


def noun_of_foreign(kind: pa.DataType) -> str | None:
    """Name the content of a column of this type if it is neither numbers, dates nor labels; else None."""
    kind = _stored(kind)
    if types.is_struct(kind):
        return "records"
    if types.is_map(kind):
        return "maps"
    if types.is_nested(kind):
        return "lists"
    if types.is_time(kind):
        return "times of day"
    if types.is_duration(kind):
        return "durations"
    known = (
        types.is_null,
        types.is_boolean,
        types.is_integer,
        types.is_floating,
        types.is_decimal,
        types.is_date,
        types.is_timestamp,
        types.is_string,
        types.is_large_string,
        types.is_string_view,
    )
    if any(is_kind(kind) for is_kind in known):
        return None
    return "bytes" if "binary" in str(kind) else f"values of type {kind}"


def to_pandas(column: pa.ChunkedArray) -> pd.Series:
    """Turn a column that is not foreign into a pandas column; integers keep every digit even if there are gaps."""
    column = _unpacked(column)
    if types.is_float16(column.type):
        column = column.cast(pa.float32())
    if types.is_string_view(column.type):
        column = column.cast(pa.string())
    if types.is_integer(column.type) and column.null_count:
        with_gaps = pd.UInt64Dtype() if types.is_unsigned_integer(column.type) else pd.Int64Dtype()
        return column.to_pandas(types_mapper=lambda _: with_gaps)
    far = text_of_far_times(column)
    return column.to_pandas() if far is None else far


def text_of_far_times(column: pa.ChunkedArray) -> pd.Series | None:
    """Return a column with dates outside the years 1 to 9999 as text, such as `10183-09-21`, which is no date.

    Neither Python nor a time zone knows such dates.

    Returns:
        Text; None if the column has no such dates.
    """
    column = _unpacked(column)
    if not (types.is_date(column.type) or types.is_timestamp(column.type)):
        return None
    times = _times(column)
    is_far = _are_far(times)
    zone = getattr(column.type, "tz", None)
    if zone and np.isin(times.astype("datetime64[D]"), (_FIRST_DAY, _LAST_DAY)).any():  # of another year in the zone
        local = pc.local_timestamp(pc.if_else(pa.array(is_far), None, column))
        is_far |= _are_far(_times(local))
    if not is_far.any():
        return None
    near = pc.if_else(pa.array(is_far), None, column).to_pandas()
    cells = [None if pd.isna(cell) else cell.isoformat() for cell in near]
    far = times[is_far].astype("datetime64[D]") if types.is_date(column.type) else times[is_far]
    for row, text in zip(np.flatnonzero(is_far), np.datetime_as_string(far), strict=True):
        cells[row] = re.sub(r"\.0+$", "", text) + ("Z" if zone else "")
    return pd.Series(cells, dtype="string")


def _times(column: pa.ChunkedArray) -> Times:
    """Return dates or times as NumPy has them, in UTC, [N]; a gap is 1970-01-01."""
    unit = "D" if types.is_date32(column.type) else "ms" if types.is_date64(column.type) else column.type.unit
    counts = pc.fill_null(column.cast(pa.int32() if unit == "D" else pa.int64()), 0)
    return counts.to_numpy().astype(np.int64).view(f"datetime64[{unit}]")


def _are_far(times: Times) -> BoolArray:
    days = times.astype("datetime64[D]")
    return (days < _FIRST_DAY) | (days > _LAST_DAY)


def _unpacked(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Return the values inside dictionaries and extension types."""
    while (stored := _stored_once(column.type)) != column.type:
        is_extension = isinstance(column.type, pa.BaseExtensionType)
        chunks = [chunk.storage if is_extension else chunk.dictionary_decode() for chunk in column.chunks]
        column = pa.chunked_array(chunks, stored)
    return column


def _stored(kind: pa.DataType) -> pa.DataType:
    """Return the type of the values inside dictionaries and extension types."""
    while (stored := _stored_once(kind)) != kind:
        kind = stored
    return kind


def _stored_once(kind: pa.DataType) -> pa.DataType:
    """Return the type inside one dictionary or extension type."""
    if isinstance(kind, pa.BaseExtensionType):
        return kind.storage_type
    return kind.value_type if isinstance(kind, pa.DictionaryType) else kind
