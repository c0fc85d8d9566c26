"""Columns of a table to predict that are neither inputs nor targets: carried along, or limits of thresholds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from cde_app.arrays import AnyArray, Array
from cde_app.config.threshold import Threshold
from cde_app.data.columns import foreign_fault, foreign_noun, missing_column_fault
from cde_app.data.encoding import ColumnContract
from cde_app.data.readers import FOR_A_RUN, ColumnReader, faults_of
from cde_app.errors import DataError


def kept_columns(frame: pd.DataFrame, names: Sequence[str], *, source: str) -> dict[str, AnyArray]:
    """Return columns as the table has them, [N] each.

    Raises:
        DataError: a column is missing, or holds neither numbers, dates nor text.
    """
    faults = []
    for name in dict.fromkeys(names):
        if name not in frame.columns:
            faults.append(missing_column_fault(name, list(frame.columns), source=source, role="--keep"))
        elif noun := foreign_noun(frame[name]):
            faults.append(foreign_fault(noun, name, "numbers, dates or labels", source=source))
    if faults:
        raise DataError(*faults)
    return {name: frame[name].array for name in dict.fromkeys(names)}


def read_limits(
    contract: ColumnContract, frame: pd.DataFrame, names: Sequence[str], *, source: str, allows_gaps: bool
) -> dict[str, Array]:
    """Return columns of numbers, [N] each, NaN where there is a gap.

    Raises:
        DataError: a column is missing, or has a cell that is no number, or a gap that is not allowed.
    """
    readers = [
        ColumnReader(
            name, "numeric", "--threshold", form=contract.form, allows_gaps=allows_gaps, source=source, advice=FOR_A_RUN
        )
        for name in names
    ]
    values = {reader.name: reader.read(frame) for reader in readers}
    if faults := faults_of(readers):
        raise DataError(*faults)
    return values


def ends_of(threshold: Threshold, limits: Mapping[str, Array], num_rows: int) -> tuple[Array, Array]:
    """Return the lower and the upper limit of a threshold in every row, two [N]; `limits` has its columns."""
    lower, upper = (
        limits[end] if isinstance(end, str) else np.full(num_rows, end) for end in (threshold.above, threshold.below)
    )
    return lower, upper
