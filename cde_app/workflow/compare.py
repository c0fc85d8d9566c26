"""`cde compare`: runs side by side, and why they may not be comparable."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from cde_app.data.files import source_name
from cde_app.evaluation.scores import score_units
from cde_app.runs.run import Run
from cde_app.stored_model import read_contract, read_rows, read_scales
from cde_app.words import flatten
from cde_app.workflow.scoring import SCORED_ROWS, stored_scores

LEAST_CHANGE_OF_SCALE = 1e-6
"""A smaller relative difference of training standard deviations is rounding."""

SENTENCES = ("verdict", "worth", "standard_errors")
"""What the scores of a run have in words."""


def compare_runs(run_paths: Sequence[Path]) -> tuple[dict[str, Any], list[str]]:
    """Return the scores of several runs and the settings in which they differ; warn if they are not comparable.

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
            "metrics": {key: value for key, value in stored_scores(run).items() if key not in SENTENCES},
        }
        for name, run in runs.items()
    }
    return columns, comparison_warnings(scored)


@dataclass(frozen=True)
class Scored:
    """What the scores of a run refer to."""

    targets: tuple[str, ...]
    units: tuple[str, ...]
    """Units of the targets, empty where unknown."""
    files: tuple[str, ...]
    """Names of the table's files; none for standard input."""
    table: Hashable
    """Equal if the tables are equal."""
    rows: Hashable
    """Equal if the same rows of equal tables were scored."""
    num_rows: int
    scales: tuple[float, ...]
    """Training standard deviations of the targets."""

    @property
    def score_units(self) -> dict[str, str]:
        """The unit of each score that has one."""
        return score_units(self.targets, self.units)

    @classmethod
    def by(cls, run: Run, *, seed: int) -> Scored:
        """Read this from a run; the seed determines which rows are scored if not all are.

        Raises:
            RunError: a file is missing or corrupt.
        """
        contract, held_out, hashes = read_contract(run), read_rows(run)[0].test, run.manifest()["inputs"]
        is_drawn, drops = len(held_out) > SCORED_ROWS, contract.missing == "drop"
        columns = (*(column.name for column in contract.inputs), *contract.targets)
        return cls(
            targets=contract.targets,
            units=contract.units,
            files=tuple(source_name(path) for path in hashes),
            table=tuple(sorted(hashes.values())) or run.path,
            rows=(held_out.astype(np.int64).tobytes(), is_drawn and seed, drops and frozenset(columns)),
            num_rows=min(len(held_out), SCORED_ROWS),
            scales=tuple(read_scales(run, contract).tolist()),
        )


def comparison_warnings(runs: Mapping[str, Scored]) -> list[str]:
    """Return why the scores of several runs are not comparable, one sentence for each reason."""
    warnings = []
    by_targets = _grouped(runs, lambda run: frozenset(run.targets))
    if len(by_targets) > 1:
        which = _described(by_targets, lambda run: ", ".join(map(repr, run.targets)))
        warnings.append(f"the runs have different targets ({which}); only coverage, pit_ks and skill can be compared.")
    for group in by_targets:
        by_units = _grouped(group, lambda run: frozenset(zip(run.targets, run.units, strict=True)))
        if len(by_units) > 1:
            which = _described(by_units, lambda run: ", ".join(map(repr, run.units)))
            warnings.append(
                f"the runs have different units ({which}); scores in different units have lines of their own."
            )
    by_table = _grouped(runs, lambda run: run.table)
    if len(by_table) > 1:
        which = _described(by_table, lambda run: ", ".join(map(repr, run.files[:3])) or "standard input")
        warnings.append(f"the runs were scored on different tables ({which}); a better score may mean easier rows.")
    for group in by_table:
        by_rows = _grouped(group, lambda run: run.rows)
        if len(by_rows) > 1:
            which = _described(by_rows, lambda run: str(run.num_rows))
            warnings.append(
                f"the runs were scored on different rows of one table ({which}); a better score may mean easier rows."
            )
    for group in by_targets:
        scales = np.array(
            [[scale for _, scale in sorted(zip(run.targets, run.scales, strict=True))] for run in group.values()]
        )
        change = float((scales.max(axis=0) / scales.min(axis=0)).max()) - 1
        if change > LEAST_CHANGE_OF_SCALE:
            warnings.append(
                "scores in training sds use the sds of each run's own training rows, which differ by up to "
                f"{100 * change:.3g} % ({', '.join(group)})."
            )
    return warnings


def _grouped(runs: Mapping[str, Scored], key: Callable[[Scored], Hashable]) -> list[dict[str, Scored]]:
    """Group the runs by a key, in their order."""
    groups: dict[Hashable, dict[str, Scored]] = {}
    for name, run in runs.items():
        groups.setdefault(key(run), {})[name] = run
    return list(groups.values())


def _described(groups: list[dict[str, Scored]], describe: Callable[[Scored], str]) -> str:
    """Write what the runs of each group have in common."""
    return "; ".join(f"{', '.join(group)}: {describe(next(iter(group.values())))}" for group in groups)
