"""Which values the next trials of a sweep try: Optuna's sampler, with a journal of all trials in a file."""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from cde_app.config_file.search import Dimension
from cde_app.machine.streams import Stream, generator
from cde_app.workflow.trials import Course, TrialResult

NAME = "cde"
"""The name of the study in its journal."""
State = Literal["waiting", "complete", "pruned", "failed"]


@dataclass(frozen=True)
class Trial:
    """A trial and what is known of it."""

    number: int
    """From 0."""
    values: Mapping[str, Any]
    """By dotted name of the setting, the number or the index of the choice."""
    state: State
    """`waiting` also while it runs, or if it was interrupted."""
    scores: Mapping[str, Mapping[str, Any]] | None
    """`nlpd` and `crps` of the validation rows, each {"value", "se"}, if it is complete."""
    course: Course
    error: str | None
    """Why it failed."""

    @property
    def name(self) -> str:
        """Its name and that of its run directory."""
        return f"trial-{self.number + 1:03d}"


class Search:
    """The trials of a sweep, in batches.

    The values of a trial depend on the seed, its number and the results of the earlier batches, and not on the order in
    which trials end, on how many are asked for in all, or on interruptions.

    Args:
        journal: the file; the caller is its only writer.
        space: what is varied.
        metric: the score that is minimised.
        seed: of the suggestions.
        batch: trials that are suggested at once.
    """

    def __init__(self, journal: Path, space: Sequence[Dimension], *, metric: str, seed: int, batch: int) -> None:
        import optuna
        from optuna.storages.journal import JournalFileBackend

        optuna.logging.set_verbosity(optuna.logging.ERROR)
        self._optuna, self._metric, self._seed, self._batch = optuna, metric, seed, batch
        self._distributions = {dimension.key: self._distribution(dimension) for dimension in space}
        lock: Any = _HeldFolder()
        backend = JournalFileBackend(str(journal), lock_obj=lock)
        storage = optuna.storages.JournalStorage(backend)
        self._study = optuna.create_study(study_name=NAME, storage=storage, direction="minimize", load_if_exists=True)

    @property
    def trials(self) -> list[Trial]:
        """All trials, by number."""
        return [self._trial(frozen) for frozen in self._study.get_trials()]

    def num_done(self, num_trials: int) -> int:
        """Return how many of the first trials are done."""
        return sum(trial.state != "waiting" for trial in self.trials[:num_trials])

    def next_batch(self, num_trials: int) -> tuple[list[Trial], tuple[Course, ...]]:
        """Return the trials to run next, none if all are done, and the courses of the batches before them.

        Args:
            num_trials: trials in all. A batch is always suggested as a whole, and its other trials wait.
        """
        trials = self.trials
        first = next((trial.number for trial in trials if trial.state == "waiting"), len(trials))
        if first >= num_trials:
            return [], ()
        start = first - first % self._batch
        for number in range(len(trials), start + self._batch):
            self._suggest(number)
        trials = self.trials
        batch = trials[start : min(start + self._batch, num_trials)]
        earlier = tuple(trial.course for trial in trials[:start] if trial.state != "failed")
        return [trial for trial in batch if trial.state == "waiting"], earlier

    def tell(self, trial: Trial, result: TrialResult | Exception) -> None:
        """Store what has become of a trial; a score that is not finite is a failure."""
        state = self._optuna.trial.TrialState
        stored = self._optuna.trial.Trial(self._study, self._study.get_trials()[trial.number]._trial_id)
        if isinstance(result, Exception):
            stored.set_user_attr("error", str(result))
            self._study.tell(trial.number, state=state.FAIL)
            return
        for step, value in result.course.values.items():
            stored.report(value, step)
        stored.set_user_attr("rungs", dict(result.course.rungs))
        if result.scores is None:
            self._study.tell(trial.number, state=state.PRUNED)
            return
        score = result.scores[self._metric]["value"]
        stored.set_user_attr("scores", {name: dict(own) for name, own in result.scores.items()})
        if score is None or not math.isfinite(score):
            stored.set_user_attr("error", f"the {self._metric} of the validation rows is not finite")
            self._study.tell(trial.number, state=state.FAIL)
        else:
            self._study.tell(trial.number, score)

    def _suggest(self, number: int) -> None:
        """Add a trial, with a sampler of its own, so that its values do not depend on what was asked before."""
        seed = int(generator(self._seed, Stream.TRIALS, number).integers(2**32))
        with warnings.catch_warnings(action="ignore"):  # `constant_liar` is experimental
            self._study.sampler = self._optuna.samplers.TPESampler(seed=seed, constant_liar=True)
            self._study.ask(self._distributions)

    def _trial(self, frozen: Any) -> Trial:
        states = {"COMPLETE": "complete", "PRUNED": "pruned", "FAIL": "failed"}
        state: Any = states.get(frozen.state.name, "waiting")
        known = frozen.user_attrs
        course = Course(frozen.intermediate_values, known.get("rungs", {}), is_complete=state == "complete")
        return Trial(frozen.number, frozen.params, state, known.get("scores"), course, known.get("error"))

    def _distribution(self, dimension: Dimension) -> Any:
        kinds = self._optuna.distributions
        if dimension.choices:
            return kinds.CategoricalDistribution(range(len(dimension.choices)))
        if dimension.is_integer:
            step = 1 if dimension.step is None else int(dimension.step)
            return kinds.IntDistribution(int(dimension.low), int(dimension.high), log=dimension.log, step=step)
        return kinds.FloatDistribution(dimension.low, dimension.high, log=dimension.log, step=dimension.step)


class _HeldFolder:
    """The lock of the journal: none is needed, as the folder of the sweep has one writer."""

    def acquire(self) -> bool:
        """Do nothing."""
        return True

    def release(self) -> None:
        """Do nothing."""
