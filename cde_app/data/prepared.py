"""A table prepared for the model: read, checked, split and encoded, in that order.

Whatever grows with the rows is in `.npy` files, in a folder that the caller deletes. While a table is prepared, one
column at a time is in memory, to which the contract is fitted; after that only the split is, four bytes per row.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd

from cde_app.arrays import Array, IndexArray
from cde_app.config import FRAME_PATH, Config, Data
from cde_app.config import Split as SplitSettings
from cde_app.data.dependence import Dependence, dependence_of
from cde_app.data.encoding import (
    ColumnContract,
    are_outside,
    encode_columns,
    encode_targets,
    fit_contract,
    has_targets,
    recode_columns,
)
from cde_app.data.files import find_files, source_name, unchanged
from cde_app.data.fingerprints import Fingerprints, fingerprint_rows
from cde_app.data.frame import content_hash, iter_frame
from cde_app.data.limits import limited_settings
from cde_app.data.model_fit import check_model
from cde_app.data.readings import Readings, read_for_evaluation, read_for_training
from cde_app.data.split import Split, split_rows
from cde_app.data.table import iter_table
from cde_app.errors import DataError
from cde_app.machine.rows import BLOCK_ROWS, RowFile, blocks_of, index_type, map_rows
from cde_app.machine.storage import file_hash
from cde_app.plan import plan_trainings
from cde_app.targets.rounding import edge_warnings

FEW_TEST_GROUPS = 20
"""With fewer test groups, what these have in common may be mistaken for a property of all rows."""


@dataclass(frozen=True)
class PreparedTable:
    """The N rows of a table that the model can use."""

    hashes: dict[str, str]
    """SHA-256 of each file as it was read; of a frame, that of what the training sees."""
    rows: IndexArray
    """[N], positions in the table, counted from 0; in a file."""
    values: Array
    """[N, I], the inputs as they were read: numbers, days, indices into the contract's vocabularies; in a file."""
    inputs: Array
    """X, [N, D], standardised; in a file."""
    targets: Array
    """[N, P], user's units; in a file."""
    contract: ColumnContract
    split: Split
    fingerprints: Fingerprints
    """[N], hashes of the inputs and targets under the contract; in a file."""
    num_outside: int
    """Rows with an input outside the range of the training rows, or with a label that is not among theirs."""
    warnings: tuple[str, ...]
    """What was read in an unexpected way, what to consider before scores and forecasts are trusted, and which settings
    the table limits, in one sentence each."""
    groups: IndexArray | None = None
    """[N], the group of each row, if the split keeps groups together; else None."""
    dependence: Dependence | None = None
    """How the rows depend on each other, if the split says so and the table has its column."""


def prepare_training(config: Config, folder: Path, frame: pd.DataFrame | None = None) -> PreparedTable:
    """Read, check, split and encode the configuration's table.

    Args:
        config: the configuration.
        folder: folder for the arrays; it exists, and the caller deletes it when they are no longer used.
        frame: the table, if it is a checked frame and not the file that the configuration names.

    Raises:
        DataError: the table breaks the column contract; all faults at once.
        RunError: the arrays cannot be written to the folder.
    """
    source = source_name(config.data.path)
    hashes, readings = read_training_table(config.data, folder, frame)
    contract, split, warnings = fit_training(config, readings, source=source)
    prepared = _encode(hashes, readings, contract, split, folder)
    by = config.data.split
    groups = None
    if by.kind == "group":
        groups = pd.factorize(readings.by[by.column])[0].astype(index_type(len(readings.by)))
    if frame is not None:
        indices = (split.train, split.validation, split.test, *([] if groups is None else [groups]))
        hashes[FRAME_PATH] = content_hash(prepared.fingerprints, *(index.astype(np.int64) for index in indices))
    dependence = dependence_of(by, readings.by)
    return replace(prepared, warnings=(*prepared.warnings, *warnings), groups=groups, dependence=dependence)


def read_training_table(data: Data, folder: Path, frame: pd.DataFrame | None = None) -> tuple[dict[str, str], Readings]:
    """Return the hash of each file of the table, and what was read; see `prepare_training`.

    Raises:
        DataError: the table breaks the column contract; all faults at once.
    """
    source, file = source_name(data.path), folder / "readings.npy"
    if frame is not None:
        return {}, read_for_training(data, iter_frame(frame, chunk_rows=BLOCK_ROWS), file, source=source)
    with unchanged(data.path):
        hashes = file_hashes(data.path)
        chunks = iter_table(data.path, chunk_rows=BLOCK_ROWS, form=data.format)
        return hashes, read_for_training(data, chunks, file, source=source)


def fit_training(config: Config, readings: Readings, *, source: str) -> tuple[ColumnContract, Split, tuple[str, ...]]:
    """Split the kept rows and fit the contract to the training rows.

    Returns:
        The contract; the split; warnings about settings that the table limits and targets that pile up at an edge.

    Raises:
        DataError: the split leaves too few rows, no input varies, or the model does not fit the features.
    """
    split = split_rows(
        config.data.split,
        readings.by,
        seed=config.seed,
        source=source,
        kept_out=config.training.calibration.share_kept_out,
    )
    fitted = readings.kept[split.train]
    contract = fit_contract(
        config.data,
        lambda index: readings.column(index, fitted),
        readings.labels,
        readings.has_offset,
        source=source,
    )
    check_model(config.model, contract, source=source)
    by = config.data.split
    num_features = len(contract.feature_names)
    limits = limited_settings(
        config,
        plan_trainings(
            config, num_rows=len(split.train), num_validation_rows=len(split.validation), num_features=num_features
        ),
        split,
        num_dealt=readings.by[by.column].nunique() if by.kind == "group" else len(readings.kept),
        num_features=num_features,
    )
    edges = [
        warning
        for index, target in enumerate(contract.targets, start=len(contract.inputs))
        for warning in edge_warnings(target, readings.column(index, readings.kept))
    ]
    grouped: list[str | None] = []
    if by.kind == "group":
        grouped.append(group_warning(by.column, readings.by[by.column].iloc[split.test].nunique()))
        if any(column.column == by.column for column in config.data.inputs):
            grouped.append(
                f"column {by.column!r} groups the split and is an input too: the model knows no label of a new group. "
                "Remove it from data.inputs."
            )
    return contract, split, (*limits, *edges, *filter(None, grouped))


def group_warning(column: str, num_groups: int) -> str | None:
    """Warn that the test rows are from few groups; None if they are not."""
    if not 0 < num_groups < FEW_TEST_GROUPS:
        return None
    return (
        f"the test rows are from {num_groups} groups of {column!r}, whose rows may be alike: so few groups make the "
        "standard errors rough, and the verdict, which counts rows, too optimistic. Raise data.split.test, or evaluate "
        "a table of new groups."
    )


def prepare_evaluation(
    path: str | Path, contract: ColumnContract, split_by: SplitSettings, split: Split | None, folder: Path
) -> PreparedTable:
    """Read and encode a table under a run's contract.

    Args:
        path: the table, which has the targets.
        contract: the run's contract.
        split_by: the run's `data.split` block, whose column says which rows depend on each other.
        split: the run's split, for its own table; None holds out every row.
        folder: as for `prepare_training`.

    Raises:
        DataError: the table breaks the column contract or lacks the targets.
        RunError: the arrays cannot be written to the folder.
    """
    source = source_name(path)
    with unchanged(path):
        hashes = file_hashes(path)
        chunks = iter_table(path, chunk_rows=BLOCK_ROWS, form=contract.form)
        readings = read_for_evaluation(contract, split_by, chunks, folder / "readings.npy", source=source)
    if split is None:
        split = Split(np.arange(0), np.arange(0), np.arange(len(readings.kept)))
    prepared = _encode(hashes, readings, contract, split, folder)
    return replace(prepared, dependence=dependence_of(split_by, readings.by))


def _encode(
    hashes: dict[str, str], readings: Readings, contract: ColumnContract, split: Split, folder: Path
) -> PreparedTable:
    """Write what is known of the kept rows, and delete the readings."""
    names = ("values", "inputs", "targets", "rows", "prints")
    read, inputs, targets, rows, fingerprints = (folder / f"{name}.npy" for name in names)
    num_outside = 0
    with (
        RowFile(read, len(contract.inputs)) as value_file,
        RowFile(inputs, len(contract.feature_names)) as input_file,
        RowFile(targets, len(contract.targets)) as target_file,
        RowFile(rows, None, np.int64) as position_file,
        RowFile(fingerprints, None, np.uint64) as fingerprint_file,
    ):
        for block in blocks_of(len(readings.kept)):
            values, known = readings.block(readings.kept[block])
            values = recode_columns(contract, values, readings.labels)
            value_file.append(values)
            num_outside += int(are_outside(contract, values).any(axis=1).sum())
            input_file.append(encode_columns(contract, values))
            target_file.append(known)
            position_file.append(readings.rows[block])
            fingerprint_file.append(fingerprint_rows(np.hstack([values, known])))
    (folder / "readings.npy").unlink()
    return PreparedTable(
        hashes,
        map_rows(rows),
        map_rows(read),
        map_rows(inputs),
        map_rows(targets),
        contract,
        split,
        map_rows(fingerprints),
        num_outside,
        readings.warnings,
    )


def file_hashes(path: str | Path) -> dict[str, str]:
    """Return path -> SHA-256 of a table's files; none for standard input.

    Raises:
        DataError: a file is missing or cannot be read; all of them at once.
    """
    hashes, faults = {}, []
    for file in find_files(path):
        try:
            hashes[str(file)] = file_hash(file)
        except OSError as error:
            advice = "Check the file and its permissions."
            faults.append(f"{source_name(file)}: must be readable; got {error.strerror!r}. {advice}")
    if faults:
        raise DataError(*faults)
    return hashes


def known_targets(
    contract: ColumnContract, frame: pd.DataFrame, source: str, names: Sequence[str] | None = None
) -> Array | None:
    """Return the targets, or some of them, NaN where a cell is empty; None if the table lacks one of these columns."""
    if not has_targets(contract, frame, names):
        return None
    return encode_targets(contract, frame, source=source, allows_gaps=True, names=names)
