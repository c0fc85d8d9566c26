"""`cde train`: from a configuration to a finished run."""

from __future__ import annotations

import json
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from cde_app.config import Config
from cde_app.config_file import ConfigFile
from cde_app.config_file.text import dump_config
from cde_app.data.files import source_name
from cde_app.data.prepared import PreparedTable, prepare_training
from cde_app.encoder_spec import MakeEncoder, name_of
from cde_app.errors import RunError, UsageError
from cde_app.machine import interruption
from cde_app.machine.packages import require_training
from cde_app.machine.rows import gather_rows
from cde_app.machine.silence import silenced_stderr
from cde_app.machine.threads import spread_operations
from cde_app.plan import Plan, plan_trainings
from cde_app.progress import Progress
from cde_app.runs.checks import FORMAT_VERSION
from cde_app.runs.run import Run
from cde_app.trained_model import TrainedModel, assemble
from cde_app.trees import to_tree
from cde_app.workflow.pictures import missing_picture, run_pictures, write_pictures
from cde_app.workflow.scoring import drawn_rows_warning, score_table

if TYPE_CHECKING:
    import pandas as pd

    from cde_app.evaluation.scores import Rows
    from cde_app.training.checkpoint import Checkpoint
    from cde_app.training.session import Trained

OnEvent = Callable[[Progress], None]
CONFIGURED = "the configured one"


def train_run(
    file: ConfigFile,
    run_path: Path,
    *,
    resume: bool,
    overwrite: bool,
    on_event: OnEvent,
    frame: pd.DataFrame | None = None,
    draw: bool = True,
    make_encoder: MakeEncoder | None = None,
) -> dict[str, Any]:
    """Train a model, score it on the held-out rows, and write the run directory.

    Args:
        file: the configuration.
        run_path: the run directory.
        resume: continue from the last checkpoint of an unfinished run.
        overwrite: replace an existing run.
        on_event: called with every stage and every few steps.
        frame: the table, if it is a checked frame and not a file.
        draw: draw the pictures.
        make_encoder: makes an encoder for every training, in place of the configured one.

    Returns:
        The scores, as in `metrics.json`.

    Raises:
        ConfigError: the latent prior is invalid, or the model does not fit the table.
        DataError: the table breaks the column contract.
        InstallError: TensorFlow or a package built on it is not installed.
        NumericalError: training failed numerically after every retry.
        RunError: the run directory may not be written.
        UsageError: the encoder cannot be trained.
    """
    with interruption.heeded():
        require_training()
    started = time.monotonic()
    config = file.config
    check_encoder(make_encoder, config)
    with Run.resume(run_path) if resume else Run.create(run_path, overwrite=overwrite) as run, interruption.heeded():
        resolved = dump_config(config)
        if resume and run.read_bytes("config.yaml").decode() != resolved:
            raise RunError(
                f"{run.file('config.yaml')}: a run must be resumed with its original settings; got others. "
                "Name the same configuration and settings, or train again with --overwrite."
            )
        with run.scratch() as scratch:
            on_event(Progress("data", config.data.path if frame is None else source_name(config.data.path)))
            with file.locating_faults():
                table = prepare_training(config, scratch, frame)
                check_prior(config)
            run.write_text("config.yaml", resolved)
            run.write_bytes("config.source.yaml", file.source)
            on_event = logged(run, on_event)
            for warning in (*(() if frame is None else file.remarks), *table.warnings):
                on_event(Progress("warning", warning))
            on_event(Progress("start", "loading TensorFlow"))
            rows = {part: len(getattr(table.split, part)) for part in ("train", "validation", "test")}
            plan = plan_trainings(
                config,
                num_rows=rows["train"],
                num_validation_rows=rows["validation"],
                num_features=len(table.contract.feature_names),
            )
            trained = train_in_run(config, plan, table, run, scratch, on_event, make_encoder)
            model = assemble(table, trained.predictor, trained.rounded, config.model_dump(mode="json"))
            model.store(run)
            drawn = drawn_rows_warning(table)
            on_event(Progress("evaluation", drawn or f"{len(table.split.test)} held-out rows"))
            metrics, scored = score_table(model, table)
            run.write_json("metrics.json", metrics)
            missing = draw_pictures(run, model, table, scored, on_event) if draw else []
        rounded = [found.warning() for found in trained.rounded]
        facts = {"seed": config.seed, "settings": model.settings, "seconds": time.monotonic() - started, "rows": rows}
        facts["own_encoder"] = name_of(make_encoder)  # which the settings do not have
        warnings = [*table.warnings, *rounded, *([drawn] if drawn else []), *missing]
        run.finish("done", facts | training_facts(plan, trained, table) | {"warnings": warnings})
    return metrics


def check_prior(config: Config) -> None:
    """Check the part of the configuration that only TensorFlow Probability knows: the family of the latent prior.

    Raises:
        SettingError: the family or its parameters are invalid for a prior.
    """
    if config.model.latent.dim == 0 or config.model.latent.prior.kind == "normal":
        return
    spread_operations()
    with silenced_stderr():
        from cde_app.model.prior import build_prior
    build_prior(config.model.latent)


def check_encoder(make_encoder: MakeEncoder | None, config: Config) -> None:
    """Check what is known of an encoder of the user's own before the table is read.

    Raises:
        UsageError: it is no function, or the model has no latent variables.
    """
    if make_encoder is None:
        return
    if not callable(make_encoder):
        raise UsageError(f"encoder: expected a function that returns a layer; got {make_encoder!r}. Pass a function.")
    if config.model.latent.dim == 0:
        raise UsageError(
            "encoder: expected model.latent.dim of at least 1, as without latent variables nothing is encoded; got 0. "
            "Remove the encoder, or set model.latent.dim."
        )


def train_in_run(
    config: Config,
    plan: Plan,
    table: PreparedTable,
    run: Run,
    scratch: Path,
    on_event: OnEvent,
    make_encoder: MakeEncoder | None,
) -> Trained:
    """Train; checkpoints and the history go to the run, arrays as large as the table to the scratch folder."""
    spread_operations()
    with silenced_stderr():
        from cde_app.training.checkpoint import Checkpoint
        from cde_app.training.choices import choose
        from cde_app.training.features import Axis, Features
        from cde_app.training.rows import TrainingData
        from cde_app.training.session import Session
    interruption.check()

    checkpoint, encoder = None, name_of(make_encoder)
    if run.has("checkpoints/training.npz"):
        arrays = run.read_arrays("checkpoints/training.npz")
        if int(arrays.get("format_version", 0)) != FORMAT_VERSION:
            raise RunError(
                f"{run.path}: expected a checkpoint of this cde's format, {FORMAT_VERSION}; got another. "
                "Train again with --overwrite."
            )
        if json.loads(str(arrays["table"])) != table.hashes:
            raise RunError(
                f"{source_name(config.data.path)}: a run must be resumed with its original table; got different "
                "content. Train again with --overwrite."
            )
        original = json.loads(str(arrays.get("encoder", "null")))
        if encoder != original:
            raise RunError(
                f"{run.path}: a run must be resumed with its original encoder, {original or CONFIGURED}; "
                f"got {encoder or CONFIGURED}. Pass the original one to cde_app.train, or train again with --overwrite."
            )
        checkpoint = Checkpoint.from_arrays(arrays)
        run.rewind_history(checkpoint.progress)
    fitted, held_out = table.split.train, table.split.validation
    axes = tuple(Axis(column.name, feature.scale) for column in table.contract.inputs for feature in column.features)
    data = TrainingData(
        Features(gather_rows(scratch / "X.npy", table.inputs, fitted), axes),
        gather_rows(scratch / "Y.npy", table.targets, fitted),
        gather_rows(scratch / "X_validation.npy", table.inputs, held_out),
        gather_rows(scratch / "Y_validation.npy", table.targets, held_out),
        None if table.groups is None else np.unique(table.groups[fitted], return_inverse=True)[1].ravel(),
    )

    def save(checkpoint: Checkpoint) -> None:
        own = {
            "table": np.array(json.dumps(table.hashes)),
            "encoder": np.array(json.dumps(encoder)),
            "format_version": np.array(FORMAT_VERSION),
        }
        arrays = checkpoint.to_arrays() | own
        run.write_arrays("checkpoints/training.npz", arrays)

    def report(event: Progress) -> None:
        if event.step is not None:
            run.append_history(
                {
                    "training": event.training,
                    "step": event.step,
                    "bound": event.bound,
                    **event.metrics,
                    "validation_score": event.validation_score,
                    "elapsed_seconds": event.elapsed_seconds,
                }
            )
        on_event(event)

    checkpoint = checkpoint or choose(config, data, report)
    session = Session(
        config, plan, data, checkpoint, scratch=scratch, save=save, report=report, make_encoder=make_encoder
    )
    return session.run()


def draw_pictures(
    run: Run, model: TrainedModel, table: PreparedTable, scored: Rows | None, on_event: OnEvent
) -> list[str]:
    """Draw the pictures of the run; return a warning for each that could not be drawn."""
    on_event(Progress("pictures"))
    _, failures = write_pictures(
        lambda: run_pictures(run.history(), model, table, scored, "png"),
        lambda name, content: run.write_bytes(f"plots/{name}", content),
    )
    missing = [missing_picture(what, error) for what, error in failures.items()]
    for warning, error in zip(missing, failures.values(), strict=True):
        on_event(Progress("warning", warning))
        run.log("".join(traceback.format_exception(error)))
    return missing


def training_facts(plan: Plan, trained: Trained, table: PreparedTable) -> dict[str, Any]:
    """Return the facts about the trainings for the manifest."""
    names = table.contract.targets
    kinds = [transform.kind for transform in trained.predictor.transforms]
    return {
        "plan": to_tree(plan),
        "trainings": [
            {"name": unit.name, "steps": one.steps, "kept_step": one.kept_step}
            for unit, one in zip(plan.units, trained.trainings, strict=True)
        ],
        "uses_neighbours": trained.predictor.neighbours is not None,
        "calibration": [vars(calibration) for calibration in trained.calibrations],
        "transforms": dict(zip(names, kinds, strict=True)),
        "order_of_targets": [names[index] for index in trained.predictor.order],
        "dropped_features": list(table.contract.dropped),
        "inputs": table.hashes,
    }


def logged(run: Run, on_event: OnEvent) -> OnEvent:
    """Also write every stage to the run's log; the steps of the training are in its history.

    Each event also checks for a Ctrl-C that was swallowed.
    """

    def log_and_report(event: Progress) -> None:
        interruption.check()
        if event.step is None:
            run.log(f"[{event.stage}] {event.message}".rstrip())
        on_event(event)

    return log_and_report
