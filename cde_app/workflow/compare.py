"""`cde compare`: runs side by side, and what stands in the way of comparing them."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from cde_app.data.encoding import ColumnContract
from cde_app.data.files import source_name
from cde_app.evaluation.scores import score_units
from cde_app.runs.run import Run
from cde_app.trees import from_tree
from cde_app.words import flatten
from cde_app.workflow.scoring import SCORED_ROWS

LEAST_CHANGE_OF_SCALE = 1e-6
"""A smaller relative difference of training standard deviations is rounding."""


def compare_runs(run_paths: Sequence[Path]) -> tuple[dict[str, Any], list[str]]:
    """Put several runs' scores, and the settings in which they differ, side by side; say why they are not comparable.

    Raises:
        RunError: a run is missing, incomplete, corrupt or from a newer format.
    """
    runs = {str(path): Run.open(path) for path in run_paths}
    stored = {name: run.settings() for name, run in runs.items()}
    scored = {name: Scored.by(run, seed=stored[name]["seed"]) for name, run in runs.items()}
    settings = {name: dict(flatten(values, into_lists=True)) for name, values in stored.items()}
    keys = sorted({key for values in settings.values() for key in values})
    differing = [key for key in keys if len({repr(values.get(key)) for values in settings.values()}) > 1]
    columns = {
        name: {
            "settings": {key: settings[name].get(key) for key in differing},
            "units": scored[name].score_units,
            "metrics": run.read_json("metrics.json"),
        }
        for name, run in runs.items()
    }
    return columns, comparison_warnings(scored)


@dataclass(frozen=True)
class Scored:
    """What the scores of a run are about."""

    targets: tuple[str, ...]
    units: tuple[str, ...]
    """Of the targets, empty where unknown."""
    files: tuple[str, ...]
    """Names of the table's files; none for standard input."""
    table: Hashable
    """Equal where the tables are."""
    rows: Hashable
    """Equal where the scored rows of equal tables are."""
    num_rows: int
    scales: tuple[float, ...]
    """Training standard deviations of the targets."""

    @property
    def score_units(self) -> dict[str, str]:
        """In what each score that has a unit is measured."""
        return score_units(self.targets, self.units)

    @classmethod
    def by(cls, run: Run, *, seed: int) -> Scored:
        """Read it from a run, whose seed says which rows are scored where not all are.

        Raises:
            RunError: a file is missing or corrupt.
        """
        contract = from_tree(ColumnContract, run.read_json("columns.json"))
        hashes, held_out = run.manifest()["inputs"], run.read_arrays("split.npz")["test"]
        is_drawn, drops = len(held_out) > SCORED_ROWS, contract.missing == "drop"
        columns = (*(column.name for column in contract.inputs), *contract.targets)
        return cls(
            targets=contract.targets,
            units=contract.units,
            files=tuple(source_name(path) for path in hashes),
            table=tuple(sorted(hashes.values())) or run.path,
            rows=(held_out.tobytes(), is_drawn and seed, drops and frozenset(columns)),
            num_rows=min(len(held_out), SCORED_ROWS),
            scales=tuple(run.read_arrays("baselines.npz")["scales"]),
        )


def comparison_warnings(runs: Mapping[str, Scored]) -> list[str]:
    """Write why the scores of several runs are not comparable, a sentence for each reason."""
    warnings = []
    by_targets = _grouped(runs, lambda run: frozenset(run.targets))
    if len(by_targets) > 1:
        told = _told(by_targets, lambda run: ", ".join(map(repr, run.targets)))
        warnings.append(f"the runs have different targets ({told}); only coverage, pit_ks and skill can be compared.")
    for group in by_targets:
        by_units = _grouped(group, lambda run: frozenset(zip(run.targets, run.units, strict=True)))
        if len(by_units) > 1:
            told = _told(by_units, lambda run: ", ".join(map(repr, run.units)))
            warnings.append(
                f"the runs have different units ({told}); scores in different units have lines of their own."
            )
    by_table = _grouped(runs, lambda run: run.table)
    if len(by_table) > 1:
        told = _told(by_table, lambda run: ", ".join(map(repr, run.files[:3])) or "standard input")
        warnings.append(f"the runs were scored on different tables ({told}); a better score may mean easier rows.")
    for group in by_table:
        by_rows = _grouped(group, lambda run: run.rows)
        if len(by_rows) > 1:
            told = _told(by_rows, lambda run: str(run.num_rows))
            warnings.append(
                f"the runs were scored on different rows of one table ({told}); a better score may mean easier rows."
            )
    for group in by_targets:
        scales = np.array(
            [[scale for _, scale in sorted(zip(run.targets, run.scales, strict=True))] for run in group.values()]
        )
        change = float((scales.max(axis=0) / scales.min(axis=0)).max()) - 1
        if change > LEAST_CHANGE_OF_SCALE:
            warnings.append(
                "scores in training sds are in those of each run's own training rows, which differ by up to "
                f"{100 * change:.2g} % ({', '.join(group)})."
            )
    return warnings


def _grouped(runs: Mapping[str, Scored], key: Callable[[Scored], Hashable]) -> list[dict[str, Scored]]:
    """Part the runs by a key, in their order."""
    groups: dict[Hashable, dict[str, Scored]] = {}
    for name, run in runs.items():
        groups.setdefault(key(run), {})[name] = run
    return list(groups.values())


def _told(groups: list[dict[str, Scored]], tell: Callable[[Scored], str]) -> str:
    """Write what the runs of each group have in common."""
    return "; ".join(f"{', '.join(group)}: {tell(next(iter(group.values())))}" for group in groups)
