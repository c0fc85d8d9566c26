"""The state of a run's trainings as arrays, so that a resumed run ends as an uninterrupted one would."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

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


class Travelling:
    """A state that another process is sent as it is stored: without what its objects have cached."""

    def __reduce__(self) -> tuple[Any, ...]:
        """Rebuild the state from its arrays."""
        return state_of, (to_arrays(self, {}),)


@dataclass(frozen=True)
class Finished(Travelling):
    """A finished training."""

    posterior: Posterior
    steps: int
    """Number of steps done."""
    kept_step: int
    """The step whose state was kept."""


@dataclass(frozen=True)
class Unfinished(Travelling):
    """A training in progress."""

    regression: SparseRegression
    """The warm start."""
    state: dict[str, Array] | None = None
    """Result of `Trainer.state`; None before the first step."""
    best: Best = field(default_factory=Best)

    @property
    def steps(self) -> int:
        """Number of steps done."""
        return 0 if self.state is None else int(self.state["step"])


State = Finished | Unfinished
"""How far a training has come; None if it has not begun."""


@dataclass(frozen=True)
class Choices:
    """What is decided before the trainings, by fits to the data."""

    transforms: tuple[TargetTransform, ...]
    has_neighbours: bool
    """Whether the nearest training rows are among the features."""


@dataclass(frozen=True)
class Checkpoint:
    """Everything that a run has computed so far."""

    choices: Choices
    states: tuple[State | None, ...]
    """For each training of the plan."""
    elapsed_seconds: float = 0.0

    def with_state(self, index: int, state: State, elapsed_seconds: float) -> Checkpoint:
        """Return the checkpoint with a newer state of a training."""
        states = (*self.states[:index], state, *self.states[index + 1 :])
        return Checkpoint(self.choices, states, elapsed_seconds)

    @property
    def steps(self) -> tuple[int, ...]:
        """Number of steps that each training has done."""
        return tuple(0 if state is None else state.steps for state in self.states)


def to_arrays(part: Choices | Travelling, facts: Mapping[str, Any]) -> dict[str, AnyArray]:
    """Return a part of a checkpoint, and facts about it in JSON, as arrays for an `.npz` file, without pickle."""
    spec, arrays = pack(to_tree(part))
    return {
        **arrays,
        "spec": np.array(json.dumps(spec)),
        "facts": np.array(json.dumps({**facts, "kind": type(part).__name__})),
    }


def facts_of(arrays: dict[str, AnyArray]) -> dict[str, Any]:
    """Return the facts that were given to `to_arrays`."""
    return dict(json.loads(str(arrays["facts"])))


def choices_of(arrays: dict[str, AnyArray]) -> Choices:
    """Rebuild choices from the result of `to_arrays`."""
    return from_tree(Choices, unpack(json.loads(str(arrays["spec"])), arrays))


def state_of(arrays: dict[str, AnyArray]) -> State:
    """Rebuild a state from the result of `to_arrays`."""
    tree = unpack(json.loads(str(arrays["spec"])), arrays)
    if facts_of(arrays)["kind"] == "Finished":
        return from_tree(Finished, tree)
    return from_tree(Unfinished, tree)
