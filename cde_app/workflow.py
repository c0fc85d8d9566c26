"""The data flow as code, one function per command. Read this first.

table -> contract, X, targets -> train: warm start, steps, export -> posterior     (TensorFlow)
posterior, X -> Mixture per row -> predictions, scores, pictures, report           (NumPy)
"""

from __future__ import annotations

import contextlib
import os
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cde_app import interruption
from cde_app.comparison import Scored, comparison_warnings
from cde_app.config import Config
from cde_app.config_file import ConfigFile
from cde_app.config_file.text import commented_config, dump_config
from cde_app.data.check import TableReport, describe_table, infer_data
from cde_app.data.encoding import ColumnContract, complete_rows, encode_and_judge, misspelled_labels, row_faults
from cde_app.data.faults import RowFault
from cde_app.data.files import source_name, unchanged
from cde_app.data.prepared import PreparedTable, file_hashes, known_targets, prepare_evaluation, prepare_training
from cde_app.data.readings import read_for_training
from cde_app.data.table import FileFormat, iter_table, read_table
from cde_app.errors import DataError, RunError
from cde_app.pictures import ImageFormat, keep_pictures, missing_picture, prediction_pictures, run_pictures
from cde_app.plan import plan_trainings
from cde_app.predictions import PredictionWriter, component_arrays
from cde_app.predictive.forecast import Forecast
from cde_app.progress import Progress
from cde_app.rows import BLOCK_ROWS
from cde_app.runs.folder import held, predictions, status
from cde_app.runs.provenance import provenance
from cde_app.runs.run import Run
from cde_app.storage import write_arrays, write_atomically, write_json
from cde_app.trained_run import (
    TrainedRun,
    assemble,
    blank_metrics,
    check_same_table,
    drawn_rows_warning,
    manifest_of,
    outside_rows_warning,
    score_table,
    seen_rows_warning,
    settings_of,
)
from cde_app.training_run import check_prior, logged, train_in_run
from cde_app.trees import from_tree, to_tree
from cde_app.words import flatten

if TYPE_CHECKING:
    import pandas as pd

MOST_FAULTS = 100
"""Faults of skipped rows that the manifest of predictions names."""


# --- before training ----------------------------------------------------------------------------------------------


def init(data_path: Path, targets: Sequence[str], *, folder: Path) -> tuple[str, tuple[str, ...]]:
    """Return a complete commented configuration for a table, column kinds inferred, and the remarks that head it.

    A relative path to the table becomes one relative to the folder where the configuration will stand.

    Raises:
        DataError: the table cannot be read, or has no such target.
    """
    path = data_path
    if str(data_path) != "-" and not data_path.is_absolute():
        path = Path(os.path.relpath(data_path, folder))
    inference = infer_data(read_table(data_path), targets, path=str(path))
    remarks = "".join(f"# {remark}\n" for remark in inference.remarks)
    return remarks + commented_config(Config(schema_version=1, data=inference.data)), inference.remarks


def check(file: ConfigFile) -> TableReport:
    """Check the configuration's table and say what training will meet.

    Raises:
        ConfigError: the model does not fit the table.
        DataError: the table breaks the column contract; all faults at once.
    """
    data, source = file.config.data, source_name(file.config.data.path)
    with tempfile.TemporaryDirectory() as folder, file.placing_faults():
        chunks = iter_table(data.path, chunk_rows=BLOCK_ROWS, form=data.format)
        readings = read_for_training(data, chunks, Path(folder) / "readings.npy", source=source)
        return describe_table(file.config, readings, source=source)


# --- training -----------------------------------------------------------------------------------------------------


def train(
    file: ConfigFile, run_path: Path, *, resume: bool, overwrite: bool, on_event: Callable[[Progress], None]
) -> dict[str, Any]:
    """Train a model, score it on the held-out rows, and write the run directory.

    Args:
        file: the configuration.
        run_path: the run directory.
        resume: go on from the last checkpoint of an unfinished run.
        overwrite: replace a run that is there.
        on_event: told of every stage and every few steps.

    Returns:
        The scores, as in `metrics.json`.

    Raises:
        ConfigError: the latent prior cannot be one, or the model does not fit the table.
        DataError: the table breaks the column contract.
        NumericalError: training failed numerically after every retry.
        RunError: the run directory may not be written.
    """
    started = time.monotonic()
    config = file.config
    with Run.resume(run_path) if resume else Run.create(run_path, overwrite=overwrite) as run, interruption.heeded():
        resolved = dump_config(config)
        if resume and run.read_bytes("config.yaml").decode() != resolved:
            raise RunError(
                f"{run.file('config.yaml')}: a run is resumed with the settings it began with; got others. "
                "Name the same CONFIG and --set, or train anew with --overwrite."
            )
        with run.scratch() as scratch:
            on_event(Progress("data", config.data.path))
            with file.placing_faults():
                table = prepare_training(config, scratch)
                check_prior(config)
            run.write_text("config.yaml", resolved)
            run.write_bytes("config.source.yaml", file.source)
            on_event = logged(run, on_event)
            for warning in table.warnings:
                on_event(Progress("warning", warning))
            on_event(Progress("start", "loading TensorFlow"))
            rows = {part: len(getattr(table.split, part)) for part in ("train", "validation", "test")}
            plan = plan_trainings(config, num_rows=rows["train"], num_validation_rows=rows["validation"])
            trained = train_in_run(config, plan, table, run, scratch, on_event)
            model = assemble(table, trained.predictor, trained.rounded, seed=config.seed)
            model.store(run)
            drawn = drawn_rows_warning(table)
            on_event(Progress("evaluation", drawn or f"{len(table.split.test)} held-out rows"))
            settings = config.model_dump(mode="json")
            metrics, scored = score_table(model, table, settings)
            run.write_json("metrics.json", metrics)
            on_event(Progress("pictures"))
            _, failures = keep_pictures(
                lambda: run_pictures(run.history(), model, table, scored, "png"),
                lambda name, content: run.write_bytes(f"plots/{name}", content),
            )
            missing = [missing_picture(what, error) for what, error in failures.items()]
            for warning, error in zip(missing, failures.values(), strict=True):
                on_event(Progress("warning", warning))
                run.log("".join(traceback.format_exception(error)))
        facts = {
            "seed": config.seed,
            "settings": settings,
            "seconds": time.monotonic() - started,
            "plan": to_tree(plan),
            "trainings": [
                {"name": unit.name, "steps": one.steps, "kept_step": one.kept_step}
                for unit, one in zip(plan.units, trained.trainings, strict=True)
            ],
            "uses_neighbours": trained.predictor.neighbours is not None,
            "calibration": [vars(calibration) for calibration in trained.calibrations],
            "transforms": {
                name: transform.kind
                for name, transform in zip(table.contract.targets, trained.predictor.transforms, strict=True)
            },
            "order_of_targets": [table.contract.targets[place] for place in trained.predictor.order],
            "rows": rows,
            "dropped_features": list(table.contract.dropped),
            "warnings": [
                *table.warnings,
                *(found.warning() for found in trained.rounded),
                *([drawn] if drawn else []),
                *missing,
            ],
            "inputs": table.hashes,
        }
        run.finish("done", facts)
    return metrics


# --- scores -------------------------------------------------------------------------------------------------------


def evaluate(run_path: Path, data_path: Path | None) -> dict[str, Any]:
    """Score a run on the rows it held out, or on every row of another table.

    Returns:
        The scores, and `warnings` if there are any: whole sentences.

    Raises:
        DataError: the table breaks the column contract or lacks the targets.
        RunError: the run is missing, incomplete, corrupt or from a newer format, or its table has changed.
    """
    run = Run.open(run_path)
    model = TrainedRun.load(run)
    settings = settings_of(run)
    with _table_of_run(run, model, settings["data"]["path"], data_path) as table:
        metrics, _ = score_table(model, table, settings)
        warnings = [] if data_path is None else [seen_rows_warning(run, model, table), outside_rows_warning(table)]
    found = [warning for warning in warnings if warning]
    return metrics | ({"warnings": found} if found else {})


def blank_scores(run_path: Path) -> dict[str, Any]:
    """Return scores of the form of `evaluate`'s, whose numbers mean nothing: they tell the names before the scoring.

    Raises:
        RunError: the run is missing, incomplete, corrupt or from a newer format.
    """
    return blank_metrics(from_tree(ColumnContract, Run.open(run_path).read_json("columns.json")).targets)


@contextlib.contextmanager
def _table_of_run(run: Run, model: TrainedRun, own_path: str, data_path: Path | None) -> Iterator[PreparedTable]:
    """Prepare the table to judge a run by: its own with its split, or another one, all of it held out."""
    if data_path is None:
        check_same_table(run, own_path)
    path, split = (own_path, model.split) if data_path is None else (data_path, None)
    with tempfile.TemporaryDirectory() as folder:
        table = prepare_evaluation(path, model.contract, split, Path(folder))
        if data_path is None:
            check_same_table(run, path, table.hashes)
        yield table


# --- predictions --------------------------------------------------------------------------------------------------


def predict(
    run_path: Path,
    data_path: Path,
    out_path: Path,
    *,
    num_samples: int | None,
    quantiles: Sequence[float] | None,
    file_format: FileFormat,
    plots: bool,
    components: bool,
    overwrite: bool,
    skip_faults: bool,
    seed: int | None,
) -> dict[str, Any]:
    """Predict every row of a table, chunk by chunk, into a folder.

    Args:
        run_path: the run directory.
        data_path: CSV or Parquet; needs the input columns; with the targets, `log_density` is written too.
        out_path: the folder for the predictions.
        num_samples: draws per row; None takes the run's setting, 0 writes none.
        quantiles: levels in (0, 1); None takes the run's setting.
        file_format: of the two tables.
        plots: draw the predictions.
        components: write the mixtures, which holds them in memory.
        overwrite: replace predictions that are there.
        skip_faults: leave out rows with faults in place of stopping.
        seed: of the draws; None takes the run's.

    Returns:
        {"rows", "files", "seconds", "out_of_range", "out_of_range_by_column", "misspelled_labels", "left_out",
        "skipped", "faults", "warnings"}; `left_out` counts rows that `missing: drop` drops, `skipped` rows with faults,
        of which the first are told, and the warnings name pictures that could not be drawn.

    Raises:
        DataError: the table breaks the column contract.
        RunError: the run cannot be read, or the folder may not be written.
    """
    started = time.monotonic()
    run = Run.open(run_path)
    model, stored = TrainedRun.load(run), settings_of(run)
    contract, settings, source = model.contract, stored["predict"], source_name(data_path)
    seed = stored["seed"] if seed is None else seed
    num_samples = settings["samples"] if num_samples is None else num_samples
    forecasts: list[Forecast] = []
    pictured: pd.DataFrame | None = None
    num_outside, num_outside_by_column, num_read = 0, Counter[str](), 0
    num_skipped, faults, misspelled = 0, list[RowFault](), dict[str, tuple[str, str]]()
    with predictions(out_path, overwrite=overwrite) as folder:
        writer = PredictionWriter(
            folder,
            target_names=contract.targets,
            quantiles=settings["quantiles"] if quantiles is None else quantiles,
            num_samples=num_samples,
            seed=seed,
            file_format=file_format,
        )
        with writer, unchanged(data_path):
            hashes = file_hashes(data_path)
            for chunk in iter_table(data_path, chunk_rows=settings["chunk_rows"], form=contract.form):
                frame = chunk[complete_rows(contract, chunk, source=source, with_targets=False)]
                num_read += len(chunk)
                if skip_faults:
                    found = row_faults(contract, frame, source=source)
                    bad = {fault.row for fault in found}
                    frame = frame.drop(index=[row - 1 for row in bad])
                    num_skipped += len(bad)
                    faults += found[: MOST_FAULTS - len(faults)]
                if frame.empty:
                    continue
                inputs, cells_outside = encode_and_judge(contract, frame, source=source)
                forecast = model.predictor.predict(inputs)
                targets = known_targets(contract, frame, source)
                outside = cells_outside.any(axis=1)
                writer.append(forecast, row_numbers=frame.index.to_numpy() + 1, targets=targets, outside=outside)
                num_outside += int(outside.sum())
                for column, count in zip(contract.inputs, cells_outside.sum(axis=0), strict=True):
                    num_outside_by_column[column.name] += int(count)
                if outside.any():
                    misspelled = misspelled_labels(contract, frame) | misspelled
                if components:
                    forecasts.append(forecast)
                if plots and pictured is None:
                    pictured = frame
            if faults and not writer.num_rows:
                first = f"{source}: expected at least one row without faults; got none, first {faults[0]}."
                raise DataError(f"{first} Clean the file.")
            if not writer.num_rows:
                raise DataError(f"{source}: expected at least one complete row; got none. Fill the gaps.")
        files, warnings = writer.files, list[str]()
        if components:
            files.append(write_arrays(folder / "mixture.npz", component_arrays(forecasts)))
        if pictured is not None:
            drawn, failures = keep_pictures(
                partial(prediction_pictures, model, pictured, source=source),
                lambda name, content: write_atomically(folder / "plots" / name, content),
            )
            files += drawn
            if unwritten := [error for error in failures.values() if isinstance(error, RunError)]:
                raise unwritten[0]
            warnings += [missing_picture(what, error) for what, error in failures.items()]
        result = {
            "rows": writer.num_rows,
            "files": [out_path / file.relative_to(folder) for file in files],
            "seconds": time.monotonic() - started,
            "out_of_range": num_outside,
            "out_of_range_by_column": {name: count for name, count in num_outside_by_column.most_common() if count},
            "misspelled_labels": misspelled,
            "left_out": num_read - num_skipped - writer.num_rows,
            "skipped": num_skipped,
            "faults": [fault._asdict() for fault in faults],
            "warnings": warnings,
        }
        facts = {"run": run_path, "seed": seed, "samples": num_samples, "quantiles": writer.quantiles}
        write_json(folder / "manifest.json", {**result, **facts, **provenance(), "inputs": hashes})
    return result


# --- looking at runs ----------------------------------------------------------------------------------------------


def plot(
    run_path: Path, data_path: Path | None, out_path: Path | None, *, image_format: ImageFormat
) -> tuple[list[Path], list[str]]:
    """Draw a run's pictures, of the rows it held out or of another table; return the files and warnings.

    Args:
        run_path: the run directory.
        data_path: the other table.
        out_path: the folder for the pictures; None takes the run's own, for the rows that it held out.
        image_format: of the pictures.

    Raises:
        DataError: the table breaks the column contract or lacks the targets.
        RunError: the run cannot be read, its table has changed, or another process is writing the folder.
    """
    run = Run.open(run_path)
    if out_path is not None and status(out_path):
        raise RunError(f"{out_path} is a run; choose another --out, or leave it out for the run's plots folder.")
    folder = run_path / "plots" if out_path is None else out_path
    with run.held() if folder.resolve() == (run_path / "plots").resolve() else held(folder):
        model, settings = TrainedRun.load(run), settings_of(run)
        with _table_of_run(run, model, settings["data"]["path"], data_path) as table:
            _, rows = score_table(model, table, settings)
            pictures = run_pictures(run.history(), model, table, rows, image_format)
            seen = None if data_path is None else seen_rows_warning(run, model, table)
            warnings = [seen] if seen else []
            files, failures = keep_pictures(
                lambda: pictures, lambda name, content: write_atomically(folder / name, content)
            )
    if failures and not files:
        raise next(iter(failures.values()))
    return files, warnings + [missing_picture(what, error) for what, error in failures.items()]


def report(run_path: Path) -> Path:
    """Write one self-contained HTML page about a run, and return its path.

    Raises:
        RunError: the run is missing, incomplete, corrupt or from a newer format, or another process is writing it.
    """
    from cde_app.report.html import render_report

    run = Run.open(run_path)
    with run.held():
        pictures = {path.stem: path.read_bytes() for path in run.files("plots")}
        manifest = {key: value for key, value in manifest_of(run).items() if key != "settings"}
        warnings = [
            f"{name} is constant in the training rows and was left out." for name in manifest["dropped_features"]
        ]
        warnings += [warning[0].upper() + warning[1:] for warning in manifest["warnings"]]
        page = render_report(
            run_path.resolve().name,
            run.read_json("metrics.json"),
            pictures,
            run.read_bytes("config.yaml").decode(),
            manifest,
            warnings,
            run.history(),
        )
        return run.write_text("report.html", page)


def info(run_path: Path) -> dict[str, Any]:
    """Say what a run is: its table, model, training, scores and versions.

    Raises:
        RunError: the run is missing, incomplete, corrupt or from a newer format.
    """
    run = Run.open(run_path)
    manifest = manifest_of(run)
    data = manifest["settings"]["data"]
    facts = (
        "format_version",
        "cde_version",
        "seed",
        "seconds",
        "trainings",
        "transforms",
        "uses_neighbours",
        "calibration",
        "rows",
    )
    return {
        "run": str(run_path),
        "data": {
            "path": data["path"],
            "inputs": [column["column"] for column in data["inputs"]],
            "targets": [column["column"] for column in data["targets"]],
        },
        **{name: manifest[name] for name in (*facts, "dropped_features")},
        "metrics": run.read_json("metrics.json"),
    }


def compare(run_paths: Sequence[Path]) -> tuple[dict[str, Any], list[str]]:
    """Put several runs' scores, and the settings in which they differ, side by side; say why they are not comparable.

    Raises:
        RunError: a run is missing, incomplete, corrupt or from a newer format.
    """
    runs = {str(path): Run.open(path) for path in run_paths}
    stored = {name: settings_of(run) for name, run in runs.items()}
    scored = {name: Scored.by(run, seed=stored[name]["seed"]) for name, run in runs.items()}
    settings = {name: dict(flatten(values, into_lists=True)) for name, values in stored.items()}
    keys = sorted({key for values in settings.values() for key in values})
    differing = [key for key in keys if len({repr(values.get(key)) for values in settings.values()}) > 1]
    columns = {
        name: {
            "settings": {key: settings[name].get(key) for key in differing},
            "units": scored[name].score_units,
            "metrics": run.read_json("metrics.json"),
        }
        for name, run in runs.items()
    }
    return columns, comparison_warnings(scored)
