"""`cde drift` on trained runs: what it reads, prints and refuses, and how often it is wrong."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from cde_app.runs.run import Run
from cde_app.simulators import SIMULATORS, Simulator, table_text
from cde_app.workflow.drift import drift_of
from cde_app.workflow.selftest import self_check
from tests.conftest import needs_tensorflow, train
from tests.storing import write_manifest


def tiny_table(seed: int, num_rows: int = 60) -> pd.DataFrame:
    """Draw rows of the distribution of `tiny_run`."""
    rng = np.random.default_rng(seed)
    x, region = rng.uniform(-2, 2, num_rows), rng.choice(["north", "south"], num_rows)
    a = np.sin(x) + 0.5 * (region == "south") + rng.choice([-0.6, 0.6], num_rows) + 0.1 * rng.normal(size=num_rows)
    return pd.DataFrame({"x": x, "region": region, "a": a, "b": np.exp(0.3 * x + 0.2 * rng.normal(size=num_rows))})


def test_a_clean_table_is_silent_and_passes_its_gates(cde: Callable[..., Any], tiny_run: Any, tmp_path: Path) -> None:
    tiny_table(5).to_csv(tmp_path / "new.csv", index=False)
    gates = ("--gate", "drift.inputs<=0", "--gate", "drift.outcomes<=0")
    done = cde("drift", tiny_run.run, tmp_path / "new.csv", *gates)
    assert (done.code, done.err) == (0, "")
    assert done.out.startswith("The inputs have not changed: in 2 columns of 60 rows")
    assert "\nThe outcomes follow the forecasts: nothing in 60 outcomes speaks against them.\n" in done.out
    assert "\nx            values   " in done.out


def test_a_gate_on_changed_inputs_fails_with_5(cde: Callable[..., Any], tiny_run: Any, tmp_path: Path) -> None:
    table = tiny_table(6)
    table["x"], table["region"] = table["x"] + 2, "west"
    table.drop(columns=["a", "b"]).to_csv(tmp_path / "new.csv", index=False)
    done = cde("drift", tiny_run.run, tmp_path / "new.csv", "--gate", "drift.inputs<0.1", "--quiet")
    assert done.code == 5
    assert done.err == f"error: {tmp_path}/new.csv: --gate: expected drift.inputs < 0.1; got 1.\n"
    assert "100 % of the rows have labels that no training row has: 'west'." in done.out
    assert "'x' has moved up" in done.out
    assert done.out.endswith("Whether the forecasts still hold can only be told from rows that have the targets too.\n")
    missing = cde("drift", tiny_run.run, tmp_path / "new.csv", "--gate", "drift.outcomes<0.1")
    assert missing.code == 5
    assert "expected drift.outcomes < 0.1; got no value." in missing.err


def test_json_has_every_number_and_an_unknown_gate_is_refused(
    cde: Callable[..., Any], tiny_run: Any, tmp_path: Path
) -> None:
    tiny_table(7).to_csv(tmp_path / "new.csv", index=False)
    found = json.loads(cde("drift", tiny_run.run, tmp_path / "new.csv", "--json").out)
    assert found["num_rows"] == 60
    assert set(found["columns"]) == {"x", "region"}
    assert set(found["outcomes"]["targets"]) == {"a", "b"}
    assert found["columns"]["x"]["above"].keys() == {"distance", "p_value", "changed"}
    keys = ["columns.x.above.distance<1", "columns.region.gaps.p_value>0", "outcomes.targets.a.evidence<9"]
    keys += ["columns.x.outside.share<=1", "outcomes.log_score.change>-99", "joint.distance<=1"]
    gates = [word for key in keys for word in ("--gate", key)]
    assert cde("drift", tiny_run.run, tmp_path / "new.csv", *gates).code == 0
    refused = cde("drift", tiny_run.run, tmp_path / "new.csv", "--gate", "drift.input<1")
    assert refused.code == 2
    assert refused.err == "error: --gate: expected a score; got 'drift.input'; did you mean 'drift.inputs'?\n"


def test_changed_outcomes_are_told_with_the_row_by_which_it_was_clear(
    cde: Callable[..., Any], tiny_run: Any, tmp_path: Path
) -> None:
    table = tiny_table(11, 300)
    table.loc[100:, "a"] += 20
    table.to_csv(tmp_path / "new.csv", index=False)
    done = cde("drift", tiny_run.run, tmp_path / "new.csv", "--gate", "drift.outcomes<0.1", "--level", "0.2")
    assert done.code == 5
    row = int(done.out.partition("The outcomes no longer follow the forecasts: row ")[2].split()[0])
    assert 100 < row < 300
    assert "'a' is higher than forecast" in done.out
    assert "The inputs have not changed" in done.out


def test_a_folder_is_one_table_in_the_order_of_its_names(
    cde: Callable[..., Any], tiny_run: Any, tmp_path: Path
) -> None:
    (tmp_path / "new").mkdir()
    whole = tiny_table(8)
    for name, part in (("b", whole[25:]), ("a", whole[:25])):
        part.to_csv(tmp_path / f"new/{name}.csv", index=False)
    whole.to_csv(tmp_path / "whole.csv", index=False)
    assert drift_of(tiny_run.run, tmp_path / "new", level=0.01) == drift_of(
        tiny_run.run, tmp_path / "whole.csv", level=0.01
    )


def test_tables_without_targets_do_not_silence_the_outcomes_of_the_others(
    cde: Callable[..., Any], tiny_run: Any, tmp_path: Path
) -> None:
    (tmp_path / "new").mkdir()
    whole = tiny_table(8)
    whole[:25].drop(columns="b").to_csv(tmp_path / "new/a.csv", index=False)
    whole[25:].to_csv(tmp_path / "new/b.csv", index=False)
    done = cde("drift", tiny_run.run, tmp_path / "new", "--json")
    assert json.loads(done.out)["outcomes"]["num_rows"] == 35
    assert done.err == (
        f"warning: the outcomes are those of the tables that have all targets; '{tmp_path}/new/a.csv' lacks a target.\n"
    )
    (tmp_path / "new/b.csv").unlink()
    done = cde("drift", tiny_run.run, tmp_path / "new", "--json")
    assert json.loads(done.out)["outcomes"] is None
    assert done.err == ""


def test_rows_that_were_trained_on_are_not_new(cde: Callable[..., Any], tiny_run: Any, tmp_path: Path) -> None:
    done = cde("drift", tiny_run.run, tiny_run.table, "--quiet")
    num_seen = len(np.load(tiny_run.run / "split.npz")["train"])
    assert num_seen > 20
    assert f"warning: {num_seen} of these " in done.err
    assert done.err.endswith(
        "rows were trained on: they are not new, and cannot show what has changed since. Name a table of other rows.\n"
    )


def test_what_is_accused_has_a_reservation_if_rows_depend_on_each_other(
    cde: Callable[..., Any], tiny_run: Any, tmp_path: Path
) -> None:
    reservation = "Rows that share 'region' or are close in it may be alike, but each of them counts here"
    table = tiny_table(6)
    run = tmp_path / "run"
    shutil.copytree(tiny_run.run, run)
    manifest = json.loads((run / "manifest.json").read_text())
    manifest["settings"]["data"]["split"] = {"kind": "group", "column": "region", "test": 0.2}
    write_manifest(run, manifest)
    table.to_csv(tmp_path / "clean.csv", index=False)
    table.assign(x=table["x"] + 2).to_csv(tmp_path / "moved.csv", index=False)
    assert reservation in cde("drift", run, tmp_path / "moved.csv").out
    assert reservation not in cde("drift", run, tmp_path / "clean.csv").out
    assert reservation not in cde("drift", tiny_run.run, tmp_path / "moved.csv").out


def test_gaps_are_a_change_and_no_error(tiny_run: Any, tmp_path: Path) -> None:
    table = tiny_table(9)
    table.loc[::2, "x"] = np.nan
    table.to_csv(tmp_path / "new.csv", index=False)
    found = drift_of(tiny_run.run, tmp_path / "new.csv", level=0.01)
    assert found["columns"]["x"]["gaps"]["changed"]
    assert "'x' is empty in 50 % of the rows (0 % in training)." in found["sentences"]
    assert found["outcomes"]["num_rows"] == 30


def test_a_run_without_reference_rows_uses_its_table_with_the_same_result(tiny_run: Any, tmp_path: Path) -> None:
    tiny_table(10).to_csv(tmp_path / "new.csv", index=False)
    run = old_run(tiny_run.run, tmp_path / "run")
    assert drift_of(run, tmp_path / "new.csv", level=0.01) == drift_of(tiny_run.run, tmp_path / "new.csv", level=0.01)


def test_without_reference_rows_and_without_its_table_a_run_says_what_to_do(
    cde: Callable[..., Any], tiny_run: Any, tmp_path: Path
) -> None:
    tiny_table(10).to_csv(tmp_path / "new.csv", index=False)
    run = old_run(tiny_run.run, tmp_path / "run")
    manifest = json.loads((run / "manifest.json").read_text())
    manifest["settings"]["data"]["path"] = str(tmp_path / "gone.csv")
    write_manifest(run, manifest)
    done = cde("drift", run, tmp_path / "new.csv")
    assert done.code == 6
    assert "expected reference rows to compare new rows with, or the table to draw them from" in done.err
    assert "gone.csv: expected the table that" in done.err
    assert done.err.endswith("got no such file. Put it back, or train again.\n")
    assert len(done.err.splitlines()) == 1


def old_run(run: Path, copy: Path) -> Path:
    """Return a copy of a run as an earlier version would have written it."""
    shutil.copytree(run, copy)
    (copy / "reference.npz").unlink()
    manifest = json.loads((copy / "manifest.json").read_text())
    del manifest["outputs"]["reference.npz"]
    write_manifest(copy, manifest)
    return copy


def test_a_run_keeps_inputs_of_training_rows_and_no_targets(tiny_run: Any) -> None:
    kept = Run.open(tiny_run.run).read_arrays("reference.npz")
    split = np.load(tiny_run.run / "split.npz")
    table = pd.read_csv(tiny_run.table)
    assert {name: array.shape for name, array in kept.items()} == {
        "inputs": (len(split["train"]), 2),
        "levels": (len(split["test"]), 3),
        "log_density": (len(split["test"]),),
    }
    assert kept["inputs"][:, 0] == pytest.approx(table["x"].to_numpy()[split["train"]], rel=1e-12)
    assert ((kept["levels"] >= 0) & (kept["levels"] <= 1)).all()


@pytest.mark.parametrize(("text", "code"), [("x\n1\n", 3), ("x,region\n", 3), ("x,region\none,north\n", 3)])
def test_a_table_that_cannot_be_compared_is_an_error_of_the_table(
    cde: Callable[..., Any], tiny_run: Any, tmp_path: Path, text: str, code: int
) -> None:
    (tmp_path / "new.csv").write_text(text)
    done = cde("drift", tiny_run.run, tmp_path / "new.csv")
    assert done.code == code
    assert done.err.startswith(f"error: {tmp_path}/new.csv: ")
    assert len(done.err.splitlines()) == 1


# --- a trained model against the distribution that its table is from ----------------------------------------------

NUM_NIGHTS = 200
QUICK = ("training.ensemble=1", "training.max_steps=150", "data.split.test=0.4")


@pytest.fixture(scope="module")
def known_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run on a table whose density is known, trained for a moment: it need not be right to be compared."""
    folder, simulator = tmp_path_factory.mktemp("known"), SIMULATORS["heteroscedastic"]
    (folder / "table.csv").write_text(table_text(simulator, *simulator.draw(500, 1)))
    (folder / "config.yaml").write_text("schema_version: 1\ndata: {path: table.csv, inputs: [x], targets: [y]}\n")
    settings = [word for setting in QUICK for word in ("--set", setting)]
    train(folder / "config.yaml", "--out", folder / "run", "--quiet", *settings)
    return folder / "run"


def night(
    run: Path,
    folder: Path,
    seed: int,
    *,
    level: float = 0.01,
    inputs: Callable[[np.ndarray], np.ndarray] = lambda x: x,
    lift: float = 0.0,
) -> dict[str, Any]:
    """Compare a night of 100 rows; the targets of changed inputs are drawn as before."""
    simulator: Simulator = SIMULATORS["heteroscedastic"]
    x = inputs(simulator.draw(100, seed)[0])
    y = simulator._draw_targets(np.random.default_rng(seed), x) + lift
    (folder / "new.csv").write_text(table_text(simulator, x, y))
    return dict(drift_of(run, folder / "new.csv", level=level)["drift"])


@pytest.mark.slow
def test_clean_nights_of_a_trained_run_are_accused_at_most_at_the_rate_that_is_stated(
    known_run: Path, tmp_path: Path
) -> None:
    """All nights share the reference rows; so the rate varies by more than a binomial one, and is bounded by eye."""
    level = 0.1
    accused = [any(night(known_run, tmp_path, 1000 + seed, level=level).values()) for seed in range(NUM_NIGHTS)]
    assert np.mean(accused) <= level + 4 * math.sqrt(level * (1 - level) / NUM_NIGHTS)


@pytest.mark.slow
def test_inputs_that_move_are_found_and_the_relation_is_not_blamed(known_run: Path, tmp_path: Path) -> None:
    nights = [night(known_run, tmp_path, 2000 + seed, inputs=lambda x: 0.6 * x + 0.8) for seed in range(20)]
    assert np.mean([found["inputs"] > 0 for found in nights]) >= 0.9
    assert np.mean([found["outcomes"] > 0 for found in nights]) <= 0.1


@pytest.mark.slow
def test_a_relation_that_changes_is_found_and_the_inputs_are_not_blamed(known_run: Path, tmp_path: Path) -> None:
    nights = [night(known_run, tmp_path, 3000 + seed, lift=0.5) for seed in range(20)]
    assert np.mean([found["outcomes"] > 0 for found in nights]) >= 0.9
    assert np.mean([found["inputs"] > 0 for found in nights]) <= 0.1


@needs_tensorflow
@pytest.mark.slow
def test_the_self_check_finds_the_score_that_it_states() -> None:
    found = self_check()
    assert found["passed"]
    assert found["expected"] > -1.0, "what a forecast without x scores is far outside the tolerance"
