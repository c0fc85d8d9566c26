"""A table made ready for the model: read, checked, split and encoded, in that order."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from cde_app.config import Config
from cde_app.data.columns import FloatArray
from cde_app.data.encoding import (
    ColumnContract,
    check_table,
    complete_rows,
    encode_inputs,
    encode_targets,
    fit_contract,
    has_targets,
)
from cde_app.data.files import find_files, source_name
from cde_app.data.model_fit import check_model
from cde_app.data.split import Split, split_rows
from cde_app.data.table import read_table
from cde_app.storage import file_hash


@dataclass(frozen=True)
class PreparedTable:
    """The rows of a table that the model can use."""

    hashes: dict[str, str]
    """SHA-256 of each file when it was read."""
    frame: pd.DataFrame
    """Those rows; the index counts all rows of the table."""
    inputs: FloatArray
    """X, [N, D], standardised."""
    targets: FloatArray
    """[N, P], user's units."""
    contract: ColumnContract
    split: Split


def prepare_training(config: Config) -> PreparedTable:
    """Read, check, split and encode the configuration's table.

    Raises:
        DataError: the table breaks the column contract; all faults at once.
    """
    data, source = config.data, source_name(config.data.path)
    hashes = file_hashes(data.path)
    frame = read_table(data.path)
    check_table(data, frame, source=source)
    frame = frame[complete_rows(data, frame, source=source, with_targets=True)]
    split = split_rows(data.split, frame, seed=config.seed, source=source)
    contract = fit_contract(data, frame.iloc[split.train], source=source)
    check_model(config.model, contract, source=source)
    inputs = encode_inputs(contract, frame, source=source)
    return PreparedTable(hashes, frame, inputs, encode_targets(contract, frame, source=source), contract, split)


def prepare_evaluation(path: str | Path, contract: ColumnContract, split: Split | None) -> PreparedTable:
    """Read and encode a table under a run's contract.

    Args:
        path: the table, which has the targets.
        contract: the run's.
        split: the run's, for its own table; None holds out every row.

    Raises:
        DataError: the table breaks the column contract or lacks the targets.
    """
    source, hashes = source_name(path), file_hashes(path)
    frame = read_table(path)
    frame = frame[complete_rows(contract, frame, source=source, with_targets=True)]
    if split is None:
        split = Split(np.arange(0), np.arange(0), np.arange(len(frame)))
    inputs = encode_inputs(contract, frame, source=source)
    return PreparedTable(hashes, frame, inputs, encode_targets(contract, frame, source=source), contract, split)


def file_hashes(path: str | Path) -> dict[str, str]:
    """Return path -> SHA-256 of a table's files; none for standard input."""
    return {str(file): file_hash(file) for file in find_files(path)}


def known_targets(contract: ColumnContract, frame: pd.DataFrame, source: str) -> FloatArray | None:
    """Return the targets, NaN where a cell is empty; None if the table lacks a target column."""
    if not has_targets(contract, frame):
        return None
    return encode_targets(contract, frame, source=source, allows_gaps=True)
