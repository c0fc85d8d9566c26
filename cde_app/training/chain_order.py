"""The order of the targets in a chain, by the held-out density of a chain of sparse GPs."""

from __future__ import annotations

from itertools import permutations

import numpy as np
from numpy.typing import NDArray

from cde_app import config
from cde_app.predictive.chain import extend
from cde_app.training.kernel_start import Axis
from cde_app.training.target_transform import split_for_screening
from cde_app.training.warm_start import fit_screening_regression

Array = NDArray[np.float64]

MIN_GAIN = 0.02
"""Another order must gain this much over the table's [nats per row]."""
MOST_TARGETS = 3


def choose_order(
    settings: config.Config, X: Array, Y: Array, *, axes: tuple[Axis, ...], noise_floor: Array
) -> tuple[int, ...]:
    """Return the targets' places in the order in which a chain takes them.

    Args:
        settings: the configuration; `model.chain_order` names the order, or leaves it to the screening.
        X: [N, D], standardised features of the training rows.
        Y: [N, P], standardised targets.
        axes: [D], what the features are.
        noise_floor: [P], smallest noise variances.
    """
    names, named = [target.column for target in settings.data.targets], settings.model.chain_order
    if named:
        return tuple(names.index(name) for name in named)
    listed = tuple(range(len(names)))
    held_out, fitted = split_for_screening(len(X), seed=settings.seed)
    if settings.model.targets_model == "joint" or not 1 < len(names) <= MOST_TARGETS or len(held_out) < 2:
        return listed
    X, Y = X[rows := np.concatenate([held_out, fitted])], Y[rows]
    held_out, fitted = np.split(np.arange(len(rows)), [len(held_out)])
    scores: dict[tuple[int, frozenset[int]], float] = {}

    def score(target: int, earlier: tuple[int, ...]) -> float:
        """Return the held-out density of one target given the ones before it, in whichever order those come."""
        key = (target, frozenset(earlier))
        if key not in scores:
            inputs, input_axes = X, axes
            for place in sorted(earlier):
                inputs, input_axes = extend(inputs, Y[:, place]), (*input_axes, Axis(names[place]))
            regression = fit_screening_regression(
                inputs[fitted], Y[fitted][:, [target]], settings, axes=input_axes, noise_floor=noise_floor[[target]]
            )
            scores[key] = float(regression.log_density(inputs[held_out], Y[held_out][:, [target]]).mean())
        return scores[key]

    totals = {order: sum(score(t, order[:k]) for k, t in enumerate(order)) for order in permutations(listed)}
    best = max(totals, key=lambda order: totals[order])
    return best if totals[best] > totals[listed] + MIN_GAIN else listed
