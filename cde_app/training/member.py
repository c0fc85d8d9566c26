"""One training: warm start, steps, validation, best state, export."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from cde_app.config import Config, WarmStart
from cde_app.encoder_spec import EncoderSpec
from cde_app.errors import RunError
from cde_app.execution.executor import Worker
from cde_app.machine.blocks import one_blas_thread
from cde_app.machine.rows import draw_rows
from cde_app.machine.streams import Stream
from cde_app.model.build import build_model
from cde_app.model.own_encoder import OwnEncoder, build_own_encoder
from cde_app.model.prior import build_prior
from cde_app.plan import Plan
from cde_app.predictive.defence import Defence
from cde_app.predictive.posterior import Posterior
from cde_app.progress import Progress
from cde_app.training.checkpoint import Best, Finished, Unfinished
from cde_app.training.export import export_posterior
from cde_app.training.loop import Schedule, Trainer, fit
from cde_app.training.rows import Factor, TrainingData, standardise
from cde_app.training.start.model import starting_point
from cde_app.training.tails import fit_defence
from cde_app.training.warm_start import SparseRegression, fit_sparse_regression
from cde_app.training.work import MemberTraining

VALIDATION_COMPONENTS = 64
VALIDATION_ROWS = 1000
START_ROWS = 200_000
"""Largest number of training rows, drawn at random, for the starting point; a per-row encoder needs all rows."""
DEFENCE_ROWS = 20_000
"""Largest number of training rows, drawn at random, to which the tails and the climatology are fitted."""


def prepare(
    config: Config,
    plan: Plan,
    factor: Factor,
    current: Unfinished,
    *,
    seed: int,
    previous: Trainer | None,
    own_encoder: OwnEncoder | None = None,
) -> Trainer:
    """Return a trainer at the start of a training, or where it was interrupted.

    Args:
        config: the whole configuration.
        plan: steps, batches and the compositor.
        factor: what to train on.
        current: the warm start and, after an interruption, the state.
        seed: for the training.
        previous: the previous training's trainer, whose compiled step is reused if it fits; None compiles one.
        own_encoder: takes the place of the configured encoder.

    Raises:
        RunError: the interrupted training had another encoder.
    """
    features, Y = factor.data.features, factor.standardised_targets()
    X, num_rows, is_per_row = features.X, len(features), config.model.latent.encoder.kind == "per_row"
    rows = draw_rows(num_rows, num_rows if is_per_row else START_ROWS, seed=config.seed, stream=Stream.START_ROWS)
    start = starting_point(
        config.model.with_compositor(plan.compositor),
        config.training.warm_start,
        current.regression,
        features.select(rows),
        Y[rows],
        seed=seed,
        noise_floor=factor.noise_floor,
    )
    start = replace(start, num_data=num_rows)
    model = build_model(config.model, start, num_features=features.num_features, seed=seed, own_encoder=own_encoder)
    kl_weight = config.training.resolved_kl_weight(plan.num_rows, noise=float(current.regression.noise.mean()))
    schedule = Schedule(plan.max_steps, min(plan.batch_size, num_rows), kl_weight, plan.natural_step)
    if previous is not None and previous.fits(model, schedule):
        trainer = previous
        trainer.begin(model, X, Y, seed=seed)
    else:
        trainer = Trainer(model, config.training, schedule, X, Y, seed=seed)
    if current.state is not None:
        if not trainer.accepts(current.state):  # the settings and the table are known to be the same
            raise RunError(
                "encoder: a run must be resumed with its original encoder; got one with other variables. "
                "Pass the original one, or train again with --overwrite."
            )
        trainer.restore(current.state)
    return trainer


def start_defence(config: Config, factor: Factor, current: Unfinished) -> Defence | None:
    """Return the defensive components of a training, from its warm start and its rows."""
    X = factor.data.features.X
    rows = draw_rows(len(X), DEFENCE_ROWS, seed=config.seed, stream=Stream.DEFENCE_ROWS)
    return fit_defence(
        current.regression,
        X[rows],
        standardise(factor.transforms, factor.data.targets[rows]),
        factor.transforms,
        noise_floor=factor.noise_floor,
        weight=config.model.defensive_weight,
    )


@one_blas_thread()
def train_member(work: MemberTraining, worker: Worker) -> Finished:
    """Train to the end; the worker is told every few steps, and given the state every `checkpoint_every` steps.

    The worker keeps the trainer: the next training takes its compiled step, if it fits.

    Raises:
        NumericalError: training still fails numerically after the last retry.
        UsageError: an encoder of the user's own cannot be trained.
        RunError: the interrupted training had another encoder.
    """
    config, plan, factor, seed = work.config, work.plan, work.open(), work.unit.seed
    previous: Trainer | None = worker.kept.get("trainer")
    own_encoder = make_own_encoder(work, factor, previous)  # before the warm start: a wrong one is refused at once
    current = work.current or warm_start(work, factor, worker)
    trainer = prepare(config, plan, factor, current, seed=seed, previous=previous, own_encoder=own_encoder)
    worker.kept["trainer"] = trainer
    best, max_steps, early_stopping = current.best, trainer.schedule.max_steps, config.training.early_stopping
    defence, judge = start_defence(config, factor, current), work.judge or validation_score

    def export(num_components: int) -> Posterior:
        return export_posterior(
            trainer.model, config.model, factor.transforms, defence, num_components=num_components, seed=seed
        )

    def kept() -> Unfinished:
        return replace(current, state=trainer.state(), best=best)

    def is_exhausted() -> bool:
        return plan.validates and trainer.step - best.step >= early_stopping.patience

    settled = kept()
    try:
        if plan.validates and trainer.step == 0:  # the warm start is a candidate too
            best = Best(judge(export(VALIDATION_COMPONENTS), factor.data, seed=seed), 0, trainer.state())
        for event in () if is_exhausted() else fit(trainer):  # exhausted: interrupted at the very end
            score = None
            if plan.validates and (event.passes(early_stopping.every) or trainer.step == max_steps):
                score = judge(export(VALIDATION_COMPONENTS), factor.data, seed=seed)
                if score > best.score:
                    best = Best(score, trainer.step, trainer.state())
            settled = kept()
            worker.report(replace(event, validation_score=score))
            if event.passes(config.training.checkpoint_every):
                worker.keep(settled)
            if is_exhausted():
                break
    except BaseException:  # Ctrl-C, or what the caller's callback raises
        worker.keep(settled)  # not the current state: its steps or its validation may be incomplete
        raise
    steps = trainer.step
    if best.state is not None:
        trainer.restore(best.state)
    return Finished(export(-(-config.predict.num_components // plan.num_members)), steps, trainer.step)


def warm_start(work: MemberTraining, factor: Factor, worker: Worker) -> Unfinished:
    """Fit the sparse GP from which a training starts; where that fails numerically, take its prior."""
    worker.report(Progress("warm start", "sparse GP"))

    def fit_by(settings: WarmStart) -> SparseRegression:
        return fit_sparse_regression(
            factor.data.features,
            factor.standardised_targets(),
            settings,
            work.config.model.output,
            seed=work.unit.seed,
            noise_floor=factor.noise_floor,
        )

    settings = work.config.training.warm_start
    try:
        regression = fit_by(settings)
    except np.linalg.LinAlgError as error:
        if not settings.enabled:
            raise
        worker.report(Progress("warning", f"numbers: the warm start has failed ({error}). {work.name} starts without."))
        regression = fit_by(settings.model_copy(update={"enabled": False}))
    current = Unfinished(regression)
    worker.keep(current)
    return current


def make_own_encoder(work: MemberTraining, factor: Factor, previous: Trainer | None) -> OwnEncoder | None:
    """Make the encoder of a training, if it is one of the user's own.

    Raises:
        UsageError: it cannot be trained, or it is that of the previous training.
    """
    if work.make_encoder is None:
        return None
    latent_dim = work.config.model.latent.dim
    prior = build_prior(work.config.model.latent)
    X, Y = factor.data.features.X, factor.standardised_targets()
    spec = EncoderSpec(
        num_features=X.shape[1],
        num_targets=Y.shape[1],
        latent_dim=latent_dim,
        parameters=tuple(prior.bijectors),
        num_rows=len(X),
        seed=work.unit.seed,
    )
    batch = slice(work.plan.batch_size)
    rows = np.concatenate([X[batch], Y[batch]], axis=1)
    last = None if previous is None else previous.model.own_encoder
    return build_own_encoder(work.make_encoder, spec, prior, rows, previous=last)


def validation_score(posterior: Posterior, data: TrainingData, *, seed: int) -> float:
    """Return the exact mixture's mean log density over at most 1000 validation rows [nats per row]."""
    rows = draw_rows(len(data.X_validation), VALIDATION_ROWS, seed=seed, stream=Stream.VALIDATION_ROWS)
    return float(posterior.predict(data.X_validation[rows]).log_prob(data.targets_validation[rows]).mean())
