"""Cross-validation: honest folds, each a run of its own; every row is forecast by the one that has not seen it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from cde_app import config
from cde_app.config_file import load_config
from cde_app.data.prepared import file_hashes, prepare_evaluation
from cde_app.data.split import Split, split_rows
from cde_app.errors import ConfigError, DataError, NumericalError, SettingError
from cde_app.evaluation.folds import over_folds
from cde_app.evaluation.scores import mean_with_error, standard_error
from cde_app.runs.run import Run
from cde_app.trained_model import TrainedModel
from cde_app.workflow.cross_validate import fold_files
from cde_app.workflow.out_of_fold import FoldRows, predict_out_of_fold
from cde_app.workflow.trainings import failure_of
from tests.conftest import PROJECT, needs_tensorflow
from tests.storing import with_distance_unit

Cde = Callable[..., Any]
NUM_ROWS, NUM_FOLDS = 45, 3
CONFIG = """\
schema_version: 1
data: {path: table.csv, inputs: [t], targets: [{column: y, transform: {kind: identity}}], id: [key, fold]}
model: {layers: [], neighbours: {enabled: false}, output: {num_inducing: 8, num_inducing_latent: 6}}
training: {max_steps: 25, ensemble: 1, warm_start: {max_steps: 5}}
predict: {num_components: 16, thresholds: ['y>50']}
"""


def write_study(folder: Path, settings: str = CONFIG) -> Path:
    """Write a table of rows in no order, with gaps in no column that is used, and a configuration."""
    rng = np.random.default_rng(4)
    t = rng.uniform(0, 10, NUM_ROWS)
    y = 50 + 10 * np.sin(t) + (1 + t) * rng.normal(size=NUM_ROWS)
    keys = [f"k{n}" for n in range(NUM_ROWS)]
    table = pd.DataFrame({"key": keys, "fold": "own", "t": t, "day": np.argsort(t), "g": np.arange(NUM_ROWS) % 7})
    table.assign(y=y).to_csv(folder / "table.csv", index=False)
    (folder / "c.yaml").write_text(settings)
    return folder / "c.yaml"


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cross-validation in three folds; tests that change it copy it."""
    from cde_app.cli import main

    folder = tmp_path_factory.mktemp("cv")
    write_study(folder)
    arguments = ["cv", str(folder / "c.yaml"), "--folds", str(NUM_FOLDS), "--out", str(folder / "out")]
    assert main([*arguments, "--executor", "serial", "--quiet"]) == 0
    return folder


# --- which rows -----------------------------------------------------------------------------------------------------

SPLITS: dict[str, config.RandomSplit | config.GroupSplit | config.TimeSplit] = {
    "random": config.RandomSplit(),
    "group": config.GroupSplit(column="g"),
    "time": config.TimeSplit(column="t"),
}


def frame_of(num_rows: int) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    return pd.DataFrame({"g": rng.integers(0, 11, num_rows), "t": rng.permutation(num_rows)})


def folds_of(kind: str, number: int, frame: pd.DataFrame, *, seed: int = 0, **settings: Any) -> list[Split]:
    def fold(k: int) -> config.Split:
        return SPLITS[kind].model_copy(update={"test": config.Fold(fold=k, of=number), **settings})

    return [split_rows(fold(k), frame, seed=seed, source="a.csv") for k in range(1, number + 1)]


@pytest.mark.parametrize("kind", SPLITS)
@pytest.mark.parametrize("number", [2, 5, 7])
def test_folds_are_disjoint_and_no_row_is_trained_on_and_held_out(kind: str, number: int) -> None:
    folds = folds_of(kind, number, frame_of(101), validation=0.2)
    tests = np.concatenate([fold.test for fold in folds])
    assert len(np.unique(tests)) == len(tests)
    for fold in folds:
        parts = np.concatenate([fold.train, fold.validation, fold.test])
        assert len(np.unique(parts)) == len(parts)
        assert all(len(part) for part in (fold.train, fold.validation, fold.test))
    if kind != "time":
        assert np.sort(tests).tolist() == list(range(101))
        assert all(len(fold.train) + len(fold.validation) + len(fold.test) == 101 for fold in folds)
    if kind == "random":
        assert {len(fold.test) for fold in folds} <= {101 // number, 101 // number + 1}


def test_folds_are_repeatable_and_depend_on_the_seed() -> None:
    first, again, other = (folds_of("random", 4, frame_of(40), seed=seed) for seed in (3, 3, 4))
    assert [fold.test.tolist() for fold in first] == [fold.test.tolist() for fold in again]
    assert [fold.test.tolist() for fold in first] != [fold.test.tolist() for fold in other]


def test_the_last_fold_is_the_share_that_is_held_out_otherwise() -> None:
    frame = frame_of(100)
    shares = config.RandomSplit(test=0.2, validation=0.1)
    by_share = split_rows(shares, frame, seed=1, source="a.csv")
    fold = folds_of("random", 5, frame, seed=1, validation=0.1)[-1]
    assert (fold.test.tolist(), fold.validation.tolist()) == (by_share.test.tolist(), by_share.validation.tolist())


def groups_that_are_divided(folds: list[Split], groups: np.ndarray) -> int:
    """Count the groups that a fold both trains on and holds out."""
    seen = (np.concatenate([fold.train, fold.validation]) for fold in folds)
    return sum(len(set(groups[rows]) & set(groups[fold.test])) for rows, fold in zip(seen, folds, strict=True))


def test_groups_stay_together() -> None:
    frame = frame_of(200)
    groups = frame["g"].to_numpy()
    assert groups_that_are_divided(folds_of("group", 5, frame, validation=0.2), groups) == 0
    assert groups_that_are_divided(folds_of("random", 5, frame), groups) > 0, "the control"


def futures_that_are_trained_on(folds: list[Split], times: np.ndarray) -> int:
    """Count the folds that train on a row that is later than one of those that they hold out."""
    seen = (np.concatenate([fold.train, fold.validation]) for fold in folds)
    return sum(times[rows].max() >= times[fold.test].min() for rows, fold in zip(seen, folds, strict=True))


def test_folds_in_time_train_on_a_growing_past_and_never_on_the_future() -> None:
    frame = frame_of(100)
    times = frame["t"].to_numpy()
    folds = folds_of("time", 4, frame, validation=0.1)
    assert futures_that_are_trained_on(folds, times) == 0
    assert futures_that_are_trained_on(folds_of("random", 4, frame), times) == 4, "the control"
    for number, fold in enumerate(folds, start=1):
        seen = np.concatenate([fold.train, fold.validation])
        assert np.sort(times[seen]).tolist() == list(range(20 * number))
        assert np.sort(times[fold.test]).tolist() == list(range(20 * number, 20 * (number + 1)))
        assert times[fold.validation].min() > times[fold.train].max()


@pytest.mark.parametrize(
    ("kind", "number", "message"),
    [
        ("random", 5, "a.csv: expected at least 5 rows for 5 folds; got 4. Make fewer folds."),
        ("time", 4, "a.csv: expected at least 5 rows for 4 folds; got 4. Make fewer folds."),
        ("group", 3, "a.csv: expected at least 3 groups of 'g' for 3 folds; got 2. Make fewer folds."),
    ],
)
def test_more_folds_than_rows_or_groups_are_refused(kind: str, number: int, message: str) -> None:
    with pytest.raises(DataError) as caught:
        folds_of(kind, number, pd.DataFrame({"g": [0, 0, 1, 1], "t": range(4)}))
    assert str(caught.value) == message


def test_a_fold_is_one_of_its_number(tmp_path: Path) -> None:
    path = write_study(tmp_path)
    with pytest.raises(ConfigError) as caught:
        load_config(path, ["data.split.test={fold: 6, of: 5}"])
    assert "data.split.test.fold: expected at most 5, the number of folds; got 6. Correct one of them." in str(
        caught.value
    )


def test_rows_that_a_column_assigns_have_no_folds(tmp_path: Path) -> None:
    file = load_config(write_study(tmp_path), ["data.split={kind: column, column: key}"])
    with pytest.raises(SettingError, match="expected 'random', 'group' or 'time' for a cross-validation; got 'column'"):
        fold_files(file, 3)


# --- standard errors ------------------------------------------------------------------------------------------------


def test_the_standard_error_over_rows_is_the_closed_form_and_rows_of_a_group_count_as_one() -> None:
    values = np.array([1.0, 2.0, 4.0, 9.0])
    assert standard_error(values) == pytest.approx(np.sqrt(38 / 3 / 4))  # mean 4, squares 9 + 4 + 0 + 25
    assert standard_error(values, np.arange(4)) == pytest.approx(standard_error(values))
    # Sums of the differences -3, -2, 0, 5 within the groups: -5 and 5; sqrt(2 / 1 x 50) / 4.
    assert standard_error(values, np.array([0, 0, 1, 1])) == pytest.approx(2.5)
    assert standard_error(values, np.zeros(4, int)) is None


def test_rows_that_are_copied_within_their_group_tell_nothing_new() -> None:
    values = np.random.default_rng(0).normal(size=50)
    copied, groups = np.repeat(values, 10), np.repeat(np.arange(50), 10)
    assert standard_error(copied, groups) == pytest.approx(standard_error(values))
    assert standard_error(copied) < 0.4 * standard_error(values), "the control"


def test_scores_are_of_all_rows_and_over_the_folds() -> None:
    folds = [mean_with_error(np.array(values)) for values in ([1.0, 2.0], [3.0, 4.0], [8.0, 6.0])]
    pooled = mean_with_error(np.array([1.0, 2.0, 3.0, 4.0, 8.0, 6.0]))
    joined = over_folds({"num_rows": 6, "nlpd": pooled}, [{"num_rows": 2, "nlpd": fold} for fold in folds])
    assert joined["num_rows"] == 6
    assert joined["nlpd"]["folds"] == [1.5, 3.5, 7.0]
    assert joined["nlpd"]["value"] == joined["nlpd"]["fold_mean"] == 4.0
    assert joined["nlpd"]["se_rows"] == pytest.approx(np.sqrt(34 / 5 / 6))  # squares 9 + 4 + 1 + 0 + 16 + 4
    assert joined["nlpd"]["se_folds"] == pytest.approx(np.sqrt(15.5 / 2 / 3))  # squares 6.25 + 0.25 + 9


def test_a_score_that_is_infinite_in_one_fold_has_no_mean() -> None:
    folds = [mean_with_error(np.array(values)) for values in ([1.0, np.inf], [3.0, 4.0])]
    joined = over_folds({"nlpd": mean_with_error(np.array([1.0, np.inf, 3.0, 4.0]))}, [{"nlpd": f} for f in folds])
    assert joined["nlpd"] == {
        "value": None,
        "se_rows": None,
        "fold_mean": None,
        "se_folds": None,
        "folds": [None, 3.5],
        "num_infinite": 1,
    }


def test_the_faults_of_all_units_are_reported_with_their_names() -> None:
    error = failure_of({"fold-2": NumericalError("a", "b"), "fold-3": DataError("c")})
    assert isinstance(error, NumericalError)
    assert error.faults == ("fold-2: a", "fold-2: b", "fold-3: c")
    assert failure_of({"fold-1": bug}) is bug if (bug := KeyError("x")) else False


# --- a study --------------------------------------------------------------------------------------------------------


@pytest.mark.slow
@needs_tensorflow
def test_every_row_is_forecast_as_cde_predict_does_with_the_run_of_its_fold(study: Path, cde: Cde) -> None:
    found = pd.read_csv(study / "out/out_of_fold.csv")
    assert found["row"].tolist() == list(range(1, NUM_ROWS + 1))
    assert found.columns[:4].tolist() == ["row", "key", "fold_", "fold"]  # the table's own column gives way
    assert found["key"].tolist() == [f"k{n}" for n in range(NUM_ROWS)]
    table = pd.read_csv(study / "table.csv")
    assert np.array_equal(found["y_observed"], table["y"])
    for k in range(1, NUM_FOLDS + 1):
        out = study / f"predicted-{k}"
        assert cde("predict", study / f"out/fold-{k}", study / "table.csv", "--out", out, "--overwrite").code == 0
        predicted = pd.read_csv(out / "summary.csv")
        own = (found["fold"] == k).to_numpy()
        for name in ("y_mean", "y_sd", "y_q05", "y_q95", "P(y>50)", "log_density"):
            np.testing.assert_allclose(found.loc[own, name], predicted.loc[own, name], rtol=0, atol=1e-10)
            assert np.abs(found.loc[~own, name] - predicted.loc[~own, name]).max() > 1e-6, "the control"


@pytest.mark.slow
@needs_tensorflow
def test_rows_have_a_distance_where_the_model_of_their_fold_states_it(study: Path, tmp_path: Path) -> None:
    found = pd.read_csv(study / "out/out_of_fold.csv")
    assert "distance" not in found, "each fold has too few rows that no training has seen"
    table = study / "table.csv"
    tests = tuple(np.flatnonzero(found["fold"] == k) for k in (1, 2, 3))
    rows = FoldRows(str(table), file_hashes(table), None, tests, None)
    runs = [study / f"out/fold-{k}" for k in (1, 2, 3)]
    runs[1] = with_distance_unit(runs[1], tmp_path / "run", 0.5)
    file, _ = predict_out_of_fold(rows, runs, tmp_path, file_format="csv", frame=None)
    again, own = pd.read_csv(file), (found["fold"] == 2).to_numpy()
    expected = TrainedModel.load(Run.open(runs[1])).distance(pd.read_csv(table))
    np.testing.assert_allclose(again["distance"], np.where(own, expected, np.nan), rtol=1e-9)
    pd.testing.assert_frame_equal(again.drop(columns="distance"), found)


@pytest.mark.slow
@needs_tensorflow
def test_no_run_has_seen_the_rows_that_it_forecasts(study: Path, tmp_path: Path) -> None:
    found = pd.read_csv(study / "out/out_of_fold.csv")

    def seen(rows_of: int, *, by: int) -> int:
        model = TrainedModel.load(Run.open(study / f"out/fold-{by}"))
        (tmp_path / "evaluation").mkdir(exist_ok=True)
        table = prepare_evaluation(
            study / "table.csv", model.contract, model.split_settings, None, tmp_path / "evaluation"
        )
        return model.seen.count(table.fingerprints[(found["fold"] == rows_of).to_numpy()])

    assert [seen(k, by=k) for k in (1, 2, 3)] == [0, 0, 0]
    assert seen(1, by=2) == NUM_ROWS // NUM_FOLDS, "the control: a leak is found"


@pytest.mark.slow
@needs_tensorflow
def test_the_scores_are_those_of_the_table_and_of_the_runs(study: Path) -> None:
    found = pd.read_csv(study / "out/out_of_fold.csv")
    scores = json.loads((study / "out/cv.json").read_text())
    assert (scores["num_rows"], scores["num_folds"]) == (NUM_ROWS, NUM_FOLDS)
    assert scores["nlpd"]["value"] == pytest.approx(-found["log_density"].mean(), rel=1e-12)
    assert scores["nlpd"]["se_rows"] == pytest.approx(found["log_density"].std() / np.sqrt(NUM_ROWS), rel=1e-12)
    assert scores["crps"]["value"] == pytest.approx(found["y_crps"].mean(), rel=1e-12)
    runs = [json.loads((study / f"out/fold-{k}/metrics.json").read_text()) for k in (1, 2, 3)]
    for read in (
        lambda metrics: metrics["nlpd"],
        lambda metrics: metrics["energy_score"],
        lambda metrics: metrics["skill"]["climatology"]["crps"],
        lambda metrics: metrics["baselines"]["linear_gaussian"]["coverage"]["0.9"],
    ):
        np.testing.assert_allclose(read(scores)["folds"], [read(run)["value"] for run in runs], rtol=1e-9)
    assert scores["skill"]["climatology"]["crps"]["se_folds"] > 0
    assert [fold["rows"]["test"] for fold in scores["folds"]] == [15, 15, 15]
    drawn = {path.stem for path in (study / "out/plots").iterdir()}
    assert drawn == {"scores", "pit", "ecdf", "coverage"}


@pytest.mark.slow
@needs_tensorflow
def test_the_same_command_goes_on_and_another_is_refused(study: Path, cde: Cde, tmp_path: Path) -> None:
    copy = tmp_path / "study"
    shutil.copytree(study, copy)
    times = {k: (copy / f"out/fold-{k}/manifest.json").stat().st_mtime_ns for k in (1, 2, 3)}
    command = ["cv", study / "c.yaml", "--folds", NUM_FOLDS, "--out", copy / "out", "--executor", "serial"]
    (copy / "out/cv.json").unlink()
    again = cde(*command, "--json", "--format", "parquet")
    assert again.code == 0
    assert "[folds] 3 of 3 are done" in again.err
    assert {k: (copy / f"out/fold-{k}/manifest.json").stat().st_mtime_ns for k in (1, 2, 3)} == times
    assert json.loads((copy / "out/cv.json").read_text()) == json.loads((study / "out/cv.json").read_text())
    assert not (copy / "out/out_of_fold.csv").exists()
    np.testing.assert_array_equal(
        pd.read_parquet(copy / "out/out_of_fold.parquet")["log_density"],
        pd.read_csv(study / "out/out_of_fold.csv", float_precision="round_trip")["log_density"],
    )
    other = cde(*command, "--set", "training.max_steps=30")
    assert other.code == 6
    assert other.err.splitlines()[-1] == (
        f"error: {copy / 'out'}: expected the settings that it was begun with; got training.max_steps 30, "
        "which was 25. Choose another --out, or pass --overwrite."
    )
    fewer = cde("cv", study / "c.yaml", "--folds", 2, "--out", copy / "out", "--executor", "serial")
    assert fewer.err.splitlines()[-1].startswith(
        f"error: {copy / 'out'}: expected the settings that it was begun with; got folds 2,"
    )
    (copy / "out/fold-2/posterior/arrays.npz").write_bytes(b"damaged")
    damaged = cde(*command)
    assert damaged.code == 6
    assert "The file has changed since the training" in damaged.err


@pytest.mark.slow
@needs_tensorflow
def test_another_table_is_refused(study: Path, cde: Cde, tmp_path: Path) -> None:
    shutil.copytree(study / "out", tmp_path / "out")
    original = (study / "table.csv").read_text()
    try:
        (study / "table.csv").write_text(original + "z,own,1.5,3,2,55.5\n")
        found = cde("cv", study / "c.yaml", "--folds", NUM_FOLDS, "--out", tmp_path / "out")
    finally:
        (study / "table.csv").write_text(original)
    assert found.code == 6
    assert found.err.splitlines()[-1] == (
        f"error: {tmp_path / 'out'}: expected the table that it was begun with; got different content. "
        "Choose another --out, or pass --overwrite."
    )


# --- what is refused ------------------------------------------------------------------------------------------------


@needs_tensorflow
@pytest.mark.parametrize(
    ("options", "code", "message"),
    [
        (["--folds", "1"], 2, "--folds: expected at least 2 and at most 1000; got 1. Write for example --folds 5."),
        (["--folds", "1" + 20 * "0"], 2, f"--folds: expected at least 2 and at most 1000; got {10**20}. Write for"),
        (["--folds", "46"], 3, "table.csv: expected at least 46 rows for 46 folds; got 45. Make fewer folds."),
        (["--set", "data.split={kind: group, column: g}", "--folds", "8"], 3, "expected at least 8 groups of 'g'"),
        (
            ["--set", "data.split={kind: column, column: key}"],
            2,
            "--set data.split={kind: column, column: key}: data.split.kind",
        ),
        (["--set", "data.path='-'"], 2, "data.path: expected a file, as every fold reads it; got standard input."),
        (["--scheduler", "tcp://h:1", "--executor", "serial"], 2, "--scheduler: expected with --executor dask"),
    ],
)
def test_a_cross_validation_that_cannot_be_is_refused_in_one_line(
    tmp_path: Path, cde: Cde, options: list[str], code: int, message: str
) -> None:
    found = cde("cv", write_study(tmp_path), "--out", tmp_path / "out", "--quiet", *options)
    assert found.code == code
    assert len(found.err.splitlines()) == 1
    assert message in found.err
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
@needs_tensorflow
def test_a_folder_that_holds_something_else_is_refused(study: Path, cde: Cde, tmp_path: Path) -> None:
    path = write_study(tmp_path)
    (tmp_path / "full").mkdir()
    (tmp_path / "full/notes.txt").touch()
    (tmp_path / "file").touch()
    run = study / "out/fold-1"
    shutil.copytree(study / "out", tmp_path / "more")
    (tmp_path / "more/notes.txt").touch()
    for out, expected in {
        tmp_path / "full": "exists and is no cross-validation; choose another --out.",
        tmp_path / "file": "exists and is not a folder; choose another --out.",
        run: "is a run; choose another --out.",
        run / "inner": f"is in the run {run}; choose another --out.",
        tmp_path / "more": "expected only a cross-validation; got 'notes.txt'. Move it, or choose another --out.",
    }.items():
        for more in ([], ["--overwrite"]):
            found = cde("cv", path, "--folds", 2, "--out", out, "--quiet", *more)
            assert found.code == 6
            assert found.err.splitlines()[0].endswith(expected)


@pytest.mark.slow
@needs_tensorflow
def test_a_fold_that_fails_leaves_the_others_and_cde_train_alone_makes_it_to_the_same_bytes(
    study: Path, cde: Cde, tmp_path: Path
) -> None:
    out, original = tmp_path / "out", study / "out/fold-1"
    shutil.copytree(study / "out", out)
    shutil.rmtree(out / "fold-1")
    (out / "fold-1").mkdir()
    (out / "fold-1/notes.txt").touch()
    command = ["cv", study / "c.yaml", "--folds", NUM_FOLDS, "--out", out, "--executor", "serial"]
    failed = cde(*command)
    assert failed.code == 6
    expected = f"error: fold-1: {out / 'fold-1'} exists and is not empty; choose another --out, or pass "
    assert failed.err.splitlines()[-1] == f"{expected}--overwrite or --resume."
    assert not (out / "manifest.json").exists()
    shutil.rmtree(out / "fold-1")
    assert cde("train", original / "config.yaml", "--out", out / "fold-1", "--quiet").code == 0
    names = ("posterior/arrays.npz", "posterior/spec.json", "split.npz", "metrics.json", "config.yaml")
    for name in (*names, "config.source.yaml", "columns.json", "baselines.npz"):
        assert (out / "fold-1" / name).read_bytes() == (original / name).read_bytes(), name
    again = cde(*command)
    assert again.code == 0
    assert "[folds] 3 of 3 are done" in again.err
    assert (out / "out_of_fold.csv").read_bytes() == (study / "out/out_of_fold.csv").read_bytes()


# --- executors ------------------------------------------------------------------------------------------------------


@pytest.mark.slow
@needs_tensorflow
@pytest.mark.parametrize("executor", ["processes", "dask"])
def test_every_executor_gives_the_same_scores(executor: str, cde: Cde, tmp_path: Path) -> None:
    if executor == "dask":
        pytest.importorskip("distributed")
    settings = ["--set", "training.max_steps=25", "--set", "training.ensemble=1", "--folds", 3]
    command = ["cv", PROJECT / "configs/motorcycle.yaml", *settings, "--quiet"]
    for name in ("serial", executor):
        assert cde(*command, "--out", tmp_path / name, "--executor", name).code == 0
    found, expected = ((tmp_path / name / "out_of_fold.csv").read_bytes() for name in (executor, "serial"))
    assert found == expected
    read = [json.loads((tmp_path / name / "cv.json").read_text()) for name in (executor, "serial")]
    for scores in read:
        scores.pop("folds")  # has seconds
    assert read[0] == read[1]


@pytest.mark.slow
@needs_tensorflow
def test_the_command_itself_never_imports_tensorflow(
    study: Path, tmp_path: Path, modules_after: Callable[..., set[str]]
) -> None:
    command = ["cv", str(study / "c.yaml"), "--folds", "2", "--quiet", "--out", str(tmp_path / "out")]
    assert modules_after([*command, "--executor", "processes"]) & {"tensorflow", "gpflow", "gpflux"} == set()
    assert (tmp_path / "out/fold-2/manifest.json").exists()


@pytest.mark.slow
@needs_tensorflow
@pytest.mark.parametrize("split", ["{kind: group, column: g}", "{kind: time, column: day}"])
def test_folds_of_groups_and_of_time_are_trained_and_forecast(split: str, cde: Cde, tmp_path: Path) -> None:
    path = write_study(tmp_path)
    found = cde("cv", path, "--folds", 2, "--out", tmp_path / "out", "--set", f"data.split={split}", "--json")
    assert found.code == 0
    scores, table = json.loads(found.out), pd.read_csv(tmp_path / "out/out_of_fold.csv")
    if "time" in split:
        assert len(table) == scores["num_rows"] == 30  # the first of three blocks is only trained on
        assert "the earliest are only trained on" in found.err
    else:
        assert "the rows of one 'g' count as one" in scores["errors"]["se_rows"]
        groups = pd.read_csv(tmp_path / "table.csv")["g"]
        expected = standard_error(-table["log_density"].to_numpy(), groups.to_numpy())
        assert scores["nlpd"]["se_rows"] == pytest.approx(expected, rel=1e-9)
