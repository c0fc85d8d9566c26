"""Reading and writing tables: formats, streaming, and one clear line for every fault of a file."""

from __future__ import annotations

import io
import os
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from cde_app.config import TableFormat
from cde_app.data import files, table
from cde_app.data.columns import read_numbers
from cde_app.data.table import TableWriter, iter_table, read_table, write_table
from cde_app.errors import DataError


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def fault_of(path: str, content: bytes | str | None = None, columns: list[str] | None = None) -> str:
    if content is not None:
        Path(path).write_bytes(content.encode() if isinstance(content, str) else content)
    with pytest.raises(DataError) as caught:
        read_table(path, columns=columns)
    return str(caught.value)


def test_a_csv_is_read_by_name_with_its_columns_in_the_order_asked_for() -> None:
    Path("a.csv").write_text("x,y,z\n1,2,a\n3,4,b\n")
    frame = read_table("a.csv", columns=["z", "x"])
    assert frame.columns.tolist() == ["z", "x"]
    assert frame["x"].tolist() == ["1", "3"]
    assert frame.index.tolist() == [0, 1]


def test_column_names_are_kept_exactly_and_a_byte_order_mark_is_not_part_of_one() -> None:
    Path("a.csv").write_bytes(b'\xef\xbb\xbfx, y,"a,b",\n1,2,3,4\n')
    assert read_table("a.csv").columns.tolist() == ["x", " y", "a,b", ""]


def test_the_cells_of_a_csv_are_text_as_it_stands() -> None:
    Path("a.csv").write_text('x,s\n007, NA\n,"1e5 "\n1.10,\n')
    assert read_table("a.csv").to_dict("list") == {"x": ["007", "", "1.10"], "s": [" NA", "1e5 ", ""]}


def test_the_integers_of_a_parquet_file_stay_exact_beside_gaps() -> None:
    pq.write_table(pa.table({"x": [2**53 + 1, None]}), "a.parquet")
    for frame in (read_table("a.parquet"), next(iter_table("a.parquet", chunk_rows=2))):
        assert frame["x"][0] == 2**53 + 1


def test_the_format_is_told_from_the_content() -> None:
    pq.write_table(pa.table({"x": [1, 2]}), "a.csv")
    assert read_table("a.csv")["x"].tolist() == [1, 2]


def test_a_parquet_file_that_pandas_wrote_with_an_index_keeps_its_columns_as_they_are() -> None:
    pd.DataFrame({"x": [1, 2]}, index=pd.Index(["p", "q"], name="id")).to_parquet("a.parquet")
    frame = read_table("a.parquet")
    assert sorted(frame.columns) == ["id", "x"]
    assert frame.index.tolist() == [0, 1]


@pytest.mark.parametrize("mark", [";", "\t"])
def test_semicolons_and_tabs_separate_cells_if_the_header_has_no_comma(mark: str) -> None:
    Path("a.csv").write_text(f"x{mark}y\n1{mark}2\n")
    assert read_table("a.csv").to_dict("list") == {"x": ["1"], "y": ["2"]}


def test_blank_lines_and_quoted_line_breaks_do_not_count_as_ragged_rows() -> None:
    Path("a.csv").write_text('\nx,y\n\n1,"two\nlines"\n   \n3,4\n')
    assert read_table("a.csv")["y"].tolist() == ["two\nlines", "4"]


def test_numbers_survive_a_csv_to_the_last_bit() -> None:
    values = np.random.default_rng(0).normal(size=200) * 10.0 ** np.arange(-100, 100)
    write_table(Path("a.csv"), {"x": values}, file_format="csv")
    np.testing.assert_array_equal(read_numbers(read_table("a.csv")["x"], TableFormat())[0], values)


def test_partitions_are_read_in_the_order_of_their_names_and_by_column_name() -> None:
    Path("p2.csv").write_text("y,x\n20,2\n")
    Path("p1.csv").write_text("x,y\n1,10\n")
    frame = read_table("p*.csv")
    assert frame.to_dict("list") == {"x": ["1", "2"], "y": ["10", "20"]}
    assert frame.index.tolist() == [0, 1]


@pytest.mark.parametrize("file_format", ["csv", "parquet"])
def test_chunks_put_together_equal_the_whole_table(file_format: str) -> None:
    for part in range(2):
        values = {"x": np.arange(7) + 7 * part, "s": [f"r{i}" for i in range(7)]}
        write_table(Path(f"p{part}"), values, file_format=file_format)  # type: ignore[arg-type]
    chunks = list(iter_table("p*", columns=["s", "x"], chunk_rows=3))
    assert max(len(chunk) for chunk in chunks) == 3
    pd.testing.assert_frame_equal(pd.concat(chunks), read_table("p*", columns=["s", "x"]), check_index_type=False)


def test_a_parquet_file_is_read_in_chunks_without_keeping_what_was_read() -> None:
    values = {"x": np.random.default_rng(0).normal(size=2_000_000)}
    pq.write_table(pa.table(values), "a.parquet", row_group_size=100_000)
    before = pa.total_allocated_bytes()
    most = max(pa.total_allocated_bytes() - before for _ in iter_table("a.parquet", chunk_rows=5_000))
    size = os.path.getsize("a.parquet")
    assert most < 0.25 * size
    whole = read_table("a.parquet")
    assert whole["x"].to_numpy().nbytes > 0.7 * size, "the control: a table in memory"


def test_a_faulty_partition_is_found_before_the_first_chunk() -> None:
    Path("p1.csv").write_text("x\n1\n")
    Path("p2.csv").write_text("x\n")
    with pytest.raises(DataError, match=r"p2\.csv: must have rows"):
        next(iter_table("p*.csv", chunk_rows=1))


def test_a_dash_reads_standard_input(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", SimpleNamespace(buffer=io.BytesIO(b"x\n1\n2\n")))
    assert read_table("-")["x"].tolist() == ["1", "2"]


def test_a_fault_of_standard_input_is_named_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", SimpleNamespace(buffer=io.BytesIO(b"")))
    assert fault_of("-").startswith("<stdin>: must have a header line and rows; got an empty file")


def test_a_missing_file_is_named() -> None:
    assert fault_of("no.csv") == "no.csv: must be a CSV or Parquet file; got no such file. Correct the path."


def test_an_absolute_path_below_the_working_directory_is_shown_relative(folder: Path) -> None:
    assert fault_of(str(folder / "no.csv")).startswith("no.csv: ")


def test_a_glob_without_a_match_is_named() -> None:
    assert fault_of("no*.csv") == "no*.csv: must match a file; got none. Correct the glob."


def test_a_directory_is_refused_with_the_glob_to_use() -> None:
    Path("d").mkdir()
    assert fault_of("d") == ("d: must be a file; got a directory. Name a file in it, or a glob such as 'd/*.csv'.")
    Path("d/a.parquet").touch()
    assert fault_of("d").endswith("such as 'd/*.parquet'.")
    os.mkfifo("pipe")
    assert fault_of("pipe") == ("pipe: must be a file that can be read twice; got a pipe or a device. Send it to '-'.")


def test_an_empty_file_is_refused() -> None:
    assert fault_of("a.csv", "") == ("a.csv: must have a header line and rows; got an empty file. Check what wrote it.")


def test_a_file_of_blank_lines_is_refused() -> None:
    assert "got blank lines only" in fault_of("a.csv", "\n  \n")


def test_a_header_without_rows_is_refused() -> None:
    assert fault_of("a.csv", "x,y\n") == "a.csv: must have rows; got the header only. Check what wrote it."


def test_a_parquet_file_without_rows_is_refused() -> None:
    pq.write_table(pa.table({"x": pa.array([], pa.int64())}), "a.parquet")
    assert "a.parquet: must have rows" in fault_of("a.parquet")


def test_repeated_column_names_are_refused_and_never_renamed() -> None:
    assert fault_of("a.csv", "x,y,x\n1,2,3\n") == (
        "a.csv: column names must differ; got ['x'] more than once. Rename the columns."
    )


@pytest.mark.parametrize(("row", "count"), [("5", 1), ("5,6,7", 3)])
def test_a_ragged_row_is_named_by_its_line(row: str, count: int) -> None:
    assert fault_of("a.csv", f'x,y\n1,"2\n2"\n\n{row}\n') == (
        f"a.csv:5: must have 2 cells, as the header has; got {count}. "
        "Correct the line, or quote a cell that holds a delimiter."
    )


def test_rows_with_one_cell_more_than_the_header_are_not_shifted_silently() -> None:
    assert fault_of("a.csv", "x,y\n1,2,3\n4,5,6\n").startswith("a.csv:2: must have 2 cells")


def test_text_that_is_not_utf8_is_named_by_its_line_and_byte() -> None:
    assert fault_of("a.csv", b"x\nok\ncaf\xe9\n") == (
        "a.csv:3: must be UTF-8 text; got byte 0xe9. Save it as UTF-8, or name its encoding, such as cp1252, in "
        "data.format.encoding."
    )


def test_a_broken_parquet_file_is_refused() -> None:
    assert fault_of("a.parquet", b"PAR1 and no more").startswith("a.parquet: must be a complete Parquet file; got ")


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads every file")
def test_an_unreadable_file_is_refused() -> None:
    Path("a.csv").write_text("x\n1\n")
    Path("a.csv").chmod(0)
    assert "a.csv: must be readable; got 'Permission denied'" in fault_of("a.csv")


def test_a_missing_column_names_the_column_and_offers_the_nearest() -> None:
    assert fault_of("a.csv", "acidity,quality\n1,2\n", columns=["qualty"]) == (
        "a.csv: no column 'qualty'; columns are 'acidity', 'quality'. Did you mean 'quality'?"
    )


def test_a_long_list_of_columns_is_abbreviated() -> None:
    header = ",".join(f"c{i}" for i in range(20))
    fault = fault_of("a.csv", f"{header}\n{header}\n", columns=["zebra"])
    assert "columns are 'c0', 'c1', 'c2', 'c3', 'c4', 'c5', ..., 'c19'. Correct the name or the table." in fault


def test_all_faults_of_all_partitions_are_reported_at_once() -> None:
    Path("p1.csv").write_text("x,y\n1,2\n")
    Path("p2.csv").write_text("x\n")
    Path("p3.csv").write_text("x,z\n1,2\n")
    with pytest.raises(DataError) as caught:
        read_table("p*.csv")
    assert len(caught.value.faults) == 3
    assert "p3.csv: must have the columns of p1.csv; got also ['z']. Make the files alike." in str(caught.value)


@pytest.mark.parametrize("file_format", ["csv", "parquet"])
def test_pieces_written_one_by_one_are_one_table(file_format: str) -> None:
    with TableWriter(Path("sub/out"), file_format=file_format) as writer:  # type: ignore[arg-type]
        writer.append({"row": [0, 1], "s": [None, None], "y": np.array([0.1, np.nan])})
        writer.append({"row": [2], "s": ["ü"], "y": np.array([1e-300])})
    frame = read_table("sub/out")
    assert read_numbers(frame["row"], TableFormat())[0].tolist() == [0, 1, 2]
    assert frame["s"].tolist()[2] == "ü"
    np.testing.assert_array_equal(read_numbers(frame["y"], TableFormat())[0], [0.1, np.nan, 1e-300])
    assert os.listdir("sub") == ["out"]


def test_a_failed_write_leaves_the_old_file_and_nothing_else(folder: Path) -> None:
    write_table(Path("out.csv"), {"x": [1]}, file_format="csv")
    with pytest.raises(RuntimeError), TableWriter(Path("out.csv"), file_format="csv") as writer:
        writer.append({"x": [2]})
        raise RuntimeError
    assert read_table("out.csv")["x"].tolist() == ["1"]
    assert os.listdir(folder) == ["out.csv"]


def test_a_column_that_changes_its_type_between_parquet_pieces_is_named() -> None:
    with pytest.raises(DataError) as caught, TableWriter(Path("o.parquet"), file_format="parquet") as writer:
        writer.append({"id": [1]})
        writer.append({"id": ["a"]})
    assert str(caught.value).startswith("o.parquet: column 'id' must keep one type for Parquet; got int64, then ")
    assert not Path("o.parquet").exists()


@pytest.mark.parametrize("cell", ["5\0abc", "\0", '"5\0"'])
def test_a_nul_in_a_cell_is_a_fault_with_its_line_and_ends_no_cell(tmp_path: Path, cell: str) -> None:
    path = tmp_path / "t.csv"
    path.write_bytes(f"x,y\n1,2\n{cell},4\n".encode())
    with pytest.raises(DataError, match=r"t\.csv:3: must be text; got a NUL character\. The file may be half written"):
        read_table(path)


def test_small_pieces_of_a_parquet_file_are_written_in_large_groups(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(table, "ROWS_PER_GROUP", 25)
    with TableWriter(Path("a.parquet"), file_format="parquet") as writer:
        for start in range(0, 70, 10):
            writer.append({"x": np.arange(start, start + 10)})
    groups = pq.ParquetFile("a.parquet").metadata
    assert [groups.row_group(n).num_rows for n in range(groups.num_row_groups)] == [30, 30, 10]
    assert read_table("a.parquet")["x"].tolist() == list(range(70))


SIMPLE, OTHER = b"x,y\n" + b"1,2\n" * 40, b"x,y\n" + b"1,2\n" * 20
COUNTED: dict[str, tuple[bytes, bool]] = {
    "plain": (SIMPLE, True),
    "without a last line break": (SIMPLE[:-1], True),
    "with a byte order mark and a quoted header": (b"\xef\xbb\xbf" + SIMPLE.replace(b"x,y", b'"x\n1","y"'), True),
    "with letters of several bytes": (SIMPLE + "ä,日本\n".encode(), True),
    "with blank lines before the header": (b"\n\n" + SIMPLE, True),
    "with quotes": (OTHER + b'"1,\n5",2\n', False),
    "with carriage returns": (OTHER + b"1,2\r\n", False),
    "with blank lines": (OTHER + b"\n\n", False),
    "with one column": (SIMPLE.replace(b"x,y", b"x").replace(b"1,2", b"1"), False),
}


@pytest.mark.parametrize(("content", "is_simple"), COUNTED.values(), ids=COUNTED.keys())
def test_rows_are_counted_at_once_where_every_line_is_one(
    content: bytes, is_simple: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "_BLOCK_BYTES", 30)
    Path("a.csv").write_bytes(content)
    counted: list[int | None] = []
    count = files._count_simple_rows
    monkeypatch.setattr(files, "_count_simple_rows", lambda *args: counted.append(count(*args)) or counted[-1])
    partition, num_rows = files._check_csv(Path("a.csv"), "a.csv", TableFormat(), None)
    assert counted == [num_rows if is_simple else None]
    monkeypatch.setattr(files, "_count_simple_rows", lambda *args: None)
    assert files._check_csv(Path("a.csv"), "a.csv", TableFormat(), None) == (partition, num_rows)
    assert len(read_table("a.csv")) == num_rows
