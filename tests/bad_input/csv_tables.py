"""CSV files that are none, or whose cells are not what the configuration or the run expects."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import os
import tarfile
import zipfile
from pathlib import Path

from tests.bad_input.cases import CONFIG, DATA, ROWS, Case, text, with_row

CHECK, TRAIN = "check config.yaml", "train config.yaml --out runs/a --quiet"
GOOD = text(ROWS)


def table(content: bytes | str, *lines: str, options: str = "") -> Case:
    """Return the case of a table that `cde check` refuses."""
    return Case((f"{CHECK} {options}".strip(),), DATA, lines, {"table.csv": content})


def cell(content: str, *lines: str) -> Case:
    """Return the case of one cell in a column of numbers, below 20 good rows."""
    return table(with_row(f"{content},north,3"), *lines)


def packed(*members: tuple[str, str]) -> bytes:
    """Return a zip archive."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name, content in members:
            archive.writestr(name, content)
    return file.getvalue()


def tar() -> bytes:
    """Return a tar archive of a table."""
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as archive:
        member = tarfile.TarInfo("table.csv")
        member.size = len(GOOD)
        archive.addfile(member, io.BytesIO(GOOD.encode()))
    return file.getvalue()


def without_table(prepare: str, folder: Path) -> None:
    """Put something else in the place of the table."""
    path = folder / "table.csv"
    path.unlink()
    match prepare:
        case "folder":
            path.mkdir()
        case "link":
            path.symlink_to("nowhere.csv")
        case "loop":
            path.symlink_to("table.csv")
        case "pipe":
            os.mkfifo(path)


def other(prepare: str, *lines: str) -> Case:
    """Return the case of something else in the place of the table."""
    return Case((CHECK,), DATA, lines, prepare=lambda folder: without_table(prepare, folder))


def elsewhere(path: str, *lines: str, **files: str) -> Case:
    """Return the case of another `data.path`."""
    content: dict[str, bytes | str] = {name.replace("__", "/") + ".csv": inside for name, inside in files.items()}
    return Case((f"{CHECK} --set 'data.path=\"{path}\"'",), DATA, lines, content)


def typed(settings: str, rows: list[str], *lines: str) -> Case:
    """Return the case of a table with the columns t and a, and of what the block `data` says about them."""
    config = f"schema_version: 1\ndata:\n  path: table.csv\n{settings}"
    files: dict[str, bytes | str] = {"config.yaml": config, "table.csv": text(["t,a", *rows])}
    return Case((CHECK,), DATA, lines, files)


NUMBERED = [f"{n},{n * n + 1}" for n in range(9)]
MANY = [f"c{n}" for n in range(100_000)]

FILES = {
    "missing file": other("nothing", "table.csv: must be a CSV or Parquet file; got no such file. Correct the path."),
    "folder": other(
        "folder",
        ("table.csv: must be a file; got a directory. Name a file in it, or a glob such as 'table.csv/*.csv'."),
    ),
    "dangling link": other("link", "table.csv: must be a CSV or Parquet file; got no such file. Correct the path."),
    "link to itself": other("loop", "table.csv: must be a CSV or Parquet file; got no such file. Correct the path."),
    "named pipe": other(
        "pipe", ("table.csv: must be a file that can be read twice; got a pipe or a device. Send it to '-'.")
    ),
    "path through a file": elsewhere(
        "config.yaml/t.csv", "config.yaml/t.csv: must be a CSV or Parquet file; got no such file. Correct the path."
    ),
    "path of 300 letters": elsewhere(
        "a" * 300,
        (
            "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
            "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
            "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
            "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa: must be a CSV or Parquet file; got no such file. "
            "Correct the path."
        ),
    ),
    "path with a newline": elsewhere(
        "a\\nb.csv", "a\\u000ab.csv: must be a CSV or Parquet file; got no such file. Correct the path."
    ),
    "path with an escape sequence": elsewhere(
        "a\\e[2Jb.csv", "a\\u001b[2Jb.csv: must match a file; got none. Correct the glob."
    ),
    "path with a NUL": elsewhere(
        "a\\0b.csv", "a\\u0000b.csv: must be a CSV or Parquet file; got no such file. Correct the path."
    ),
    "device": elsewhere(
        "/dev/zero", ("/dev/zero: must be a file that can be read twice; got a pipe or a device. Send it to '-'.")
    ),
    "file that cannot be read": elsewhere(
        "/proc/self/mem",
        ("/proc/self/mem: must be readable; got 'Input/output error'. Check the file and its permissions."),
    ),
    "glob without a file": elsewhere("parts/*.csv", "parts/*.csv: must match a file; got none. Correct the glob."),
    "glob whose second file lacks a column": elsewhere(
        "p*.csv",
        "p2.csv: no column 'a'; columns are 'x', 'region'. Correct the name or the table.",
        p1=GOOD,
        p2="x,region\n1,north\n",
    ),
    "glob whose second file is empty": elsewhere(
        "p*.csv", "p2.csv: must have a header line and rows; got an empty file. Check what wrote it.", p1=GOOD, p2=""
    ),
    "glob with a text in the second file": elsewhere(
        "p*.csv",
        (
            "p*.csv: column 'x' must be numbers; got 'q' in row 21 of the table. Clean the column, "
            "or give it kind: categorical."
        ),
        p1=GOOD,
        p2="x,region,a\nq,north,1\n",
    ),
}

STRUCTURE = {
    "empty file": table("", "table.csv: must have a header line and rows; got an empty file. Check what wrote it."),
    "blank lines": table(
        "\n \n\n", "table.csv: must have a header line and rows; got blank lines only. Check what wrote it."
    ),
    "byte-order mark only": table(
        b"\xef\xbb\xbf", "table.csv: must have a header line and rows; got blank lines only. Check what wrote it."
    ),
    "header only": table("x,region,a\n", "table.csv: must have rows; got the header only. Check what wrote it."),
    "byte-order mark and header only": table(
        b"\xef\xbb\xbfx,region,a\n", "table.csv: must have rows; got the header only. Check what wrote it."
    ),
    "no header": table(
        text(ROWS[1:]), "table.csv: column names must differ; got ['0'] more than once. Rename the columns."
    ),
    "no such columns": table(
        "x,Region,b\n1,north,2\n2,south,3\n",
        (
            "config.yaml:4:24: table.csv: no column 'region' (data.inputs); columns are 'x', "
            "'Region', 'b'. Did you mean 'Region'?"
        ),
        (
            "config.yaml:5:13: table.csv: no column 'a' (data.targets); columns are 'x', 'Region', "
            "'b'. Correct the name or the table."
        ),
    ),
    "names in another case": table(
        "X,REGION,A\n1,north,2\n",
        ("config.yaml:4:12: table.csv: no column 'x' (data.inputs); columns are 'X', 'REGION', 'A'. Did you mean 'X'?"),
        (
            "config.yaml:4:24: table.csv: no column 'region' (data.inputs); columns are 'X', "
            "'REGION', 'A'. Did you mean 'REGION'?"
        ),
        (
            "config.yaml:5:13: table.csv: no column 'a' (data.targets); columns are 'X', 'REGION', "
            "'A'. Did you mean 'A'?"
        ),
    ),
    "names with blanks": table(
        "x, region, a\n1, north, 2\n",
        (
            "config.yaml:4:24: table.csv: no column 'region' (data.inputs); columns are 'x', ' "
            "region', ' a'. Did you mean ' region'?"
        ),
        (
            "config.yaml:5:13: table.csv: no column 'a' (data.targets); columns are 'x', ' region', "
            "' a'. Did you mean ' a'?"
        ),
    ),
    "column twice": table(
        "x,region,a,a\n1,north,1,2\n2,north,3,4\n",
        "table.csv: column names must differ; got ['a'] more than once. Rename the columns.",
    ),
    "unused column twice": table(
        "x,region,a,q,q\n1,north,1,2,2\n2,north,3,4,4\n",
        "table.csv: column names must differ; got ['q'] more than once. Rename the columns.",
    ),
    "names all empty": table(
        ",,\n1,north,2\n", "table.csv: column names must differ; got [''] more than once. Rename the columns."
    ),
    "two empty names": table(
        "x,region,a,,\n1,north,2,,\n",
        "table.csv: column names must differ; got [''] more than once. Rename the columns.",
    ),
    "byte-order mark twice": table(
        b"\xef\xbb\xbf\xef\xbb\xbf" + GOOD.encode(),
        (
            "config.yaml:4:12: table.csv: no column 'x' (data.inputs); columns are '\\ufeffx', "
            "'region', 'a'. Did you mean '\\ufeffx'?"
        ),
    ),
    "too few cells": table(
        with_row("1,north"),
        (
            "table.csv:22: must have 3 cells, as the header has; got 2. Correct the line, or quote a "
            "cell that holds a delimiter."
        ),
    ),
    "too many cells": table(
        with_row("1,north,2,3"),
        (
            "table.csv:22: must have 3 cells, as the header has; got 4. Correct the line, or quote a "
            "cell that holds a delimiter."
        ),
    ),
    "delimiter at the end of each row": table(
        GOOD.replace("\n", ",\n").replace("a,", "a", 1),
        (
            "table.csv:2: must have 3 cells, as the header has; got 4. Correct the line, or quote a "
            "cell that holds a delimiter."
        ),
    ),
    "last line cut off": table(
        GOOD + "20,sou",
        (
            "table.csv:22: must have 3 cells, as the header has; got 2. Correct the line, or quote a "
            "cell that holds a delimiter."
        ),
    ),
    "decimal comma that is not quoted": table(
        with_row("7,5,north,3"),
        (
            "table.csv:22: must have 3 cells, as the header has; got 4. Correct the line, or quote a "
            "cell that holds a delimiter."
        ),
    ),
    "vertical bars": table(
        GOOD.replace(",", "|"),
        (
            "config.yaml:4:12: table.csv: no column 'x' (data.inputs); columns are 'x|region|a'. "
            "Correct the name or the table."
        ),
        (
            "config.yaml:4:24: table.csv: no column 'region' (data.inputs); columns are "
            "'x|region|a'. Did you mean 'x|region|a'?"
        ),
        (
            "config.yaml:5:13: table.csv: no column 'a' (data.targets); columns are 'x|region|a'. "
            "Correct the name or the table."
        ),
    ),
    "blanks as delimiters": table(
        GOOD.replace(",", " "),
        (
            "config.yaml:4:12: table.csv: no column 'x' (data.inputs); columns are 'x region a'. "
            "Correct the name or the table."
        ),
        (
            "config.yaml:4:24: table.csv: no column 'region' (data.inputs); columns are 'x region "
            "a'. Did you mean 'x region a'?"
        ),
        (
            "config.yaml:5:13: table.csv: no column 'a' (data.targets); columns are 'x region a'. "
            "Correct the name or the table."
        ),
    ),
    "semicolons in the header only": table(
        GOOD.replace(",", ";", 2),
        (
            "table.csv:2: must have 3 cells, as the header has; got 1. Correct the line, or quote a "
            "cell that holds a delimiter."
        ),
    ),
    "another delimiter than named": table(
        GOOD,
        (
            "config.yaml:4:12: table.csv: no column 'x' (data.inputs); columns are 'x,region,a'. "
            "Correct the name or the table."
        ),
        (
            "config.yaml:4:24: table.csv: no column 'region' (data.inputs); columns are "
            "'x,region,a'. Did you mean 'x,region,a'?"
        ),
        (
            "config.yaml:5:13: table.csv: no column 'a' (data.targets); columns are 'x,region,a'. "
            "Correct the name or the table."
        ),
        options="--set data.format.delimiter=;",
    ),
    "quote that does not end in the header": table(
        '"' + GOOD, "table.csv: must have rows; got the header only. Check what wrote it."
    ),
    "quote that does not end in a cell": table(
        with_row('1,"north,3', "2,south,4"),
        (
            "table.csv:22: must have 3 cells, as the header has; got 2. Correct the line, or quote a "
            "cell that holds a delimiter."
        ),
    ),
    "quoted cell of 200,000 letters": table(
        with_row(f'1,"{"n" * 200_000}",3'),
        ("table.csv:22: must be a CSV line; got 'field larger than field limit (131072)'. Check its quotes."),
    ),
    "line of 200,000 letters": table(
        "n" * 200_000,
        ("table.csv:1: must be a CSV line; got 'field larger than field limit (131072)'. Check its quotes."),
    ),
    "NUL in a cell": table(
        with_row("1,no\0rth,3"),
        (
            "table.csv:22: must be text; got a NUL character. The file may be half written, or in "
            "UTF-16: then name its encoding in data.format.encoding."
        ),
    ),
    "NUL in the header": table(
        GOOD.replace("region", "reg\0ion"),
        (
            "table.csv:1: must be text; got a NUL character. The file may be half written, or in "
            "UTF-16: then name its encoding in data.format.encoding."
        ),
    ),
    "NULs at the end, as after a crash": table(
        GOOD + "\0" * 600,
        (
            "table.csv:22: must be text; got a NUL character. The file may be half written, or in "
            "UTF-16: then name its encoding in data.format.encoding."
        ),
    ),
    "300 columns, none of them named": table(
        text([",".join(MANY[:300]), ",".join("1" * 300)]),
        (
            "config.yaml:4:12: table.csv: no column 'x' (data.inputs); columns are 'c0', 'c1', 'c2', "
            "'c3', 'c4', 'c5', ..., 'c299'. Correct the name or the table."
        ),
        (
            "config.yaml:4:24: table.csv: no column 'region' (data.inputs); columns are 'c0', 'c1', "
            "'c2', 'c3', 'c4', 'c5', ..., 'c299'. Correct the name or the table."
        ),
        (
            "config.yaml:5:13: table.csv: no column 'a' (data.targets); columns are 'c0', 'c1', "
            "'c2', 'c3', 'c4', 'c5', ..., 'c299'. Correct the name or the table."
        ),
    ),
    "100,000 columns and a short row": table(
        text([",".join(["x", "region", "a", *MANY]), "1,north,2"]),
        (
            "table.csv:2: must have 100003 cells, as the header has; got 3. Correct the line, or "
            "quote a cell that holds a delimiter."
        ),
    ),
}

ENCODINGS = {
    "UTF-16 without its mark": table(
        GOOD.encode("utf-16-le"),
        (
            "table.csv:1: must be text; got a NUL character. The file may be half written, or in "
            "UTF-16: then name its encoding in data.format.encoding."
        ),
    ),
    "UTF-16 with half a letter": table(
        b"\xff\xfe" + GOOD.encode("utf-16-le")[:-1],
        "table.csv: must be utf-16 text; got other bytes. Correct data.format.encoding.",
    ),
    "UTF-32": table(
        GOOD.encode("utf-32"),
        (
            "table.csv:1: must be text; got a NUL character. The file may be half written, or in "
            "UTF-16: then name its encoding in data.format.encoding."
        ),
    ),
    "Latin-1 in a cell": table(
        with_row("1,nörd,3").encode("latin-1"),
        (
            "table.csv:22: must be UTF-8 text; got byte 0xf6. Save it as UTF-8, or name its "
            "encoding, such as cp1252, in data.format.encoding."
        ),
    ),
    "Latin-1 in the header": table(
        GOOD.replace("region", "größe").encode("latin-1"),
        (
            "table.csv:1: must be UTF-8 text; got byte 0xf6. Save it as UTF-8, or name its encoding, "
            "such as cp1252, in data.format.encoding."
        ),
    ),
    "half of a letter at the end": table(
        GOOD.encode() + b"1,n\xc3",
        (
            "table.csv:22: must be UTF-8 text; got byte 0xc3. Save it as UTF-8, or name its "
            "encoding, such as cp1252, in data.format.encoding."
        ),
    ),
    "letters that ASCII lacks": table(
        with_row("1,nörd,3"),
        "table.csv: must be ascii text; got other bytes. Correct data.format.encoding.",
        options="--set data.format.encoding=ascii",
    ),
    "UTF-8 for UTF-16": table(
        GOOD,
        "table.csv: must be utf-16 text; got other bytes. Correct data.format.encoding.",
        options="--set data.format.encoding=utf-16",
    ),
}

OTHER_FILES = {
    "HTML page": table(
        "<!DOCTYPE html>\n<title>Log in</title>\n",
        "table.csv: must be a CSV or Parquet file; got an HTML page. Export it as CSV or Parquet.",
    ),
    "XML": table(
        "<?xml version='1.0'?>\n<table/>\n",
        "table.csv: must be a CSV or Parquet file; got an XML file. Export it as CSV or Parquet.",
    ),
    "JSON": table(
        '{"x": [1, 2]}\n', "table.csv: must be a CSV or Parquet file; got a JSON file. Export it as CSV or Parquet."
    ),
    "list of JSON": table(
        '[{"x": 1}]\n', "table.csv: must be a CSV or Parquet file; got a JSON file. Export it as CSV or Parquet."
    ),
    "pointer of Git LFS": table(
        "version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 9\n",
        (
            "config.yaml:4:12: table.csv: no column 'x' (data.inputs); columns are 'version "
            "https://git-lfs.github.com/spec/v1'. Correct the name or the table."
        ),
        (
            "config.yaml:4:24: table.csv: no column 'region' (data.inputs); columns are 'version "
            "https://git-lfs.github.com/spec/v1'. Correct the name or the table."
        ),
        (
            "config.yaml:5:13: table.csv: no column 'a' (data.targets); columns are 'version "
            "https://git-lfs.github.com/spec/v1'. Correct the name or the table."
        ),
    ),
    "PDF": table(
        "%PDF-1.7\n%\xe2\xe3\n",
        "table.csv: must be a CSV or Parquet file; got a PDF file. Export it as CSV or Parquet.",
    ),
    "Excel file": table(
        packed(("[Content_Types].xml", ""), ("xl/workbook.xml", "")),
        ("table.csv: must be a CSV or Parquet file; got an Excel or Office file. Export it as CSV or Parquet."),
    ),
    "OpenDocument": table(
        packed(("mimetype", "application/vnd.oasis"), ("content.xml", "")),
        ("table.csv: must be a CSV or Parquet file; got an OpenDocument file. Export it as CSV or Parquet."),
    ),
    "old Excel file": table(
        b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(600),
        ("table.csv: must be a CSV or Parquet file; got an old Excel file (xls). Export it as CSV or Parquet."),
    ),
    "SQLite": table(
        b"SQLite format 3\0" + bytes(600),
        ("table.csv: must be a CSV or Parquet file; got an SQLite data base. Export it as CSV or Parquet."),
    ),
    "picture": table(
        b"\x89PNG\r\n\x1a\n" + bytes(600),
        "table.csv: must be a CSV or Parquet file; got a picture. Export it as CSV or Parquet.",
    ),
    "HDF5": table(
        b"\x89HDF\r\n\x1a\n" + bytes(600),
        "table.csv: must be a CSV or Parquet file; got an HDF5 file. Export it as CSV or Parquet.",
    ),
    "Arrow file": table(
        b"ARROW1\0\0" + bytes(600),
        ("table.csv: must be a CSV or Parquet file; got an Arrow or Feather file. Export it as CSV or Parquet."),
    ),
    "NumPy file": table(
        b"\x93NUMPY\x01\0" + bytes(600),
        "table.csv: must be a CSV or Parquet file; got a NumPy file. Export it as CSV or Parquet.",
    ),
    "tar archive": table(tar(), "table.csv: must be a CSV or Parquet file; got a tar archive. Unpack it."),
    "two tables in a zip": table(
        packed(("a.csv", GOOD), ("b.csv", GOOD)),
        ("table.csv: must be a zip archive of one CSV; got 2 files in it. Unpack it, and name one or a glob of them."),
    ),
    "empty zip": table(
        packed(("folder/", "")),
        ("table.csv: must be a zip archive of one CSV; got 0 files in it. Unpack it, and name one or a glob of them."),
    ),
    "zip cut off": table(
        packed(("a.csv", GOOD))[:-30],
        (
            "table.csv: must be a complete zip file that opens; got 'File is not a zip file'. Check "
            "what wrote or sent it."
        ),
    ),
    "gzip cut off": table(
        gzip.compress(GOOD.encode())[:-30],
        (
            "table.csv: must be a complete gzip file; got 'Compressed file ended before the "
            "end-of-stream marker was reached'. Check what wrote or sent it."
        ),
    ),
    "gzip with a flipped bit": table(
        gzip.compress(GOOD.encode(), mtime=0)[:-6] + bytes(6),
        (
            "table.csv: must be a complete gzip file; got 'CRC check failed 0xf83e != 0xd9a1f83e'. "
            "Check what wrote or sent it."
        ),
    ),
    "bzip2 cut off": table(
        bz2.compress(GOOD.encode())[:-30],
        (
            "table.csv: must be a complete bzip2 file; got 'Compressed file ended before the "
            "end-of-stream marker was reached'. Check what wrote or sent it."
        ),
    ),
    "xz cut off": table(
        lzma.compress(GOOD.encode())[:-30],
        (
            "table.csv: must be a complete xz file; got 'Compressed file ended before the "
            "end-of-stream marker was reached'. Check what wrote or sent it."
        ),
    ),
    "zstd that is none": table(
        b"\x28\xb5\x2f\xfd" + b"none" * 9,
        (
            "table.csv: must be a complete zstd file; got 'ZSTD decompress failed: Unsupported frame "
            "parameter'. Check what wrote or sent it."
        ),
    ),
    "gzip in gzip": table(
        gzip.compress(gzip.compress(GOOD.encode())),
        "table.csv: must be a CSV or Parquet file; got a gzip file inside gzip. Unpack it.",
    ),
    "Excel file in gzip": table(
        gzip.compress(packed(("[Content_Types].xml", ""))),
        "table.csv: must be a CSV or Parquet file; got a zip file inside gzip. Unpack it.",
    ),
    "gzip of nothing": table(
        gzip.compress(b""), "table.csv: must have a header line and rows; got an empty file. Check what wrote it."
    ),
}

CELLS = {
    "text in a numeric column": cell(
        "oops",
        (
            "table.csv: column 'x' must be numbers; got 'oops' in row 21 of the table. Clean the "
            "column, or give it kind: categorical."
        ),
    ),
    "text in a target": table(
        with_row("1,north,n.a."),
        (
            "table.csv: column 'a' must be numbers; got 'n.a.' in row 21 of the table. Clean the "
            "column, or choose another target."
        ),
    ),
    "text far down a table": table(
        text([ROWS[0], *ROWS[1:] * 500, "1,north,2", "oops,north,3"]),
        (
            "table.csv: column 'x' must be numbers; got 'oops' in row 10002 of the table. Clean the "
            "column, or give it kind: categorical."
        ),
    ),
    "numbers with a decimal comma": table(
        with_row('"7,5",north,"1.234,5"', '"8,5",north,2'),
        (
            "table.csv: column 'x' must be numbers; got 2 cells such as '7,5', first in row 21 of "
            "the table. It looks like a number with a decimal comma; set data.format.decimal to ','."
        ),
        (
            "table.csv: column 'a' must be numbers; got '1.234,5' in row 21 of the table. It looks "
            "like a number with points between thousands; set data.format.decimal to ',' and "
            "data.format.thousands to '.'."
        ),
    ),
    "decimal comma in a table with semicolons": table(
        GOOD.replace(",", ";") + "7,5;north;3\n",
        (
            "table.csv: column 'x' must be numbers; got '7,5' in row 21 of the table. It looks like "
            "a number with a decimal comma; set data.format.decimal to ','."
        ),
    ),
    "decimal point where a comma is named": table(
        GOOD.replace(",", ";") + "7.5;north;3\n",
        (
            "table.csv: column 'x' must be numbers; got '7.5' in row 21 of the table. It looks like "
            "a number with a decimal point; set data.format.decimal to '.'."
        ),
        options="--set 'data.format.decimal=\",\"'",
    ),
    "gaps": table(
        "x,region,a\nnan,north,1\n2,,3\n3,south,NaN\n4,south,5\n",
        (
            "table.csv: column 'x' must be numbers without gaps; got 1 gap (1 'nan'), first in row 1 "
            "of the table. Set data.missing or clean the file."
        ),
        (
            "table.csv: column 'region' must be labels without gaps; got 1 empty cell, first in row "
            "2 of the table. Set data.missing or clean the file."
        ),
        (
            "table.csv: column 'a' must be numbers without gaps; got 1 gap (1 'NaN'), first in row 3 "
            "of the table. Set data.missing to drop, or clean the file."
        ),
    ),
    "more than one cell": table(
        with_row("inf,north,n.a.", "oops,north,n.a.", "-inf,south,2", "none,north,1"),
        (
            "table.csv: column 'x' must be numbers; got 2 cells such as 'oops', first in row 22 of "
            "the table. Clean the column, or give it kind: categorical."
        ),
        (
            "table.csv: column 'x' must be finite numbers up to 1e+150; got 2 cells such as inf, "
            "first in row 21 of the table. Clean the file."
        ),
        (
            "table.csv: column 'a' must be numbers; got 2 cells such as 'n.a.', first in row 21 of "
            "the table. Clean the column, or choose another target."
        ),
    ),
    "infinity": table(
        with_row("inf,north,-inf"),
        ("table.csv: column 'x' must be finite numbers up to 1e+150; got inf in row 21 of the table. Clean the file."),
        ("table.csv: column 'a' must be finite numbers up to 1e+150; got -inf in row 21 of the table. Clean the file."),
    ),
    "number above the largest double": cell(
        "1e400",
        (
            "table.csv: column 'x' must be finite numbers up to 1e+150; got 1e400 in row 21 of the "
            "table. Clean the file."
        ),
    ),
    "number that is too large to square": cell(
        "1e200",
        (
            "table.csv: column 'x' must be finite numbers up to 1e+150; got 1e200 in row 21 of the "
            "table. Clean the file."
        ),
    ),
    "number of 500 digits": cell(
        "9" * 500,
        (
            "table.csv: column 'x' must be finite numbers up to 1e+150; got "
            "9999999999999999999999999999999999999999999999999999999999999999999999999999999999999999"
            "9999999999999999999999999999999999999999999999999999999999999999999999999999999999999999"
            "9999999999999999999999999999999999999999999999999999999999999999999999999999999999999999"
            "9999999999999999999999999999999999999999999999999999999999999999999999999999999999999999"
            "9999999999999999999999999999999999999999999999999999999999999999999999999999999999999999"
            "999999999999999999999999999999999999999999999999999999999999 in row 21 of the table. "
            "Clean the file."
        ),
    ),
    "hexadecimal": cell(
        "0x1A",
        (
            "table.csv: column 'x' must be numbers; got '0x1A' in row 21 of the table. It looks like "
            "a hexadecimal number; write plain digits, such as 1234.5."
        ),
    ),
    "underscores between digits": cell(
        "1_000",
        (
            "table.csv: column 'x' must be numbers; got '1_000' in row 21 of the table. It looks "
            "like a number with underscores; write plain digits, such as 1234.5."
        ),
    ),
    "blanks between digits": cell(
        "1 000",
        (
            "table.csv: column 'x' must be numbers; got '1 000' in row 21 of the table. It looks "
            "like a number with blanks between thousands; set data.format.thousands to ' '."
        ),
    ),
    "exponent without digits": cell(
        "1e",
        (
            "table.csv: column 'x' must be numbers; got '1e' in row 21 of the table. It looks like a "
            "number with a unit; write plain digits, such as 1234.5."
        ),
    ),
    "two signs": cell(
        "--5",
        (
            "table.csv: column 'x' must be numbers; got '--5' in row 21 of the table. Clean the "
            "column, or give it kind: categorical."
        ),
    ),
    "accountant's minus": cell(
        "(5)",
        (
            "table.csv: column 'x' must be numbers; got '(5)' in row 21 of the table. Clean the "
            "column, or give it kind: categorical."
        ),
    ),
    "minus at the end": cell(
        "5-",
        (
            "table.csv: column 'x' must be numbers; got '5-' in row 21 of the table. Clean the "
            "column, or give it kind: categorical."
        ),
    ),
    "percent": cell(
        "5%",
        (
            "table.csv: column 'x' must be numbers; got '5%' in row 21 of the table. It looks like a "
            "percentage; write plain digits, such as 1234.5."
        ),
    ),
    "currency": cell(
        "$5",
        (
            "table.csv: column 'x' must be numbers; got '$5' in row 21 of the table. It looks like "
            "an amount of money; write plain digits, such as 1234.5."
        ),
    ),
    "unit": cell(
        "5 kg",
        (
            "table.csv: column 'x' must be numbers; got '5 kg' in row 21 of the table. It looks like "
            "a number with a unit; write plain digits, such as 1234.5."
        ),
    ),
    "fraction": cell(
        "1/2",
        (
            "table.csv: column 'x' must be numbers; got '1/2' in row 21 of the table. Clean the "
            "column, or give it kind: categorical."
        ),
    ),
    "two points": cell(
        "1.2.3",
        (
            "table.csv: column 'x' must be numbers; got '1.2.3' in row 21 of the table. Clean the "
            "column, or give it kind: categorical."
        ),
    ),
    "Arabic digits": cell(
        "٣٤",
        (
            "table.csv: column 'x' must be numbers; got '٣٤' in row 21 of the table. It looks like a "
            "number with characters other than + - . and 0 to 9; write plain digits, such as 1234.5."
        ),
    ),
    "typographic minus": cell(
        "−5",
        (
            "table.csv: column 'x' must be numbers; got '−5' in row 21 of the table. It looks like a "
            "number with characters other than + - . and 0 to 9; write plain digits, such as 1234.5."
        ),
    ),
    "spreadsheet error": cell(
        "#DIV/0!",
        (
            "table.csv: column 'x' must be numbers; got '#DIV/0!' in row 21 of the table. Clean the "
            "column, or give it kind: categorical."
        ),
    ),
    "formula": cell(
        "=1+1",
        (
            "table.csv: column 'x' must be numbers; got '=1+1' in row 21 of the table. Clean the "
            "column, or give it kind: categorical."
        ),
    ),
    "time of day": cell(
        "12:30",
        (
            "table.csv: column 'x' must be numbers; got '12:30' in row 21 of the table. Clean the "
            "column, or give it kind: categorical."
        ),
    ),
    "date in a numeric column": cell(
        "2020-01-31",
        (
            "table.csv: column 'x' must be numbers; got '2020-01-31' in row 21 of the table. Clean "
            "the column, or give it kind: categorical."
        ),
    ),
    "less than": cell(
        "<0.5",
        (
            "table.csv: column 'x' must be numbers; got '<0.5' in row 21 of the table. Clean the "
            "column, or give it kind: categorical."
        ),
    ),
    "escape sequence in a cell": cell(
        "\x1b[31m5",
        (
            "table.csv: column 'x' must be numbers; got '\\x1b[31m5' in row 21 of the table. Clean "
            "the column, or give it kind: categorical."
        ),
    ),
    "mark that turns the direction of writing": cell(
        "\u202e5",
        (
            "table.csv: column 'x' must be numbers; got '\\u202e5' in row 21 of the table. Clean the "
            "column, or give it kind: categorical."
        ),
    ),
    "cell of 1000 letters": cell(
        "q" * 1000,
        (
            "table.csv: column 'x' must be numbers; got "
            "'qqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqq ... qqqqqqqqqqq' in row 21 "
            "of the table. Clean the column, or give it kind: categorical."
        ),
    ),
    "blank cell": cell(
        " ",
        (
            "table.csv: column 'x' must be numbers without gaps; got 1 empty cell, first in row 21 "
            "of the table. Set data.missing or clean the file."
        ),
    ),
    "one row": table(text(ROWS[:2]), "table.csv: must have at least 2 rows without gaps; got 1. Add rows."),
    "two rows, one without target": table(
        "x,region,a\n1,north,2\n2,north,\n",
        (
            "table.csv: column 'a' must be numbers without gaps; got 1 empty cell, first in row 2 of "
            "the table. Set data.missing to drop, or clean the file."
        ),
    ),
    "gaps in every row": table(
        "x,region,a\n,north,2\n1,north,\n2,,3\n",
        "table.csv: must have at least 2 rows without gaps; got 0. Add rows.",
        options="--set data.missing.kind=drop",
    ),
    "constant target": table(
        text(["x,region,a", *(f"{n},north,7.5" for n in range(5))]),
        "table.csv: column 'a' must vary; got 7.5 in every row. Choose another target.",
    ),
}

KINDS = {
    "zero in a log": typed(
        "  inputs: [t]\n  targets: [{column: a, transform: {kind: log}}]\n",
        [*NUMBERED, "9,0"],
        (
            "table.csv: column 'a' must be above 0 for its log transform; got 0 in row 10 of the "
            "table. Raise the shift, or choose yeo_johnson or identity."
        ),
    ),
    "outside the bounds of a logit": typed(
        "  inputs: [t]\n  targets: [{column: a, transform: {kind: logit, lower: 0, upper: 50}}]\n",
        NUMBERED,
        (
            "table.csv: column 'a' must lie strictly between 0 and 50 for its logit transform; got 2 "
            "cells such as 50, first in row 8 of the table. Widen the bounds, or choose yeo_johnson "
            "or identity."
        ),
    ),
    "day that does not exist": typed(
        "  inputs: [{column: t, kind: datetime}]\n  targets: [a]\n",
        ["2020-01-31,1", "2020-02-30,2", "2020-03-01,3"],
        (
            "table.csv: column 't' must be ISO 8601 dates such as 2024-01-31T12:00; got '2020-02-30' "
            "in row 2 of the table. Clean the column, or give it kind: categorical."
        ),
    ),
    "dates as people write them": typed(
        "  inputs: [{column: t, kind: datetime}]\n  targets: [a]\n",
        ["31/12/2020,1", "1/2/2021,2", "2021-01-01,5"],
        (
            "table.csv: column 't' must be ISO 8601 dates such as 2024-01-31T12:00; got 2 cells such "
            "as '31/12/2020', first in row 1 of the table. It looks like a date that begins with the "
            "day or the month; set data.format.dates to day_first or month_first."
        ),
    ),
    "dates with and without time zones": typed(
        "  inputs: [{column: t, kind: datetime}]\n  targets: [a]\n",
        ["2020-01-01T10:00:00Z,1", "2020-01-02T10:00:00,2", "2020-01-03T10:00:00Z,4"],
        (
            "table.csv: column 't' must have an offset from UTC in every time or in none; got none "
            "for '2020-01-02T10:00:00' in row 2 of the table, and one for 2 cells such as "
            "'2020-01-01T10:00:00Z', first in row 1 of the table. Write all alike, or set the "
            "column's timezone for those without."
        ),
    ),
    "number for a date": typed(
        "  inputs: [{column: t, kind: datetime}]\n  targets: [a]\n",
        NUMBERED,
        (
            "table.csv: column 't' must be ISO 8601 dates such as 2024-01-31T12:00; got 9 cells such "
            "as '0', first in row 1 of the table. Clean the column, or give it kind: categorical."
        ),
    ),
    "text for the hour": typed(
        "  inputs: [{column: t, kind: cyclic, period: 24}]\n  targets: [a]\n",
        [*NUMBERED, "noon,3"],
        (
            "table.csv: column 't' must be numbers; got 'noon' in row 10 of the table. Clean the "
            "column, or give it kind: categorical."
        ),
    ),
    "labels of a split that are none": typed(
        "  inputs: [t]\n  targets: [a]\n  split: {kind: column, column: t}\n",
        NUMBERED,
        (
            "table.csv: column 't' must say 'train', 'validation' or 'test' in every row; got '0', "
            "'1', '2', '3', '4', '5', ..., '8', first in row 1 of the table. Correct the labels, or "
            "choose another data.split."
        ),
    ),
    "split in time by texts": typed(
        "  inputs: [t]\n  targets: [a]\n  split: {kind: time, column: t}\n",
        [*NUMBERED, "later,3"],
        (
            "table.csv: column 't' must be numbers; got 'later' in row 10 of the table. Clean the "
            "column, or give it kind: categorical."
        ),
    ),
    "column of a group that is missing": typed(
        "  inputs: [t]\n  targets: [a]\n  split: {kind: group, column: g}\n",
        NUMBERED,
        (
            "config.yaml:6:32: table.csv: no column 'g' (data.split); columns are 't', 'a'. Correct "
            "the name or the table."
        ),
    ),
}

# Whether rows can be split, and whether an input varies over the training rows, shows with the split only.
SPLIT = {
    "two rows, split": Case(
        (TRAIN,),
        DATA,
        (
            (
                "table.csv: the split must leave at least 2 training rows; got 1 of 2. Lower "
                "data.split.test and data.split.validation, or add rows."
            ),
        ),
        {"table.csv": text(ROWS[:3])},
    ),
    "constant inputs": Case(
        (TRAIN,),
        DATA,
        (("table.csv: an input must vary over the training rows; got constant columns only. Add to data.inputs."),),
        {"table.csv": text(["x,region,a", *(f"1,north,{n}" for n in range(5))])},
    ),
    "one group": Case(
        (TRAIN,),
        DATA,
        (
            (
                "table.csv: column 'region' must have enough groups to train, validate and test; got 1. "
                "Lower data.split.test and data.split.validation, or choose another column."
            ),
        ),
        {
            "config.yaml": CONFIG.replace("[a]", "[a]\n  split: {kind: group, column: region}"),
            "table.csv": text(["x,region,a", *(f"{n},north,{n}" for n in range(9))]),
        },
    ),
}


def new(content: bytes | str, *lines: str, command: str = "predict run new.csv --out deep/out") -> Case:
    """Return the case of a table to predict or to judge by."""
    return Case((command,), DATA, lines, {"new.csv": content})


NEW = {
    "new: missing file": Case(
        ("predict run nothing.csv --out out",),
        DATA,
        ("nothing.csv: must be a CSV or Parquet file; got no such file. Correct the path.",),
    ),
    "new: empty file": new("", "new.csv: must have a header line and rows; got an empty file. Check what wrote it."),
    "new: missing column": new(
        "x,a,b\n1,2,3\n", "new.csv: no column 'region'; columns are 'x', 'a', 'b'. Correct the name or the table."
    ),
    "new: text in a numeric column": new(
        "x,region\n1,north\nzero,south\n",
        "new.csv: column 'x' must be numbers; got 'zero' in row 2 of the table. Clean the column.",
    ),
    "new: gaps": new(
        "x,region\n1,north\n,south\n2,\n",
        (
            "new.csv: column 'x' must be numbers without gaps; got 1 empty cell, first in row 2 of "
            "the table. Fill them, or leave those rows out."
        ),
        (
            "new.csv: column 'region' must be labels without gaps; got 1 empty cell, first in row 3 "
            "of the table. Fill them, or leave those rows out."
        ),
    ),
    "new: infinity": new(
        "x,region\n-inf,north\n",
        ("new.csv: column 'x' must be finite numbers up to 1e+150; got -inf in row 1 of the table. Clean the file."),
    ),
    "new: text in a target": new(
        "x,region,a,b\n1,north,2,two\n",
        "new.csv: column 'b' must be numbers; got 'two' in row 1 of the table. Clean the column.",
    ),
    "new: ragged row": new(
        "x,region\n1,north\n2\n",
        (
            "new.csv:3: must have 2 cells, as the header has; got 1. Correct the line, or quote a "
            "cell that holds a delimiter."
        ),
    ),
    "new: not UTF-8": new(
        b"x,region\n1,n\xf6rd\n",
        (
            "new.csv:2: must be UTF-8 text; got byte 0xf6. Save it as UTF-8, or name its encoding, "
            "such as cp1252, in data.format.encoding."
        ),
    ),
    "new: folder": Case(
        ("predict run f --out out",),
        DATA,
        ("f: must be a file; got a directory. Name a file in it, or a glob such as 'f/*.csv'.",),
        {"f/": ""},
    ),
    "new: column to keep is missing": new(
        "x,region\n1,north\n",
        ("new.csv: no column 'id' (--keep); columns are 'x', 'region'. Correct the name or the table."),
        command="predict run new.csv --out out --keep id",
    ),
    "new: column of a threshold is missing": new(
        "x,region\n1,north\n",
        ("new.csv: no column 'limit' (--threshold); columns are 'x', 'region'. Correct the name or the table."),
        command="predict run new.csv --out out --threshold a>@limit",
    ),
    "new: text in the column of a threshold": new(
        "x,region,limit\n1,north,low\n",
        ("new.csv: column 'limit' must be numbers; got 'low' in row 1 of the table. Clean the column."),
        command="predict run new.csv --out out --threshold a>@limit",
    ),
    "new: given target is missing": new(
        "x,region\n1,north\n",
        ("new.csv: no column 'a' (data.targets); columns are 'x', 'region'. Correct the name or the table."),
        command="predict run new.csv --out out --given a",
    ),
    "new: column of totals is missing": new(
        "x,region\n1,north\n",
        ("new.csv: no column 'site' (total_by); columns are 'x', 'region'. Correct the name or the table."),
        command="predict run new.csv --out out --total-by site",
    ),
    "new: outcomes are missing": new(
        "x,region\n1,north\n",
        "new.csv: no column 'a'; columns are 'x', 'region'. Correct the name or the table.",
        "new.csv: no column 'b'; columns are 'x', 'region'. Correct the name or the table.",
        command="evaluate run new.csv",
    ),
    "new: gap in an outcome": new(
        "x,region,a,b\n1,north,2,3\n1,south,2,\n1,north,,1\n",
        (
            "new.csv: column 'a' must be numbers without gaps; got 1 empty cell, first in row 3 of "
            "the table. Fill them, or leave those rows out."
        ),
        (
            "new.csv: column 'b' must be numbers without gaps; got 1 empty cell, first in row 2 of "
            "the table. Fill them, or leave those rows out."
        ),
        command="evaluate run new.csv",
    ),
    "new: text in an outcome": new(
        "x,region,a,b\n1,north,2,two\n",
        "new.csv: column 'b' must be numbers; got 'two' in row 1 of the table. Clean the column.",
        command="evaluate run new.csv",
    ),
    "new: nothing to evaluate": Case(
        ("evaluate run nothing.csv",),
        DATA,
        ("nothing.csv: must be a CSV or Parquet file; got no such file. Correct the path.",),
    ),
    "new: nothing to plot": Case(
        ("plot run nothing.csv --out pictures",),
        DATA,
        ("nothing.csv: must be a CSV or Parquet file; got no such file. Correct the path.",),
    ),
    "new: nothing to diagnose": Case(
        ("diagnose run nothing.csv",),
        DATA,
        ("nothing.csv: must be a CSV or Parquet file; got no such file. Correct the path.",),
    ),
    "new: text to diagnose": new(
        "x,region,a,b\n1,north,2,two\n",
        "new.csv: column 'b' must be numbers; got 'two' in row 1 of the table. Clean the column.",
        command="diagnose run new.csv",
    ),
    "new: nothing to explain": Case(
        ("explain run nothing.csv --out explained --quiet",),
        DATA,
        ("nothing.csv: must be a CSV or Parquet file; got no such file. Correct the path.",),
    ),
    "new: one row to explain": new(
        "x,region\n1,north\n",
        (
            "new.csv: expected at least two rows, as an input is taken from another one; got 1. Name "
            "a table with more rows."
        ),
        command="explain run new.csv --out explained --quiet",
    ),
    "new: text to explain": new(
        "x,region\n1,north\nzero,south\n",
        "new.csv: column 'x' must be numbers; got 'zero' in row 2 of the table. Clean the column.",
        command="explain run new.csv --out explained --quiet",
    ),
    "new: ragged row to explain": new(
        "x,region\n1,north\n2\n",
        (
            "new.csv:3: must have 2 cells, as the header has; got 1. Correct the line, or quote a "
            "cell that holds a delimiter."
        ),
        command="explain run new.csv --out e --quiet",
    ),
    "new: nothing to compare": Case(
        ("drift run nothing.csv",),
        DATA,
        ("nothing.csv: must be a CSV or Parquet file; got no such file. Correct the path.",),
    ),
    "new: header only, for drift": new(
        "x,region\n",
        "new.csv: expected at least one complete row; got none. Fill the gaps.",
        command="drift run new.csv",
    ),
    "new: text, for drift": new(
        "x,region\n1,north\nzero,south\n",
        "new.csv: column 'x' must be numbers; got 'zero' in row 2 of the table. Clean the column.",
        command="drift run new.csv",
    ),
    "new: missing column, for drift": new(
        "x\n1\n",
        "new.csv: no column 'region'; columns are 'x'. Correct the name or the table.",
        command="drift run new.csv",
    ),
    "new: empty folder, for drift": Case(
        ("drift run f",),
        DATA,
        (("f: must hold tables (.csv, .tsv, .parquet, .pq); got none. Name the files, or a quoted glob."),),
        {"f/": ""},
    ),
    "new: no tables for a batch": Case(
        ("batch run f --out out --executor serial",),
        DATA,
        (("f: must hold tables (.csv, .tsv, .parquet, .pq); got none. Name the files, or a quoted glob."),),
        {"f/": ""},
    ),
    "new: missing file for a batch": Case(
        ("batch run nothing.csv --out out --executor serial",),
        DATA,
        ("nothing.csv: must be a CSV or Parquet file; got no such file. Correct the path.",),
    ),
    "new: glob without a file for a batch": Case(
        ("batch run 'p*.csv' --out out --executor serial",),
        DATA,
        ("p*.csv: must match a file; got none. Correct the glob.",),
    ),
}


def init(content: bytes | str, *lines: str, options: str = "--target a") -> Case:
    """Return the case of a table for which `cde init` writes no configuration."""
    return Case((f"init new.csv {options} -o new.yaml",), DATA, lines, {"new.csv": content})


INIT = {
    "init: missing file": Case(
        ("init nothing.csv --target a -o new.yaml",),
        DATA,
        ("nothing.csv: must be a CSV or Parquet file; got no such file. Correct the path.",),
    ),
    "init: empty file": init("", "new.csv: must have a header line and rows; got an empty file. Check what wrote it."),
    "init: no such target": init(
        GOOD,
        "new.csv: no column 'A' (--target); columns are 'x', 'region', 'a'. Did you mean 'a'?",
        options="--target A",
    ),
    "init: labels as the target": init(
        GOOD,
        (
            "new.csv: column 'region' must be numbers; got 20 cells such as 'south', first in row 1 "
            "of the table. Clean the column, or choose another target."
        ),
        options="--target region",
    ),
    "init: one column": init("a\n1\n2\n3\n", "new.csv: no column is left as an input; got 'a'. Add a column."),
    "init: constant target": init(
        "x,a\n1,2\n2,2\n3,2\n",
        "new.csv: no column is left as an input; got 'x', 'a'. Add a column.",
        "new.csv: column 'x' counts the rows and is left out.",
    ),
    "init: column twice": init(
        "x,a,a\n1,2,3\n", "new.csv: column names must differ; got ['a'] more than once. Rename the columns."
    ),
    "init: not UTF-8": init(
        b"x,a\n1,\xff\n",
        (
            "new.csv:2: must be UTF-8 text; got byte 0xff. Save it as UTF-8, or name its encoding, "
            "such as cp1252, in data.format.encoding."
        ),
    ),
}

CASES: dict[str, Case] = FILES | STRUCTURE | ENCODINGS | OTHER_FILES | CELLS | KINDS | SPLIT | NEW | INIT
