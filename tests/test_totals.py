"""`cde predict --total`, `--total-by` and `TrainedModel.total`: the same table, and what is said about its rows."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import cde_app
from cde_app.data import groups
from cde_app.errors import DataError
from tests.storing import write_manifest

Cde = Callable[..., Any]
COLUMNS = ["target", "statistic", "errors", "rows", "mean", "sd", "q05", "q25", "q50", "q75", "q95"]


@pytest.fixture(autouse=True)
def in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_the_command_and_python_give_the_same_totals(tiny_run: Any, cde: Cde) -> None:
    frame = pd.read_csv(tiny_run.table)
    outcome = cde("predict", tiny_run.run, tiny_run.table, "--out", "out", "--total", "--quiet")
    assert (outcome.code, outcome.out.splitlines()) == (0, ["out/summary.csv", "out/samples.csv", "out/totals.csv"])
    written, ours = pd.read_csv("out/totals.csv"), cde_app.load(tiny_run.run).total(frame)
    assert list(written.columns) == list(ours.columns) == COLUMNS
    pd.testing.assert_frame_equal(written, ours, check_dtype=False)
    assert list(written["rows"]) == [120] * 8
    summary = pd.read_csv("out/summary.csv")
    means = written.query("statistic == 'mean' and errors == 'shared'")["mean"]
    np.testing.assert_allclose(means, summary[["a_mean", "b_mean"]].mean(), rtol=1e-9)


def test_totals_change_no_other_file(tiny_run: Any, cde: Cde) -> None:
    cde("predict", tiny_run.run, tiny_run.table, "--out", "with", "--total-by", "region")
    cde("predict", tiny_run.run, tiny_run.table, "--out", "without")
    assert not Path("without/totals.csv").exists()
    for name in ("summary.csv", "samples.csv"):
        assert Path("with", name).read_bytes() == Path("without", name).read_bytes()


@pytest.mark.parametrize("file_format", ["csv", "parquet"])
def test_groups_come_in_the_order_of_the_table_and_a_gap_is_one_of_them(
    file_format: str, tiny_run: Any, cde: Cde
) -> None:
    table = "x,region,team\n0.1,north,007\n0.2,south,b\n0.3,north,\n0.4,north,007\n"
    Path("new.csv").write_text(table)
    arguments = ("--total-by", "team", "--format", file_format, "--samples", 0, "--quantiles", "0.1")
    outcome = cde("predict", tiny_run.run, "new.csv", "--out", "out", *arguments)
    assert outcome.code == 0
    warning = "1 of 4 rows have a gap in column 'team' (total_by); they are a group of their own, with an empty cell"
    assert f"warning: {warning} in the column group." in outcome.err.splitlines()
    read = {"csv": lambda file: pd.read_csv(file, dtype={"group": str}), "parquet": pd.read_parquet}[file_format]
    totals = read(f"out/totals.{file_format}")
    assert list(totals.columns) == ["group", *COLUMNS[:6], "q10"]
    first = totals.drop_duplicates("group")
    assert [None if pd.isna(name) else name for name in first["group"]] == ["007", "b", None]
    assert list(first["rows"]) == [2, 1, 1]
    everything = cde_app.load(tiny_run.run).total(pd.read_csv("new.csv"), quantiles=[0.1])
    sums = totals.query("statistic == 'sum'").groupby(["target", "errors"])["mean"].sum()
    np.testing.assert_allclose(sums, everything.query("statistic == 'sum'")["mean"], rtol=1e-9)


def test_rows_that_are_in_no_total_are_told(tiny_run: Any, cde: Cde) -> None:
    Path("new.csv").write_text("x,region\n0.1,north\nbad,south\n0.3,north\n")
    outcome = cde("predict", tiny_run.run, "new.csv", "--out", "out", "--total", "--on-fault", "skip")
    assert outcome.code == 7
    warning = (
        "the totals are those of 2 of 3 rows: what was left out or skipped is in none of them; the column rows counts."
    )
    assert f"warning: {warning}" in outcome.err.splitlines()
    assert warning in json.loads(Path("out/manifest.json").read_text())["warnings"]
    assert set(pd.read_csv("out/totals.csv")["rows"]) == {2}


def with_settings(run: Path, **changed: Any) -> Path:
    """Copy a run and change settings of its prediction in the manifest."""
    shutil.copytree(run, "changed")
    manifest = json.loads(Path("changed/manifest.json").read_text())
    for name, value in changed.items():
        manifest["settings"]["predict"].pop(name)
        if value is not None:
            manifest["settings"]["predict"][name] = value
    write_manifest(Path("changed"), manifest)
    return Path("changed")


def test_the_settings_of_the_run_ask_for_totals_and_the_command_line_overrides_them(tiny_run: Any, cde: Cde) -> None:
    run = with_settings(tiny_run.run, total_by="region")
    for arguments, expected in (((), {"north", "south"}), (("--no-total",), None), (("--total-by", "x"), None)):
        outcome = cde("predict", run, tiny_run.table, "--out", "out", "--samples", 0, "--overwrite", *arguments)
        assert outcome.code == 0
        assert Path("out/totals.csv").exists() == (arguments != ("--no-total",))
        if expected:
            assert set(pd.read_csv("out/totals.csv")["group"]) == expected


def test_a_run_from_before_totals_predicts_without_them(tiny_run: Any, cde: Cde) -> None:
    run = with_settings(tiny_run.run, total=None, total_by=None)
    assert cde("predict", run, tiny_run.table, "--out", "out", "--samples", 0).code == 0
    assert not Path("out/totals.csv").exists()
    assert cde("predict", run, tiny_run.table, "--out", "out", "--samples", 0, "--total", "--overwrite").code == 0


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (
            ["--total-by", "regio"],
            3,
            "new.csv: no column 'regio' (total_by); columns are 'x', 'region'. Did you mean 'region'?",
        ),
        (["--total-by", ""], 2, "--total-by: expected a column of the table; got ''."),
        (
            ["--total-by", "region", "--no-total"],
            2,
            "--no-total: expected without --total-by; got --total-by 'region'. Leave one out.",
        ),
        (
            ["--total-by", "x"],
            3,
            "new.csv: column 'x' (total_by) must have at most 2 different values; got more. Choose one with fewer.",
        ),
    ],
)
def test_what_has_no_totals_is_said_in_one_line(
    arguments: list[str], code: int, message: str, tiny_run: Any, cde: Cde, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(groups, "MOST_GROUPS", 2)
    Path("new.csv").write_text("x,region\n0.1,north\n0.2,south\n0.3,north\n")
    outcome = cde("predict", tiny_run.run, "new.csv", "--out", "out", *arguments)
    assert (outcome.code, outcome.err.splitlines(), outcome.out) == (code, [f"error: {message}"], "")
    assert not Path("out").exists()


def test_a_column_of_lists_makes_no_groups(tiny_run: Any, cde: Cde) -> None:
    pd.DataFrame({"x": [0.1], "region": ["north"], "tags": [[1, 2]]}).to_parquet("new.parquet")
    outcome = cde("predict", tiny_run.run, "new.parquet", "--out", "out", "--total-by", "tags")
    assert outcome.code == 3
    assert "column 'tags' must be labels (total_by); got lists." in outcome.err


def test_a_table_without_a_row_has_no_total(tiny_run: Any, cde: Cde) -> None:
    Path("new.csv").write_text("x,region\nbad,north\n")
    outcome = cde("predict", tiny_run.run, "new.csv", "--out", "out", "--total", "--on-fault", "skip")
    assert outcome.code == 3
    assert "expected at least one row without faults; got none" in outcome.err
    model, frame = cde_app.load(tiny_run.run), pd.read_csv(tiny_run.table)
    with pytest.raises(DataError, match="^the frame: expected at least one row; got none"):
        model.total(frame[:0])
    with pytest.raises(DataError, match="^the frame: no column 'team'"):
        model.total(frame, by="team")
    with pytest.raises(ValueError, match=r"quantiles: expected numbers between 0 and 1; got \[1.5\]"):
        model.total(frame, quantiles=[1.5])


def test_a_table_of_a_header_only_has_a_file_of_a_header_only(tiny_run: Any, cde: Cde) -> None:
    Path("new.csv").write_text("x,region\n")
    outcome = cde("predict", tiny_run.run, "new.csv", "--out", "out", "--total-by", "region", "--samples", 0)
    assert outcome.code == 0
    assert Path("out/totals.csv").read_text() == ",".join(["group", *COLUMNS]) + "\n"


def test_totals_given_targets_are_refused(tiny_run: Any, cde: Cde) -> None:
    message = "--given and --total: expected one of them; got both. Totals do not know what is given; pass --no-total."
    outcome = cde("predict", tiny_run.run, tiny_run.table, "--out", "out", "--given", "a", "--total-by", "region")
    assert (outcome.code, outcome.err) == (2, f"error: {message}\n")
