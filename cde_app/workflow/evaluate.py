"""`cde evaluate`: the scores of a run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from cde_app.data.encoding import ColumnContract
from cde_app.runs.run import Run
from cde_app.trained_model import TrainedModel, blank_metrics
from cde_app.trees import from_tree
from cde_app.workflow.scoring import (
    grouped_rows_warning,
    outside_rows_warning,
    score_table,
    seen_rows_warning,
    table_to_judge_by,
)


def evaluate_run(run_path: Path, data_path: Path | None) -> dict[str, Any]:
    """Score a run on the rows it held out, or on every row of another table.

    Returns:
        The scores, and `warnings` (whole sentences) if there are any.

    Raises:
        DataError: the table breaks the column contract or lacks the targets.
        RunError: the run is missing, incomplete, corrupt or from a newer format, or its table has changed.
    """
    run = Run.open(run_path)
    model = TrainedModel.load(run)
    with table_to_judge_by(run, model, data_path) as table:
        metrics, _ = score_table(model, table)
        warnings = []
        if data_path is not None:
            warnings = [seen_rows_warning(run, model, table), outside_rows_warning(table), grouped_rows_warning(model)]
    found = [warning for warning in warnings if warning]
    return metrics | ({"warnings": found} if found else {})


def blank_scores(run_path: Path) -> dict[str, Any]:
    """Return the form of the scores of `evaluate_run`, with meaningless numbers, to check names before scoring.

    Raises:
        RunError: the run is missing, incomplete, corrupt or from a newer format.
    """
    return blank_metrics(from_tree(ColumnContract, Run.open(run_path).read_json("columns.json")).targets)
