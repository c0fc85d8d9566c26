"""What a training would see: rows, columns, suspicions and cost, told without TensorFlow."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pandas as pd

from cde_app import config
from cde_app.data.columns import FloatArray, counts_rows, list_names, read_days, read_gaps, read_labels, read_numbers
from cde_app.data.cost import Cost, estimate_cost, inducing_sizes
from cde_app.data.encoding import ColumnContract, check_table, complete_rows, encode_targets, fit_contract, out_of_range
from cde_app.data.infer import Inference, infer_data
from cde_app.data.model_fit import check_model, unchecked_settings
from cde_app.data.rounding import RoundedTarget, find_rounding, rounding_step
from cde_app.data.split import Split, split_rows
from cde_app.data.transform import fit_transform

__all__ = ["ColumnReport", "Inference", "TableReport", "TargetAtoms", "describe_table", "infer_data"]

_ATOM_SHARE = 0.03
_ATOM_ROWS = 3
_DISTINCT_SHARE = 0.05
_FEW_TRAINING_ROWS = 100
_FEW_TEST_ROWS = 50
_MANY_LABELS = 50
_DUPLICATE_SHARE = 0.01
_OUTSIDE_SHARE = 0.05
_OUTSIDE_ROWS = 5
_COPY_CORRELATION = 0.9999


@dataclass(frozen=True)
class ColumnReport:
    """One input or target over all rows: kind, gaps, distinct values and range (None for labels; dates as text)."""

    name: str
    role: Literal["input", "target"]
    kind: str
    num_gaps: int
    num_distinct: int
    minimum: float | str | None
    maximum: float | str | None


@dataclass(frozen=True)
class TargetAtoms:
    """How discrete a target is: its most frequent value, that value's share, the distinct values, the rounding step."""

    column: str
    value: float
    share: float
    num_distinct: int
    rounding_step: float | None
    suspicious: bool


@dataclass(frozen=True)
class TableReport:
    """What `cde check` prints.

    Args:
        source: the table.
        num_rows: rows of the table.
        num_kept: rows left after `data.missing: drop`.
        num_train, num_validation, num_test: rows of each part.
        num_features: D, the features the model sees.
        num_duplicates: rows that repeat an earlier one in every input and target.
        columns: inputs and targets.
        atoms: one entry per target.
        cost: a rough estimate of the training.
        warnings: whole sentences.
        notes: what only the training can check.
    """

    source: str
    num_rows: int
    num_kept: int
    num_train: int
    num_validation: int
    num_test: int
    num_features: int
    num_duplicates: int
    columns: tuple[ColumnReport, ...]
    atoms: tuple[TargetAtoms, ...]
    cost: Cost
    warnings: tuple[str, ...]
    notes: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """Return the fields as plain JSON values."""
        return dataclasses.asdict(self)

    def lines(self) -> list[str]:
        """Write the report for a terminal."""
        cost = self.cost
        width = max(len(column.name) for column in self.columns)
        lines = [
            (
                f"{self.source}: {self.num_rows} rows; {self.num_train} train, {self.num_validation} validation, "
                f"{self.num_test} test; {self.num_features} features"
            ),
        ]
        for column in self.columns:
            span = "" if column.minimum is None else f", {_brief(column.minimum)} to {_brief(column.maximum)}"
            gaps = f", {column.num_gaps} gaps" if column.num_gaps else ""
            lines.append(
                f"  {column.role:<6} {column.name:<{width}}  {column.kind}, {column.num_distinct} distinct{span}{gaps}"
            )
        lines.append(
            f"training: {cost.num_trainings} x {cost.max_steps} steps of {cost.batch_size} rows, about "
            f"{cost.seconds:.0f} s and {cost.memory_bytes / 1e9:.1f} GB (rough)"
        )
        lines += [f"warning: {warning}" for warning in self.warnings]
        return lines + [f"note: {note}" for note in self.notes]


def describe_table(settings: config.Config, frame: pd.DataFrame, *, source: str) -> TableReport:
    """Check a table and describe what a training with it would see.

    Args:
        settings: the configuration.
        frame: the whole table, N rows.
        source: the table, as errors name it.

    Raises:
        DataError: the table breaks the contract, the split leaves too few rows, no input varies over the training rows,
            a target does not, or the model does not fit the features.
    """
    data = settings.data
    check_table(data, frame, source=source)
    kept = frame[complete_rows(data, frame, source=source, with_targets=True)]
    parts = split_rows(data.split, kept, seed=settings.seed, source=source)
    contract = fit_contract(data, kept.iloc[parts.train], source=source)
    check_model(settings.model, contract, source=source)
    targets = encode_targets(contract, kept, source=source)
    rounded = [
        _find_rounding(target, values[parts.train], source)
        for target, values in zip(data.targets, targets.T, strict=True)
    ]
    names = [column.column for column in (*data.inputs, *data.targets)]
    atoms = tuple(_find_atoms(name, values) for name, values in zip(contract.targets, targets.T, strict=True))
    num_duplicates = int(kept.duplicated(subset=names).sum())
    warnings = [
        *_row_warnings(len(frame), len(kept), parts, num_duplicates),
        *_input_warnings(contract, kept, parts, targets),
        *(
            found.warning() if found else _atom_warning(atom)
            for atom, found in zip(atoms, rounded, strict=True)
            if found or atom.suspicious
        ),
        *_inducing_warnings(settings.model, len(parts.train)),
    ]
    num_features = len(contract.feature_names)
    return TableReport(
        source=source,
        num_rows=len(frame),
        num_kept=len(kept),
        num_train=len(parts.train),
        num_validation=len(parts.validation),
        num_test=len(parts.test),
        num_features=num_features,
        num_duplicates=num_duplicates,
        columns=(
            *(_describe_column(frame[column.column], "input", column.kind) for column in data.inputs),
            *(_describe_column(frame[column.column], "target", "numeric") for column in data.targets),
        ),
        atoms=atoms,
        cost=estimate_cost(
            settings, num_rows=len(parts.train), num_features=num_features, num_targets=len(contract.targets)
        ),
        warnings=tuple(warnings),
        notes=unchecked_settings(settings.model),
    )


def _describe_column(cells: pd.Series, role: Literal["input", "target"], kind: str) -> ColumnReport:
    """Describe one column that passed the check."""
    minimum: float | str | None = None
    maximum: float | str | None = None
    gaps = read_gaps(cells)
    if kind != "categorical" and not gaps.all():
        values = (read_days if kind == "datetime" else read_numbers)(cells)[0]
        minimum, maximum = float(np.nanmin(values)), float(np.nanmax(values))
        if kind == "datetime":
            minimum, maximum = _date(minimum), _date(maximum)
    num_distinct = len(read_labels(cells)[1])
    return ColumnReport(str(cells.name), role, kind, int(gaps.sum()), num_distinct, minimum, maximum)


def _find_atoms(name: str, values: FloatArray) -> TargetAtoms:
    """Count how often a target repeats its values, and find the step it is rounded to."""
    distinct, counts = np.unique(values, return_counts=True)
    most = int(np.argmax(counts))
    share = float(counts[most] / len(values))
    is_atom = share > _ATOM_SHARE and counts[most] >= _ATOM_ROWS
    return TargetAtoms(
        column=name,
        value=float(distinct[most]),
        share=share,
        num_distinct=len(distinct),
        rounding_step=rounding_step(values),
        suspicious=bool(is_atom or len(distinct) < _DISTINCT_SHARE * len(values)),
    )


def _find_rounding(target: config.TargetColumn, values: FloatArray, source: str) -> RoundedTarget | None:
    """Find how a target is rounded; on its own scale where training chooses the transform."""
    settings, label = target.transform, f"{source}: column {target.column!r}"
    kind = "identity" if settings.kind == "auto" else settings.kind
    parameters = {name: getattr(settings, name) for name in ("shift", "lower", "upper") if hasattr(settings, name)}
    return find_rounding(target.column, values, fit_transform(kind, values, **parameters, label=label), target.rounding)


def _row_warnings(num_rows: int, num_kept: int, parts: Split, num_duplicates: int) -> list[str]:
    """Write what is suspicious about the rows."""
    warnings = []
    if num_kept < num_rows:
        warnings.append(f"{num_rows - num_kept} of {num_rows} rows have gaps and are left out (data.missing: drop).")
    if num_duplicates > _DUPLICATE_SHARE * num_kept:
        warnings.append(
            f"{num_duplicates} rows repeat an earlier row in every input and target; if they are copies, the scores of "
            "the held-out rows are too good."
        )
    if len(parts.train) < _FEW_TRAINING_ROWS:
        warnings.append(f"there are only {len(parts.train)} training rows; expect rough densities.")
    if not len(parts.test):
        warnings.append("there are no test rows; the densities will not be scored. Set data.split.test.")
    elif len(parts.test) < _FEW_TEST_ROWS:
        warnings.append(f"there are only {len(parts.test)} test rows; expect scores with large standard errors.")
    return warnings


def _input_warnings(contract: ColumnContract, kept: pd.DataFrame, parts: Split, targets: FloatArray) -> list[str]:
    """Write what is suspicious about the inputs."""
    warnings = []
    if contract.dropped:
        warnings.append(f"constant over the training rows and left out: {list_names(contract.dropped)}.")
    for encoding in contract.inputs:
        num_labels = len(encoding.vocabulary)
        if num_labels > _MANY_LABELS:
            warnings.append(f"input {encoding.name!r} has {num_labels} labels, a feature each; consider grouping them.")
        if encoding.kind == "numeric":
            warnings += _numeric_warnings(encoding.name, kept[encoding.name], contract.targets, targets)
    held_out = np.concatenate([parts.validation, parts.test])
    outside = out_of_range(contract, kept.iloc[held_out])
    if outside.sum() >= _OUTSIDE_ROWS and outside.mean() > _OUTSIDE_SHARE:
        warnings.append(
            f"{100 * outside.mean():.0f} % of the held-out rows lie outside the range of the training rows or have "
            "labels unseen there; their densities are extrapolations."
        )
    return warnings


def _numeric_warnings(name: str, cells: pd.Series, target_names: Sequence[str], targets: FloatArray) -> list[str]:
    """Write that an input counts the rows or is a copy of a target."""
    warnings = []
    values = read_numbers(cells)[0]
    if counts_rows(values):
        warnings.append(f"input {name!r} counts the rows; leave it out of data.inputs unless it means something.")
    present = ~np.isnan(values)
    if present.sum() > 2 and np.ptp(values[present]) > 0:
        for target, y in zip(target_names, targets.T, strict=True):
            with np.errstate(invalid="ignore", divide="ignore"):
                correlation = np.corrcoef(values[present], y[present])[0, 1]
            if abs(correlation) > _COPY_CORRELATION:
                warnings.append(f"input {name!r} is almost a copy of target {target!r}; is it known before the target?")
    return warnings


def _atom_warning(atom: TargetAtoms) -> str:
    """Write that a target has atoms."""
    step = "" if atom.rounding_step is None else f" (steps of {atom.rounding_step:g})"
    return (
        f"target {atom.column!r} takes {atom.num_distinct} distinct values{step}, {atom.value:g} in "
        f"{100 * atom.share:.1f} % of the rows; the density is unbounded there; judge by CRPS, not by log density."
    )


def _inducing_warnings(model: config.Model, num_train: int) -> list[str]:
    """Write that there are more inducing inputs than rows."""
    largest = max(inducing_sizes(model))
    if num_train >= largest:
        return []
    return [
        (
            f"there are fewer training rows ({num_train}) than inducing inputs ({largest}); that is fine: the model "
            "will use one inducing input per row."
        )
    ]


def _date(days: float) -> str:
    """Write days since 1970-01-01 UTC as a date."""
    return str(np.datetime64(round(days * 86400), "s"))


def _brief(value: float | str | None) -> str:
    """Write one end of a range."""
    return f"{value:g}" if isinstance(value, float) else str(value)
