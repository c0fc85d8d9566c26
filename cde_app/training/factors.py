"""The factors of a chain before training: their rows, and the features that the rows have."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from cde_app import config
from cde_app.arrays import Array, IndexArray
from cde_app.machine.rows import blocks_of, store_rows
from cde_app.plan import Plan
from cde_app.predictive.chain import extend
from cde_app.predictive.neighbours import Neighbours
from cde_app.targets import TargetTransform
from cde_app.training.features import Axis, neighbour_axes
from cde_app.training.rows import Factor, TrainingData


def with_neighbours(data: TrainingData, neighbours: Neighbours, rows: IndexArray, scratch: Path) -> TrainingData:
    """Append the features of the nearest training rows; a training row is no neighbour of itself.

    Args:
        data: N training rows.
        neighbours: fitted to some of them.
        rows: [R], which ones.
        scratch: where the longer rows go.
    """
    # All members share the neighbours: those of each member's own rows gained nothing (docs/method.md, section 6).
    X, V, axes = data.features.X, data.X_validation, neighbour_axes(neighbours.Y.shape[1])
    places = np.full(len(X), -1)
    places[rows] = np.arange(len(rows))
    num_features = data.features.num_features + len(axes)
    files = scratch / "X_neighbours.npy", scratch / "X_validation_neighbours.npy"
    longer = (neighbours.extend_training_rows(X[b], places[b]) for b in blocks_of(len(X)))
    return replace(
        data,
        features=data.features.extended(store_rows(files[0], num_features, longer), axes),
        X_validation=store_rows(files[1], num_features, (neighbours.extend(V[b]) for b in blocks_of(len(V)))),
    )


def split_factors(
    settings: config.Config,
    plan: Plan,
    data: TrainingData,
    transforms: tuple[TargetTransform, ...],
    noise_floor: Array,
    scratch: Path,
) -> tuple[Factor, ...]:
    """Return one factor with all targets, or one per target with the targets before it among its inputs."""
    if plan.num_factors == 1:
        return (Factor(data, transforms, noise_floor),)
    factors = []
    for place in plan.order:
        own = replace(data, targets=data.targets[:, [place]], targets_validation=data.targets_validation[:, [place]])
        factors.append(Factor(own, (transforms[place],), noise_floor[[place]]))
        if place != plan.order[-1]:
            data = with_target(data, place, transforms[place], settings.data.targets[place].column, scratch)
    return tuple(factors)


def with_target(data: TrainingData, place: int, transform: TargetTransform, column: str, scratch: Path) -> TrainingData:
    """Append a target, standardised, to the features of the factors after it."""
    num_features = data.features.num_features + 1

    def longer(X: Array, targets: Array, name: str) -> Array:
        blocks = (extend(X[b], transform.forward(targets[b, place])) for b in blocks_of(len(X)))
        return store_rows(scratch / f"{name}_{num_features}.npy", num_features, blocks)

    return replace(
        data,
        features=data.features.extended(longer(data.features.X, data.targets, "X"), (Axis(column),)),
        X_validation=longer(data.X_validation, data.targets_validation, "X_validation"),
    )


def leave_out(factor: Factor, rows: IndexArray) -> Factor:
    """Return the factor without some of its training rows, which become its validation rows.

    They calibrate the member and, if there are at least `config.training.FEWEST_JUDGES`, choose its step.
    """
    data, kept = factor.data, np.setdiff1d(np.arange(len(factor.data.features)), rows)
    data = replace(
        data,
        features=data.features.select(kept),
        targets=data.targets[kept],
        X_validation=data.features.X[rows],
        targets_validation=data.targets[rows],
    )
    return replace(factor, data=data)
