"""`cde sweep`: trainings with other settings, scored on the validation rows; the test rows are not looked at."""

from __future__ import annotations

import contextlib
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from cde_app.config import Config, Sweep
from cde_app.config_file import ConfigFile
from cde_app.config_file.search import Dimension, search_space, with_values
from cde_app.config_file.text import dump_config
from cde_app.data.files import source_name
from cde_app.data.prepared import fit_training, read_training_table
from cde_app.errors import ConfigError, DataError, NumericalError, SettingError, UsageError
from cde_app.execution.choose import Execution
from cde_app.execution.executor import Executor
from cde_app.machine import interruption
from cde_app.machine.packages import require_optuna, require_training
from cde_app.machine.storage import write_atomically, write_json
from cde_app.progress import Progress
from cde_app.runs import study
from cde_app.runs.contents import MANIFEST
from cde_app.runs.provenance import provenance
from cde_app.words import flatten
from cde_app.workflow.pictures import missing_picture, sweep_pictures, write_pictures
from cde_app.workflow.search import Search, Trial
from cde_app.workflow.train import TRAINS
from cde_app.workflow.trainings import OnEvent, failure_of, training_memory
from cde_app.workflow.trials import TrialResult, TrialWork

JOURNAL, RESULT, BEST = "journal.log", "sweep.json", "best.yaml"
KIND = study.Kind("sweep", "trial", frozenset({JOURNAL, RESULT, BEST}))
NOTE = (
    "the best score is optimistic, as the settings were chosen by it. Train best.yaml and evaluate the run: its test "
    "rows, which no trial has seen, are the judge."
)
OF_THE_TRIAL = (ConfigError, DataError, NumericalError)
"""Errors that a trial would have again: it failed, and the sweep goes on."""


def sweep(
    file: ConfigFile, out: Path, *, num_trials: int, execution: Execution, overwrite: bool, on_event: OnEvent
) -> dict[str, Any]:
    """Train a configuration with settings from its search space, and keep those with the best validation score.

    What the folder has of the same sweep is kept: the trials that are done count.

    Args:
        file: the configuration with its search space.
        out: the folder for the trials' runs and the results.
        num_trials: T, trials in all.
        execution: where they are trained; the results do not depend on it.
        overwrite: replace another sweep in the folder.
        on_event: called with every event of every trial, which `Progress.unit` names.

    Returns:
        What `sweep.json` has: `metric`, `rows`, `note`, `best` and `trials` (the best first, then those ended early,
        then those that failed) and `warnings` (whole sentences); and `files`.

    Raises:
        UsageError: there is no trial to make, or the table can be read only once.
        InstallError: Optuna or a package for training is not installed.
        ConfigError: there is no search space, it has faults, or there are no validation rows.
        DataError: the table breaks the column contract.
        RunError: the folder has something else or cannot be written.
        CdeError: every trial has failed, or a worker has died.
    """
    started = time.monotonic()
    require_training()
    require_optuna()
    if num_trials < 1:
        raise UsageError(f"--trials: expected at least 1; got {num_trials}. Write for example --trials 20.")
    if file.config.data.path == "-":
        raise UsageError("data.path: expected a file, as every trial reads it; got standard input. Write it to a file.")
    with file.locating_faults():
        space, settings = search_space(file.document, file.config)
        on_event(Progress("data", source_name(file.config.data.path)))
        hashes, rows, memory = read_rows(for_trials(file.config, settings))
    facts = {"inputs": hashes, **dict(flatten(file.config.model_dump(mode="json"), into_lists=True))}
    with study.opened(out, KIND, facts, overwrite=overwrite):
        search = Search(out / JOURNAL, space, metric=settings.metric, seed=file.config.seed, batch=settings.batch)
        errors: dict[str, Exception] = {}
        on_event(counted(search, num_trials))
        if search.num_done(num_trials) < num_trials:
            with execution.open(min(settings.batch, num_trials), bytes_per_worker=memory) as executor:
                errors = run_trials(search, file, settings, out, num_trials, hashes, executor, on_event)
        ranked = ranking(search.trials[:num_trials], settings.metric)
        if ranked[0].state != "complete":
            raise failure_of(errors) if errors else NumericalError(*(f"{t.name}: {t.error}" for t in ranked))
        result = result_of(ranked, space, settings.metric, rows)
        best = with_values(file.document, file.config, ranked[0].values)
        comment = f"# The best of {num_trials} trials of cde sweep, {ranked[0].name}. Train it with `cde train FILE`.\n"
        files = [
            write_json(out / RESULT, result),
            write_atomically(out / BEST, (comment + dump_config(best)).encode()),
        ]
        drawn, failures = write_pictures(
            partial(sweep_pictures, result, {dimension.key: dimension.log for dimension in space}),
            partial(study.write_picture, out),
        )
        result["warnings"] += [missing_picture(what, error) for what, error in failures.items()]
        manifest = {"trials": num_trials, "seconds": time.monotonic() - started, "warnings": result["warnings"]}
        write_json(out / MANIFEST, {**provenance(), **manifest, "inputs": hashes})
    return result | {"files": [*files, *drawn]}


def for_trials(config: Config, sweep: Sweep) -> Config:
    """Return a configuration with the validation rows of the trials, and without the sweep."""
    split = config.data.split
    if split.kind != "column" and split.validation == "auto":
        split = split.model_copy(update={"validation": sweep.validation})
    return config.model_copy(update={"data": config.data.model_copy(update={"split": split}), "sweep": None})


def read_rows(config: Config) -> tuple[dict[str, str], dict[str, int], int]:
    """Read the table, and check that a trial can be trained on it.

    Returns:
        The hash of each file, the number of rows of each part, and roughly the memory of a training [bytes].

    Raises:
        SettingError: there are no validation rows.
        DataError: the table breaks the column contract.
    """
    with tempfile.TemporaryDirectory() as folder:
        hashes, readings = read_training_table(config.data, Path(folder))
        contract, split, _ = fit_training(config, readings, source=source_name(config.data.path))
    rows = {part: len(getattr(split, part)) for part in split.names}
    if not rows["validation"]:
        key = "column" if config.data.split.kind == "column" else "validation"
        raise SettingError(
            ("data", "split", key), "expected validation rows, which score the trials; got none. Add some."
        )
    return hashes, rows, training_memory(config, split, num_features=len(contract.feature_names))


def run_trials(
    search: Search,
    file: ConfigFile,
    settings: Sweep,
    out: Path,
    num_trials: int,
    hashes: dict[str, str],
    executor: Executor,
    on_event: OnEvent,
) -> dict[str, Exception]:
    """Run the trials that are not done, batch by batch; return the errors of those that failed now, by name.

    Raises:
        CdeError: a trial ended with an error that is not its own, such as a worker that died; it is not done.
    """
    errors: dict[str, Exception] = {}

    def end(trial: Trial, result: TrialResult | Exception) -> None:
        search.tell(trial, result)
        if isinstance(result, Exception):
            errors[trial.name] = result
            on_event(Progress("failed", str(result), unit=trial.name))
        else:
            on_event(Progress("done" if result.scores else "pruned", unit=trial.name))
        on_event(counted(search, num_trials))

    executor.import_early(TRAINS)
    while search.num_done(num_trials) < num_trials:
        trials, earlier = search.next_batch(num_trials)
        works, running = [], []
        allowed = executor.threads_each(len(trials)), executor.memory_each(len(trials))
        for trial in trials:
            try:
                config = for_trials(with_values(file.document, file.config, trial.values), settings)
            except ConfigError as error:
                end(trial, error)
                continue
            own = replace(file, config=config, source=dump_config(config).encode())
            works.append(TrialWork(trial.name, own, out / trial.name, hashes, settings.pruner, earlier, *allowed))
            running.append(trial)
        others: dict[str, Exception] = {}
        outcomes = executor.run(works, on_event=lambda _, event: on_event(event))
        with interruption.heeded(), contextlib.closing(outcomes):
            for outcome in outcomes:
                interruption.check()
                trial = running[outcome.index]
                if outcome.error is None or isinstance(outcome.error, OF_THE_TRIAL):
                    end(trial, outcome.error or outcome.result())
                else:
                    others[trial.name] = outcome.error
        if others:
            raise failure_of(others)
    return errors


def counted(search: Search, num_trials: int) -> Progress:
    """Return the event that says how many trials are done."""
    return Progress("trials", f"{search.num_done(num_trials)} of {num_trials} are done")


def ranking(trials: Sequence[Trial], metric: str) -> list[Trial]:
    """Sort trials: the best score first, then those that were ended early, then those that failed."""
    states = ("complete", "pruned", "failed", "waiting")

    def place(trial: Trial) -> tuple[int, float, int]:
        score = trial.scores[metric]["value"] if trial.state == "complete" and trial.scores else 0.0
        return states.index(trial.state), score, trial.number

    return sorted(trials, key=place)


def result_of(ranked: Sequence[Trial], space: Sequence[Dimension], metric: str, rows: dict[str, int]) -> dict[str, Any]:
    """Return what `sweep.json` has."""

    def settings_of(trial: Trial) -> dict[str, Any]:
        return {d.key: d.choices[trial.values[d.key]] if d.choices else trial.values[d.key] for d in space}

    entries = [
        {
            "trial": trial.number + 1,
            "run": trial.name,
            "state": trial.state,
            "score": (trial.scores or {}).get(metric) if trial.state == "complete" else None,
            "settings": settings_of(trial),
            "steps": max(trial.course.values, default=None),
            "error": trial.error,
        }
        for trial in ranked
    ]
    failed = [entry["run"] for entry in entries if entry["state"] == "failed"]
    warnings = [f"{len(failed)} of {len(entries)} trials failed: {', '.join(map(str, failed))}."] if failed else []
    return {
        "metric": metric,
        "rows": rows,
        "num_trials": len(entries),
        "note": NOTE,
        "best": entries[0],
        "trials": entries,
        "warnings": warnings,
    }
