"""Compressed tables are read as what they hold; what is damaged or another kind of file is refused by name."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import re
import tarfile
import zipfile
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from cde_app.config import TableFormat
from cde_app.data import files
from cde_app.data.table import iter_table, read_table
from cde_app.errors import DataError

TEXT = "x,s\n" + "".join(f"{n},é{n}\n" for n in np.random.default_rng(0).permutation(5000))


def zipped(content: bytes, *names: str) -> bytes:
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as file:
        for name in names or ("a.csv",):
            file.writestr(name, content)
    return archive.getvalue()


def zstandard(content: bytes) -> bytes:
    return bytes(pa.Codec("zstd").compress(content, asbytes=True))


PACKED = {"gzip": gzip.compress, "bzip2": bz2.compress, "xz": lzma.compress, "zstd": zstandard, "zip": zipped}


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def fault_of(content: bytes) -> str:
    Path("a").write_bytes(content)
    with pytest.raises(DataError) as caught:
        read_table("a")
    return str(caught.value)


@pytest.mark.parametrize("kind", PACKED)
@pytest.mark.parametrize("text", [TEXT, 'x,s\n1,"a\nb"\n', "\ufeffx;s\r\n1;2\r\n"], ids=["plain", "quotes", "BOM"])
def test_a_compressed_csv_is_the_csv_it_holds(kind: str, text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    Path("a.csv").write_bytes(text.encode())
    packed = PACKED[kind](text.encode())
    Path("packed").write_bytes(packed)
    expected = read_table("a.csv").to_dict("list")
    assert read_table("packed").to_dict("list") == expected
    chunks = list(iter_table("packed", columns=["x"], chunk_rows=1000))
    assert [cell for chunk in chunks for cell in chunk["x"]] == expected["x"]
    monkeypatch.setattr("sys.stdin", SimpleNamespace(buffer=io.BytesIO(packed)))
    assert read_table("-").to_dict("list") == expected


def test_partitions_may_be_compressed_each_in_its_own_way() -> None:
    for number, (kind, pack) in enumerate(PACKED.items()):
        Path(f"p{number}.csv.{kind}").write_bytes(pack(f"x\n{number}\n".encode()))
    assert read_table("p*")["x"].tolist() == ["0", "1", "2", "3", "4"]


def test_several_streams_in_one_file_are_read_one_after_another() -> None:
    for kind in ("gzip", "bzip2", "xz", "zstd"):
        Path("a").write_bytes(PACKED[kind](b"x\n1\n") + PACKED[kind](b"2\n"))
        assert read_table("a")["x"].tolist() == ["1", "2"]


@pytest.mark.parametrize(
    ("kind", "damage"),  # Arrow's zstd has no checksum to find the other damage by
    [*((kind, "truncated") for kind in PACKED), *((kind, "corrupt") for kind in PACKED if kind != "zstd")],
)
def test_a_damaged_compressed_file_is_refused(kind: str, damage: str) -> None:
    packed = bytearray(PACKED[kind](TEXT.encode()))
    if damage == "truncated":
        del packed[len(packed) // 2 :]
    else:
        packed[len(packed) // 2] ^= 0xFF
    fault = fault_of(bytes(packed))
    expected = rf"a: must be a complete {kind} file( that opens)?; got .+\. Check what wrote or sent it\."
    assert re.fullmatch(expected, fault)


def test_the_faults_of_a_compressed_csv_have_their_lines() -> None:
    assert fault_of(gzip.compress(b"x,y\n1,2\n3\n")).startswith("a:3: must have 2 cells, as the header has; got 1.")
    assert fault_of(gzip.compress(b"x,y\n1,\xe9\n")).startswith("a:2: must be UTF-8 text; got byte 0xe9.")
    assert fault_of(gzip.compress(b"")) == (
        "a: must have a header line and rows; got an empty file. Check what wrote it."
    )


def workbook(name: str) -> bytes:
    return zipped(b"", name, "other")


def tarred() -> bytes:
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as file:
        file.addfile(tarfile.TarInfo("a.csv"))
    return archive.getvalue()


def parquet() -> bytes:
    file = io.BytesIO()
    pq.write_table(pa.table({"x": [1]}), file)
    return file.getvalue()


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        (workbook("[Content_Types].xml"), "got an Excel or Office file. Export it as CSV or Parquet."),
        (workbook("mimetype"), "got an OpenDocument file. Export it as CSV or Parquet."),
        (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1\0", "got an old Excel file (xls). Export it as CSV or Parquet."),
        (b"\x89HDF\r\n\x1a\n\0", "got an HDF5 file. Export it as CSV or Parquet."),
        (b"ORC\x08\x03", "got an ORC file. Export it as CSV or Parquet."),
        (b"ARROW1\0\0", "got an Arrow or Feather file. Export it as CSV or Parquet."),
        (b"SQLite format 3\0", "got an SQLite data base. Export it as CSV or Parquet."),
        (b'{"x": 1}', "got a JSON file. Export it as CSV or Parquet."),
        (b"<!DOCTYPE html>", "got an HTML page. Export it as CSV or Parquet."),
        (b"%PDF-1.7", "got a PDF file. Export it as CSV or Parquet."),
        (tarred(), "got a tar archive. Unpack it."),
        (gzip.compress(tarred(), mtime=0), "got a tar archive inside gzip. Unpack it."),
        (gzip.compress(parquet(), mtime=0), "got a Parquet file inside gzip. Unpack it."),
        (zipped(parquet()), "got a Parquet file inside zip. Unpack it."),
        (gzip.compress(gzip.compress(b"x\n1\n", mtime=0), mtime=0), "got a gzip file inside gzip. Unpack it."),
    ],
)
def test_a_file_of_another_kind_is_refused_by_name(content: bytes, fault: str) -> None:
    assert fault_of(content) == f"a: must be a CSV or Parquet file; {fault}"


def test_a_zip_archive_of_other_than_one_file_is_refused() -> None:
    assert fault_of(zipped(b"x\n1\n", "a.csv", "b.csv")) == (
        "a: must be a zip archive of one CSV; got 2 files in it. Unpack it, and name one or a glob of them."
    )


def test_an_archive_may_have_folders_and_what_macos_adds() -> None:
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as file:
        for name, content in (("t/", ""), ("t/a.csv", "x\n1\n"), ("__MACOSX/t/._a.csv", "?")):
            file.writestr(name, content)
    Path("a.zip").write_bytes(archive.getvalue())
    assert read_table("a.zip")["x"].tolist() == ["1"]


def test_an_encrypted_archive_is_refused() -> None:
    content = bytearray(zipped(b"x\n1\n"))
    for magic, place in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        content[content.index(magic) + place] |= 1  # the flag that says so
    assert fault_of(bytes(content)).startswith(
        "a: must be a complete zip file that opens; got \"File 'a.csv' is encrypted"
    )


@pytest.mark.parametrize("header", ["ORC,y", "BZh,y", "RDX3,y", "FEA1,CDF", "PK,y", "Rar!,y"])
def test_a_header_that_begins_as_another_kind_of_file_does_is_a_header(header: str) -> None:
    Path("a.csv").write_text(f"{header}\n1,2\n")
    assert read_table("a.csv").columns.tolist() == header.split(",")


def test_a_line_that_would_fill_the_memory_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "_LONGEST_LINE", 1 << 16)
    fault = "a: must have lines of fewer than 65536 characters; got a longer one. Check what wrote it."
    for start in (b"", b"x,y\n1,2\n"):
        assert fault_of(gzip.compress(start + b"0" * (1 << 20))) == fault


@pytest.mark.parametrize(
    ("encoding", "name"), [("utf-16", "auto"), ("utf-16-le", "utf-16-le"), ("cp1252", "cp1252"), ("utf-8", "UTF8")]
)
def test_a_csv_may_have_another_encoding(encoding: str, name: str) -> None:
    for pack in (bytes, gzip.compress):
        Path("a").write_bytes(pack("größe;s\n1;é\n".encode(encoding)))
        assert read_table("a", form=TableFormat(encoding=name)).to_dict("list") == {"größe": ["1"], "s": ["é"]}


def test_text_that_is_not_in_the_encoding_of_the_format_is_refused() -> None:
    Path("a").write_bytes(b"x\n1\n\x81")
    with pytest.raises(DataError) as caught:
        read_table("a", form=TableFormat(encoding="cp1252"))
    assert str(caught.value) == "a: must be cp1252 text; got other bytes. Correct data.format.encoding."


def test_a_delimiter_of_the_format_goes_before_what_the_header_has() -> None:
    Path("a").write_text("a,b|c\n1,5|2\n")
    assert read_table("a", form=TableFormat(delimiter="|")).to_dict("list") == {"a,b": ["1,5"], "c": ["2"]}
