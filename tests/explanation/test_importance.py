from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest

from cde_app.arrays import Array
from cde_app.explanation.donors import any_donors, expectation
from cde_app.explanation.importance import Importance, importances, mean_over_pairs
from cde_app.explanation.quantities import Values, described, scored
from cde_app.predictive.mixture import Mixture
from tests.explanation.simulators import NAMES, inputs, normal, predict, shared, table

Found = dict[tuple[str, str, str, str], Importance]


def importance_of(predict: Callable[[Array], Mixture], X: Array, y: Array, *, seed: int = 0) -> Found:
    def values(changed: Array) -> Values:
        return described(predict(changed), ()) | scored(predict(changed), y)

    expected = {one.name: expectation(X, one.features)[0] for one in inputs()}
    found = importances(values, X, inputs(), expected, {"y": 1.0}, num_repeats=2, seed=seed)
    return {(one.input, one.donors, one.quantity, one.measure): one for one in found}


@pytest.fixture(scope="module")
def found() -> Found:
    return importance_of(predict, *table(400, seed=1))


def test_an_input_of_the_mean_moves_only_the_mean(found: Found) -> None:
    share = found["a", "any", "mean", "share"]
    assert share.value == pytest.approx(1.0, abs=4 * (share.se or 0.0))
    assert (share.se or 0.0) < 0.05
    for quantity in ("width", "entropy"):
        assert found["a", "any", quantity, "share"].value == pytest.approx(0.0, abs=1e-12)


def test_an_input_of_the_spread_moves_only_the_spread(found: Found) -> None:
    for quantity in ("width", "entropy"):
        share = found["b", "any", quantity, "share"]
        assert share.value == pytest.approx(1.0, abs=4 * (share.se or 0.0))
    assert found["b", "any", "mean", "share"].value == 0.0


def test_permuting_the_only_input_of_the_entropy_does_not_change_its_mean(found: Found) -> None:
    """Why the share is there: the rows have the same entropies in another order."""
    assert found["b", "any", "entropy", "change"].value == pytest.approx(0.0, abs=1e-9)
    assert (found["b", "any", "entropy", "share"].value or 0.0) > 0.9


@pytest.mark.parametrize("donors", ["any", "alike"])
def test_an_input_that_the_forecasts_do_not_depend_on_costs_and_moves_nothing(found: Found, donors: str) -> None:
    own = [one for key, one in found.items() if key[:2] == ("c", donors)]
    assert len(own) == 8
    assert all(one.value == pytest.approx(0.0, abs=1e-12) and one.se == pytest.approx(0.0, abs=1e-12) for one in own)
    assert any((one.value or 0.0) > 0.5 for key, one in found.items() if key[:2] == ("b", donors)), "the control"


def test_costs_are_those_of_the_known_density(found: Found) -> None:
    """E of (y - a')^2 / 2 s^2 less (y - a)^2 / 2 s^2 is E (a - a')^2 E s^-2 / 2 = exp(2 * 0.6^2)."""
    cost = found["a", "any", "nlpd", "cost"]
    assert cost.value == pytest.approx(math.exp(2 * 0.6**2), abs=4 * (cost.se or 0.0))
    assert (cost.se or 0.0) < 0.4


@pytest.mark.parametrize("quantity", ["nlpd", "crps", "mean"])
def test_a_correlated_input_costs_alone_but_hardly_if_the_others_are_alike(quantity: str) -> None:
    own = importance_of(shared, *table(400, seed=2))
    measure = "share" if quantity == "mean" else "cost"
    for name in ("a", "d"):
        alone, given = own[name, "any", quantity, measure], own[name, "alike", quantity, measure]
        assert (alone.value or 0.0) > 4 * (alone.se or 0.0)
        assert (alone.value or 0.0) > 0.05
        assert abs(given.value or 0.0) < 0.05 * (alone.value or 0.0) + 2 * (given.se or 0.0)
    spread, given = own["b", "any", "nlpd", "cost"], own["b", "alike", "nlpd", "cost"]
    assert (given.value or 0.0) > 0.5 * (spread.value or 0.0), "the control: nothing else knows b"


def test_the_shares_of_a_sum_are_those_of_its_variance() -> None:
    """For independent inputs: coefficients 2, 1, 0 and 1 have 4/6, 1/6, 0 and 1/6 of the variance."""
    X = np.random.default_rng(3).standard_normal((800, 4))
    own = importance_of(normal(lambda X: X @ [2.0, 1.0, 0.0, 1.0], lambda X: 0 * X[:, 0]), X, X[:, :1])
    for name, expected in zip(NAMES, (4 / 6, 1 / 6, 0.0, 1 / 6), strict=True):
        share = own[name, "any", "mean", "share"]
        assert share.value == pytest.approx(expected, abs=4 * (share.se or 0.0) + 1e-12)
        assert own[name, "any", "width", "share"].value is None, "it is the same in all rows"


def test_the_same_seed_finds_the_same_and_another_does_not() -> None:
    X, y = table(60, seed=4)
    first, again, other = (importance_of(predict, X, y, seed=seed) for seed in (0, 0, 1))
    assert first == again
    assert first != other


def test_an_infinite_score_leaves_a_cost_open() -> None:
    assert mean_over_pairs(np.array([[1.0, np.inf, 0.0]]), np.array([[1, 2, 0]])) == (None, None)


def standard_errors(f: Callable[[Array], Array], num_repeats: int, *, rows_only: bool = False) -> float:
    """Return the mean standard error of a mean over pairs, relative to its standard deviation over 300 tables."""
    estimates, errors = [], []
    for seed in range(300):
        random = np.random.default_rng(seed)
        x, donors = random.standard_normal(120), any_donors(120, num_repeats, random)
        values = f(np.stack([np.broadcast_to(x, donors.shape), x[donors]]))
        mean, error = mean_over_pairs(values, donors)
        if rows_only:
            error = float(values.mean(0).std(ddof=1)) / math.sqrt(120)
        estimates.append(mean)
        errors.append(error)
    return float(np.mean(np.array(errors, float)) / np.std(np.array(estimates, float)))


@pytest.mark.parametrize("num_repeats", [1, 4])
@pytest.mark.parametrize(
    "f",
    [lambda p: (p[1] - p[0]) ** 2, lambda p: np.exp(0.5 * p[0] + p[1]), lambda p: p[0] ** 2 + 0 * p[1]],
    ids=["square", "product", "row alone"],
)
def test_the_standard_error_covers_the_rows_as_donors_too(f: Callable[[Array], Array], num_repeats: int) -> None:
    """The sd over 300 tables is known to 1 / sqrt(600); heavy tails, which `product` has, double that."""
    assert standard_errors(f, num_repeats) == pytest.approx(1.0, abs=8 / math.sqrt(600))


def test_an_error_over_the_changed_rows_alone_would_be_too_small() -> None:
    assert standard_errors(lambda p: (p[1] - p[0]) ** 2, 4, rows_only=True) < 0.8
