"""A trained model with everything that prediction and scoring need, and how a run stores it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any

import numpy as np

from cde_app.arrays import AnyArray, Array, IndexArray, IntArray
from cde_app.config import FRAME_PATH
from cde_app.config import Split as SplitSettings
from cde_app.config.data import read_split
from cde_app.config.threshold import Threshold, columns_of, fixed_thresholds, parse_thresholds
from cde_app.data.decoding import decode_columns
from cde_app.data.dependence import Dependence, dependence_in
from cde_app.data.drawn import DrawnRows, draw_table_rows
from cde_app.data.encoding import (
    ColumnContract,
    InputEncoding,
    complete_rows,
    encode_columns,
    encode_inputs,
    encode_targets,
    input_values,
)
from cde_app.data.extras import ends_of, read_limits
from cde_app.data.features import encode_column
from cde_app.data.files import source_name
from cde_app.data.fingerprints import MOST_STORED, NONE_SEEN, SeenRows, fingerprint_rows, seen_warning
from cde_app.data.frame import frame_of, plain_frame
from cde_app.data.groups import RowGroups
from cde_app.data.prepared import PreparedTable
from cde_app.data.split import NO_ROWS, Split
from cde_app.errors import DataError
from cde_app.evaluation.baselines import (
    NEIGHBOUR_ROWS,
    Climatology,
    LinearGaussian,
    NearestNeighbours,
    fit_climatology,
    fit_linear_gaussian,
    fit_nearest_neighbours,
)
from cde_app.evaluation.events import Event, event_rows
from cde_app.evaluation.local import judge_locally
from cde_app.evaluation.metrics import join_scores, metrics_of
from cde_app.evaluation.scores import Rows, score_rows
from cde_app.evaluation.slices import Column
from cde_app.evaluation.verdict import in_words
from cde_app.explanation.curves import axis_of
from cde_app.explanation.explain import Explanation, OnCost, explain
from cde_app.explanation.inputs import Axis, Input, grouped
from cde_app.explanation.sizes import EXPLAINED_ROWS, REPEATS, SHARED_ROWS, Sizes, check_sizes
from cde_app.machine.rows import blocks_of, draw_rows
from cde_app.machine.streams import Stream, generator
from cde_app.predictive.forecast import Forecast
from cde_app.predictive.predictor import Predictor
from cde_app.predictive.totals import total_of
from cde_app.runs.run import Run
from cde_app.stored_model import check_scales, parts_that_fit, read_contract, read_rows
from cde_app.targets.rounding import RoundedTarget
from cde_app.targets.standardisation import sample_sds
from cde_app.trees import from_tree, pack, to_tree, unpack

if TYPE_CHECKING:
    import pandas as pd

FRAME = source_name(FRAME_PATH)
"""How errors name a table that is in memory."""
BASELINE_ROWS = 200_000
"""The largest number of training rows, drawn at random, that the baselines and the scales are fitted to."""

LARGEST_NUMBER = 1e150
"""Of a baseline: the square of the difference of two such numbers does not overflow, nor does that of real targets."""

MEDIAN_TOLERANCE = 0.01
"""How far F(median) may be from 1/2 in a sound model; quantiles and the CDF of a chain have errors of about .001."""


@dataclass(frozen=True, repr=False)
class TrainedModel:
    """A model ready to predict."""

    contract: ColumnContract
    predictor: Predictor
    climatology: Climatology
    linear_gaussian: LinearGaussian
    nearest_neighbours: NearestNeighbours | None
    """None if there were too few training rows, or in a run of an earlier version."""
    scales: Array
    """[P], standard deviations of the training targets [units of the targets]."""
    distance_unit: float | None
    """What `Predictor.distance` exceeds in one of a thousand rows that the training has not seen; None if too few rows
    are unseen, without a defence, or in a run of an earlier version."""
    split: Split
    """Positions in the training table."""
    seen: SeenRows
    """The training and validation rows, and those that a calibration has seen."""
    settings: Mapping[str, Any]
    """Every setting of the run, as plain values."""

    @property
    def split_settings(self) -> SplitSettings:
        """The `data.split` block."""
        return read_split(self.settings["data"]["split"])

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

    def distance(self, frame: pd.DataFrame) -> Array:
        """Return how far each row is from the training rows, as the column `distance` of `summary.csv` has it.

        Above 1 a row is farther than one in a thousand rows that the training has not seen: its combination of inputs
        is new, and its density an extrapolation. Inputs that the targets hardly depend on hardly count. See
        `Ensemble.distance` for the formula.

        Args:
            frame: N rows with the input columns; others are ignored.

        Returns:
            [N], non-negative; NaN in every row if the model has no `distance_unit`.

        Raises:
            DataError: the frame breaks the column contract.
            UsageError: it is no frame.

        Example:
            far = model.distance(frame) > 1
        """
        X = encode_inputs(self.contract, plain_frame(frame), source=FRAME)
        found = self.distance_of(self.predictor.features(X))
        return np.full(len(X), np.nan) if found is None else found

    def distance_of(self, features: Array) -> Array | None:
        """Return the distances from what `Predictor.features` returns, [N, D] to [N]; None without a unit."""
        if self.distance_unit is None:
            return None
        found = self.predictor.distance(features)
        return None if found is None else found / self.distance_unit

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
            ValueError: a level is not between 0 and 1, or the model is recalibrated: the maps are of single rows.

        Example:
            model.total(frame, by="region").query("statistic == 'sum' and errors == 'shared'")
        """
        levels = self.settings["predict"]["quantiles"] if quantiles is None else quantiles
        if not all(0 < level < 1 for level in levels):
            raise ValueError(f"quantiles: expected numbers between 0 and 1; got {list(levels)}")
        if self.predictor.recalibration is not None:
            raise ValueError(
                "total: expected a model without training.calibration.kind 'conformal', whose maps are of each target "
                "of each row; got one with it. Train it with the kind 'width'."
            )
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
        X = encode_columns(self.contract, values)
        dependence = dependence_in(self.split_settings, frame, form=self.contract.form, source=FRAME)
        num_seen = self.seen.count(fingerprint_rows(np.hstack([values, targets])))
        metrics, _ = self.judge(X, targets, events, dependence, np.arange(len(frame)), num_seen=num_seen)
        seen = seen_warning(num_seen, len(frame))
        return metrics | ({"warnings": [seen]} if seen else {})

    def explain(
        self,
        frame: pd.DataFrame,
        groups: Mapping[str, Sequence[str]] | None = None,
        thresholds: Sequence[str] = (),
        rows: int = EXPLAINED_ROWS,
        repeats: int = REPEATS,
        shares: int = SHARED_ROWS,
    ) -> Explanation:
        """Return what moves the forecasts of a table: importances, curves, Shapley shares and sentences.

        If the frame has the targets, rows that lack one are left out, and each input has its cost in NLPD and CRPS.

        Args:
            frame: at least two rows with the inputs.
            groups: name -> inputs that are moved together, too.
            thresholds: whose probabilities are explained too: `y>100` or `1<y<2`.
            rows: the largest number of rows, drawn with the seed of the run.
            repeats: how often each input of each row is taken from another row.
            shares: the largest number of rows with Shapley shares.

        Raises:
            DataError: the frame breaks the column contract, or has fewer than two rows that can be predicted.
            UsageError: it is no frame, a threshold has another form, a group names no input, or a number is too small.

        Example:
            model.explain(frame, rows=20, shares=2).sentences
        """
        plain = plain_frame(frame)
        questions = fixed_thresholds(thresholds, self.contract.targets, option="thresholds")
        check_sizes({"rows": (rows, 2), "repeats": (repeats, 1), "shares": (shares, 0)})
        drawn = draw_table_rows(self.contract, [plain], rows, seed=self.settings["seed"], source=FRAME)
        return self.explain_rows(drawn, groups or {}, questions, Sizes(repeats, shares), option="groups", source=FRAME)

    def explain_rows(
        self,
        drawn: DrawnRows,
        groups: Mapping[str, Sequence[str]],
        thresholds: Sequence[Threshold],
        sizes: Sizes,
        *,
        option: str,
        source: str,
        on_cost: OnCost = lambda done, total: None,
    ) -> Explanation:
        """Return what moves the forecasts of rows that have been drawn; see `explain`.

        Args:
            drawn: the rows.
            groups: as in `explain`.
            thresholds: with numbers as limits.
            sizes: how much is computed.
            option: what the groups were named by, for the message.
            source: the table, as errors name it.
            on_cost: called with what is done and with all that there is to do.

        Raises:
            DataError: there are fewer than two rows.
            UsageError: a group names no input.
        """
        features = {column.name: self.contract.features_of(column.name) for column in self.contract.inputs}
        inputs, axes = [Input(name, own) for name, own in features.items() if own], list[Axis]()
        together = grouped(inputs, groups, option=option)
        if len(drawn.rows) < 2:
            raise DataError(
                f"{source}: expected at least two rows, as an input is taken from another one; got {len(drawn.rows)}. "
                "Name a table with more rows."
            )
        for own in inputs:
            index = next(i for i, column in enumerate(self.contract.inputs) if column.name == own.name)
            column = self.contract.inputs[index]
            encode = partial(_encoded, column)
            is_date = column.kind == "datetime"
            axes.append(axis_of(own, drawn.cells[:, index], column.vocabulary, encode, is_date=is_date))
        return explain(
            lambda X: replace(self.predictor.predict(X), names=self.contract.targets),
            encode_columns(self.contract, drawn.cells),
            drawn.targets,
            inputs,
            together,
            [axis for axis in axes if len(axis.values)],
            rows=drawn.rows,
            units=dict(zip(self.contract.targets, self.scales.tolist(), strict=True)),
            thresholds=thresholds,
            sizes=sizes,
            seed=self.settings["seed"],
            on_cost=on_cost,
        )

    def judge(
        self,
        X: Array,
        targets: Array,
        events: Sequence[Event],
        dependence: Dependence | None,
        rows: IndexArray,
        *,
        num_seen: int = 0,
    ) -> tuple[dict[str, Any], Rows]:
        """Return the scores on some rows with what they mean, as `cde evaluate --json` has them, and those per row.

        Args:
            X: [N, D], standardised features, N >= 1.
            targets: [N, P], the user's units.
            events: whose probabilities are scored too.
            dependence: how rows of the table depend on each other, if known.
            rows: [N], the positions of these rows in `dependence`.
            num_seen: how many of them were trained on.
        """
        blocks = None if dependence is None else dependence.blocks(rows)
        metrics, scored = self.scores(X, targets, events, blocks)
        metrics["local"] = self.local(X, scored, blocks)
        metrics |= in_words(metrics, num_seen=num_seen)
        if dependence is not None and blocks is not None:
            metrics["standard_errors"] = dependence.meaning(blocks)
        return metrics, scored

    def scores(
        self, X: Array, targets: Array, events: Sequence[Event] = (), blocks: IntArray | None = None
    ) -> tuple[dict[str, Any], Rows]:
        """Return the scores of the model and the baselines on some rows, and the model's scores per row.

        Args:
            X: [N, D], standardised features, N >= 1.
            targets: [N, P], the user's units.
            events: whose probabilities are scored too.
            blocks: [N], from 0, if rows of a block count as one in the standard errors.
        """

        def score(block: slice) -> dict[str, Rows]:
            scored = {}
            for name, forecast in self.forecasts(X[block]).items():
                rows = np.arange(block.start, block.stop)
                scored[name] = self.row_scores(forecast, targets[block], rows=rows)
                for event in events:
                    scored[name] |= event_rows(event[block], forecast, targets[block])
            return scored

        scored = join_scores([score(block) for block in blocks_of(len(X), self.settings["predict"]["chunk_rows"])])
        names = [event.name for event in events]
        return metrics_of(scored, self.contract.targets, names, blocks), scored["model"]

    def local(self, X: Array, rows: Rows, groups: IntArray | None = None) -> dict[str, Any]:
        """Return where in the inputs the densities state wrong probabilities; see `judge_locally`.

        Args:
            X: [N, D], standardised features.
            rows: the scores of the same rows.
            groups: [N], the group of each row, if only groups are independent.
        """
        columns = [
            Column(encoding.name, values, encoding.vocabulary, is_date=encoding.kind == "datetime")
            for encoding, values in zip(self.contract.inputs, decode_columns(self.contract, X).T, strict=True)
            if encoding.features
        ]
        return judge_locally(rows["pit"], columns, X, self.contract.targets, groups)

    def forecasts(self, X: Array) -> dict[str, Forecast]:
        """Return the forecasts of the model and of the baselines for some rows, [N, D], standardised."""
        found: dict[str, Forecast] = {
            "model": replace(self.predictor.predict(X), names=self.contract.targets),
            "climatology": self.climatology.predict(len(X)),
            "linear_gaussian": self.linear_gaussian.predict(X),
        }
        if self.nearest_neighbours is not None:
            found["nearest_neighbours"] = self.nearest_neighbours.predict(X)
        if self._sparse_gp is not None:
            found["sparse_gp"] = self._sparse_gp.predict(X)
        return found

    @cached_property
    def _sparse_gp(self) -> Predictor | None:
        return self.predictor.sparse_gp()

    def row_scores(self, forecast: Forecast, targets: Array, *, rows: IntArray) -> Rows:
        """Return the scores of each row, [N, P] targets; `rows`, [N], are positions among those that are scored."""
        return score_rows(forecast, targets, scales=self.scales, seed=self.settings["seed"], rows=rows)

    # --- storage --------------------------------------------------------------------------------------------------

    def store(self, run: Run) -> None:
        """Write all of it into the run directory."""
        run.write_json("columns.json", to_tree(self.contract))
        spec, arrays = pack(to_tree(self.predictor))
        run.write_json("posterior/spec.json", spec)
        run.write_arrays("posterior/arrays.npz", arrays)
        fitted = {"climatology": self.climatology, "linear_gaussian": self.linear_gaussian}
        if self.nearest_neighbours is not None:
            fitted["nearest_neighbours"] = self.nearest_neighbours
        _, baselines = pack({name: to_tree(baseline) for name, baseline in fitted.items()})
        unit = {} if self.distance_unit is None else {"distance_unit": np.array(self.distance_unit)}
        run.write_arrays("baselines.npz", baselines | {"scales": self.scales} | unit)
        split = {part: getattr(self.split, part) for part in self.split.names}
        run.write_arrays("split.npz", split | {"fingerprints": self.seen.stored})

    @classmethod
    def load(cls, run: Run, *, knows_rows: bool = True) -> TrainedModel:
        """Read it from a finished run.

        Args:
            run: the run.
            knows_rows: read `split` and `seen` too, which grow with the training table and only scores need; without
                them, both are empty.

        Raises:
            RunError: a file is missing or corrupt.
        """
        settings = run.settings()
        with parts_that_fit(run):
            model = cls._rebuild(run, settings, knows_rows=knows_rows)
            model.check()
        return model

    @classmethod
    def _rebuild(cls, run: Run, settings: Mapping[str, Any], *, knows_rows: bool) -> TrainedModel:
        baselines, split, seen = run.read_arrays("baselines.npz"), NO_ROWS, NONE_SEEN
        if knows_rows:
            split, seen = read_rows(run)

        def group(name: str) -> dict[str, Any]:  # plain arrays, as a run of an earlier version has them too
            return {key.removeprefix(f"{name}."): baselines[key] for key in baselines if key.startswith(f"{name}.")}

        stored_neighbours, arrays = group("nearest_neighbours"), run.read_arrays("posterior/arrays.npz")
        for name, array in (*baselines.items(), *arrays.items()):
            if array.dtype.kind == "f" and np.isnan(array).any():
                raise ValueError(f"{name} has NaN")
        for name, array in baselines.items():
            if array.dtype.kind == "f" and np.abs(array).max(initial=0.0) > LARGEST_NUMBER:
                raise ValueError(f"{name}: expected numbers up to {LARGEST_NUMBER:g}; got larger ones")
        read = partial(from_tree, strict=True)
        return cls(
            contract=read_contract(run),
            predictor=read(Predictor, unpack(run.read_json("posterior/spec.json"), arrays)),
            climatology=read(Climatology, group("climatology")),
            linear_gaussian=read(LinearGaussian, group("linear_gaussian")),
            nearest_neighbours=read(NearestNeighbours, stored_neighbours) if stored_neighbours else None,
            scales=baselines["scales"],
            distance_unit=_distance_unit_of(baselines),
            split=split,
            seen=seen,
            settings=settings,
        )

    def check(self) -> None:
        """Check that the parts fit together: forecasts of a typical row are densities.

        Raises:
            ArithmeticError, AttributeError, IndexError, KeyError, TypeError, ValueError: they do not.
        """
        num_targets = len(self.contract.targets)
        typical = np.zeros((1, len(self.contract.feature_names)))
        check_scales(self.scales, self.contract)
        for baseline in (self.climatology, self.linear_gaussian, self.nearest_neighbours):
            if (
                baseline is not None
                and not (
                    (self.scales < LARGEST_NUMBER * baseline.scale) & (baseline.scale < LARGEST_NUMBER * self.scales)
                ).all()
            ):
                raise ValueError(f"expected scales of the targets; got {baseline.scale} and {self.scales}")
            if isinstance(baseline, Climatology | NearestNeighbours) and baseline.weights.ndim != 1:
                raise ValueError("expected the same weights in all rows; got others")
        with np.errstate(all="ignore"):
            for name, forecast in self.forecasts(typical).items():
                quantiles = forecast.quantile((0.05, 0.5, 0.95))
                density, cdf = forecast.log_prob(quantiles[1]), forecast.cdf(quantiles[1])
                is_density = np.isfinite(density).all() and np.all(np.diff(quantiles, axis=0) >= 0)
                is_density = is_density and np.all(np.abs(cdf - 0.5) < MEDIAN_TOLERANCE)
                if quantiles.shape != (3, 1, num_targets) or not is_density:
                    raise ValueError(f"the forecast of {name} is no density")


def _distance_unit_of(baselines: Mapping[str, AnyArray]) -> float | None:
    """Return the unit of the distances, which runs of earlier versions lack.

    Raises:
        TypeError, ValueError: it is no positive number.
    """
    unit = baselines.get("distance_unit")
    if unit is None:
        return None
    if unit.dtype.kind != "f" or unit.shape != () or not 1 / LARGEST_NUMBER < unit < LARGEST_NUMBER:
        raise ValueError(f"expected a positive unit of the distances; got {unit}")
    return float(unit)


def assemble(
    table: PreparedTable,
    predictor: Predictor,
    rounded: Sequence[RoundedTarget],
    distance_unit: float | None,
    settings: Mapping[str, Any],
) -> TrainedModel:
    """Join the trained model with what scores and pictures need from the training rows.

    Args:
        table: the table that it was trained on.
        predictor: the model.
        rounded: the targets whose rounding is material.
        distance_unit: that of the distances from the training rows.
        settings: every setting, as plain values; the seed draws the baselines' rows if there are more than
            `BASELINE_ROWS`.
    """
    fitted, steps = table.split.train, {found.column: found.step for found in rounded}
    rows = fitted[draw_rows(len(fitted), BASELINE_ROWS, seed=settings["seed"], stream=Stream.BASELINE_ROWS)]
    inputs, targets, seen = table.inputs[rows], table.targets[rows], NONE_SEEN
    near = generator(settings["seed"], Stream.STORED_NEIGHBOURS).permutation(len(rows))[:NEIGHBOUR_ROWS]
    all_steps = [steps.get(name, 0.0) for name in table.contract.targets]
    for part in (fitted, table.split.validation, table.split.calibration):
        for block in blocks_of(len(part), MOST_STORED):
            seen = seen.joined(table.fingerprints[part[block]])
    return TrainedModel(
        contract=table.contract,
        predictor=predictor,
        climatology=fit_climatology(targets, all_steps),
        linear_gaussian=fit_linear_gaussian(inputs, targets),
        nearest_neighbours=fit_nearest_neighbours(inputs[near], targets[near], all_steps),
        scales=sample_sds(targets),
        distance_unit=distance_unit,
        split=table.split,
        seen=seen,
        settings=settings,
    )


def _encoded(column: InputEncoding, values: Array) -> Array:
    """Return the features of some values of an input, [G] to [G, features]."""
    return np.stack(encode_column(column, values), axis=1)


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
