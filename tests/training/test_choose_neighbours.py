"""When the nearest training rows become features."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from cde_app.config import Config
from cde_app.training.choose_neighbours import is_gain, uses_neighbours
from cde_app.training.features import Axis, Features

AXES = tuple(Axis(name) for name in "abc")


def settings(split: dict[str, Any] | None = None, **neighbours: Any) -> Config:
    data = {"path": "x.csv", "inputs": ["a", "b", "c"], "targets": ["y"], "split": split or {"kind": "random"}}
    model = {"neighbours": neighbours, "output": {"structure": "additive", "num_inducing": 16}}
    return Config.model_validate(
        {"schema_version": 1, "data": data, "model": model, "training": {"warm_start": {"max_steps": 10}}}
    )


def rough_table(num_rows: int = 300) -> tuple[np.ndarray, np.ndarray]:
    """Rows in pairs of near-copies with a value of their own, which no smooth function of x tells."""
    random = np.random.default_rng(0)
    X = np.repeat(random.normal(size=(num_rows // 2, 3)), 2, axis=0) + 1e-3 * random.normal(size=(num_rows, 3))
    return X, np.repeat(random.normal(size=(num_rows // 2, 1)), 2, axis=0) + 0.05 * random.normal(size=(num_rows, 1))


def choose(config: Config, X: np.ndarray, Y: np.ndarray) -> bool:
    return uses_neighbours(config, Features(X, AXES[: X.shape[1]]), Y, noise_floor=np.zeros(1))


def test_they_do_where_rows_have_near_copies_and_do_not_where_a_smooth_function_says_all() -> None:
    X, Y = rough_table()
    assert choose(settings(), X, Y)
    assert not choose(settings(), X, X[:, :1] + 0.5 * np.random.default_rng(1).normal(size=Y.shape))


@pytest.mark.parametrize("split", [{"kind": "group", "column": "year"}, {"kind": "time", "column": "day"}])
def test_they_do_not_where_rows_belong_together_in_a_way_that_new_rows_do_not(split: dict[str, Any]) -> None:
    X, Y = rough_table()
    assert not choose(settings(split), X, Y)
    assert choose(settings(split, enabled=True), X, Y)


def test_they_do_not_on_a_line_or_for_a_handful_of_rows_unless_they_are_asked_for() -> None:
    X, Y = rough_table()
    assert not choose(settings(), X[:, :2], Y)
    assert not choose(settings(), X[:40], Y[:40])
    assert not choose(settings(enabled=False), X, Y)
    assert choose(settings(enabled=True), X[:40], Y[:40])


@pytest.mark.parametrize(
    ("of_rough", "of_good", "expected"),
    [(0.05, 0.03, True), (0.05, 0.01, False), (0.05, -0.1, False), (0.01, 0.5, False), (0.2, -0.1, True)],
)
def test_a_small_gain_of_a_rough_gp_must_be_one_of_a_good_one_too(
    of_rough: float, of_good: float, *, expected: bool
) -> None:
    assert is_gain(lambda: of_rough, lambda: of_good) == expected


@pytest.mark.parametrize(("of_rough", "expected"), [(0.2, True), (0.01, False)])
def test_a_gain_that_is_clear_or_none_needs_no_second_look(of_rough: float, *, expected: bool) -> None:
    assert is_gain(lambda: of_rough, lambda: pytest.fail("a second look")) == expected
