"""A trained model with everything that prediction and scoring need, and how a run stores it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from cde_app.arrays import Array
from cde_app.data.encoding import ColumnContract
from cde_app.data.fingerprints import SeenRows
from cde_app.data.prepared import PreparedTable
from cde_app.data.split import Split
from cde_app.evaluation.baselines import Climatology, LinearGaussian, fit_climatology, fit_linear_gaussian
from cde_app.machine.rows import draw_rows
from cde_app.machine.streams import Stream
from cde_app.predictive.predictor import Predictor
from cde_app.runs.run import Run
from cde_app.targets.rounding import RoundedTarget
from cde_app.trees import from_tree, pack, to_tree, unpack

BASELINE_ROWS = 200_000
"""The largest number of training rows that the baselines are fitted to."""


@dataclass(frozen=True)
class TrainedModel:
    """A model ready to predict."""

    contract: ColumnContract
    predictor: Predictor
    climatology: Climatology
    linear_gaussian: LinearGaussian
    scales: Array
    """[P], standard deviations of the training targets [units of the targets]."""
    split: Split
    """Positions in the training table."""
    seen: SeenRows
    """The training and validation rows."""

    def store(self, run: Run) -> None:
        """Write all of it into the run directory."""
        run.write_json("columns.json", to_tree(self.contract))
        spec, arrays = pack(to_tree(self.predictor))
        run.write_json("posterior/spec.json", spec)
        run.write_arrays("posterior/arrays.npz", arrays)
        baselines = {"climatology": to_tree(self.climatology), "linear_gaussian": to_tree(self.linear_gaussian)}
        named = {f"{name}.{key}": array for name, group in baselines.items() for key, array in group.items()}
        run.write_arrays("baselines.npz", named | {"scales": self.scales})
        split = {part: getattr(self.split, part) for part in ("train", "validation", "test")}
        run.write_arrays("split.npz", split | {"fingerprints": self.seen.stored})

    @classmethod
    def load(cls, run: Run) -> TrainedModel:
        """Read all of it from a finished run.

        Raises:
            RunError: a file is missing or corrupt.
        """
        baselines, parts = run.read_arrays("baselines.npz"), run.read_arrays("split.npz")
        stored = parts.pop("fingerprints")
        split = Split(**parts)

        def group(name: str) -> dict[str, Any]:
            return {key.removeprefix(f"{name}."): array for key, array in baselines.items() if key.startswith(name)}

        return cls(
            contract=from_tree(ColumnContract, run.read_json("columns.json")),
            predictor=from_tree(
                Predictor, unpack(run.read_json("posterior/spec.json"), run.read_arrays("posterior/arrays.npz"))
            ),
            climatology=Climatology(**group("climatology")),
            linear_gaussian=LinearGaussian(**group("linear_gaussian")),
            scales=baselines["scales"],
            split=split,
            seen=SeenRows(stored, len(split.train) + len(split.validation)),
        )


def assemble(
    table: PreparedTable, predictor: Predictor, rounded: Sequence[RoundedTarget], *, seed: int
) -> TrainedModel:
    """Join the trained model with what scores and pictures need from the training rows.

    Args:
        table: the table that it was trained on.
        predictor: the model.
        rounded: the targets whose rounding is material.
        seed: seed of the draw of the baselines' rows if there are more than `BASELINE_ROWS`.
    """
    fitted, steps = table.split.train, {found.column: found.step for found in rounded}
    rows = fitted[draw_rows(len(fitted), BASELINE_ROWS, seed=seed, stream=Stream.BASELINE_ROWS)]
    inputs, targets = table.inputs[rows], table.targets[rows]
    return TrainedModel(
        contract=table.contract,
        predictor=predictor,
        climatology=fit_climatology(targets, [steps.get(name, 0.0) for name in table.contract.targets]),
        linear_gaussian=fit_linear_gaussian(inputs, targets),
        scales=table.targets[fitted].std(0, ddof=1),
        split=table.split,
        seen=SeenRows.of(table.fingerprints[np.concatenate([fitted, table.split.validation])]),
    )
