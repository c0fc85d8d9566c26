"""What a training would see: rows, columns, suspicious findings and cost, without TensorFlow."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from cde_app import config
from cde_app.arrays import Array
from cde_app.data.columns import counts_rows
from cde_app.data.cost import HOW_TO_LOWER, Cost, estimate_cost
from cde_app.data.encoding import ColumnContract
from cde_app.data.features import is_outside, recode
from cde_app.data.fingerprints import fingerprint_rows
from cde_app.data.model_fit import unchecked_settings
from cde_app.data.prepared import fit_training
from cde_app.data.readings import Readings
from cde_app.data.split import Split
from cde_app.machine.memory import available_bytes, gigabytes
from cde_app.machine.rows import blocks_of
from cde_app.plan import Plan, plan_trainings
from cde_app.targets import fit_transform
from cde_app.targets.rounding import RoundedTarget, find_rounding, rounding_step
from cde_app.words import list_names, written_date

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
    gap_words: tuple[str, ...]
    """The words that were read as gaps."""
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
        num_train, num_validation, num_test, num_calibration: rows of each part.
        num_features: D, the features the model sees.
        num_duplicates: rows that repeat an earlier row in every input and target.
        columns: inputs and targets.
        atoms: one entry per target.
        plan: the trainings.
        cost: a rough estimate of their cost.
        warnings: whole sentences.
        notes: what only the training can check.
    """

    source: str
    num_rows: int
    num_kept: int
    num_train: int
    num_validation: int
    num_test: int
    num_calibration: int
    num_features: int
    num_duplicates: int
    columns: tuple[ColumnReport, ...]
    atoms: tuple[TargetAtoms, ...]
    plan: Plan
    cost: Cost
    warnings: tuple[str, ...]
    notes: tuple[str, ...]


def describe_table(settings: config.Config, readings: Readings, *, source: str) -> TableReport:
    """Describe what a training with a table would see; only one column at a time is in memory.

    Args:
        settings: the configuration.
        readings: the whole table, N rows, from `read_for_training`.
        source: the table, as errors name it.

    Raises:
        DataError: the split leaves too few rows, no input varies over the training rows,
            a target is constant over them, or the model does not fit the features.
    """
    data, kept, num_inputs = settings.data, readings.kept, len(settings.data.inputs)
    contract, parts, more = fit_training(settings, readings, source=source)
    atoms, rounded = [], []
    for index, target in enumerate(data.targets, start=num_inputs):
        values = readings.column(index, kept)
        atoms.append(_find_atoms(target.column, values))
        rounded.append(_find_rounding(target, values[parts.train], source))
    num_duplicates = _count_duplicates(readings)
    warnings = [
        *_row_warnings(len(readings.values), len(kept), parts, num_duplicates),
        *readings.warnings,
        *_input_warnings(contract, readings, parts),
        *(
            found.warning() if found else _atom_warning(atom)
            for atom, found in zip(atoms, rounded, strict=True)
            if found or atom.suspicious
        ),
        *more,
    ]
    num_features = len(contract.feature_names)
    plan = plan_trainings(
        settings, num_rows=len(parts.train), num_validation_rows=len(parts.validation), num_features=num_features
    )
    cost = estimate_cost(settings, plan, num_features=num_features)
    if cost.bytes_per_training > (free := available_bytes()):
        warnings.append(
            f"a training takes {gigabytes(cost.bytes_per_training)} of memory (rough), and {gigabytes(free)} are free. "
            f"{HOW_TO_LOWER}."
        )
    return TableReport(
        source=source,
        num_rows=len(readings.values),
        num_kept=len(kept),
        num_train=len(parts.train),
        num_validation=len(parts.validation),
        num_test=len(parts.test),
        num_calibration=len(parts.calibration),
        num_features=num_features,
        num_duplicates=num_duplicates,
        columns=(
            *(
                _describe_column(readings, index, column.column, "input", column.kind)
                for index, column in enumerate(data.inputs)
            ),
            *(
                _describe_column(readings, index, column.column, "target", "numeric")
                for index, column in enumerate(data.targets, start=num_inputs)
            ),
        ),
        atoms=tuple(atoms),
        plan=plan,
        cost=cost,
        warnings=tuple(warnings),
        notes=unchecked_settings(settings.model),
    )


def _describe_column(
    readings: Readings, index: int, name: str, role: Literal["input", "target"], kind: str
) -> ColumnReport:
    """Describe one column that passed the check."""
    values, words = readings.column(index), tuple(word for word in readings.gap_words[index] if word)
    minimum: float | str | None = None
    maximum: float | str | None = None
    present = values[~np.isnan(values)]
    if kind != "categorical" and present.size:
        minimum, maximum = float(present.min()), float(present.max())
        if kind == "datetime":
            minimum, maximum = written_date(minimum), written_date(maximum)
    return ColumnReport(name, role, kind, len(values) - len(present), words, len(np.unique(present)), minimum, maximum)


def _count_duplicates(readings: Readings) -> int:
    """Count the kept rows that repeat an earlier row in every input and target, by their fingerprints."""
    blocks = blocks_of(len(readings.kept))
    rows = np.concatenate([fingerprint_rows(readings.values[readings.kept[block]]) for block in blocks])
    return len(rows) - len(np.unique(rows))


def _find_atoms(name: str, values: Array) -> TargetAtoms:
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


def _find_rounding(target: config.TargetColumn, values: Array, source: str) -> RoundedTarget | None:
    """Find how a target is rounded; on its own scale if the training chooses the transform."""
    settings, label = target.transform, f"{source}: column {target.column!r}"
    settings = config.IdentityTransform() if settings.kind == "auto" else settings
    return find_rounding(target.column, values, fit_transform(settings, values, label=label), target.rounding)


def _row_warnings(num_rows: int, num_kept: int, parts: Split, num_duplicates: int) -> list[str]:
    """Write warnings about the rows."""
    warnings = []
    if num_kept < num_rows:
        warnings.append(f"{num_rows - num_kept} of {num_rows} rows have gaps and are left out (data.missing: drop).")
    if num_duplicates > _DUPLICATE_SHARE * num_kept:
        warnings.append(
            f"{num_duplicates} rows repeat an earlier row in every input and target; if they are copies, the scores of "
            "the held-out rows are too optimistic."
        )
    if len(parts.train) < _FEW_TRAINING_ROWS:
        warnings.append(f"there are few training rows ({len(parts.train)}); expect rough densities.")
    if not len(parts.test):
        warnings.append("there are no test rows; the densities will not be scored. Set data.split.test.")
    elif len(parts.test) < _FEW_TEST_ROWS:
        warnings.append(f"there are few test rows ({len(parts.test)}); expect scores with large standard errors.")
    return warnings


def _input_warnings(contract: ColumnContract, readings: Readings, parts: Split) -> list[str]:
    """Write warnings about the inputs."""
    warnings = []
    if contract.dropped:
        warnings.append(f"constant over the training rows and left out: {list_names(contract.dropped)}.")
    held_out = np.concatenate([parts.validation, parts.test])
    outside = np.zeros(len(held_out), dtype=bool)
    for index, encoding in enumerate(contract.inputs):
        num_labels = len(encoding.vocabulary)
        if num_labels > _MANY_LABELS:
            warnings.append(f"input {encoding.name!r} has {num_labels} labels, a feature each; consider grouping them.")
        values = readings.column(index, readings.kept)
        if encoding.kind == "numeric":
            warnings += _numeric_warnings(encoding.name, values, contract, readings)
        outside |= is_outside(encoding, recode(values[held_out], readings.labels[index], encoding))
    if outside.sum() >= _OUTSIDE_ROWS and outside.mean() > _OUTSIDE_SHARE:
        warnings.append(
            f"{100 * outside.mean():.0f} % of the held-out rows lie outside the range of the training rows or have "
            "labels unseen there; their densities are extrapolations."
        )
    return warnings


def _numeric_warnings(name: str, values: Array, contract: ColumnContract, readings: Readings) -> list[str]:
    """Warn if an input counts the rows or is a copy of a target."""
    warnings = []
    if counts_rows(values):
        warnings.append(f"input {name!r} counts the rows; leave it out of data.inputs unless it means something.")
    present = ~np.isnan(values)
    if present.sum() > 2 and np.ptp(values[present]) > 0:
        for index, target in enumerate(contract.targets, start=len(contract.inputs)):
            y = readings.column(index, readings.kept)
            with np.errstate(invalid="ignore", divide="ignore"):
                correlation = np.corrcoef(values[present], y[present])[0, 1]
            if abs(correlation) > _COPY_CORRELATION:
                warnings.append(f"input {name!r} is almost a copy of target {target!r}; is it known before the target?")
    return warnings


def _atom_warning(atom: TargetAtoms) -> str:
    """Warn that a target has atoms."""
    step = "" if atom.rounding_step is None else f" (steps of {atom.rounding_step:g})"
    return (
        f"target {atom.column!r} takes {atom.num_distinct} distinct values{step}, {atom.value:g} in "
        f"{100 * atom.share:.1f} % of the rows; the density is unbounded there; judge by CRPS, not by log density."
    )
