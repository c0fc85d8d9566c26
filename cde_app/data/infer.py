"""Guess the `data` block of a configuration from a table, and say what was guessed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from cde_app import config
from cde_app.data.columns import (
    counts_rows,
    foreign_noun,
    list_names,
    missing_column_fault,
    read_days,
    read_gaps,
    read_labels,
    read_numbers,
    row_of,
)
from cde_app.data.faults import ColumnReader
from cde_app.data.files import is_stored_index
from cde_app.data.split import LABELS
from cde_app.errors import DataError

_MANY_LABELS = 50
_MOSTLY_NUMBERS = 0.9


@dataclass(frozen=True)
class Inference:
    """A guessed `data` block, and one sentence for every guess the user should look at."""

    data: config.Data
    remarks: tuple[str, ...]


def infer_data(frame: pd.DataFrame, targets: Sequence[str], *, path: str) -> Inference:
    """Guess the kind of every column that is not a target.

    Numbers are numeric; ISO 8601 dates are datetime; other text is categorical, unless nearly every row has its own
    label. Row numbers, constant and empty columns are left out, and what is neither numbers, dates nor text. A column
    that says train, validation or test becomes the split. Gaps in inputs choose `impute_with_indicator`, gaps in
    targets `drop`.

    Args:
        frame: the table, N rows.
        targets: the target columns.
        path: `data.path` as the configuration will have it; also how errors name the table.

    Raises:
        DataError: a target is missing, named twice or no number; or no column is left as an input.
    """
    _check_targets(frame, targets, path)
    remarks: list[str] = []
    inputs: list[config.InputColumn] = []
    split: config.Split = config.RandomSplit()
    for name in (name for name in frame.columns if name not in targets):
        if noun := foreign_noun(frame[name]):
            remarks.append(f"column {name!r} holds {noun} and is left out.")
            continue
        if is_stored_index(name):
            remarks.append(f"column {name!r} is the index of a table that pandas wrote and is left out.")
            continue
        if _says_parts(frame[name]):
            split = config.ColumnSplit(column=name)
            remarks.append(f"column {name!r} says which rows train and test; data.split goes by it.")
            continue
        column = _infer_column(frame[name], name, remarks)
        if column is not None:
            inputs.append(column)
    if not inputs:
        raise DataError(f"{path}: no column is left as an input; got {list_names(list(frame.columns))}. Add a column.")
    if any(column.kind == "datetime" for column in inputs) and isinstance(split, config.RandomSplit):
        remarks.append("the rows have dates; if you predict the future, set data.split to kind: time.")
    missing = _infer_missing(frame, [column.column for column in inputs], targets, remarks)
    data = config.Data(
        path=path,
        inputs=tuple(inputs),
        targets=tuple(config.TargetColumn(column=name) for name in targets),
        split=split,
        missing=missing,
    )
    return Inference(data, tuple(remarks))


def _check_targets(frame: pd.DataFrame, targets: Sequence[str], path: str) -> None:
    """Refuse targets that do not exist, repeat or hold no numbers."""
    faults = []
    for name in dict.fromkeys(targets):
        if name not in frame.columns:
            faults.append(missing_column_fault(name, list(frame.columns), source=path, role="--target"))
        else:
            reader = ColumnReader(name, "numeric", "data.targets", allows_gaps=True, source=path)
            reader.read(frame)
            faults += reader.faults()
        if list(targets).count(name) > 1:
            faults.append(f"{path}: column {name!r} must be a target once; got it more than once. Name it once.")
    if faults:
        raise DataError(*faults)


def _says_parts(cells: pd.Series) -> bool:
    """Say whether a column tells which rows train and which do not."""
    labels = set(read_labels(cells)[1])
    return {"train"} < labels <= set(LABELS) and not read_gaps(cells).any()


def _infer_column(cells: pd.Series, name: str, remarks: list[str]) -> config.InputColumn | None:
    """Guess one column's kind; None leaves it out, with a remark."""
    gaps = read_gaps(cells)
    present = cells[~gaps]
    num_distinct = present.nunique() if len(present) else 0
    _, is_text = read_numbers(present)
    if not name:
        remarks.append("a column without a name is left out.")
    elif num_distinct < 2:
        remarks.append(f"column {name!r} is {'constant' if num_distinct else 'empty'} and left out.")
    elif not is_text.any():
        if not counts_rows(read_numbers(cells)[0]):
            return config.NumericColumn(column=name)
        remarks.append(f"column {name!r} counts the rows and is left out.")
    elif not read_days(present)[1].any():
        return config.DatetimeColumn(column=name)
    else:
        are_all_different = num_distinct > _MANY_LABELS and num_distinct > 0.5 * len(present)
        if np.mean(~is_text) >= _MOSTLY_NUMBERS:
            remarks.append(
                f"column {name!r} is {'left out' if are_all_different else 'categorical'} because of "
                f"{str(present[is_text].iloc[0])!r} in {row_of(is_text, present)}, yet it is mostly numbers; "
                "clean it to make it numeric."
            )
        elif are_all_different:
            remarks.append(f"column {name!r} has {num_distinct} labels in {len(present)} rows and is left out.")
        elif num_distinct > _MANY_LABELS:
            remarks.append(f"column {name!r} has {num_distinct} labels, a feature each; consider grouping them.")
        return None if are_all_different else config.CategoricalColumn(column=name)
    return None


def _infer_missing(
    frame: pd.DataFrame, inputs: Sequence[str], targets: Sequence[str], remarks: list[str]
) -> config.MissingPolicy:
    """Choose the policy that lets the table train."""
    gappy_targets = [name for name in targets if read_gaps(frame[name]).any()]
    gappy_inputs = [name for name in inputs if read_gaps(frame[name]).any()]
    if gappy_targets:
        num_rows = int(frame[[*inputs, *targets]].isna().any(axis=1).sum())
        remarks.append(f"{num_rows} rows with gaps are dropped, since targets have gaps: {list_names(gappy_targets)}.")
        return config.MissingPolicy(kind="drop")
    if gappy_inputs:
        remarks.append(f"gaps are imputed and marked by a feature of their own: {list_names(gappy_inputs)}.")
        return config.MissingPolicy(kind="impute_with_indicator")
    return config.MissingPolicy()
