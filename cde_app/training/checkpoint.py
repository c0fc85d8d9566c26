"""The state of a run's trainings as arrays, so that a resumed run ends as an uninterrupted one would."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from cde_app.arrays import AnyArray, Array
from cde_app.data.transform import TargetTransform, transform_from_json
from cde_app.predictive.kernels import kernel_from_tree
from cde_app.predictive.mean_function import mean_function_from_tree
from cde_app.predictive.posterior import Posterior
from cde_app.predictive.tree import pack, unpack
from cde_app.training.warm_start import SparseRegression


@dataclass(frozen=True)
class Best:
    """The best state so far by validation score."""

    score: float = -np.inf
    """Mean log density of the validation rows [nats per row, user's units]."""
    step: int = 0
    state: dict[str, Array] | None = None


@dataclass(frozen=True)
class Finished:
    """A training that is done."""

    posterior: Posterior
    steps: int
    """Steps done."""
    kept_step: int
    """The step whose state was kept."""


@dataclass(frozen=True)
class Unfinished:
    """A training on its way."""

    regression: SparseRegression
    """The warm start."""
    state: dict[str, Array] | None = None
    """What `Trainer.state` returned; None before the first step."""
    best: Best = field(default_factory=Best)

    @property
    def step(self) -> int:
        """Training steps done."""
        return 0 if self.state is None else int(self.state["step"])


@dataclass(frozen=True)
class Checkpoint:
    """All that a run has computed so far."""

    transforms: tuple[TargetTransform, ...]
    has_neighbours: bool
    """Whether the nearest training rows are among the features."""
    finished: tuple[Finished, ...]
    current: Unfinished | None
    """None between two trainings."""
    elapsed_seconds: float

    @property
    def place(self) -> tuple[int, int]:
        """How far the run has come: trainings finished, steps of the current one."""
        return len(self.finished), self.current.step if self.current else 0

    def to_arrays(self) -> dict[str, AnyArray]:
        """Return the checkpoint as arrays for an `.npz` file; nothing needs a pickle."""
        tree = {
            "transforms": [transform.to_json() for transform in self.transforms],
            "has_neighbours": self.has_neighbours,
            "finished": [vars(one) | {"posterior": one.posterior.to_tree()} for one in self.finished],
            "current": None if self.current is None else _unfinished_tree(self.current),
            "elapsed_seconds": self.elapsed_seconds,
        }
        spec, arrays = pack(tree)
        return {**arrays, "spec": np.array(json.dumps(spec))}

    @classmethod
    def from_arrays(cls, arrays: dict[str, AnyArray]) -> Checkpoint:
        """Rebuild what `to_arrays` returned."""
        tree = unpack(json.loads(str(arrays["spec"])), arrays)
        current = tree["current"]
        return cls(
            transforms=tuple(map(transform_from_json, tree["transforms"])),
            has_neighbours=tree["has_neighbours"],
            finished=tuple(
                Finished(**one | {"posterior": Posterior.from_tree(one["posterior"])}) for one in tree["finished"]
            ),
            current=None if current is None else _unfinished_from_tree(current),
            elapsed_seconds=tree["elapsed_seconds"],
        )


def _unfinished_tree(current: Unfinished) -> dict[str, Any]:
    regression = asdict(current.regression) | {
        "kernel": current.regression.kernel.to_tree(),
        "mean_function": current.regression.mean_function.to_tree(),
    }
    return {"regression": regression, "state": current.state, "best": vars(current.best)}


def _unfinished_from_tree(tree: dict[str, Any]) -> Unfinished:
    regression = tree["regression"] | {
        "kernel": kernel_from_tree(tree["regression"]["kernel"]),
        "mean_function": mean_function_from_tree(tree["regression"]["mean_function"]),
    }
    return Unfinished(SparseRegression(**regression), tree["state"], Best(**tree["best"]))
