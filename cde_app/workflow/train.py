"""`cde train`: from a configuration to a finished run."""

from __future__ import annotations

import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from cde_app.config import Config, WidthCalibration
from cde_app.config_file import ConfigFile
from cde_app.config_file.text import dump_config
from cde_app.data.cost import HOW_TO_LOWER, TRAINING_BYTES, estimate_cost, held_bytes
from cde_app.data.files import source_name
from cde_app.data.prepared import PreparedTable, prepare_training
from cde_app.encoder_spec import MakeEncoder, name_of
from cde_app.errors import NumericalError, RunError, UsageError
from cde_app.execution.choose import Execution
from cde_app.execution.executor import Executor
from cde_app.machine import interruption
from cde_app.machine.memory import available_bytes, require
from cde_app.machine.packages import require_training
from cde_app.machine.rows import gather_rows
from cde_app.plan import Plan, most_trainings, plan_trainings
from cde_app.progress import Progress
from cde_app.runs.migrations import FORMAT_VERSION
from cde_app.runs.run import Run
from cde_app.trained_model import TrainedModel, assemble
from cde_app.training.checkpoint import Checkpoint, choices_of, facts_of, state_of, to_arrays
from cde_app.training.choices import choose
from cde_app.training.features import Axis, Features
from cde_app.training.recalibration import Recalibrating, fit_recalibration
from cde_app.training.rows import TrainingData
from cde_app.training.session import Session, Trained
from cde_app.training.work import PriorCheck
from cde_app.trees import to_tree
from cde_app.workflow.pictures import missing_picture, run_pictures, write_pictures
from cde_app.workflow.reference import reference_of
from cde_app.workflow.scoring import drawn_rows_warning, score_table

if TYPE_CHECKING:
    import pandas as pd

    from cde_app.evaluation.scores import Rows
    from cde_app.predictive.predictor import Predictor

OnEvent = Callable[[Progress], None]
BY_DEFAULT = Execution()
CONFIGURED = "the configured one"
TRAINS = "cde_app.training.preload"
"""The module with which a process of its own loads TensorFlow."""


def train_run(
    file: ConfigFile,
    run_path: Path,
    *,
    resume: bool,
    overwrite: bool,
    on_event: OnEvent,
    frame: pd.DataFrame | None = None,
    draw: bool = True,
    score: bool = True,
    make_encoder: MakeEncoder | None = None,
    execution: Execution = BY_DEFAULT,
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
        score: score the held-out rows; if not, the run has no scores and nothing in it depends on them.
        make_encoder: makes an encoder for every training, in place of the configured one.
        execution: where the trainings run; with an encoder of the user's own, in this process.

    Returns:
        The scores, as in `metrics.json`.

    Raises:
        ConfigError: the latent prior is invalid, or the model does not fit the table.
        DataError: the table breaks the column contract.
        MemoryNeedError: a training needs more memory than there is.
        InstallError: TensorFlow or a package built on it is not installed.
        NumericalError: training failed numerically after every retry.
        RunError: the run directory may not be written.
        UsageError: the encoder cannot be trained, or a scheduler cannot be reached.
        WorkerError: the processes of a training died.
    """
    with interruption.heeded():
        require_training()
    started = time.monotonic()
    config = file.config
    check_encoder(make_encoder, config)
    if make_encoder is not None:
        execution = Execution("serial")
    with (
        Run.resume(run_path) if resume else Run.create(run_path, overwrite=overwrite) as run,
        interruption.heeded(),
        run.scratch() as scratch,
    ):
        resolved = dump_config(config)
        # A training that was killed at once has no settings yet.
        if resume and run.has("config.yaml") and run.read_bytes("config.yaml").decode() != resolved:
            raise RunError(
                f"{run.file('config.yaml')}: a run must be resumed with its original settings; got others. "
                "Name the same configuration and settings, or train again with --overwrite."
            )
        on_event(Progress("data", config.data.path if frame is None else source_name(config.data.path)))
        is_here = execution.resolved_kind() == "serial"
        available = available_bytes(held=held_bytes() if is_here else 0)  # before the workers take their part
        with execution.open(most_trainings(config), bytes_per_worker=TRAINING_BYTES) as executor:
            executor.import_early(TRAINS)
            with file.locating_faults():
                table = prepare_training(config, scratch, frame)
                check_prior(config, executor)
            rows = {part: len(getattr(table.split, part)) for part in table.split.names}
            plan = plan_trainings(
                config,
                num_rows=rows["train"],
                num_validation_rows=rows["validation"],
                num_features=len(table.contract.feature_names),
            )
            cost = estimate_cost(config, plan, num_features=len(table.contract.feature_names))
            if execution.scheduler is None:
                require(cost.bytes_per_training, of="training", available=available, advice=HOW_TO_LOWER)
            run.write_text("config.yaml", resolved)
            run.write_bytes("config.source.yaml", file.source)
            on_event = logged(run, on_event)
            for warning in (*(() if frame is None else file.remarks), *table.warnings):
                on_event(Progress("warning", warning))
            executor.num_workers = execution.most_workers(len(plan.units), bytes_per_worker=cost.bytes_per_training)
            with numerical_failures():
                trained = train_in_run(config, plan, table, run, scratch, on_event, executor, make_encoder)
        predictor, recalibrating = recalibrated(config, table, trained.predictor, on_event)
        model = assemble(table, predictor, trained.rounded, trained.distance_unit, config.model_dump(mode="json"))
        model.store(run)
        drawn, metrics, scored = None, {"num_rows": 0}, None
        if score:
            drawn = drawn_rows_warning(table)
            on_event(Progress("evaluation", drawn or f"{len(table.split.test)} held-out rows"))
            metrics, scored = score_table(model, table)
            if config.data.reference_rows:
                run.write_arrays("reference.npz", to_tree(reference_of(model, table)))
        run.write_json("metrics.json", metrics)
        missing = draw_pictures(run, model, table, scored, on_event) if draw else []
        rounded = [found.warning() for found in trained.rounded]
        facts = {"seed": config.seed, "settings": model.settings, "seconds": time.monotonic() - started, "rows": rows}
        facts |= {} if recalibrating is None else {"recalibration": to_tree(recalibrating)}
        facts["own_encoder"] = name_of(make_encoder)  # which the settings do not have
        mapped = recalibrating.warnings(table.contract.targets, config) if recalibrating else []
        retried = retry_warnings(run.history(), plan)
        warnings = [*table.warnings, *retried, *rounded, *mapped, *([drawn] if drawn else []), *missing]
        run.finish("done", facts | training_facts(plan, trained, table) | {"warnings": warnings})
    return metrics


@contextmanager
def numerical_failures() -> Iterator[None]:
    """Turn a matrix that cannot be factorised, where no retry is left, into an error with advice.

    Raises:
        NumericalError: there is one.
    """
    try:
        yield
    except np.linalg.LinAlgError as error:
        raise NumericalError(
            f"training: expected matrices that can be factorised; got one that cannot ({error}). Look for extreme "
            "values with 'cde check', or lower model.output.num_inducing."
        ) from error


def retry_warnings(history: Sequence[Mapping[str, Any]], plan: Plan) -> list[str]:
    """Return a warning for each training of a history that has taken steps again."""
    retries = {entry["training"]: entry["retries"] for entry in history if entry.get("retries")}
    return [
        f"training {plan.units[index].name}: steps have failed numerically and were taken again, smaller ({number} "
        f"{'retry' if number == 1 else 'retries'}, in history.jsonl). Look for extreme values with 'cde check', or "
        "lower training.learning_rate."
        for index, number in sorted(retries.items())
    ]


def recalibrated(
    config: Config, table: PreparedTable, predictor: Predictor, on_event: OnEvent
) -> tuple[Predictor, Recalibrating | None]:
    """Return the predictor with the maps that the settings ask for, and what is known of them; None without."""
    settings, rows = config.training.calibration, table.split.calibration
    if isinstance(settings, WidthCalibration):
        return predictor, None
    on_event(Progress("calibration", f"{len(rows)} rows that were kept out"))
    maps, known = fit_recalibration(
        predictor.predict,
        table.inputs[rows],
        table.targets[rows],
        config=config,
        features=() if settings.by is None else table.contract.features_of(settings.by),
        blocks=None if table.dependence is None else table.dependence.blocks(rows),
    )
    for warning in known.warnings(table.contract.targets, config):
        on_event(Progress("warning", warning))
    return replace(predictor, recalibration=maps), known


def check_prior(config: Config, executor: Executor) -> None:
    """Check the part of the configuration that only TensorFlow Probability knows: the family of the latent prior.

    Raises:
        SettingError: the family or its parameters are invalid for a prior.
    """
    if config.model.latent.dim > 0 and config.model.latent.prior.kind != "normal":
        for outcome in executor.run([PriorCheck(config.model.latent)]):
            outcome.result()


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
    executor: Executor,
    make_encoder: MakeEncoder | None,
) -> Trained:
    """Train; checkpoints and the history go to the run, arrays as large as the table to the scratch folder."""
    num_trainings = len(plan.units)
    on_event(Progress("start", f"{num_trainings} trainings, {executor.num_workers} at a time"))
    fitted, held_out = table.split.train, table.split.validation
    axes = tuple(Axis(column.name, feature.scale) for column in table.contract.inputs for feature in column.features)
    data = TrainingData(
        Features(gather_rows(scratch / "X.npy", table.inputs, fitted), axes),
        gather_rows(scratch / "Y.npy", table.targets, fitted),
        gather_rows(scratch / "X_validation.npy", table.inputs, held_out),
        gather_rows(scratch / "Y_validation.npy", table.targets, held_out),
        None if table.groups is None else np.unique(table.groups[fitted], return_inverse=True)[1].ravel(),
    )

    recorded = [0] * num_trainings  # the last step of each that is in the history

    def save(checkpoint: Checkpoint, index: int) -> None:
        if not run.has("checkpoints/choices.npz"):
            facts = {"table": table.hashes, "encoder": name_of(make_encoder), "format_version": FORMAT_VERSION}
            run.write_arrays("checkpoints/choices.npz", to_arrays(checkpoint.choices, facts))
        state = checkpoint.states[index]
        if state is not None and state.steps <= recorded[index]:  # else the history would have a gap
            run.sync("history.jsonl")
            elapsed = {"elapsed_seconds": checkpoint.elapsed_seconds}
            run.write_arrays(f"checkpoints/{index}.npz", to_arrays(state, elapsed))

    def report(event: Progress) -> None:
        if event.step is not None:
            run.append_history(
                {
                    "training": event.training,
                    "step": event.step,
                    "bound": event.bound,
                    **event.metrics,
                    "validation_score": event.validation_score,
                    **({"retries": event.retries} if event.retries else {}),
                    "elapsed_seconds": event.elapsed_seconds,
                }
            )
            recorded[event.training] = event.step
        on_event(event)

    checkpoint = read_checkpoint(run, plan, table, source=source_name(config.data.path), encoder=name_of(make_encoder))
    if checkpoint is None:
        checkpoint = Checkpoint(choose(config, data, report), (None,) * num_trainings)
    run.rewind_history(checkpoint.steps)
    recorded[:] = checkpoint.steps
    session = Session(
        config,
        plan,
        data,
        checkpoint,
        scratch=scratch,
        executor=executor,
        save=save,
        report=report,
        make_encoder=make_encoder,
    )
    trained = session.run()
    run.sort_history()
    return trained


def read_checkpoint(
    run: Run, plan: Plan, table: PreparedTable, *, source: str, encoder: str | None
) -> Checkpoint | None:
    """Return the checkpoint of an interrupted run; None if there is none.

    Raises:
        RunError: the run was made by another version of cde, from another table, or with another encoder.
    """
    if not run.has("checkpoints/choices.npz"):
        return None
    arrays = run.read_arrays("checkpoints/choices.npz")
    facts = facts_of(arrays)
    if facts["format_version"] != FORMAT_VERSION:
        raise RunError(
            f"{run.path}: expected a checkpoint of this cde's format, {FORMAT_VERSION}; got another. "
            "Train again with --overwrite."
        )
    if facts["table"] != table.hashes:
        raise RunError(
            f"{source}: a run must be resumed with its original table; got different content. "
            "Train again with --overwrite."
        )
    if facts["encoder"] != encoder:
        raise RunError(
            f"{run.path}: a run must be resumed with its original encoder, {facts['encoder'] or CONFIGURED}; "
            f"got {encoder or CONFIGURED}. Pass the original one to cde_app.train, or train again with --overwrite."
        )
    checkpoint = Checkpoint(choices_of(arrays), (None,) * len(plan.units))
    for index in range(len(plan.units)):
        if run.has(f"checkpoints/{index}.npz"):
            stored = run.read_arrays(f"checkpoints/{index}.npz")
            elapsed = max(checkpoint.elapsed_seconds, facts_of(stored)["elapsed_seconds"])
            checkpoint = checkpoint.with_state(index, state_of(stored), elapsed)
    return checkpoint


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
