"""The scores of a run on its held-out rows or on another table, and warnings about them."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from cde_app.arrays import IndexArray
from cde_app.config import FRAME_PATH
from cde_app.data.files import source_name
from cde_app.data.fingerprints import seen_warning
from cde_app.data.prepared import PreparedTable, file_hashes, prepare_evaluation
from cde_app.errors import DataError, RunError
from cde_app.evaluation.events import Event
from cde_app.evaluation.score_form import fault_of_scores
from cde_app.evaluation.scores import Rows
from cde_app.evaluation.verdict import in_words
from cde_app.machine.rows import draw_rows
from cde_app.machine.streams import Stream
from cde_app.runs.run import Run
from cde_app.trained_model import TrainedModel

_UNREADABLE = {
    "-": "standard input, which cannot be read again",
    FRAME_PATH: "a frame in memory, which cannot be read again",
}
SCORED_ROWS = 50_000
"""The largest number of held-out rows that are scored; the standard errors are then below any relevant difference."""


@contextlib.contextmanager
def table_to_judge_by(run: Run, model: TrainedModel, data_path: Path | None) -> Iterator[PreparedTable]:
    """Prepare the table to judge a run by: its own table with its split, or another one, held out completely.

    Which of the two it is, `is_own_table` says.

    Raises:
        DataError: the table breaks the column contract or lacks the targets.
        RunError: the run's own table has changed.
    """
    if data_path is None or is_own_table(run, model, data_path):
        with own_table(run, model, data_path, otherwise="Name a table after the run") as table:
            yield table
    else:
        with tempfile.TemporaryDirectory() as folder:
            yield prepare_evaluation(data_path, model.contract, model.split_settings, None, Path(folder))


@contextlib.contextmanager
def own_table(
    run: Run,
    model: TrainedModel,
    moved_to: Path | None = None,
    *,
    otherwise: str = "Put it back, or name it after the run if it has moved",
) -> Iterator[PreparedTable]:
    """Prepare the table that a run was trained on, with its split.

    Args:
        run: the run.
        model: its model.
        moved_to: where the table is; None if it is where it was.
        otherwise: what to do if it is not there.

    Raises:
        DataError: the table that is named is missing or cannot be read.
        RunError: the table is missing where it was, or has another content.
    """
    path = model.settings["data"]["path"] if moved_to is None else moved_to
    otherwise = otherwise if moved_to is None else "Name that table, whose files have the same bytes"
    _check_same_table(run, path, otherwise=otherwise, is_named=moved_to is not None)
    with tempfile.TemporaryDirectory() as folder:
        table = prepare_evaluation(path, model.contract, model.split_settings, model.split, Path(folder))
        _check_same_table(run, path, table.hashes, otherwise=otherwise)
        yield table


def is_own_table(run: Run, model: TrainedModel, data_path: Path | None) -> bool:
    """Return whether to judge a run by its held-out rows, because the table is not named or the run's own.

    A table with the content of the run's own is the run's own, wherever it is, if the run has held out rows of it.

    Raises:
        DataError: the table is missing or cannot be read.
    """
    return data_path is None or (len(model.split.test) > 0 and has_same_content(run, file_hashes(data_path)))


def has_same_content(run: Run, hashes: Mapping[str, str]) -> bool:
    """Return whether a table has the content of a run's own; `hashes` of its files, in their order, none if unknown."""
    return bool(hashes) and list(hashes.values()) == list(run.manifest()["inputs"].values())


def own_table_warning(table: PreparedTable, data_path: Path) -> str | None:
    """Say that a named table is the run's own, of which the held-out rows are used; None if it is another one."""
    num_held_out, num_rows = len(table.split.test), len(table.rows)
    if num_held_out == num_rows:
        return None
    return (
        f"{source_name(data_path)} has the content of the table that the run was trained on: the {num_held_out} of its "
        f"{num_rows} rows that were held out are used."
    )


def _check_same_table(
    run: Run,
    path: str | Path,
    found: Mapping[str, str] | None = None,
    *,
    otherwise: str,
    is_named: bool = False,
) -> None:
    """Check that a table is the one that a run was trained on.

    Args:
        run: the run.
        path: path of the table.
        found: the hashes of its files; None computes them.
        otherwise: what to do if it is not.
        is_named: the user has named the path, so that it must be there.

    Raises:
        DataError: the table that is named is missing or cannot be read.
        RunError: it is not that table, or is missing and was not named.
    """
    got = "different content"
    try:
        found = file_hashes(path) if found is None else found
    except DataError:
        if is_named:
            raise
        found, got = {}, "no such file"
    if not has_same_content(run, found):
        got = _UNREADABLE.get(str(path), got)
        raise RunError(
            f"{source_name(path)}: expected the table that {run.path} was trained on; got {got}. {otherwise}."
        )


def score_table(
    model: TrainedModel,
    table: PreparedTable,
    events: Callable[[IndexArray], Sequence[Event]] = lambda rows: (),
    *,
    num_seen: int = 0,
) -> tuple[dict[str, Any], Rows | None]:
    """Return the scores of the model and the baselines on the held-out rows, and the model's scores per row.

    `events` returns the events to score, given the scored rows, [N], as positions in the file; `num_seen` is how many
    of the held-out rows the training has seen after all.

    If there are more than `SCORED_ROWS` held-out rows, that many are drawn, and `drawn_from` in the scores is the count
    of all of them. If rows depend on each other, blocks of them count as one in the standard errors, as
    `standard_errors` says.
    """
    held_out = table.split.test
    rows = held_out[draw_rows(len(held_out), SCORED_ROWS, seed=model.settings["seed"], stream=Stream.SCORED_ROWS)]
    if len(rows) == 0:
        return {"num_rows": 0, **in_words({})}, None
    metrics, scored = model.judge(
        table.inputs[rows], table.targets[rows], events(table.rows[rows]), table.dependence, rows, num_seen=num_seen
    )
    return metrics | ({"drawn_from": len(held_out)} if len(rows) < len(held_out) else {}), scored


def stored_scores(run: Run) -> dict[str, Any]:
    """Return the scores of the held-out rows that the training has written.

    Raises:
        RunError: they have another form.
    """
    metrics = run.read_json("metrics.json")
    if fault := fault_of_scores(metrics):
        raise RunError(f"{run.file('metrics.json')}: {fault}. Train the run again.")
    return dict(metrics)


def num_seen_rows(run: Run, model: TrainedModel, table: PreparedTable) -> int:
    """Return how many of the rows of a table that are to be judged a run's training has seen; 0 if by chance."""
    if len(table.split.test) < len(table.rows):  # the run's own, of which the held-out rows are judged
        return 0
    return model.seen.num_rows if has_same_content(run, table.hashes) else model.seen.count(table.fingerprints)


def warnings_of_named(model: TrainedModel, table: PreparedTable, data_path: Path, *, num_seen: int) -> list[str]:
    """Return what to know about the scores of a table that was named, of whose rows `num_seen` were trained on."""
    if own := own_table_warning(table, data_path):
        return [own]
    seen = seen_warning(num_seen, len(table.fingerprints))
    found = [seen, outside_rows_warning(table), dependent_rows_warning(model, table)]
    return [warning for warning in found if warning]


def outside_rows_warning(table: PreparedTable) -> str | None:
    """Warn how many rows of a table ask for extrapolation; None if there are none."""
    if not table.num_outside:
        return None
    return (
        f"{table.num_outside} of these {len(table.fingerprints)} rows are outside the range of the training data or "
        "have labels that are not in it: their densities are extrapolations."
    )


def dependent_rows_warning(model: TrainedModel, table: PreparedTable) -> str | None:
    """Warn that standard errors do not know which rows depend on each other; None if they do, or if none depend."""
    independent = independent_rows_warning(model)
    if independent is None or table.dependence is not None:
        return None
    column = model.settings["data"]["split"]["column"]
    return f"the table has no column {column!r} that can be read as in the training, so that {independent}"


def independent_rows_warning(model: TrainedModel) -> str | None:
    """Warn that standard errors treat rows as independent; None if those of the run are."""
    split = model.settings["data"]["split"]
    if split["kind"] not in ("group", "time"):
        return None
    how = "share one" if split["kind"] == "group" else "are close in"
    return f"the standard errors treat rows as independent; they are too small if rows {how} {split['column']!r}."


def drawn_rows_warning(table: PreparedTable) -> str | None:
    """Warn that `score_table` samples the held-out rows; None if it uses all of them."""
    num_rows = len(table.split.test)
    if num_rows <= SCORED_ROWS:
        return None
    return f"the scores are for {SCORED_ROWS} rows drawn at random from {num_rows} held-out rows."
