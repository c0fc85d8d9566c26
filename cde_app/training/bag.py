"""What a member of an ensemble is trained on: its rows, and their features for every factor of the chain."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cde_app import config
from cde_app.data.transform import TargetTransform
from cde_app.predictive.chain import extend
from cde_app.predictive.neighbours import Neighbours, draw_neighbours, fit_neighbours
from cde_app.rows import blocks_of, store_rows
from cde_app.training.checkpoint import Checkpoint
from cde_app.training.kernel_start import Axis, neighbour_axes
from cde_app.training.member import Factor, TrainingData, standardise

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Bag:
    """The rows of a member, or of all of them.

    Source: Breiman (1996), "Bagging predictors"; that a member leaves rows out and none is drawn twice, Buehlmann and
    Yu (2002), "Analyzing bagging".
    """

    factors: tuple[Factor, ...]
    """Of the chain; their validation rows are those that the member does not see."""
    neighbours: Neighbours | None
    """Among the bag's rows, if the factors have their features."""


def fill_bag(
    settings: config.Config, data: TrainingData, checkpoint: Checkpoint, noise_floor: Array, scratch: Path
) -> Bag:
    """Give some rows their features.

    Args:
        settings: the configuration.
        data: the rows.
        checkpoint: what was chosen before the trainings.
        noise_floor: [P], noise variances that the targets' rounding requires, standardised.
        scratch: a folder for arrays as large as the data.
    """
    neighbours = None
    if checkpoint.has_neighbours:
        rows = draw_neighbours(len(data.X), seed=settings.seed)
        Y = standardise(checkpoint.transforms, data.targets[rows])
        neighbours = fit_neighbours(data.X[rows], Y, count=settings.model.neighbours.count)
        data = with_neighbours(data, neighbours, rows, scratch)
    return Bag(split_factors(settings, data, checkpoint, noise_floor, scratch), neighbours)


def leave_out(data: TrainingData, rows: NDArray[np.intp]) -> TrainingData:
    """Return the training rows without some of them, which become the validation rows."""
    kept = np.setdiff1d(np.arange(len(data.X)), rows)
    return replace(
        data,
        X=data.X[kept],
        targets=data.targets[kept],
        X_validation=data.X[rows],
        targets_validation=data.targets[rows],
    )


def with_neighbours(data: TrainingData, neighbours: Neighbours, rows: NDArray[np.intp], scratch: Path) -> TrainingData:
    """Append the features of the nearest training rows; a training row is no neighbour of itself.

    Args:
        data: N training rows.
        neighbours: fitted to some of them.
        rows: [R], which ones.
        scratch: where the longer rows go.
    """
    places = np.full(len(data.X), -1)
    places[rows] = np.arange(len(rows))
    axes = data.axes + neighbour_axes(neighbours.Y.shape[1])
    files = scratch / "X_neighbours.npy", scratch / "X_validation_neighbours.npy"
    X, V = data.X, data.X_validation
    return replace(
        data,
        X=store_rows(
            files[0], len(axes), (neighbours.extend_training_rows(X[b], places[b]) for b in blocks_of(len(X)))
        ),
        X_validation=store_rows(files[1], len(axes), (neighbours.extend(V[b]) for b in blocks_of(len(V)))),
        axes=axes,
    )


def split_factors(
    settings: config.Config, data: TrainingData, checkpoint: Checkpoint, noise_floor: Array, scratch: Path
) -> tuple[Factor, ...]:
    """Return one factor with all targets, or one per target with the targets before it among its inputs."""
    transforms, order = checkpoint.transforms, checkpoint.order
    if settings.model.targets_model == "joint" or len(order) == 1:
        return (Factor(data, transforms, noise_floor),)
    factors = []
    for place in order:
        own = replace(data, targets=data.targets[:, [place]], targets_validation=data.targets_validation[:, [place]])
        factors.append(Factor(own, (transforms[place],), noise_floor[[place]]))
        if place != order[-1]:
            data = with_target(data, place, transforms[place], settings.data.targets[place].column, scratch)
    return tuple(factors)


def with_target(data: TrainingData, place: int, transform: TargetTransform, column: str, scratch: Path) -> TrainingData:
    """Append a target, standardised, to the features of the factors after it."""
    axes = (*data.axes, Axis(column))

    def extended(X: Array, targets: Array, name: str) -> Array:
        blocks = (extend(X[b], transform.forward(targets[b, place])) for b in blocks_of(len(X)))
        return store_rows(scratch / f"{name}_{len(axes)}.npy", len(axes), blocks)

    return replace(
        data,
        X=extended(data.X, data.targets, "X"),
        X_validation=extended(data.X_validation, data.targets_validation, "X_validation"),
        axes=axes,
    )
