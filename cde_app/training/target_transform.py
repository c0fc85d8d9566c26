"""The choice of each target's transform by the held-out density of the warm start, log-Jacobian included."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from cde_app import config
from cde_app.data.transform import TargetTransform, candidate_transforms, fit_transform
from cde_app.training.kernel_start import Axis
from cde_app.training.warm_start import fit_sparse_regression

Array = NDArray[np.float64]

MIN_GAIN = 0.05
"""A transform must gain this much over the identity [nats per row]."""
SCREENING_ROWS = 2000
HELD_OUT = 0.2
SCREENING_STEPS = 50
SCREENING_INDUCING = 64


def choose_transform(
    target: config.TargetColumn,
    X: Array,
    y: Array,
    settings: config.Model,
    warm_start: config.WarmStart,
    *,
    axes: tuple[Axis, ...],
    seed: int,
) -> TargetTransform:
    """Return a target's transform, fitted on all rows; `auto` screens identity, log and Yeo-Johnson first.

    Args:
        target: the column's settings.
        X: [N, D], standardised features of the training rows.
        y: [N], the target in the user's units.
        settings: the `model` block.
        warm_start: the `warm_start` block.
        axes: [D], what the features are.
        seed: of the choice of rows and of the screening fits.
    """
    match target.transform.kind:
        case "log":
            return fit_transform("log", y, shift=target.transform.shift, label=f"column {target.column!r}")
        case "identity" | "yeo_johnson":
            return fit_transform(target.transform.kind, y, label=f"column {target.column!r}")
    candidates = candidate_transforms(y, label=f"column {target.column!r}")
    rows = np.random.default_rng([seed, 7]).permutation(len(X))[:SCREENING_ROWS]
    num_held_out = round(HELD_OUT * len(rows))
    if num_held_out < 2 or len(candidates) == 1:
        return candidates[0]
    held_out, fitted = rows[:num_held_out], rows[num_held_out:]
    screening = warm_start.model_copy(update={"enabled": True, "max_steps": min(SCREENING_STEPS, warm_start.max_steps)})
    # The identity as mean function is of several targets; one alone has no column of its own in it.
    output = settings.output.model_copy(
        update={
            "num_inducing": min(SCREENING_INDUCING, settings.output.num_inducing),
            "mean": config.ZeroMean() if settings.output.mean.kind == "identity" else settings.output.mean,
        }
    )
    scores = []
    for candidate in candidates:
        z = candidate.forward(y)[:, None]
        regression = fit_sparse_regression(X[fitted], z[fitted], screening, output, axes=axes, seed=seed)
        density = regression.log_density(X[held_out], z[held_out])[:, 0] + candidate.log_jacobian(y[held_out])
        scores.append(density.mean())
    best = int(np.argmax(scores))
    identity = next(index for index, candidate in enumerate(candidates) if candidate.kind == "identity")
    return candidates[best if scores[best] > scores[identity] + MIN_GAIN else identity]
