"""A rough estimate of what a training costs, from sizes alone."""

from __future__ import annotations

from dataclasses import dataclass

from cde_app import config
from cde_app.data.limits import inducing_inputs

_START_SECONDS = 15.0  # imports, warm start, tracing
_STEP_SECONDS = 0.004  # overhead of one step
_WORK_SECONDS = 0.006  # linear algebra of one step with the default sizes
_DEFAULT_WORK = (64**2 + 128**2 + 64**2) * 384 * 5  # M^2 over the GPs, rows, latent draws
_START_BYTES = 700e6  # TensorFlow and the libraries


@dataclass(frozen=True)
class Cost:
    """Trainings, steps and rows per step, `auto` resolved; seconds on one core and bytes, within a factor of three."""

    num_trainings: int
    num_left_out: int
    """Training rows that each training leaves out, to be judged by them."""
    num_rows: int
    """Training rows that each training keeps; by them `max_steps` and `batch_size` are resolved."""
    max_steps: int
    batch_size: int
    seconds: float
    memory_bytes: float


def estimate_cost(
    settings: config.Config, *, num_rows: int, num_validation_rows: int, num_features: int, num_targets: int
) -> Cost:
    """Estimate the cost of one training.

    A run has one training per member of the ensemble and per factor of a chain, which has one of the P targets. A step
    takes 4 ms + 6 ms x W, W = sum(M^2) B K (1 + (P - 1) / 2) (1 + D / 50) relative to W of the default sizes (M = 64,
    128, 64; B = 384 rows; K = 5 draws; one target); 15 s are added for the start. Memory is 700 MB and
    8 bytes x (12 N P + 12 B K P sum(M) + 10 P sum(M^2)); X is on disk.

    Args:
        settings: the configuration.
        num_rows: N, training rows.
        num_validation_rows: rows that validate every training.
        num_features: D.
        num_targets: P.
    """
    training = settings.training
    factors = num_targets if settings.model.targets_model == "chain" else 1
    num_trainings = factors * training.resolved_ensemble(num_rows, num_validation_rows=num_validation_rows)
    num_left_out = training.resolved_left_out(num_rows, num_validation_rows=num_validation_rows)
    num_rows -= num_left_out
    max_steps, batch_size = training.resolved_max_steps(num_rows), training.resolved_batch_size(num_rows)
    targets = num_targets // factors  # of one model
    draws = training.objective.num_samples if settings.model.latent.dim else 1
    sizes = [place.limited_to(num_rows) for place in inducing_inputs(settings.model)]
    squares = sum(size**2 for size in sizes)
    work = squares * batch_size * draws * (1 + (targets - 1) / 2) * (1 + num_features / 50) / _DEFAULT_WORK
    numbers = 12 * num_rows * num_targets + 12 * batch_size * draws * targets * sum(sizes) + 10 * targets * squares
    return Cost(
        num_trainings=num_trainings,
        num_left_out=num_left_out,
        num_rows=num_rows,
        max_steps=max_steps,
        batch_size=batch_size,
        seconds=_START_SECONDS + num_trainings * max_steps * (_STEP_SECONDS + _WORK_SECONDS * work),
        memory_bytes=_START_BYTES + 8.0 * numbers,
    )
