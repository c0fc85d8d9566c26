"""The data flow as code, one function per command. Read this first.

table -> contract, X, targets -> train: warm start, steps, export -> posterior     (TensorFlow)
posterior, X -> Mixture per row -> predictions, scores, pictures, report           (NumPy)
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from cde_app.config import Config
from cde_app.config_file import ConfigFile
from cde_app.config_file.text import commented_config, dump_config
from cde_app.data.check import TableReport, describe_table, infer_data
from cde_app.data.encoding import (
    ColumnContract,
    check_table,
    complete_rows,
    encode_inputs,
    encode_targets,
    fit_contract,
    has_targets,
    out_of_range,
)
from cde_app.data.files import find_files, source_name
from cde_app.data.split import Split, split_rows
from cde_app.data.table import FileFormat, iter_table, read_table
from cde_app.errors import DataError, RunError
from cde_app.evaluation.baselines import fit_climatology, fit_linear_gaussian
from cde_app.evaluation.scores import Rows, concatenate_rows, score_rows, skill, summarise
from cde_app.predictions import PredictionWriter, component_arrays
from cde_app.predictive.mixture import Mixture
from cde_app.runs.folder import check_predictions, discard_predictions
from cde_app.runs.provenance import file_hash, provenance
from cde_app.runs.run import Run
from cde_app.silence import silenced_stderr
from cde_app.storage import write_arrays, write_atomically, write_json
from cde_app.trained_run import TrainedRun, manifest_of, read_run_config

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray

    from cde_app.report.gallery import Scene
    from cde_app.training.checkpoint import Checkpoint
    from cde_app.training.session import Report, Trained

    Array = NDArray[np.float64]

ImageFormat = Literal["png", "svg"]
PICTURED_ROWS, LATENT_ROWS = 2000, 500


@dataclass(frozen=True)
class Progress:
    """What a long command says on its way."""

    stage: str
    step: int | None = None
    max_steps: int | None = None
    bound: float | None = None
    """The training objective [nats per row, standardised targets]."""
    validation_score: float | None = None
    """Mean log density of the validation rows [nats per row, user's units]."""
    steps_per_second: float | None = None
    seconds_left: float | None = None
    message: str = ""


@dataclass(frozen=True)
class Table:
    """The rows of a table that the model can use."""

    hashes: dict[str, str]
    """SHA-256 of each file when it was read."""
    frame: pd.DataFrame
    """Those rows; the index counts all rows of the table."""
    inputs: Array
    """X, [N, D], standardised."""
    targets: Array
    """[N, P], user's units."""
    contract: ColumnContract
    split: Split


# --- before training ----------------------------------------------------------------------------------------------


def init(data_path: Path, targets: Sequence[str]) -> str:
    """Return a complete commented configuration for a table, column kinds inferred.

    Raises:
        DataError: the table cannot be read, or has no such target.
    """
    inference = infer_data(read_table(data_path), targets, path=str(data_path))
    remarks = "".join(f"# {remark}\n" for remark in inference.remarks)
    return remarks + commented_config(Config(schema_version=1, data=inference.data))


def check(file: ConfigFile) -> TableReport:
    """Check the configuration's table and say what training will meet.

    Raises:
        DataError: the table breaks the column contract; all faults at once.
    """
    data, source = file.config.data, source_name(file.config.data.path)
    frame = read_table(data.path)
    check_table(data, frame, source=source)
    return describe_table(file.config, frame, source=source)


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
        DataError: the table breaks the column contract.
        NumericalError: training failed numerically after every retry.
        RunError: the run directory may not be written.
    """
    started = time.monotonic()
    config = file.config
    on_event(Progress("data", message=config.data.path))
    table = load_table(config)
    with Run.resume(run_path) if resume else Run.create(run_path, overwrite=overwrite) as run:
        resolved = dump_config(config)
        if resume and run.read_bytes("config.yaml").decode() != resolved:
            raise RunError(
                f"{run.file('config.yaml')}: a run is resumed with the settings it began with; got others. "
                "Name the same CONFIG and --set, or train anew with --overwrite."
            )
        run.write_text("config.yaml", resolved)
        run.write_bytes("config.source.yaml", file.source)
        on_event = _logged(run, on_event)
        on_event(Progress("start", message="loading TensorFlow"))
        trained = _train_posterior(config, table, run, on_event)
        model = _assemble(table, trained)
        model.store(run)
        on_event(Progress("evaluation", message=f"{len(table.split.test)} held-out rows"))
        metrics, rows = _score_table(model, table, config)
        run.write_json("metrics.json", metrics)
        on_event(Progress("pictures"))
        for name, content in _pictures(run.history(), model, table, rows, "png").items():
            run.write_bytes(f"plots/{name}", content)
        facts = {
            "seed": config.seed,
            "seconds": time.monotonic() - started,
            "steps": trained.steps,
            "kept_step": trained.best_step,
            "rows": {part: len(getattr(table.split, part)) for part in ("train", "validation", "test")},
            "dropped_features": list(table.contract.dropped),
            "inputs": table.hashes,
        }
        run.finish("done", facts)
        run.remove("checkpoints")
    return metrics


def load_table(config: Config) -> Table:
    """Read, check, split and encode the configuration's table.

    Raises:
        DataError: the table breaks the column contract; all faults at once.
    """
    data, source = config.data, source_name(config.data.path)
    hashes = _file_hashes(data.path)
    frame = read_table(data.path)
    check_table(data, frame, source=source)
    frame = frame[complete_rows(data, frame, source=source, with_targets=True)]
    split = split_rows(data.split, frame, seed=config.seed, source=source)
    contract = fit_contract(data, frame.iloc[split.train], source=source)
    inputs = encode_inputs(contract, frame, source=source)
    return Table(hashes, frame, inputs, encode_targets(contract, frame, source=source), contract, split)


def _file_hashes(path: str | Path) -> dict[str, str]:
    """Return path -> SHA-256 of a table's files; none for standard input."""
    return {str(file): file_hash(file) for file in find_files(path)}


def _train_posterior(config: Config, table: Table, run: Run, on_event: Callable[[Progress], None]) -> Trained:
    """Train, keeping checkpoints and the history in the run."""
    with silenced_stderr():
        from cde_app.training.checkpoint import Checkpoint
        from cde_app.training.session import TrainingData, train_posterior

    checkpoint = None
    if run.has("checkpoints/training.npz"):
        arrays = run.read_arrays("checkpoints/training.npz")
        if json.loads(str(arrays["table"])) != table.hashes:
            raise RunError(
                f"{source_name(config.data.path)}: a run is resumed with the table it began with; got another content. "
                "Train anew with --overwrite."
            )
        checkpoint = Checkpoint.from_arrays(arrays)
        run.rewind_history(checkpoint.step)
    fitted, held_out = table.split.train, table.split.validation
    data = TrainingData(table.inputs[fitted], table.targets[fitted], table.inputs[held_out], table.targets[held_out])

    def save(checkpoint: Checkpoint) -> None:
        arrays = checkpoint.to_arrays() | {"table": np.array(json.dumps(table.hashes))}
        run.write_arrays("checkpoints/training.npz", arrays)

    def report(said: Report) -> None:
        if said.stage == "training":
            run.append_history(
                {
                    "step": said.step,
                    "bound": said.bound,
                    "validation_score": said.validation_score,
                    "elapsed_seconds": said.elapsed_seconds,
                }
            )
        on_event(_progress(said))

    return train_posterior(config, data, checkpoint=checkpoint, save=save, report=report)


def _logged(run: Run, on_event: Callable[[Progress], None]) -> Callable[[Progress], None]:
    """Write every stage to the run's log too; the steps of the training are in its history."""

    def tell(event: Progress) -> None:
        if event.step is None:
            run.log(f"[{event.stage}] {event.message}".rstrip())
        on_event(event)

    return tell


def _progress(said: Report) -> Progress:
    """Add the speed and the time left to what the training says."""
    if said.stage != "training":
        return Progress(said.stage, message=said.message)
    speed = said.steps_per_second
    return Progress(
        said.stage,
        step=said.step,
        max_steps=said.max_steps,
        bound=said.bound,
        validation_score=said.validation_score,
        steps_per_second=speed,
        seconds_left=(said.max_steps - said.step) / speed if speed else None,
    )


def _assemble(table: Table, trained: Trained) -> TrainedRun:
    """Join the trained posterior with what scores and pictures need of the training rows."""
    rows = table.split.train
    return TrainedRun(
        contract=table.contract,
        posterior=trained.posterior,
        climatology=fit_climatology(table.targets[rows]),
        linear_gaussian=fit_linear_gaussian(table.inputs[rows], table.targets[rows]),
        scales=table.targets[rows].std(0, ddof=1),
        split=table.split,
    )


# --- scores -------------------------------------------------------------------------------------------------------


def evaluate(run_path: Path, data_path: Path | None) -> dict[str, Any]:
    """Score a run on the rows it held out, or on every row of another table.

    Raises:
        DataError: the table breaks the column contract or lacks the targets.
        RunError: the run is missing, incomplete, corrupt or from a newer format, or its table has changed.
    """
    run = Run.open(run_path)
    model = TrainedRun.load(run)
    config = read_run_config(run)
    metrics, _ = _score_table(model, _table_of_run(run, model, config, data_path), config)
    return metrics


def _table_of_run(run: Run, model: TrainedRun, config: Config, data_path: Path | None) -> Table:
    """Return the table to judge a run by: its own with its split, or another one, all of it held out."""
    path = config.data.path if data_path is None else data_path
    source = source_name(path)
    if data_path is None:
        _check_same_table(run, path)
    frame = read_table(path)
    contract = model.contract
    frame = frame[complete_rows(contract, frame, source=source, with_targets=True)]
    everything, nothing = np.arange(len(frame)), np.arange(0)
    split = model.split if data_path is None else Split(nothing, nothing, everything)
    return Table(
        {},
        frame,
        encode_inputs(contract, frame, source=source),
        encode_targets(contract, frame, source=source),
        contract,
        split,
    )


def _check_same_table(run: Run, path: str | Path) -> None:
    """Check that a run's table is still the one it was trained on."""
    try:
        found, got = _file_hashes(path), "another content"
    except DataError:
        found, got = {}, "no such file"
    if not found or found != manifest_of(run)["inputs"]:
        got = "standard input, which is gone" if str(path) == "-" else got
        raise RunError(
            f"{source_name(path)}: expected the table that {run.path} was trained on; got {got}. "
            "Name a table after the run."
        )


def _score_table(model: TrainedRun, table: Table, config: Config) -> tuple[dict[str, Any], Rows | None]:
    """Return the scores of the held-out rows beside the baselines', and the per-row scores of the model."""
    rows = table.split.test
    if len(rows) == 0:
        return {"num_rows": 0}, None
    forecasts: dict[str, Callable[[Array], Mixture]] = {
        "model": model.posterior.predict,
        "climatology": lambda X: model.climatology.predict(len(X)),
        "linear_gaussian": model.linear_gaussian.predict,
    }
    scored = {
        name: concatenate_rows(
            [
                score_rows(
                    forecast(table.inputs[chunk]),
                    table.targets[chunk],
                    scales=model.scales,
                    seed=config.seed,
                    first_row=start,
                )
                for start, chunk in _chunks(rows, config.predict.chunk_rows)
            ]
        )
        for name, forecast in forecasts.items()
    }
    names = table.contract.targets
    metrics = summarise(scored["model"], target_names=names)
    baselines = [name for name in scored if name != "model"]
    metrics["baselines"] = {name: summarise(scored[name], target_names=names) for name in baselines}
    metrics["skill"] = {name: skill(scored["model"], scored[name]) for name in baselines}
    return metrics, scored["model"]


def _chunks(rows: NDArray[np.intp], size: int) -> Iterator[tuple[int, NDArray[np.intp]]]:
    """Yield (start, rows[start : start + size])."""
    for start in range(0, len(rows), size):
        yield start, rows[start : start + size]


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
        seed: of the draws; None takes the run's.

    Returns:
        {"rows", "files", "seconds", "out_of_range", "left_out"}; the last counts rows that `missing: drop` drops.

    Raises:
        DataError: the table breaks the column contract.
        RunError: the run cannot be read, or the folder may not be written.
    """
    started = time.monotonic()
    run = Run.open(run_path)
    model, config = TrainedRun.load(run), read_run_config(run)
    contract, settings, source = model.contract, config.predict, source_name(data_path)
    seed = config.seed if seed is None else seed
    num_samples = settings.samples if num_samples is None else num_samples
    check_predictions(out_path, overwrite=overwrite)
    mixtures: list[Mixture] = []
    pictured: pd.DataFrame | None = None
    num_outside = num_read = 0
    writer = PredictionWriter(
        out_path,
        target_names=contract.targets,
        quantiles=settings.quantiles if quantiles is None else quantiles,
        num_samples=num_samples,
        seed=seed,
        file_format=file_format,
    )
    with writer:
        for chunk in iter_table(data_path, chunk_rows=settings.chunk_rows):
            frame = chunk[complete_rows(contract, chunk, source=source, with_targets=False)]
            num_read += len(chunk)
            if frame.empty:
                continue
            mixture = model.posterior.predict(encode_inputs(contract, frame, source=source))
            targets = _known_targets(contract, frame, source)
            outside = out_of_range(contract, frame)
            writer.append(mixture, row_numbers=frame.index.to_numpy() + 1, targets=targets, outside=outside)
            num_outside += int(outside.sum())
            if components:
                mixtures.append(mixture)
            if plots and pictured is None:
                pictured = frame
        if not writer.num_rows:
            raise DataError(f"{source}: expected at least one complete row; got none. Fill the gaps.")
        discard_predictions(out_path)
    files = writer.files
    if components:
        files.append(write_arrays(out_path / "mixture.npz", component_arrays(mixtures)))
    if pictured is not None:
        from cde_app.report.gallery import density_pictures

        pictures = _picture_files(density_pictures(_scene(model, pictured, source), "png"), "png")
        files += [write_atomically(out_path / "plots" / name, content) for name, content in pictures.items()]
    result = {
        "rows": writer.num_rows,
        "files": files,
        "seconds": time.monotonic() - started,
        "out_of_range": num_outside,
        "left_out": num_read - writer.num_rows,
    }
    facts = {"run": run_path, "seed": seed, "samples": num_samples, "quantiles": writer.quantiles}
    write_json(out_path / "manifest.json", {**result, **facts, **provenance(find_files(data_path))})
    return result


def _known_targets(contract: ColumnContract, frame: pd.DataFrame, source: str) -> Array | None:
    """Return the targets, NaN where a cell is empty; None if the table lacks a target column."""
    if not has_targets(contract, frame):
        return None
    return encode_targets(contract, frame, source=source, allows_gaps=True)


# --- looking at runs ----------------------------------------------------------------------------------------------


def plot(run_path: Path, data_path: Path | None, out_path: Path, *, image_format: ImageFormat) -> list[Path]:
    """Draw a run's pictures, of the rows it held out or of another table.

    Raises:
        DataError: the table breaks the column contract or lacks the targets.
        RunError: the run cannot be read, or its table has changed.
    """
    run = Run.open(run_path)
    model, config = TrainedRun.load(run), read_run_config(run)
    table = _table_of_run(run, model, config, data_path)
    _, rows = _score_table(model, table, config)
    pictures = _pictures(run.history(), model, table, rows, image_format)
    return [write_atomically(out_path / name, content) for name, content in pictures.items()]


def _pictures(
    history: Sequence[dict[str, Any]], model: TrainedRun, table: Table, rows: Rows | None, image_format: ImageFormat
) -> dict[str, bytes]:
    """Draw everything there is to see about a run and the table it is judged by; file name -> content."""
    from cde_app.report.gallery import calibration_pictures, density_pictures, latent_pictures, training_pictures

    shown = table.split.test if len(table.split.test) else table.split.train
    scene = _scene(model, table.frame.iloc[shown[:PICTURED_ROWS]], "the run's table")
    feature = model.contract.inputs[0].features[0]
    first_input = feature.centre + feature.scale * table.inputs[:, 0]
    scene = replace(scene, cloud=(first_input[:PICTURED_ROWS], table.targets[:PICTURED_ROWS]))
    pictures = density_pictures(scene, image_format)
    if rows is not None:
        pictures |= calibration_pictures(rows["pit"], model.contract.targets, image_format)
    if model.posterior.latent_dim:
        some = np.linspace(0, len(table.frame) - 1, min(LATENT_ROWS, len(table.frame))).astype(int)
        mean, sd = model.posterior.latent_moments(table.inputs[some], table.targets[some])
        pictures |= latent_pictures(first_input[some], mean, sd, input_name=feature.name, image_format=image_format)
    return _picture_files(pictures | training_pictures(history, image_format), image_format)


def _picture_files(pictures: dict[str, bytes], image_format: ImageFormat) -> dict[str, bytes]:
    """Turn the pictures' names, of which the targets' are a part, into file names."""
    return {re.sub(r"[^\w.-]", "_", name) + f".{image_format}": content for name, content in pictures.items()}


def _scene(model: TrainedRun, frame: pd.DataFrame, source: str) -> Scene:
    """Gather what the density pictures need of some rows."""
    from cde_app.report.gallery import InputAxis, Scene

    contract, axis = model.contract, None
    targets = _known_targets(contract, frame, source)
    features = [feature for column in contract.inputs for feature in column.features]
    if len(features) == 1 and contract.inputs[0].kind == "numeric":
        axis = InputAxis(contract.inputs[0].name, features[0].centre, features[0].scale)
    return Scene(
        predict=model.posterior.predict,
        X=encode_inputs(contract, frame, source=source),
        targets=None if targets is None or np.isnan(targets).all() else targets,
        row_numbers=frame.index.to_numpy() + 1,
        target_names=contract.targets,
        units=contract.units,
        axis=axis,
    )


def report(run_path: Path) -> Path:
    """Write one self-contained HTML page about a run, and return its path.

    Raises:
        RunError: the run is missing, incomplete, corrupt or from a newer format.
    """
    from cde_app.report.html import render_report

    run = Run.open(run_path)
    pictures = {path.stem: path.read_bytes() for path in run.files("plots")}
    manifest = manifest_of(run)
    warnings = [f"{name} is constant in the training rows and was left out." for name in manifest["dropped_features"]]
    page = render_report(
        run.path.name,
        run.read_json("metrics.json"),
        pictures,
        run.read_bytes("config.yaml").decode(),
        manifest,
        warnings,
    )
    return run.write_text("report.html", page)


def info(run_path: Path) -> dict[str, Any]:
    """Say what a run is: its table, model, training, scores and versions.

    Raises:
        RunError: the run is missing, incomplete, corrupt or from a newer format.
    """
    run = Run.open(run_path)
    manifest, config = manifest_of(run), read_run_config(run)
    facts = ("format_version", "cde_version", "seed", "seconds", "steps", "kept_step", "rows", "dropped_features")
    return {
        "run": str(run_path),
        "data": {
            "path": config.data.path,
            "inputs": [column.column for column in config.data.inputs],
            "targets": [column.column for column in config.data.targets],
        },
        **{name: manifest[name] for name in facts},
        "metrics": run.read_json("metrics.json"),
    }


def compare(run_paths: Sequence[Path]) -> dict[str, Any]:
    """Put several runs' scores, and the settings in which they differ, side by side.

    Raises:
        RunError: a run is missing, incomplete, corrupt or from a newer format.
    """
    runs = {str(path): Run.open(path) for path in run_paths}
    settings = {name: flatten(read_run_config(run).model_dump(mode="json")) for name, run in runs.items()}
    keys = sorted({key for values in settings.values() for key in values})
    differing = [key for key in keys if len({repr(values.get(key)) for values in settings.values()}) > 1]
    return {
        name: {
            "settings": {key: settings[name].get(key) for key in differing},
            "metrics": run.read_json("metrics.json"),
        }
        for name, run in runs.items()
    }


def flatten(tree: Any, prefix: str = "") -> dict[str, Any]:
    """Return the leaves of nested mappings and lists by dotted key."""
    if not isinstance(tree, dict | list):
        return {prefix: tree}
    items: Iterable[tuple[Any, Any]] = tree.items() if isinstance(tree, dict) else enumerate(tree)
    return {
        key: leaf
        for name, value in items
        for key, leaf in flatten(value, f"{prefix}.{name}" if prefix else str(name)).items()
    }
