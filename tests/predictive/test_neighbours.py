"""The features from the nearest training rows against a slow twin, and what a training row may not see: itself."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from cde_app.predictive import neighbours as neighbours_module
from cde_app.predictive.neighbours import SMALLEST_DISTANCE, Neighbours, draw_neighbours, fit_neighbours
from tests.storing import stored_and_read


def make_neighbours(num_rows: int = 60, *, num_targets: int = 2, count: int = 5) -> Neighbours:
    random = np.random.default_rng(0)
    X = random.normal(size=(num_rows, 3))
    return fit_neighbours(
        X, np.sin(X[:, :num_targets]) + 0.1 * random.normal(size=(num_rows, num_targets)), count=count
    )


def slow_features(neighbours: Neighbours, x: np.ndarray, *, without: int | None = None) -> np.ndarray:
    """One row's features, by sorting all distances."""
    rows = [row for row in range(len(neighbours.X)) if row != without]
    distances = np.array([np.sqrt(((neighbours.X[row] - x) ** 2).sum()) for row in rows])
    nearest = np.argsort(distances)[: neighbours.count]
    middle = distances[nearest[neighbours.count // 2]]
    weights = [1 / (distances[n] + 1e-3 * middle) ** 2 for n in nearest]
    means = sum(w * neighbours.Y[rows[n]] for w, n in zip(weights, nearest, strict=True)) / sum(weights)
    features = np.append(means, np.log(distances[nearest[0]] + SMALLEST_DISTANCE))
    return (features - neighbours.centre) / neighbours.scale


def test_new_rows_get_the_features_of_their_nearest_training_rows() -> None:
    neighbours = make_neighbours()
    X = np.random.default_rng(1).normal(size=(20, 3))
    expected = [slow_features(neighbours, x) for x in X]
    np.testing.assert_allclose(neighbours.extend(X), np.column_stack([X, expected]), rtol=1e-8, atol=1e-10)
    np.testing.assert_array_equal(neighbours.extend(X)[7:9], neighbours.extend(X[7:9]))
    assert neighbours.extend(X[:0]).shape == (0, 6)


def test_a_training_row_gets_what_it_would_get_if_it_were_left_out() -> None:
    neighbours = make_neighbours()
    found = neighbours.extend_training_rows(neighbours.X, np.arange(len(neighbours.X)))
    expected = [slow_features(neighbours, x, without=row) for row, x in enumerate(neighbours.X)]
    np.testing.assert_allclose(found[:, 3:], expected, rtol=1e-8, atol=1e-10)
    seen = neighbours.extend(neighbours.X)[:, 3:]
    assert np.abs(seen - expected).max() > 0.5, "the control, rows that see themselves, must differ"


def test_a_training_row_that_was_not_drawn_is_a_new_row_to_its_neighbours() -> None:
    random = np.random.default_rng(4)
    X, Y, rows = random.normal(size=(80, 3)), random.normal(size=(80, 2)), np.arange(0, 80, 2)
    neighbours = fit_neighbours(X[rows], Y[rows], count=5)
    places = np.full(80, -1)
    places[rows] = np.arange(40)
    found = neighbours.extend_training_rows(X, places)
    np.testing.assert_array_equal(found[1::2], neighbours.extend(X[1::2]))
    np.testing.assert_array_equal(found[::2], neighbours.extend_training_rows(X[rows], np.arange(40)))
    assert np.abs(found[::2] - neighbours.extend(X[::2])).max() > 0.5, "the control: drawn rows do not see themselves"


def test_of_many_training_rows_some_are_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    np.testing.assert_array_equal(draw_neighbours(50, seed=0), np.arange(50))
    monkeypatch.setattr(neighbours_module, "MOST_ROWS", 20)
    drawn = draw_neighbours(50, seed=0)
    assert len(np.unique(drawn)) == 20
    np.testing.assert_array_equal(drawn, draw_neighbours(50, seed=0))


def test_the_features_of_the_training_rows_are_standardised() -> None:
    neighbours = make_neighbours(200)
    features = neighbours.extend_training_rows(neighbours.X, np.arange(200))[:, 3:]
    np.testing.assert_allclose(features.mean(0), 0.0, atol=1e-12)
    np.testing.assert_allclose(features.std(0), 1.0, rtol=1e-12)


def test_a_copy_of_a_row_outweighs_all_others_and_many_copies_are_averaged() -> None:
    random = np.random.default_rng(2)
    X, Y = random.normal(size=(40, 2)), random.normal(size=(40, 1))
    neighbours = fit_neighbours(np.vstack([X, X[:1]]), np.vstack([Y, [[9.0]]]), count=6)
    first = neighbours.extend_training_rows(neighbours.X, np.arange(41))[0]
    mean = first[2] * neighbours.scale[0] + neighbours.centre[0]
    assert mean == pytest.approx(9.0, abs=0.01)
    same = fit_neighbours(np.zeros((30, 2)), np.arange(30.0)[:, None], count=6)
    assert np.isfinite(same.extend_training_rows(same.X, np.arange(30))).all()


def test_a_table_of_few_rows_has_fewer_neighbours() -> None:
    neighbours = make_neighbours(4, count=8)
    assert neighbours.count == 3
    assert neighbours.extend_training_rows(neighbours.X, np.arange(len(neighbours.X))).shape == (4, 6)
    assert neighbours.extend(np.zeros((2, 3))).shape == (2, 6)


def test_one_neighbour_is_the_nearest_row_itself() -> None:
    neighbours = make_neighbours(count=1)
    plain = replace(neighbours, centre=np.zeros(3), scale=np.ones(3))
    np.testing.assert_allclose(plain.extend(neighbours.X[:5])[:, 3:5], neighbours.Y[:5], rtol=1e-12)


def test_neighbours_survive_a_tree_of_plain_values() -> None:
    neighbours = make_neighbours()
    X = np.random.default_rng(3).normal(size=(4, 3))
    np.testing.assert_array_equal(stored_and_read(neighbours).extend(X), neighbours.extend(X))
