"""A rough estimate of what a training costs, from sizes only."""

from __future__ import annotations

from dataclasses import dataclass

from cde_app import config
from cde_app.data.limits import inducing_inputs
from cde_app.plan import Plan

_START_SECONDS = 15.0  # imports, warm start, tracing
_STEP_SECONDS = 0.004  # overhead of one step
_WORK_SECONDS = 0.006  # linear algebra of one step with the default sizes
_DEFAULT_WORK = (64**2 + 128**2 + 64**2) * 384 * 5  # M^2 over the GPs, rows, latent draws
_START_BYTES = 700e6  # TensorFlow and the libraries


@dataclass(frozen=True)
class Cost:
    """Seconds on one core and bytes, within a factor of three."""

    seconds: float
    memory_bytes: float


def estimate_cost(settings: config.Config, plan: Plan, *, num_features: int) -> Cost:
    """Estimate the cost of a run.

    A step takes 4 ms + 6 ms x W, where W = sum(M^2) B K (1 + (P - 1) / 2) (1 + D / 50) is relative to the default
    sizes (M = 64, 128, 64; B = 384 rows; K = 5 draws; one target); the start adds 15 s. Memory is 700 MB plus
    8 bytes x (12 N P + 12 B K P sum(M) + 10 P sum(M^2)); X is on disk.

    Args:
        settings: the configuration.
        plan: the trainings, of N rows each.
        num_features: D.
    """
    num_rows, batch_size, num_targets = plan.num_rows, plan.batch_size, len(plan.order)
    targets = num_targets // plan.num_factors  # of one model
    draws = settings.training.objective.num_samples if settings.model.latent.dim else 1
    sizes = [inducing.limited_to(num_rows) for inducing in inducing_inputs(settings.model)]
    squares = sum(size**2 for size in sizes)
    work = squares * batch_size * draws * (1 + (targets - 1) / 2) * (1 + num_features / 50) / _DEFAULT_WORK
    numbers = 12 * num_rows * num_targets + 12 * batch_size * draws * targets * sum(sizes) + 10 * targets * squares
    return Cost(
        seconds=_START_SECONDS + len(plan.units) * plan.max_steps * (_STEP_SECONDS + _WORK_SECONDS * work),
        memory_bytes=_START_BYTES + 8.0 * numbers,
    )
