"""The choice of each target's transform by the held-out density of the warm start, log-Jacobian included."""

from __future__ import annotations

import numpy as np

from cde_app import config
from cde_app.arrays import Array, IndexArray
from cde_app.machine.streams import Stream, generator
from cde_app.targets import TargetTransform, candidate_transforms, fit_transform
from cde_app.targets.rounding import find_rounding
from cde_app.training.features import Features
from cde_app.training.warm_start import fit_screening_regression

MIN_GAIN = 0.05
"""Gain over the identity that a transform must bring [nats per row]."""
SCREENING_ROWS = 2000
HELD_OUT = 0.2


def choose_transform(
    target: config.TargetColumn,
    features: Features,
    y: Array,
    y_validation: Array,
    settings: config.Config,
) -> TargetTransform:
    """Return a target's transform, fitted on all rows; `auto` screens the candidates first.

    A transform that is undefined at a validation row is not screened: its log density would be minus infinity at every
    step, and no step could be chosen by it.

    Args:
        target: the column's settings.
        features: the N training rows.
        y: [N], the target in the user's units.
        y_validation: [V], the same of the validation rows; V may be 0.
        settings: the configuration.
    """
    label = f"column {target.column!r}"
    if target.transform.kind != "auto":
        return fit_transform(target.transform, y, label=label)
    candidates = candidate_transforms(y, label=label)
    candidates = [one for one in candidates if np.isfinite(one.forward(y_validation)).all()]
    held_out, fitted = split_for_screening(len(features), seed=settings.seed)
    if len(held_out) < 2 or len(candidates) == 1:
        return candidates[0]
    scores = []
    for candidate in candidates:
        z = candidate.forward(y)[:, None]
        rounded = find_rounding(target.column, y, candidate, target.rounding)
        floor = rounded.variance if rounded else 0.0
        try:
            regression = fit_screening_regression(features.select(fitted), z[fitted], settings, noise_floor=floor)
        except np.linalg.LinAlgError:  # a scale on which not even a sparse GP can be fitted
            scores.append(-np.inf)
            continue
        density = regression.robust_log_density(features.X[held_out], z[held_out])[:, 0]
        scores.append((density + candidate.log_jacobian(y[held_out])).mean())
    best = int(np.argmax(scores))
    return candidates[best if scores[best] > scores[0] + MIN_GAIN else 0]  # the first is the identity


def split_for_screening(num_rows: int, *, seed: int, most: int = SCREENING_ROWS) -> tuple[IndexArray, IndexArray]:
    """Return the rows held out and the rows fitted for a choice before training, at most `most` in total."""
    rows = generator(seed, Stream.SCREENING_ROWS).permutation(num_rows)[:most]
    return tuple(np.split(rows, [round(HELD_OUT * len(rows))]))
