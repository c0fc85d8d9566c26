"""One training from data to posterior: warm start, steps, validation, best state, export."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from cde_app.config import Config
from cde_app.data.transform import TargetTransform
from cde_app.model.build import Model, build_model
from cde_app.predictive.posterior import Posterior
from cde_app.training.checkpoint import Best, Checkpoint
from cde_app.training.export import export_posterior
from cde_app.training.kernel_start import Axis
from cde_app.training.loop import Schedule, Trainer, fit, resolve_schedule
from cde_app.training.starting_point import starting_point
from cde_app.training.target_transform import choose_transform
from cde_app.training.warm_start import fit_sparse_regression

Array = NDArray[np.float64]

VALIDATION_COMPONENTS = 64
VALIDATION_ROWS = 1000


@dataclass(frozen=True)
class TrainingData:
    """The rows a training sees."""

    X: Array
    """[N, D], standardised features."""
    targets: Array
    """[N, P], user's units."""
    X_validation: Array
    """[V, D]."""
    targets_validation: Array
    """[V, P]; V may be 0."""
    axes: tuple[Axis, ...]
    """[D], what the features are."""


@dataclass(frozen=True)
class Report:
    """What a training says on its way."""

    stage: Literal["warm start", "training"]
    step: int = 0
    max_steps: int = 0
    bound: float | None = None
    validation_score: float | None = None
    elapsed_seconds: float = 0.0
    steps_per_second: float | None = None
    message: str = ""


@dataclass(frozen=True)
class Trained:
    """What a training leaves."""

    posterior: Posterior
    schedule: Schedule
    steps: int
    """Steps done."""
    best_step: int
    """The step whose state was kept."""


def train_posterior(
    config: Config,
    data: TrainingData,
    *,
    checkpoint: Checkpoint | None,
    save: Callable[[Checkpoint], None],
    report: Callable[[Report], None],
) -> Trained:
    """Train the model that the configuration describes.

    Args:
        config: the whole configuration.
        data: training and validation rows.
        checkpoint: where an interrupted training stopped; None starts afresh.
        save: stores a checkpoint; called after the warm start, every `checkpoint_every` steps, and on interruption.
        report: called after every few steps.

    Raises:
        NumericalError: training failed numerically after every retry.
    """
    started = time.monotonic()
    if checkpoint is None:
        checkpoint = warm_start(config, data, report)
        save(checkpoint)
    else:
        started -= checkpoint.elapsed_seconds
    trainer, model = prepare(config, data, checkpoint)

    def current() -> Checkpoint:
        return replace(checkpoint, state=trainer.state(), best=best, elapsed_seconds=time.monotonic() - started)

    def export(num_components: int) -> Posterior:
        return export_posterior(
            model,
            config.model,
            checkpoint.transforms,
            checkpoint.regression,
            num_components=num_components,
            seed=config.seed,
        )

    settings, best, max_steps = config.training, checkpoint.best, trainer.schedule.max_steps
    validates = settings.early_stopping.enabled and len(data.X_validation) > 0
    try:
        for step in fit(trainer):
            score = None
            if validates and (step.passes(settings.early_stopping.every) or step.step == max_steps):
                score = validation_score(export(VALIDATION_COMPONENTS), data, seed=config.seed)
                if score > best.score:
                    best = Best(score, step.step, trainer.state())
            elapsed = time.monotonic() - started
            report(Report("training", step.step, max_steps, step.bound, score, elapsed, step.steps_per_second))
            if step.passes(settings.checkpoint_every):
                save(current())
            if validates and step.step - best.step >= settings.early_stopping.patience:
                break
    except KeyboardInterrupt:
        save(current())
        raise
    steps = trainer.step
    if best.state is not None:
        trainer.restore(best.state)
    return Trained(export(config.predict.num_components), trainer.schedule, steps, trainer.step)


def warm_start(config: Config, data: TrainingData, report: Callable[[Report], None]) -> Checkpoint:
    """Choose the targets' transforms and fit the sparse GP that training starts from."""
    started = time.monotonic()
    settings = config.training.warm_start
    transforms = []
    for index, target in enumerate(config.data.targets):
        report(Report("warm start", message=f"transform of {target.column}"))
        transforms.append(
            choose_transform(
                target, data.X, data.targets[:, index], config.model, settings, axes=data.axes, seed=config.seed
            )
        )
    Y = standardise(tuple(transforms), data.targets)
    report(Report("warm start", message="sparse GP"))
    regression = fit_sparse_regression(data.X, Y, settings, config.model.output, axes=data.axes, seed=config.seed)
    return Checkpoint(tuple(transforms), regression, None, Best(), time.monotonic() - started)


def prepare(config: Config, data: TrainingData, checkpoint: Checkpoint) -> tuple[Trainer, Model]:
    """Build the model and put it, and its optimisers, where the checkpoint left them."""
    Y = standardise(checkpoint.transforms, data.targets)
    start = starting_point(
        config.model, config.training.warm_start, checkpoint.regression, data.X, Y, axes=data.axes, seed=config.seed
    )
    model = build_model(config.model, start, num_features=data.X.shape[1], seed=config.seed)
    noise = float(checkpoint.regression.noise.mean())
    schedule = resolve_schedule(config.training, num_rows=len(data.X), noise=noise)
    trainer = Trainer(model, config.training, schedule, data.X, Y, seed=config.seed)
    if checkpoint.state is not None:
        trainer.restore(checkpoint.state)
    return trainer, model


def standardise(transforms: tuple[TargetTransform, ...], targets: Array) -> Array:
    """Return the standardised targets, [N, P]."""
    return np.stack([transform.forward(targets[:, p]) for p, transform in enumerate(transforms)], axis=1)


def validation_score(posterior: Posterior, data: TrainingData, *, seed: int) -> float:
    """Return the exact mixture's mean log density over (at most 1000 of) the validation rows [nats per row]."""
    rows = np.sort(np.random.default_rng([seed, 8]).permutation(len(data.X_validation))[:VALIDATION_ROWS])
    return float(posterior.predict(data.X_validation[rows]).log_density(data.targets_validation[rows]).mean())
