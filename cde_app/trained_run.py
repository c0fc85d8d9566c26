"""What a finished run holds besides its configuration: column contract, posterior, baselines and the split."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cde_app.config import Config
from cde_app.config_file import parse_config
from cde_app.data.encoding import ColumnContract
from cde_app.data.split import Split
from cde_app.evaluation.baselines import Climatology, LinearGaussian
from cde_app.predictive.posterior import Posterior, pack, unpack
from cde_app.runs.run import Run

Array = NDArray[np.float64]


@dataclass(frozen=True)
class TrainedRun:
    """A model ready to predict."""

    contract: ColumnContract
    posterior: Posterior
    climatology: Climatology
    linear_gaussian: LinearGaussian
    scales: Array
    """[P], standard deviations of the training targets [units of the targets]."""
    split: Split
    """Positions in the training table."""

    def store(self, run: Run) -> None:
        """Write all of it into the run directory."""
        run.write_json("columns.json", self.contract.to_json())
        spec, arrays = pack(self.posterior.to_tree())
        run.write_json("posterior/spec.json", spec)
        run.write_arrays("posterior/arrays.npz", arrays)
        baselines = {"climatology": self.climatology.arrays(), "linear_gaussian": self.linear_gaussian.arrays()}
        named = {f"{name}.{key}": array for name, group in baselines.items() for key, array in group.items()}
        run.write_arrays("baselines.npz", named | {"scales": self.scales})
        run.write_arrays("split.npz", {part: getattr(self.split, part) for part in ("train", "validation", "test")})

    @classmethod
    def load(cls, run: Run) -> TrainedRun:
        """Read all of it from a finished run.

        Raises:
            RunError: a file is missing or corrupt.
        """
        baselines = run.read_arrays("baselines.npz")

        def group(name: str) -> dict[str, Any]:
            return {key.removeprefix(f"{name}."): array for key, array in baselines.items() if key.startswith(name)}

        return cls(
            contract=ColumnContract.from_json(run.read_json("columns.json")),
            posterior=Posterior.from_tree(
                unpack(run.read_json("posterior/spec.json"), run.read_arrays("posterior/arrays.npz"))
            ),
            climatology=Climatology.from_arrays(group("climatology")),
            linear_gaussian=LinearGaussian.from_arrays(group("linear_gaussian")),
            scales=baselines["scales"],
            split=Split(**run.read_arrays("split.npz")),
        )


def read_run_config(run: Run) -> Config:
    """Return the resolved configuration of a run."""
    return parse_config(run.read_bytes("config.yaml"), source_name=str(run.file("config.yaml")), folder=Path.cwd())


def manifest_of(run: Run) -> dict[str, Any]:
    """Return a run's manifest."""
    return dict(json.loads(run.read_bytes("manifest.json")))
