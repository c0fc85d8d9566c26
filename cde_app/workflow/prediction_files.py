"""The tables that `cde predict` writes: one row per forecast, and the draws in long form."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

import numpy as np

from cde_app.arrays import AnyArray, Array, BoolArray, IntArray
from cde_app.data.table import FileFormat, TableWriter
from cde_app.machine.storage import writing
from cde_app.predictive.quantiles import quantile_name
from cde_app.trees import to_tree

if TYPE_CHECKING:
    from cde_app.predictive.forecast import Forecast

    Columns = dict[str, AnyArray]


class PredictionWriter:
    """Write forecasts chunk by chunk; both complete files appear when the block ends, and none if it fails.

    Args:
        folder: folder for the files; it exists.
        target_names: [P].
        quantiles: levels of the quantile columns; repeated levels give one column.
        num_samples: draws per row; 0 writes no samples file.
        seed: seed of the draws.
        file_format: format of both files.
    """

    def __init__(
        self,
        folder: Path,
        *,
        target_names: Sequence[str],
        quantiles: Sequence[float],
        num_samples: int,
        seed: int,
        file_format: FileFormat,
    ) -> None:
        self.target_names, self.num_samples, self.seed = target_names, num_samples, seed
        self.quantiles = tuple(dict.fromkeys(quantiles))
        self.num_rows = 0
        self._folder = folder
        names = ["summary", "samples"] if num_samples else ["summary"]
        self.files = [folder / f"{name}.{file_format}" for name in names]
        self._stack = ExitStack()
        self._writers = [TableWriter(file, file_format=file_format) for file in self.files]

    def __enter__(self) -> Self:
        """Open the temporary files.

        Raises:
            RunError: the folder cannot be written.
        """
        with self._stack, self._reporting_errors():
            for writer in self._writers:
                self._stack.enter_context(writer)
            self._stack = self._stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Publish the files, or remove them after a failure.

        Raises:
            RunError: the folder cannot be written.
        """
        with self._reporting_errors():
            self._stack.__exit__(kind, error, trace)

    def append(self, forecast: Forecast, *, row_numbers: IntArray, targets: Array | None, outside: BoolArray) -> None:
        """Write the forecasts of consecutive rows.

        Args:
            forecast: forecasts of N rows.
            row_numbers: [N], numbers of the rows in the table, counted from 1.
            targets: [N, P], observations, if the table has them.
            outside: [N], whether the inputs lie outside the training range.

        Raises:
            RunError: the folder cannot be written.
        """
        with self._reporting_errors():
            self._writers[0].append(
                summary_columns(forecast, self.target_names, self.quantiles, row_numbers, targets, outside)
            )
            if self.num_samples:
                draws = forecast.sample(self.num_samples, seed=self.seed, rows=row_numbers - 1)
                self._writers[1].append(sample_columns(draws, self.target_names, row_numbers))
        self.num_rows += forecast.num_rows

    def _reporting_errors(self) -> AbstractContextManager[None]:
        return writing(self._folder, "a folder that can be written")


def summary_columns(
    forecast: Forecast,
    target_names: Sequence[str],
    quantiles: Sequence[float],
    row_numbers: IntArray,
    targets: Array | None,
    outside: BoolArray,
) -> Columns:
    """Return the columns of `summary`: row, per target mean, sd and quantiles, log_density, out_of_range.

    The names are unique for any targets: the part after the last underscore differs between the columns of one target,
    and the part before it between targets.
    """
    mean, sd, levels = forecast.mean(), forecast.sd(), forecast.quantile(quantiles) if quantiles else np.empty(0)
    columns: Columns = {"row": row_numbers}
    for p, name in enumerate(target_names):
        columns |= {f"{name}_mean": mean[:, p], f"{name}_sd": sd[:, p]}
        columns |= {f"{name}_{quantile_name(level)}": levels[i, :, p] for i, level in enumerate(quantiles)}
    if targets is not None:
        columns["log_density"] = forecast.log_density(targets)
    columns["out_of_range"] = outside
    return columns


def sample_columns(draws: Array, target_names: Sequence[str], row_numbers: IntArray) -> Columns:
    """Return draws [S, N, P] in long form: row, draw (counted from 1), targets.

    A target named `row` or `draw` gets an underscore at its end, or two if another target already has that name.
    """
    num_samples, num_rows, _ = draws.shape
    columns: Columns = {
        "row": np.repeat(row_numbers, num_samples),
        "draw": np.tile(np.arange(1, num_samples + 1), num_rows),
    }
    taken = {*columns, *target_names}
    for p, name in enumerate(target_names):
        if name in columns:
            while name in taken:
                name += "_"
        columns[name] = draws[:, :, p].T.ravel()
    return columns


def component_arrays(forecasts: Sequence[Forecast]) -> Columns:
    """Return the mixtures of consecutive rows as arrays: weights [C], means and variances [N, C, P], transforms.

    If the targets depend on each other within a component, there are `covariances` [N, C, P, P] too. `joint` says
    whether the mixtures are the joint density of the targets or, for a chain, only the marginal density of each target.
    """
    mixtures = [forecast.components() for forecast in forecasts]
    first = mixtures[0]
    arrays: Columns = {
        "joint": np.array(first is forecasts[0]),
        "weights": first.weights,
        "means": np.concatenate([mixture.means for mixture in mixtures]),
        "variances": np.concatenate([mixture.variances for mixture in mixtures]),
    }
    covariances = [mixture.covariances for mixture in mixtures if mixture.covariances is not None]
    if covariances:
        arrays["covariances"] = np.concatenate(covariances)
    for p, transform in enumerate(first.transforms):
        arrays |= {f"transform.{p}.{key}": np.array(value) for key, value in to_tree(transform).items()}
    return arrays
