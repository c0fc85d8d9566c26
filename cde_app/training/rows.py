"""The rows of a training, with its features and targets."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from cde_app.arrays import Array, IndexArray
from cde_app.targets import TargetTransform
from cde_app.training.features import Features


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

    def standardised_targets(self) -> Array:
        """Return Y, [N, P]."""
        return standardise(self.transforms, self.data.targets)


def standardise(transforms: tuple[TargetTransform, ...], targets: Array) -> Array:
    """Return the standardised targets, [N, P]."""
    return np.stack([transform.forward(targets[:, p]) for p, transform in enumerate(transforms)], axis=1)
