"""A rough estimate of what a training costs, from sizes only."""

from __future__ import annotations

import math
import sys
from dataclasses import dataclass

from cde_app import config
from cde_app.data.limits import inducing_inputs
from cde_app.machine.memory import num_side_by_side, resident_bytes
from cde_app.plan import Plan

_START_SECONDS = 8.0  # imports and choices; scores and pictures at the end
_TRAINING_SECONDS = 4.0  # warm start, tracing
_STEP_SECONDS = 0.004  # overhead of one step
_WORK_SECONDS = 0.006  # linear algebra of one step with the default sizes
_DEFAULT_WORK = (64**2 + 128**2 + 64**2) * 384 * 5  # M^2 over the GPs, rows, latent draws
_MOST_FITTED = 500_000  # rows of the warm start, which holds several numbers for each
_MOST_STARTED = 200_000  # rows of the starting point
_COPIES = 10  # of a batch's features in a step and its gradient
_COMMAND_BYTES = 250e6  # the command itself, which does not load TensorFlow
HOW_TO_LOWER = (
    "Lower training.batch_size, training.objective.num_samples or the numbers of inducing inputs, group rare labels "
    "(each is a feature)"
)
"""What a training's memory depends on."""
TRAINING_BYTES = 700e6
"""Memory of a process that trains a small model, TensorFlow and the other libraries above all."""


def held_bytes() -> int:
    """Return how much of `TRAINING_BYTES` this process has already: it has loaded TensorFlow, and may have trained."""
    return min(int(TRAINING_BYTES), resident_bytes()) if "tensorflow" in sys.modules else 0


@dataclass(frozen=True)
class Cost:
    """What a run takes, within a factor of three."""

    seconds: float
    """With one core for each of the trainings that run side by side."""
    num_side_by_side: int
    """Trainings that run at the same time on this machine, as far as it has cores and memory."""
    bytes_per_training: float
    """Memory of a process that trains."""

    @property
    def memory_bytes(self) -> float:
        """Memory of all processes of the run."""
        return _COMMAND_BYTES + self.num_side_by_side * self.bytes_per_training


def estimate_cost(settings: config.Config, plan: Plan, *, num_features: int) -> Cost:
    """Estimate the cost of a run.

    A step takes 4 ms + 6 ms x W, where W = sum(M^2) B K (1 + (P - 1) / 2) (1 + D / 50) is relative to the default
    sizes (M = 64, 128, 64; B = 384 rows; K = 5 draws; one target). The start adds 8 s to the run and 4 s to each
    training. A process that trains has 700 MB plus 8 bytes x (N + 12 min(N, 500,000) P + 12 B K P sum(M) +
    10 P sum(M^2) + D (10 B K + 2 min(N, 200,000) + 8 sum(M))); X and Y are on disk.

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
    numbers = num_rows + 12 * min(num_rows, _MOST_FITTED) * num_targets
    numbers += 12 * batch_size * draws * targets * sum(sizes) + 10 * targets * squares
    numbers += num_features * (_COPIES * batch_size * draws + 2 * min(num_rows, _MOST_STARTED) + 8 * sum(sizes))
    bytes_per_training = TRAINING_BYTES + 8.0 * numbers
    side_by_side = num_side_by_side(len(plan.units), bytes_per_training)
    per_training = _TRAINING_SECONDS + plan.max_steps * (_STEP_SECONDS + _WORK_SECONDS * work)
    waves = math.ceil(len(plan.units) / side_by_side)
    return Cost(_START_SECONDS + waves * per_training, side_by_side, bytes_per_training)
