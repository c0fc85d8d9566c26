"""The state of a training as arrays, so that a resumed training ends as an uninterrupted one would."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cde_app.data.transform import TargetTransform
from cde_app.predictive.mean_function import MeanFunction
from cde_app.predictive.posterior import pack, unpack
from cde_app.predictive.sparse_gp import Kernel
from cde_app.training.warm_start import SparseRegression

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Best:
    """The best state so far by validation score."""

    score: float = -np.inf
    """Mean log density of the validation rows [nats per row, user's units]."""
    step: int = 0
    state: dict[str, Array] | None = None


@dataclass(frozen=True)
class Checkpoint:
    """All that a training has computed so far."""

    transforms: tuple[TargetTransform, ...]
    regression: SparseRegression
    state: dict[str, Array] | None
    """What `Trainer.state` returned; None before the first step."""
    best: Best
    elapsed_seconds: float

    @property
    def step(self) -> int:
        """Training steps done."""
        return 0 if self.state is None else int(self.state["step"])

    def to_arrays(self) -> dict[str, NDArray[Any]]:
        """Return the checkpoint as arrays for an `.npz` file; nothing needs a pickle."""
        regression = asdict(self.regression) | {
            "kernel": self.regression.kernel.to_tree(),
            "mean_function": self.regression.mean_function.to_tree(),
        }
        tree = {
            "transforms": [transform.to_json() for transform in self.transforms],
            "regression": regression,
            "state": self.state,
            "best": {field.name: getattr(self.best, field.name) for field in fields(Best)},
            "elapsed_seconds": self.elapsed_seconds,
        }
        spec, arrays = pack(tree)
        return {**arrays, "spec": np.array(json.dumps(spec))}

    @classmethod
    def from_arrays(cls, arrays: dict[str, NDArray[Any]]) -> Checkpoint:
        """Rebuild what `to_arrays` returned."""
        tree = unpack(json.loads(str(arrays["spec"])), arrays)
        regression = tree["regression"] | {
            "kernel": Kernel.from_tree(tree["regression"]["kernel"]),
            "mean_function": MeanFunction.from_tree(tree["regression"]["mean_function"]),
        }
        return cls(
            transforms=tuple(map(TargetTransform.from_json, tree["transforms"])),
            regression=SparseRegression(**regression),
            state=tree["state"],
            best=Best(**tree["best"]),
            elapsed_seconds=tree["elapsed_seconds"],
        )
