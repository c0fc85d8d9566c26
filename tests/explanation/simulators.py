"""Forecasters whose density is known: a normal whose mean and log sd are given functions of the features."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from cde_app.arrays import Array
from cde_app.explanation.inputs import Input
from cde_app.predictive.mixture import Mixture
from cde_app.targets import Identity

NAMES = ("a", "b", "c", "d")
SLOPE = 0.6


def normal(mean: Callable[[Array], Array], log_sd: Callable[[Array], Array]) -> Callable[[Array], Mixture]:
    """Return the forecaster y = mean(x) + exp(log_sd(x)) e."""

    def predict(X: Array) -> Mixture:
        means, variances = mean(X)[:, None, None], np.exp(2 * log_sd(X))[:, None, None]
        return Mixture(np.ones(1), means, variances, (Identity(0.0, 1.0),), names=("y",))

    return predict


predict = normal(lambda X: X[:, 0], lambda X: SLOPE * X[:, 1])
"""a moves only the mean, b only the log sd, c and d nothing."""
shared = normal(lambda X: 0.5 * (X[:, 0] + X[:, 3]), lambda X: SLOPE * X[:, 1])
"""The same, but a model that has spread what a says over a and d."""


def table(num_rows: int, *, seed: int, noise: float = 0.05) -> tuple[Array, Array]:
    """Return rows of a, b, c, and d = a + noise, [N, 4], and observations, [N, 1]."""
    random = np.random.default_rng(seed)
    a, b, c = random.standard_normal((3, num_rows))
    X = np.stack([a, b, c, a + noise * random.standard_normal(num_rows)], axis=1)
    return X, (a + np.exp(SLOPE * b) * random.standard_normal(num_rows))[:, None]


def inputs() -> list[Input]:
    """Return the four inputs."""
    return [Input(name, (index,)) for index, name in enumerate(NAMES)]
