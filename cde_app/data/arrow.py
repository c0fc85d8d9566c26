"""The content of a Parquet column, however its file stores it: numbers, dates, labels, or something else.

A dictionary column counts as the type of its values, an extension type as its storage type.
"""

from __future__ import annotations

import pandas as pd
import pyarrow as pa
import pyarrow.types as types


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
    while (stored := _stored_once(column.type)) != column.type:
        is_extension = isinstance(column.type, pa.BaseExtensionType)
        chunks = [chunk.storage if is_extension else chunk.dictionary_decode() for chunk in column.chunks]
        column = pa.chunked_array(chunks, stored)
    if types.is_float16(column.type):
        column = column.cast(pa.float32())
    if types.is_string_view(column.type):
        column = column.cast(pa.string())
    if types.is_integer(column.type) and column.null_count:
        with_gaps = pd.UInt64Dtype() if types.is_unsigned_integer(column.type) else pd.Int64Dtype()
        return column.to_pandas(types_mapper=lambda _: with_gaps)
    return column.to_pandas()


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
