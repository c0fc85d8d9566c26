"""The rows of a training, with its features and targets."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from cde_app.arrays import Array, IndexArray
from cde_app.machine.rows import blocks_of, draw_rows, store_rows
from cde_app.machine.streams import Stream
from cde_app.targets import TargetTransform
from cde_app.training.features import Features

CHOICE_ROWS = 200_000
"""Largest number of training rows, drawn at random, for the choices before a training; see `choice_rows`."""


@dataclass(frozen=True)
class TrainingData:
    """The rows a training sees."""

    features: Features
    """N rows, D features."""
    targets: Array
    """[N, P], user's units."""
    X_validation: Array
    """[V, D]."""
    targets_validation: Array
    """[V, P]; V may be 0."""
    groups: IndexArray | None = None
    """[N], the group of each training row, 0, 1, ..., if the split keeps groups together; else None."""


@dataclass(frozen=True)
class Factor:
    """One model of a chain, or the only one: its targets, and as inputs the features and the earlier targets."""

    data: TrainingData
    transforms: tuple[TargetTransform, ...]
    noise_floor: Array
    """[P], noise variances that the targets' rounding requires, standardised."""
    Y: Array
    """[N, P], standardised targets; in a file."""

    def standardised_targets(self) -> Array:
        """Return Y, [N, P]."""
        return self.Y


def standardise(transforms: tuple[TargetTransform, ...], targets: Array) -> Array:
    """Return the standardised targets, [N, P]."""
    return np.stack([transform.forward(targets[:, p]) for p, transform in enumerate(transforms)], axis=1)


def store_standardised(path: Path, transforms: tuple[TargetTransform, ...], targets: Array) -> Array:
    """Write the standardised targets to a file; see `standardise`."""
    return store_rows(path, len(transforms), (standardise(transforms, targets[b]) for b in blocks_of(len(targets))))


def choice_rows(targets: Array, *, seed: int) -> IndexArray:
    """Return the training rows to which transforms are fitted and by which roundings are found, sorted.

    They are all rows or, if there are more than `CHOICE_ROWS`, that many drawn at random and those of each target's
    lowest and highest value: a transform must suit every row, and a target that varies must vary among these rows.

    Args:
        targets: [N, P], user's units.
        seed: the run's seed.
    """
    drawn = draw_rows(len(targets), CHOICE_ROWS, seed=seed, stream=Stream.CHOICE_ROWS)
    if len(drawn) == len(targets):
        return drawn
    ends = drawn[:0]
    for block in blocks_of(len(targets)):
        rows = np.concatenate([ends, np.arange(block.start, block.stop)])
        values = targets[rows]
        ends = rows[np.concatenate([values.argmin(axis=0), values.argmax(axis=0)])]
    return np.union1d(drawn, ends)
