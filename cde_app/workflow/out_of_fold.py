"""The forecast of every row by the model that has not seen it: their table, and their scores."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from cde_app.arrays import AnyArray, IndexArray, IntArray
from cde_app.config import FRAME_PATH
from cde_app.config.threshold import columns_of
from cde_app.data.encoding import encode_and_judge, encode_targets
from cde_app.data.extras import kept_columns, read_limits
from cde_app.data.files import source_name, unchanged
from cde_app.data.frame import iter_frame
from cde_app.data.prepared import file_hashes
from cde_app.data.table import FileFormat, TableWriter, iter_table, read_table
from cde_app.errors import RunError
from cde_app.evaluation.metrics import join_scores
from cde_app.evaluation.scores import Rows
from cde_app.machine.storage import writing
from cde_app.predictive.columns import Columns
from cde_app.runs.run import Run
from cde_app.trained_model import TrainedModel
from cde_app.workflow.prediction_files import Chunk, Questions, names_of_kept
from cde_app.workflow.prediction_options import PredictionOptions, questions_of

if TYPE_CHECKING:
    import pandas as pd

NAME = "out_of_fold"
"""The table of the forecasts, without the ending that says its format."""


@dataclass(frozen=True)
class FoldRows:
    """Which rows of a table each fold holds out."""

    path: str
    """The table; `config.FRAME_PATH` if it is a frame."""
    hashes: dict[str, str]
    """SHA-256 of each of its files; none for a frame."""
    content: str | None
    """SHA-256 of a frame, as it was read; None for a file."""
    tests: tuple[IndexArray, ...]
    """For each fold the positions of its rows in the table, from 0, sorted."""
    groups: IntArray | None
    """The group of each of these rows, or its block in time, fold after fold, if rows of one count as one."""

    @property
    def num_rows(self) -> int:
        """How many rows are held out by some fold."""
        return sum(map(len, self.tests))


def predict_out_of_fold(
    rows: FoldRows, runs: Sequence[Path], folder: Path, *, file_format: FileFormat, frame: pd.DataFrame | None
) -> tuple[Path, list[dict[str, Rows]]]:
    """Forecast each fold's rows with its run, in one pass over the table, and write the forecasts in its order.

    The columns are row, those of `data.id`, fold, and for each target those of `cde predict`, `<target>_observed`,
    `<target>_pit` (F(y | x)) and `<target>_crps`; then log_density, out_of_range, and distance if some fold's model
    states it (a gap where others do not).

    Args:
        rows: the rows of each fold.
        runs: the folds' runs.
        folder: takes the table.
        file_format: its format.
        frame: the table, if it is a frame.

    Returns:
        The file; and for each fold the scores of its rows, of the model and of the baselines.

    Raises:
        RunError: the table has changed, a run cannot be read, or the folder cannot be written.
        DataError: the table lacks a column of `data.id` or of a threshold.
    """
    folds = [_Fold(number, TrainedModel.load(Run.open(run))) for number, run in enumerate(runs, start=1)]
    fold_of = np.zeros(max(test[-1] for test in rows.tests) + 1, dtype=np.intp)
    for fold, test in zip(folds, rows.tests, strict=True):
        fold_of[test] = fold.number
    file = folder / f"{NAME}.{file_format}"
    with ExitStack() as stack:
        stack.enter_context(writing(folder, "a folder that can be written"))
        if frame is None:
            stack.enter_context(unchanged(rows.path))
            if file_hashes(rows.path) != rows.hashes:
                source = source_name(rows.path)
                raise RunError(f"{source}: expected the table that the folds were trained on; got different content.")
        writer = stack.enter_context(TableWriter(file, file_format=file_format))
        for chunk in _chunks(rows.path, folds[0].model, frame):
            own = fold_of[chunk.index[chunk.index < len(fold_of)]]
            chunk = chunk.iloc[np.flatnonzero(own)]
            if len(chunk):
                writer.append(_columns(chunk, own[own > 0], folds, source=source_name(rows.path)))
    return file, [join_scores(fold.scored) for fold in folds]


def read_forecasts(files: Sequence[Path]) -> pd.DataFrame:
    """Return the table of forecasts among the files of a cross-validation, which is a Parquet file."""
    return read_table(next(file for file in files if file.name == f"{NAME}.parquet"))


class _Fold:
    """The model of a fold, and the scores of the rows that it has forecast so far."""

    def __init__(self, number: int, model: TrainedModel) -> None:
        self.number, self.model = number, model
        self.scored: list[dict[str, Rows]] = []
        self.num_rows = 0
        asked = PredictionOptions(given=(), grid=0, at=(), hdi=(), modes=False, total=False, num_samples=0)
        self.questions: Questions = questions_of(asked.resolved(model.settings), model)

    def columns(self, frame: pd.DataFrame, *, source: str) -> Columns:
        """Forecast and score some rows; return the columns of the forecasts."""
        contract, names = self.model.contract, columns_of(self.questions.thresholds)
        X, outside = encode_and_judge(contract, frame, source=source)
        targets = encode_targets(contract, frame, source=source)
        forecasts = self.model.forecasts(X)
        positions = self.num_rows + np.arange(len(frame))
        self.num_rows += len(frame)
        scored = {
            name: self.model.row_scores(forecast, targets, rows=positions) for name, forecast in forecasts.items()
        }
        self.scored.append(scored)
        chunk = Chunk(
            forecasts["model"],
            row_numbers=frame.index.to_numpy() + 1,
            outside=outside.any(axis=1),
            limits=read_limits(contract, frame, names, source=source, allows_gaps=True),
        )
        columns: Columns = {"fold": np.full(len(frame), self.number)}
        columns |= self.questions.summary(chunk)[1]
        outside_range = columns.pop("out_of_range")
        distance = self.model.distance_of(self.model.predictor.features(X))
        for p, name in enumerate(contract.targets):
            columns[f"{name}_observed"] = targets[:, p]
            columns |= {f"{name}_{score}": scored["model"][score][:, p] for score in ("pit", "crps")}
        columns |= {"log_density": -scored["model"]["nlpd"], "out_of_range": outside_range}
        return columns | {"distance": np.full(len(frame), np.nan) if distance is None else distance}


def _chunks(path: str, model: TrainedModel, frame: pd.DataFrame | None) -> Iterator[pd.DataFrame]:
    """Yield the table in chunks; the index counts its rows."""
    chunk_rows = model.settings["predict"]["chunk_rows"]
    if path == FRAME_PATH and frame is not None:
        return iter_frame(frame, chunk_rows=chunk_rows)
    return iter_table(path, chunk_rows=chunk_rows, form=model.contract.form)


def _columns(frame: pd.DataFrame, fold_of: IndexArray, folds: Sequence[_Fold], *, source: str) -> Columns:
    """Return the columns of some rows, [N], each of which is of a fold, in their order."""
    columns: dict[str, AnyArray] = {}
    for fold in folds:
        own = np.flatnonzero(fold_of == fold.number)
        if not len(own):
            continue
        for name, values in fold.columns(frame.iloc[own], source=source).items():
            columns.setdefault(name, np.empty(len(frame), values.dtype))[own] = values
    if all(fold.model.distance_unit is None for fold in folds):
        del columns["distance"]
    kept = kept_columns(frame, folds[0].model.settings["data"].get("id", ()), source=source)
    names = names_of_kept(kept, [columns])
    own_columns = {names[name]: cells for name, cells in kept.items()}
    return {"row": frame.index.to_numpy() + 1} | own_columns | columns
