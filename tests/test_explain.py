"""`cde explain`, and the same from Python."""

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
from cde_app.data.drawn import draw_held_out_rows, draw_table_rows
from cde_app.data.encoding import encode_columns
from cde_app.machine.streams import Stream, generator
from cde_app.runs.run import Run
from cde_app.trained_model import TrainedModel
from cde_app.workflow.explain import draw_rows_of, explain_run
from cde_app.workflow.scoring import table_to_judge_by
from tests.conftest import TrainedTiny

Cde = Callable[..., Any]
FEW = ("--rows", 12, "--repeats", 1, "--shares", 2, "--quiet")


@pytest.fixture(autouse=True)
def _elsewhere(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)


def contents(folder: Path) -> dict[str, bytes]:
    """The files of a folder whose bytes depend on nothing but the run and the table."""
    return {
        str(file.relative_to(folder)): file.read_bytes()
        for file in sorted(folder.rglob("*"))
        if file.suffix in (".csv", ".png")
    }


@pytest.fixture(scope="module")
def explained(tiny_run: TrainedTiny, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of an explanation of all rows of the run's table, in a file of other content."""
    folder = tmp_path_factory.mktemp("explained")
    table, out = folder / "all.csv", folder / "out"
    pd.read_csv(tiny_run.table, dtype=str)[["b", "a", "region", "x"]].to_csv(table, index=False)
    explain_run(
        tiny_run.run,
        table,
        out,
        groups={"all": ("x", "region")},
        thresholds=["a>0"],
        num_rows=12,
        num_repeats=1,
        num_shares=2,
        on_event=lambda event: None,
    )
    return out


def test_an_explanation_has_every_input_quantity_and_picture(explained: Path) -> None:
    pictures = [f"plots/{what}_{target}.png" for target in "ab" for what in ("curves", "importance", "shares")]
    assert sorted(contents(explained)) == sorted(["curves.csv", "importance.csv", "shares.csv", *pictures])
    result = json.loads((explained / "explain.json").read_text())
    assert (result["num_rows"], result["drawn_from"], result["scored"]) == (12, 120, True)
    assert set(result["columns"]) == {"x", "region", "all"}
    assert "rows were trained on" in result["warnings"][0]
    importance = pd.read_csv(explained / "importance.csv", keep_default_na=False)
    assert set(importance["target"]) == {"", "a", "b"}
    assert set(importance["quantity"]) == {"nlpd", "crps", "mean", "width", "entropy", "P(a>0)"}
    assert set(importance[importance["input"] == "all"]["donors"]) == {"any"}, "there are no others to be alike"
    curves = pd.read_csv(explained / "curves.csv")
    assert set(curves[curves["input"] == "region"]["value"]) == {"north", "south"}


def test_the_shares_in_the_file_add_up(explained: Path) -> None:
    shares = pd.read_csv(explained / "shares.csv")
    for _, own in shares.groupby(["row", "target", "quantity"]):
        assert own["base"].iloc[0] + own["share"].sum() == pytest.approx(own["value"].iloc[0], abs=1e-12)
    assert len(shares) == 2 * (2 * 2 + 1)  # rows; targets, mean and log sd, and the probability; the group alone plays


def test_the_same_from_python(explained: Path, tiny_run: TrainedTiny) -> None:
    frame = pd.read_csv(tiny_run.table, float_precision="round_trip")
    model, groups = cde_app.load(tiny_run.run), {"all": ["x", "region"]}
    found = model.explain(frame, groups, thresholds=["a>0"], rows=12, repeats=1, shares=2)
    written = json.loads((explained / "explain.json").read_text())
    assert list(found.sentences) == written["sentences"]
    assert [one.value for one in found.importance] == [one["value"] for one in written["importance"]]


def test_the_held_out_rows_are_explained_and_printed(line_run: TrainedTiny, cde: Cde) -> None:
    outcome = cde("explain", line_run.run, "--out", "out", *FEW[:-1])
    assert outcome.code == 0, outcome.err
    result = json.loads(Path("out/explain.json").read_text())
    assert (result["num_rows"], result["drawn_from"]) == (12, 16)
    assert all(sentence in outcome.out for sentence in result["sentences"])
    assert "y  taken from  mean [share]" in outcome.out
    assert "out/explain.json" in outcome.out
    lines = outcome.err.splitlines()
    begins = "[estimate] 12 of 16 rows, 1 inputs: about"
    assert [line.startswith(begins) for line in lines].index(True) < lines.index("[pictures]")
    printed = json.loads(cde("explain", line_run.run, "--out", "out", "--json", *FEW).out)
    assert {key: printed[key] for key in ("sentences", "importance", "curves")} == {
        key: result[key] for key in ("sentences", "importance", "curves")
    }


def test_of_the_own_table_the_held_out_rows_are_explained_wherever_it_is(line_run: TrainedTiny, cde: Cde) -> None:
    shutil.copy(line_run.table, "moved.csv")
    options = ("--rows", 12, "--repeats", 1, "--shares", 0, "--json", "--quiet")
    unnamed, moved = (cde("explain", line_run.run, *table, *options) for table in ((), ("moved.csv",)))
    warning = (
        "moved.csv has the content of the table that the run was trained on: the 16 of its 80 rows that were held out "
        "are used."
    )
    assert moved.err == f"warning: {warning}\n"
    found, expected = json.loads(moved.out), json.loads(unnamed.out)
    assert found | {"table": "", "warnings": []} == expected | {"table": ""}
    pd.concat([pd.read_csv(line_run.table, dtype=str)] * 2).to_csv("twice.csv", index=False)
    another = cde("explain", line_run.run, "twice.csv", *options)
    assert (json.loads(another.out)["drawn_from"], "content" in another.err) == (160, False), "the control"


def test_a_table_without_targets_has_no_costs(tiny_run: TrainedTiny, cde: Cde) -> None:
    pd.read_csv(tiny_run.table)[["region", "x"]].to_csv("inputs.csv", index=False)
    outcome = cde("explain", tiny_run.run, "inputs.csv", "--out", "out", "--rows", 4, "--shares", 0, "--quiet")
    assert outcome.code == 0, outcome.err
    result = json.loads(Path("out/explain.json").read_text())
    assert result["scored"] is False
    assert {one["measure"] for one in result["importance"]} == {"share", "change"}
    assert result["shares"]["rows"] == []


@pytest.mark.slow
def test_no_number_of_threads_changes_a_bit(line_run: TrainedTiny, cde_process: Cde, tmp_path: Path) -> None:
    written = []
    for threads in (1, 2):
        outcome = cde_process("explain", line_run.run, "--out", tmp_path / f"{threads}", "--threads", threads, *FEW)
        assert outcome.code == 0, outcome.err
        written.append(contents(tmp_path / f"{threads}"))
    assert written[0] == written[1]
    pd.read_csv(line_run.table, dtype=str).iloc[::-1].to_csv(tmp_path / "other.csv", index=False)
    outcome = cde_process("explain", line_run.run, tmp_path / "other.csv", "--out", tmp_path / "3", *FEW)
    assert contents(tmp_path / "3")["importance.csv"] != written[0]["importance.csv"], "the control: other rows"


def test_which_rows_are_drawn_does_not_depend_on_the_chunks(tiny_run: TrainedTiny) -> None:
    contract = TrainedModel.load(Run.open(tiny_run.run)).contract
    frame = pd.read_csv(tiny_run.table)
    whole = draw_table_rows(contract, [frame], 9, seed=3, source="t")
    pieces = draw_table_rows(contract, [frame[:7], frame[7:50], frame[50:]], 9, seed=3, source="t")
    np.testing.assert_array_equal(whole.cells, pieces.cells)
    assert whole.rows.tolist() == pieces.rows.tolist() == sorted(set(whole.rows.tolist()))
    assert whole.rows.tolist() != draw_table_rows(contract, [frame], 9, seed=4, source="t").rows.tolist()


def test_rows_that_lack_a_target_are_left_out_if_others_have_it(tiny_run: TrainedTiny) -> None:
    contract = TrainedModel.load(Run.open(tiny_run.run)).contract
    frame = pd.read_csv(tiny_run.table)
    frame.loc[5:, "b"] = np.nan
    drawn = draw_table_rows(contract, [frame], 50, seed=0, source="t")
    assert (drawn.rows.tolist(), drawn.num_rows, drawn.num_without_targets) == ([0, 1, 2, 3, 4], 5, 115)
    frame["b"] = np.nan
    drawn = draw_table_rows(contract, [frame], 50, seed=0, source="t")
    assert (drawn.targets, len(drawn.rows), drawn.num_without_targets) == (None, 50, 0)


def test_the_held_out_rows_are_those_of_the_scores(tiny_run: TrainedTiny) -> None:
    run = Run.open(tiny_run.run)
    model = TrainedModel.load(run)
    drawn, _, _ = draw_rows_of(run, model, None, 1000)
    with table_to_judge_by(run, model, None) as table:
        test = table.split.test
        order = np.argsort(table.rows[test])
        np.testing.assert_array_equal(encode_columns(model.contract, drawn.cells), table.inputs[test][order])
        np.testing.assert_array_equal(drawn.targets, table.targets[test][order])
        few = draw_held_out_rows(table, 5, seed=7)
    numbers = generator(7, Stream.EXPLAINED_ROWS).random(len(pd.read_csv(tiny_run.table)))
    assert few.rows.tolist() == sorted(sorted(drawn.rows.tolist(), key=lambda row: numbers[row])[:5])
    own = np.isin(drawn.rows, few.rows)
    np.testing.assert_array_equal(few.cells, drawn.cells[own])
    np.testing.assert_array_equal(few.targets, drawn.targets[own])
    assert (few.num_rows, few.num_without_targets) == (len(test), 0)


@pytest.mark.parametrize(
    ("options", "code", "message"),
    [
        (
            ("--group", "place"),
            2,
            "--group: expected NAME=A,B with inputs of the run; got 'place'. Write place=lat,long.",
        ),
        (("--group", "g=x,region", "--group", "g=x,region"), 2, "--group: expected every name once; got 'g' again."),
        (("--group", "g=x,regoin"), 2, "got 'regoin'. Did you mean 'region'?"),
        (
            ("--threshold", "a>@x"),
            2,
            "--threshold: expected numbers as limits, which are the same in every row; got ",
        ),
        (("--threshold", "c>1"), 2, "--threshold: expected"),
        (("--rows", "1"), 2, "--rows: expected at least 2; got 1."),
        (("--repeats", "0"), 2, "--repeats: expected at least 1; got 0."),
        (("--shares", "-1"), 2, "--shares: expected at least 0; got -1."),
    ],
)
def test_a_wrong_option_is_named_and_nothing_is_written(
    options: tuple[str, ...], code: int, message: str, tiny_run: TrainedTiny, cde: Cde
) -> None:
    outcome = cde("explain", tiny_run.run, "--out", "out", "--quiet", *options)
    assert (outcome.code, outcome.out) == (code, "")
    assert message in outcome.err
    assert not Path("out").exists()


def test_a_table_of_one_row_is_refused(tiny_run: TrainedTiny, cde: Cde) -> None:
    pd.read_csv(tiny_run.table)[:1].to_csv("one.csv", index=False)
    outcome = cde("explain", tiny_run.run, "one.csv", "--out", "out", "--quiet")
    assert outcome.code == 3
    assert "one.csv: expected at least two rows, as an input is taken from another one; got 1." in outcome.err
    assert not Path("out").exists()


def test_a_run_is_no_folder_for_an_explanation(tiny_run: TrainedTiny, cde: Cde) -> None:
    shutil.copytree(tiny_run.run, "run")
    outcome = cde("explain", tiny_run.run, "--out", "run", "--quiet")
    assert outcome.code == 6
    assert "run is a run; choose another --out." in outcome.err


def test_without_a_folder_it_is_printed_and_nothing_is_written(
    tiny_run: Any, cde: Any, tmp_path: Any, monkeypatch: Any
) -> None:
    monkeypatch.chdir(tmp_path)
    settings = ("explain", tiny_run.run, "--rows", 4, "--shares", 0, "--repeats", 1, "--quiet")
    printed = cde(*settings)
    assert printed.code == 0
    assert not list(tmp_path.iterdir())
    written = cde(*settings, "--out", "out")
    assert written.out.startswith(printed.out)
    assert "out/explain.json" in written.out
