"""The tables that `cde predict` writes: one row per forecast, and what has several rows per forecast in long form."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np

from cde_app.arrays import Array, BoolArray, IntArray
from cde_app.config.threshold import Threshold
from cde_app.data.extras import ends_of
from cde_app.data.table import FileFormat, TableWriter
from cde_app.errors import NumericalError
from cde_app.machine.storage import writing
from cde_app.predictive.columns import (
    Columns,
    LongTable,
    density_columns,
    free_name,
    mode_columns,
    region_columns,
    sample_columns,
    summary_columns,
)
from cde_app.predictive.forecast import Forecast
from cde_app.trees import to_tree


@dataclass(frozen=True)
class Chunk:
    """Forecasts of consecutive rows, and what the table says of these rows."""

    forecast: Forecast
    """N forecasts."""
    row_numbers: IntArray
    """[N], numbers of the rows in the table, counted from 1."""
    outside: BoolArray
    """[N], whether the inputs lie outside the training range."""
    distance: Array | None = None
    """[N], distances from the training rows, if the model states them."""
    targets: Array | None = None
    """[N, P], observations, if the table has them."""
    limits: Mapping[str, Array] = field(default_factory=dict)
    """Columns of the table that thresholds name, [N] each, NaN where there is a gap."""
    seed: int = 0
    """Of the draws of these rows."""


@dataclass(frozen=True)
class Questions:
    """What is asked of every forecast."""

    quantiles: tuple[float, ...] = ()
    """Levels in (0, 1)."""
    intervals: tuple[float, ...] = ()
    """Probabilities of central intervals."""
    thresholds: tuple[Threshold, ...] = ()
    hdi: tuple[float, ...] = ()
    """Probabilities of highest-density regions."""
    modes: bool = False
    points: Mapping[str, Array] = field(default_factory=dict)
    """Points of each target for `densities`; none if there are none."""
    num_samples: int = 0
    seed: int = 0

    @property
    def tables(self) -> dict[str, Callable[[Chunk], LongTable]]:
        """The tables that answer, by the name of their file."""
        tables: dict[str, Callable[[Chunk], LongTable]] = {"summary": self.summary}
        if self.num_samples:
            tables["samples"] = self.samples
        if self.points:
            tables["densities"] = lambda chunk: density_columns(chunk.forecast, self.points)
        if self.hdi:
            tables["hdi"] = lambda chunk: region_columns(chunk.forecast, self.hdi)
        if self.modes:
            tables["modes"] = lambda chunk: mode_columns(chunk.forecast)
        return tables

    def summary(self, chunk: Chunk) -> LongTable:
        """Return one row per forecast: each target's moments, quantiles and intervals, then what concerns them all."""
        columns = summary_columns(chunk.forecast, self.quantiles, self.intervals)
        check_finite(columns, chunk.row_numbers)
        columns |= {
            f"P({threshold.text})": probabilities(chunk.forecast, threshold, chunk.limits)
            for threshold in self.thresholds
        }
        if chunk.targets is not None:
            columns["log_density"] = chunk.forecast.log_prob(chunk.targets)
        columns["out_of_range"] = chunk.outside
        if chunk.distance is not None:
            columns["distance"] = chunk.distance
        return np.arange(len(chunk.forecast)), columns

    def samples(self, chunk: Chunk) -> LongTable:
        """Return the draws."""
        rows = chunk.row_numbers - 1
        return sample_columns(chunk.forecast, chunk.forecast.sample(self.num_samples, seed=chunk.seed, rows=rows))


def check_finite(columns: Columns, row_numbers: IntArray) -> None:
    """Check that no column of forecasts has NaN, which the files would have as an empty cell.

    Raises:
        NumericalError: one has.
    """
    for name, values in columns.items():
        if np.isnan(values).any():
            row = row_numbers[np.flatnonzero(np.isnan(values))[0]]
            raise NumericalError(
                f"row {row}: {name}: expected a number; got NaN. The model may be damaged, or the row's inputs too far "
                "outside the training range. Leave the row out, or train the run again."
            )


def probabilities(forecast: Forecast, threshold: Threshold, limits: Mapping[str, Array]) -> Array:
    """Return the probability of an interval in every row, [N]; NaN where its limit is a gap.

    Args:
        forecast: N forecasts.
        threshold: of one of the forecast's targets.
        limits: the columns that it names, [N] each.
    """
    above, below = ends_of(threshold, limits, len(forecast))
    found = np.full(len(forecast), np.nan)
    known = np.flatnonzero(~np.isnan(above) & ~np.isnan(below))
    found[known] = forecast.marginal(threshold.target)[known].probability(above=above[known], below=below[known])
    return found


class PredictionWriter:
    """Write tables chunk by chunk; all complete files appear when the block ends, and none if it fails.

    Args:
        folder: folder for the files; it exists.
        names: those of the files, without suffix.
        file_format: format of the files.
    """

    def __init__(self, folder: Path, names: Sequence[str], *, file_format: FileFormat) -> None:
        self._folder = folder
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

    def append(self, row_numbers: IntArray, kept: Columns, tables: Sequence[LongTable]) -> None:
        """Write what was asked of the forecasts of consecutive rows.

        Args:
            row_numbers: [N], numbers of the rows in the table, counted from 1.
            kept: columns of the table that every file has too, [N] each.
            tables: the rows of each file.

        Raises:
            RunError: the folder cannot be written.
        """
        with self._reporting_errors():
            own = key_columns(row_numbers, kept, [columns for _, columns in tables])
            for writer, (index, columns) in zip(self._writers, tables, strict=True):
                writer.append({name: cells[index] for name, cells in own.items()} | columns)

    def _reporting_errors(self) -> AbstractContextManager[None]:
        return writing(self._folder, "a folder that can be written")


def names_of_kept(kept: Iterable[str], tables: Sequence[Columns]) -> dict[str, str]:
    """Return the names of the kept columns, the same in all files, so that a key stays one.

    A kept column that has the name of another column in one of them gets an underscore at its end.
    """
    taken, names = {"row", *(name for columns in tables for name in columns)}, dict[str, str]()
    for name in kept:
        names[name] = free_name(name, taken)
        taken.add(names[name])
    return names


def key_columns(row_numbers: IntArray, kept: Columns, tables: Sequence[Columns]) -> Columns:
    """Return the columns that stand first in each of some tables: the numbers of the rows, and the kept columns."""
    names = names_of_kept(kept, tables)
    return {"row": row_numbers} | {names[name]: cells for name, cells in kept.items()}


def component_arrays(forecasts: Sequence[Forecast]) -> Columns:
    """Return the mixtures of consecutive rows as arrays: weights [C], means and variances [N, C, P], transforms.

    If some targets are given, the weights are [N, C].
    If the targets depend on each other within a component, there are `covariances` [N, C, P, P] too. `joint` says
    whether the mixtures are the joint density of the targets or, for a chain, only the marginal density of each target.
    """
    mixtures = [forecast.components() for forecast in forecasts]
    first = mixtures[0]
    arrays: Columns = {
        "joint": np.array(first is forecasts[0]),
        "weights": first.weights if first.weights.ndim == 1 else np.concatenate([m.weights for m in mixtures]),
        "means": np.concatenate([mixture.means for mixture in mixtures]),
        "variances": np.concatenate([mixture.variances for mixture in mixtures]),
    }
    covariances = [mixture.covariances for mixture in mixtures if mixture.covariances is not None]
    if covariances:
        arrays["covariances"] = np.concatenate(covariances)
    for p, transform in enumerate(first.transforms):
        arrays |= {f"transform.{p}.{key}": np.array(value) for key, value in to_tree(transform).items()}
    return arrays
