"""Trainings that a command runs side by side, each in a run directory of its own: folds, trials."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from cde_app.config import Config
from cde_app.config_file import ConfigFile
from cde_app.config_file.text import dump_config
from cde_app.data.cost import estimate_cost
from cde_app.data.split import Split
from cde_app.errors import CdeError, ConfigError, RunError, SettingError
from cde_app.execution.choose import Execution
from cde_app.execution.executor import Worker
from cde_app.machine.memory import limit_memory
from cde_app.machine.threads import of_threads
from cde_app.plan import plan_trainings
from cde_app.progress import Progress
from cde_app.runs import folder as run_folder
from cde_app.runs.run import Run
from cde_app.workflow.train import train_run

if TYPE_CHECKING:
    import pandas as pd

OnEvent = Callable[[Progress], None]
HERE = Execution("serial")
"""Where the trainings of a run take place whose worker is one of several."""


@dataclass(frozen=True)
class TrainingWork:
    """The training of a run as a unit of work, which begins, resumes or skips it, whatever the run needs."""

    name: str
    file: ConfigFile
    path: Path
    frame: pd.DataFrame | None = None
    """The table, if it is a frame; then the unit runs in this process."""
    num_threads: int | None = None
    """Threads that it may use; None leaves that to the process."""
    max_memory: int | None = None
    """Memory that its process may take [bytes]; None leaves that to the process."""
    kind: str = "run"

    def run(self, worker: Worker) -> None:
        """Train; the trainings of the run follow one another, as other runs are at its side."""
        if run_folder.is_finished(self.path):
            return
        use_threads(self.num_threads)
        limit_memory(self.max_memory)
        resume = run_folder.has_checkpoint(self.path)
        train_run(
            self.file,
            self.path,
            resume=resume,
            overwrite=not resume and run_folder.unfinished(self.path) is not None,
            on_event=reporting(self.name, worker),
            frame=self.frame,
            execution=HERE,
        )


def reporting(unit: str, worker: Worker) -> OnEvent:
    """Return the function that sends the events of a unit's training to the caller."""
    return lambda event: worker.report(replace(event, unit=unit))


def use_threads(number: int | None) -> None:
    """Let this worker use some threads from now on; None leaves that to the process."""
    if number is not None:
        os.environ.update(of_threads(number))


def is_done(path: Path, config: Config, hashes: Mapping[str, str]) -> bool:
    """Return whether the run of a configuration is finished.

    Args:
        path: the run directory.
        config: the configuration.
        hashes: the SHA-256 of each file of the table; none for a frame.

    Raises:
        RunError: it is finished but damaged, or has other settings or another table.
    """
    if not run_folder.is_finished(path):
        return False
    run = Run.open(path)
    same_table = not hashes or run.manifest()["inputs"] == hashes
    if run.read_bytes("config.yaml").decode() != dump_config(config) or not same_table:
        raise RunError(
            f"{path}: expected the run of these settings and this table; got another. Move it, or pass --overwrite."
        )
    return True


def training_memory(config: Config, split: Split, *, num_features: int) -> int:
    """Return roughly how much memory a training takes [bytes]."""
    plan = plan_trainings(
        config, num_rows=len(split.train), num_validation_rows=len(split.validation), num_features=num_features
    )
    return int(estimate_cost(config, plan, num_features=num_features).memory_bytes)


def failure_of(errors: Mapping[str, Exception]) -> Exception:
    """Return one exception for the units that failed, by name: a line for each fault, the exit code of the first."""
    first = next(iter(errors.values()))
    if not isinstance(first, CdeError):
        return first
    known = {name: error.faults for name, error in errors.items() if isinstance(error, CdeError)}
    faults = [f"{name}: {fault}" for name, faults in known.items() for fault in faults]
    return (ConfigError if isinstance(first, SettingError) else type(first))(*faults)
