"""A trained model with everything that prediction and scoring need, and how a run stores it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from cde_app.arrays import Array
from cde_app.config import FRAME_PATH
from cde_app.config.threshold import Threshold, columns_of, parse_thresholds
from cde_app.data.encoding import (
    ColumnContract,
    complete_rows,
    encode_columns,
    encode_inputs,
    encode_targets,
    input_values,
)
from cde_app.data.extras import ends_of, read_limits
from cde_app.data.files import source_name
from cde_app.data.fingerprints import SeenRows, fingerprint_rows
from cde_app.data.frame import frame_of, plain_frame
from cde_app.data.groups import RowGroups
from cde_app.data.prepared import PreparedTable
from cde_app.data.split import Split
from cde_app.errors import DataError
from cde_app.evaluation.baselines import Climatology, LinearGaussian, fit_climatology, fit_linear_gaussian
from cde_app.evaluation.events import EVENT_SCORES, Event, event_key, event_rows, summarise_event
from cde_app.evaluation.scores import Rows, concatenate_rows, score_rows, skill, summarise
from cde_app.machine.rows import blocks_of, draw_rows
from cde_app.machine.streams import Stream
from cde_app.predictive.forecast import Forecast
from cde_app.predictive.predictor import Predictor
from cde_app.predictive.totals import total_of
from cde_app.runs.run import Run
from cde_app.targets.rounding import RoundedTarget
from cde_app.targets.standardisation import sample_sds
from cde_app.trees import from_tree, pack, to_tree, unpack

if TYPE_CHECKING:
    import pandas as pd

FRAME = source_name(FRAME_PATH)
"""How errors name a table that is in memory."""
BASELINE_ROWS = 200_000
"""The largest number of training rows that the baselines are fitted to."""


@dataclass(frozen=True, repr=False)
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
    settings: Mapping[str, Any]
    """Every setting of the run, as plain values."""

    def __repr__(self) -> str:
        """Return what it learned from what, such as `TrainedModel(height, weight | age, sex)`."""
        inputs = ", ".join(column.name for column in self.contract.inputs)
        return f"TrainedModel({', '.join(self.contract.targets)} | {inputs})"

    # --- questions ------------------------------------------------------------------------------------------------

    def predict(self, frame: pd.DataFrame) -> Forecast:
        """Return the predictive density of every row of a table.

        Args:
            frame: N rows with the input columns; others are ignored.

        Raises:
            DataError: the frame breaks the column contract.
            UsageError: it is no frame.

        Example:
            forecast = cde.load("runs/mine").predict(frame)
            low, high = forecast.interval(0.9)
        """
        X = encode_inputs(self.contract, plain_frame(frame), source=FRAME)
        return replace(self.predictor.predict(X), names=self.contract.targets)

    def total(
        self,
        frame: pd.DataFrame,
        by: str | None = None,
        quantiles: Sequence[float] | None = None,
        seed: int | None = None,
    ) -> pd.DataFrame:
        """Return the distribution of the sum and the mean of each target over all rows, or over groups of them.

        Each has a row with `independent` errors and one with `shared` errors, in which what the model does not know
        about its function is an error that all rows have in common; see `Totals` for what is exact.

        Args:
            frame: N >= 1 rows with the input columns.
            by: a column of labels: one total per label, in the order in which they occur; a gap is a label too.
            quantiles: levels in (0, 1); None uses the run's.
            seed: seed of the draws; None uses the run's.

        Returns:
            The columns group (with `by`), target, statistic, errors, rows, mean, sd, and the quantiles, such as q05.

        Raises:
            DataError: the frame breaks the column contract, has no row, lacks the column, or has too many groups.
            ValueError: a level is not between 0 and 1.

        Example:
            model.total(frame, by="region").query("statistic == 'sum' and errors == 'shared'")
        """
        levels = self.settings["predict"]["quantiles"] if quantiles is None else quantiles
        if not all(0 < level < 1 for level in levels):
            raise ValueError(f"quantiles: expected numbers between 0 and 1; got {list(levels)}")
        frame = plain_frame(frame)
        if frame.empty:
            raise DataError(f"{FRAME}: expected at least one row; got none.")
        groups = RowGroups(by, form=self.contract.form, source=FRAME)
        codes, X = groups.read(frame), encode_inputs(self.contract, frame, source=FRAME)
        totals = total_of(self.predictor, X, codes, seed=self.settings["seed"] if seed is None else seed)
        return frame_of(totals.columns(self.contract.targets, levels, groups.names))

    def evaluate(self, frame: pd.DataFrame, thresholds: Sequence[str] = ()) -> dict[str, Any]:
        """Return the scores of every row of a table that has the targets too, as `cde evaluate --json` prints them.

        Rows that the training has seen have scores that are too good; `warnings` counts them.

        Args:
            frame: rows with the inputs and the targets.
            thresholds: whose probabilities are scored too: `y>100`, `y<=@limit` (a column of the frame) or `1<y<2`.

        Raises:
            DataError: the frame breaks the column contract, lacks a target or a column of limits, or has no complete
                row.
            UsageError: a threshold names no target or has another form.
        """
        questions = parse_thresholds(thresholds, self.contract.targets, option="thresholds")
        frame = plain_frame(frame)
        frame = frame[complete_rows(self.contract, frame, source=FRAME, with_targets=True)]
        if frame.empty:
            raise DataError(f"{FRAME}: expected at least one complete row; got none. Fill the gaps.")
        values = input_values(self.contract, frame, source=FRAME)
        targets = encode_targets(self.contract, frame, source=FRAME)
        events = events_of(questions, self.contract, frame, len(frame), source=FRAME)
        metrics, _ = self.scores(encode_columns(self.contract, values), targets, events)
        seen = seen_warning(self.seen.count(fingerprint_rows(np.hstack([values, targets]))), len(frame))
        return metrics | ({"warnings": [seen]} if seen else {})

    def scores(self, X: Array, targets: Array, events: Sequence[Event] = ()) -> tuple[dict[str, Any], Rows]:
        """Return the scores of the model and the baselines on some rows, and the model's scores per row.

        Args:
            X: [N, D], standardised features, N >= 1.
            targets: [N, P], the user's units.
            events: whose probabilities are scored too.
        """
        forecasts: dict[str, Callable[[Array], Forecast]] = {
            "model": self.predictor.predict,
            "climatology": lambda X: self.climatology.predict(len(X)),
            "linear_gaussian": self.linear_gaussian.predict,
        }

        def score(forecast: Forecast, block: slice) -> Rows:
            rows = score_rows(
                forecast,
                targets[block],
                scales=self.scales,
                seed=self.settings["seed"],
                rows=np.arange(block.start, block.stop),
            )
            for event in events:
                rows |= event_rows(event[block], forecast, targets[block])
            return rows

        blocks = list(blocks_of(len(X), self.settings["predict"]["chunk_rows"]))
        scored = {
            name: concatenate_rows([score(predict(X[block]), block) for block in blocks])
            for name, predict in forecasts.items()
        }
        return metrics_of(scored, self.contract.targets, [event.name for event in events]), scored["model"]

    # --- storage --------------------------------------------------------------------------------------------------

    def store(self, run: Run) -> None:
        """Write all of it into the run directory."""
        run.write_json("columns.json", to_tree(self.contract))
        spec, arrays = pack(to_tree(self.predictor))
        run.write_json("posterior/spec.json", spec)
        run.write_arrays("posterior/arrays.npz", arrays)
        _, baselines = pack(
            {"climatology": to_tree(self.climatology), "linear_gaussian": to_tree(self.linear_gaussian)}
        )
        run.write_arrays("baselines.npz", baselines | {"scales": self.scales})
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
            return {key.removeprefix(f"{name}."): baselines[key] for key in baselines if key.startswith(f"{name}.")}

        return cls(
            contract=from_tree(ColumnContract, run.read_json("columns.json")),
            predictor=from_tree(
                Predictor, unpack(run.read_json("posterior/spec.json"), run.read_arrays("posterior/arrays.npz"))
            ),
            climatology=from_tree(Climatology, group("climatology")),
            linear_gaussian=from_tree(LinearGaussian, group("linear_gaussian")),
            scales=baselines["scales"],
            split=split,
            seen=SeenRows(stored, len(split.train) + len(split.validation)),
            settings=run.settings(),
        )


def assemble(
    table: PreparedTable, predictor: Predictor, rounded: Sequence[RoundedTarget], settings: Mapping[str, Any]
) -> TrainedModel:
    """Join the trained model with what scores and pictures need from the training rows.

    Args:
        table: the table that it was trained on.
        predictor: the model.
        rounded: the targets whose rounding is material.
        settings: every setting, as plain values; the seed draws the baselines' rows if there are more than
            `BASELINE_ROWS`.
    """
    fitted, steps = table.split.train, {found.column: found.step for found in rounded}
    rows = fitted[draw_rows(len(fitted), BASELINE_ROWS, seed=settings["seed"], stream=Stream.BASELINE_ROWS)]
    inputs, targets = table.inputs[rows], table.targets[rows]
    return TrainedModel(
        contract=table.contract,
        predictor=predictor,
        climatology=fit_climatology(targets, [steps.get(name, 0.0) for name in table.contract.targets]),
        linear_gaussian=fit_linear_gaussian(inputs, targets),
        scales=sample_sds(table.targets[fitted]),
        split=table.split,
        seen=SeenRows.of(table.fingerprints[np.concatenate([fitted, table.split.validation])]),
        settings=settings,
    )


def seen_warning(num_seen: int, num_rows: int) -> str | None:
    """Warn how many of the scored rows the training has seen; None if it has seen none."""
    if not num_seen:
        return None
    return (
        f"{num_seen} of these {num_rows} rows were trained on; their scores and pictures are too good. Name a table of "
        "other rows, or none for the run's held-out rows."
    )


def events_of(
    thresholds: Sequence[Threshold], contract: ColumnContract, frame: pd.DataFrame | None, num_rows: int, *, source: str
) -> list[Event]:
    """Return thresholds as events of some rows.

    Args:
        thresholds: of the contract's targets.
        contract: the column contract of the run.
        frame: the rows, with the columns that the thresholds name; None if they name none.
        num_rows: N.
        source: the table, as errors name it.

    Raises:
        DataError: a column of limits is missing, or has a gap or a cell that is no number.
    """
    names = columns_of(thresholds)
    limits = {} if frame is None else read_limits(contract, frame, names, source=source, allows_gaps=False)

    return [
        Event(t.text, contract.targets.index(t.target), *ends_of(t, limits, num_rows), t.includes) for t in thresholds
    ]


def blank_metrics(target_names: Sequence[str], event_names: Sequence[str] = ()) -> dict[str, Any]:
    """Return the scores of two rows of zeros, in the form of `TrainedModel.scores`: all names that scores may have."""
    by_target = ("crps", "squared_error", "pit")
    by_row = ("nlpd", "energy_score", "scaled_crps", "scaled_squared_error")
    rows = {name: np.zeros((2, len(target_names))) for name in by_target} | {name: np.zeros(2) for name in by_row}
    rows |= {event_key(name, what): np.zeros(2) for name in event_names for what in EVENT_SCORES}
    scored = dict.fromkeys(("model", "climatology", "linear_gaussian"), rows)
    metrics = metrics_of(scored, target_names, event_names)
    return metrics | {"drawn_from": 0}


def metrics_of(scored: dict[str, Rows], target_names: Sequence[str], event_names: Sequence[str] = ()) -> dict[str, Any]:
    """Summarise the scores of the model and of the baselines."""
    metrics = summarise(scored["model"], target_names=target_names)
    baselines = [name for name in scored if name != "model"]
    metrics["baselines"] = {name: summarise(scored[name], target_names=target_names) for name in baselines}
    metrics["skill"] = {name: skill(scored["model"], scored[name]) for name in baselines}
    if event_names:
        metrics["thresholds"] = {name: summarise_event(name, scored) for name in event_names}
    return metrics
