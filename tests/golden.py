"""The stored runs and what they predicted when they were made."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

STORED = Path(__file__).parent / "stored_runs"
RUNS = sorted(path.parent for path in STORED.glob("format_*/*/run"))
TOLERANCE = 1e-10
"""Relative to the value or the spread of its column. Other versions of NumPy and SciPy change the last digits only."""


def tables_in(folder: Path) -> dict[str, pd.DataFrame]:
    """Return the tables of predictions by their file names."""
    return {path.name: pd.read_csv(path) for path in folder.glob("*.csv")}


def largest_difference(found: pd.DataFrame, golden: pd.DataFrame) -> float:
    """Return the largest difference of the golden columns, in units of the value or of the column's spread.

    Where both are 0 the unit is 1. The difference is infinite where a gap or an infinite value is in one table only.
    """
    assert len(found) == len(golden)
    largest = 0.0
    for name in golden:
        column, other = golden[name].to_numpy(), found[name].to_numpy()
        if column.dtype.kind != "f":
            assert list(other) == list(column)
            continue
        is_finite = np.isfinite(column)
        if not np.array_equal(
            np.where(np.isfinite(other), 0.0, other), np.where(is_finite, 0.0, column), equal_nan=True
        ):
            return np.inf
        if is_finite.any():
            values = column[is_finite]
            scale = np.maximum(np.abs(values), values.std())
            scale[scale == 0.0] = 1.0
            largest = max(largest, float(np.max(np.abs(other[is_finite] - values) / scale)))
    return largest


def check_predictions(folder: Path, stored: Path) -> None:
    """Check that the tables of predictions in a folder are those of a stored run."""
    golden, found = tables_in(stored / "predictions"), tables_in(folder)
    assert "summary.csv" in golden
    for name, table in golden.items():
        assert largest_difference(found[name], table) < TOLERANCE, name
