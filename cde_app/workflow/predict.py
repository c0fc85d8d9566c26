"""`cde predict`: the forecast of every row of a table, as files."""

from __future__ import annotations

import time
import warnings
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from cde_app.arrays import BoolArray
from cde_app.config.threshold import columns_of
from cde_app.data.encoding import (
    ColumnContract,
    complete_rows,
    encode_and_judge,
    encode_targets,
    misspelled_labels,
    row_faults,
)
from cde_app.data.extras import kept_columns, read_limits
from cde_app.data.faults import RowFault
from cde_app.data.files import find_files, source_name, unchanged
from cde_app.data.prepared import file_hashes, known_targets
from cde_app.data.table import iter_table
from cde_app.errors import DataError, RunError
from cde_app.machine.storage import write_arrays, write_atomically, write_json
from cde_app.predictive.forecast import FARTHEST, ROUGH, Forecast
from cde_app.runs.folder import predictions
from cde_app.runs.provenance import provenance
from cde_app.runs.run import Run
from cde_app.trained_model import TrainedModel
from cde_app.workflow.pictures import missing_picture, prediction_pictures, write_pictures
from cde_app.workflow.prediction_files import Chunk, PredictionWriter, component_arrays
from cde_app.workflow.prediction_options import PredictionOptions, questions_of, remaining_targets
from cde_app.workflow.totals import TotalsTable

if TYPE_CHECKING:
    import pandas as pd

    from cde_app.targets import TargetTransform

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
    """
    started = time.monotonic()
    model, source = TrainedModel.load(Run.open(run_path)), source_name(data_path)
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
    with predictions(out_path, overwrite=overwrite) as folder:
        writer = PredictionWriter(folder, questions.tables, file_format=options.file_format)
        totals = TotalsTable(model, options, source=source)
        with writer, unchanged(data_path):
            hashes = file_hashes(data_path)
            chunks = iter_table(
                data_path, chunk_rows=model.settings["predict"]["chunk_rows"], form=contract.form, allows_no_rows=True
            )
            for frame in usable_rows(
                chunks, contract, count, source=source, given=known, skip_faults=options.skip_faults
            ):
                X, outside = encode_and_judge(contract, frame, source=source)
                forecast = replace(model.predictor.predict(X), names=contract.targets)
                if known:
                    forecast = given_the_table(forecast, contract, frame, known, source=source)
                    few += forecast.num_rough
                writer.append(
                    Chunk(
                        forecast,
                        row_numbers=frame.index.to_numpy() + 1,
                        outside=outside.any(axis=1),
                        targets=known_targets(contract, frame, source, names=targets),
                        kept=kept_columns(frame, options.keep or (), source=source),
                        limits=read_limits(contract, frame, limit_names, source=source, allows_gaps=True),
                    )
                )
                count.add(contract, frame, outside)
                totals.append(X, frame)
                if options.components:
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
        asked = {"samples" if name == "num_samples" else name: value for name, value in vars(options).items()}
        facts = {"run": run_path, **asked}
        write_json(folder / "manifest.json", {**result, **facts, **provenance(), "inputs": hashes})
    return result


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


def given_the_table(
    forecast: Forecast,
    contract: ColumnContract,
    frame: pd.DataFrame,
    given: Mapping[str, TargetTransform],
    *,
    source: str,
) -> Forecast:
    """Return the forecast of the other targets, given what the table has in the columns of some.

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
    values = encode_targets(contract, frame, source=source, names=tuple(given))
    with warnings.catch_warnings(action="ignore"):  # rough rows are counted over the whole table
        return forecast.given(dict(zip(given, values.T, strict=True)))


def row_warnings(count: RowCount, few: int, *, source: str) -> list[str]:
    """Warn of a table without rows, and of rows that rest on few components."""
    found = [] if count.read else [f"{source} has no rows; the files have their headers only."]
    return found + ([f"{few} of {count.predicted} rows {ROUGH}"] if few else [])


class RowCount:
    """How many rows a prediction has read and left out, and which of the others ask for extrapolation."""

    def __init__(self) -> None:
        self.read = self.predicted = self.skipped = self.outside = 0
        self.faults: list[RowFault] = []
        """The first `MOST_FAULTS` faults of skipped rows."""
        self._outside_by_column = Counter[str]()
        self._misspelled: dict[str, tuple[str, str]] = {}

    def add(self, contract: ColumnContract, frame: pd.DataFrame, outside: BoolArray) -> None:
        """Count predicted rows, and their cells that ask for extrapolation, [N, columns]."""
        self.predicted += len(frame)
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
