"""`cde` from Python: the functions of `import cde_app`."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from cde_app.config_file import ConfigFile, load_config
from cde_app.encoder_spec import MakeEncoder
from cde_app.errors import UsageError
from cde_app.execution.choose import Execution
from cde_app.progress import Progress
from cde_app.runs.run import Run
from cde_app.trained_model import TrainedModel

if TYPE_CHECKING:
    import pandas as pd

Columns = str | Mapping[str, Any] | Sequence[str | Mapping[str, Any]]
"""Names of columns, or mappings as in the YAML (`{"column": "hour", "kind": "cyclic", "period": 24}`); or one."""


def load(run: str | Path) -> TrainedModel:
    """Return the model of a finished run; needs no TensorFlow.

    Raises:
        RunError: the run is missing, incomplete, corrupt or from a newer format.
    """
    return TrainedModel.load(Run.open(Path(run)))


def train(
    source: str | Path | pd.DataFrame,
    targets: Columns | None = None,
    inputs: Columns | None = None,
    *,
    settings: Mapping[str, Any] | None = None,
    out: str | Path | None = None,
    resume: bool = False,
    overwrite: bool = False,
    on_event: Callable[[Progress], None] = lambda event: None,
    encoder: MakeEncoder | None = None,
    executor: Literal["serial", "processes", "dask"] | None = None,
    scheduler: str | None = None,
) -> TrainedModel:
    """Train as `cde train` does, and return the model of the run.

    Args:
        source: the path of a YAML file; or a frame, whose index is ignored.
        targets: the target columns of a frame.
        inputs: the input columns of a frame. A column without a `kind` gets the one that its cells look like. None
            takes every other column as `cde init` does: row numbers, constants and the like are left out.
        settings: settings that replace those of the file or the defaults, nested (`{"training": {"max_steps": 300}}`)
            or dotted (`{"training.max_steps": 300}`).
        out: the run directory. None trains a frame in a temporary folder, without pictures; the folder is deleted, as
            the model does not need it.
        resume: go on from the last checkpoint of an unfinished run.
        overwrite: replace an existing run.
        on_event: is called with every stage and warning (what to check about the table and its inputs) and, in a
            training, every 25 steps; with `executor="serial"` it is given the live model. An exception that it raises
            ends the training and reaches the caller; `resume` then goes on after that event.
        encoder: replaces `model.latent.encoder`. It is called once for every training, with what that training needs
            (`EncoderSpec`), and returns a new layer of Keras 2 (`gpflow.keras.tf_keras`) that maps [x, y], [B, D + P],
            standardised, to the free parameters of the prior's family. These are a tuple, [B, Dw] each, in the order of
            `EncoderSpec.parameters`, as GPflux's `LatentVariableLayer` wants them (mean and standard deviation for the
            normal); or one tensor, [B, n Dw], of changes of the prior's parameters on their unconstrained scale (mean
            and log standard deviation for the normal). If its `call` takes `training` or `seed`, it is given them.
            Predictions do not need it. `resume` needs the same one again. Its trainings run in this process.
        executor: where the trainings run: one after another in this process ("serial"), side by side in processes of
            their own ("processes", the default), or on a Dask cluster ("dask"). The result is the same to the last bit.
        scheduler: the address of the cluster's scheduler; None makes a cluster on this machine.

    Raises:
        CdeError: as for `cde train`: the arguments, the table or the folder do not fit, the encoder cannot be
            trained, or the training failed.

    Example:
        model = cde.train(frame, "y", settings={"training.max_steps": 300}, out="runs/mine")
    """
    if isinstance(source, str | Path):
        if out is None and targets is inputs is None:
            raise UsageError("out: expected a run directory; got nothing. Name one.")
    elif out is None and (resume or overwrite):
        raise UsageError("out: expected a run directory to resume or overwrite; got nothing. Name one.")
    file, frame = _described(source, targets, inputs, settings, on_event)
    from cde_app.workflow.train import train_run

    with tempfile.TemporaryDirectory(prefix="cde-") as folder:
        run, keep = Path(folder, "run") if out is None else Path(out), out is not None
        train_run(
            file,
            run,
            resume=resume,
            overwrite=overwrite,
            on_event=on_event,
            frame=frame,
            draw=keep,
            make_encoder=encoder,
            execution=Execution(executor, scheduler),
        )
        return load(run)


@dataclass(frozen=True)
class CrossValidation:
    """The result of a cross-validation."""

    scores: dict[str, Any]
    """What `cv.json` has: every score with `value` and `se_rows` (all rows), `fold_mean`, `se_folds` and `folds`."""
    forecasts: pd.DataFrame
    """One row for every row that a fold held out, as in `out_of_fold.csv`."""


def cross_validate(
    source: str | Path | pd.DataFrame,
    targets: Columns | None = None,
    inputs: Columns | None = None,
    *,
    folds: int = 5,
    settings: Mapping[str, Any] | None = None,
    out: str | Path | None = None,
    overwrite: bool = False,
    on_event: Callable[[Progress], None] = lambda event: None,
    executor: Literal["serial", "processes", "dask"] | None = None,
    scheduler: str | None = None,
    workers: int | None = None,
) -> CrossValidation:
    """Cross-validate as `cde cv` does: train once per fold, and score every row by the model that has not seen it.

    Args:
        source: the path of a YAML file; or a frame, whose folds are trained one after another in this process.
        targets: the target columns of a frame.
        inputs: the input columns of a frame; as for `train`.
        folds: how many: random ones, whole groups or blocks of time, as `data.split` says.
        settings: settings that replace those of the file or the defaults.
        out: the folder for the folds' runs and the results, which the same call continues; None keeps nothing.
        overwrite: replace another cross-validation in the folder.
        on_event: is called with every event of every fold, which `Progress.unit` names.
        executor: where the folds are trained; the scores are the same.
        scheduler: the address of a Dask scheduler.
        workers: folds at the same time; None takes one per core, as far as the memory goes.

    Raises:
        CdeError: as for `cde cv`: the arguments, the table or the folder do not fit, or a fold failed.

    Example:
        result = cde.cross_validate(frame, "y", folds=2, settings={"training.max_steps": 300})
        result.scores["nlpd"]["value"], result.forecasts["log_density"]
    """
    file, frame = _described(source, targets, inputs, settings, on_event)
    from cde_app.workflow.cross_validate import cross_validate
    from cde_app.workflow.out_of_fold import read_forecasts

    with tempfile.TemporaryDirectory(prefix="cde-") as temporary:
        scores = cross_validate(
            file,
            Path(temporary, "cv") if out is None else Path(out),
            num_folds=folds,
            execution=Execution(executor, scheduler, workers),
            overwrite=overwrite,
            file_format="parquet",
            on_event=on_event,
            frame=frame,
        )
        files = scores.pop("files")
        return CrossValidation(scores, read_forecasts(files))


def _described(
    source: str | Path | pd.DataFrame,
    targets: Columns | None,
    inputs: Columns | None,
    settings: Mapping[str, Any] | None,
    on_event: Callable[[Progress], None],
) -> tuple[ConfigFile, pd.DataFrame | None]:
    """Return the configuration that a call describes, and the checked frame if it is of one."""
    if not isinstance(source, str | Path):
        from cde_app.workflow.frame import describe_frame

        return describe_frame(source, targets, inputs, settings)
    for name, value in (("targets", targets), ("inputs", inputs)):
        if value is not None:
            raise UsageError(
                f"{name}: expected nothing, as a YAML file has them; got {value!r} with {str(source)!r}. "
                "Leave them out, or read the table and train on the frame."
            )
    file = load_config(Path(source), settings=settings)
    for remark in file.remarks:
        on_event(Progress("warning", remark))
    return file, None
