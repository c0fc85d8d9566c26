"""The totals that `cde predict` writes besides the forecasts of single rows."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from cde_app.arrays import Array
from cde_app.data.encoding import encode_columns
from cde_app.data.groups import RowGroups
from cde_app.data.table import FileFormat, write_table
from cde_app.machine.storage import writing
from cde_app.predictive.totals import Totals
from cde_app.trained_model import TrainedModel
from cde_app.workflow.prediction_options import PredictionOptions

if TYPE_CHECKING:
    import pandas as pd


class TotalsTable:
    """The totals of a table that is read chunk by chunk, or nothing if none are wanted.

    Args:
        model: the trained model.
        options: those of the prediction, resolved.
        source: the table, as errors name it.
    """

    def __init__(self, model: TrainedModel, options: PredictionOptions, *, source: str) -> None:
        self._wanted, self._by, self._quantiles = options.total, options.total_by, options.quantiles or ()
        self._contract = model.contract
        self._groups = RowGroups(options.total_by, form=model.contract.form, source=source)
        self._totals = Totals(model.predictor, seed=options.seed or 0)

    def append(self, values: Array, frame: pd.DataFrame) -> None:
        """Add the rows of a chunk; values [N, inputs], as `input_values` reads them.

        Raises:
            DataError: the table lacks the column of the groups, or there are too many of them.
        """
        if self._wanted:
            X = encode_columns(self._contract, values)
            self._totals.add(X, self._groups.read(frame), frame.index.to_numpy())

    def write(self, folder: Path, file_format: FileFormat) -> list[Path]:
        """Write the file and return it, if totals are wanted.

        Raises:
            RunError: the folder cannot be written.
        """
        if not self._wanted:
            return []
        columns = self._totals.columns(self._contract.targets, self._quantiles, self._groups.names)
        with writing(folder, "a folder that can be written"):
            write_table(folder / f"totals.{file_format}", columns, file_format=file_format)
        return [folder / f"totals.{file_format}"]

    def warnings(self, *, num_read: int, num_predicted: int) -> list[str]:
        """Return what a reader of the totals must know about the rows in them."""
        found = []
        if self._wanted and num_predicted < num_read:
            found.append(
                f"the totals are those of {num_predicted} of {num_read} rows: what was left out or skipped is in none "
                "of them; the column rows counts."
            )
        if self._wanted and self._groups.num_gaps:
            found.append(
                f"{self._groups.num_gaps} of {num_predicted} rows have a gap in column {self._by!r} (total_by); they "
                "are a group of their own, with an empty cell in the column group."
            )
        return found
