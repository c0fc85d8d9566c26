"""Choices made by fits to the data before a run's trainings: the transforms, and whether to use neighbours."""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np

from cde_app.arrays import Array
from cde_app.config import Config
from cde_app.machine.blocks import one_blas_thread
from cde_app.progress import Progress
from cde_app.targets import TargetTransform
from cde_app.targets.rounding import RoundedTarget, find_rounding
from cde_app.training.checkpoint import Checkpoint
from cde_app.training.choose_neighbours import uses_neighbours
from cde_app.training.choose_transform import choose_transform
from cde_app.training.rows import TrainingData, standardise


@one_blas_thread()
def choose(config: Config, data: TrainingData, report: Callable[[Progress], None]) -> Checkpoint:
    """Return the checkpoint that a run starts from.

    Args:
        config: the whole configuration.
        data: training and validation rows.
        report: called before each choice, and with each warning.
    """
    started, transforms = time.monotonic(), []
    for index, target in enumerate(config.data.targets):
        report(Progress("warm start", f"transform of {target.column}"))
        y, y_validation = data.targets[:, index], data.targets_validation[:, index]
        transforms.append(choose_transform(target, data.features, y, y_validation, config))
    roundings = find_roundings(config, data, tuple(transforms))
    for found in filter(None, roundings):
        report(Progress("warning", found.warning()))
    report(Progress("warm start", "neighbours"))
    Y, noise_floor = standardise(tuple(transforms), data.targets), noise_floors(roundings)
    has_neighbours = uses_neighbours(config, data.features, Y, noise_floor=noise_floor)
    return Checkpoint(tuple(transforms), has_neighbours, (), None, time.monotonic() - started)


def find_roundings(
    config: Config, data: TrainingData, transforms: tuple[TargetTransform, ...]
) -> list[RoundedTarget | None]:
    """Return how each target is rounded in the training rows."""
    columns = zip(config.data.targets, data.targets.T, transforms, strict=True)
    return [find_rounding(target.column, values, transform, target.rounding) for target, values, transform in columns]


def noise_floors(roundings: list[RoundedTarget | None]) -> Array:
    """Return the noise variances that the targets' rounding requires, [P], standardised; 0 where it does not matter."""
    return np.array([found.variance if found else 0.0 for found in roundings])
