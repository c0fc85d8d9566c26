"""`cde explain`: what moves the forecasts of a run."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from cde_app.config.threshold import fixed_thresholds
from cde_app.data.drawn import DrawnRows, draw_held_out_rows, draw_table_rows
from cde_app.data.files import source_name, unchanged
from cde_app.data.fingerprints import fingerprint_rows, seen_warning
from cde_app.data.prepared import file_hashes
from cde_app.data.table import iter_table, write_table
from cde_app.errors import DataError, RunError
from cde_app.explanation.explain import Explanation
from cde_app.explanation.sizes import Sizes, check_sizes
from cde_app.machine.storage import write_atomically, write_json, writing
from cde_app.progress import Progress
from cde_app.runs.folder import arriving, check_is_outside
from cde_app.runs.provenance import provenance
from cde_app.runs.run import Run
from cde_app.trained_model import TrainedModel
from cde_app.workflow.pictures import explanation_pictures, missing_picture, write_pictures
from cde_app.workflow.scoring import independent_rows_warning, is_own_table, own_table_warning, table_to_judge_by

NAME = "explain.json"
OnEvent = Callable[[Progress], None]


def explain_run(
    run_path: Path,
    data_path: Path | None,
    out_path: Path | None,
    *,
    groups: Mapping[str, Sequence[str]],
    thresholds: Sequence[str],
    num_rows: int,
    num_repeats: int,
    num_shares: int,
    on_event: OnEvent,
) -> dict[str, Any]:
    """Explain the forecasts of a run on the rows that it held out, or on another table.

    Args:
        run_path: the run directory.
        data_path: the other table, with or without the targets; if it is the run's own, its held-out rows are used.
        out_path: the folder for `explain.json`, `importance.csv`, `curves.csv`, `shares.csv` and the pictures; None
            writes nothing.
        groups: name -> inputs that are moved together, too.
        thresholds: whose probabilities are explained too, such as `y>100`.
        num_rows: the largest number of rows.
        num_repeats: how often each input of each row is taken from another row.
        num_shares: the largest number of rows with Shapley shares.
        on_event: called with every event.

    Returns:
        What `explain.json` has, with `warnings` (whole sentences); and `files`.

    Raises:
        UsageError: a threshold or a group names what the run does not have, or a number is too small.
        DataError: the table breaks the column contract or has fewer than two rows.
        RunError: the run cannot be read, holds out no rows, or its table has changed; the folder may not be written.
    """
    started, run = time.monotonic(), Run.open(run_path)
    model = TrainedModel.load(run)
    questions = fixed_thresholds(thresholds, model.contract.targets, option="--threshold")
    check_sizes({"--rows": (num_rows, 2), "--repeats": (num_repeats, 1), "--shares": (num_shares, 0)})
    if out_path is not None:
        check_is_outside(out_path)
    path = model.settings["data"]["path"] if data_path is None else data_path
    source = source_name(path)
    with contextlib.nullcontext() if out_path is None else arriving(out_path, last=NAME) as folder:
        on_event(Progress("rows", source))
        drawn, hashes, warnings = draw_rows_of(run, model, data_path, num_rows)
        clock = _Clock(on_event, f"{len(drawn.rows)} of {drawn.num_rows} rows, {len(model.contract.inputs)} inputs")
        explanation = model.explain_rows(
            drawn,
            groups,
            questions,
            Sizes(num_repeats, num_shares),
            option="--group",
            source=source,
            on_cost=clock,
        )
        result: dict[str, Any] = {"run": run_path, "table": source, "drawn_from": drawn.num_rows, **explanation.facts()}
        if out_path is None or folder is None:
            return result | {"warnings": warnings, "files": []}
        on_event(Progress("pictures"))
        files, missing = write_explanation(explanation, model, folder)
        result["warnings"] = warnings + missing
        facts = {"seconds": time.monotonic() - started, **provenance(), "inputs": hashes}
        last = write_json(folder / NAME, result | facts)
    return result | {"files": [out_path / file.relative_to(folder) for file in (last, *files)]}


def write_explanation(explanation: Explanation, model: TrainedModel, out_path: Path) -> tuple[list[Path], list[str]]:
    """Write the tables and pictures of an explanation; return the files, and a warning for each missing picture.

    Raises:
        RunError: the folder cannot be written.
    """
    tables = {
        "importance.csv": explanation.importance_columns(),
        "curves.csv": explanation.curve_columns(),
        "shares.csv": explanation.share_columns(),
    }
    with writing(out_path, "a folder that can be written"):
        for name, columns in tables.items():
            write_table(out_path / name, columns, file_format="csv")
    units = dict(zip(model.contract.targets, model.contract.units, strict=True))
    drawn, failures = write_pictures(
        partial(explanation_pictures, explanation, units),
        lambda name, content: write_atomically(out_path / "plots" / name, content),
    )
    if unwritten := [error for error in failures.values() if isinstance(error, RunError)]:
        raise unwritten[0]
    return [*(out_path / name for name in tables), *drawn], [missing_picture(*failure) for failure in failures.items()]


def draw_rows_of(
    run: Run, model: TrainedModel, data_path: Path | None, num_rows: int
) -> tuple[DrawnRows, dict[str, str], list[str]]:
    """Draw held-out rows of a run, also if its own table is named, or rows of another table.

    Returns:
        The rows; the hash of each file; and warnings about the rows.

    Raises:
        DataError: the table breaks the column contract.
        RunError: the run holds out no rows, or its table has changed.
    """
    seed, warnings = model.settings["seed"], list[str]()
    if data_path is None or is_own_table(run, model, data_path):
        with table_to_judge_by(run, model, data_path) as table:
            drawn, hashes = draw_held_out_rows(table, num_rows, seed=seed), table.hashes
        if not len(drawn.rows):
            raise RunError(f"{run.path} holds out no rows to explain. Name a table after the run.")
        own = None if data_path is None else own_table_warning(table, data_path)
        return drawn, hashes, [*filter(None, [own, independent_rows_warning(model)])]
    source = source_name(data_path)
    with unchanged(data_path):
        hashes = file_hashes(data_path)
        chunks = iter_table(data_path, chunk_rows=model.settings["predict"]["chunk_rows"], form=model.contract.form)
        drawn = draw_table_rows(model.contract, chunks, num_rows, seed=seed, source=source)
    if not len(drawn.rows):
        raise DataError(f"{source}: expected at least two rows without gaps; got none. Fill the gaps.")
    if drawn.num_without_targets:
        warnings.append(f"{drawn.num_without_targets} rows of {source} lack a target and were left out.")
    if drawn.targets is not None:
        seen = model.seen.count(fingerprint_rows(np.hstack([drawn.cells, drawn.targets])))
        warnings += filter(None, [seen_warning(seen, len(drawn.rows))])
    warnings += filter(None, [independent_rows_warning(model)])
    return drawn, hashes, warnings


class _Clock:
    """Turns costs into events with the time that is left."""

    def __init__(self, on_event: OnEvent, what: str) -> None:
        self._on_event, self._what, self._started = on_event, what, time.monotonic()
        self._has_told = False
        on_event(Progress("forecasts", what))

    def __call__(self, done: float, total: float) -> None:
        """Report what is done, and once what all of it will take."""
        elapsed = time.monotonic() - self._started
        left = elapsed / done * (total - done)
        if not self._has_told:
            self._has_told = True
            self._on_event(Progress("estimate", f"{self._what}: about {elapsed + left:.0f} s"))
        self._on_event(
            Progress(
                "forecasts",
                step=round(done),
                max_steps=round(total),
                noun="forecast",
                elapsed_seconds=elapsed,
                seconds_left=left,
            )
        )
