"""All trainings of a run, from data to predictor: one per factor of the chain and member of the ensemble."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from cde_app.config import Config
from cde_app.encoder_spec import EncoderSpec, MakeEncoder
from cde_app.machine.blocks import one_blas_thread
from cde_app.machine.rows import draw_rows
from cde_app.machine.streams import Stream
from cde_app.model.own_encoder import OwnEncoder, build_own_encoder
from cde_app.model.prior import build_prior
from cde_app.plan import Plan, Unit
from cde_app.predictive.ensemble import Ensemble
from cde_app.predictive.neighbours import draw_neighbours, fit_neighbours
from cde_app.predictive.predictor import Predictor, assemble_predictor
from cde_app.progress import Progress
from cde_app.targets.rounding import RoundedTarget
from cde_app.training.calibration import Calibration, Unseen, calibrate
from cde_app.training.checkpoint import Checkpoint, Finished, Unfinished
from cde_app.training.choices import find_roundings, noise_floors
from cde_app.training.factors import leave_out, left_out_rows, split_factors, with_neighbours
from cde_app.training.loop import Trainer
from cde_app.training.member import Judge, prepare, train_member, validation_score
from cde_app.training.rows import Factor, TrainingData, standardise
from cde_app.training.warm_start import fit_sparse_regression

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


class Session:
    """A run's trainings, one after another; its checkpoint records their progress."""

    @one_blas_thread()
    def __init__(
        self,
        config: Config,
        plan: Plan,
        data: TrainingData,
        checkpoint: Checkpoint,
        *,
        scratch: Path,
        save: Callable[[Checkpoint], None],
        report: Callable[[Progress], None],
        judge: Judge = validation_score,
        make_encoder: MakeEncoder | None = None,
    ) -> None:
        """Prepare the trainings.

        Args:
            config: the whole configuration.
            plan: the trainings to run.
            data: training and validation rows.
            checkpoint: of an interrupted run, or with the choices made for a new one (`choices`).
            scratch: a folder for arrays as large as the data; the caller deletes it.
            save: stores a checkpoint; called after each warm start and each training, every `checkpoint_every` steps,
                and if an exception ends the training.
            report: called every few steps.
            judge: scores a state on the validation rows.
            make_encoder: makes an encoder for every training, in place of the configured one.
        """
        self.config, self.plan, self.checkpoint = config, plan, checkpoint
        self.save, self.report, self.judge, self.make_encoder = save, report, judge, make_encoder
        self.started = time.monotonic() - checkpoint.elapsed_seconds
        self.roundings = find_roundings(config, data, checkpoint.transforms)
        self.trainer: Trainer | None = None
        """The previous training's trainer; the next training reuses its compiled step if it fits."""
        self.neighbours = None
        if checkpoint.has_neighbours:
            X = data.features.X
            rows = draw_neighbours(len(X), seed=config.seed)
            Y = standardise(checkpoint.transforms, data.targets[rows])
            self.neighbours = fit_neighbours(X[rows], Y, count=config.model.neighbours.count)
            data = with_neighbours(data, self.neighbours, rows, scratch)
        self.factors = split_factors(config, plan, data, checkpoint.transforms, noise_floors(self.roundings), scratch)

    @one_blas_thread()
    def run(self) -> Trained:
        """Run the remaining trainings.

        Raises:
            NumericalError: training still fails numerically after the last retry.
            UsageError: an encoder of the user's own cannot be trained.
            RunError: the interrupted training had another encoder.
        """
        while self.training < len(self.plan.units):
            own_encoder = self._own_encoder()  # before the warm start, so that a wrong one is refused at once
            self._train(self.checkpoint.current or self._warm_start(), own_encoder)
        calibrated = [self._calibrate(index) for index in range(len(self.factors))]
        predictor = assemble_predictor(
            self.neighbours,
            tuple(ensemble for ensemble, _ in calibrated),
            self.plan.order,
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
        """Index of the current training within the run, from 0."""
        return len(self.checkpoint.finished)

    @property
    def unit(self) -> Unit:
        """The current training's entry in the plan."""
        return self.plan.units[self.training]

    @property
    def factor(self) -> Factor:
        """The factor that is being trained, as its member sees it."""
        return self._member_factor(self.unit.factor, self.unit.member)

    def _member_factor(self, index: int, member: int) -> Factor:
        """Return a factor as a member sees it: if members leave out rows, each leaves out different ones."""
        factor = self.factors[index]
        if not self.plan.num_left_out:
            return factor
        return leave_out(factor, left_out_rows(factor.data, self.plan, member, seed=self.config.seed))

    def _calibrate(self, index: int) -> tuple[Ensemble, Calibration]:
        """Calibrate a factor's ensemble on the rows that its members did not see."""
        num_members = self.plan.num_members
        finished = self.checkpoint.finished[index * num_members : (index + 1) * num_members]
        ensemble = Ensemble(tuple(one.posterior for one in finished))
        unseen = []
        if self.config.training.calibration.enabled:
            held_out = [self._member_factor(index, member).data for member in range(num_members)]
            drawn = [
                draw_rows(
                    len(data.X_validation), CALIBRATION_ROWS, seed=self.config.seed, stream=Stream.CALIBRATION_ROWS
                )
                for data in held_out
            ]
            # Validation rows that all members share are divided among them, so that each row counts once.
            shares = drawn if self.plan.num_left_out else [rows[k::num_members] for k, rows in enumerate(drawn)]
            unseen = [
                Unseen(data.X_validation[own], data.targets_validation[own])
                for data, own in zip(held_out, shares, strict=True)
            ]
        return calibrate(ensemble, unseen)

    def _warm_start(self) -> Unfinished:
        """Fit the sparse GP from which the current training starts."""
        self._report(Progress("warm start", "sparse GP"))
        factor = self.factor
        regression = fit_sparse_regression(
            factor.data.features,
            factor.standardised_targets(),
            self.config.training.warm_start,
            self.config.model.output,
            seed=self.unit.seed,
            noise_floor=factor.noise_floor,
        )
        current = Unfinished(regression)
        self._keep(current)
        return current

    def _own_encoder(self) -> OwnEncoder | None:
        """Make the encoder of the current training, if it is one of the user's own."""
        if self.make_encoder is None:
            return None
        factor, prior = self.factor, build_prior(self.config.model.latent)
        X, Y = factor.data.features.X, factor.standardised_targets()
        spec = EncoderSpec(
            num_features=X.shape[1],
            num_targets=Y.shape[1],
            latent_dim=self.config.model.latent.dim,
            parameters=tuple(prior.bijectors),
            num_rows=len(X),
            seed=self.unit.seed,
        )
        batch = slice(self.plan.batch_size)
        rows = np.concatenate([X[batch], Y[batch]], axis=1)
        previous = None if self.trainer is None else self.trainer.model.own_encoder
        return build_own_encoder(self.make_encoder, spec, prior, rows, previous=previous)

    def _train(self, current: Unfinished, own_encoder: OwnEncoder | None) -> None:
        """Run the current training, with the compiled step of the previous one if it fits."""
        factor = self.factor
        trainer = prepare(
            self.config,
            self.plan,
            factor,
            current,
            seed=self.unit.seed,
            previous=self.trainer,
            own_encoder=own_encoder,
        )
        finished = train_member(
            self.config,
            factor,
            trainer,
            current,
            seed=self.unit.seed,
            validates=self.plan.validates,
            num_components=-(-self.config.predict.num_components // self.plan.num_members),
            judge=self.judge,
            keep=self._keep,
            report=self._report,
        )
        self.checkpoint = replace(self.checkpoint, finished=(*self.checkpoint.finished, finished))
        self.trainer = trainer
        self._keep(None)

    def _keep(self, current: Unfinished | None) -> None:
        self.checkpoint = replace(self.checkpoint, current=current, elapsed_seconds=self._elapsed())
        self.save(self.checkpoint)

    def _report(self, event: Progress) -> None:
        seconds = self._elapsed()
        self.report(replace(event, training=self.training, num_trainings=len(self.plan.units), elapsed_seconds=seconds))

    def _elapsed(self) -> float:
        return time.monotonic() - self.started
