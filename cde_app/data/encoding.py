"""From columns to features: the column contract, fitted on the training rows and stored with the run."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from cde_app import config
from cde_app.arrays import Array, BoolArray
from cde_app.data.columns import missing_column_fault, read_gaps, read_labels
from cde_app.data.faults import RowFault, spelled_plainly
from cde_app.data.features import Feature, InputEncoding, encode_column, fit_column, is_outside, recode
from cde_app.data.readers import FOR_A_RUN, ColumnReader, MissingKind, faults_of
from cde_app.errors import DataError

__all__ = [
    "ColumnContract",
    "Feature",
    "InputEncoding",
    "complete_rows",
    "encode_and_judge",
    "encode_columns",
    "encode_inputs",
    "encode_targets",
    "fit_contract",
    "has_targets",
    "input_values",
    "misspelled_labels",
    "new_labels",
    "recode_columns",
    "row_faults",
]


@dataclass(frozen=True)
class ColumnContract:
    """What prediction needs to know about the columns; plain data.

    Args:
        inputs: one encoding per input column, in the order of the configuration.
        targets: the target columns.
        units: their units, empty if unknown.
        missing: what happens to a row with a gap in an input.
        form: the format of the cells.
        dropped: features left out because they are constant over the training rows; worth a warning.
    """

    inputs: tuple[InputEncoding, ...]
    targets: tuple[str, ...]
    units: tuple[str, ...]
    missing: MissingKind
    form: config.TableFormat
    dropped: tuple[str, ...] = ()

    @property
    def feature_names(self) -> tuple[str, ...]:
        """The names of the D features of X."""
        return tuple(feature.name for column in self.inputs for feature in column.features)

    def features_of(self, name: str) -> tuple[int, ...]:
        """Return the indices of an input's features; none if it is constant."""
        of_feature = [column.name for column in self.inputs for _ in column.features]
        return tuple(index for index, column in enumerate(of_feature) if column == name)

    def check(self) -> None:
        """Check that the parts fit together: every column has its features, and they are numbers.

        Raises:
            KeyError, ValueError: they do not.
        """
        if len(self.units) != len(self.targets) or not self.targets:
            raise ValueError(f"expected a unit for each target; got {len(self.units)} for {len(self.targets)}")
        with np.errstate(all="ignore"):
            encoded = encode_columns(self, np.array([[0.0], [np.nan]]).repeat(len(self.inputs), axis=1))
        if not np.isfinite(encoded).all():
            raise ValueError("a feature is no number")


def fit_contract(
    data: config.Data,
    columns: Callable[[int], Array],
    labels: Sequence[Sequence[str]],
    has_offset: Sequence[bool | None],
    *,
    source: str,
) -> ColumnContract:
    """Fit the encodings of all input columns, with only one column at a time in memory.

    Numbers and times are standardised by their mean and standard deviation. Sines and cosines are scaled by sqrt(2),
    which gives unit variance over whole periods. One-hot and gap features stay 0 or 1.

    Args:
        data: the configuration's `data` block.
        columns: index of an input column -> its training rows [N] as `ColumnReader` reads them, without faults.
        labels: for each input column, the labels that its values index; empty if it is not categorical.
        has_offset: for each input column, whether its dates have offsets.
        source: the table, as errors name it.

    Raises:
        DataError: no input varies.
    """
    encodings, dropped = [], []
    for index, column in enumerate(data.inputs):
        encoding, constant = fit_column(column, columns(index), labels[index], data.missing.kind, has_offset[index])
        encodings.append(encoding)
        dropped += constant
    contract = ColumnContract(
        inputs=tuple(encodings),
        targets=tuple(target.column for target in data.targets),
        units=tuple(target.unit for target in data.targets),
        missing=data.missing.kind,
        form=data.format,
        dropped=tuple(dropped),
    )
    if all(feature.name == column.other for column in encodings for feature in column.features):
        raise DataError(
            f"{source}: an input must vary over the training rows; got constant columns only. Add to data.inputs."
        )
    return contract


def recode_columns(contract: ColumnContract, values: Array, labels: Sequence[Sequence[str]]) -> Array:
    """Turn indices into the table's labels into indices into the contract's vocabularies, -1 for an unknown label.

    Args:
        contract: the column contract of the run.
        values: [N, I], the input columns as `ColumnReader` reads them, without faults.
        labels: the labels of each column, as for `fit_contract`.

    Returns:
        [N, I].
    """
    columns = zip(contract.inputs, values.T, labels, strict=True)
    return np.stack([recode(cells, own, encoding) for encoding, cells, own in columns], axis=1)


def encode_columns(contract: ColumnContract, values: Array) -> Array:
    """Encode recoded columns, [N, I], as the features that the model sees: X, [N, D], standardised."""
    columns = zip(contract.inputs, values.T, strict=True)
    return np.stack([one for encoding, cells in columns for one in encode_column(encoding, cells)], axis=1)


def encode_inputs(contract: ColumnContract, frame: pd.DataFrame, *, source: str) -> Array:
    """Encode rows as the features that the model sees, X; see `encode_and_judge`."""
    return encode_and_judge(contract, frame, source=source)[0]


def encode_and_judge(contract: ColumnContract, frame: pd.DataFrame, *, source: str) -> tuple[Array, BoolArray]:
    """Encode rows as the features that the model sees, and mark the cells that ask for extrapolation.

    Args:
        contract: the column contract of the run.
        frame: N rows; columns are found by name, others are ignored.
        source: the table, as errors name it.

    Returns:
        X, [N, D], standardised; [N, inputs], True where a number or date is outside the training range, a label is
        new, or there is a gap in a column that had none in training.

    Raises:
        DataError: a column is missing, has a cell of the wrong kind, is infinite, or has a gap although `missing` is
            not `impute_with_indicator`. All faults at once.
    """
    values = input_values(contract, frame, source=source)
    return encode_columns(contract, values), are_outside(contract, values)


def input_values(
    contract: ColumnContract, frame: pd.DataFrame, *, source: str, allows_gaps: bool | None = None
) -> Array:
    """Read the inputs, [N, inputs]: numbers, days, and indices into the contract's vocabularies; a gap is NaN.

    Args:
        contract: the column contract of the run.
        frame: N rows.
        source: the table, as errors name it.
        allows_gaps: whether gaps are read; None if the contract imputes them.

    Raises:
        DataError: as `encode_and_judge`.
    """
    imputes = contract.missing == "impute_with_indicator"
    readers = input_readers(contract, allows_gaps=imputes if allows_gaps is None else allows_gaps, source=source)
    values = _read_all(readers, frame)
    return recode_columns(contract, values, [reader.labels for reader in readers])


def are_outside(contract: ColumnContract, values: Array) -> BoolArray:
    """Return which values, [N, inputs], ask for extrapolation, [N, inputs]; see `is_outside`."""
    return np.stack(
        [is_outside(encoding, cells) for encoding, cells in zip(contract.inputs, values.T, strict=True)], axis=1
    )


def are_of_training(contract: ColumnContract, values: Array) -> bool:
    """Return whether values, [N, inputs], may be training rows: labels, numbers and dates among those of the training.

    Raises:
        ValueError: there are more or fewer columns.
    """
    if values.ndim != 2 or np.isinf(values).any() or are_outside(contract, values).any():
        return False
    labels = [
        (cells, len(one.vocabulary))
        for one, cells in zip(contract.inputs, values.T, strict=True)
        if one.kind == "categorical"
    ]
    return all(np.isin(cells[~np.isnan(cells)], np.arange(size)).all() for cells, size in labels)


def encode_targets(
    contract: ColumnContract,
    frame: pd.DataFrame,
    *,
    source: str,
    allows_gaps: bool = False,
    names: Sequence[str] | None = None,
) -> Array:
    """Read the targets.

    Args:
        contract: the column contract of the run.
        frame: N rows.
        source: the table, as errors name it.
        allows_gaps: read a gap as NaN.
        names: some of the targets; None reads all.

    Returns:
        targets, [N, P], user's units.

    Raises:
        DataError: a target is missing, not a number, infinite, or has a gap that is not allowed. All faults at once.
    """
    return _read_all(target_readers(contract, allows_gaps=allows_gaps, source=source, names=names), frame)


def input_readers(contract: ColumnContract, *, allows_gaps: bool, source: str) -> list[ColumnReader]:
    """Return a reader for each input column."""
    return [
        ColumnReader(
            column.name,
            column.kind,
            "data.inputs",
            form=contract.form,
            allows_gaps=allows_gaps,
            source=source,
            advice=FOR_A_RUN,
            timezone=column.timezone,
            has_offset=column.has_offset,
        )
        for column in contract.inputs
    ]


def target_readers(
    contract: ColumnContract, *, allows_gaps: bool, source: str, names: Sequence[str] | None = None
) -> list[ColumnReader]:
    """Return a reader for each target, or for some of them."""
    return [
        ColumnReader(
            name,
            "numeric",
            "data.targets",
            form=contract.form,
            allows_gaps=allows_gaps,
            source=source,
            advice=FOR_A_RUN,
        )
        for name in (contract.targets if names is None else names)
    ]


def _read_all(readers: Sequence[ColumnReader], frame: pd.DataFrame) -> Array:
    """Read columns, [N, number of readers].

    Raises:
        DataError: a column has faults; all of them at once.
    """
    values = np.stack([reader.read(frame) for reader in readers], axis=1)
    if faults := faults_of(readers):
        raise DataError(*faults)
    return values


def has_targets(contract: ColumnContract, frame: pd.DataFrame, names: Sequence[str] | None = None) -> bool:
    """Return whether the table has every target column, or some of them; the same for all its chunks."""
    return set(contract.targets if names is None else names) <= set(frame.columns)


def complete_rows(contract: ColumnContract, frame: pd.DataFrame, *, source: str, with_targets: bool) -> BoolArray:
    """Return which rows stay under `missing: drop`; all rows stay under the other policies.

    Args:
        contract: the column contract of the run.
        frame: N rows.
        source: the table, as errors name it.
        with_targets: whether a gap in a target drops the row too.

    Returns:
        [N].

    Raises:
        DataError: a column is missing.
    """
    names = [column.name for column in contract.inputs] + (list(contract.targets) if with_targets else [])
    absent = [name for name in names if name not in frame.columns]
    if absent:
        raise DataError(*(missing_column_fault(name, list(frame.columns), source=source) for name in absent))
    if contract.missing != "drop":
        return np.ones(len(frame), dtype=bool)
    return np.asarray(np.stack([~read_gaps(frame[name], contract.form) for name in names]).all(axis=0))


def row_faults(
    contract: ColumnContract, frame: pd.DataFrame, *, source: str, given: Sequence[str] = ()
) -> list[RowFault]:
    """Find the cells that `encode_inputs` and, if the table has the targets, `encode_targets` refuse.

    Args:
        contract: the column contract of the run.
        frame: N rows with the input columns; gaps in a target are not faults.
        source: the table, as errors name it.
        given: targets in which gaps are faults.

    Returns:
        The faults, in the order of the rows.
    """
    readers = input_readers(contract, allows_gaps=contract.missing == "impute_with_indicator", source=source)
    if has_targets(contract, frame, given):
        readers += target_readers(contract, allows_gaps=False, source=source, names=given)
    others = [name for name in contract.targets if name not in given]
    if has_targets(contract, frame, others):
        readers += target_readers(contract, allows_gaps=True, source=source, names=others)
    return sorted((fault for reader in readers for fault in reader.row_faults(frame)), key=lambda fault: fault.row)


def new_labels(contract: ColumnContract, frame: pd.DataFrame) -> dict[str, Counter[str]]:
    """Count the labels that are not in the training rows.

    Args:
        contract: the column contract of the run.
        frame: N rows that `input_values` accepts.

    Returns:
        Categorical column -> its new labels, counted.
    """
    found = {}
    for encoding in contract.inputs:
        if encoding.kind == "categorical":
            codes, labels = read_labels(frame[encoding.name], contract.form)
            counts = np.bincount(codes[codes >= 0].astype(np.int64), minlength=len(labels))
            known = set(encoding.vocabulary)
            new = {label: int(count) for label, count in zip(labels, counts, strict=True) if label not in known}
            found[encoding.name] = Counter({label: count for label, count in new.items() if count})
    return found


def misspelled_labels(contract: ColumnContract, frame: pd.DataFrame) -> dict[str, tuple[str, str]]:
    """Find new labels that differ from a label of the training only in their spelling, such as 1.0 and 1.

    Args:
        contract: the column contract of the run.
        frame: N rows that `encode_inputs` accepts.

    Returns:
        Column -> (a label of the training, its spelling in these rows).
    """
    found = {}
    for encoding in contract.inputs:
        if encoding.kind == "categorical":
            known = {spelled_plainly(label): label for label in encoding.vocabulary}
            for label in set(read_labels(frame[encoding.name], contract.form)[1]) - set(encoding.vocabulary):
                if (alike := known.get(spelled_plainly(label))) is not None:
                    found[encoding.name] = alike, label
    return found
