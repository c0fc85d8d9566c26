"""`cde cv`: cross-validation, every fold in a run of its own."""

from __future__ import annotations

import contextlib
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from cde_app.config import FRAME_PATH, Config, Fold
from cde_app.config_file import ConfigFile
from cde_app.config_file.text import dump_config
from cde_app.data.dependence import dependence_of
from cde_app.data.files import source_name
from cde_app.data.frame import content_hash
from cde_app.data.prepared import fit_training, read_training_table
from cde_app.data.table import FileFormat
from cde_app.errors import SettingError, UsageError
from cde_app.evaluation.folds import over_folds
from cde_app.evaluation.metrics import join_scores, metrics_of
from cde_app.evaluation.scores import Rows
from cde_app.execution.choose import Execution
from cde_app.machine import interruption
from cde_app.machine.packages import require_training
from cde_app.machine.storage import write_json
from cde_app.progress import Progress
from cde_app.runs import study
from cde_app.runs.contents import MANIFEST
from cde_app.runs.provenance import provenance
from cde_app.runs.run import Run
from cde_app.words import flatten
from cde_app.workflow.out_of_fold import NAME, FoldRows, predict_out_of_fold
from cde_app.workflow.pictures import fold_pictures, missing_picture, write_pictures
from cde_app.workflow.train import TRAINS
from cde_app.workflow.trainings import HERE, OnEvent, TrainingWork, failure_of, is_done, training_memory

if TYPE_CHECKING:
    import pandas as pd

SCORES = "cv.json"
MOST_FOLDS = 1000
"""Each is a training."""
KIND = study.Kind("cross-validation", "fold", frozenset({SCORES, f"{NAME}.csv", f"{NAME}.parquet"}))
ERRORS = {
    "se_rows": "standard error over rows, given the models",
    "se_folds": "standard error over folds, sd / sqrt(K) of the folds' scores",
}


def cross_validate(
    file: ConfigFile,
    out: Path,
    *,
    num_folds: int,
    execution: Execution,
    overwrite: bool,
    file_format: FileFormat,
    on_event: OnEvent,
    frame: pd.DataFrame | None = None,
) -> dict[str, Any]:
    """Train a configuration once for every fold, and score each row by the model that has not seen it.

    What the folder has of the same cross-validation is kept: finished folds are not trained again, and others are
    resumed. A fold that fails does not stop the others.

    Args:
        file: the configuration; its `data.split.test` is replaced by the folds.
        out: the folder for the folds' runs and the results.
        num_folds: K.
        execution: where the folds are trained.
        overwrite: replace another cross-validation in the folder, and train every fold again.
        file_format: of the table of forecasts.
        on_event: called with every event of every fold, which `Progress.unit` names.
        frame: the table, if it is a checked frame; then the folds are trained one after another in this process.

    Returns:
        What `cv.json` has: the scores as `evaluation.folds.over_folds` has them, `num_rows`, `num_folds`, `errors`
        (what each standard error means), `folds` (run, rows and seconds of each) and `warnings` (whole sentences); and
        `files`.

    Raises:
        UsageError: there are fewer than two folds, or the table can be read only once.
        ConfigError: the rows are split by labels in a column, or the model does not fit the table.
        DataError: the table breaks the column contract, or there are more folds than rows or groups.
        RunError: the folder has something else or cannot be written.
        CdeError: a fold has failed.
    """
    started = time.monotonic()
    require_training()
    if not 2 <= num_folds <= MOST_FOLDS:
        raise UsageError(
            f"--folds: expected at least 2 and at most {MOST_FOLDS}; got {num_folds}. Write for example --folds 5."
        )
    if file.config.data.path == "-":
        raise UsageError("data.path: expected a file, as every fold reads it; got standard input. Write it to a file.")
    with file.locating_faults():
        folds = fold_files(file, num_folds)
        on_event(Progress("data", source_name(file.config.data.path)))
        rows, memory = read_fold_rows([fold.config for fold in folds], frame)
    inputs = rows.hashes if rows.content is None else {FRAME_PATH: rows.content}
    facts = {"folds": num_folds, "inputs": inputs, **facts_of(file.config)}
    with study.opened(out, KIND, facts, overwrite=overwrite):
        works = [TrainingWork(f"fold-{k}", fold, out / f"fold-{k}", frame) for k, fold in enumerate(folds, start=1)]
        train_folds(works, rows, execution if frame is None else HERE, memory, on_event)
        on_event(Progress("evaluation", f"{rows.num_rows} rows, each by the model that has not seen it"))
        runs = [work.path for work in works]
        table, scored = predict_out_of_fold(rows, runs, out, file_format=file_format, frame=frame)
        for other in {f"{NAME}.csv", f"{NAME}.parquet"} - {table.name}:
            (out / other).unlink(missing_ok=True)
        result = scores_of(scored, runs, rows, file.config)
        files = [write_json(out / SCORES, result), table]
        on_event(Progress("pictures"))
        names = [target.column for target in file.config.data.targets]
        pit = np.concatenate([own["model"]["pit"] for own in scored])
        drawn, failures = write_pictures(
            partial(fold_pictures, result, pit, names),
            partial(study.write_picture, out),
        )
        missing = [missing_picture(what, error) for what, error in failures.items()]
        result["warnings"] += missing
        manifest = {"folds": num_folds, "seconds": time.monotonic() - started, "warnings": result["warnings"]}
        write_json(out / MANIFEST, {**provenance(), **manifest, "inputs": inputs})
    return result | {"files": [*files, *drawn]}


def fold_files(file: ConfigFile, num_folds: int) -> list[ConfigFile]:
    """Return the configuration of every fold, complete in itself; faults have the positions of the original.

    Raises:
        SettingError: the rows are split by the labels of a column.
    """
    data = file.config.data
    if data.split.kind == "column":
        raise SettingError(
            ("data", "split", "kind"),
            "expected 'random', 'group' or 'time' for a cross-validation; got 'column', which says itself what each "
            "row is for. Choose another, for example with --set data.split.kind=random.",
        )
    configs = [
        file.config.model_copy(
            update={
                "data": data.model_copy(
                    update={"split": data.split.model_copy(update={"test": Fold(fold=k, of=num_folds)})}
                )
            }
        )
        for k in range(1, num_folds + 1)
    ]
    return [replace(file, config=config, source=dump_config(config).encode()) for config in configs]


def facts_of(config: Config) -> dict[str, Any]:
    """Return the settings that make a cross-validation the same, by dotted name."""
    settings = dict(flatten(config.model_dump(mode="json"), into_lists=True))
    return {key: value for key, value in settings.items() if not key.startswith("data.split.test")}


def read_fold_rows(configs: Sequence[Config], frame: pd.DataFrame | None) -> tuple[FoldRows, int]:
    """Read the table once, and check that every fold can be trained on it.

    Args:
        configs: the folds' configurations.
        frame: the table, if it is a frame.

    Returns:
        The rows of each fold; and roughly the memory that a training takes [bytes].

    Raises:
        DataError: the table breaks the column contract, or the rows are too few for the folds.
    """
    data, tests, memory = configs[0].data, [], 0
    with tempfile.TemporaryDirectory() as folder:
        hashes, readings = read_training_table(data, Path(folder), frame)
        for config in configs:
            contract, split, _ = fit_training(config, readings, source=source_name(data.path))
            tests.append(split.test)
            memory = max(memory, training_memory(config, split, num_features=len(contract.feature_names)))
    dependence = dependence_of(data.split, readings.by)
    groups = None if dependence is None else dependence.blocks(np.concatenate(tests))
    labels = (np.array(own, dtype=str) for own in readings.labels)
    content = None if frame is None else content_hash(np.asarray(readings.values), *labels)
    return FoldRows(data.path, hashes, content, tuple(readings.rows[test] for test in tests), groups), memory


def train_folds(
    works: Sequence[TrainingWork], rows: FoldRows, execution: Execution, memory: int, on_event: OnEvent
) -> None:
    """Train the folds that are not done.

    Raises:
        CdeError: some have failed; the error has the faults of all of them.
    """
    waiting = [work for work in works if not is_done(work.path, work.file.config, rows.hashes)]
    num_done, failures = len(works) - len(waiting), dict[str, Exception]()
    on_event(Progress("folds", f"{num_done} of {len(works)} are done"))
    if not waiting:
        return
    with execution.open(len(waiting), bytes_per_worker=memory) as executor, interruption.heeded():
        executor.import_early(TRAINS)
        num_threads, max_memory = executor.threads_each(len(waiting)), executor.memory_each(len(waiting))
        units = [replace(work, num_threads=num_threads, max_memory=max_memory) for work in waiting]
        outcomes = executor.run(units, on_event=lambda _, event: on_event(event))
        with contextlib.closing(outcomes):
            for outcome in outcomes:
                interruption.check()
                name = waiting[outcome.index].name
                if outcome.error is None:
                    num_done += 1
                else:
                    failures[name] = outcome.error
                on_event(Progress("done" if outcome.error is None else "failed", unit=name))
                on_event(Progress("folds", f"{num_done} of {len(works)} are done"))
    if failures:
        raise failure_of(failures)


def scores_of(
    scored: Sequence[Mapping[str, Rows]], runs: Sequence[Path], rows: FoldRows, config: Config
) -> dict[str, Any]:
    """Return the scores of all rows and of each fold, for `cv.json`."""
    names = [target.column for target in config.data.targets]
    pooled = metrics_of(join_scores(scored), names, groups=rows.groups)
    result = over_folds(pooled, [metrics_of(fold, names) for fold in scored])
    folds, split = [], config.data.split
    for run in runs:
        manifest = Run.open(run).manifest()
        folds.append({"run": run.name, "rows": manifest["rows"], "seconds": manifest["seconds"]})
    warnings, errors = [], dict(ERRORS)
    if split.kind == "group":
        errors["se_rows"] += f"; the rows of one {split.column!r} count as one"
    if split.kind == "time":
        errors["se_rows"] += f"; blocks of rows that follow one another in {split.column!r} count as one"
        warnings.append(
            "the rows are in the order of time, and the earliest are only trained on: the scores are those of the "
            "later ones."
        )
    return {"num_rows": rows.num_rows, "num_folds": len(runs), "errors": errors, **result, "folds": folds} | {
        "warnings": warnings
    }
