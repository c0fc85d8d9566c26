"""The unit of the distances: what few new rows exceed, and what new combinations of inputs do."""

from __future__ import annotations

import numpy as np
import pytest

from cde_app.gp.kernels import Kernel, Linear, SquaredExponential
from cde_app.predictive.ensemble import Ensemble
from cde_app.training.calibration import Unseen
from cde_app.training.distance import FEWEST_ROWS, distance_unit
from tests.predictive.test_distance import distance, ensemble_of


def fitted(kernel: Kernel, X: np.ndarray, *, num_unseen: int, noise: float = 0.1) -> tuple[Ensemble, float | None]:
    """Fit a member to the rows but the last, and the unit to those."""
    train, unseen = np.split(X, [len(X) - num_unseen])
    ensemble = ensemble_of(kernel, train, train[:60], noise)
    return ensemble, distance_unit(ensemble, [Unseen(unseen, np.zeros((num_unseen, 1)))])


def correlated(num_rows: int, *, seed: int) -> np.ndarray:
    random = np.random.default_rng(seed)
    first = random.uniform(-2.0, 2.0, num_rows)
    return np.column_stack([first, first + 0.3 * random.normal(size=num_rows)])


@pytest.mark.parametrize("num_unseen", [20, 60, 2000])
def test_a_new_combination_of_ordinary_inputs_is_far_and_few_rows_of_the_same_law_are(num_unseen: int) -> None:
    kernel, X = SquaredExponential(1.0, np.ones(2)), correlated(500 + num_unseen, seed=1)
    ensemble, unit = fitted(kernel, X, num_unseen=num_unseen)
    assert unit is not None
    x = np.array([[1.6, -1.6]])
    assert ((X[:500].min(0) < x) & (x < X[:500].max(0))).all(), "each input is in its range"
    assert distance(ensemble, x)[0] > unit
    share = np.mean(distance(ensemble, correlated(20_000, seed=2)) > unit)
    assert share < 0.01
    if num_unseen == 2000:
        assert share > 1e-4, "the control: the unit is not beyond all rows"


def test_where_all_rows_are_far_none_is_farther() -> None:
    random = np.random.default_rng(3)
    ensemble, unit = fitted(SquaredExponential(1.0, np.ones(30)), random.normal(size=(400, 30)), num_unseen=100)
    assert unit == pytest.approx(1.0, abs=1e-3)
    assert not (distance(ensemble, random.normal(size=(5000, 30))) > unit).any()
    assert not (distance(ensemble, np.full((1, 30), 1e3)) > unit).any(), "nothing can be said of any row"


def test_rows_with_the_same_inputs_are_on_the_same_side_whatever_their_block() -> None:
    labels = np.random.default_rng(4).integers(0, 2, (300, 1)).astype(float)
    ensemble, unit = fitted(SquaredExponential(1.0, np.ones(1)), labels, num_unseen=100)
    for num_rows in (1, 2, 7, 300):
        assert not (distance(ensemble, labels[:num_rows]) > unit).any()


def test_too_few_unseen_rows_give_no_unit() -> None:
    kernel, X = SquaredExponential(1.0, np.ones(2)), correlated(200, seed=5)
    assert fitted(kernel, X, num_unseen=FEWEST_ROWS - 1)[1] is None
    assert fitted(kernel, X, num_unseen=FEWEST_ROWS)[1] is not None
    assert distance_unit(Ensemble(()), []) is None


def test_a_faulty_row_among_the_unseen_does_not_excuse_all_others() -> None:
    X = correlated(600, seed=6)
    sound = fitted(Linear(np.ones(2)), X, num_unseen=100)[1]
    X[-1] = 1e12
    assert sound is not None
    unit = fitted(Linear(np.ones(2)), X, num_unseen=100)[1]
    assert unit is not None
    assert unit < 1000 * sound
