"""The factors of a chain before training: their rows and features."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from cde_app import config
from cde_app.arrays import Array, IndexArray
from cde_app.machine.rows import blocks_of, store_rows
from cde_app.machine.streams import Stream, generator
from cde_app.plan import Plan
from cde_app.predictive.ensemble import extend
from cde_app.predictive.neighbours import Neighbours
from cde_app.targets import TargetTransform
from cde_app.training.features import Axis, neighbour_axes
from cde_app.training.rows import Factor, TrainingData, store_standardised


def with_neighbours(data: TrainingData, neighbours: Neighbours, rows: IndexArray, scratch: Path) -> TrainingData:
    """Append the features of the nearest training rows; a training row is not its own neighbour.

    Args:
        data: N training rows.
        neighbours: fitted to some of them.
        rows: [R], the indices of those rows.
        scratch: a folder for the extended rows.
    """
    # All members share the neighbours: separate ones for each member gained nothing (docs/method.md, section 6).
    X, V, axes = data.features.X, data.X_validation, neighbour_axes(neighbours.Y.shape[1])
    num_features = data.features.num_features + len(axes)
    files = scratch / "X_neighbours.npy", scratch / "X_validation_neighbours.npy"

    def positions(block: slice) -> IndexArray:
        """Return the index of each row of a block among the `rows`, -1 if it is not one of them."""
        block_rows = np.arange(block.start, block.stop)
        found = np.minimum(np.searchsorted(rows, block_rows), len(rows) - 1)
        return np.where(rows[found] == block_rows, found, -1)

    extended = (neighbours.extend_training_rows(X[b], positions(b)) for b in blocks_of(len(X)))
    return replace(
        data,
        features=data.features.extended(store_rows(files[0], num_features, extended), axes),
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
    """Return one factor with all targets, or one per target with the earlier targets among its inputs."""
    if plan.num_factors == 1:
        Y = store_standardised(scratch / "Y_standardised.npy", transforms, data.targets)
        return (Factor(data, transforms, noise_floor, Y),)
    factors = []
    for target in plan.order:
        own = replace(data, targets=data.targets[:, [target]], targets_validation=data.targets_validation[:, [target]])
        Y = store_standardised(scratch / f"Y_standardised_{target}.npy", (transforms[target],), own.targets)
        factors.append(Factor(own, (transforms[target],), noise_floor[[target]], Y))
        if target != plan.order[-1]:
            data = with_target(data, target, transforms[target], settings.data.targets[target].column, scratch)
    return tuple(factors)


def with_target(data: TrainingData, index: int, transform: TargetTransform, column: str, scratch: Path) -> TrainingData:
    """Append a target, standardised, to the features for the later factors."""
    num_features = data.features.num_features + 1

    def extended_rows(X: Array, targets: Array, name: str) -> Array:
        blocks = (extend(X[b], transform.forward(targets[b, index])) for b in blocks_of(len(X)))
        return store_rows(scratch / f"{name}_{num_features}.npy", num_features, blocks)

    return replace(
        data,
        features=data.features.extended(extended_rows(data.features.X, data.targets, "X"), (Axis(column),)),
        X_validation=extended_rows(data.X_validation, data.targets_validation, "X_validation"),
    )


def as_member_sees(factor: Factor, plan: Plan, member: int, *, seed: int) -> Factor:
    """Return a factor as a member of its ensemble sees it: if members leave out rows, each leaves out different ones.

    Args:
        factor: with all rows.
        plan: how many rows to leave out.
        member: its index in the ensemble.
        seed: the run's.
    """
    if not plan.num_left_out:
        return factor
    return leave_out(factor, left_out_rows(factor.data, plan, member, seed=seed))


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
        groups=None,
    )
    return replace(factor, data=data, Y=factor.Y[kept])


def left_out_rows(data: TrainingData, plan: Plan, member: int, *, seed: int) -> IndexArray:
    """Return the training rows that a member leaves out, sorted; members leave out different ones while there are some.

    If the split keeps groups together, whole groups are left out: rows of a group that the member knows would find its
    densities too good. Groups with more than half of the rows are kept.

    Args:
        data: N training rows.
        plan: how many rows to leave out; of whole groups, as many as fit, at least one.
        member: its index in the ensemble.
        seed: of the order of the rows or groups.
    """
    num_rows, random = len(data.features), generator(seed, Stream.LEFT_OUT_ROWS)
    if data.groups is not None:
        sizes = np.bincount(data.groups)
        order = random.permutation(len(sizes))
        order = order[sizes[order] <= num_rows // 2]
        if len(order):
            order = np.roll(order, -(member * len(order) // plan.num_members))
            num_groups = max(1, int(np.searchsorted(np.cumsum(sizes[order]), plan.num_left_out, side="right")))
            return np.flatnonzero(np.isin(data.groups, order[:num_groups]))
    order = random.permutation(num_rows)
    return np.sort(order[(member * plan.num_left_out + np.arange(plan.num_left_out)) % num_rows])
