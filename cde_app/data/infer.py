"""Guess the `data` block of a configuration from a table, and report what was guessed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from cde_app import config
from cde_app.arrays import Array, BoolArray
from cde_app.data.columns import (
    counts_rows,
    foreign_noun,
    gap_words,
    missing_column_fault,
    read_days,
    read_gaps,
    read_labels,
    read_numbers,
    rounded_integers,
    row_of,
)
from cde_app.data.faults import label_remarks
from cde_app.data.files import is_stored_index, source_name
from cde_app.data.guess_format import guess_format
from cde_app.data.looks import look_of
from cde_app.data.readers import ColumnReader
from cde_app.data.split import LABELS
from cde_app.data.text import is_text
from cde_app.errors import DataError
from cde_app.words import list_names

_MANY_LABELS = 50
_MOSTLY = 0.9


@dataclass(frozen=True)
class Inference:
    """A guessed `data` block, and one sentence for every guess that the user should check."""

    data: config.Data
    remarks: tuple[str, ...]


def infer_data(frame: pd.DataFrame, targets: Sequence[str], *, path: str) -> Inference:
    """Guess the format of the cells, and the kind of every column that is not a target.

    Numbers are numeric, but codes with leading zeros are categorical; dates are datetime; other text is categorical,
    unless nearly every row has its own label. Left out are row numbers, constant and empty columns, and columns that
    hold neither numbers, dates nor text. A column of train, validation and test becomes the split. Gaps in inputs
    select `impute_with_indicator`, gaps in targets `drop`.

    Args:
        frame: the table, N rows.
        targets: the target columns.
        path: `data.path` as the configuration will have it; also how errors name the table.

    Raises:
        DataError: a target is missing, named twice or not numeric; or no column is left as an input.
    """
    source = _source(path)
    form, remarks = guess_format(frame)
    _check_targets(frame, targets, form, path)
    inputs: list[config.InputColumn] = []
    split: config.Split = config.RandomSplit()
    for name in (name for name in frame.columns if name not in targets):
        if noun := foreign_noun(frame[name]):
            remarks.append(f"column {name!r} holds {noun} and is left out.")
            continue
        if is_stored_index(name):
            remarks.append(f"column {name!r} is the index of a table that pandas wrote and is left out.")
            continue
        if _names_parts(frame[name], form):
            split = config.ColumnSplit(column=name)
            remarks.append(f"column {name!r} says which rows are for training and test; data.split uses it.")
            continue
        column = _infer_column(frame[name], name, form, remarks)
        if column is not None:
            inputs.append(column)
    if not inputs:
        fault = f"{source}: no column is left as an input; got {list_names(list(frame.columns))}. Add a column."
        raise DataError(fault, *(f"{source}: {remark}" for remark in remarks))
    if any(column.kind == "datetime" for column in inputs) and isinstance(split, config.RandomSplit):
        dates = next(column.column for column in inputs if column.kind == "datetime")
        split_by_time = f"{{kind: time, column: {dates}}}"
        remarks.append(f"the rows have dates; if you predict the future, set data.split to {split_by_time}.")
    return _inference(frame, targets, inputs, form, split, remarks, path)


def infer_inputs(frame: pd.DataFrame, targets: Sequence[str], inputs: Mapping[str, bool], *, path: str) -> Inference:
    """Guess as `infer_data` does, for inputs that the user has named: none is left out, no other column is looked at.

    Args:
        frame: the table, N rows.
        targets: the target columns.
        inputs: the input columns -> whether their kind is wanted, so that remarks on it are of use.
        path: as for `infer_data`.

    Raises:
        DataError: a column is missing; a target is named twice or not numeric.
    """
    known = list(frame.columns)
    absent = [name for name in inputs if name not in known]
    if absent:
        raise DataError(*(missing_column_fault(name, known, source=_source(path), role="inputs") for name in absent))
    used = [*inputs, *(name for name in dict.fromkeys(targets) if name in known)]
    form, remarks = guess_format(frame[used])
    _check_targets(frame, targets, form, path)
    found = [_named_column(frame[name], name, form, remarks if wanted else []) for name, wanted in inputs.items()]
    return _inference(frame, targets, found, form, config.RandomSplit(), remarks, path)


def _source(path: str) -> str:
    """Name a table as `cde init` does, by the path that it writes."""
    return source_name(path) if path == config.FRAME_PATH else path


def _inference(
    frame: pd.DataFrame,
    targets: Sequence[str],
    inputs: Sequence[config.InputColumn],
    form: config.TableFormat,
    split: config.Split,
    remarks: list[str],
    path: str,
) -> Inference:
    """Put the `data` block together."""
    missing = _infer_missing(frame, [column.column for column in inputs], targets, form, remarks)
    data = config.Data(
        path=path,
        format=form,
        inputs=tuple(inputs),
        targets=tuple(config.TargetColumn(column=name) for name in targets),
        split=split,
        missing=missing,
    )
    return Inference(data, tuple(remarks))


def _check_targets(frame: pd.DataFrame, targets: Sequence[str], form: config.TableFormat, path: str) -> None:
    """Refuse targets that do not exist, are repeated, or are not numeric."""
    faults, source = [], _source(path)
    role = "targets" if path == config.FRAME_PATH else "--target"
    for name in dict.fromkeys(targets):
        if name not in frame.columns:
            faults.append(missing_column_fault(name, list(frame.columns), source=source, role=role))
        else:
            reader = ColumnReader(name, "numeric", "data.targets", form=form, allows_gaps=True, source=source)
            reader.read(frame)
            faults += reader.faults()
        if list(targets).count(name) > 1:
            faults.append(f"{source}: column {name!r} must be a target once; got it more than once. Name it once.")
    if faults:
        raise DataError(*faults)


def _names_parts(cells: pd.Series, form: config.TableFormat) -> bool:
    """Return whether a column assigns the rows to training, validation and test."""
    labels = set(read_labels(cells, form)[1])
    return {"train"} < labels <= set(LABELS) and not read_gaps(cells, form).any()


def _infer_column(
    cells: pd.Series, name: str, form: config.TableFormat, remarks: list[str]
) -> config.InputColumn | None:
    """Guess one column's kind; None leaves it out, with a remark."""
    present = cells[~read_gaps(cells, form)]
    values, is_other = read_numbers(present, form)
    num_distinct = present.nunique() if is_other.any() else len(np.unique(values))
    if not name:
        remarks.append("a column without a name is left out.")
    elif num_distinct == 1 and rounded_integers(present, values, form).any():
        large = (
            f"column {name!r} has integers too large for exact numbers, such as {present.iloc[0]}, which are all equal"
        )
        remarks.append(f"{large} as numbers, and is left out; if they are labels, add it with kind: categorical.")
    elif num_distinct < 2:
        remarks.append(f"column {name!r} is {'constant' if num_distinct else 'empty'} and left out.")
    elif not is_other.any() and not _has_codes(present, name, remarks):
        if not counts_rows(read_numbers(cells, form)[0]):
            remarks += _number_remarks(present, values, name, form)
            return config.NumericColumn(column=name)
        remarks.append(f"column {name!r} counts the rows and is left out.")
    elif is_other.any() and not (days := read_days(present, form)).is_other.any():
        if len(set(days.has_offset)) > 1:
            remarks.append(
                f"column {name!r} has times with and without an offset from UTC; set the timezone for those without."
            )
        return config.DatetimeColumn(column=name)
    else:
        return _infer_labels(present, is_other, name, form, remarks)
    return None


def _named_column(cells: pd.Series, name: str, form: config.TableFormat, remarks: list[str]) -> config.InputColumn:
    """Guess the kind of a column that is an input in any case; the training says what does not fit."""
    if foreign_noun(cells):
        return config.NumericColumn(column=name)
    found: list[str] = []
    column = _infer_column(cells, name, form, found)
    if column is not None:
        remarks += found
        return column
    present = cells[~read_gaps(cells, form)]
    if not len(present) or np.mean(~read_numbers(present, form)[1]) >= _MOSTLY:
        return config.NumericColumn(column=name)
    if np.mean(~read_days(present, form).is_other) >= _MOSTLY:
        return config.DatetimeColumn(column=name)
    if (num_distinct := present.nunique()) > _MANY_LABELS:
        remarks.append(f"column {name!r} has {num_distinct} labels, a feature each; consider leaving it out.")
    return config.CategoricalColumn(column=name)


def _infer_labels(
    present: pd.Series, is_other: BoolArray, name: str, form: config.TableFormat, remarks: list[str]
) -> config.CategoricalColumn | None:
    """Treat a column as labels, or leave it out; say what else it may be."""
    num_distinct = present.nunique()
    are_all_different = num_distinct > _MANY_LABELS and num_distinct > 0.5 * len(present)
    is_no_date = read_days(present, form).is_other
    mostly = next(
        (
            (noun, kind, wrong)
            for noun, kind, wrong in (("numbers", "numeric", is_other), ("dates", "datetime", is_no_date))
            if wrong.any() and np.mean(~wrong) >= _MOSTLY
        ),
        None,
    )
    odd = present[mostly[2] if mostly else is_other]
    look = look_of(odd.iloc[0], form) if len(odd) and isinstance(odd.iloc[0], str) else None
    advice = f" {look.advice}" if look else ""
    if mostly:
        noun, kind, wrong = mostly
        remarks.append(
            f"column {name!r} is {'left out' if are_all_different else 'categorical'} because of "
            f"{str(odd.iloc[0])!r} in {row_of(wrong, present)}, yet it is mostly {noun}; clean it to make it "
            f"{kind}.{advice}"
        )
    elif are_all_different:
        remarks.append(f"column {name!r} has {num_distinct} labels in {len(present)} rows and is left out.{advice}")
    else:
        if num_distinct > _MANY_LABELS:
            remarks.append(f"column {name!r} has {num_distinct} labels, a feature each; consider grouping them.")
        remarks += label_remarks(name, read_labels(present, form)[1], form)
    return None if are_all_different else config.CategoricalColumn(column=name)


def _has_codes(present: pd.Series, name: str, remarks: list[str]) -> bool:
    """Return whether a column of numbers has codes with leading zeros."""
    if not is_text(present):
        return False
    codes = present[present.str.fullmatch(r"\s*0[0-9]+\s*").to_numpy(dtype=bool)]
    if len(codes):
        remarks.append(
            f"column {name!r} has leading zeros, such as {codes.iloc[0]!r}, and is read as labels; give it "
            "kind: numeric if they are numbers."
        )
    return len(codes) > 0


def _number_remarks(present: pd.Series, values: Array, name: str, form: config.TableFormat) -> list[str]:
    """Remark that numbers may be labels: too large to be exact, in two spellings, or with digits around an E."""
    if (rounded := rounded_integers(present, values, form)).any():
        large = f"column {name!r} has integers too large for exact numbers, such as {present[rounded].iloc[0]}"
        return [f"{large}; if they are labels, give it kind: categorical."]
    if not is_text(present):
        return []
    remarks, by_value = [], dict[float, str]()
    for cell, value in zip(present.unique(), _values_of_unique(present, values), strict=True):
        if by_value.setdefault(value, cell.strip()) != cell.strip():
            remarks.append(
                f"column {name!r} has the number {value:.10g} in two spellings, {by_value[value]!r} and "
                f"{cell.strip()!r}; if they are labels, give it kind: categorical."
            )
            break
    exponents = present[present.str.fullmatch(r"\s*[0-9]+[eE][0-9]+\s*").to_numpy(dtype=bool)]
    if len(exponents):
        remarks.append(
            f"column {name!r} has cells such as {exponents.iloc[0].strip()!r}, read as numbers; if they are labels, "
            "give it kind: categorical."
        )
    return remarks


def _values_of_unique(present: pd.Series, values: Array) -> Array:
    """Return the values of a column's distinct cells, in order of first appearance."""
    return values[~present.duplicated().to_numpy()]


def _infer_missing(
    frame: pd.DataFrame, inputs: Sequence[str], targets: Sequence[str], form: config.TableFormat, remarks: list[str]
) -> config.MissingPolicy:
    """Choose a policy under which the table can be trained on; remark on the words that are read as gaps."""
    gaps = {name: gap_words(frame[name], form) for name in (*inputs, *targets)}
    words = {name: list_names([word for word in found if word]) for name, found in gaps.items() if any(found)}
    if words:
        found = "; ".join(f"{name!r}: {listed}" for name, listed in words.items())
        remarks.append(f"words are read as gaps ({found}); a word that is a label must not be among data.format.gaps.")
    gappy_targets = [name for name in targets if gaps[name]]
    gappy_inputs = [name for name in inputs if gaps[name]]
    if gappy_targets:
        num_rows = int(np.any([read_gaps(frame[name], form) for name in (*gappy_inputs, *gappy_targets)], axis=0).sum())
        remarks.append(f"{num_rows} rows with gaps are dropped, since targets have gaps: {list_names(gappy_targets)}.")
        return config.MissingPolicy(kind="drop")
    if gappy_inputs:
        remarks.append(f"gaps are imputed and marked by a feature of their own: {list_names(gappy_inputs)}.")
        return config.MissingPolicy(kind="impute_with_indicator")
    return config.MissingPolicy()
