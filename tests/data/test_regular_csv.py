"""The quick look at a CSV agrees with the careful one, or leaves it the word."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest

from cde_app.config import TableFormat
from cde_app.data import files, regular_csv
from cde_app.data.regular_csv import count_regular
from cde_app.errors import DataError


def count(path: Path) -> tuple[tuple[str, ...], int] | None:
    with path.open("rb") as file:
        return count_regular(file, ",")


def look(content: bytes, path: Path) -> tuple[tuple[str, ...], int] | None:
    path.write_bytes(content)
    return count(path)


@pytest.mark.parametrize(
    ("content", "num_rows"),
    [
        (b"x,y\n1,2\n3,4\n", 2),
        (b"\xef\xbb\xbfx,y\r\n1,2\r\n\r\n3,4", 2),
        (b'\n"x",y\n1,\n', 1),
        (b"x,y\n", 0),
    ],
)
def test_a_regular_file_is_counted_without_the_csv_module(content: bytes, num_rows: int, tmp_path: Path) -> None:
    assert look(content, tmp_path / "a.csv") == (("x", "y"), num_rows)


@pytest.mark.parametrize(
    "content",
    [b"x,y\n1\n", b"x,y\n1,2,3\n", b'x,y\n"1",2\n', b"x,y\n1,2\r3,4\n", b"x,y\n\xff,2\n", b"x,y\n \n", b"x\n1\n", b""],
    ids=["short", "long", "quotes", "lone return", "not UTF-8", "blanks", "one column", "empty"],
)
def test_whatever_may_be_read_in_two_ways_gets_the_careful_look(content: bytes, tmp_path: Path) -> None:
    assert look(content, tmp_path / "a.csv") is None


def test_a_cell_that_the_csv_module_refuses_gets_the_careful_look(tmp_path: Path) -> None:
    long = b"1" * (csv.field_size_limit() + 1)
    assert look(b"x,y\n" + long + b",2\n", tmp_path / "a.csv") is None


def outcome(path: Path) -> object:
    try:
        return files._check_file(path, "a.csv", TableFormat())
    except DataError as error:
        return str(error)


@pytest.mark.parametrize("block_bytes", [1, 5, 1 << 22])
def test_both_looks_tell_the_same_of_any_file(
    block_bytes: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(regular_csv, "_BLOCK_BYTES", block_bytes)
    random, path, num_quick = np.random.default_rng(0), tmp_path / "a.csv", 0
    cells, ends = ["1", "a", "", "é", " "], ["\n", "\r\n"]
    flaws = [b'"', b"\r", b"\n", b"\xff", b",", b"\0", b" ", b'""', b"\xef\xbb\xbf"]
    for _ in range(400):
        lines = [",".join(random.choice(cells, 3)) for _ in range(random.integers(4))]
        content = random.choice(ends).join(["x,y,z", *lines, ""]).encode()
        if random.random() < 0.5:
            place = int(random.integers(len(content)))
            content = content[:place] + flaws[random.integers(len(flaws))] + content[place:]
        path.write_bytes(content)
        quick = outcome(path)
        num_quick += count(path) is not None
        with monkeypatch.context() as patch:
            patch.setattr(files, "count_regular", lambda *_: None)
            assert quick == outcome(path), content
    assert num_quick > 100, "the control: the quick look has had the word at all"
