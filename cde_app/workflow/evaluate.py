"""`cde evaluate`: the scores of a run."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from cde_app.arrays import IndexArray
from cde_app.config.threshold import Threshold, columns_of, parse_thresholds
from cde_app.data.files import source_name
from cde_app.data.table import read_table
from cde_app.errors import UsageError
from cde_app.evaluation.events import Event
from cde_app.evaluation.metrics import blank_metrics
from cde_app.evaluation.scores import Rows
from cde_app.runs.folder import check_is_outside
from cde_app.runs.run import Run
from cde_app.stored_model import read_contract
from cde_app.trained_model import TrainedModel, events_of
from cde_app.workflow.pictures import draw_into, event_pictures
from cde_app.workflow.scoring import num_seen_rows, score_table, table_to_judge_by, warnings_of_named


def evaluate_run(
    run_path: Path, data_path: Path | None, thresholds: Sequence[str] = (), out_path: Path | None = None
) -> dict[str, Any]:
    """Score a run on the rows it held out, or on every row of another table; its own is known wherever it is.

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
    questions = parse_thresholds(thresholds, model.contract.targets, option="--threshold")
    path = model.settings["data"]["path"] if data_path is None else data_path
    if str(path) == "-" and (names := columns_of(questions)):
        raise UsageError(
            f"--threshold: expected a table in a file for the column {names[0]!r}; got standard input, which cannot be "
            "read twice. Write it to a file."
        )
    if out_path is not None:
        check_is_outside(out_path)
    with table_to_judge_by(run, model, data_path) as table:

        def events(positions: IndexArray) -> list[Event]:
            names = columns_of(questions)
            frame = read_table(path, columns=names, form=model.contract.form).iloc[positions] if names else None
            return events_of(questions, model.contract, frame, len(positions), source=source_name(path))

        num_seen = 0 if data_path is None else num_seen_rows(run, model, table)
        metrics, rows = score_table(model, table, events, num_seen=num_seen)
        warnings = [] if data_path is None else warnings_of_named(model, table, data_path, num_seen=num_seen)
    files: list[Path] = []
    if out_path is not None and rows is not None:
        files, missing = draw_reliability(questions, rows, out_path)
        warnings += missing
    found: dict[str, Any] = {"warnings": warnings, "files": files}
    return metrics | {name: values for name, values in found.items() if values}


def blank_scores(run_path: Path, thresholds: Sequence[str] = ()) -> dict[str, Any]:
    """Return the form of the scores of `evaluate_run`, with meaningless numbers, to check names before scoring.

    Raises:
        UsageError: a threshold names no target or has another form.
        RunError: the run is missing, incomplete, corrupt or from a newer format.
    """
    targets = read_contract(Run.open(run_path)).targets
    questions = parse_thresholds(thresholds, targets, option="--threshold")
    return blank_metrics(targets, [threshold.text for threshold in questions])


def draw_reliability(thresholds: Sequence[Threshold], rows: Rows, out_path: Path) -> tuple[list[Path], list[str]]:
    """Write a reliability picture of each threshold; return the files, and a warning for each that is missing.

    Raises:
        RunError: the folder cannot be written.
    """
    return draw_into(out_path, lambda: event_pictures([threshold.text for threshold in thresholds], rows))
