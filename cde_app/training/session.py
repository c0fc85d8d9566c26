"""All trainings of a run, from data to predictor: one per factor of the chain and member of the ensemble."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from cde_app.config import Config
from cde_app.data.rounding import RoundedTarget, find_rounding
from cde_app.data.transform import TargetTransform
from cde_app.predictive.blocks import one_blas_thread
from cde_app.predictive.ensemble import Ensemble
from cde_app.predictive.neighbours import draw_neighbours, fit_neighbours
from cde_app.predictive.predictor import Predictor, assemble_predictor
from cde_app.rows import draw_rows
from cde_app.training.calibration import Calibration, Unseen, calibrate
from cde_app.training.chain_order import choose_order
from cde_app.training.checkpoint import Checkpoint, Finished, Unfinished
from cde_app.training.factors import leave_out, split_factors, with_neighbours
from cde_app.training.loop import Step, Trainer
from cde_app.training.member import Factor, Judge, TrainingData, prepare, standardise, train_member, validation_score
from cde_app.training.neighbourhood import uses_neighbours
from cde_app.training.target_transform import choose_transform
from cde_app.training.warm_start import fit_sparse_regression

Array = NDArray[np.float64]

SEED_STRIDE = 1_000_003
"""Between the seeds of two trainings of a run."""
CALIBRATION_ROWS = 5000
"""The most rows by which a training is judged: a standard deviation is then known to one percent."""


@dataclass(frozen=True)
class Report:
    """What a run says on its way."""

    stage: Literal["warm start", "warning", "training"]
    training: int = 0
    """Which of the run's trainings, from 0."""
    num_trainings: int = 1
    step: int = 0
    max_steps: int = 0
    bound: float | None = None
    metrics: dict[str, float] = field(default_factory=dict)
    """What the layers measure, by name."""
    validation_score: float | None = None
    elapsed_seconds: float = 0.0
    steps_per_second: float | None = None
    message: str = ""


@dataclass(frozen=True)
class Trained:
    """What a run's trainings leave."""

    predictor: Predictor
    trainings: tuple[Finished, ...]
    """Factor by factor, and within a factor member by member."""
    rounded: tuple[RoundedTarget, ...]
    """The targets whose rounding sets a floor on the noise."""
    calibrations: tuple[Calibration, ...]
    """Per factor."""


class Session:
    """A run's trainings, one after another; its checkpoint says how far they have come."""

    @one_blas_thread()
    def __init__(
        self,
        config: Config,
        data: TrainingData,
        *,
        scratch: Path,
        checkpoint: Checkpoint | None,
        save: Callable[[Checkpoint], None],
        report: Callable[[Report], None],
        judge: Judge = validation_score,
    ) -> None:
        """Prepare the trainings.

        Args:
            config: the whole configuration.
            data: training and validation rows.
            scratch: a folder for arrays as large as the data, to be deleted by the caller.
            checkpoint: where an interrupted run stopped; None starts afresh.
            save: stores a checkpoint; called after each warm start and each training, every `checkpoint_every` steps,
                and on interruption.
            report: called after every few steps.
            judge: says how good a state is, by the validation rows.
        """
        self.config, self.save, self.report, self.judge = config, save, report, judge
        self.started = time.monotonic() - (checkpoint.elapsed_seconds if checkpoint else 0.0)
        self.checkpoint = checkpoint or self._choose(data)
        self.roundings = find_roundings(config, data, self.checkpoint.transforms)
        training, num_rows, num_validation_rows = config.training, len(data.X), len(data.X_validation)
        self.num_members = training.resolved_ensemble(num_rows, num_validation_rows=num_validation_rows)
        self.num_left_out = training.resolved_left_out(num_rows, num_validation_rows=num_validation_rows)
        self.validates = training.validates(num_validation_rows=num_validation_rows, num_left_out=self.num_left_out)
        self.neighbours = None
        if self.checkpoint.has_neighbours:
            rows = draw_neighbours(len(data.X), seed=config.seed)
            Y = standardise(self.checkpoint.transforms, data.targets[rows])
            self.neighbours = fit_neighbours(data.X[rows], Y, count=config.model.neighbours.count)
            data = with_neighbours(data, self.neighbours, rows, scratch)
        self.factors = split_factors(config, data, self.checkpoint, noise_floors(self.roundings), scratch)
        self.num_trainings = len(self.factors) * self.num_members

    @one_blas_thread()
    def run(self) -> Trained:
        """Do what is left of the trainings.

        Raises:
            NumericalError: training failed numerically after every retry.
        """
        trainer = None
        while self.training < self.num_trainings:
            trainer = self._train(self.checkpoint.current or self._warm_start(), trainer)
        calibrated = [self._calibrate(place) for place in range(len(self.factors))]
        predictor = assemble_predictor(
            self.neighbours,
            tuple(ensemble for ensemble, _ in calibrated),
            self.checkpoint.order,
            num_components=self.config.predict.num_components,
            seed=self.config.seed,
        )
        return Trained(
            predictor,
            self.checkpoint.finished,
            tuple(found for found in self.roundings if found),
            tuple(calibration for _, calibration in calibrated),
        )

    @property
    def training(self) -> int:
        """Which of the run's trainings is the current one, from 0."""
        return len(self.checkpoint.finished)

    @property
    def seed(self) -> int:
        """Of the current training."""
        return self.config.seed + SEED_STRIDE * self.training

    @property
    def factor(self) -> Factor:
        """What the current training is about."""
        return self._member_factor(*divmod(self.training, self.num_members))

    def _member_factor(self, place: int, member: int) -> Factor:
        """Return a factor as a member sees it: if members leave out rows, each leaves out others."""
        factor, num_rows = self.factors[place], len(self.factors[0].data.X)
        if not self.num_left_out:
            return factor
        order = np.random.default_rng([self.config.seed, 9]).permutation(num_rows)
        return leave_out(factor, np.sort(order[(member * self.num_left_out + np.arange(self.num_left_out)) % num_rows]))

    def _calibrate(self, place: int) -> tuple[Ensemble, Calibration]:
        """Calibrate a factor's ensemble on the rows that its members did not see."""
        first = place * self.num_members
        finished = self.checkpoint.finished[first : first + self.num_members]
        ensemble = Ensemble(tuple(one.posterior for one in finished))
        unseen = []
        if self.config.training.calibration.enabled:
            held_out = [self._member_factor(place, member).data for member in range(self.num_members)]
            rows = draw_rows(len(held_out[0].X_validation), CALIBRATION_ROWS, seed=self.config.seed, stream=15)
            unseen = [Unseen(data.X_validation[rows], data.targets_validation[rows]) for data in held_out]
        return calibrate(ensemble, unseen)

    def _choose(self, data: TrainingData) -> Checkpoint:
        """Choose the targets' transforms, whether to look at neighbours, and the order of the chain."""
        transforms = []
        for index, target in enumerate(self.config.data.targets):
            self.report(Report("warm start", message=f"transform of {target.column}"))
            y, y_validation = data.targets[:, index], data.targets_validation[:, index]
            transforms.append(choose_transform(target, data.X, y, y_validation, self.config, axes=data.axes))
        roundings = find_roundings(self.config, data, tuple(transforms))
        for found in filter(None, roundings):
            self.report(Report("warning", message=found.warning()))
        Y, floor = standardise(tuple(transforms), data.targets), noise_floors(roundings)
        self.report(Report("warm start", message="neighbours"))
        has_neighbours = uses_neighbours(self.config, data.X, Y, axes=data.axes, noise_floor=floor)
        order = choose_order(self.config, data.X, Y, axes=data.axes, noise_floor=floor)
        return Checkpoint(tuple(transforms), order, has_neighbours, (), None, self._elapsed())

    def _warm_start(self) -> Unfinished:
        """Fit the sparse GP from which the current training starts."""
        self.report(Report("warm start", self.training, self.num_trainings, message="sparse GP"))
        factor = self.factor
        regression = fit_sparse_regression(
            factor.data.X,
            factor.standardised_targets(),
            self.config.training.warm_start,
            self.config.model.output,
            axes=factor.data.axes,
            seed=self.seed,
            noise_floor=factor.noise_floor,
        )
        current = Unfinished(regression)
        self._keep(current)
        return current

    def _train(self, current: Unfinished, spare: Trainer | None) -> Trainer:
        """Do the current training, with the compiled step of the one before it if there is one."""
        factor = self.factor
        trainer = prepare(self.config, factor, current, seed=self.seed, spare=spare)
        finished = train_member(
            self.config,
            factor,
            trainer,
            current,
            seed=self.seed,
            validates=self.validates,
            num_components=-(-self.config.predict.num_components // self.num_members),
            judge=self.judge,
            keep=self._keep,
            tell=self._tell,
        )
        self.checkpoint = replace(self.checkpoint, finished=(*self.checkpoint.finished, finished))
        self._keep(None)
        return trainer

    def _keep(self, current: Unfinished | None) -> None:
        self.checkpoint = replace(self.checkpoint, current=current, elapsed_seconds=self._elapsed())
        self.save(self.checkpoint)

    def _tell(self, step: Step, score: float | None) -> None:
        said = Report(
            "training",
            self.training,
            self.num_trainings,
            step=step.step,
            max_steps=step.max_steps,
            bound=step.bound,
            metrics=step.metrics,
            validation_score=score,
            elapsed_seconds=self._elapsed(),
            steps_per_second=step.steps_per_second,
        )
        self.report(said)

    def _elapsed(self) -> float:
        return time.monotonic() - self.started


def find_roundings(
    config: Config, data: TrainingData, transforms: tuple[TargetTransform, ...]
) -> list[RoundedTarget | None]:
    """Return how each target is rounded, by the training rows."""
    columns = zip(config.data.targets, data.targets.T, transforms, strict=True)
    return [find_rounding(target.column, values, transform, target.rounding) for target, values, transform in columns]


def noise_floors(roundings: list[RoundedTarget | None]) -> Array:
    """Return the noise variances that the targets' rounding requires, [P], standardised; 0 where it does not matter."""
    return np.array([found.variance if found else 0.0 for found in roundings])
