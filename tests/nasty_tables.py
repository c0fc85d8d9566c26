"""Tables that strain the numbers of a training, each with the configuration of its columns."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd

Made = tuple[pd.DataFrame, list[str | dict[str, Any]]]
"""A table whose target is `y`, and its inputs."""
TABLES: dict[str, Callable[[], Made]] = {}
ROWS = 200


def nasty(make: Callable[[], Made]) -> Callable[[], Made]:
    """Add a table under the name of its function."""
    TABLES[make.__name__] = make
    return make


def plain(num_rows: int = ROWS, num_inputs: int = 1) -> tuple[np.ndarray, np.ndarray, np.random.Generator]:
    """Return inputs [N, D], a target [N] that follows the first one, and a generator for more."""
    random = np.random.default_rng(7)
    X = random.uniform(-2.0, 2.0, (num_rows, num_inputs))
    return X, np.sin(2.0 * X[:, 0]) + 0.2 * random.standard_normal(num_rows), random


def one_input(x: Any, y: Any) -> Made:
    """Return a table with one numeric input."""
    return pd.DataFrame({"x": x, "y": y}), ["x"]


@nasty
def duplicate_rows() -> Made:
    """Four different rows, fifty times each."""
    X, y, _ = plain(4)
    return one_input(np.tile(X[:, 0], 50), np.tile(y, 50))


@nasty
def duplicate_columns() -> Made:
    """Five equal inputs."""
    X, y, _ = plain()
    return pd.DataFrame({**{f"x{k}": X[:, 0] for k in range(5)}, "y": y}), [f"x{k}" for k in range(5)]


@nasty
def huge_values() -> Made:
    """Input and target in units of 1e12."""
    X, y, _ = plain()
    return one_input(1e12 * X[:, 0], 1e12 * y)


@nasty
def tiny_values() -> Made:
    """Input and target in units of 1e-12."""
    X, y, _ = plain()
    return one_input(1e-12 * X[:, 0], 1e-12 * y)


@nasty
def far_from_zero() -> Made:
    """Input and target at 1e12 with a spread of one."""
    X, y, _ = plain()
    return one_input(1e12 + X[:, 0], 1e12 + y)


@nasty
def enormous_target() -> Made:
    """A target of 1e140."""
    X, y, _ = plain()
    return one_input(X[:, 0], 1e140 * y)


@nasty
def vanishing_target() -> Made:
    """A target with a spread of 1e-170."""
    X, y, _ = plain()
    return one_input(X[:, 0], 1e-170 * y)


@nasty
def enormous_input() -> Made:
    """An input of 1e200."""
    X, y, _ = plain()
    return one_input(1e200 * X[:, 0], y)


@nasty
def vanishing_input() -> Made:
    """An input with a spread of 1e-200."""
    X, y, _ = plain()
    return one_input(1e-200 * X[:, 0], y)


@nasty
def constant_input() -> Made:
    """The only input has one value."""
    _, y, _ = plain()
    return one_input(np.full(ROWS, 3.0), y)


@nasty
def constant_target() -> Made:
    """The target has one value."""
    X, _, _ = plain()
    return one_input(X[:, 0], np.full(ROWS, 3.0))


@nasty
def outlying_target() -> Made:
    """One target of 1e9 among those of one."""
    X, y, _ = plain()
    y[17] = 1e9
    return one_input(X[:, 0], y)


@nasty
def outlying_input() -> Made:
    """One input of 1e9 among those of one."""
    X, y, _ = plain()
    X[17] = 1e9
    return one_input(X[:, 0], y)


@nasty
def two_rows() -> Made:
    """Nothing to hold out, and nothing to learn."""
    return one_input([0.0, 1.0], [1.0, 2.0])


@nasty
def more_columns_than_rows() -> Made:
    """Fifty rows of 200 inputs."""
    X, y, _ = plain(50, 200)
    return pd.DataFrame({**{f"x{k}": X[:, k] for k in range(200)}, "y": y}), [f"x{k}" for k in range(200)]


@nasty
def labels_only() -> Made:
    """Three inputs, all of them labels."""
    _, _, random = plain()
    labels = {name: random.choice(list("abcde"), ROWS) for name in ("u", "v", "w")}
    y = (labels["u"] == "a") + 2.0 * (labels["v"] == "b") + 0.3 * random.standard_normal(ROWS)
    return pd.DataFrame({**labels, "y": y}), [{"column": name, "kind": "categorical"} for name in labels]


@nasty
def atoms() -> Made:
    """Half of the target is exactly zero."""
    X, y, random = plain()
    return one_input(X[:, 0], np.where(random.uniform(size=ROWS) < 0.5, 0.0, y))


@nasty
def date_only() -> Made:
    """A date is the only input."""
    _, y, _ = plain()
    dates = pd.date_range("2020-01-01", periods=ROWS).strftime("%Y-%m-%d")
    return pd.DataFrame({"day": dates, "y": y}), [{"column": "day", "kind": "datetime"}]


@nasty
def ten_thousand_labels() -> Made:
    """Ten thousand labels in 12,000 rows."""
    _, _, random = plain()
    labels = np.concatenate([np.arange(10_000), random.integers(0, 10_000, 2_000)])
    frame = pd.DataFrame({"label": [f"n{label}" for label in labels], "y": random.standard_normal(len(labels))})
    return frame, [{"column": "label", "kind": "categorical"}]


@nasty
def five_hundred_labels() -> Made:
    """500 labels in 600 rows."""
    _, _, random = plain()
    labels = np.concatenate([np.arange(500), random.integers(0, 500, 100)])
    frame = pd.DataFrame({"label": [f"n{label}" for label in labels], "y": random.standard_normal(len(labels))})
    return frame, [{"column": "label", "kind": "categorical"}]
