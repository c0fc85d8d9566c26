"""Runs that earlier versions have stored predict what they predicted then; trainings reach the same scores.

`tests/stored_runs/make.py` made the runs; those of format 4 and their predictions were made by a version that wrote it.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from cde_app.machine.storage import file_hash, read_arrays, write_arrays
from cde_app.runs.migrations import FORMAT_VERSION, OLDEST_VERSION, STEPS, migrate
from cde_app.runs.run import Run
from cde_app.trained_model import TrainedModel
from cde_app.trees import pack, to_tree
from tests.conftest import Outcome, needs_tensorflow
from tests.golden import RUNS, STORED, TOLERANCE, check_predictions, largest_difference, tables_in
from tests.storing import write_manifest

SCORE_TOLERANCES = {"chain": 1e-3, "conformal": 1e-6}
"""Of scores after 30 steps, about twenty and a thousand times what the kernels of another processor change: the inner
layer of the chain is trained in single precision (`FORM_PRECISION`), and the other model has none."""


def each_run(runs: list[Path]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("stored", runs, ids=[f"{path.parent.name}-{path.name}" for path in runs])


def runs_of(version: int) -> list[Path]:
    return [path for path in RUNS if path.parent.name == f"format_{version}"]


def predict(cde: Callable[..., Outcome], run: Path, out: Path) -> None:
    done = cde("predict", run, STORED / "new.csv", "--out", out, "--quiet")
    assert done.code == 0, done.err


def bytes_in(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@each_run(RUNS)
def test_a_stored_run_predicts_what_it_predicted_when_it_was_made(
    stored: Path, cde: Callable[..., Outcome], tmp_path: Path
) -> None:
    predict(cde, stored / "run", tmp_path / "out")
    check_predictions(tmp_path / "out", stored)


@each_run(runs_of(FORMAT_VERSION))
def test_a_change_of_a_hundred_millionth_is_found(stored: Path, cde: Callable[..., Outcome], tmp_path: Path) -> None:
    run, name = tmp_path / "run", "posterior/arrays.npz"
    shutil.copytree(stored / "run", run)
    arrays = read_arrays((run / name).read_bytes())
    write_arrays(run / name, {key: array * (1 + 1e-8) if "q_mu" in key else array for key, array in arrays.items()})
    manifest = json.loads((run / "manifest.json").read_text())
    manifest["outputs"][name] = file_hash(run / name)
    write_manifest(run, manifest)
    predict(cde, run, tmp_path / "out")
    found, golden = tables_in(tmp_path / "out")["summary.csv"], tables_in(stored / "predictions")["summary.csv"]
    assert largest_difference(found, golden) > 10 * TOLERANCE
    with pytest.raises(AssertionError, match="csv"):
        check_predictions(tmp_path / "out", stored)


@each_run(runs_of(FORMAT_VERSION))
def test_a_gap_in_any_column_is_found(stored: Path) -> None:
    for golden in tables_in(stored / "predictions").values():
        names = golden.select_dtypes("float").columns
        assert len(names)
        assert largest_difference(golden.copy(), golden) == 0.0
        for name in names:
            assert largest_difference(golden.assign(**{name: np.nan}), golden) == np.inf
            holed = golden.copy()
            holed.loc[0, name] = np.nan
            assert largest_difference(holed, golden) == largest_difference(golden, holed) == np.inf


@pytest.mark.parametrize("values", [[2.0], [0.0], [0.0, 0.0], [3.0, 3.0], [2.0, np.nan], [2.0, np.inf, -np.inf]])
def test_a_change_is_found_in_any_column(values: list[float]) -> None:
    golden = pd.DataFrame({"y": values})
    assert largest_difference(golden.copy(), golden) == 0.0
    assert largest_difference(golden + 1e-8, golden) > 10 * TOLERANCE
    assert largest_difference(golden.replace(values[0], np.inf), golden) == np.inf


@each_run(runs_of(FORMAT_VERSION))
def test_what_is_stored_today_has_the_form_of_the_stored_run(stored: Path) -> None:
    """If this fails, runs have another form: raise FORMAT_VERSION, as CONTRIBUTING.md says."""
    run = Run.open(stored / "run")
    model = TrainedModel.load(run)
    spec, arrays = pack(to_tree(model.predictor))
    assert json.loads(json.dumps(spec)) == run.read_json("posterior/spec.json")
    assert {name: array.tolist() for name, array in arrays.items()} == {
        name: array.tolist() for name, array in run.read_arrays("posterior/arrays.npz").items()
    }
    assert json.loads(json.dumps(to_tree(model.contract))) == run.read_json("columns.json")


def test_each_format_that_can_be_read_has_a_stored_run_and_a_step_to_the_next() -> None:
    formats = range(OLDEST_VERSION, FORMAT_VERSION + 1)
    assert {path.parent.name for path in RUNS} == {f"format_{version}" for version in formats}
    assert list(STEPS) == list(formats[:-1])


@each_run([runs_of(version)[0] for version in range(OLDEST_VERSION, FORMAT_VERSION + 1)])
def test_every_command_reads_a_stored_run_and_changes_nothing_in_it(
    stored: Path, cde: Callable[..., Outcome], tmp_path: Path
) -> None:
    run, table = stored / "run", STORED / "new.csv"
    before = bytes_in(run)
    for command in (
        ("verify", run),
        ("info", run),
        ("evaluate", run, table),
        ("diagnose", run, STORED / "table.csv"),
        ("compare", run, run),
        ("predict", run, table, "--out", tmp_path / "out"),
    ):
        done = cde(*command, "--quiet")
        assert done.code == 0, (command, done.err)
    assert bytes_in(run) == before


@each_run(runs_of(FORMAT_VERSION))
def test_a_run_of_format_4_whose_parts_have_their_kinds_already_stays_as_it_is(stored: Path) -> None:
    spec = json.loads((stored / "run/posterior/spec.json").read_text())
    assert migrate("posterior/spec.json", spec, version=4) == spec


def test_a_migration_leaves_what_it_reads_and_other_files_unchanged() -> None:
    content = (runs_of(4)[0] / "run/posterior/spec.json").read_text()
    spec = json.loads(content)
    assert migrate("posterior/spec.json", spec, version=4) != spec
    assert spec == json.loads(content)
    assert migrate("metrics.json", spec, version=4) is spec


@pytest.mark.parametrize("spec", [[], {}, {"factors": 3}, {"factors": [{}]}, {"factors": [[{"defence": None}]]}])
def test_a_run_that_is_not_of_the_form_of_its_format_is_refused(
    spec: Any, cde: Callable[..., Outcome], tmp_path: Path
) -> None:
    run, name = tmp_path / "run", "posterior/spec.json"
    shutil.copytree(runs_of(4)[0] / "run", run)
    (run / name).write_text(json.dumps(spec))
    manifest = json.loads((run / "manifest.json").read_text())
    manifest["outputs"][name] = file_hash(run / name)
    (run / "manifest.json").write_text(json.dumps(manifest))
    done = cde("predict", run, STORED / "new.csv", "--out", tmp_path / "out")
    assert done.code == 6
    assert f"{run / name}: expected the form of format 4; got another (" in done.err
    assert done.err.rstrip().endswith("Train the run again.")
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
@needs_tensorflow
@pytest.mark.parametrize("name", sorted(path.stem for path in STORED.glob("*.yaml")))
def test_a_training_reaches_the_scores_that_it_reached_before(
    name: str, cde: Callable[..., Outcome], tmp_path: Path
) -> None:
    golden = json.loads((STORED / "scores.json").read_text())[name]
    for file in (f"{name}.yaml", "table.csv"):
        shutil.copy(STORED / file, tmp_path)

    def scores(*options: str) -> dict[str, float]:
        out = tmp_path / f"run{len(options)}"
        done = cde("train", tmp_path / f"{name}.yaml", "--out", out, "--quiet", *options)
        assert done.code == 0, done.err
        return {score: json.loads((out / "metrics.json").read_text())[score]["value"] for score in golden}

    assert scores() == pytest.approx(golden, rel=0, abs=SCORE_TOLERANCES[name])
    other = scores("--set", "training.learning_rate=0.032")
    assert abs(other["nlpd"] - golden["nlpd"]) > SCORE_TOLERANCES[name]
