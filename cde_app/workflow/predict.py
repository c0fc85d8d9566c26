"""`cde predict`: the forecast of every row of a table, as files."""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np

from cde_app.arrays import Array, BoolArray
from cde_app.config.threshold import columns_of
from cde_app.data.aligned import aligned_blocks
from cde_app.data.encoding import (
    ColumnContract,
    complete_rows,
    encode_targets,
    input_values,
    misspelled_labels,
    row_faults,
)
from cde_app.data.extras import kept_columns, read_limits
from cde_app.data.faults import RowFault
from cde_app.data.files import STANDARD_INPUT, find_files, source_name, unchanged
from cde_app.data.prepared import file_hashes, known_targets
from cde_app.data.table import iter_table
from cde_app.errors import DataError, RunError
from cde_app.machine.memory import available_bytes, require
from cde_app.machine.storage import file_hash, write_arrays, write_atomically, write_json, writing
from cde_app.predictive.columns import Columns
from cde_app.predictive.forecast import FARTHEST, ROUGH, Forecast
from cde_app.runs.checks import hash_of_run
from cde_app.runs.folder import predictions
from cde_app.runs.provenance import provenance
from cde_app.runs.run import Run
from cde_app.trained_model import TrainedModel
from cde_app.workflow.answers import BLOCK_ROWS, Block, answers_in_order, num_workers
from cde_app.workflow.pictures import missing_picture, prediction_pictures, write_pictures
from cde_app.workflow.prediction_files import PredictionWriter, component_arrays
from cde_app.workflow.prediction_options import PredictionOptions, questions_of, remaining_targets
from cde_app.workflow.totals import TotalsTable

if TYPE_CHECKING:
    import pandas as pd

    from cde_app.targets import TargetTransform

BYTES_PER_CELL = 200
"""Memory of a cell of a table while it is text and becomes a number [bytes]."""
MOST_FAULTS = 100
"""The largest number of faults of skipped rows in the manifest of predictions."""


def predict_table(
    run_path: Path, data_path: Path, out_path: Path, options: PredictionOptions, *, overwrite: bool
) -> dict[str, Any]:
    """Predict every row of a table, chunk by chunk, into a folder.

    Args:
        run_path: the run directory.
        data_path: CSV or Parquet; needs the input columns; with the targets, `log_density` is written too.
        out_path: the folder for the predictions.
        options: what to compute and write.
        overwrite: replace existing predictions.

    Returns:
        {"rows", "files", "seconds", "warnings"} and what `RowCount.facts` returns; the warnings are whole sentences.

    Raises:
        UsageError: an option names no target of the run, or the options contradict each other.
        DataError: the table breaks the column contract or lacks a column that an option names.
        RunError: the run cannot be read, or the folder may not be written.
        MemoryNeedError: the mixtures that `components` asks for do not fit into the memory.
    """
    model = TrainedModel.load(Run.open(run_path), knows_rows=False)
    return predict_with(model, run_path, data_path, out_path, options, overwrite=overwrite)


def predict_with(
    model: TrainedModel,
    run_path: Path,
    data_path: Path,
    out_path: Path,
    options: PredictionOptions,
    *,
    overwrite: bool,
    waits: bool = False,
    in_processes: bool = True,
    on_rows: Callable[[int], None] = lambda num_rows: None,
    facts: Mapping[str, Any] = MappingProxyType({}),
) -> dict[str, Any]:
    """Predict a table as `predict_table` does, by a model that is loaded already.

    Args:
        model: that of the run.
        run_path: the run directory.
        data_path: the table.
        out_path: the folder for the predictions.
        options: what to compute and write.
        overwrite: replace existing predictions.
        waits: wait for another writer of the folder.
        in_processes: predict many rows in worker processes.
        on_rows: called after each block with the number of rows that are predicted.
        facts: what the manifest has besides, or instead.
    """
    started, source, run_hash = time.monotonic(), source_name(data_path), hash_of_run(run_path)
    options = options.resolved(model.settings)
    questions = questions_of(options, model)
    contract, count, few = model.contract, RowCount(), 0
    ranges = dict(zip(contract.targets, model.predictor.transforms, strict=True))
    known = {name: ranges[name] for name in options.given or ()}
    targets = remaining_targets(options, contract)
    limit_names = columns_of(questions.thresholds)
    forecasts: list[Forecast] = []
    pictured: pd.DataFrame | None = None
    if any(out_path.resolve() in Path(file).resolve().parents for file in find_files(data_path)):
        raise RunError(f"{out_path} holds the table {source}, which predictions may replace; choose another --out.")
    with predictions(out_path, overwrite=overwrite, waits=waits) as folder:
        writer = PredictionWriter(folder, list(questions.tables), file_format=options.file_format)
        totals = TotalsTable(model, options, source=source)
        with writer, unchanged(data_path):
            hashes = file_hashes(data_path)
            read = partial(
                read_blocks, data_path, model, options, targets=targets, known=known, limit_names=limit_names
            )
            num_rows = 0
            if source != STANDARD_INPUT:  # which cannot be read twice
                for rows in read(RowCount()):  # a fault in the last row is better found before others are predicted
                    num_rows += len(rows.frame)
            waiting = deque[ReadRows]()

            def blocks() -> Iterator[Block]:
                for rows in read(count):
                    waiting.append(rows)
                    yield rows.block

            workers = 1
            if in_processes and not options.components:
                num_components = model.settings["predict"]["num_components"]
                workers = num_workers(num_rows, questions, num_targets=len(targets), num_components=num_components)
            answers = answers_in_order(model, questions, blocks(), run_path, run_hash, workers=workers)
            with closing(answers):
                for found in answers:
                    rows = waiting.popleft()
                    writer.append(rows.block.row_numbers, rows.kept, found.tables)
                    few += found.num_rough
                    count.add(contract, rows.frame, found.outside, found.distance)
                    on_rows(count.predicted)
                    totals.append(rows.block.values, rows.frame)
                    if found.forecast is not None and options.components:
                        if 0 < len(found.forecast) == count.predicted:  # the first that has rows
                            check_room_for_components(found.forecast, num_rows)
                        forecasts.append(found.forecast)
                    if options.plots and pictured is None and not rows.frame.empty:
                        pictured = rows.frame
            if count.read and not count.predicted:
                raise no_rows(source, count.faults)
        files = [*writer.files, *totals.write(folder, options.file_format)]
        notes = totals.warnings(num_read=count.read, num_predicted=count.predicted)
        notes += row_warnings(count, few, source=source)
        if options.components:
            files.append(write_arrays(folder / "mixture.npz", component_arrays(forecasts)))
        if pictured is not None:
            drawn, failures = write_pictures(
                partial(prediction_pictures, model, pictured, source=source),
                lambda name, content: write_atomically(folder / "plots" / name, content),
            )
            files += drawn
            if unwritten := [error for error in failures.values() if isinstance(error, RunError)]:
                raise unwritten[0]
            notes += [missing_picture(what, error) for what, error in failures.items()]
        result = {
            "rows": count.predicted,
            "files": [out_path / file.relative_to(folder) for file in files],
            "seconds": time.monotonic() - started,
            **count.facts(),
            "warnings": notes,
        }
        asked = {"run": run_path, "run_hash": run_hash, **options.facts()}
        read_and_written = {"inputs": hashes, "outputs": hashes_of(folder, files)}
        write_json(folder / "manifest.json", {**result, **asked, **provenance(), **read_and_written, **facts})
    return result


@dataclass(frozen=True)
class ReadRows:
    """Consecutive rows of a table that can be predicted."""

    frame: pd.DataFrame
    block: Block
    kept: Columns
    """Columns that every file has too, [N] each."""


def read_blocks(
    data_path: Path,
    model: TrainedModel,
    options: PredictionOptions,
    count: RowCount,
    *,
    targets: Sequence[str],
    known: Mapping[str, TargetTransform],
    limit_names: Sequence[str],
) -> Iterator[ReadRows]:
    """Read a table in blocks of fixed positions, without predicting anything, and count its rows.

    Args:
        data_path: the table.
        model: that of the run.
        options: resolved.
        count: counts the rows.
        targets: those that are predicted.
        known: those that are given, with their transforms.
        limit_names: columns that thresholds name.

    Raises:
        DataError: the table breaks the column contract, or lacks a column that an option names.
    """
    source, contract = source_name(data_path), model.contract
    chunks = iter_table(data_path, chunk_rows=rows_of_a_chunk(model, options), form=contract.form, allows_no_rows=True)
    blocks = aligned_blocks(chunks, BLOCK_ROWS)
    for frame in usable_rows(blocks, contract, count, source=source, given=known, skip_faults=options.skip_faults):
        block = Block(
            row_numbers=frame.index.to_numpy() + 1,
            values=input_values(contract, frame, source=source),
            given=given_values(contract, frame, known, source=source),
            targets=known_targets(contract, frame, source, names=targets),
            limits=read_limits(contract, frame, limit_names, source=source, allows_gaps=True),
        )
        yield ReadRows(frame, block, kept_columns(frame, options.keep or (), source=source))


def rows_of_a_chunk(model: TrainedModel, options: PredictionOptions) -> int:
    """Return how many rows are read at a time: `predict.chunk_rows`, as far as a tenth of the memory holds them.

    It does not go below a block, whose rows are collected anyway. No number depends on it.
    """
    num_columns = len(model.contract.inputs) + len(model.contract.targets) + len(options.keep or ())
    fitting = available_bytes() // (10 * BYTES_PER_CELL * num_columns)
    return min(model.settings["predict"]["chunk_rows"], max(BLOCK_ROWS, fitting))


def check_room_for_components(first: Forecast, num_rows: int) -> None:
    """Check that the mixtures of all rows fit into the memory, together and once more while they are put together.

    Args:
        first: the forecasts of the first rows.
        num_rows: of the table.

    Raises:
        MemoryNeedError: they do not.
    """
    each = sum(array.nbytes for array in component_arrays([first]).values()) / max(len(first), 1)
    require(
        2 * each * num_rows,
        of="--components",
        available=available_bytes(),
        advice="Leave it out, predict fewer rows at a time, lower predict.num_components",
    )


def hashes_of(folder: Path, files: Sequence[Path]) -> dict[str, str]:
    """Return name in the folder -> SHA-256 of files.

    Raises:
        RunError: one cannot be read.
    """
    with writing(folder, "files that can be read again"):
        return {str(file.relative_to(folder)): file_hash(file) for file in files}


def impossible_values(
    contract: ColumnContract, frame: pd.DataFrame, given: Mapping[str, TargetTransform], *, source: str
) -> list[RowFault]:
    """Find the cells that a given target cannot have; the columns have numbers only."""
    if not given:
        return []
    values = encode_targets(contract, frame, source=source, names=tuple(given)).T
    return [
        RowFault(int(frame.index[n]) + 1, name, f"{column[n]:.10g} is outside the range of the target")
        for (name, transform), column in zip(given.items(), values, strict=True)
        for n in np.flatnonzero(~(np.abs(transform.forward(column)) < FARTHEST))
    ]


def given_values(
    contract: ColumnContract, frame: pd.DataFrame, given: Mapping[str, TargetTransform], *, source: str
) -> dict[str, Array]:
    """Return what the table has in the columns of the targets that are given, [N] each.

    Raises:
        DataError: a column is missing, or has a gap or a value that the target cannot have.
    """
    faults = impossible_values(contract, frame, given, source=source)
    if faults:
        more = f" and {len(faults) - 1} more" if len(faults) > 1 else ""
        raise DataError(
            f"{source}: what is given must be in the range of its target; got {faults[0]}{more}. Correct it, leave out "
            "--given, or pass --on-fault skip."
        )
    if not given:
        return {}
    return dict(zip(given, encode_targets(contract, frame, source=source, names=tuple(given)).T, strict=True))


def row_warnings(count: RowCount, few: int, *, source: str) -> list[str]:
    """Warn of a table without rows, and of rows that rest on few components."""
    found = [] if count.read else [f"{source} has no rows; the files have their headers only."]
    return found + ([f"{few} of {count.predicted} rows {ROUGH}"] if few else [])


class RowCount:
    """How many rows a prediction has read and left out, and which of the others ask for extrapolation."""

    def __init__(self) -> None:
        self.read = self.predicted = self.skipped = self.outside = 0
        self.far: int | None = None
        """Rows beyond the unit of the distances; None if the model states none."""
        self.faults: list[RowFault] = []
        """The first `MOST_FAULTS` faults of skipped rows."""
        self._outside_by_column = Counter[str]()
        self._misspelled: dict[str, tuple[str, str]] = {}

    def add(self, contract: ColumnContract, frame: pd.DataFrame, outside: BoolArray, distance: Array | None) -> None:
        """Count predicted rows, and those that ask for extrapolation.

        Args:
            contract: the column contract of the run.
            frame: N rows.
            outside: [N, columns], whether a cell is outside the training range.
            distance: [N], distances from the training rows, if the model states them.
        """
        self.predicted += len(frame)
        if distance is not None:
            self.far = (self.far or 0) + int((distance > 1).sum())
        self.outside += int(outside.any(axis=1).sum())
        for column, cells in zip(contract.inputs, outside.sum(axis=0), strict=True):
            self._outside_by_column[column.name] += int(cells)
        if outside.any():
            self._misspelled = misspelled_labels(contract, frame) | self._misspelled

    def facts(self) -> dict[str, Any]:
        """Return the counts by name: `left_out` counts rows dropped by `missing: drop`, `skipped` rows with faults."""
        by_column = self._outside_by_column.most_common()
        return {
            "out_of_range": self.outside,
            "out_of_range_by_column": {name: cells for name, cells in by_column if cells},
            "far": self.far,
            "misspelled_labels": self._misspelled,
            "left_out": self.read - self.skipped - self.predicted,
            "skipped": self.skipped,
            "faults": [fault._asdict() for fault in self.faults],
        }


def usable_rows(
    chunks: Iterator[pd.DataFrame],
    contract: ColumnContract,
    count: RowCount,
    *,
    source: str,
    given: Mapping[str, TargetTransform],
    skip_faults: bool,
) -> Iterator[pd.DataFrame]:
    """Yield the rows of each chunk that can be predicted, and count the others; of a table without rows, none.

    Args:
        chunks: the table.
        contract: the column contract of the run.
        count: counts the rows.
        source: the table, as errors name it.
        given: targets that the table must have, with their transforms.
        skip_faults: leave out rows with faults.

    Raises:
        DataError: the table breaks the column contract.
    """
    for chunk in chunks:
        frame = chunk[complete_rows(contract, chunk, source=source, with_targets=False)]
        count.read += len(chunk)
        if skip_faults:
            faults = row_faults(contract, frame, source=source, given=tuple(given))
            sound = frame.drop(index=list({fault.row - 1 for fault in faults}))
            faults += impossible_values(contract, sound, given, source=source)
            bad = {fault.row for fault in faults}
            frame = frame.drop(index=[row - 1 for row in bad])
            count.skipped += len(bad)
            count.faults += faults[: MOST_FAULTS - len(count.faults)]
        if not frame.empty or chunk.empty:
            yield frame


def no_rows(source: str, faults: Sequence[RowFault]) -> DataError:
    """Return the error for a table in which no row can be predicted."""
    if faults:
        expected = f"expected at least one row without faults; got none, first {faults[0]}. Clean the file."
    else:
        expected = "expected at least one complete row; got none. Fill the gaps."
    return DataError(f"{source}: {expected}")
