"""The state of a run's trainings as arrays, so that a resumed run ends as an uninterrupted one would."""

from __future__ import annotations

import json
from dataclasses import dataclass, field

import numpy as np

from cde_app.arrays import AnyArray, Array
from cde_app.predictive.posterior import Posterior
from cde_app.targets import TargetTransform
from cde_app.training.warm_start import SparseRegression
from cde_app.trees import from_tree, pack, to_tree, unpack


@dataclass(frozen=True)
class Best:
    """The best state so far by validation score."""

    score: float = -np.inf
    """Mean log density of the validation rows [nats per row, user's units]."""
    step: int = 0
    state: dict[str, Array] | None = None


@dataclass(frozen=True)
class Finished:
    """A finished training."""

    posterior: Posterior
    steps: int
    """Number of steps done."""
    kept_step: int
    """The step whose state was kept."""


@dataclass(frozen=True)
class Unfinished:
    """A training in progress."""

    regression: SparseRegression
    """The warm start."""
    state: dict[str, Array] | None = None
    """Result of `Trainer.state`; None before the first step."""
    best: Best = field(default_factory=Best)

    @property
    def step(self) -> int:
        """Number of steps done."""
        return 0 if self.state is None else int(self.state["step"])


@dataclass(frozen=True)
class Checkpoint:
    """Everything that a run has computed so far."""

    transforms: tuple[TargetTransform, ...]
    has_neighbours: bool
    """Whether the nearest training rows are among the features."""
    finished: tuple[Finished, ...]
    current: Unfinished | None
    """The training in progress; None between two trainings."""
    elapsed_seconds: float

    @property
    def progress(self) -> tuple[int, int]:
        """Number of finished trainings, and of steps done in the current one."""
        return len(self.finished), self.current.step if self.current else 0

    def to_arrays(self) -> dict[str, AnyArray]:
        """Return the checkpoint as arrays for an `.npz` file, without pickle."""
        spec, arrays = pack(to_tree(self))
        return {**arrays, "spec": np.array(json.dumps(spec))}

    @classmethod
    def from_arrays(cls, arrays: dict[str, AnyArray]) -> Checkpoint:
        """Rebuild a checkpoint from the result of `to_arrays`."""
        return from_tree(cls, unpack(json.loads(str(arrays["spec"])), arrays))
