"""What `cde check` reports and what `cde init` infers."""

from __future__ import annotations

import json
import tempfile
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from cde_app import config
from cde_app.cli.table_report import report_lines
from cde_app.data.check import TableReport, describe_table
from cde_app.data.infer import Inference, infer_data
from cde_app.data.readings import read_for_training
from cde_app.errors import DataError, SettingError
from cde_app.trees import to_tree


def table(num_rows: int = 1000, **columns: Any) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    return pd.DataFrame({"a": rng.normal(size=num_rows), "y": rng.normal(size=num_rows), **columns})


def settings_of(**blocks: Any) -> config.Config:
    data = {"path": "a.csv", "inputs": ["a"], "targets": ["y"], **blocks.pop("data", {})}
    return config.Config.model_validate({"schema_version": 1, "data": data, **blocks})


def describe(frame: pd.DataFrame, **blocks: Any) -> TableReport:
    return describe_frame(settings_of(**blocks), frame)


def describe_frame(settings: config.Config, frame: pd.DataFrame) -> TableReport:
    with tempfile.TemporaryDirectory() as folder:
        readings = read_for_training(settings.data, [frame], Path(folder) / "readings.npy", source="a.csv")
        return describe_table(settings, readings, source="a.csv")


def warning_of(report: TableReport) -> str:
    (warning,) = report.warnings
    return warning


# --- describe_table -----------------------------------------------------------------------------------------------


def test_a_good_table_has_counts_and_no_warnings() -> None:
    report = describe(table())
    assert report.warnings == ()
    assert (report.num_rows, report.num_train, report.num_validation, report.num_test) == (1000, 900, 0, 100)
    assert (report.num_features, report.num_duplicates) == (1, 0)
    assert [(column.name, column.role, column.kind) for column in report.columns] == [
        ("a", "input", "numeric"),
        ("y", "target", "numeric"),
    ]


def test_the_report_is_plain_json_and_readable_lines() -> None:
    frame = table(d=pd.date_range("2024-01-01", periods=1000).strftime("%Y-%m-%d"), c=["x", "y"] * 500)
    inputs = ["a", {"column": "d", "kind": "datetime"}, {"column": "c", "kind": "categorical"}]
    report = describe(frame, data={"inputs": inputs})
    assert json.loads(json.dumps(to_tree(report), allow_nan=False))["columns"][1]["minimum"] == "2024-01-01T00:00:00"
    lines = report_lines(report)
    assert lines[0] == "a.csv: 1000 rows; 900 train, 0 validation, 100 test; 9 features"
    assert lines[2] == "  input  d  datetime, 1000 distinct, 2024-01-01T00:00:00 to 2026-09-26T00:00:00"
    assert lines[3] == "  input  c  categorical, 2 distinct"
    assert lines[-1] == "  chosen when the training begins: transform of y, neighbours"
    assert lines[-2].startswith(
        "training: 4 x 700 steps of 256 rows, each on 810 of 900 training rows (90 are left out to judge it), about "
    )
    whole = describe(frame, data={"inputs": inputs}, training={"ensemble": 1})
    assert report_lines(whole)[-2].startswith("training: 1 x 700 steps of 256 rows, about ")


@pytest.mark.parametrize(
    ("values", "span"),
    [([1.0, 2.5], "1 to 2.5"), ([1e-12, 2e-12], "1e-12 to 2e-12"), ([1e9, 1e9 + 0.5], "1000000000 to 1000000000.5")],
)
def test_the_ends_of_a_range_are_told_apart(values: list[float], span: str) -> None:
    assert report_lines(describe(table(a=values * 500)))[1] == f"  input  a  numeric, 2 distinct, {span}"


def test_faults_of_the_table_are_raised() -> None:
    with pytest.raises(DataError, match="no column 'b'"):
        describe(table(), data={"inputs": ["b"]})


def test_a_target_that_is_constant_over_the_training_rows_is_refused() -> None:
    frame = table(y=[1.0] * 999 + [2.0], t=range(1000))
    with pytest.raises(DataError, match=r"a\.csv: column 'y': must vary over the training rows; got 1 in each"):
        describe(frame, data={"split": {"kind": "time", "column": "t"}})


def test_rows_with_gaps_that_are_dropped_are_counted() -> None:
    frame = table()
    frame.loc[[3, 5], "a"] = np.nan
    report = describe(frame, data={"missing": {"kind": "drop"}})
    assert report.num_kept == 998
    assert report.columns[0].num_gaps == 2
    assert warning_of(report) == "2 of 1000 rows have gaps and are left out (data.missing: drop)."


def test_repeated_rows_are_counted() -> None:
    frame = pd.concat([table(), table().head(20)], ignore_index=True)
    assert warning_of(describe(frame)) == (
        "20 rows repeat an earlier row in every input and target; if they are copies, the scores of the held-out rows "
        "are too optimistic."
    )


def test_a_target_with_atoms_is_to_be_judged_by_crps() -> None:
    report = describe(table(y=np.random.default_rng(1).integers(3, 9, 1000) / 2))
    atom = report.atoms[0]
    assert (atom.num_distinct, atom.rounding_step, atom.suspicious) == (6, 0.5, True)
    assert warning_of(report) == (
        "target 'y' is taken as rounded to steps of 0.5 (6 distinct values); its noise has at least the variance of "
        "that rounding, so that no density piles up on the values. Judge by CRPS, not by log density; set the target's "
        "rounding to another step, or to 0 for none."
    )
    target = {"column": "y", "rounding": 0}
    without = describe(table(y=np.random.default_rng(1).integers(3, 9, 1000) / 2), data={"targets": [target]})
    assert warning_of(without) == (
        f"target 'y' takes 6 distinct values (steps of 0.5), {atom.value:g} in {100 * atom.share:.1f} % of the "
        "rows; the density is unbounded there; judge by CRPS, not by log density."
    )


@pytest.mark.parametrize(("sign", "beyond"), [(1, "below"), (-1, "above")])
def test_a_heap_at_the_edge_of_a_target_is_told(sign: int, beyond: str) -> None:
    y = np.random.default_rng(1).gamma(2.0, 10.0, 1000)
    y[:610] = 0
    warnings = describe(table(y=sign * y)).warnings
    assert warnings[-1] == (
        f"target 'y' is exactly 0 in 61 % of the rows and never {beyond}: forecasts will have mass {beyond} 0; read it "
        "as mass at 0."
    )


def test_a_heap_that_others_surround_or_match_is_none_at_the_edge() -> None:
    y = np.random.default_rng(1).normal(size=1000)
    grades = np.random.default_rng(1).integers(1, 6, 1000)
    for values in (np.where(np.arange(1000) < 400, 0.0, y), grades, y):
        assert not any("mass" in warning for warning in describe(table(y=values)).warnings)


def test_one_frequent_value_in_a_continuous_target_is_an_atom() -> None:
    y = np.random.default_rng(1).normal(size=1000)
    y[:40] = 0
    atom = describe(table(y=y)).atoms[0]
    assert (atom.value, atom.share, atom.rounding_step, atom.suspicious) == (0, 0.04, None, True)


@pytest.mark.parametrize("unit", [0.25, 100.0, 0.01, 3.0, np.pi])
def test_the_rounding_step_is_found_where_most_rows_repeat_a_value(unit: float) -> None:
    random = np.random.default_rng(1)
    fine, coarse = (random.integers(-bound, bound, 1000) * unit for bound in (100, 2000))
    assert describe(table(y=fine)).atoms[0].rounding_step == pytest.approx(unit)
    assert describe(table(y=coarse)).atoms[0].rounding_step is None


def test_few_training_rows_are_reported() -> None:
    report = describe(table(30), data={"split": {"kind": "random", "test": 0}})
    assert report.warnings == (
        "there are few training rows (30); expect rough densities.",
        "there are no test rows; the densities will not be scored. Set data.split.test.",
    )


def test_few_test_rows_are_reported() -> None:
    assert warning_of(describe(table(400))) == (
        "there are few test rows (40); expect scores with large standard errors."
    )


def test_a_constant_input_is_reported() -> None:
    report = describe(table(b=[1] * 1000), data={"inputs": ["a", "b"]})
    assert warning_of(report) == "constant over the training rows and left out: 'b'."


def test_an_input_that_counts_the_rows_is_reported() -> None:
    report = describe(table(id=range(1000)), data={"inputs": ["a", "id"]})
    assert warning_of(report) == "input 'id' counts the rows; leave it out of data.inputs unless it means something."


def test_an_input_that_copies_a_target_is_reported() -> None:
    report = describe(table(b=3 * table()["y"] + 1), data={"inputs": ["a", "b"]})
    assert warning_of(report) == "input 'b' is almost a copy of target 'y'; is it known before the target?"


def test_many_labels_are_reported() -> None:
    frame = table(c=np.arange(1000) % 60)
    report = describe(frame, data={"inputs": ["a", {"column": "c", "kind": "categorical"}]})
    assert warning_of(report) == "input 'c' has 60 labels, a feature each; consider grouping them."


def test_held_out_rows_outside_the_training_range_are_reported() -> None:
    frame = table(t=np.linspace(0.1, 1, 1000))
    report = describe(frame, data={"inputs": ["a", "t"], "split": {"kind": "time", "column": "t"}})
    assert warning_of(report) == (
        "100 % of the held-out rows lie outside the range of the training rows or have labels unseen there; their "
        "densities are extrapolations."
    )


def test_the_cost_grows_with_steps_rows_and_inducing_inputs() -> None:
    report = describe(table())
    base, plan = report.cost, report.plan
    assert (len(plan.units), plan.max_steps, plan.batch_size) == (4, 700, 256)
    assert 15 < base.seconds < 60
    assert describe(table(), training={"max_steps": 3000}).cost.seconds > 1.5 * base.seconds
    assert describe(table(), training={"batch_size": "full"}).plan.batch_size == 810  # a member leaves out a tenth
    big = describe(table(), model={"output": {"structure": "joint", "num_inducing": 512}}).cost
    assert big.seconds > 1.5 * base.seconds
    assert big.memory_bytes > base.memory_bytes


@pytest.mark.parametrize(
    ("num_rows", "training", "expected"),
    [
        (600, {}, (4, 300, 256)),  # 540 rows to train, of which each of four leaves out 54
        (600, {"ensemble": 1}, (1, 700, 256)),
        (2222, {}, (2, 700, 256)),  # 2000, 200
        (6000, {}, (2, 700, 512)),  # 5400 rows to train, of which each of two leaves out 540
        (2300, {}, (2, 700, 256)),  # 2070, 207
        (6000, {"ensemble": 1}, (1, 700, 512)),
        (6000, {"calibration": {"enabled": False}, "early_stopping": {"enabled": False}}, (2, 1300, 512)),
    ],
)
def test_the_cost_is_of_the_rows_that_a_member_keeps(
    num_rows: int, training: dict[str, Any], expected: tuple[int, int, int]
) -> None:
    plan = describe(table(num_rows), training=training).plan
    assert (len(plan.units), plan.max_steps, plan.batch_size) == expected


def test_rows_that_validate_every_training_leave_it_alone() -> None:
    data = {"inputs": ["a"], "split": {"kind": "random", "validation": 0.1}}
    assert len(describe(table(6000), data=data).plan.units) == 1


def test_what_is_read_otherwise_than_one_may_think_is_told() -> None:
    cells = {"c": ["1.1", "1.10", "2", "NA"] * 250, "b": [2**53 + 1] + [2**53 + 2] * 999}
    inputs = ["a", "b", {"column": "c", "kind": "categorical"}]
    report = describe(table(**cells), data={"inputs": inputs, "missing": {"kind": "impute_with_indicator"}})
    assert report.warnings[:3] == (
        (
            "column 'b' has integers above 2^53, rounded to the nearest number of 53 bits, so that neighbours are not "
            "told apart: 9007199254740993 in row 1 of the table. If they are labels, give it kind: categorical; else "
            "subtract a constant from them."
        ),
        "column 'c' has 250 gaps (250 'NA'); a word that is a label must not be among data.format.gaps.",
        "column 'c' has labels that differ only in their spelling, such as '1.1' and '1.10'; they stay distinct.",
    )
    assert "  input  c  categorical, 3 distinct, 250 gaps ('NA')" in report_lines(report)


@pytest.mark.parametrize("kind", ["int64", "uint64", "Int64", "text", "decimal text", "decimals"])
def test_integers_that_become_equal_are_told_whatever_holds_them(kind: str) -> None:
    whole = [10**17 + 1 + number % 5 for number in range(1000)]  # the numbers there are 16 apart
    cells: Any = {
        "text": [str(value) for value in whole],
        "decimal text": [f"{value}.0" for value in whole],
        "decimals": [Decimal(value) for value in whole],
    }.get(kind, pd.Series(whole, dtype=None if kind not in ("int64", "uint64", "Int64") else kind))
    report = describe(table(b=cells), data={"inputs": ["a", "b"]})
    first = "100000000000000001.0" if kind == "decimal text" else "100000000000000001"
    assert report.warnings[:2] == (
        (
            "column 'b' has integers above 2^53, rounded to the nearest number of 53 bits, so that neighbours are not "
            f"told apart: 1000 cells such as {first}, first in row 1 of the table. If they are labels, give it kind: "
            "categorical; else subtract a constant from them."
        ),
        "constant over the training rows and left out: 'b'.",
    )
    labelled = describe(table(b=cells), data={"inputs": ["a", {"column": "b", "kind": "categorical"}]})
    assert labelled.columns[1].num_distinct == 5


def test_a_target_of_integers_that_become_equal_is_refused_for_that() -> None:
    with pytest.raises(DataError) as caught:
        describe(table(y=[10**17 + 1 + number % 5 for number in range(1000)]))
    assert caught.value.faults[0].endswith(
        "column 'y' must vary in the 53 bits of a number; got 1e+17 in every row, rounded from 1000 cells such as "
        "100000000000000001, first in row 1 of the table. Subtract a constant from them."
    )


def test_words_that_mean_a_gap_are_those_of_the_format() -> None:
    data = {"inputs": ["a", {"column": "c", "kind": "categorical"}], "format": {"gaps": ["-"]}}
    report = describe(table(c=["NA", "DE"] * 500), data=data)
    assert [(column.num_distinct, column.num_gaps) for column in report.columns] == [(1000, 0), (2, 0), (1000, 0)]
    with pytest.raises(DataError, match=r"labels without gaps; got 500 gaps \(300 '-', 200 empty\), first in row 1 of"):
        describe(table(c=["-", "NA", "-", "DE", "", "NA", "-", "DE", " ", "FR"] * 100), data=data)


# --- infer_data ---------------------------------------------------------------------------------------------------


def infer(targets: tuple[str, ...] = ("y",), **columns: Any) -> Inference:
    return infer_data(table(200, **columns), targets, path="a.csv")


def kinds_of(inference: Inference) -> dict[str, str]:
    return {column.column: column.kind for column in inference.data.inputs}


def test_kinds_are_inferred_from_the_cells() -> None:
    inference = infer(
        flag=[True, False] * 100,
        colour=["red", "blue"] * 100,
        day=pd.date_range("2024-01-01", periods=200).strftime("%Y-%m-%d"),
        stamp=pd.date_range("2024-01-01", periods=200),
        text_numbers=[str(i / 7) for i in range(200)],
    )
    assert kinds_of(inference) == {
        "a": "numeric",
        "flag": "numeric",
        "colour": "categorical",
        "day": "datetime",
        "stamp": "datetime",
        "text_numbers": "numeric",
    }
    assert [target.column for target in inference.data.targets] == ["y"]
    assert inference.remarks == (
        "the rows have dates; if you predict the future, set data.split to {kind: time, column: day}.",
    )


def test_what_is_inferred_is_a_valid_configuration() -> None:
    inference = infer(colour=["red", None] * 100)
    settings = config.Config(schema_version=1, data=inference.data)
    describe_frame(settings, table(200, colour=["red", None] * 100).assign(colour="red"))
    assert config.Data.model_validate(inference.data.model_dump()) == inference.data


@pytest.mark.parametrize(
    ("cells", "remark"),
    [
        (range(200), "column 'z' counts the rows and is left out."),
        (range(1, 201), "column 'z' counts the rows and is left out."),
        ([7] * 200, "column 'z' is constant and left out."),
        ([None] * 200, "column 'z' is empty and left out."),
        ([f"name {i}" for i in range(200)], "column 'z' has 200 labels in 200 rows and is left out."),
    ],
)
def test_columns_that_tell_nothing_are_left_out_with_a_remark(cells: Any, remark: str) -> None:
    inference = infer(z=cells)
    assert kinds_of(inference) == {"a": "numeric"}
    assert inference.remarks == (remark,)


def test_a_column_without_a_name_is_left_out() -> None:
    frame = table(200).assign(**{"": np.random.default_rng(2).normal(size=200)})
    inference = infer_data(frame, ("y",), path="a.csv")
    assert kinds_of(inference) == {"a": "numeric"}
    assert inference.remarks == ("a column without a name is left out.",)


def test_a_word_among_numbers_is_pointed_out() -> None:
    inference = infer(ph=[str(i % 40) for i in range(199)] + ["high"])
    assert kinds_of(inference)["ph"] == "categorical"
    assert inference.remarks == (
        (
            "column 'ph' is categorical because of 'high' in row 200 of the table, yet it is mostly numbers; "
            "clean it to make it numeric."
        ),
    )


def test_a_word_among_numbers_that_differ_is_named_as_the_cause() -> None:
    inference = infer(ph=[str(i) for i in range(0, 398, 2)] + ["high"])
    assert "ph" not in kinds_of(inference)
    assert inference.remarks == (
        (
            "column 'ph' is left out because of 'high' in row 200 of the table, yet it is mostly numbers; "
            "clean it to make it numeric."
        ),
    )


def test_many_labels_that_repeat_are_kept_with_a_remark() -> None:
    inference = infer(c=[f"label {i % 60}" for i in range(200)])
    assert kinds_of(inference)["c"] == "categorical"
    assert inference.remarks == ("column 'c' has 60 labels, a feature each; consider grouping them.",)


def test_a_column_that_says_train_and_test_becomes_the_split() -> None:
    inference = infer(part=["train", "train", "train", "test"] * 50)
    assert inference.data.split == config.ColumnSplit(column="part")
    assert kinds_of(inference) == {"a": "numeric"}


def test_gaps_in_inputs_are_imputed() -> None:
    inference = infer(b=[None, 1.0, 2.0, 3.0] * 50)
    assert inference.data.missing.kind == "impute_with_indicator"
    assert inference.remarks == ("gaps are imputed and marked by a feature of their own: 'b'.",)


def test_gaps_in_targets_are_dropped() -> None:
    inference = infer(y=[None, 1.0, 2.0, 3.0] * 50)
    assert inference.data.missing.kind == "drop"
    assert inference.remarks == ("50 rows with gaps are dropped, since targets have gaps: 'y'.",)


def test_faults_of_all_targets_are_reported_at_once() -> None:
    with pytest.raises(DataError) as caught:
        infer(("z", "word", "y", "y"), word=["low"] * 200)
    assert caught.value.faults == (
        "a.csv: no column 'z' (--target); columns are 'a', 'y', 'word'. Correct the name or the table.",
        (
            "a.csv: column 'word' must be numbers; got 200 cells such as 'low', first in row 1 of the table. "
            "Clean the column, or choose another target."
        ),
        "a.csv: column 'y' must be a target once; got it more than once. Name it once.",
    )


def test_a_table_of_targets_alone_is_refused() -> None:
    with pytest.raises(DataError, match=r"a\.csv: no column is left as an input; got 'a', 'y'. Add a column."):
        infer(("a", "y"))


# --- the model ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("model", "widths"),
    [
        ({"targets_model": "joint"}, None),
        ({"targets_model": "joint", "neighbours": {"enabled": True}}, "5, 5 and 2"),
        ({"targets_model": "joint", "layers": [{"num_gps": 1, "mean": {"kind": "pca"}}]}, "2, 1 and 2"),
        ({"targets_model": "chain"}, "3, 3 and 1"),
    ],
)
def test_the_identity_is_a_mean_where_every_model_is_as_wide_as_its_targets(
    model: dict[str, Any], widths: str | None
) -> None:
    frame = table(b=np.arange(1000.0), z=np.arange(1000.0) ** 2)
    blocks = {
        "data": {"inputs": ["a", "b"], "targets": ["y", "z"]},
        "model": {"output": {"structure": "additive", "mean": {"kind": "identity"}}, **model},
    }
    if widths is None:
        describe(frame, **blocks)
    else:
        with pytest.raises(SettingError, match=rf"^model\.output\.mean: identity needs .*; got {widths} with a\.csv\."):
            describe(frame, **blocks)


def test_the_report_names_the_models_of_a_chain() -> None:
    frame = table().assign(z=lambda frame: frame["y"] + 1)
    targets = [{"column": name, "transform": {"kind": "identity"}} for name in ("y", "z")]
    model = {"chain_order": ["z", "y"], "neighbours": {"enabled": False}}
    report = describe(frame, data={"targets": targets}, model=model)
    assert report_lines(report)[-1] == "  a chain of 2 models, 4 members each: 'z', 'y'"
