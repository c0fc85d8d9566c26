"""`cde predict`: the forecast of every row of a table, as files."""

from __future__ import annotations

import hashlib
import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, nullcontext
from dataclasses import dataclass, replace
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
    are_outside,
    complete_rows,
    encode_columns,
    encode_targets,
    input_values,
    misspelled_labels,
    row_faults,
)
from cde_app.data.extras import kept_columns, read_limits
from cde_app.data.faults import RowFault
from cde_app.data.files import STANDARD_INPUT, find_files, source_name, unchanged
from cde_app.data.fingerprints import fingerprint_rows
from cde_app.data.prepared import file_hashes, known_targets
from cde_app.data.table import iter_table
from cde_app.errors import DataError, RunError, UsageError
from cde_app.machine.blocks import map_ahead
from cde_app.machine.memory import available_bytes, how_to_have_more, require
from cde_app.machine.storage import file_hash, write_arrays, write_atomically, write_json, writing
from cde_app.machine.threads import num_threads
from cde_app.predictive.columns import Columns, LongTable
from cde_app.predictive.forecast import FARTHEST, ROUGH, Forecast
from cde_app.runs.checks import hash_of_run
from cde_app.runs.folder import predictions
from cde_app.runs.provenance import provenance
from cde_app.runs.run import Run
from cde_app.trained_model import TrainedModel
from cde_app.workflow.pictures import missing_picture, prediction_pictures, write_pictures
from cde_app.workflow.prediction_files import Chunk, PredictionWriter, Questions, component_arrays
from cde_app.workflow.prediction_options import PredictionOptions, questions_of, remaining_targets
from cde_app.workflow.totals import TotalsTable

if TYPE_CHECKING:
    import pandas as pd

    from cde_app.targets import TargetTransform

BLOCK_ROWS = 1024
"""Positions in the table that are predicted together, so that no bit depends on how the rows are read."""
BYTES_PER_DRAW = 64
"""Memory of a draw of one target while it is drawn and written, text included [bytes]."""
BYTES_PER_POINT, BYTES_PER_COMPONENT = 200, 24
"""Memory of a point of `--grid` or `--at`, in each row and component [bytes]."""
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
        on_rows: called after each block with the number of rows that are predicted.
        facts: what the manifest has besides, or instead.
    """
    started, source = time.monotonic(), source_name(data_path)
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
                for block in read(RowCount()):  # a fault in the last row is better found before others are predicted
                    num_rows += len(block.frame)
            most = blocks_at_once(questions, len(targets), model.settings["predict"]["num_components"])
            answers = map_ahead(partial(answer_block, model, questions), read(count), most_at_once=most)
            # Rough rows are counted over the whole table; the filters are those of all threads.
            silence = warnings.catch_warnings(action="ignore") if known else nullcontext()
            with closing(answers), silence:
                for answered in answers:
                    frame, forecast = answered.block.frame, answered.chunk.forecast
                    writer.append(answered.chunk, answered.tables)
                    few += forecast.num_rough
                    count.add(contract, frame, answered.outside, answered.chunk.distance)
                    on_rows(count.predicted)
                    totals.append(answered.X, frame)
                    if options.components:
                        if 0 < len(forecast) == count.predicted:  # the first that has rows
                            check_room_for_components(forecast, num_rows)
                        forecasts.append(forecast)
                    if options.plots and pictured is None and not frame.empty:
                        pictured = frame
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
        asked = {"run": run_path, "run_hash": hash_of_run(run_path), **options.facts()}
        read_and_written = {"inputs": hashes, "outputs": hashes_of(folder, files)}
        write_json(folder / "manifest.json", {**result, **asked, **provenance(), **read_and_written, **facts})
    return result


@dataclass(frozen=True)
class Block:
    """Consecutive rows of a table that can be predicted, and what the table says of them."""

    frame: pd.DataFrame
    values: Array
    """[N, inputs], as `input_values` reads them."""
    given: dict[str, Array]
    """[N] of each target that is given."""
    targets: Array | None
    """[N, P], observations of the others, if the table has them."""
    kept: Columns
    """Columns that every file has too, [N] each."""
    limits: dict[str, Array]
    """Columns that thresholds name, [N] each."""


def read_blocks(
    data_path: Path,
    model: TrainedModel,
    options: PredictionOptions,
    count: RowCount,
    *,
    targets: Sequence[str],
    known: Mapping[str, TargetTransform],
    limit_names: Sequence[str],
) -> Iterator[Block]:
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
        yield Block(
            frame,
            values=input_values(contract, frame, source=source),
            given=given_values(contract, frame, known, source=source),
            targets=known_targets(contract, frame, source, names=targets),
            kept=kept_columns(frame, options.keep or (), source=source),
            limits=read_limits(contract, frame, limit_names, source=source, allows_gaps=True),
        )


@dataclass(frozen=True)
class Answer:
    """What is predicted for a block of rows."""

    block: Block
    X: Array
    """[N, D], standardised features."""
    outside: BoolArray
    """[N, inputs], cells outside the training range."""
    chunk: Chunk
    tables: list[LongTable]
    """The rows of each file."""


def answer_block(model: TrainedModel, questions: Questions, block: Block) -> Answer:
    """Predict a block of rows, and compute all that is asked; several threads may do so at once.

    Args:
        model: that of the run.
        questions: what is asked.
        block: the rows.

    Raises:
        UsageError: the draws or points of the block do not fit into the memory.
        NumericalError: a forecast has NaN.
    """
    contract = model.contract
    X, outside = encode_columns(contract, block.values), are_outside(contract, block.values)
    features = model.predictor.features(X)
    forecast = replace(model.predictor.forecast(features), names=contract.targets)
    if block.given:
        forecast = forecast.given(block.given)
    check_room_for_draws(questions.num_samples, len(block.frame), len(forecast.names))
    check_room_for_points(questions.points, len(block.frame), model.settings["predict"]["num_components"])
    chunk = Chunk(
        forecast,
        row_numbers=block.frame.index.to_numpy() + 1,
        outside=outside.any(axis=1),
        distance=model.distance_of(features),
        targets=block.targets,
        kept=block.kept,
        limits=block.limits,
        seed=seed_of_block(questions.seed, block.values),
    )
    return Answer(block, X, outside, chunk, [table(chunk) for table in questions.tables.values()])


def rows_of_a_chunk(model: TrainedModel, options: PredictionOptions) -> int:
    """Return how many rows are read at a time: `predict.chunk_rows`, as far as a tenth of the memory holds them.

    It does not go below a block, whose rows are collected anyway. No number depends on it.
    """
    num_columns = len(model.contract.inputs) + len(model.contract.targets) + len(options.keep or ())
    fitting = available_bytes() // (10 * BYTES_PER_CELL * num_columns)
    return min(model.settings["predict"]["chunk_rows"], max(BLOCK_ROWS, fitting))


def blocks_at_once(questions: Questions, num_targets: int, num_components: int) -> int:
    """Return how many blocks of rows may be answered at once: one per thread, as far as half of the memory holds them.

    No number depends on it.
    """
    num_points = sum(len(values) for values in questions.points.values())
    bytes_each = BYTES_PER_DRAW * questions.num_samples * BLOCK_ROWS * num_targets
    bytes_each += num_points * (BYTES_PER_POINT * BLOCK_ROWS + BYTES_PER_COMPONENT * num_components)
    return max(1, min(num_threads(), available_bytes() // (2 * bytes_each + 1)))


def check_room_for_draws(num_samples: int, num_rows: int, num_targets: int) -> None:
    """Check that the draws of a block of rows fit into the memory.

    Raises:
        UsageError: they do not.
    """
    bytes_each = BYTES_PER_DRAW * num_rows * num_targets
    if num_samples * bytes_each > (room := available_bytes()):
        raise UsageError(
            f"--samples: expected at most {room // bytes_each}, for which there is memory; got {num_samples}. "
            f"Lower it, predict fewer rows at a time, or {how_to_have_more()}."
        )


def check_room_for_points(points: Mapping[str, Array], num_rows: int, num_components: int) -> None:
    """Check that the densities of a block of rows at the points of each target fit into the memory.

    Raises:
        UsageError: they do not.
    """
    bytes_each = BYTES_PER_POINT * num_rows + BYTES_PER_COMPONENT * num_components
    num_points = sum(len(values) for values in points.values())
    if num_points * bytes_each > (room := available_bytes()):
        raise UsageError(
            f"--grid, --at: expected at most {room // bytes_each} points of all targets, for which there is memory; "
            f"got {num_points}. Lower it, predict fewer rows at a time, or {how_to_have_more()}."
        )


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


def seed_of_block(seed: int, values: Array) -> int:
    """Return the seed of the draws of a block of rows.

    A draw depends on the seed of the run, on the row's position and on the inputs of its block. The same rows have the
    same draws wherever they are predicted, and two partitions of a table, whose positions are the same, have
    independent ones.

    Args:
        seed: of the prediction.
        values: [N, inputs], as `input_values` reads them, before any arithmetic that machines may round differently.
    """
    content = hashlib.blake2b(fingerprint_rows(values).astype("<u8").tobytes(), digest_size=8).digest()
    return seed << 64 | int.from_bytes(content, "little")


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
