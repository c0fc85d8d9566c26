"""`cde evaluate DATA --samples FILE`: the scores of another forecaster, without a run."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cde_app.arrays import Array
from cde_app.data.rival import Rival, RivalKind, read_rival
from cde_app.evaluation.rivals import known_coverage, score_draws, score_normals, score_quantiles
from cde_app.evaluation.scores import COVERAGE_LEVELS, Rows, summarise
from cde_app.runs.folder import check_is_outside
from cde_app.targets.standardisation import sample_sds
from cde_app.workflow.pictures import draw_into, rival_pictures

SEED = 0
"""Of the draws of a normal and of ranks; the scores of a file are always the same."""


@dataclass(frozen=True)
class RivalFile:
    """A forecaster's file."""

    path: Path
    kind: RivalKind
    targets: tuple[str, ...] = ()
    """Those to judge; empty for those that the file and the table have."""


def evaluate_rival(file: RivalFile, table_path: Path, out_path: Path | None = None) -> dict[str, Any]:
    """Score what another forecaster states about the rows of a table, with the code that scores a run.

    Scores of several targets together, and means over targets, are in standard deviations of what was observed, because
    the training rows are not known; so there are no baselines either.

    Args:
        file: the forecaster's file; see `read_rival`.
        table_path: the table with the targets.
        out_path: the folder for the calibration pictures; None draws none.

    Returns:
        The scores that such a file can have, as those of `evaluate_run`; `forecast`, what they rest on; `warnings` and
        `files`, if there are any.

    Raises:
        DataError: the file or the table has a fault, or they do not match.
        RunError: the folder for the pictures may not be written.
    """
    if out_path is not None:
        check_is_outside(out_path)
    rival = read_rival(file.path, file.kind, table_path, file.targets)
    rows = score_rival(rival, file.kind)
    levels = known_coverage(rival.levels) if file.kind == "quantiles" else COVERAGE_LEVELS
    metrics = summarise(rows, target_names=rival.targets, coverage_levels=levels)
    metrics |= {"forecast": described(rival, file.kind), "baselines": {}, "skill": {}}
    warnings, files = list(rival.warnings), list[Path]()
    if out_path is not None:
        files, missing = draw_into(out_path, lambda: rival_pictures(rows, rival.targets))
        warnings += missing
    return metrics | {name: found for name, found in (("warnings", warnings), ("files", files)) if found}


def score_rival(rival: Rival, kind: RivalKind) -> Rows:
    """Return the scores of each row."""
    scales = scales_of(rival.observed)
    match kind:
        case "samples":
            return score_draws(rival.values, rival.observed, scales=scales, seed=SEED)
        case "quantiles":
            return score_quantiles(rival.levels, rival.values, rival.observed, scales=scales, seed=SEED)
        case "normal":
            mean, sd = rival.values
            return score_normals(mean, sd, rival.observed, scales=scales, seed=SEED)


def described(rival: Rival, kind: RivalKind) -> str:
    """Say what the scores rest on."""
    number = len(rival.values)
    match kind:
        case "samples":
            what = f"{number} draws of each row"
        case "quantiles":
            what = f"{number} quantiles of each row; crps is a sum over them"
        case "normal":
            what = "a normal of each row"
    if len(rival.targets) > 1:
        what += "; scores over several targets are in standard deviations of the observed values"
    return what


def scales_of(observed: Array) -> Array:
    """Return the standard deviations of the observed targets, [N, P] to [P]; one where all are the same."""
    if len(observed) < 2:
        return observed[0] * 0.0 + 1.0
    sds = sample_sds(observed)
    sds[~(sds > 0)] = 1.0
    return sds
