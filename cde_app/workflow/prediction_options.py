"""The options of `cde predict`, with the run's settings as defaults, and what they ask of every forecast."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from cde_app.arrays import Array
from cde_app.config import Predict
from cde_app.config.threshold import parse_threshold, parse_thresholds
from cde_app.data.encoding import ColumnContract
from cde_app.data.table import FileFormat
from cde_app.errors import UsageError
from cde_app.machine.storage import to_jsonable
from cde_app.trained_model import TrainedModel
from cde_app.words import list_names, nearest
from cde_app.workflow.prediction_files import Questions

GRID_REACH = 5.0
"""Grids end at this many standard deviations of the transformed target."""


@dataclass(frozen=True)
class PredictionOptions:
    """The options of a prediction; None uses the run's setting, under `predict` or for `keep` under `data.id`."""

    num_samples: int | None = None
    """Draws per row; 0 writes none."""
    quantiles: Sequence[float] | None = None
    """Levels in (0, 1)."""
    intervals: Sequence[float] | None = None
    """Probabilities of central intervals, in (0, 1)."""
    thresholds: Sequence[str] | None = None
    """Such as `y>100`; see `config.threshold`."""
    hdi: Sequence[float] | None = None
    """Probabilities of highest-density regions, in (0, 1)."""
    modes: bool | None = None
    """Write the modes of each density."""
    grid: int | None = None
    """Points over the range of each target, at which the density is written."""
    at: Sequence[float] | None = None
    """Further points of every target."""
    given: Sequence[str] | None = None
    """Targets that the table has: the forecasts are of the others, given these."""
    keep: Sequence[str] | None = None
    """Columns of the table that every file has too."""
    seed: int | None = None
    """Seed of the draws."""
    file_format: FileFormat = "csv"
    """Format of the tables."""
    plots: bool = False
    """Draw the predictions."""
    components: bool = False
    """Write the mixtures; they are all in memory until then."""
    skip_faults: bool = False
    """Leave out rows with faults instead of stopping."""
    total: bool | None = None
    """Write the totals of the targets; None also does so if there is a `total_by`."""
    total_by: str | None = None
    """The column whose values are the groups of the totals; None makes one group."""

    def facts(self) -> dict[str, Any]:
        """Return the options as a manifest has them."""
        asked = {"samples" if name == "num_samples" else name: value for name, value in vars(self).items()}
        facts: dict[str, Any] = to_jsonable(asked)
        return facts

    def resolved(self, settings: Mapping[str, Any]) -> PredictionOptions:
        """Replace each None by a run's setting, or by the default if the run is older than the setting.

        The run's thresholds of targets that are given here are not asked.
        """
        defaults = Predict().model_dump() | settings["predict"] | {"keep": settings["data"].get("id", ())}
        defaults |= {"num_samples": defaults["samples"], "seed": settings["seed"]}
        given = set(defaults["given"] if self.given is None else self.given)
        targets = [target["column"] for target in settings["data"]["targets"]]
        defaults["thresholds"] = [t for t in defaults["thresholds"] if parse_threshold(t, targets).target not in given]
        defaults["total"] |= (self.total_by or defaults["total_by"]) is not None
        own = {name: defaults[name] for name, value in vars(self).items() if value is None}
        return replace(self, **own)


def questions_of(options: PredictionOptions, model: TrainedModel) -> Questions:
    """Return what the options ask of every forecast.

    Args:
        options: resolved.
        model: the run's.

    Raises:
        UsageError: a threshold or `given` names no target, or the options contradict each other.
    """
    names = remaining_targets(options, model.contract)
    if options.given and options.plots:
        raise UsageError("--given and --plots: expected one of them; got both. The pictures are of all targets.")
    if options.given and options.total:
        raise UsageError(
            "--given and --total: expected one of them; got both. Totals do not know what is given; pass --no-total."
        )
    if model.predictor.recalibration is not None:
        asked = {"--given": options.given, "--total": options.total, "--components": options.components}
        for option in (option for option, wanted in asked.items() if wanted):
            raise UsageError(
                f"{option}: expected a run without training.calibration.kind 'conformal', whose maps are of each "
                f"target of each row; got one with it. Leave out {option}, or train with the kind 'width'."
            )
    return Questions(
        quantiles=tuple(dict.fromkeys(options.quantiles or ())),
        intervals=tuple(dict.fromkeys(options.intervals or ())),
        thresholds=parse_thresholds(options.thresholds or (), names, option="--threshold"),
        hdi=tuple(dict.fromkeys(options.hdi or ())),
        modes=bool(options.modes),
        points=points_of(model, names, options.grid, options.at or ()),
        num_samples=options.num_samples or 0,
        seed=options.seed or 0,
    )


def remaining_targets(options: PredictionOptions, contract: ColumnContract) -> tuple[str, ...]:
    """Return the targets that are not given.

    Raises:
        UsageError: `given` names no target, or all.
    """
    given, names = options.given or (), contract.targets
    if unknown := [name for name in given if name not in names]:
        near = nearest(unknown[0], names)
        advice = f"Did you mean {near!r}?" if near else "Correct the name."
        raise UsageError(f"--given: expected some of the targets {list_names(names)}; got {unknown[0]!r}. {advice}")
    if set(given) == set(names):
        raise UsageError(
            f"--given: expected some of the targets {list_names(names)}; got all of them. Leave out what is to be "
            "predicted."
        )
    return tuple(name for name in names if name not in given)


def points_of(model: TrainedModel, names: Sequence[str], grid: int | None, at: Sequence[float]) -> dict[str, Array]:
    """Return the points of each target at which densities are written, ascending; none if none are asked for.

    A grid is even on the scale on which the target is learned. It spans all but a thousandth of the training targets,
    and a tenth more at both ends.
    """
    points: dict[str, Array] = {}
    for p, (name, transform) in enumerate(zip(model.contract.targets, model.predictor.transforms, strict=True)):
        if name not in names or not (grid or at):
            continue
        even = np.empty(0)
        if grid:
            ends = transform.forward(model.climatology.predict(1).marginal(p).quantile([0.0005, 0.9995]).ravel())
            ends = np.clip(ends, -GRID_REACH, GRID_REACH)  # the climatology has mass beyond the range of a logarithm
            margin = 0.1 * (ends[1] - ends[0])
            even = transform.inverse(np.linspace(ends[0] - margin, ends[1] + margin, grid))
        points[name] = np.unique(np.concatenate([even, np.asarray(at, float)]))
    return points
