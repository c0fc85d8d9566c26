"""All trainings of a run, from data to predictor: one per factor of the chain and member of the ensemble.

The trainings run in an executor; this module and what it imports load no TensorFlow.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from cde_app.config import Config
from cde_app.encoder_spec import MakeEncoder
from cde_app.execution.executor import Executor
from cde_app.machine.blocks import one_blas_thread
from cde_app.machine.rows import draw_rows
from cde_app.machine.streams import Stream
from cde_app.plan import Plan
from cde_app.predictive.ensemble import Ensemble
from cde_app.predictive.neighbours import draw_neighbours, fit_neighbours
from cde_app.predictive.predictor import Predictor, assemble_predictor
from cde_app.progress import Progress
from cde_app.targets.rounding import RoundedTarget
from cde_app.training.calibration import Calibration, Unseen, calibrate
from cde_app.training.checkpoint import Checkpoint, Finished, State
from cde_app.training.choices import find_roundings, noise_floors
from cde_app.training.distance import distance_unit
from cde_app.training.factors import as_member_sees, split_factors, with_neighbours
from cde_app.training.rows import TrainingData, standardise
from cde_app.training.work import Judge, MemberTraining

CALIBRATION_ROWS = 5000
"""Largest number of rows that calibrate a model: they determine a standard deviation to one percent."""


@dataclass(frozen=True)
class Trained:
    """The result of a run's trainings."""

    predictor: Predictor
    trainings: tuple[Finished, ...]
    """Ordered by factor, then by member."""
    rounded: tuple[RoundedTarget, ...]
    """The targets whose rounding sets a floor on the noise."""
    calibrations: tuple[Calibration, ...]
    """Per factor."""
    distance_unit: float | None
    """See `TrainedModel`."""


class Session:
    """A run's trainings, as units of work of an executor; its checkpoint records their progress."""

    @one_blas_thread()
    def __init__(
        self,
        config: Config,
        plan: Plan,
        data: TrainingData,
        checkpoint: Checkpoint,
        *,
        scratch: Path,
        executor: Executor,
        save: Callable[[Checkpoint, int], None],
        report: Callable[[Progress], None],
        judge: Judge | None = None,
        make_encoder: MakeEncoder | None = None,
    ) -> None:
        """Prepare the trainings.

        Args:
            config: the whole configuration.
            plan: the trainings to run.
            data: training and validation rows.
            checkpoint: of an interrupted run, or with the choices made for a new one (`choices`).
            scratch: a folder for arrays as large as the data, which the workers can read; the caller deletes it.
            executor: runs the trainings.
            save: stores a checkpoint, and is told which training has a new state; called after each warm start and each
                training, every `checkpoint_every` steps, and if an exception ends the training.
            report: called every few steps.
            judge: scores a state on the validation rows; None takes the exact mixture's log density.
            make_encoder: makes an encoder for every training, in place of the configured one; the executor is `Serial`.
        """
        self.config, self.plan, self.checkpoint = config, plan, checkpoint
        self.executor, self.save, self.report = executor, save, report
        self.judge, self.make_encoder = judge, make_encoder
        self.started = time.monotonic() - checkpoint.elapsed_seconds
        self.speeds: dict[int, float] = {}
        """Steps per second of the trainings that run."""
        self.steps = list(checkpoint.steps)
        """Steps that each training has done."""
        transforms = checkpoint.choices.transforms
        self.roundings = find_roundings(config, data, transforms)
        self.neighbours = None
        if checkpoint.choices.has_neighbours:
            X = data.features.X
            rows = draw_neighbours(len(X), seed=config.seed)
            Y = standardise(transforms, data.targets[rows])
            self.neighbours = fit_neighbours(X[rows], Y, count=config.model.neighbours.count)
            data = with_neighbours(data, self.neighbours, rows, scratch)
        self.factors = split_factors(config, plan, data, transforms, noise_floors(self.roundings), scratch)

    def run(self) -> Trained:
        """Run the remaining trainings.

        Raises:
            NumericalError: a training still fails numerically after the last retry.
            UsageError: an encoder of the user's own cannot be trained.
            RunError: the interrupted training had another encoder.
            WorkerError: the processes of a training died.
        """
        indices, units = self.remaining()
        outcomes = self.executor.run(
            units,
            on_event=lambda place, event: self._report(indices[place], event),
            on_state=lambda place, state: self._keep(indices[place], state),
        )
        with contextlib.closing(outcomes):
            for outcome in outcomes:
                self._keep(indices[outcome.index], outcome.result())
        return self.trained()

    def remaining(self) -> tuple[list[int], list[MemberTraining]]:
        """Return the trainings that are left to run: their places in the plan, and the units of work."""
        states = enumerate(self.checkpoint.states)
        current = {index: state for index, state in states if not isinstance(state, Finished)}
        num_threads = self.executor.threads_each(len(current))
        units = [
            MemberTraining(
                self.config,
                self.plan,
                self.plan.units[index],
                self.factors[self.plan.units[index].factor],
                state,
                num_threads,
                self.judge,
                self.make_encoder,
            )
            for index, state in current.items()
        ]
        return list(current), units

    @one_blas_thread()
    def trained(self) -> Trained:
        """Return the result of all trainings, calibrated; they are finished."""
        is_calibrated, factors = self.config.training.calibration.enabled, range(len(self.factors))
        # Those of the first factor set the unit of the distances, too.
        unseen = [self._unseen(index) if is_calibrated or index == 0 else [] for index in factors]
        calibrated = [self._calibrate(index, unseen[index] if is_calibrated else []) for index in factors]
        predictor = assemble_predictor(
            self.neighbours,
            tuple(ensemble for ensemble, _ in calibrated),
            self.plan.order,
            num_components=self.config.predict.num_components,
            seed=self.config.seed,
        )
        return Trained(
            predictor,
            self._finished,
            tuple(found for found in self.roundings if found),
            tuple(calibration for _, calibration in calibrated),
            # A warm start that is not fitted has no training rows.
            distance_unit(predictor.factors[0], unseen[0]) if self.config.training.warm_start.enabled else None,
        )

    @property
    def _finished(self) -> tuple[Finished, ...]:
        return tuple(state for state in self.checkpoint.states if isinstance(state, Finished))

    def _calibrate(self, index: int, unseen: Sequence[Unseen]) -> tuple[Ensemble, Calibration]:
        """Calibrate a factor's ensemble on rows that its members did not see; without any it stays as it is."""
        num_members = self.plan.num_members
        finished = self._finished[index * num_members : (index + 1) * num_members]
        ensemble = Ensemble(tuple(one.posterior for one in finished))
        return calibrate(ensemble, unseen)

    def _unseen(self, index: int) -> list[Unseen]:
        """Return rows that each member of a factor's ensemble did not see; of very many, some."""
        num_members, seed, factor = self.plan.num_members, self.config.seed, self.factors[index]
        held_out = [as_member_sees(factor, self.plan, member, seed=seed).data for member in range(num_members)]
        drawn = [
            draw_rows(len(data.X_validation), CALIBRATION_ROWS, seed=seed, stream=Stream.CALIBRATION_ROWS)
            for data in held_out
        ]
        # Validation rows that all members share are divided among them, so that each row counts once.
        shares = drawn if self.plan.num_left_out else [rows[k::num_members] for k, rows in enumerate(drawn)]
        return [
            Unseen(data.X_validation[own], data.targets_validation[own])
            for data, own in zip(held_out, shares, strict=True)
        ]

    def _keep(self, index: int, state: State) -> None:
        """Record how far a training has come."""
        if isinstance(state, Finished):
            self.speeds.pop(index, None)
            self.steps[index] = self.plan.max_steps  # it may have stopped earlier, and then nothing is left
        self.checkpoint = self.checkpoint.with_state(index, state, self._elapsed())
        self.save(self.checkpoint, index)

    def _report(self, index: int, event: Progress) -> None:
        """Report an event of a training, unless it is a step that a worker repeats because another one has died."""
        if event.step is not None:
            if event.step <= self.steps[index]:
                return
            self.steps[index] = event.step
            if event.steps_per_second:
                self.speeds[index] = event.steps_per_second
        self.report(
            replace(
                event,
                training=index,
                num_trainings=len(self.plan.units),
                elapsed_seconds=self._elapsed(),
                seconds_left=self._seconds_left() if event.steps_per_second else None,
            )
        )

    def _seconds_left(self) -> float:
        """Return the time until all trainings have done their steps, at the present speed of those that run."""
        return (self.plan.max_steps * len(self.steps) - sum(self.steps)) / sum(self.speeds.values())

    def _elapsed(self) -> float:
        return time.monotonic() - self.started
