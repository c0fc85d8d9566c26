from __future__ import annotations

import numpy as np
import pytest

from cde_app.arrays import Array
from cde_app.explanation.curves import LEVELS, axis_of, curves
from cde_app.explanation.inputs import Axis, Input
from tests.explanation.simulators import SLOPE, inputs, predict, table


def axis(cells: Array, labels: tuple[str, ...] = ()) -> Axis:
    return axis_of(Input("x", (0,)), np.asarray(cells, float), labels, lambda values: values[:, None], is_date=False)


def test_the_points_are_values_of_rows_within_the_middle_of_the_data() -> None:
    cells = np.random.default_rng(0).standard_normal(1000)
    found = axis(cells)
    assert set(found.values) <= set(cells)
    assert found.values[0] == pytest.approx(np.quantile(cells, 0.01), abs=0.05)
    assert found.values[-1] < cells.max()
    assert found.breaks == ()


def test_no_line_leads_over_a_gap_in_the_data() -> None:
    cells = np.concatenate([np.linspace(0, 1, 100), np.linspace(9, 10, 100)])
    found = axis(cells)
    assert [found.values[index : index + 2].tolist() for index in found.breaks] == [[1.0, 9.0]]


def test_gaps_are_no_points_and_a_column_of_gaps_has_none() -> None:
    assert axis([1.0, np.nan, 2.0]).values.tolist() == [1.0, 2.0]
    assert len(axis([np.nan, np.nan]).values) == 0
    assert axis([3.0, 3.0]).values.tolist() == [3.0]


def test_of_many_labels_the_most_frequent_are_points() -> None:
    cells = np.repeat(np.arange(15), np.arange(15, 0, -1))
    found = axis(cells, tuple(f"l{code:02d}" for code in range(15)))
    assert list(found.values) == [f"l{code:02d}" for code in range(10)]
    assert found.encoded[:, 0].tolist() == list(range(10))
    assert not found.is_numeric
    assert list(axis([1.0, -1.0], ("seen", "also")).values) == ["also"], "a new label is no point"


def test_the_curves_are_those_of_the_known_density() -> None:
    X, _ = table(50, seed=0)
    axes = [axis_of(one, X[:, i], (), lambda v: v[:, None], is_date=False) for i, one in enumerate(inputs())]
    along_a, along_b, along_c, _ = curves(predict, X, axes, num_single=3)
    sds = np.exp(SLOPE * X[:, 1])
    normal = np.array([-1.6448536269514722, 0.0, 1.6448536269514722])
    np.testing.assert_allclose(along_a.mean, along_a.axis.values)
    np.testing.assert_allclose(along_a.quantiles, along_a.axis.values + sds.mean() * normal[:, None])
    np.testing.assert_allclose(along_a.errors[2], normal[2] * sds.std(ddof=1) / np.sqrt(50))
    expected = X[:3, 0, None] + normal[:, None, None] * np.exp(SLOPE * along_b.axis.values)
    np.testing.assert_allclose(along_b.rows, expected)
    assert np.ptp(along_c.quantiles, axis=1).max() < 1e-12
    assert along_c.quantiles.shape == (len(LEVELS), len(along_c.axis.values))


def test_dates_are_written_as_dates() -> None:
    days = Axis(Input("when", (0,)), np.array([0.0, 19723.5]), np.zeros((2, 1)), is_date=True)
    assert days.texts == ["1970-01-01T00:00:00", "2024-01-01T12:00:00"]
