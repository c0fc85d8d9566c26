"""`cde` from Python: the functions of `import cde_app`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from cde_app.config_file import load_config
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
) -> TrainedModel:
    """Train as `cde train` does, and return the model of the run.

    Args:
        config: the YAML file.
        out: the run directory.
        overrides: settings that replace those of the file, such as `"training.max_steps=500"`, as after `--set`.
        resume: go on from the last checkpoint of an unfinished run.
        overwrite: replace an existing run.
        on_event: is called with every stage and every few steps.

    Raises:
        CdeError: as for `cde train`: the configuration, the table or the folder does not fit, or the training failed.
    """
    from cde_app.workflow.train import train_run

    train_run(load_config(Path(config), overrides), Path(out), resume=resume, overwrite=overwrite, on_event=on_event)
    return load(out)
