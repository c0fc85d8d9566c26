"""The files of other forecasters: draws, quantiles and normals that are none, or do not match the table."""

from __future__ import annotations

from tests.bad_input.cases import DATA, USAGE, Case, text

TABLE = text(["a,b", *(f"{n},{n * n}" for n in range(6))])


def judged(kind: str, content: bytes | str, *lines: str, options: str = "") -> Case:
    """Return the case of a forecaster's file, judged by a table of six rows."""
    command = f"evaluate rows.csv --{kind} f.csv --out pictures {options}".strip()
    return Case((command,), DATA, lines, {"rows.csv": TABLE, "f.csv": content})


def draws(*rows: object, number: int = 20, value: str = "1.5") -> str:
    """Return as many draws of each row."""
    return text(["row,draw,a", *(f"{row},{draw},{value}" for row in rows for draw in range(1, number + 1))])


def normal(*cells: str, header: str = "row,a_mean,a_sd") -> str:
    """Return normals of rows."""
    return text([header, *cells])


CASES: dict[str, Case] = {
    "missing": Case(
        ("evaluate trained.csv --samples nothing.csv",),
        DATA,
        ("nothing.csv: must be a CSV or Parquet file; got no such file. Correct the path.",),
    ),
    "folder": Case(
        ("evaluate trained.csv --samples run",),
        DATA,
        ("run: must be a file; got a directory. Name a file in it, or a glob such as 'run/*.csv'.",),
    ),
    "missing table": Case(
        ("evaluate nothing.csv --normal table.csv",),
        DATA,
        ("nothing.csv: must be a CSV or Parquet file; got no such file. Correct the path.",),
    ),
    "run for a table": Case(
        ("evaluate run --normal table.csv",),
        DATA,
        ("run: must be a file; got a directory. Name a file in it, or a glob such as 'run/*.csv'.",),
    ),
    "two files": Case(
        ("evaluate rows.csv --samples f.csv --normal f.csv",),
        USAGE,
        ("--normal: expected one file of another forecaster; got --samples too.",),
    ),
    "run and table": Case(
        ("evaluate run trained.csv --samples f.csv",),
        USAGE,
        (("--samples: expected a table and no run, as in `cde evaluate DATA`; got run and trained.csv."),),
    ),
    "empty": judged("samples", "", "f.csv: must have a header line and rows; got an empty file. Check what wrote it."),
    "header only": judged(
        "samples", "row,draw,a\n", "f.csv: must have rows; got the header only. Check what wrote it."
    ),
    "ragged": judged(
        "samples",
        draws(1) + "2,1\n",
        (
            "f.csv:22: must have 3 cells, as the header has; got 2. Correct the line, or quote a "
            "cell that holds a delimiter."
        ),
    ),
    "not UTF-8": judged(
        "samples",
        draws(1).encode() + b"2,1,\xff\n",
        (
            "f.csv:22: must be UTF-8 text; got byte 0xff. Save it as UTF-8, or name its encoding, "
            "such as cp1252, in data.format.encoding."
        ),
    ),
    "damaged Parquet": judged(
        "samples",
        b"PAR1" + bytes(99),
        (
            "f.csv: must be a complete Parquet file; got 'Parquet magic bytes not found in footer. "
            "Either the file is corrupted or this is not a parquet file.'. Check what wrote it."
        ),
    ),
    "no rows named": judged(
        "samples",
        "draw,a\n" + "1,2\n" * 20,
        "f.csv: no column 'row'; columns are 'draw', 'a'. Correct the name or the table.",
    ),
    "no target": judged(
        "samples",
        draws(1).replace(",a", ",c", 1),
        (
            "f.csv: expected the columns row, draw and a column for each target, of targets that "
            "rows.csv has too; got 'row', 'draw', 'c'. Rename the columns."
        ),
    ),
    "a target of another table": judged(
        "samples",
        draws(1),
        "rows.csv: no column 'c' (--target); columns are 'a', 'b'. Correct the name or the table.",
        options="--target c",
    ),
    "a target that the file lacks": judged(
        "samples",
        draws(1),
        "f.csv: no column 'b'; columns are 'row', 'draw', 'a'. Correct the name or the table.",
        options="--target b",
    ),
    "row 0": judged(
        "samples",
        draws(0),
        (
            "f.csv: column 'row' must count the rows of rows.csv, from 1 to 6; got 0 in line 1. "
            "Forecast the rows of that table."
        ),
    ),
    "row 7 of 6": judged(
        "samples",
        draws(7),
        (
            "f.csv: column 'row' must count the rows of rows.csv, from 1 to 6; got 7 in line 1. "
            "Forecast the rows of that table."
        ),
    ),
    "row below zero": judged(
        "samples",
        draws(-1),
        (
            "f.csv: column 'row' must count the rows of rows.csv, from 1 to 6; got -1 in line 1. "
            "Forecast the rows of that table."
        ),
    ),
    "row of 20 digits": judged(
        "samples",
        draws(10**20),
        (
            "f.csv: column 'row' must count the rows of rows.csv, from 1 to 6; got 1e+20 in line 1. "
            "Forecast the rows of that table."
        ),
    ),
    "half a row": judged(
        "samples",
        draws(1.5),
        (
            "f.csv: column 'row' must count the rows of rows.csv, from 1 to 6; got 1.5 in line 1. "
            "Forecast the rows of that table."
        ),
    ),
    "row as a word": judged(
        "samples",
        draws("one"),
        (
            "f.csv: column 'row' must be numbers; got 20 cells such as 'one', first in row 1 of the "
            "table. Clean the column."
        ),
    ),
    "row without a number": judged(
        "samples",
        draws(""),
        (
            "f.csv: column 'row' must be numbers without gaps; got 20 empty cells, first in row 1 of "
            "the table. Fill them, or leave those rows out."
        ),
    ),
    "too few draws": judged(
        "samples", draws(1, 2, number=19), "f.csv: expected at least 20 draws of each row; got 19 of row 1. Draw more."
    ),
    "a draw missing": judged(
        "samples",
        draws(1, 2).rpartition("2,20")[0],
        "f.csv: expected at least 20 draws of each row; got 19 of row 2. Draw more.",
    ),
    "draw as a word": judged(
        "samples",
        draws(1, value="much"),
        (
            "f.csv: column 'a' must be numbers; got 20 cells such as 'much', first in row 1 of the "
            "table. Clean the column."
        ),
    ),
    "infinite draw": judged(
        "samples",
        draws(1, value="inf"),
        (
            "f.csv: column 'a' must be finite numbers up to 1e+150; got 20 cells such as inf, first "
            "in row 1 of the table. Clean the file."
        ),
    ),
    "gap in a draw": judged(
        "samples",
        draws(1, value=""),
        (
            "f.csv: column 'a' must be numbers without gaps; got 20 empty cells, first in row 1 of "
            "the table. Fill them, or leave those rows out."
        ),
    ),
    "draw too large to square": judged(
        "samples",
        draws(1, value="1e200"),
        (
            "f.csv: column 'a' must be finite numbers up to 1e+150; got 20 cells such as 1e200, "
            "first in row 1 of the table. Clean the file."
        ),
    ),
    "quantiles that decrease": judged(
        "quantiles",
        "row,a_q05,a_q95\n1,2,1\n",
        ("f.csv: the quantiles of a row must not decrease; got 2 at 0.05 and 1 at 0.95 for 'a' in row 1. Sort them."),
    ),
    "quantile of 100 %": judged(
        "quantiles",
        "row,a_q100\n1,2\n",
        "f.csv: column 'a_q100' must be a quantile between 0 and 100 %. Remove the column.",
    ),
    "quantile of 0 %": judged(
        "quantiles",
        "row,a_q0\n1,2\n",
        "f.csv: column 'a_q0' must be a quantile between 0 and 100 %. Remove the column.",
    ),
    "level twice": judged(
        "quantiles",
        "row,a_q50,a_q50.0\n1,2,2\n",
        "f.csv: expected each level once; got 'a_q50' and 'a_q50.0'. Remove one.",
    ),
    "column twice": judged(
        "quantiles",
        "row,a_q50,a_q50\n1,2,2\n",
        "f.csv: column names must differ; got ['a_q50'] more than once. Rename the columns.",
    ),
    "levels of one target only": judged(
        "quantiles",
        "row,a_q50,a_q90,b_q50\n1,1,2,3\n",
        (
            "f.csv: expected quantiles of the same levels for every target; got others for 'b' than "
            "for 'a'. Name one of them with --target."
        ),
    ),
    "text for a quantile": judged(
        "quantiles",
        "row,a_q50\n1,low\n",
        ("f.csv: column 'a_q50' must be numbers; got 'low' in row 1 of the table. Clean the column."),
    ),
    "another number of lines": judged(
        "quantiles",
        "a_q50\n1\n2\n",
        (
            "f.csv: expected a column 'row' that says which rows of rows.csv are forecast, or one "
            "line for each of its 6 rows; got 2 lines. Add the column."
        ),
    ),
    "row twice": judged(
        "quantiles",
        "row,a_q50\n1,2\n1,2\n",
        "f.csv: column 'row' must name each row once; got 1 again. Remove the copies.",
    ),
    "no quantiles": judged(
        "quantiles",
        "row,a\n1,2\n",
        (
            "f.csv: expected the columns row and columns such as y_q05, y_q50 and y_q95 for each "
            "target y of the table, of targets that rows.csv has too; got 'row', 'a'. Rename the "
            "columns."
        ),
    ),
    "sd of zero": judged(
        "normal",
        normal("1,2,0"),
        "f.csv: column 'a_sd' must be positive, and at least 1e-150; got 0 in row 1. Correct the file.",
    ),
    "negative sd": judged(
        "normal",
        normal("1,2,-1"),
        "f.csv: column 'a_sd' must be positive, and at least 1e-150; got -1 in row 1. Correct the file.",
    ),
    "infinite sd": judged(
        "normal",
        normal("1,2,inf"),
        ("f.csv: column 'a_sd' must be finite numbers up to 1e+150; got inf in row 1 of the table. Clean the file."),
    ),
    "no sd": judged(
        "normal",
        normal("1,2", header="row,a_mean"),
        "f.csv: no column 'a_sd'; columns are 'row', 'a_mean'. Correct the name or the table.",
    ),
    "variance for sd": judged(
        "normal",
        normal("1,2,3", header="row,a_mean,a_var"),
        ("f.csv: no column 'a_sd'; columns are 'row', 'a_mean', 'a_var'. Correct the name or the table."),
    ),
    "gaps in every outcome": Case(
        ("evaluate rows.csv --normal f.csv",),
        DATA,
        ("rows.csv: expected a value of every target in at least one row; got none. Fill the gaps.",),
        {"rows.csv": "a,b\n,1\n", "f.csv": normal("1,2,3")},
    ),
    "text in an outcome": Case(
        ("evaluate rows.csv --normal f.csv",),
        DATA,
        (("rows.csv: column 'a' must be numbers; got 'much' in row 1 of the table. Clean the column."),),
        {"rows.csv": "a\nmuch\n", "f.csv": normal("1,2,3")},
    ),
    "threshold of draws": Case(
        ("evaluate rows.csv --samples f.csv --threshold 'a>1'",),
        USAGE,
        ("--threshold: expected a run, whose probabilities are scored; got --samples.",),
    ),
    "gate on what draws lack": Case(
        ("evaluate rows.csv --samples f.csv --gate 'nlpd<1'",),
        USAGE,
        ("--gate: expected a score; got 'nlpd'; `cde evaluate RUN --json` shows the keys.",),
        {"rows.csv": TABLE, "f.csv": draws(1)},
    ),
    "gate that is none": Case(
        ("evaluate rows.csv --samples f.csv --gate crps",),
        USAGE,
        ("--gate: expected KEY>NUMBER, with >, >=, < or <=; got 'crps'.",),
    ),
}
