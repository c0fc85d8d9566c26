"""`cde evaluate`: the scores of a run."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from cde_app.arrays import Array, IndexArray
from cde_app.config.threshold import Threshold, parse_threshold
from cde_app.data.encoding import ColumnContract
from cde_app.data.extras import read_limits
from cde_app.data.files import source_name
from cde_app.data.table import read_table
from cde_app.errors import DataError, RunError, UsageError
from cde_app.evaluation.events import Event
from cde_app.evaluation.scores import Rows
from cde_app.machine.storage import write_atomically
from cde_app.runs.folder import held, status
from cde_app.runs.run import Run
from cde_app.trained_model import TrainedModel, blank_metrics
from cde_app.trees import from_tree
from cde_app.workflow.pictures import event_pictures, write_pictures
from cde_app.workflow.scoring import (
    grouped_rows_warning,
    outside_rows_warning,
    score_table,
    seen_rows_warning,
    table_to_judge_by,
)


def evaluate_run(
    run_path: Path, data_path: Path | None, thresholds: Sequence[str] = (), out_path: Path | None = None
) -> dict[str, Any]:
    """Score a run on the rows it held out, or on every row of another table.

    Args:
        run_path: the run directory.
        data_path: the other table.
        thresholds: whose probabilities are scored too, such as `y>100`; see `config.threshold`.
        out_path: the folder for a reliability picture of each threshold; None draws none.

    Returns:
        The scores; `warnings` (whole sentences) and `files`, if there are any.

    Raises:
        UsageError: a threshold names no target or has another form.
        DataError: the table breaks the column contract, or lacks the targets or a column of limits.
        RunError: the run is missing, incomplete, corrupt or from a newer format, or its table has changed; the folder
            for the pictures may not be written.
    """
    run = Run.open(run_path)
    model = TrainedModel.load(run)
    questions = parse_thresholds(thresholds, model.contract.targets)
    path = model.settings["data"]["path"] if data_path is None else data_path
    with table_to_judge_by(run, model, data_path) as table:
        metrics, rows = score_table(
            model, table, lambda positions: events_of(questions, model.contract, path, positions)
        )
        warnings = []
        if data_path is not None:
            warnings = [seen_rows_warning(run, model, table), outside_rows_warning(table), grouped_rows_warning(model)]
    found: dict[str, Any] = {"warnings": [warning for warning in warnings if warning]}
    if out_path is not None and rows is not None:
        found["files"] = draw_reliability(questions, rows, out_path)
    return metrics | {name: values for name, values in found.items() if values}


def blank_scores(run_path: Path, thresholds: Sequence[str] = ()) -> dict[str, Any]:
    """Return the form of the scores of `evaluate_run`, with meaningless numbers, to check names before scoring.

    Raises:
        UsageError: a threshold names no target or has another form.
        RunError: the run is missing, incomplete, corrupt or from a newer format.
    """
    targets = from_tree(ColumnContract, Run.open(run_path).read_json("columns.json")).targets
    return blank_metrics(targets, [threshold.text for threshold in parse_thresholds(thresholds, targets)])


def parse_thresholds(texts: Sequence[str], targets: Sequence[str]) -> tuple[Threshold, ...]:
    """Read the thresholds of the command line, each once.

    Raises:
        UsageError: one names no target or has another form; all faults at once.
    """
    found, faults = dict[str, Threshold](), list[str]()
    for text in texts:
        try:
            threshold = parse_threshold(text, targets)
            found[threshold.text] = threshold
        except ValueError as error:
            faults.append(f"--threshold: {error}")
    if faults:
        raise UsageError(*faults)
    return tuple(found.values())


def events_of(
    thresholds: Sequence[Threshold], contract: ColumnContract, path: str | Path, positions: IndexArray
) -> list[Event]:
    """Return the thresholds as events of some rows of a table.

    Args:
        thresholds: of the run's targets.
        contract: the column contract of the run.
        path: the table.
        positions: [N], the rows.

    Raises:
        DataError: a column of limits is missing, or has a gap or a cell that is no number in these rows.
    """
    names = list(dict.fromkeys(name for threshold in thresholds for name in threshold.columns))
    limits: dict[str, Array] = {}
    if names:
        frame = read_table(path, columns=names, form=contract.form).iloc[positions]
        limits = read_limits(contract, frame, names, source=source_name(path))
    for name, values in limits.items():
        if np.isnan(values).any():
            row = positions[int(np.argmax(np.isnan(values)))] + 1
            raise DataError(
                f"{source_name(path)}: column {name!r} must be numbers without gaps to score a threshold; got a gap in "
                f"row {row} of the table. Fill it, or leave those rows out."
            )

    def limit(end: float | str) -> Array:
        return limits[end] if isinstance(end, str) else np.full(len(positions), end)

    return [Event(t.text, list(contract.targets).index(t.target), limit(t.above), limit(t.below)) for t in thresholds]


def draw_reliability(thresholds: Sequence[Threshold], rows: Rows, out_path: Path) -> list[Path]:
    """Write a reliability picture of each threshold.

    Raises:
        RunError: the folder is a run, or cannot be written.
    """
    if status(out_path):
        raise RunError(f"{out_path} is a run; choose another --out.")
    with held(out_path):
        files, failures = write_pictures(
            lambda: event_pictures([threshold.text for threshold in thresholds], rows),
            lambda name, content: write_atomically(out_path / name, content),
        )
    if failures:
        raise next(iter(failures.values()))
    return files
