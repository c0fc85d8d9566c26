"""One training, kept in its run directory: checkpoints, history, log and progress."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from cde_app import interruption
from cde_app.config import Config
from cde_app.data.files import source_name
from cde_app.data.prepared import PreparedTable
from cde_app.errors import RunError
from cde_app.plan import Plan
from cde_app.progress import Progress
from cde_app.rows import gather_rows
from cde_app.runs.checks import FORMAT_VERSION
from cde_app.runs.run import Run
from cde_app.silence import silenced_stderr
from cde_app.threads import spread_operations

if TYPE_CHECKING:
    from cde_app.training.checkpoint import Checkpoint
    from cde_app.training.session import Trained


def check_prior(config: Config) -> None:
    """Check what only TensorFlow Probability knows of the configuration: the family of the latent prior.

    Raises:
        SettingError: the family or its parameters cannot be a prior.
    """
    if config.model.latent.dim == 0 or config.model.latent.prior.kind == "normal":
        return
    spread_operations()
    with silenced_stderr():
        from cde_app.model.prior import build_prior
    build_prior(config.model.latent)


def train_in_run(
    config: Config, plan: Plan, table: PreparedTable, run: Run, scratch: Path, on_event: Callable[[Progress], None]
) -> Trained:
    """Train, keeping checkpoints and the history in the run, and arrays as large as the table in the scratch folder."""
    spread_operations()
    with silenced_stderr():
        from cde_app.training.checkpoint import Checkpoint
        from cde_app.training.choices import choose
        from cde_app.training.features import Axis, Features
        from cde_app.training.member import TrainingData
        from cde_app.training.session import Session
    interruption.check()

    checkpoint = None
    if run.has("checkpoints/training.npz"):
        arrays = run.read_arrays("checkpoints/training.npz")
        if int(arrays.get("format_version", 0)) != FORMAT_VERSION:
            raise RunError(
                f"{run.path}: expected a checkpoint of format {FORMAT_VERSION}, that of this cde; got another. "
                "Train anew with --overwrite."
            )
        if json.loads(str(arrays["table"])) != table.hashes:
            raise RunError(
                f"{source_name(config.data.path)}: a run is resumed with the table it began with; got another content. "
                "Train anew with --overwrite."
            )
        checkpoint = Checkpoint.from_arrays(arrays)
        run.rewind_history(checkpoint.place)
    fitted, held_out = table.split.train, table.split.validation
    axes = tuple(Axis(column.name, feature.scale) for column in table.contract.inputs for feature in column.features)
    data = TrainingData(
        Features(gather_rows(scratch / "X.npy", table.inputs, fitted), axes),
        gather_rows(scratch / "Y.npy", table.targets, fitted),
        gather_rows(scratch / "X_validation.npy", table.inputs, held_out),
        gather_rows(scratch / "Y_validation.npy", table.targets, held_out),
    )

    def save(checkpoint: Checkpoint) -> None:
        own = {"table": np.array(json.dumps(table.hashes)), "format_version": np.array(FORMAT_VERSION)}
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
    return Session(config, plan, data, checkpoint, scratch=scratch, save=save, report=report).run()


def logged(run: Run, on_event: Callable[[Progress], None]) -> Callable[[Progress], None]:
    """Write every stage to the run's log too; the steps of the training are in its history.

    Each event is a moment at which a Ctrl-C that was swallowed is heeded.
    """

    def tell(event: Progress) -> None:
        interruption.check()
        if event.step is None:
            run.log(f"[{event.stage}] {event.message}".rstrip())
        on_event(event)

    return tell
