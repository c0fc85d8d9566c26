"""One training: steps, validation, best state, export."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Protocol

from cde_app.config import Config
from cde_app.machine.rows import draw_rows
from cde_app.machine.streams import Stream
from cde_app.model.build import build_model
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

VALIDATION_COMPONENTS = 64
VALIDATION_ROWS = 1000
START_ROWS = 200_000
"""Largest number of training rows, drawn at random, for the starting point; a per-row encoder needs all rows."""
DEFENCE_ROWS = 20_000
"""Largest number of training rows, drawn at random, to which the tails and the climatology are fitted."""


class Judge(Protocol):
    """Scores a posterior on a training's validation rows; higher is better."""

    def __call__(self, posterior: Posterior, data: TrainingData, *, seed: int) -> float: ...  # noqa: D102


def prepare(
    config: Config, plan: Plan, factor: Factor, current: Unfinished, *, seed: int, previous: Trainer | None
) -> Trainer:
    """Return a trainer at the start of a training, or where it was interrupted.

    Args:
        config: the whole configuration.
        plan: steps, batches and the compositor.
        factor: what to train on.
        current: the warm start and, after an interruption, the state.
        seed: for the training.
        previous: the previous training's trainer, whose compiled step is reused if it fits; None compiles one.
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
    model = build_model(config.model, start, num_features=features.num_features, seed=seed)
    kl_weight = config.training.resolved_kl_weight(plan.num_rows, noise=float(current.regression.noise.mean()))
    schedule = Schedule(plan.max_steps, min(plan.batch_size, num_rows), kl_weight, plan.natural_step)
    if previous is not None and previous.fits(model, schedule):
        trainer = previous
        trainer.begin(model, X, Y, seed=seed)
    else:
        trainer = Trainer(model, config.training, schedule, X, Y, seed=seed)
    if current.state is not None:
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


def train_member(
    config: Config,
    factor: Factor,
    trainer: Trainer,
    current: Unfinished,
    *,
    seed: int,
    validates: bool,
    num_components: int,
    judge: Judge,
    keep: Callable[[Unfinished], None],
    report: Callable[[Progress], None],
) -> Finished:
    """Train to the end.

    Args:
        config: the whole configuration.
        factor: what to train on.
        trainer: from `prepare`.
        current: as for `prepare`.
        seed: for the training.
        validates: whether to keep the best state on the validation rows instead of the last one.
        num_components: of the exported posterior.
        judge: scores a state on the validation rows.
        keep: stores the training's progress; called every `checkpoint_every` steps and on interruption.
        report: called every few steps.

    Raises:
        NumericalError: training still fails numerically after the last retry.
    """
    settings, best, max_steps = config.training, current.best, trainer.schedule.max_steps
    defence = start_defence(config, factor, current)

    def export(num_components: int) -> Posterior:
        return export_posterior(
            trainer.model, config.model, factor.transforms, defence, num_components=num_components, seed=seed
        )

    def kept() -> Unfinished:
        return replace(current, state=trainer.state(), best=best)

    settled = kept()
    try:
        if validates and trainer.step == 0:  # the warm start is a candidate too
            best = Best(judge(export(VALIDATION_COMPONENTS), factor.data, seed=seed), 0, trainer.state())
        for event in fit(trainer):
            score = None
            if validates and (event.passes(settings.early_stopping.every) or trainer.step == max_steps):
                score = judge(export(VALIDATION_COMPONENTS), factor.data, seed=seed)
                if score > best.score:
                    best = Best(score, trainer.step, trainer.state())
            settled = kept()
            report(replace(event, validation_score=score))
            if event.passes(settings.checkpoint_every):
                keep(settled)
            if validates and trainer.step - best.step >= settings.early_stopping.patience:
                break
    except KeyboardInterrupt:
        keep(settled)  # not the current state: its steps or its validation may be incomplete
        raise
    steps = trainer.step
    if best.state is not None:
        trainer.restore(best.state)
    return Finished(export(num_components), steps, trainer.step)


def validation_score(posterior: Posterior, data: TrainingData, *, seed: int) -> float:
    """Return the exact mixture's mean log density over at most 1000 validation rows [nats per row]."""
    rows = draw_rows(len(data.X_validation), VALIDATION_ROWS, seed=seed, stream=Stream.VALIDATION_ROWS)
    return float(posterior.predict(data.X_validation[rows]).log_prob(data.targets_validation[rows]).mean())
