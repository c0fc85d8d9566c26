"""The whole chain on tiny runs: what every command leaves behind, and that the same question has the same answer."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from cde_app.cli.predict import report_result
from cde_app.data.table import write_table
from cde_app.evaluation.verdict import in_words
from cde_app.runs.run import Run
from cde_app.targets import TargetTransform
from cde_app.trained_model import TrainedModel
from cde_app.trees import from_tree
from cde_app.words import flatten
from cde_app.workflow import scoring, train
from tests.conftest import ONLY_PREDICTS, TrainedTiny, needs_tensorflow, with_one
from tests.storing import with_distance_unit, write_manifest

TENSORFLOW = {"tensorflow", "tensorflow_probability", "tf_keras", "keras", "gpflow", "gpflux", "check_shapes"}
SUMMARY_COLUMNS = ["mean", "sd", "q05", "q25", "q50", "q75", "q95"]
REPORT = {"report.html", "report.json", "report.md"}
PNG, SVG = b"\x89PNG\r\n", b"<?xml"

Cde = Callable[..., Any]


@pytest.fixture(autouse=True)
def in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Work where nothing else is."""
    monkeypatch.chdir(tmp_path)


def names_in(folder: Path) -> set[str]:
    """Name every file below a folder."""
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def posterior_bytes(run: Path) -> bytes:
    return (run / "posterior/arrays.npz").read_bytes()


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def assert_same_predictions(found: Path, expected: Path) -> None:
    """Compare summaries and samples to rounding: a product of matrices of another shape adds in another order."""
    for name in ("summary.csv", "samples.csv"):
        pd.testing.assert_frame_equal(
            pd.read_csv(found / name), pd.read_csv(expected / name), rtol=1e-9, atol=1e-12, check_exact=False
        )


def with_setting(run: Path, copy: Path, key: str, value: Any) -> Path:
    """Copy a run and change a setting in it, named by its dotted key."""
    shutil.copytree(run, copy)
    manifest = json.loads((copy / "manifest.json").read_text())
    block = manifest["settings"]
    *path, last = key.split(".")
    for name in path:
        block = block[name]
    assert last in block
    block[last] = value
    write_manifest(copy, manifest)
    return copy


@pytest.fixture(scope="module")
def predicted(tiny_run: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The predictions of the tiny run for its own table, with all that `cde predict` can write."""
    from cde_app.cli import main

    out = tmp_path_factory.mktemp("predicted") / "out"
    command = ["predict", str(tiny_run.run), str(tiny_run.table), "--out", str(out), "--components", "--plots"]
    assert main([*command, "--quiet"]) == 0
    return out


def test_the_report_shows_the_warnings_of_the_training(tiny_run: Any, tmp_path: Path, cde: Cde) -> None:
    shutil.copytree(tiny_run.run, tmp_path / "run")
    manifest = json.loads((tmp_path / "run/manifest.json").read_text())
    manifest["warnings"] = ["target 'a' is taken as rounded to steps of 1"]
    write_manifest(tmp_path / "run", manifest)
    assert cde("report", tmp_path / "run", "--no-explorer").code == 0
    assert "<li>Target &#39;a&#39; is taken as rounded to steps of 1</li>" in (tmp_path / "run/report.html").read_text()


# --- cde train ----------------------------------------------------------------------------------------------------


def test_a_finished_run_holds_what_the_run_directory_promises_and_nothing_else(tiny_run: Any) -> None:
    names = ("ridges_a", "ridges_b", "joint", "pit", "ecdf", "coverage", "latent", "history")
    plots = {f"plots/{name}.png" for name in names}
    files = {"STATUS", "manifest.json", "config.yaml", "config.source.yaml", "columns.json", "baselines.npz"}
    files |= {
        "SHA256SUMS",
        "split.npz",
        "reference.npz",
        "history.jsonl",
        "metrics.json",
        "log.txt",
        "posterior/spec.json",
        "posterior/arrays.npz",
    }
    assert names_in(tiny_run.run) - REPORT == files | plots
    assert (tiny_run.run / "STATUS").read_text() == "done\n"
    assert (tiny_run.run / "config.source.yaml").read_bytes() == tiny_run.config.read_bytes()
    assert all((tiny_run.run / name).read_bytes().startswith(PNG) for name in plots)


def test_no_file_of_a_run_holds_a_pickle(tiny_run: Any) -> None:
    for path in tiny_run.run.rglob("*.npz"):
        with np.load(path, allow_pickle=False) as arrays:
            assert not any(arrays[name].dtype.hasobject for name in arrays.files)
    assert {path.suffix for path in tiny_run.run.rglob("*") if path.is_file()} <= {
        "", ".json", ".jsonl", ".yaml", ".npz", ".png", ".txt", ".html"
    }  # fmt: skip


def test_the_manifest_has_the_hashes_of_the_table_and_of_everything_that_was_written(tiny_run: Any) -> None:
    manifest = json.loads((tiny_run.run / "manifest.json").read_text())
    assert manifest["inputs"] == {str(tiny_run.table): sha256(tiny_run.table)}
    assert {"posterior/arrays.npz", "config.yaml", "metrics.json"} <= set(manifest["outputs"])
    assert all(sha256(tiny_run.run / name) == digest for name, digest in manifest["outputs"].items())
    assert manifest["rows"] == {"train": 108, "validation": 0, "test": 12}
    assert (manifest["format_version"], manifest["seed"]) == (5, 0)
    assert manifest["trainings"] == [{"name": "a, b", "steps": 500, "kept_step": 500}]
    assert manifest["seconds"] > 0
    assert manifest["warnings"] == []
    assert {"gpflow", "gpflux", "tensorflow"} <= set(manifest["packages"])


def test_the_history_goes_up_to_the_last_step_and_the_log_names_the_stages(tiny_run: Any, line_run: Any) -> None:
    history = [json.loads(line) for line in (tiny_run.run / "history.jsonl").read_text().splitlines()]
    assert [entry["step"] for entry in history] == list(range(25, 501, 25))
    assert all(np.isfinite(entry["bound"]) for entry in history)
    assert [entry["elapsed_seconds"] for entry in history] == sorted(entry["elapsed_seconds"] for entry in history)
    validated = [json.loads(line) for line in (line_run.run / "history.jsonl").read_text().splitlines()]
    assert all(np.isfinite(entry["validation_score"]) for entry in validated)
    log = (tiny_run.run / "log.txt").read_text()
    assert re.findall(r"\[(.*?)\]", log) == [
        "start",
        "warm start",
        "warm start",
        "warm start",
        "warm start",
        "evaluation",
        "pictures",
    ]


def test_the_state_with_the_best_validation_score_is_kept(line_run: Any) -> None:
    history = [json.loads(line) for line in (line_run.run / "history.jsonl").read_text().splitlines()]
    trainings = json.loads((line_run.run / "manifest.json").read_text())["trainings"]
    for index, training in enumerate(trainings):
        own = [entry for entry in history if entry["training"] == index]
        best = max(own, key=lambda entry: entry["validation_score"])
        assert training["kept_step"] == best["step"]
    assert len(trainings) == 2


@pytest.mark.slow
def test_the_configuration_stored_in_a_run_trains_again_to_the_same_bytes(tiny_run: Any, cde: Cde) -> None:
    outcome = cde("train", tiny_run.run / "config.yaml", "--out", "again", "--json")
    assert outcome.code == 0
    assert posterior_bytes(Path("again")) == posterior_bytes(tiny_run.run)
    assert Path("again/config.yaml").read_bytes() == (tiny_run.run / "config.yaml").read_bytes()
    assert json.loads(outcome.out) == json.loads((tiny_run.run / "metrics.json").read_text())
    stages = re.findall(r"^\[(.*?)\]", outcome.err, flags=re.MULTILINE)
    assert list(dict.fromkeys(stages)) == ["data", "start", "warm start", "training", "evaluation", "pictures"]


@pytest.mark.slow
def test_another_seed_trains_to_other_bytes_and_overwrite_replaces_the_run(tiny_run: Any, cde: Cde) -> None:
    shutil.copytree(tiny_run.run, "run")
    command = ("train", tiny_run.config, "--set", "seed=1", "--set", "training.max_steps=25", "--out", "run")
    assert cde(*command, "--overwrite", "--quiet").code == 0
    assert posterior_bytes(Path("run")) != posterior_bytes(tiny_run.run)
    assert json.loads(Path("run/manifest.json").read_text())["seed"] == 1
    assert names_in(Path.cwd()) == {f"run/{name}" for name in names_in(tiny_run.run) - REPORT}


@pytest.mark.slow
def test_partitions_train_to_the_bytes_of_one_file(tiny_run: Any, cde: Cde) -> None:
    frame = pd.read_csv(tiny_run.table, float_precision="round_trip")
    write_table(Path("part1"), dict(frame[:50].items()), file_format="csv")
    write_table(Path("part2"), dict(frame[50:90].items()), file_format="parquet")
    write_table(Path("part3"), dict(frame[90:].items()), file_format="csv")
    Path("config.yaml").write_text(with_one(tiny_run.config.read_text(), "table.csv", "part*"))
    assert cde("train", "config.yaml", "--out", "run", "--quiet").code == 0
    assert posterior_bytes(Path("run")) == posterior_bytes(tiny_run.run)
    assert len(json.loads(Path("run/manifest.json").read_text())["inputs"]) == 3
    own, whole = (json.loads(cde("evaluate", run, "--json").out) for run in ("run", tiny_run.run))
    assert own == whole


@pytest.mark.slow
def test_settings_that_the_table_limits_are_told_by_check_and_train_and_kept_in_the_manifest(
    line_run: Any, cde: Cde
) -> None:
    shutil.copy(line_run.table, "table.csv")
    shutil.copy(line_run.config, "config.yaml")
    settings = ["training.max_steps=2", "training.ensemble=1", "training.batch_size=4096", "predict.num_components=8"]
    settings += ["model.output.num_inducing=200", "model.layers=[{num_gps: 7, num_inducing: 90}]"]
    settings += ["model.neighbours={enabled: true, count: 70}"]
    changes = [part for setting in settings for part in ("--set", setting)]
    expected = [
        "training.batch_size: 4096 exceeds the rows per training (48); every step uses all of them.",
        "model.layers.0.num_inducing: 90 exceeds the rows per training (48); at most one per row is used.",
        "model.output.num_inducing: 200 exceeds the rows per training (48); at most one per row is used.",
        "model.neighbours.count: 70 exceeds the number of other training rows (47); all of them are used.",
        "model.layers.0.num_gps: 7 exceeds the number of features (3); the layer has one GP for each.",
    ]
    checked = cde("check", "config.yaml", *changes).out.splitlines()
    assert [line.removeprefix("warning: ") for line in checked if line.startswith("warning: ")][-5:] == expected
    outcome = cde("train", "config.yaml", *changes, "--out", "run")
    assert outcome.code == 0
    assert re.findall(r"^\[warning\] (.*)$", outcome.err, flags=re.MULTILINE) == expected
    manifest = json.loads(Path("run/manifest.json").read_text())
    assert manifest["warnings"] == expected
    predictor = TrainedModel.load(Run.open(Path("run"))).predictor
    (posterior,) = predictor.factors[0].members
    assert predictor.neighbours.count == 47
    assert len(posterior.inner_layers[0].gp.inducing_inputs) == len(posterior.output_terms[0].inducing_inputs) == 48
    assert posterior.inner_layers[0].gp.num_gps == 3


def scratch_of(run: Path) -> list[Path]:
    return [path for path in run.parent.rglob(".tmp-*") if path.is_dir()]


def test_a_training_that_fails_leaves_no_arrays_behind(tiny_run: Any, cde: Cde) -> None:
    shutil.copy(tiny_run.config, "config.yaml")
    Path("table.csv").write_text(tiny_run.table.read_text() + "far,north,1,1\n")
    assert cde("train", "config.yaml", "--out", "runs/a", "--quiet").code == 3
    assert sorted(os.listdir()) == ["config.yaml", "table.csv"]


def start_training(tiny_run: Any, *, until_step: int) -> subprocess.Popen[str]:
    """Begin the tiny run's training in another process and wait until it has passed a step."""
    command = [sys.executable, "-m", "cde_app", "train", str(tiny_run.config), "--out", "run"]
    process = subprocess.Popen(
        command,
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # a job in the background would ignore it
    )
    history, deadline = Path("run/history.jsonl"), time.monotonic() + 200
    while not (history.exists() and history.read_text().count("\n") > until_step // 25):
        assert process.poll() is None, process.stderr and process.stderr.read()
        assert time.monotonic() < deadline
        time.sleep(0.005)
    return process


@needs_tensorflow
def test_ctrl_c_keeps_a_checkpoint_and_prints_the_command_that_ends_in_the_same_bytes(tiny_run: Any, cde: Cde) -> None:
    process = start_training(tiny_run, until_step=50)
    (scratch,) = scratch_of(Path("run"))
    assert {path.suffix for path in scratch.iterdir()} == {".npy"}
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert scratch_of(Path("run")) == []
    assert process.returncode == 130, err
    assert err.splitlines()[-1] == f"interrupted; resume with: cde train {tiny_run.config} --out run --resume"
    assert Path("run/STATUS").read_text() == "interrupted\n"
    predicted = cde("predict", "run", tiny_run.table, "--out", "out")
    assert (predicted.code, Path("out").exists()) == (6, False)
    assert "expected a finished run; got one that is interrupted. Resume with: cde train" in predicted.err

    lines_before = Path("run/history.jsonl").read_text().count("\n")
    assert lines_before < 40
    resume = shlex.split(err.splitlines()[-1].partition("cde ")[2])
    assert cde(*resume).code == 0
    assert posterior_bytes(Path("run")) == posterior_bytes(tiny_run.run)
    assert names_in(Path("run")) == names_in(tiny_run.run) - REPORT
    assert Path("run/history.jsonl").read_text().count("\n") == 20


@needs_tensorflow
@pytest.mark.slow
def test_a_killed_training_resumes_to_the_bytes_of_an_uninterrupted_one(
    tiny_run: Any, cde: Cde, tmp_path: Path
) -> None:
    shared, folder = tiny_run, tmp_path / "own"  # the table changes
    folder.mkdir()
    for path in (shared.config, shared.table):
        shutil.copy(path, folder)
    tiny_run = TrainedTiny(shared.run, folder / shared.config.name, folder / shared.table.name)
    process = start_training(tiny_run, until_step=50)
    process.send_signal(signal.SIGKILL)
    process.communicate(timeout=60)
    assert Path("run/STATUS").read_text() == "running\n"
    assert not Path("run/manifest.json").exists()
    assert len(scratch_of(Path("run"))) == 1

    table = tiny_run.table.read_bytes()
    try:
        tiny_run.table.write_bytes(table.replace(b"north", b"south", 1))
        changed = cde("train", tiny_run.config, "--out", "run", "--resume", "--quiet")
    finally:
        tiny_run.table.write_bytes(table)
    assert changed.code == 6
    assert re.fullmatch(
        r"error: \S+table\.csv: a run must be resumed with its original table; got different content\. "
        r"Train again with --overwrite\.\n",
        changed.err,
    )
    other = cde("train", tiny_run.config, "--set", "seed=1", "--out", "run", "--resume", "--quiet")
    assert other.code == 6
    assert "a run must be resumed with its original settings; got others" in other.err
    with pytest.MonkeyPatch.context() as newer:
        newer.setattr(train, "FORMAT_VERSION", 99)
        older = cde("train", tiny_run.config, "--out", "run", "--resume", "--quiet")
    assert older.code == 6
    assert "run: expected a checkpoint of this cde's format, 99; got another. Train again with" in older.err

    assert cde("train", tiny_run.config, "--out", "run", "--resume", "--quiet").code == 0
    assert posterior_bytes(Path("run")) == posterior_bytes(tiny_run.run)
    assert scratch_of(Path("run")) == []


# --- cde predict --------------------------------------------------------------------------------------------------


def test_predictions_come_as_a_summary_samples_mixtures_pictures_and_a_manifest(predicted: Path, tiny_run: Any) -> None:
    plots = {"plots/ridges_a.png", "plots/ridges_b.png", "plots/joint.png"}
    assert names_in(predicted) == {"summary.csv", "samples.csv", "mixture.npz", "manifest.json"} | plots
    manifest = json.loads((predicted / "manifest.json").read_text())
    assert manifest["inputs"] == {str(tiny_run.table): sha256(tiny_run.table)}
    assert (manifest["rows"], manifest["samples"], manifest["seed"]) == (120, 5, 0)
    assert (manifest["out_of_range"], manifest["left_out"]) == (0, 0)


def test_the_summary_has_ordered_quantiles_and_a_finite_density(predicted: Path) -> None:
    summary = pd.read_csv(predicted / "summary.csv")
    columns = [f"{target}_{column}" for target in "ab" for column in SUMMARY_COLUMNS]
    assert list(summary.columns) == ["row", *columns, "log_density", "out_of_range"]
    assert list(summary["row"]) == list(range(1, 121))
    assert np.isfinite(summary[[*columns, "log_density"]].to_numpy()).all()
    for target in "ab":
        levels = summary[[f"{target}_q{level}" for level in ("05", "25", "50", "75", "95")]].to_numpy()
        assert (np.diff(levels, axis=1) > 0).all()
        assert (summary[f"{target}_sd"] > 0).all()
    assert (summary["b_q05"] > 0).all(), "a log transform has no mass below zero"


def test_the_samples_are_long_and_agree_with_the_summary(predicted: Path, tiny_run: Any, cde: Cde) -> None:
    samples = pd.read_csv(predicted / "samples.csv")
    assert list(samples.columns) == ["row", "draw", "a", "b"]
    assert list(samples["row"]) == [row for row in range(1, 121) for _ in range(5)]
    assert list(samples["draw"]) == [1, 2, 3, 4, 5] * 120
    assert cde("predict", tiny_run.run, tiny_run.table, "--out", "out", "--samples", "400", "--quiet").code == 0
    many = pd.read_csv("out/samples.csv").merge(pd.read_csv("out/summary.csv"), on="row")
    for target in "ab":
        for level in (0.25, 0.5, 0.75):
            share = (many[target] < many[f"{target}_q{100 * level:.0f}"]).groupby(many["row"]).mean()
            # Of 720 shares one in 2400 runs is more than five standard errors off.
            assert (np.abs(share - level) < 5 * np.sqrt(level * (1 - level) / 400)).all()


def test_the_density_of_the_written_mixture_is_the_log_density_of_the_summary(predicted: Path, tiny_run: Any) -> None:
    with np.load(predicted / "mixture.npz") as file:
        arrays = dict(file)
    num_components = len(arrays["weights"])
    assert arrays["means"].shape == arrays["variances"].shape == (120, num_components, 2)
    assert arrays["weights"].sum() == pytest.approx(1)
    targets, log_density = pd.read_csv(tiny_run.table)[["a", "b"]].to_numpy(), 0.0
    components = np.log(arrays["weights"])[None, :]
    for p in range(2):
        prefix = f"transform.{p}."
        fields = {key.removeprefix(prefix): value.item() for key, value in arrays.items() if key.startswith(prefix)}
        transform = from_tree(TargetTransform, fields)
        y, variances = transform.forward(targets[:, p])[:, None], arrays["variances"][:, :, p]
        components = components - 0.5 * (
            (y - arrays["means"][:, :, p]) ** 2 / variances + np.log(2 * np.pi * variances)
        )
        log_density = log_density + transform.log_jacobian(targets[:, p])
    log_density = log_density + np.log(np.exp(components).sum(1))
    summary = pd.read_csv(predicted / "summary.csv", float_precision="round_trip")
    np.testing.assert_allclose(summary["log_density"], log_density, rtol=1e-9)


def test_parquet_holds_the_numbers_of_the_csv(predicted: Path, tiny_run: Any, cde: Cde) -> None:
    outcome = cde("predict", tiny_run.run, tiny_run.table, "--out", "out", "--format", "parquet", "--json")
    result = json.loads(outcome.out)
    assert result["files"] == ["out/summary.parquet", "out/samples.parquet"]
    assert result["rows"] == 120
    for name in ("summary", "samples"):
        csv = pd.read_csv(predicted / f"{name}.csv", float_precision="round_trip")
        pd.testing.assert_frame_equal(pd.read_parquet(f"out/{name}.parquet"), csv)


def test_the_options_of_predict_choose_quantiles_samples_and_seed(predicted: Path, tiny_run: Any, cde: Cde) -> None:
    command = ("predict", tiny_run.run, tiny_run.table)
    assert cde(*command, "--out", "none", "--samples", "0", "--quantiles", "0.025, 0.5,0.99").code == 0
    assert names_in(Path("none")) == {"summary.csv", "manifest.json"}
    assert list(pd.read_csv("none/summary.csv").columns[1:6]) == ["a_mean", "a_sd", "a_q2.5", "a_q50", "a_q99"]
    assert cde(*command, "--out", "same").code == 0
    assert cde(*command, "--out", "other", "--seed", "7").code == 0
    assert Path("same/samples.csv").read_bytes() == (predicted / "samples.csv").read_bytes()
    assert Path("other/samples.csv").read_bytes() != (predicted / "samples.csv").read_bytes()
    assert Path("other/summary.csv").read_bytes() == (predicted / "summary.csv").read_bytes()


def test_overwrite_replaces_the_predictions_that_were_there(predicted: Path, tiny_run: Any, cde: Cde) -> None:
    shutil.copytree(predicted, "out")
    Path("out/.tmp-99999999-summary.csv").write_text("what a killed process has left")
    command = ("predict", tiny_run.run, tiny_run.table, "--out", "out")
    refused = cde(*command, "--samples", "2")
    assert (refused.code, refused.out) == (6, "")
    assert cde(*command, "--overwrite", "--samples", "2", "--format", "parquet").code == 0
    assert names_in(Path("out")) == {"summary.parquet", "samples.parquet", "manifest.json"}


def test_predictions_never_replace_a_table(tiny_run: Any, cde: Cde) -> None:
    Path("mine").mkdir()
    shutil.copy(tiny_run.table, "mine/summary.csv")
    before = Path("mine/summary.csv").read_bytes()
    outcome = cde("predict", tiny_run.run, tiny_run.table, "--out", "mine", "--overwrite")
    assert outcome.code == 6
    assert "expected predictions with their manifest; got only 'summary.csv'" in outcome.err
    outcome = cde("predict", tiny_run.run, "mine/summary.csv", "--out", "mine", "--overwrite")
    assert outcome.code == 6
    assert "mine holds the table" in outcome.err
    assert Path("mine/summary.csv").read_bytes() == before


@pytest.mark.parametrize("rows", [1, 50])
def test_predictions_do_not_depend_on_the_size_of_the_chunks(
    rows: int, predicted: Path, tiny_run: Any, cde: Cde
) -> None:
    run = with_setting(tiny_run.run, Path("run"), "predict.chunk_rows", rows)
    assert cde("predict", run, tiny_run.table, "--out", "out", "--components").code == 0
    assert_same_predictions(Path("out"), predicted)
    with np.load("out/mixture.npz") as found, np.load(predicted / "mixture.npz") as expected:
        assert found.files == expected.files
        for name in set(found.files) - {name for name in found.files if found[name].dtype.kind in "US"}:
            np.testing.assert_allclose(found[name], expected[name], rtol=1e-9, atol=1e-12, err_msg=name)


def test_extra_and_reordered_columns_change_nothing(predicted: Path, tiny_run: Any, cde: Cde) -> None:
    table = pd.read_csv(tiny_run.table, dtype=str)
    table = table.assign(note="x, y", region2=range(len(table)))[["note", "b", "region", "region2", "x", "a"]]
    table.to_csv("other.csv", index=False)
    assert cde("predict", tiny_run.run, "other.csv", "--out", "out").code == 0
    for name in ("summary.csv", "samples.csv"):
        assert (Path("out") / name).read_bytes() == (predicted / name).read_bytes()


def test_rows_without_targets_are_predicted_without_a_log_density(predicted: Path, tiny_run: Any, cde: Cde) -> None:
    table = pd.read_csv(tiny_run.table, dtype=str)
    table[["x", "region"]].to_csv("inputs.csv", index=False)
    table.assign(a=table["a"].where(table.index % 3 > 0), b=table["b"].where(table.index > 60)).to_csv(
        "gaps.csv", index=False
    )
    whole = pd.read_csv(predicted / "summary.csv")
    assert cde("predict", tiny_run.run, "inputs.csv", "--out", "inputs").code == 0
    pd.testing.assert_frame_equal(pd.read_csv("inputs/summary.csv"), whole.drop(columns="log_density"))
    run = with_setting(tiny_run.run, Path("run"), "predict.chunk_rows", 30)
    assert cde("predict", run, "gaps.csv", "--out", "gaps", "--plots").code == 0
    known = (whole.index % 3 > 0) & (whole.index > 60)
    expected = whole.assign(log_density=whole["log_density"].where(known))
    pd.testing.assert_frame_equal(pd.read_csv("gaps/summary.csv"), expected)


def test_unseen_labels_and_far_inputs_are_predicted_and_flagged(tiny_run: Any, cde: Cde) -> None:
    Path("new.csv").write_text("x,region\n0,north\n0,west\n99,south\n")
    outcome = cde("predict", tiny_run.run, "new.csv", "--out", "out")
    assert outcome.code == 0
    warning = "warning: 2 of 3 rows are outside the range of the training data ('x' in 1, 'region' in 1); the"
    assert warning in outcome.err
    summary = pd.read_csv("out/summary.csv")
    assert list(summary["out_of_range"]) == [False, True, True]
    assert np.isfinite(summary.drop(columns="out_of_range").to_numpy()).all()


def test_the_summary_says_how_far_each_row_is_from_the_training_rows(line_run: Any, cde: Cde) -> None:
    Path("new.csv").write_text("t\n5\n5.1\n500\n")
    outcome = cde("predict", line_run.run, "new.csv", "--out", "out")
    assert outcome.code == 0
    warning = (
        "warning: 1 of 3 rows are farther from the training rows than 999 of 1000 new rows like those should be: such "
        "combinations of inputs were hardly seen. Treat their densities as extrapolations; the column distance is "
        "above 1 there."
    )
    assert outcome.err.splitlines()[-1] == warning
    summary = pd.read_csv("out/summary.csv")
    assert list(summary.columns[-2:]) == ["out_of_range", "distance"]
    assert list(summary["distance"] > 1) == [False, False, True]
    assert (summary["distance"] > 0).all()
    assert json.loads(Path("out/manifest.json").read_text())["far"] == 1
    Path("many.csv").write_text("t\n" + "5\n" * 150 + "500\n")
    outcome = cde("predict", line_run.run, "many.csv", "--out", "many")
    assert json.loads(Path("many/manifest.json").read_text())["far"] == 1
    assert "farther" not in outcome.err, "so few may be ordinary"
    model = TrainedModel.load(Run.open(line_run.run))
    np.testing.assert_allclose(model.distance(pd.read_csv("new.csv")), summary["distance"], rtol=1e-12)
    known = cde("predict", line_run.run, line_run.table, "--out", "known", "--json")
    assert json.loads(known.out)["far"] <= 2
    run = with_setting(line_run.run, Path("run"), "predict.chunk_rows", 1)
    assert cde("predict", run, line_run.table, "--out", "chunks").code == 0
    assert Path("chunks/summary.csv").read_bytes() == Path("known/summary.csv").read_bytes()


def test_rows_inside_the_range_of_every_input_may_be_far(line_run: Any, cde: Cde) -> None:
    run = with_distance_unit(line_run.run, Path("run"), 1e-9)
    Path("new.csv").write_text("t\n4\n5\n")
    result = cde("predict", run, "new.csv", "--out", "out", "--json")
    assert {name: json.loads(result.out)[name] for name in ("far", "out_of_range")} == {"far": 2, "out_of_range": 0}


def test_a_run_without_a_unit_of_distances_says_nothing_of_them(line_run: Any, cde: Cde) -> None:
    run = with_distance_unit(line_run.run, Path("run"), None)
    Path("new.csv").write_text("t\n5\n500\n")
    outcome = cde("predict", run, "new.csv", "--out", "out")
    assert outcome.code == 0
    assert "farther" not in outcome.err
    assert "distance" not in pd.read_csv("out/summary.csv")
    assert json.loads(Path("out/manifest.json").read_text())["far"] is None
    assert np.isnan(TrainedModel.load(Run.open(run)).distance(pd.read_csv("new.csv"))).tolist() == [True, True]


@pytest.mark.parametrize("unit", [0.0, -1.0, np.inf, [1.0], 1, "1"])
def test_a_unit_of_distances_that_is_none_is_refused(unit: Any, line_run: Any, cde: Cde) -> None:
    outcome = cde("predict", with_distance_unit(line_run.run, Path("run"), unit), line_run.table, "--out", "out")
    assert outcome.code == 6
    assert "run: expected a trained model; got one whose parts do not fit together (ValueError: " in outcome.err


def test_a_label_that_is_new_in_its_spelling_only_is_named(tiny_run: Any, cde: Cde) -> None:
    Path("new.csv").write_text("x,region\n0,North\n1,south\n")
    outcome = cde("predict", tiny_run.run, "new.csv", "--out", "out")
    assert outcome.code == 0
    assert outcome.err.splitlines()[-1] == (
        "warning: column 'region' has the new label 'North'; the training had 'north'. Is it the same label?"
    )
    assert json.loads(Path("out/manifest.json").read_text())["misspelled_labels"] == {"region": ["north", "North"]}


def test_the_inputs_out_of_range_are_counted_over_all_chunks(tiny_run: Any, cde: Cde) -> None:
    run = with_setting(tiny_run.run, Path("run"), "predict.chunk_rows", 2)
    Path("new.csv").write_text("x,region\n0,west\n0,west\n99,west\n0,north\n99,south\n0,east\n")
    assert cde("predict", run, "new.csv", "--out", "out").code == 0
    manifest = json.loads(Path("out/manifest.json").read_text())
    assert (manifest["out_of_range"], manifest["out_of_range_by_column"]) == (5, {"region": 4, "x": 2})


def test_a_warning_names_the_three_inputs_that_are_out_of_range_most_often(capsys: pytest.CaptureFixture[str]) -> None:
    counts = {"a": 9, "b": 7, "c": 5, "d": 3, "e": 1}
    result = {"rows": 9, "files": [], "seconds": 0.0, "left_out": 0, "skipped": 0, "out_of_range": 9}
    result |= {"misspelled_labels": {}, "far": None}
    for num_inputs, end in ((3, "'c' in 5);"), (5, "'c' in 5 and 2 more);")):
        some = dict(list(counts.items())[:num_inputs])
        report_result(result | {"out_of_range_by_column": some}, quiet=False)
        assert f"('a' in 9, 'b' in 7, {end} the column" in capsys.readouterr().err


FAULTY_ROWS = """\
x,region,a,b
0.123456789012345678,north,1.1,1
,north,1,1
0.3,south,1,2
0.4,,1,1
two,south,1,x
1e999,north,1,1
0.5,north,,1
"""
GOOD_ROWS = "x,region,a,b\n0.123456789012345678,north,1.1,1\n0.3,south,1,2\n0.5,north,,1\n"
FAULTS = [
    {"row": 2, "column": "x", "reason": "empty"},
    {"row": 4, "column": "region", "reason": "empty"},
    {"row": 5, "column": "x", "reason": "'two' is no number"},
    {"row": 5, "column": "b", "reason": "'x' is no number"},
    {"row": 6, "column": "x", "reason": "1e999 is no finite number up to 1e+150"},
]


@pytest.mark.parametrize("chunk_rows", [1, 2, 1024])
@pytest.mark.parametrize("source", ["new.csv", "new.csv.gz", "new.parquet", "-"])
def test_rows_with_faults_are_skipped_if_asked_and_the_others_are_predicted_as_without_them(
    source: str, chunk_rows: int, tiny_run: Any, cde: Cde, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = with_setting(tiny_run.run, Path("run"), "predict.chunk_rows", chunk_rows)
    Path("new.csv").write_text(FAULTY_ROWS)
    Path("new.csv.gz").write_bytes(gzip.compress(FAULTY_ROWS.encode()))
    Path("good.csv").write_text(GOOD_ROWS)
    if source == "new.parquet":
        pd.read_csv("new.csv", dtype=str, keep_default_na=False).to_parquet("new.parquet")
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(FAULTY_ROWS.encode())))
    outcome = cde("predict", run, source, "--out", "out", "--on-fault", "skip", "--quiet", "--plots", "--components")
    assert outcome.code == 7
    lines = [line for line in outcome.err.splitlines() if "faults" in line]
    (line,) = lines
    assert line == (
        "warning: 4 of 7 rows have faults and were skipped, first row 2, column 'x': empty; out/manifest.json names "
        "them."
    )
    manifest = json.loads(Path("out/manifest.json").read_text())
    assert (manifest["rows"], manifest["skipped"], manifest["left_out"]) == (3, 4, 0)
    assert manifest["faults"] == FAULTS
    assert cde("predict", run, "good.csv", "--out", "clean", "--components").code == 0
    for name in ("summary.csv", "samples.csv"):
        found, clean = (pd.read_csv(Path(folder) / name, float_precision="round_trip") for folder in ("out", "clean"))
        assert list(found["row"]) == [{1: 1, 2: 3, 3: 7}[row] for row in clean["row"]]
        if name == "summary.csv":  # the draws also depend on the row's position
            pd.testing.assert_frame_equal(found.drop(columns="row"), clean.drop(columns="row"), rtol=1e-11)
    assert cde("predict", tiny_run.run, "new.csv", "--out", "whole", "--on-fault", "skip").code == 7
    assert Path("out/samples.csv").read_bytes() == Path("whole/samples.csv").read_bytes()
    assert len(np.load("out/mixture.npz")["means"]) == 3


def test_rows_with_faults_stop_a_prediction_unless_asked(tiny_run: Any, cde: Cde) -> None:
    Path("new.csv").write_text(FAULTY_ROWS)
    for options in ([], ["--on-fault", "stop"]):
        outcome = cde("predict", tiny_run.run, "new.csv", "--out", "out", *options)
        assert (outcome.code, outcome.out, Path("out").exists()) == (3, "", False)
    Path("new.csv").write_text(GOOD_ROWS)
    outcome = cde("predict", tiny_run.run, "new.csv", "--out", "out", "--on-fault", "skip", "--json")
    assert (outcome.code, outcome.err) == (0, "")
    assert (json.loads(outcome.out)["skipped"], json.loads(outcome.out)["faults"]) == (0, [])


def test_a_table_without_a_good_row_is_an_error_although_faults_are_skipped(tiny_run: Any, cde: Cde) -> None:
    Path("new.csv").write_text("x,region\nfar,north\n,south\n")
    outcome = cde("predict", tiny_run.run, "new.csv", "--out", "out", "--on-fault", "skip")
    assert (outcome.code, Path("out").exists()) == (3, False)
    assert outcome.err == (
        "error: new.csv: expected at least one row without faults; got none, first row 1, column 'x': 'far' is no "
        "number. Clean the file.\n"
    )


def test_the_faults_that_are_named_are_a_hundred_and_all_are_counted(tiny_run: Any, cde: Cde) -> None:
    Path("new.csv").write_text("x,region\n" + "0,north\n" + ",\n" * 150)
    outcome = cde("predict", tiny_run.run, "new.csv", "--out", "out", "--on-fault", "skip", "--json")
    assert outcome.code == 7
    assert outcome.err.startswith(
        "warning: 150 of 151 rows have faults and were skipped, first row 2, column 'x': empty;"
    )
    result = json.loads(outcome.out)
    assert (result["rows"], result["skipped"], len(result["faults"])) == (1, 150, 100)


def test_a_gap_that_the_run_drops_is_no_fault(odd_run: Path, cde: Cde) -> None:
    Path("new.csv").write_text("how far/km,../é t,b\n1,1,1\n,1,2\nfar,1,2\n")
    outcome = cde("predict", odd_run, "new.csv", "--out", "out", "--on-fault", "skip")
    assert outcome.code == 7
    assert "warning: 1 of 2 rows have gaps and were left out" in outcome.err
    assert "warning: 1 of 3 rows have faults and were skipped, first row 3" in outcome.err
    manifest = json.loads(Path("out/manifest.json").read_text())
    assert (manifest["rows"], manifest["left_out"], manifest["skipped"]) == (1, 1, 1)


def test_standard_input_is_predicted_like_a_file(
    predicted: Path, tiny_run: Any, cde: Cde, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(tiny_run.table.read_bytes())))
    assert cde("predict", tiny_run.run, "-", "--out", "out").code == 0
    assert Path("out/summary.csv").read_bytes() == (predicted / "summary.csv").read_bytes()


def test_a_glob_of_partitions_is_predicted_in_the_order_of_its_names(predicted: Path, tiny_run: Any, cde: Cde) -> None:
    header, *rows = tiny_run.table.read_text().splitlines()
    for number, part in enumerate((rows[:50], rows[50:]), start=1):
        Path(f"part{number}.csv").write_text("\n".join([header, *part]) + "\n")
    assert cde("predict", tiny_run.run, "part*.csv", "--out", "out").code == 0
    assert_same_predictions(Path("out"), predicted)
    assert set(json.loads(Path("out/manifest.json").read_text())["inputs"]) == {"part1.csv", "part2.csv"}


def test_one_numeric_input_gets_a_heat_map(line_run: Any, cde: Cde) -> None:
    outcome = cde("predict", line_run.run, line_run.table, "--out", "out", "--plots", "--samples", "0")
    assert outcome.out.splitlines() == ["out/summary.csv", "out/plots/heatmap.png", "out/plots/ridges.png"]
    assert all(path.read_bytes().startswith(PNG) for path in Path("out/plots").iterdir())


@pytest.mark.slow
@pytest.mark.parametrize(("of_x", "of_y"), [(1e-12, 1.0), (1.0, 1e-12), (1e15, 1e9)])
def test_a_training_scores_the_same_in_every_unit(of_x: float, of_y: float, cde: Cde) -> None:
    rng = np.random.default_rng(0)
    x = rng.uniform(0, 6, 200)
    y = np.sin(x) + 0.3 * rng.standard_normal(200)
    Path("config.yaml").write_text("schema_version: 1\ndata: {path: table.csv, inputs: [x], targets: [y]}\n")
    quick = ["--set", "training.max_steps=20", "--set", "training.ensemble=1", "--json", "--overwrite"]
    scores = []
    for unit_x, unit_y in ((1.0, 1.0), (of_x, of_y)):
        pd.DataFrame({"x": unit_x * x, "y": unit_y * y}).to_csv("table.csv", index=False)
        metrics = json.loads(cde("train", "config.yaml", "--out", "run", *quick).out)
        scores.append((metrics["nlpd"]["value"] - np.log(unit_y), metrics["crps"]["value"] / unit_y))
    # Rounding of the last digit grows through hundreds of steps of an optimiser.
    np.testing.assert_allclose(scores[1], scores[0], atol=5e-3)


def test_a_random_split_of_rows_that_belong_together_is_warned_of(cde: Cde, tmp_path: Path) -> None:
    group, rng = np.repeat(np.arange(20), 8), np.random.default_rng(0)
    y = 3 * rng.standard_normal(20)[group] + rng.standard_normal(160)
    pd.DataFrame({"site": group, "x": rng.standard_normal(160), "y": y}).to_csv("table.csv", index=False)
    Path("config.yaml").write_text("schema_version: 1\ndata: {path: table.csv, inputs: [x], targets: [y]}\n")
    warning = (
        "rows with the same 'site' are consecutive and alike (20 values): a random split gives scores that are too "
        "good if the model is to predict new values; in that case set data.split to {kind: group, column: site}."
    )
    assert f"warning: {warning}\n" in cde("check", "config.yaml").out
    quick = ["--set", "training={max_steps: 1, ensemble: 1, warm_start: {max_steps: 1}}", "--set", "model.layers=[]"]
    outcome = cde("train", "config.yaml", "--out", "run", *quick)
    assert f"[warning] {warning}\n" in outcome.err
    assert json.loads(Path("run/manifest.json").read_text())["warnings"] == [warning]
    assert cde("report", "run", "--no-explorer").code == 0
    assert "Rows with the same" in Path("run/report.html").read_text()
    assert warning not in cde("check", "config.yaml", "--set", "data.split={kind: group, column: site}").out


# --- cde evaluate -------------------------------------------------------------------------------------------------


def test_a_table_that_was_trained_on_is_scored_with_a_warning(tiny_run: Any, tmp_path: Path, cde: Cde) -> None:
    table, split = pd.read_csv(tiny_run.table), np.load(tiny_run.run / "split.npz")
    some = table.sample(frac=1, random_state=0)[["b", "region", "a", "x"]].head(50)
    num_some = int(np.isin(some.index, split["train"]).sum())
    some.to_parquet(tmp_path / "some.parquet")
    table.loc[split["test"]].to_csv(tmp_path / "held_out.csv", index=False)
    advice = "their scores and pictures are too good. Name a table of other rows, or none for the run's held-out rows."
    warning = f"{num_some} of these 50 rows were trained on; {advice}"
    outcome = cde("evaluate", tiny_run.run, tmp_path / "some.parquet", "--json", "--gate", "crps<1e9")
    assert (outcome.code, outcome.err) == (0, f"warning: {warning}\n")
    scores = json.loads(outcome.out)
    assert scores["warnings"] == [warning]
    assert scores["verdict"] == (
        f"It is not known whether these densities can be trusted: {num_some} of these 50 rows were trained on."
    )
    assert scores["worth"].endswith(f"is unknown: {num_some} of these 50 rows were trained on.")
    outcome = cde("plot", tiny_run.run, tmp_path / "some.parquet", "--out", "pictures", "--json")
    assert (outcome.code, outcome.err) == (0, f"warning: {warning}\n")
    assert json.loads(outcome.out)["warnings"] == [warning]
    for path in ((), (tmp_path / "held_out.csv",)):
        outcome = cde("evaluate", tiny_run.run, *path, "--json")
        assert (outcome.code, outcome.err) == (0, "")
        assert "warnings" not in json.loads(outcome.out)


def test_the_table_of_a_run_is_known_after_it_has_moved(tiny_run: Any, tmp_path: Path, cde: Cde) -> None:
    moved, changed = tmp_path / "moved.csv", tmp_path / "changed.csv"
    moved.write_bytes(tiny_run.table.read_bytes())
    pd.read_csv(moved).iloc[::-1].to_csv(changed, index=False)
    num_rows, num_held_out = len(pd.read_csv(moved)), len(np.load(tiny_run.run / "split.npz")["test"])
    note = (
        "moved.csv has the content of the table that the run was trained on: "
        f"the {num_held_out} of its {num_rows} rows that were held out are used."
    )
    there, here = (cde("evaluate", tiny_run.run, *path, "--json") for path in ((), (moved,)))
    assert (here.code, here.err) == (0, f"warning: {note}\n")
    found = json.loads(here.out)
    assert found.pop("warnings") == [note]
    assert found == json.loads(there.out)
    assert cde("plot", tiny_run.run, moved, "--out", "pictures").err == f"warning: {note}\n"
    other = json.loads(cde("evaluate", tiny_run.run, changed, "--json").out)
    assert other["num_rows"] == num_rows, "the same rows in another order are another table, of which most were seen"
    assert "rows were trained on" in other["warnings"][0]


def test_evaluate_says_how_many_rows_ask_for_what_the_training_does_not_hold(tiny_run: Any, cde: Cde) -> None:
    table = pd.read_csv(tiny_run.table).head(8)
    table["x"] += 0.001
    table.loc[:2, "region"] = "nowhere"
    table.loc[3, "x"] = 1e6
    table.to_csv("new.csv", index=False)
    outcome = cde("evaluate", tiny_run.run, "new.csv")
    assert "warning: 4 of these 8 rows are outside the range of the training data or have labels" in outcome.err
    table.drop(index=range(4)).to_csv("new.csv", index=False)
    assert cde("evaluate", tiny_run.run, "new.csv").err == ""


def test_pictures_of_another_table_need_a_folder_of_their_own(tiny_run: Any, cde: Cde) -> None:
    before = {path.name: path.read_bytes() for path in (tiny_run.run / "plots").iterdir()}
    outcome = cde("plot", tiny_run.run, tiny_run.table)
    assert outcome.code == 2
    assert "--out: expected a folder, as pictures of another table do not belong to the run; got none." in outcome.err
    assert {path.name: path.read_bytes() for path in (tiny_run.run / "plots").iterdir()} == before


@needs_tensorflow
def test_evaluate_repeats_the_scores_of_the_training_without_the_training(tiny_run: Any, cde: Cde) -> None:
    outcome = cde("evaluate", tiny_run.run, "--json")
    metrics = json.loads(outcome.out)
    assert metrics == json.loads((tiny_run.run / "metrics.json").read_text())
    assert metrics["local"] == {}  # twelve rows cannot tell
    scores = {
        "num_rows",
        "nlpd",
        "crps",
        "energy_score",
        "variogram_score",
        "cde_loss",
        "mae",
        "interval_score",
        "rmse",
    }
    scores |= {"width", "entropy", "coverage", "hpd_coverage", "pit_ks", "rank_ks"}
    assert set(metrics) == scores | {"baselines", "skill", "worth", "local", "verdict", "reasons"}
    assert set(metrics["coverage"]) == {"0.5", "0.9", "0.95"}
    assert (
        set(metrics["baselines"])
        == set(metrics["skill"])
        == {"climatology", "linear_gaussian", "nearest_neighbours", "sparse_gp"}
    )
    assert set(metrics["baselines"]["climatology"]) == scores
    assert metrics["num_rows"] == 12
    assert all(np.isfinite([metrics[name][key] for key in ("value", "se")]).all() for name in ("nlpd", "crps"))


def test_the_score_of_another_table_is_that_of_its_predictions(predicted: Path, tiny_run: Any, cde: Cde) -> None:
    pd.read_csv(tiny_run.table, float_precision="round_trip").to_parquet("other.parquet")
    metrics = json.loads(cde("evaluate", tiny_run.run, "other.parquet", "--json").out)
    log_density = pd.read_csv(predicted / "summary.csv")["log_density"]
    assert metrics["num_rows"] == 120
    assert metrics["nlpd"]["value"] == pytest.approx(-log_density.mean(), rel=1e-9)
    assert metrics["nlpd"]["se"] == pytest.approx(log_density.sem(), rel=1e-9)


def test_scores_do_not_depend_on_the_size_of_the_chunks(tiny_run: Any, cde: Cde) -> None:
    run = with_setting(tiny_run.run, Path("run"), "predict.chunk_rows", 5)
    chunked, whole = (dict(flatten(json.loads(cde("evaluate", path, "--json").out))) for path in (run, tiny_run.run))
    assert chunked == {key: pytest.approx(v, rel=1e-9) if isinstance(v, float) else v for key, v in whole.items()}


def test_a_gate_that_fails_prints_the_scores_and_exits_with_5(tiny_run: Any, cde: Cde) -> None:
    outcome = cde(
        "evaluate", tiny_run.run, "--json", "--gate", "nlpd>100", "--gate", "crps_skill>2", "--gate", "crps<9"
    )
    assert outcome.code == 5
    assert json.loads(outcome.out)["num_rows"] == 12
    first, second = outcome.err.splitlines()
    assert re.fullmatch(rf"error: {tiny_run.run}: --gate: expected nlpd > 100; got [-\d.]+\.", first)
    assert re.fullmatch(rf"error: {tiny_run.run}: --gate: expected crps_skill > 2; got [-\d.]+ against \w+\.", second)
    assert cde("evaluate", tiny_run.run, "--gate", "num_rows>=12").code == 0


@pytest.mark.slow
def test_of_very_many_held_out_rows_some_are_scored_and_everybody_is_told(
    line_run: Any, cde: Cde, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scoring, "SCORED_ROWS", 10)
    command = ("train", line_run.config, "--set", "training.max_steps=25", "--out", "run")
    assert "the scores are for 10 rows drawn at random from 16 held-out rows." in cde(*command).err
    manifest, metrics = (json.loads(Path(f"run/{name}.json").read_text()) for name in ("manifest", "metrics"))
    assert manifest["warnings"] == ["the scores are for 10 rows drawn at random from 16 held-out rows."]
    assert (metrics["num_rows"], metrics["drawn_from"]) == (10, 16)
    assert json.loads(cde("evaluate", "run", "--json").out) == metrics, "the same rows are drawn again"
    assert "\nrows: 10, drawn from 16\n" in cde("evaluate", "run").out


@pytest.mark.parametrize("command", ["evaluate", "plot"])
def test_a_run_whose_table_has_changed_or_gone_asks_for_a_table(command: str, tiny_run: Any, cde: Cde) -> None:
    shutil.copy(tiny_run.table, "table.csv")
    run = with_setting(tiny_run.run, Path("run"), "data.path", str(Path("table.csv").absolute()))
    manifest = json.loads((run / "manifest.json").read_text())
    manifest["inputs"] = {str(Path("table.csv").absolute()): sha256(tiny_run.table)}
    write_manifest(run, manifest)
    message = "error: table.csv: expected the table that run was trained on; got {}. Name a table after the run.\n"
    Path("table.csv").write_text(tiny_run.table.read_text().replace("north", "south", 1))
    changed = cde(command, run)
    assert (changed.code, changed.err) == (6, message.format("different content"))
    Path("table.csv").unlink()
    gone = cde(command, run)
    assert (gone.code, gone.err) == (6, message.format("no such file"))
    assert cde(command, run, tiny_run.table, *(["--out", "pictures"] if command == "plot" else [])).code == 0


# --- looking at runs ----------------------------------------------------------------------------------------------


def test_plot_draws_every_picture_as_svg_with_a_heat_map_for_one_input(line_run: Any, cde: Cde) -> None:
    outcome = cde("plot", line_run.run, "--out", "pictures", "--format", "svg")
    names = {"heatmap.svg", "ridges.svg", "pit.svg", "ecdf.svg", "coverage.svg", "latent.svg", "history.svg"}
    assert names_in(Path("pictures")) == names
    assert {Path(line).name for line in outcome.out.splitlines()} == names
    for path in Path("pictures").iterdir():
        assert path.read_bytes().startswith(SVG)
    assert "kg" in Path("pictures/heatmap.svg").read_text()


def test_the_report_is_one_file_that_needs_no_other(line_run: Any, cde: Cde) -> None:
    run = Path("run")
    shutil.copytree(line_run.run, run)
    outcome = cde("report", run)
    assert (outcome.code, outcome.out) == (0, "run/report.html\nrun/report.json\nrun/report.md\n")
    page = (run / "report.html").read_text()
    assert len(page) < 3_000_000
    assert json.loads((run / "report.json").read_text())["trust"][0] in page
    assert "# Model card: run" in (run / "report.md").read_text()
    assert not re.search(r"""(src|href)=["'](?!data:|#)""", page)
    assert page.count("data:image/png;base64,") == len(list((run / "plots").iterdir()))
    assert "accel" not in page
    assert cde("evaluate", run, "--json").code == 0, "the report is no part of what is verified"


def test_info_and_compare_say_what_runs_are_and_where_they_differ(tiny_run: Any, line_run: Any, cde: Cde) -> None:
    info = json.loads(cde("info", tiny_run.run, "--json").out)
    assert info["data"] == {"path": str(tiny_run.table), "inputs": ["x", "region"], "targets": ["a", "b"]}
    assert info["transforms"] == {"a": "identity", "b": "log"}
    assert info["trainings"] == [{"name": "a, b", "steps": 500, "kept_step": 500}]
    assert (info["rows"]["train"], info["metrics"]["num_rows"]) == (108, 12)
    outcome = cde("compare", tiny_run.run, line_run.run, "--json")
    compared = json.loads(outcome.out)
    assert compared[str(tiny_run.run)]["settings"]["training.max_steps"] == 500
    assert compared[str(line_run.run)]["settings"]["training.max_steps"] == 100
    assert "training.learning_rate" not in compared[str(tiny_run.run)]["settings"]
    header, *lines = cde("compare", tiny_run.run, line_run.run).out.splitlines()
    assert header.split() == [str(tiny_run.run), str(line_run.run)]
    (steps,) = [line.split() for line in lines if line.startswith("settings.training.max_steps")]
    assert steps == ["settings.training.max_steps", "500", "100"]


def test_scores_in_different_units_are_not_put_on_one_line(tiny_run: Any, line_run: Any, cde: Cde) -> None:
    outcome = cde("compare", tiny_run.run, line_run.run, "--all")
    assert "baselines" not in cde("compare", tiny_run.run, line_run.run).out
    lines = {re.split(r"  +", line)[0]: re.split(r"  +", line)[1:] for line in outcome.out.splitlines()[1:]}
    for score, units in {
        "nlpd": ("nats, a in m, b", "nats, y in kg"),
        "crps": ("a, b in training sds", "y in kg"),
        "energy_score": ("a, b in training sds", "y in training sds"),
        "baselines.climatology.rmse": ("a, b in training sds", "y in kg"),
    }.items():
        first, second = (lines[f"metrics.{score} [{unit}]"] for unit in units)
        assert first[1] == second[0] == "-"
    assert "-" not in lines["metrics.skill.climatology.crps"] + lines["metrics.coverage.0.9"]
    assert outcome.err.splitlines() == [
        (
            f"warning: the runs have different targets ({tiny_run.run}: 'a', 'b'; {line_run.run}: 'y'); only coverage, "
            "pit_ks and skill can be compared."
        ),
        (
            f"warning: the runs were scored on different tables ({tiny_run.run}: '{tiny_run.table}'; {line_run.run}: "
            f"'{line_run.table}'); a better score may mean easier rows."
        ),
    ]
    units = {run: values["units"] for run, values in json.loads(cde("compare", line_run.run, "--json").out).items()}
    assert units[str(line_run.run)]["crps"] == "y in kg"


@pytest.mark.slow
def test_runs_of_the_same_rows_are_compared_without_a_warning_and_others_with_one(line_run: Any, cde: Cde) -> None:
    settings = ("--set", "training.max_steps=2", "--set", "training.ensemble=1")
    assert cde("train", line_run.config, *settings, "--out", "same", "--quiet").code == 0
    assert cde("train", line_run.config, *settings, "--set", "seed=5", "--out", "other", "--quiet").code == 0
    same = cde("compare", line_run.run, "same")
    assert same.err == ""
    (crps,) = [line for line in same.out.splitlines() if line.startswith("metrics.crps")]
    assert crps.startswith("metrics.crps [y in kg]  ")
    rows, sds = cde("compare", line_run.run, "same", "other").err.splitlines()
    assert rows == (
        f"warning: the runs were scored on different rows of one table ({line_run.run}, same: 16; other: 16); a better "
        "score may mean easier rows."
    )
    assert re.fullmatch(
        r"warning: scores in training sds use the sds of each run's own training rows, which differ by up to [\d.]+ % "
        rf"\({line_run.run}, same, other\)\.",
        sds,
    )


def test_no_command_but_train_imports_tensorflow_on_a_real_run(
    line_run: Any, modules_after: Callable[..., set[str]]
) -> None:
    shutil.copytree(line_run.run, "run")
    table = str(line_run.table)
    loaded = modules_after(
        ["init", table, "--target", "y", "-o", "new.yaml"],
        ["check", "new.yaml"],
        ["predict", "run", table, "--out", "out", "--components", "--quiet"],
        ["evaluate", "run"],
        ["plot", "run", "--out", "pictures"],
        ["report", "run"],
        ["info", "run"],
        ["compare", "run", "run"],
    )
    assert {"numpy", "matplotlib", "jinja2"} <= loaded, "the commands have not run"
    assert loaded & TENSORFLOW == set()


# --- awkward tables -----------------------------------------------------------------------------------------------

ODD_CONFIG = """\
schema_version: 1
data:
  path: "-"
  inputs: ["how far/km"]
  targets: [{column: "../é t", transform: {kind: identity}}, {column: b, transform: {kind: identity}}]
  split: {kind: random, test: 0}
  missing: {kind: drop}
model: {layers: [{num_gps: 1}]}
training: {max_steps: 25, ensemble: 2, warm_start: {max_steps: 3}}
predict: {num_components: 8}
"""


@pytest.fixture(scope="module")
def odd_run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A run of 14 rows from standard input with the default number of inducing points, gaps and no rows held out."""
    from cde_app.cli import main

    if ONLY_PREDICTS:
        pytest.skip("trains, which needs TensorFlow")
    folder = tmp_path_factory.mktemp("odd")
    (folder / "odd.yaml").write_text(ODD_CONFIG)
    rows = [f"{n},{n % 5 + 0.1 * n},{n % 3}" for n in range(14)]
    table = "\n".join(["how far/km,../é t,b", ",1,2", *rows, "7,,1", "8,1,"]) + "\n"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(table.encode())))
        assert main(["train", str(folder / "odd.yaml"), "--out", str(folder / "run"), "--quiet"]) == 0
    yield folder / "run"
    assert {path.name for path in folder.iterdir()} == {"odd.yaml", "run"}


def test_fewer_rows_than_inducing_points_can_be_learned(odd_run: Path) -> None:
    manifest = json.loads((odd_run / "manifest.json").read_text())
    assert manifest["rows"] == {"train": 14, "validation": 0, "test": 0}
    assert manifest["inputs"] == {}


def test_a_run_without_held_out_rows_has_pictures_a_report_and_no_scores(odd_run: Path, cde: Cde) -> None:
    metrics = json.loads((odd_run / "metrics.json").read_text())
    assert metrics == {"num_rows": 0, **in_words({})}
    assert {path.name for path in (odd_run / "plots").iterdir()} >= {"heatmap_.._é_t.png", "ridges_b.png", "joint.png"}
    assert cde("report", odd_run, "--no-explorer").code == 0
    outcome = cde("evaluate", odd_run)
    assert outcome.code == 6
    assert "error: <stdin>: expected the table that" in outcome.err
    assert "was trained on; got standard input, which cannot be read again." in outcome.err


def test_rows_with_gaps_are_left_out_and_counted(odd_run: Path, cde: Cde) -> None:
    Path("new.csv").write_text("how far/km,../é t,b\n1,1,1\n,1,2\n3,,2\n")
    outcome = cde("predict", odd_run, "new.csv", "--out", "out", "--plots")
    assert outcome.code == 0
    assert "warning: 1 of 3 rows have gaps and were left out" in outcome.err
    summary = pd.read_csv("out/summary.csv")
    assert list(summary["row"]) == [1, 3]
    assert list(summary["log_density"].notna()) == [True, False]
    metrics = json.loads(cde("evaluate", odd_run, "new.csv", "--json").out)
    assert metrics["num_rows"] == 1


def test_a_fault_below_a_row_that_is_left_out_is_given_its_own_row(odd_run: Path, cde: Cde) -> None:
    Path("new.csv").write_text("how far/km,../é t,b\n,1,2\n1,1,1\nfar,1,1\n")
    for command in (("evaluate", odd_run, "new.csv"), ("predict", odd_run, "new.csv", "--out", "out")):
        outcome = cde(*command)
        assert outcome.code == 3
        assert "column 'how far/km' must be numbers; got 'far' in row 3 of the table" in outcome.err


def test_a_table_without_a_complete_row_leaves_the_old_predictions_alone(odd_run: Path, cde: Cde) -> None:
    Path("new.csv").write_text("how far/km\n1\n2\n")
    Path("empty.csv").write_text("how far/km,other\n,1\n,2\n")
    assert cde("predict", odd_run, "new.csv", "--out", "out").code == 0
    before = {name: sha256(Path("out") / name) for name in names_in(Path("out"))}
    outcome = cde("predict", odd_run, "empty.csv", "--out", "out", "--overwrite")
    assert outcome.code == 3
    assert outcome.err == "error: empty.csv: expected at least one complete row; got none. Fill the gaps.\n"
    assert {name: sha256(Path("out") / name) for name in names_in(Path("out"))} == before
    assert sorted(os.listdir("out")) == ["manifest.json", "samples.csv", "summary.csv"]


@pytest.mark.slow
def test_composite_kernels_and_mean_functions_train_predict_and_evaluate(line_run: Any, cde: Cde) -> None:
    kernel = (
        "{kind: sum, kernels: [{kind: product, kernels: [{kind: periodic, columns: [t], period: 6.0}, "
        "{kind: squared_exponential}]}, {kind: linear}]}"
    )
    layer = f"{{num_gps: 1, num_inducing: 6, inducing: {{kind: greedy_variance}}, kernel: {kernel}}}"
    text = with_one(line_run.config.read_text(), "layers: []", f"layers: [{layer}]")
    text = with_one(text, "num_inducing: 10,", f"num_inducing: 10, kernel: {kernel}, mean: {{kind: linear}},")
    Path("config.yaml").write_text(text)
    shutil.copy(line_run.table, "table.csv")
    assert cde("train", "config.yaml", "--out", "run", "--quiet").code == 0
    assert cde("predict", "run", "table.csv", "--out", "out", "--quiet").code == 0
    summary = pd.read_csv("out/summary.csv")
    assert np.isfinite(summary[["y_mean", "y_sd"]].to_numpy()).all()
    metrics = json.loads(cde("evaluate", "run", "--json").out)
    assert np.isfinite(metrics["nlpd"]["value"])
