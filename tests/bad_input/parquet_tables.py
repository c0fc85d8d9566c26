"""Parquet files that are damaged, or whose columns are not what the configuration expects."""

from __future__ import annotations

import datetime
import io
from collections.abc import Mapping
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from tests.bad_input.cases import DATA, Case
from tests.bad_input.csv_tables import CHECK

NUMBERS = [float(n) for n in range(20)]
LABELS = ["north", "south"] * 10


def parquet(**columns: Any) -> bytes:
    """Write columns, each of them values or an Arrow array."""
    return written(pa.table({"x": NUMBERS, "region": LABELS, "a": [n * n for n in NUMBERS]} | columns))


def written(table: pa.Table) -> bytes:
    """Return a table as the content of a Parquet file."""
    file = io.BytesIO()
    pq.write_table(table, file)
    return file.getvalue()


def flipped(content: bytes, place: int) -> bytes:
    """Flip every bit of a byte."""
    changed = bytearray(content)
    changed[place] ^= 255
    return bytes(changed)


def table(content: bytes, *lines: str) -> Case:
    """Return the case of a table that `cde check` refuses."""
    return Case((CHECK,), DATA, lines, {"table.csv": content})


GOOD = parquet()
FOOTER = len(GOOD) - 8 - int.from_bytes(GOOD[-8:-4], "little")
"""Where the description of the columns begins."""
TWICE = pa.table([NUMBERS, LABELS, NUMBERS, NUMBERS], names=["x", "region", "a", "a"])
DAY = datetime.date(2020, 1, 31)
FAR_DATE = (
    "table.csv: column 'x' must be ISO 8601 dates such as 2024-01-31T12:00; got '10183-09-21' in row 20 of the table. "
    "It looks like a date outside the years 1 to 9999; leave the cell empty if it means that there is none."
)

DAMAGED: Mapping[str, Case] = {
    "beginning only": table(
        b"PAR1",
        (
            "table.csv: must be a complete Parquet file; got 'Parquet file size is 4 bytes, smaller "
            "than the minimum file footer (8 bytes)'. Check what wrote it."
        ),
    ),
    "beginning and end only": table(
        b"PAR1PAR1",
        (
            'table.csv: must be a complete Parquet file; got "Parquet file size is 8 bytes, smaller '
            "than the size reported by footer's (827474256bytes)\". Check what wrote it."
        ),
    ),
    "cut off": table(
        GOOD[: len(GOOD) // 2],
        (
            "table.csv: must be a complete Parquet file; got 'Parquet magic bytes not found in "
            "footer. Either the file is corrupted or this is not a parquet file.'. Check what wrote "
            "it."
        ),
    ),
    "end missing": table(
        GOOD[:-4],
        (
            "table.csv: must be a complete Parquet file; got 'Parquet magic bytes not found in "
            "footer. Either the file is corrupted or this is not a parquet file.'. Check what wrote "
            "it."
        ),
    ),
    "footer of 4 GB": table(
        GOOD[:-8] + b"\xff\xff\xff\xff" + b"PAR1",
        (
            'table.csv: must be a complete Parquet file; got "Parquet file size is 1202 bytes, '
            "smaller than the size reported by footer's (4294967295bytes)\". Check what wrote it."
        ),
    ),
    "footer of no bytes": table(
        GOOD[:-8] + bytes(4) + b"PAR1",
        (
            "table.csv: must be a complete Parquet file; got \"Couldn't deserialize thrift: No more "
            'data to read.". Check what wrote it.'
        ),
    ),
    "footer of zeros": table(
        GOOD[:FOOTER] + bytes(len(GOOD) - 8 - FOOTER) + GOOD[-8:],
        (
            "table.csv: must be a complete Parquet file; got \"Couldn't deserialize thrift: "
            'TProtocolException: Invalid data". Check what wrote it.'
        ),
    ),
    "first byte of the footer": table(
        flipped(GOOD, FOOTER),
        (
            "table.csv: must be a complete Parquet file; got \"Couldn't deserialize thrift: "
            'TProtocolException: Invalid data". Check what wrote it.'
        ),
    ),
    "first byte of the data": table(
        flipped(GOOD, 4),
        (
            "table.csv: must be readable to its end; got \"Couldn't deserialize thrift: "
            'TProtocolException: Invalid data". Check the file.'
        ),
    ),
    "zeros for the data": table(
        b"PAR1" + bytes(FOOTER - 4) + GOOD[FOOTER:],
        (
            "table.csv: must be readable to its end; got \"Couldn't deserialize thrift: "
            'TProtocolException: Invalid data". Check the file.'
        ),
    ),
    "encrypted footer": table(
        GOOD[:-4] + b"PARE",
        (
            'table.csv: must be a complete Parquet file; got "Could not read encrypted metadata, no '
            "decryption found in reader's properties\". Check what wrote it."
        ),
    ),
    "two files one after the other, the second cut off": table(
        GOOD + GOOD[:-9],
        (
            "table.csv: must be a complete Parquet file; got 'Parquet magic bytes not found in "
            "footer. Either the file is corrupted or this is not a parquet file.'. Check what wrote "
            "it."
        ),
    ),
}

COLUMNS: Mapping[str, Case] = {
    "no rows": table(
        written(pa.table({"x": NUMBERS, "region": LABELS, "a": NUMBERS}).slice(0, 0)),
        "table.csv: must have rows; got the header only. Check what wrote it.",
    ),
    "no columns": table(written(pa.table({})), "table.csv: must have rows; got the header only. Check what wrote it."),
    "other columns": table(
        written(pa.table({"X": NUMBERS, "region": LABELS, "b": NUMBERS})),
        ("config.yaml:4:12: table.csv: no column 'x' (data.inputs); columns are 'X', 'region', 'b'. Did you mean 'X'?"),
        (
            "config.yaml:5:13: table.csv: no column 'a' (data.targets); columns are 'X', 'region', "
            "'b'. Correct the name or the table."
        ),
    ),
    "column twice": table(
        written(TWICE), "table.csv: column names must differ; got ['a'] more than once. Rename the columns."
    ),
    "lists": table(
        parquet(x=[[n] for n in NUMBERS]),
        (
            "table.csv: column 'x' must be numbers; got lists. Write numbers, dates or labels "
            "instead, or choose another column."
        ),
    ),
    "records": table(
        parquet(x=[{"n": n} for n in NUMBERS]),
        (
            "table.csv: column 'x' must be numbers; got records. Write numbers, dates or labels "
            "instead, or choose another column."
        ),
    ),
    "maps": table(
        parquet(x=pa.array([[("n", n)] for n in NUMBERS], pa.map_(pa.string(), pa.float64()))),
        (
            "table.csv: column 'x' must be numbers; got maps. Write numbers, dates or labels "
            "instead, or choose another column."
        ),
    ),
    "bytes": table(
        parquet(region=[b"north"] * 20),
        (
            "table.csv: column 'region' must be labels; got bytes. Write numbers, dates or labels "
            "instead, or choose another column."
        ),
    ),
    "times of day": table(
        parquet(x=[datetime.time(n) for n in range(20)]),
        (
            "table.csv: column 'x' must be numbers; got times of day. Write numbers, dates or labels "
            "instead, or choose another column."
        ),
    ),
    "durations": table(
        parquet(x=[datetime.timedelta(n) for n in range(20)]),
        (
            "table.csv: column 'x' must be numbers; got durations. Write numbers, dates or labels "
            "instead, or choose another column."
        ),
    ),
    "dates in a numeric column": table(
        parquet(x=[DAY] * 20),
        (
            "table.csv: column 'x' must be numbers; got 20 cells such as '2020-01-31', first in row "
            "1 of the table. Clean the column, or give it kind: categorical."
        ),
    ),
    "date after the year 9999": Case(
        (f"{CHECK} --set data.inputs.0.kind=datetime",),
        DATA,
        (FAR_DATE,),
        {"table.csv": parquet(x=pa.array([*range(19), 3_000_000], pa.date32()))},
    ),
    "target of integers that are equal as numbers": table(
        parquet(a=[10**17 + 1 + n % 5 for n in range(20)]),
        (
            "table.csv: column 'a' must vary in the 53 bits of a number; got 1e+17 in every row, rounded from 20 cells "
            "such as 100000000000000001, first in row 1 of the table. Subtract a constant from them."
        ),
    ),
    "nothing but nulls": table(
        parquet(x=pa.nulls(20)),
        (
            "table.csv: column 'x' must be numbers without gaps; got 20 empty cells, first in row 1 "
            "of the table. Set data.missing or clean the file."
        ),
    ),
    "nulls in a target": table(
        parquet(a=[None, *NUMBERS[1:]]),
        (
            "table.csv: column 'a' must be numbers without gaps; got 1 empty cell, first in row 1 of "
            "the table. Set data.missing to drop, or clean the file."
        ),
    ),
    "NaN in a target": table(
        parquet(a=[float("nan"), *NUMBERS[1:]]),
        (
            "table.csv: column 'a' must be numbers without gaps; got 1 empty cell, first in row 1 of "
            "the table. Set data.missing to drop, or clean the file."
        ),
    ),
    "infinity": table(
        parquet(x=[float("inf"), *NUMBERS[1:]]),
        ("table.csv: column 'x' must be finite numbers up to 1e+150; got inf in row 1 of the table. Clean the file."),
    ),
    "text in a column of texts": table(
        parquet(x=[*map(str, NUMBERS[1:]), "oops"]),
        (
            "table.csv: column 'x' must be numbers; got 'oops' in row 20 of the table. Clean the "
            "column, or give it kind: categorical."
        ),
    ),
    "null label": table(
        parquet(region=[None, *LABELS[1:]]),
        (
            "table.csv: column 'region' must be labels without gaps; got 1 empty cell, first in row "
            "1 of the table. Set data.missing or clean the file."
        ),
    ),
    "constant target": table(
        parquet(a=[7.5] * 20), "table.csv: column 'a' must vary; got 7.5 in every row. Choose another target."
    ),
    "lists of labels in a dictionary": table(
        parquet(region=pa.array([["north"]] * 20)),
        (
            "table.csv: column 'region' must be labels; got lists. Write numbers, dates or labels "
            "instead, or choose another column."
        ),
    ),
}

CASES: dict[str, Case] = {**DAMAGED, **COLUMNS}
