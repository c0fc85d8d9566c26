"""Recognise the kind of a file by its first bytes, and read compressed files block by block."""

from __future__ import annotations

import zipfile
import zlib
from lzma import LZMAError
from pathlib import Path
from typing import IO, Literal, cast

from cde_app.errors import DataError

Compression = Literal["gzip", "bzip2", "xz", "zstd", "zip"]

NUM_FIRST_BYTES = 512
"""Bytes from which the kind of a file is recognised."""

DAMAGED = (OSError, EOFError, zlib.error, LZMAError, zipfile.BadZipFile)
"""What is raised when reading a file that is truncated or damaged."""

_COMPRESSIONS: dict[bytes, Compression] = {
    b"\x1f\x8b": "gzip",
    **{b"BZh%d1AY&SY" % size: "bzip2" for size in range(1, 10)},
    b"\xfd7zXZ\x00": "xz",
    b"\x28\xb5\x2f\xfd": "zstd",
    b"PK\x03\x04": "zip",
}
_BINARY = {
    b"\x89HDF\r\n\x1a\n": "an HDF5 file",
    b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1": "an old Excel file (xls)",
    b"PAR1": "a Parquet file",
    b"ARROW1": "an Arrow or Feather file",
    b"FEA1": "a Feather file",
    b"ORC": "an ORC file",
    b"Obj\x01": "an Avro file",
    b"SQLite format 3\x00": "an SQLite data base",
    b"\x93NUMPY": "a NumPy file",
    b"CDF\x01": "a NetCDF file",
    b"CDF\x02": "a NetCDF file",
    b"$FL2": "an SPSS file",
    b"<stata_dta>": "a Stata file",
    b"RDX": "an R file",
    b"X\n\x00\x00\x00": "an R file",
    b"MATLAB 5.0 MAT-file": "a MATLAB file",
    b"\x89PNG": "a picture",
    b"7z\xbc\xaf\x27\x1c": "a 7z archive",
    b"Rar!\x1a": "a RAR archive",
    b"\x04\x22\x4d\x18": "an LZ4 file",
    b"\x1f\x9d": "a file of compress",
    **{magic: f"a {name} file" for magic, name in _COMPRESSIONS.items()},
}
_MARKUP = {
    b"%PDF-": "a PDF file",
    b"<!DOCTYPE html": "an HTML page",
    b"<!doctype html": "an HTML page",
    b"<html": "an HTML page",
    b"<?xml": "an XML file",
    b'{"': "a JSON file",
    b'[{"': "a JSON file",
}
_LEAST_OF_TEXT = 9  # the tab
_EXPORT = "Export it as CSV or Parquet."


def compression_of(path: Path, start: bytes, source: str) -> Compression | None:
    """Recognise how a file is compressed.

    Args:
        path: the file.
        start: its first bytes.
        source: how errors name it.

    Raises:
        DataError: it is a zip archive that does not hold exactly one CSV, or cannot be opened.
    """
    found = next((name for magic, name in _COMPRESSIONS.items() if start.startswith(magic)), None)
    if found == "zip":
        try:
            with zipfile.ZipFile(path) as archive:
                names = _members(archive)
                for name in names[:1]:
                    archive.open(name).close()
        except (zipfile.BadZipFile, OSError, RuntimeError) as error:  # RuntimeError: encrypted, or packed in a new way
            raise DataError(
                f"{source}: must be a complete zip file that opens; got {str(error)!r}. Check what wrote or sent it."
            ) from None
        if "[Content_Types].xml" in names:
            raise DataError(f"{source}: must be a CSV or Parquet file; got an Excel or Office file. {_EXPORT}")
        if "mimetype" in names:
            raise DataError(f"{source}: must be a CSV or Parquet file; got an OpenDocument file. {_EXPORT}")
        if len(names) != 1:
            raise DataError(
                f"{source}: must be a zip archive of one CSV; got {len(names)} files in it. Unpack it, and name one "
                "or a glob of them."
            )
    return found


def check_is_text(start: bytes, source: str, compression: Compression | None) -> None:
    """Refuse a file of a known kind other than CSV.

    Args:
        start: the first bytes, decompressed.
        source: how errors name it.
        compression: the compression of the file.

    Raises:
        DataError: the file is of another kind; the message names it.
    """
    kinds = _MARKUP | (_BINARY if min(start) < _LEAST_OF_TEXT else {})  # a header may begin with ORC
    found = next((name for magic, name in kinds.items() if start.startswith(magic)), None)
    if start[257:262] == b"ustar":
        found = "a tar archive"
    if found is not None:
        within = f" inside {compression}" if compression else ""
        advice = "Unpack it." if compression or "archive" in found else _EXPORT
        raise DataError(f"{source}: must be a CSV or Parquet file; got {found}{within}. {advice}")


def open_plain(path: Path, compression: Compression | None) -> IO[bytes]:
    """Open a file, decompressed; reading may raise `DAMAGED`."""
    match compression:
        case "gzip":
            import gzip

            return cast("IO[bytes]", gzip.open(path))
        case "bzip2":
            import bz2

            return cast("IO[bytes]", bz2.open(path))
        case "xz":
            import lzma

            return cast("IO[bytes]", lzma.open(path))
        case "zstd":
            import io

            import pyarrow as pa

            return cast("IO[bytes]", io.BufferedReader(pa.input_stream(str(path), compression="zstd")))
        case "zip":
            archive = zipfile.ZipFile(path)
            return archive.open(_members(archive)[0])
        case _:
            return open(path, "rb")


def _members(archive: zipfile.ZipFile) -> list[str]:
    """List the files of an archive without those that macOS adds."""
    return [name for name in archive.namelist() if not name.endswith("/") and not name.startswith("__MACOSX/")]
