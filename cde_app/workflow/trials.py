"""A trial of a sweep as a unit of work: a training that may be ended early, and the scores of its validation rows."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cde_app.config_file import ConfigFile
from cde_app.execution.executor import Worker
from cde_app.machine.memory import limit_memory
from cde_app.progress import Progress
from cde_app.runs import folder as run_folder
from cde_app.runs.run import Run
from cde_app.trained_model import TrainedModel
from cde_app.workflow.scoring import own_table
from cde_app.workflow.train import train_run
from cde_app.workflow.trainings import HERE, is_done, reporting, use_threads

FEWEST_TO_PRUNE = 4
"""Fewest finished trials whose median may end a trial early."""


@dataclass(frozen=True)
class Course:
    """The course of a trial's first training, by which it is compared with others."""

    values: Mapping[int, float] = field(default_factory=dict)
    """Step -> minus the mean log density of the validation rows [nats per row]."""
    rungs: Mapping[str, Any] = field(default_factory=dict)
    """What Optuna's pruner remembers of it."""
    is_complete: bool = True
    """Whether it was not ended early."""


@dataclass(frozen=True)
class TrialResult:
    """What has become of a trial."""

    course: Course
    scores: Mapping[str, Mapping[str, Any]] | None
    """`nlpd` and `crps` of the validation rows, each {"value", "se"}; None if the trial was ended early."""


class PrunedError(Exception):
    """Raised in a training to end it early."""


@dataclass(frozen=True)
class TrialWork:
    """A trial.

    Whether it is ended early depends on the earlier batches only, and not on the trials at its side, so that the
    results do not depend on how many run at the same time.
    """

    name: str
    file: ConfigFile
    path: Path
    hashes: Mapping[str, str]
    """SHA-256 of each file of the table."""
    pruner: str
    earlier: tuple[Course, ...]
    """The trials of the earlier batches."""
    num_threads: int | None
    """Threads that it may use; None leaves that to the process."""
    max_memory: int | None
    """Memory that its process may take [bytes]; None leaves that to the process."""
    kind: str = "run"

    def run(self, worker: Worker) -> TrialResult:
        """Train from the start, unless the run is done, and score the validation rows."""
        config, rungs = self.file.config, dict[str, Any]()
        if not is_done(self.path, config, self.hashes):
            comparison = Comparison(self.pruner, self.earlier, every=config.training.early_stopping.every)
            report = reporting(self.name, worker)

            def compare(event: Progress) -> None:
                report(event)
                if event.training == 0 and event.step is not None and event.validation_score is not None:
                    comparison.tell(event.step, -event.validation_score)

            use_threads(self.num_threads)
            limit_memory(self.max_memory)
            try:
                train_run(
                    self.file,
                    self.path,
                    resume=False,
                    overwrite=run_folder.unfinished(self.path) is not None,
                    on_event=compare,
                    draw=False,
                    score=False,
                    execution=HERE,
                )
            except PrunedError:
                return TrialResult(Course(comparison.values, comparison.rungs, is_complete=False), None)
            rungs = comparison.rungs
        run = Run.open(self.path)
        values = {
            entry["step"]: -entry["validation_score"]
            for entry in run.history()
            if entry["training"] == 0 and entry["validation_score"] is not None
        }
        return TrialResult(Course(values, rungs), validation_scores(run))


def validation_scores(run: Run) -> dict[str, Any]:
    """Return the scores of a run's validation rows, none of which is a test row.

    Raises:
        RunError: the run's table has changed.
    """
    model = TrainedModel.load(run)
    with own_table(run, model, otherwise="Put it back") as table:
        rows = table.split.validation
        metrics, _ = model.scores(table.inputs[rows], table.targets[rows])
    return {name: {key: metrics[name].get(key) for key in ("value", "se")} for name in ("nlpd", "crps")}


class Comparison:
    """Compares the course of a trial with those of earlier ones, by a pruner of Optuna.

    Args:
        pruner: `sweep.pruner`.
        earlier: the other trials.
        every: steps between validation scores.
    """

    def __init__(self, pruner: str, earlier: tuple[Course, ...], *, every: int) -> None:
        self.values: dict[int, float] = {}
        self._trial: Any = None
        if pruner == "none":
            return
        import optuna

        optuna.logging.set_verbosity(optuna.logging.ERROR)
        state, by = optuna.trial.TrialState, optuna.pruners
        chosen: optuna.pruners.BasePruner = by.MedianPruner(n_startup_trials=FEWEST_TO_PRUNE)
        if pruner == "successive_halving":
            chosen = by.SuccessiveHalvingPruner(min_resource=every)
        study = optuna.create_study(direction="minimize", pruner=chosen)
        for course in earlier:
            study.add_trial(
                optuna.trial.create_trial(
                    state=state.COMPLETE if course.is_complete else state.PRUNED,
                    value=min(course.values.values(), default=0.0) if course.is_complete else None,
                    intermediate_values=dict(course.values),
                    system_attrs=dict(course.rungs),
                )
            )
        self._study, self._trial = study, study.ask()

    def tell(self, step: int, value: float) -> None:
        """Add a score.

        Raises:
            PrunedError: the trial is worse than the earlier ones.
        """
        self.values[step] = value
        if self._trial is None:
            return
        with warnings.catch_warnings(action="ignore"):
            self._trial.report(value, step)
            if self._trial.should_prune():
                raise PrunedError

    @property
    def rungs(self) -> dict[str, Any]:
        """What the pruner remembers of the trial."""
        return {} if self._trial is None else dict(self._study.get_trials()[-1].system_attrs)
