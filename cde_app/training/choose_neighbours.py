"""Whether the nearest training rows are among a run's features, by the held-out density of sparse GPs."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from cde_app import config
from cde_app.arrays import Array
from cde_app.predictive.neighbours import draw_neighbours, fit_neighbours
from cde_app.training.choose_transform import split_for_screening
from cde_app.training.features import Features, neighbour_axes
from cde_app.training.warm_start import fit_screening_regression

MIN_GAIN, CLEAR_GAIN = 0.02, 0.1
"""Gain that the features must bring [nats per row and target], and gain that needs no second fit."""
MOST_ROWS = 10_000
"""Largest number of rows used to judge neighbours."""


def uses_neighbours(settings: config.Config, features: Features, Y: Array, *, noise_floor: Array) -> bool:
    """Return whether a run appends the features of the nearest training rows.

    Args:
        settings: the configuration; `model.neighbours.enabled` decides, or leaves it to the screening.
        features: the N training rows.
        Y: [N, P], standardised targets.
        noise_floor: [P], smallest noise variances.
    """
    neighbours, X = settings.model.neighbours, features.X
    if neighbours.enabled != "auto":
        return neighbours.enabled and len(X) > 1
    are_exchangeable = settings.data.split.has_exchangeable_rows
    if not settings.model.screens_neighbours(len(X), features.num_features, has_exchangeable_rows=are_exchangeable):
        return False
    held_out, fitted = split_for_screening(len(X), seed=settings.seed, most=MOST_ROWS)
    others = np.setdiff1d(draw_neighbours(len(X), seed=settings.seed), held_out)
    known = np.union1d(others, fitted)  # more than are fitted: the more there are, the nearer the neighbours
    nearest = fit_neighbours(X[known], Y[known], count=neighbours.count)
    bare = features.select(fitted)
    extended = bare.extended(
        nearest.extend_training_rows(bare.X, np.searchsorted(known, fitted)), neighbour_axes(Y.shape[1])
    )
    extended_held_out = nearest.extend(X[held_out])

    def gain(*, rough: bool) -> float:
        def score(inputs: Features, held_out_inputs: Array) -> float:
            regression = fit_screening_regression(inputs, Y[fitted], settings, noise_floor=noise_floor, rough=rough)
            return float(regression.log_density(held_out_inputs, Y[held_out]).mean())

        return score(extended, extended_held_out) - score(bare, X[held_out])

    try:
        return is_gain(lambda: gain(rough=True), lambda: gain(rough=False))
    except np.linalg.LinAlgError:  # nothing shows a gain
        return False


def is_gain(of_rough: Callable[[], float], of_good: Callable[[], float]) -> bool:
    """Decide by the gain of a rough GP and, only if that is unclear, by the gain of one like the warm start.

    Neighbours help a rough GP more than a good one, so a small gain must hold for a good one too.
    """
    first = of_rough()
    return first > CLEAR_GAIN or (first > MIN_GAIN and of_good() > MIN_GAIN)
