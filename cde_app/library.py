"""`cde` from Python: the functions of `import cde_app`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from cde_app.config_file import load_config
from cde_app.encoder_spec import MakeEncoder
from cde_app.progress import Progress
from cde_app.runs.run import Run
from cde_app.trained_model import TrainedModel


def load(run: str | Path) -> TrainedModel:
    """Return the model of a finished run; needs no TensorFlow.

    Raises:
        RunError: the run is missing, incomplete, corrupt or from a newer format.
    """
    return TrainedModel.load(Run.open(Path(run)))


def train(
    config: str | Path,
    *,
    out: str | Path,
    overrides: Sequence[str] = (),
    resume: bool = False,
    overwrite: bool = False,
    on_event: Callable[[Progress], None] = lambda event: None,
    encoder: MakeEncoder | None = None,
) -> TrainedModel:
    """Train as `cde train` does, and return the model of the run.

    Args:
        config: the YAML file.
        out: the run directory.
        overrides: settings that replace those of the file, such as `"training.max_steps=500"`, as after `--set`.
        resume: go on from the last checkpoint of an unfinished run.
        overwrite: replace an existing run.
        on_event: is called with every stage and warning and, in a training, every 25 steps, with the live model. An
            exception that it raises ends the training and reaches the caller; `resume` then goes on after that event.
        encoder: replaces `model.latent.encoder`. It is called once for every training, with what that training needs
            (`EncoderSpec`), and returns a new layer of Keras 2 (`gpflow.keras.tf_keras`) that maps [x, y], [B, D + P],
            standardised, to the free parameters of the prior's family. These are a tuple, [B, Dw] each, in the order of
            `EncoderSpec.parameters`, as GPflux's `LatentVariableLayer` wants them (mean and standard deviation for the
            normal); or one tensor, [B, n Dw], of changes of the prior's parameters on their unconstrained scale (mean
            and log standard deviation for the normal). If its `call` takes `training` or `seed`, it is given them.
            Predictions do not need it. `resume` needs the same one again.

    Raises:
        CdeError: as for `cde train`: the configuration, the table or the folder does not fit, or the training failed;
            and `UsageError` if the encoder cannot be trained.
    """
    from cde_app.workflow.train import train_run

    train_run(
        load_config(Path(config), overrides),
        Path(out),
        resume=resume,
        overwrite=overwrite,
        on_event=on_event,
        make_encoder=encoder,
    )
    return load(out)
