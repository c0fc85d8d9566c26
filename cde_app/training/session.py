"""All trainings of a run, from data to predictor: one per factor of the chain and member of the ensemble."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from cde_app import config
from cde_app.config import Config
from cde_app.data.rounding import RoundedTarget, find_rounding
from cde_app.data.transform import TargetTransform
from cde_app.predictive.chain import extend
from cde_app.predictive.ensemble import Ensemble
from cde_app.predictive.neighbours import Neighbours, draw_neighbours, fit_neighbours
from cde_app.predictive.predictor import Predictor, assemble_predictor
from cde_app.rows import blocks_of, store_rows
from cde_app.training.chain_order import choose_order
from cde_app.training.checkpoint import Checkpoint, Finished, Unfinished
from cde_app.training.kernel_start import Axis, neighbour_axes
from cde_app.training.loop import Step, Trainer
from cde_app.training.member import Factor, TrainingData, prepare, standardise, train_member
from cde_app.training.neighbourhood import uses_neighbours
from cde_app.training.target_transform import choose_transform
from cde_app.training.warm_start import fit_sparse_regression

Array = NDArray[np.float64]

SEED_STRIDE = 1_000_003
"""Between the seeds of two trainings of a run."""


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


class Session:
    """A run's trainings, one after another; its checkpoint says how far they have come."""

    def __init__(
        self,
        config: Config,
        data: TrainingData,
        *,
        scratch: Path,
        checkpoint: Checkpoint | None,
        save: Callable[[Checkpoint], None],
        report: Callable[[Report], None],
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
        """
        self.config, self.save, self.report = config, save, report
        self.started = time.monotonic() - (checkpoint.elapsed_seconds if checkpoint else 0.0)
        self.checkpoint = checkpoint or self._choose(data)
        self.roundings = find_roundings(config, data, self.checkpoint.transforms)
        Y = standardise(self.checkpoint.transforms, data.targets)
        self.neighbours = None
        if self.checkpoint.has_neighbours:
            rows = draw_neighbours(len(data.X), seed=config.seed)
            self.neighbours = fit_neighbours(data.X[rows], Y[rows], count=config.model.neighbours.count)
            data = with_neighbours(data, self.neighbours, rows, scratch)
        self.factors = split_factors(config, data, self.checkpoint, noise_floors(self.roundings), scratch)
        self.num_members = config.training.resolved_ensemble(len(data.X))
        self.num_trainings = len(self.factors) * self.num_members

    def run(self) -> Trained:
        """Do what is left of the trainings.

        Raises:
            NumericalError: training failed numerically after every retry.
        """
        trainer = None
        while len(self.checkpoint.finished) < self.num_trainings:
            current = self.checkpoint.current
            if current is None:
                current, trainer = self._warm_start(), None
            trainer = self._train(current, trainer)
        posteriors = [one.posterior for one in self.checkpoint.finished]
        ensembles = tuple(
            Ensemble(tuple(posteriors[first : first + self.num_members]))
            for first in range(0, self.num_trainings, self.num_members)
        )
        predictor = assemble_predictor(
            self.neighbours,
            ensembles,
            self.checkpoint.order,
            num_components=self.config.predict.num_components,
            seed=self.config.seed,
        )
        return Trained(predictor, self.checkpoint.finished, tuple(found for found in self.roundings if found))

    @property
    def training(self) -> int:
        """Which of the run's trainings is the current one, from 0."""
        return len(self.checkpoint.finished)

    @property
    def factor(self) -> Factor:
        """What the current training is about."""
        return self.factors[self.training // self.num_members]

    def _choose(self, data: TrainingData) -> Checkpoint:
        """Choose the targets' transforms, whether to look at neighbours, and the order of the chain."""
        transforms = []
        for index, target in enumerate(self.config.data.targets):
            self.report(Report("warm start", message=f"transform of {target.column}"))
            transforms.append(choose_transform(target, data.X, data.targets[:, index], self.config, axes=data.axes))
        roundings = find_roundings(self.config, data, tuple(transforms))
        for found in filter(None, roundings):
            self.report(Report("warning", message=found.warning()))
        Y, floor = standardise(tuple(transforms), data.targets), noise_floors(roundings)
        self.report(Report("warm start", message="neighbours"))
        has_neighbours = uses_neighbours(self.config, data.X, Y, axes=data.axes, noise_floor=floor)
        order = choose_order(self.config, data.X, Y, axes=data.axes, noise_floor=floor)
        return Checkpoint(tuple(transforms), order, has_neighbours, (), None, self._elapsed())

    def _warm_start(self) -> Unfinished:
        """Fit the sparse GP from which every member of the current factor starts."""
        self.report(Report("warm start", self.training, self.num_trainings, message="sparse GP"))
        factor = self.factor
        regression = fit_sparse_regression(
            factor.data.X,
            factor.standardised_targets(),
            self.config.training.warm_start,
            self.config.model.output,
            axes=factor.data.axes,
            seed=self.config.seed,
            noise_floor=factor.noise_floor,
        )
        current = Unfinished(regression)
        self._keep(current)
        return current

    def _train(self, current: Unfinished, spare: Trainer | None) -> Trainer:
        """Do the current training, with the compiled step of the one before it if there is one."""
        seed = self.config.seed + SEED_STRIDE * self.training
        trainer = prepare(self.config, self.factor, current, seed=seed, spare=spare)
        finished = train_member(
            self.config,
            self.factor,
            trainer,
            current,
            seed=seed,
            num_components=-(-self.config.predict.num_components // self.num_members),
            keep=self._keep,
            tell=self._tell,
        )
        others_follow = (self.training + 1) % self.num_members > 0
        self.checkpoint = replace(self.checkpoint, finished=(*self.checkpoint.finished, finished))
        self._keep(Unfinished(current.regression) if others_follow else None)
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
            validation_score=score,
            elapsed_seconds=self._elapsed(),
            steps_per_second=step.steps_per_second,
        )
        self.report(said)

    def _elapsed(self) -> float:
        return time.monotonic() - self.started


def with_neighbours(data: TrainingData, neighbours: Neighbours, rows: NDArray[np.intp], scratch: Path) -> TrainingData:
    """Append the features of the nearest training rows; a training row is no neighbour of itself.

    Args:
        data: N training rows.
        neighbours: fitted to some of them.
        rows: [R], which ones.
        scratch: where the longer rows go.
    """
    places = np.full(len(data.X), -1)
    places[rows] = np.arange(len(rows))
    axes = data.axes + neighbour_axes(neighbours.Y.shape[1])
    files = scratch / "X_neighbours.npy", scratch / "X_validation_neighbours.npy"
    X, V = data.X, data.X_validation
    return replace(
        data,
        X=store_rows(
            files[0], len(axes), (neighbours.extend_training_rows(X[b], places[b]) for b in blocks_of(len(X)))
        ),
        X_validation=store_rows(files[1], len(axes), (neighbours.extend(V[b]) for b in blocks_of(len(V)))),
        axes=axes,
    )


def find_roundings(
    config: Config, data: TrainingData, transforms: tuple[TargetTransform, ...]
) -> list[RoundedTarget | None]:
    """Return how each target is rounded, by the training rows."""
    columns = zip(config.data.targets, data.targets.T, transforms, strict=True)
    return [find_rounding(target.column, values, transform, target.rounding) for target, values, transform in columns]


def noise_floors(roundings: list[RoundedTarget | None]) -> Array:
    """Return the noise variances that the targets' rounding requires, [P], standardised; 0 where it does not matter."""
    return np.array([found.variance if found else 0.0 for found in roundings])


def split_factors(
    settings: config.Config, data: TrainingData, checkpoint: Checkpoint, noise_floor: Array, scratch: Path
) -> tuple[Factor, ...]:
    """Return one factor with all targets, or one per target with the targets before it among its inputs."""
    transforms, order = checkpoint.transforms, checkpoint.order
    if settings.model.targets_model == "joint" or len(order) == 1:
        return (Factor(data, transforms, noise_floor),)
    factors = []
    for place in order:
        own = replace(data, targets=data.targets[:, [place]], targets_validation=data.targets_validation[:, [place]])
        factors.append(Factor(own, (transforms[place],), noise_floor[[place]]))
        if place != order[-1]:
            data = with_target(data, place, transforms[place], settings.data.targets[place].column, scratch)
    return tuple(factors)


def with_target(data: TrainingData, place: int, transform: TargetTransform, column: str, scratch: Path) -> TrainingData:
    """Append a target, standardised, to the features of the factors after it."""
    axes = (*data.axes, Axis(column))

    def extended(X: Array, targets: Array, name: str) -> Array:
        blocks = (extend(X[b], transform.forward(targets[b, place])) for b in blocks_of(len(X)))
        return store_rows(scratch / f"{name}_{len(axes)}.npy", len(axes), blocks)

    return replace(
        data,
        X=extended(data.X, data.targets, "X"),
        X_validation=extended(data.X_validation, data.targets_validation, "X_validation"),
        axes=axes,
    )
