"""The scores of a run on its held-out rows or on another table, and warnings about them."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from cde_app.arrays import IndexArray
from cde_app.config import FRAME_PATH
from cde_app.data.files import source_name
from cde_app.data.prepared import PreparedTable, file_hashes, prepare_evaluation
from cde_app.errors import DataError, RunError
from cde_app.evaluation.events import Event
from cde_app.evaluation.scores import Rows
from cde_app.machine.rows import draw_rows
from cde_app.machine.streams import Stream
from cde_app.runs.run import Run
from cde_app.trained_model import TrainedModel, seen_warning

_UNREADABLE = {
    "-": "standard input, which cannot be read again",
    FRAME_PATH: "a frame in memory, which cannot be read again",
}
SCORED_ROWS = 50_000
"""The largest number of held-out rows that are scored; the standard errors are then below any relevant difference."""


@contextlib.contextmanager
def table_to_judge_by(run: Run, model: TrainedModel, data_path: Path | None) -> Iterator[PreparedTable]:
    """Prepare the table to judge a run by: its own table with its split, or another one, held out completely.

    Raises:
        DataError: the table breaks the column contract or lacks the targets.
        RunError: the run's own table has changed.
    """
    own_path = model.settings["data"]["path"]
    if data_path is None:
        check_same_table(run, own_path)
    path, split = (own_path, model.split) if data_path is None else (data_path, None)
    with tempfile.TemporaryDirectory() as folder:
        table = prepare_evaluation(path, model.contract, split, Path(folder))
        if data_path is None:
            check_same_table(run, path, table.hashes)
        yield table


def check_same_table(run: Run, path: str | Path, found: dict[str, str] | None = None) -> None:
    """Check that a run's table is still the one it was trained on.

    Args:
        run: the run.
        path: path of the table.
        found: the hashes of its files; None computes them.
    """
    got = "different content"
    try:
        found = file_hashes(path) if found is None else found
    except DataError:
        found, got = {}, "no such file"
    if not found or found != run.manifest()["inputs"]:
        got = _UNREADABLE.get(str(path), got)
        raise RunError(
            f"{source_name(path)}: expected the table that {run.path} was trained on; got {got}. "
            "Name a table after the run."
        )


def score_table(
    model: TrainedModel, table: PreparedTable, events: Callable[[IndexArray], Sequence[Event]] = lambda rows: ()
) -> tuple[dict[str, Any], Rows | None]:
    """Return the scores of the model and the baselines on the held-out rows, and the model's scores per row.

    `events` returns the events to score, given the scored rows, [N], as positions in the file.

    If there are more than `SCORED_ROWS` held-out rows, that many are drawn, and `drawn_from` in the scores is the count
    of all of them.
    """
    held_out = table.split.test
    rows = held_out[draw_rows(len(held_out), SCORED_ROWS, seed=model.settings["seed"], stream=Stream.SCORED_ROWS)]
    if len(rows) == 0:
        return {"num_rows": 0}, None
    metrics, scored = model.scores(table.inputs[rows], table.targets[rows], events(table.rows[rows]))
    return metrics | ({"drawn_from": len(held_out)} if len(rows) < len(held_out) else {}), scored


def seen_rows_warning(run: Run, model: TrainedModel, table: PreparedTable) -> str | None:
    """Warn how many rows of another table a run's training has seen; None if there are none, or by chance."""
    hashes = sorted(table.hashes.values())
    if hashes and hashes == sorted(run.manifest()["inputs"].values()):
        num_seen = model.seen.num_rows
    else:
        num_seen = model.seen.count(table.fingerprints)
    return seen_warning(num_seen, len(table.fingerprints))


def outside_rows_warning(table: PreparedTable) -> str | None:
    """Warn how many rows of a table ask for extrapolation; None if there are none."""
    if not table.num_outside:
        return None
    return (
        f"{table.num_outside} of these {len(table.fingerprints)} rows are outside the range of the training data or "
        "have labels that are not in it: their densities are extrapolations."
    )


def grouped_rows_warning(model: TrainedModel) -> str | None:
    """Warn that standard errors do not know which rows belong together; None if the run's rows are independent."""
    split = model.settings["data"]["split"]
    if split["kind"] != "group":
        return None
    return f"the standard errors treat rows as independent; they are too small if rows share one {split['column']!r}."


def drawn_rows_warning(table: PreparedTable) -> str | None:
    """Warn that `score_table` samples the held-out rows; None if it uses all of them."""
    num_rows = len(table.split.test)
    if num_rows <= SCORED_ROWS:
        return None
    return f"the scores are for {SCORED_ROWS} rows drawn at random from {num_rows} held-out rows."
