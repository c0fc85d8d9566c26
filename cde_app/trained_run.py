"""What a finished run holds besides its configuration: column contract, posterior, baselines and the split."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from cde_app.arrays import Array, IndexArray
from cde_app.data.encoding import ColumnContract
from cde_app.data.files import source_name
from cde_app.data.fingerprints import SeenRows
from cde_app.data.prepared import PreparedTable, file_hashes
from cde_app.data.rounding import RoundedTarget
from cde_app.data.split import Split
from cde_app.errors import DataError, RunError
from cde_app.evaluation.baselines import Climatology, LinearGaussian, fit_climatology, fit_linear_gaussian
from cde_app.evaluation.scores import Rows, concatenate_rows, score_rows, skill, summarise
from cde_app.predictive.forecast import Forecast
from cde_app.predictive.predictor import Predictor
from cde_app.rows import Stream, draw_rows
from cde_app.runs.run import Run
from cde_app.trees import from_tree, pack, to_tree, unpack

SCORED_ROWS = 50_000
"""The most held-out rows that are scored: the standard errors are then below any difference that matters."""
BASELINE_ROWS = 200_000
"""The most training rows that the baselines are fitted to."""


@dataclass(frozen=True)
class TrainedRun:
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
    """The rows of the training table that train or validate."""

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
    def load(cls, run: Run) -> TrainedRun:
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


def manifest_of(run: Run) -> dict[str, Any]:
    """Return a run's manifest."""
    return dict(json.loads(run.read_bytes("manifest.json")))


def settings_of(run: Run) -> dict[str, Any]:
    """Return every setting of a run, as plain values: its configuration needs no second reading."""
    return dict(manifest_of(run)["settings"])


def assemble(table: PreparedTable, predictor: Predictor, rounded: Sequence[RoundedTarget], *, seed: int) -> TrainedRun:
    """Join the trained model with what scores and pictures need of the training rows.

    Args:
        table: what it was trained on.
        predictor: the model.
        rounded: the targets whose rounding is material.
        seed: of the rows that the baselines are fitted to, where there are more than `BASELINE_ROWS`.
    """
    fitted, steps = table.split.train, {found.column: found.step for found in rounded}
    rows = fitted[draw_rows(len(fitted), BASELINE_ROWS, seed=seed, stream=Stream.BASELINE_ROWS)]
    inputs, targets = table.inputs[rows], table.targets[rows]
    return TrainedRun(
        contract=table.contract,
        predictor=predictor,
        climatology=fit_climatology(targets, [steps.get(name, 0.0) for name in table.contract.targets]),
        linear_gaussian=fit_linear_gaussian(inputs, targets),
        scales=table.targets[fitted].std(0, ddof=1),
        split=table.split,
        seen=SeenRows.of(table.fingerprints[np.concatenate([fitted, table.split.validation])]),
    )


def check_same_table(run: Run, path: str | Path, found: dict[str, str] | None = None) -> None:
    """Check that a run's table is still the one it was trained on.

    Args:
        run: the run.
        path: of the table.
        found: the hashes of its files; None reads them.
    """
    got = "another content"
    try:
        found = file_hashes(path) if found is None else found
    except DataError:
        found, got = {}, "no such file"
    if not found or found != manifest_of(run)["inputs"]:
        got = "standard input, which is gone" if str(path) == "-" else got
        raise RunError(
            f"{source_name(path)}: expected the table that {run.path} was trained on; got {got}. "
            "Name a table after the run."
        )


def score_table(
    model: TrainedRun, table: PreparedTable, settings: Mapping[str, Any]
) -> tuple[dict[str, Any], Rows | None]:
    """Return the scores of the held-out rows beside the baselines', and the per-row scores of the model.

    `settings` are those of the run, of which the seed and the chunks of a prediction matter.
    Of more than `SCORED_ROWS` held-out rows so many are drawn; `drawn_from` of the scores says of how many.
    """
    held_out = table.split.test
    rows = held_out[draw_rows(len(held_out), SCORED_ROWS, seed=settings["seed"], stream=Stream.SCORED_ROWS)]
    if len(rows) == 0:
        return {"num_rows": 0}, None
    forecasts: dict[str, Callable[[Array], Forecast]] = {
        "model": model.predictor.predict,
        "climatology": lambda X: model.climatology.predict(len(X)),
        "linear_gaussian": model.linear_gaussian.predict,
    }
    scored = {
        name: concatenate_rows(
            [
                score_rows(
                    forecast(table.inputs[chunk]),
                    table.targets[chunk],
                    scales=model.scales,
                    seed=settings["seed"],
                    rows=np.arange(start, start + len(chunk)),
                )
                for start, chunk in _chunks(rows, settings["predict"]["chunk_rows"])
            ]
        )
        for name, forecast in forecasts.items()
    }
    drawn_from = len(held_out) if len(rows) < len(held_out) else None
    return _metrics(scored, table.contract.targets, drawn_from=drawn_from), scored["model"]


def blank_metrics(target_names: Sequence[str]) -> dict[str, Any]:
    """Return what `score_table` returns, of two rows of zeros: the names of all scores that there may be."""
    by_target = ("crps", "squared_error", "pit")
    by_row = ("nlpd", "energy_score", "scaled_crps", "scaled_squared_error")
    rows = {name: np.zeros((2, len(target_names))) for name in by_target} | {name: np.zeros(2) for name in by_row}
    return _metrics(dict.fromkeys(("model", "climatology", "linear_gaussian"), rows), target_names, drawn_from=0)


def _metrics(scored: dict[str, Rows], target_names: Sequence[str], *, drawn_from: int | None) -> dict[str, Any]:
    """Summarise the scores of the model and of the baselines."""
    metrics = summarise(scored["model"], target_names=target_names)
    if drawn_from is not None:
        metrics["drawn_from"] = drawn_from
    baselines = [name for name in scored if name != "model"]
    metrics["baselines"] = {name: summarise(scored[name], target_names=target_names) for name in baselines}
    metrics["skill"] = {name: skill(scored["model"], scored[name]) for name in baselines}
    return metrics


def seen_rows_warning(run: Run, model: TrainedRun, table: PreparedTable) -> str | None:
    """Say how many rows of a table, none of which a run holds out, its training has seen; None if none or by chance."""
    hashes = sorted(table.hashes.values())
    if hashes and hashes == sorted(manifest_of(run)["inputs"].values()):
        num_seen = model.seen.num_rows
    else:
        num_seen = model.seen.count(table.fingerprints)
    if not num_seen:
        return None
    return (
        f"{num_seen} of these {len(table.fingerprints)} rows were trained on; their scores and pictures flatter. "
        "Name a table of other rows, or none for those that the run held out."
    )


def outside_rows_warning(table: PreparedTable) -> str | None:
    """Say how many rows of a table ask for what the training rows do not hold; None if none."""
    if not table.num_outside:
        return None
    return (
        f"{table.num_outside} of these {len(table.fingerprints)} rows are outside the range of the training data or "
        "have labels that it lacks: their densities are extrapolations."
    )


def drawn_rows_warning(table: PreparedTable) -> str | None:
    """Say that `score_table` draws from the held-out rows; None where it takes them all."""
    num_rows = len(table.split.test)
    if num_rows <= SCORED_ROWS:
        return None
    return f"the scores are those of {SCORED_ROWS} rows drawn at random from {num_rows} held-out rows."


def _chunks(rows: IndexArray, size: int) -> Iterator[tuple[int, IndexArray]]:
    """Yield (start, rows[start : start + size])."""
    for start in range(0, len(rows), size):
        yield start, rows[start : start + size]
