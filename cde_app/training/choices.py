"""Choices made by fits to the data before a run's trainings: the transforms, and whether to use neighbours."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from cde_app.arrays import Array
from cde_app.config import Config
from cde_app.machine.blocks import one_blas_thread
from cde_app.progress import Progress
from cde_app.targets import TargetTransform
from cde_app.targets.rounding import RoundedTarget, find_rounding
from cde_app.training.checkpoint import Choices
from cde_app.training.choose_neighbours import uses_neighbours
from cde_app.training.choose_transform import choose_transform
from cde_app.training.rows import TrainingData, choice_rows, standardise


@one_blas_thread()
def choose(config: Config, data: TrainingData, report: Callable[[Progress], None]) -> Choices:
    """Choose the transforms of the targets, and whether to use neighbours, by at most `CHOICE_ROWS` training rows.

    Args:
        config: the whole configuration.
        data: training and validation rows.
        report: called before each choice, and with each warning.
    """
    transforms, features = [], data.features
    rows = choice_rows(data.targets, seed=config.seed)
    targets = data.targets[rows]
    if len(rows) < len(features):
        features = features.select(rows)
    for index, target in enumerate(config.data.targets):
        report(Progress("warm start", f"transform of {target.column}"))
        y, y_validation = targets[:, index], data.targets_validation[:, index]
        transforms.append(choose_transform(target, features, y, y_validation, config))
    roundings = find_roundings(config, data, tuple(transforms))
    for found in filter(None, roundings):
        report(Progress("warning", found.warning()))
    report(Progress("warm start", "neighbours"))
    Y, noise_floor = standardise(tuple(transforms), targets), noise_floors(roundings)
    has_neighbours = uses_neighbours(config, features, Y, noise_floor=noise_floor)
    return Choices(tuple(transforms), has_neighbours)


def find_roundings(
    config: Config, data: TrainingData, transforms: tuple[TargetTransform, ...]
) -> list[RoundedTarget | None]:
    """Return how each target is rounded in the training rows, or in `choice_rows` of them."""
    targets = data.targets[choice_rows(data.targets, seed=config.seed)]
    columns = zip(config.data.targets, targets.T, transforms, strict=True)
    return [find_rounding(target.column, values, transform, target.rounding) for target, values, transform in columns]


def noise_floors(roundings: list[RoundedTarget | None]) -> Array:
    """Return the noise variances that the targets' rounding requires, [P], standardised; 0 where it does not matter."""
    return np.array([found.variance if found else 0.0 for found in roundings])
