"""From columns to features: the column contract, fitted on the training rows and stored with the run."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from cde_app import config
from cde_app.data.columns import (
    BoolArray,
    FloatArray,
    missing_column_fault,
    read_days,
    read_gaps,
    read_numbers,
)
from cde_app.data.faults import FOR_A_RUN, MissingKind, check_table, input_faults, target_faults
from cde_app.data.features import OTHER, Feature, InputEncoding, encode_column, fit_column, label_codes
from cde_app.errors import DataError

__all__ = [
    "ColumnContract",
    "Feature",
    "InputEncoding",
    "check_table",
    "complete_rows",
    "encode_inputs",
    "encode_targets",
    "fit_contract",
    "has_targets",
    "out_of_range",
]


@dataclass(frozen=True)
class ColumnContract:
    """What prediction needs to know about the columns; plain data.

    Args:
        inputs: one encoding per input column, in the order of the configuration.
        targets: the target columns.
        units: their units, empty if unknown.
        missing: what happens to a row with a gap in an input.
        dropped: features left out because they are constant over the training rows; worth a warning.
    """

    inputs: tuple[InputEncoding, ...]
    targets: tuple[str, ...]
    units: tuple[str, ...]
    missing: MissingKind
    dropped: tuple[str, ...] = ()

    @property
    def feature_names(self) -> tuple[str, ...]:
        """The names of the D features of X."""
        return tuple(feature.name for column in self.inputs for feature in column.features)

    def to_json(self) -> dict[str, Any]:
        """Return the fields as plain JSON values."""
        return dataclasses.asdict(self)

    @classmethod
    def from_json(cls, fields: Mapping[str, Any]) -> ColumnContract:
        """Rebuild what `to_json` returned."""
        inputs = []
        for column in fields["inputs"]:
            features = tuple(Feature(**feature) for feature in column["features"])
            inputs.append(InputEncoding(**{**column, "features": features, "vocabulary": tuple(column["vocabulary"])}))
        lists = {name: tuple(fields[name]) for name in ("targets", "units", "dropped")}
        return cls(inputs=tuple(inputs), missing=fields["missing"], **lists)


def fit_contract(data: config.Data, frame: pd.DataFrame, *, source: str) -> ColumnContract:
    """Fit the encodings of all input columns.

    Numbers and times are standardised by their mean and standard deviation. Sines and cosines are scaled by sqrt(2),
    which gives unit variance over whole turns. One-hot and gap features stay 0 or 1.

    Args:
        data: the configuration's `data` block.
        frame: the training rows.
        source: the table, as errors name it.

    Raises:
        DataError: a column breaks the contract, or no input varies.
    """
    allows_gaps = data.missing.kind != "error"
    faults = [
        fault
        for column in data.inputs
        for fault in input_faults(column.column, column.kind, frame, allows_gaps=allows_gaps, source=source)
    ]
    if faults:
        raise DataError(*faults)
    encodings, dropped = [], []
    for column in data.inputs:
        encoding, constant = fit_column(column, frame, data.missing.kind)
        encodings.append(encoding)
        dropped += constant
    contract = ColumnContract(
        inputs=tuple(encodings),
        targets=tuple(target.column for target in data.targets),
        units=tuple(target.unit for target in data.targets),
        missing=data.missing.kind,
        dropped=tuple(dropped),
    )
    if all(feature.name.endswith(f"={OTHER}") for column in encodings for feature in column.features):
        raise DataError(
            f"{source}: an input must vary over the training rows; got constant columns only. Add to data.inputs."
        )
    return contract


def encode_inputs(contract: ColumnContract, frame: pd.DataFrame, *, source: str) -> FloatArray:
    """Encode rows as the features the model sees; columns are found by name, others are ignored.

    Args:
        contract: the column contract of the run.
        frame: N rows.
        source: the table, as errors name it.

    Returns:
        X, [N, D], standardised.

    Raises:
        DataError: a column is missing, holds something that is no number or date, is infinite, or has a gap although
            `missing` is not `impute_with_indicator`. All faults at once.
    """
    allows_gaps = contract.missing == "impute_with_indicator"
    faults = [
        fault
        for column in contract.inputs
        for fault in input_faults(
            column.name, column.kind, frame, allows_gaps=allows_gaps, source=source, advice=FOR_A_RUN
        )
    ]
    if faults:
        raise DataError(*faults)
    features = [values for column in contract.inputs for values in encode_column(column, frame[column.name])]
    return np.stack(features, axis=1)


def encode_targets(
    contract: ColumnContract, frame: pd.DataFrame, *, source: str, allows_gaps: bool = False
) -> FloatArray:
    """Read the targets.

    Args:
        contract: the column contract of the run.
        frame: N rows.
        source: the table, as errors name it.
        allows_gaps: read a gap as NaN.

    Returns:
        targets, [N, P], user's units.

    Raises:
        DataError: a target is missing, no number, infinite or has a gap that is not allowed. All faults at once.
    """
    faults = [
        fault
        for name in contract.targets
        for fault in target_faults(name, frame, allows_gaps=allows_gaps, source=source, advice=FOR_A_RUN)
    ]
    if faults:
        raise DataError(*faults)
    return np.stack([read_numbers(frame[name])[0] for name in contract.targets], axis=1)


def has_targets(contract: ColumnContract, frame: pd.DataFrame) -> bool:
    """Say whether the table has every target column, which is so for all of its chunks or for none."""
    return set(contract.targets) <= set(frame.columns)


def complete_rows(
    columns: ColumnContract | config.Data, frame: pd.DataFrame, *, source: str, with_targets: bool
) -> BoolArray:
    """Say which rows stay under `missing: drop`; every row stays under the other policies.

    Args:
        columns: the run's contract, or the configuration's `data` block before there is one.
        frame: N rows.
        source: the table, as errors name it.
        with_targets: whether a gap in a target drops the row too.

    Returns:
        [N].

    Raises:
        DataError: a column is missing.
    """
    if isinstance(columns, ColumnContract):
        policy, inputs, targets = columns.missing, [c.name for c in columns.inputs], list(columns.targets)
    else:
        policy, inputs = columns.missing.kind, [c.column for c in columns.inputs]
        targets = [c.column for c in columns.targets]
    names = inputs + (targets if with_targets else [])
    absent = [name for name in names if name not in frame.columns]
    if absent:
        raise DataError(*(missing_column_fault(name, list(frame.columns), source=source) for name in absent))
    if policy != "drop":
        return np.ones(len(frame), dtype=bool)
    return np.asarray(np.stack([~read_gaps(frame[name]) for name in names]).all(axis=0))


def out_of_range(contract: ColumnContract, frame: pd.DataFrame) -> BoolArray:
    """Say which rows ask for something the training rows do not hold.

    Args:
        contract: the column contract of the run.
        frame: N rows that `encode_inputs` accepts.

    Returns:
        [N], True where a number or date lies outside the training range, a label is new, or a column has a gap that had
        none in training.
    """
    outside = np.zeros(len(frame), dtype=bool)
    for encoding in contract.inputs:
        column = frame[encoding.name]
        gaps = read_gaps(column)
        outside |= gaps & (not encoding.had_gaps)
        if encoding.kind == "categorical":
            outside |= (label_codes(encoding, column) < 0) & ~gaps
        elif encoding.kind != "cyclic":
            values = (read_days if encoding.kind == "datetime" else read_numbers)(column)[0]
            outside |= (values < encoding.minimum) | (values > encoding.maximum)
    return outside
