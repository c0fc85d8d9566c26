"""Conformal maps: what they promise holds for any model and any number of rows, and what they cost is known."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy.stats import beta, norm

from cde_app.config import Config
from cde_app.config.training import FEWEST_KEPT_OUT
from cde_app.predictive.mixture import Mixture
from cde_app.predictive.probability_map import ProbabilityMap
from cde_app.predictive.recalibrated import RecalibratedMarginal
from cde_app.predictive.recalibration import Recalibration
from cde_app.targets import Identity
from cde_app.training.recalibration import (
    FOLDS,
    LEVELS,
    MapOfTarget,
    Recalibrating,
    fit_recalibration,
    folds_of,
    held_out_gains,
    large_groups,
    levels_of,
    places_of,
)

STANDARD_ERRORS = 4.0
UNITS = Identity(0.0, 1.0)


def normal(sd: float, num_targets: int = 1) -> Callable[[np.ndarray], Mixture]:
    """Predict N(x_0, sd^2) for every target, which is wrong unless the data are so."""

    def predict(X: np.ndarray) -> Mixture:
        means = np.repeat(X[:, :1, None], num_targets, axis=2)
        return Mixture(np.ones(1), means, np.full(means.shape, sd**2), (UNITS,) * num_targets)

    return predict


def fitted(*arguments: Any, **options: Any) -> tuple[Recalibration, Recalibrating]:
    maps, known = fit_recalibration(*arguments, **options)
    assert maps is not None
    return maps, known


def map_of(u: np.ndarray) -> ProbabilityMap:
    levels = levels_of(len(u))
    return ProbabilityMap(places_of(u, levels)[None], levels)


def config_of(kind: str, **calibration: object) -> Config:
    return Config.model_validate(
        {
            "schema_version": 1,
            "data": {"path": "t.csv", "inputs": ["x", {"column": "site", "kind": "categorical"}], "targets": ["y"]},
            "training": {"calibration": {"kind": kind, **calibration}},
        }
    )


# --- the promise ------------------------------------------------------------------------------------------------------


def test_more_rows_allow_levels_farther_out() -> None:
    assert levels_of(FEWEST_KEPT_OUT).tolist() == [0.0, 0.1, 0.25, 0.5, 0.75, 0.9, 1.0]
    assert levels_of(FEWEST_KEPT_OUT - 1).tolist() == [0.0, 0.25, 0.5, 0.75, 1.0]
    assert levels_of(79)[1] == 0.05
    assert levels_of(400).tolist() == [0.0, *LEVELS, 1.0]


@pytest.mark.parametrize("num_rows", [39, 40, 87, 200, 399])
def test_coverage_is_exact_for_uniform_ranks(num_rows: int) -> None:
    """The r-th of n uniform numbers has the mean r / (n + 1), so the mean coverage follows without any simulation."""
    levels = levels_of(num_rows)
    expected = places_of(np.arange(1, num_rows + 1) / (num_rows + 1), levels)  # the means of the order statistics
    for k in range(1, (len(levels) - 1) // 2):
        wanted, coverage = levels[-1 - k] - levels[k], expected[-1 - k] - expected[k]
        assert wanted - 1e-5 <= coverage <= wanted + 2 / (num_rows + 1) + 1e-5


@pytest.mark.parametrize("num_rows", [79, 150])
@pytest.mark.parametrize("noise", ["normal", "wider", "skewed", "heavy"])
def test_the_intervals_of_any_model_cover_in_finite_samples(num_rows: int, noise: str) -> None:
    """Over calibrations, the coverage of the 90 % interval averages 1 - a to 1 - a + 2 / (n + 1); it has a beta law."""
    random, repeats = np.random.default_rng(num_rows), 400
    draw = {
        "normal": lambda size: random.normal(size=size),
        "wider": lambda size: 1.5 * random.normal(size=size),
        "skewed": lambda size: (random.gamma(1.5, size=size) - 1.5) * 0.7,
        "heavy": lambda size: random.standard_t(3, size=size),
    }[noise]
    truth = np.sort(draw(200_000))  # its empirical distribution stands for the data's
    coverage, before = np.empty(repeats), np.interp(norm.ppf([0.05, 0.95]), truth, np.linspace(0, 1, len(truth)))
    for k in range(repeats):
        mapped = map_of(norm.cdf(draw(num_rows)))
        ends = norm.ppf(mapped.inverse(np.array([[0.05, 0.95]])))[0]
        coverage[k] = np.diff(np.interp(ends, truth, np.linspace(0, 1, len(truth))))[0]
    low, high = int(np.floor(0.05 * (num_rows + 1))), int(np.ceil(np.round(0.95 * (num_rows + 1), 6)))
    exact = beta(high - low, num_rows + 1 - high + low)
    assert 0.9 <= exact.mean() <= 0.9 + 2 / (num_rows + 1)
    error = exact.std() / np.sqrt(repeats) + 1 / np.sqrt(len(truth))
    assert abs(coverage.mean() - exact.mean()) < STANDARD_ERRORS * error
    if noise != "normal":
        assert abs(np.diff(before)[0] - 0.9) > 2 * STANDARD_ERRORS * error, "without the map it is off"


def test_the_ends_are_those_of_a_conformal_predictive_system() -> None:
    """A slow obvious twin: for N(x, sd^2), the ends are x plus order statistics of the residuals, whatever the sd."""
    random, n = np.random.default_rng(0), 200
    X, noise = random.normal(size=(n, 2)), random.gamma(2.0, size=n)
    maps, _ = fitted(normal(0.7), X, X[:, :1] + noise[:, None], config=config_of("conformal"))
    forecast = maps.apply(normal(0.7)(X), X)
    low, high = forecast.interval(0.9)
    ordered = np.sort(noise)
    assert_allclose(low[:, 0] - X[:, 0], ordered[int(0.05 * (n + 1)) - 1], atol=1e-5)
    assert_allclose(high[:, 0] - X[:, 0], ordered[int(np.ceil(0.95 * (n + 1))) - 1], atol=1e-4)


def test_each_group_has_its_own_coverage() -> None:
    random, n, repeats = np.random.default_rng(3), 400, 60
    covered, pooled = np.zeros((repeats, 2)), np.zeros((repeats, 2))
    for k in range(repeats):
        site = random.integers(0, 2, n + 4000)
        X = np.column_stack([random.normal(size=len(site)), site])
        y = X[:, :1] + ((0.5 + 1.5 * site) * random.normal(size=len(site)))[:, None]
        for features, found in (((1,), covered), ((), pooled)):
            maps, known = fitted(
                normal(1.0),
                X[:n],
                y[:n],
                config=config_of("conformal"),
                features=features,
            )
            assert known.num_groups == len(features) * 2
            new = maps.apply(normal(1.0)(X[n:]), X[n:])
            inside = np.abs(new.cdf(y[n:])[:, 0] - 0.5) < 0.45
            found[k] = [inside[site[n:] == label].mean() for label in (0, 1)]
    errors = covered.std(axis=0) / np.sqrt(repeats)
    few = 0.5 * n - STANDARD_ERRORS * np.sqrt(0.25 * n)  # rows of a group
    assert np.all(covered.mean(axis=0) > 0.9 - STANDARD_ERRORS * errors)
    assert np.all(covered.mean(axis=0) < 0.9 + 2 / few + STANDARD_ERRORS * errors)
    assert pooled.mean(axis=0)[0] > 0.95 > 0.85 > pooled.mean(axis=0)[1], "one map covers all groups only on average"


# --- what it costs ----------------------------------------------------------------------------------------------------


def test_a_map_costs_about_half_a_nat_per_point_and_row_if_the_model_is_right() -> None:
    random, n, repeats = np.random.default_rng(5), 400, 200
    costs = [-map_of(random.random(n)).log_slope(random.random((1, 2000))).mean() for _ in range(repeats)]
    expected, error = len(LEVELS) / (2 * n), np.std(costs) / np.sqrt(repeats)
    assert expected - STANDARD_ERRORS * error < np.mean(costs) < 1.5 * expected + STANDARD_ERRORS * error


def test_held_out_rows_tell_whether_a_map_gains() -> None:
    random, n = np.random.default_rng(6), 500
    folds, everything, first = folds_of(n, None, seed=0), [np.ones(n, bool)], np.zeros(n, int)
    right = held_out_gains(random.random(n), everything, first, folds)
    wrong = held_out_gains(norm.cdf(1.5 * random.normal(size=n)), everything, first, folds)
    error = wrong.std() / np.sqrt(n)
    divergence = np.log(1 / 1.5) - 0.5 + 0.5 * 1.5**2  # KL of N(0, 1.5^2) from N(0, 1)
    assert right.mean() < 0 < wrong.mean() - STANDARD_ERRORS * error
    assert wrong.mean() < divergence + STANDARD_ERRORS * error


def test_auto_maps_only_the_targets_whose_density_gains() -> None:
    random, n = np.random.default_rng(7), 400
    X = random.normal(size=(n, 2))
    noise = np.column_stack([random.normal(size=n), 2.0 * random.normal(size=n)])
    maps, known = fitted(normal(1.0, 2), X, X[:, :1] + noise, config=config_of("auto"))
    assert [one.is_applied for one in known.targets] == [False, True]
    places, levels = maps.places, maps.levels
    assert_array_equal(places[0, 0], levels)
    assert np.abs(places[1, 0] - levels).max() > 0.03
    _, forced = fitted(normal(1.0, 2), X, X[:, :1] + noise, config=config_of("conformal"))
    assert [one.is_applied for one in forced.targets] == [True, True]


def test_auto_leaves_a_right_model_as_it_is() -> None:
    random, n = np.random.default_rng(8), 400
    X = random.normal(size=(n, 1))
    maps, known = fit_recalibration(normal(1.0), X, X + random.normal(size=(n, 1)), config=config_of("auto"))
    assert maps is None
    assert known.targets[0].gain < 0


def test_auto_counts_groups_and_not_rows() -> None:
    """Errors that rows of a group share look like a gain if every row counts; the tables are right on the whole."""
    random, num_groups, size, repeats = np.random.default_rng(12), 30, 20, 20
    block = np.repeat(np.arange(num_groups), size)
    mapped = {"blocks": 0, "rows": 0}
    for _ in range(repeats):
        X = np.zeros((num_groups * size, 1))
        y = np.sqrt(0.9) * random.normal(size=num_groups)[block] + np.sqrt(0.1) * random.normal(size=len(block))
        for name, blocks in (("blocks", block), ("rows", None)):
            _, known = fit_recalibration(normal(1.0), X, y[:, None], config=config_of("auto"), blocks=blocks)
            assert known.num_blocks == (None if blocks is None else num_groups)
            mapped[name] += known.targets[0].is_applied
    assert mapped["blocks"] <= 5, "a right model gains by more than a standard error in at most a sixth of the tables"
    assert mapped["rows"] > repeats / 2


def test_auto_maps_nothing_for_few_groups_and_says_so() -> None:
    random = np.random.default_rng(13)
    X, y = np.zeros((200, 1)), 3.0 * random.normal(size=(200, 1))
    few = np.repeat(np.arange(5), 40)
    maps, known = fit_recalibration(normal(1.0), X, y, config=config_of("auto"), blocks=few)
    assert maps is None
    (warning,) = known.warnings(["y"], config_of("auto"))
    assert warning == (
        "the kept-out rows are from 5 groups or stretches of time, too few to tell whether maps are a gain, so that "
        "there are none. Raise training.calibration.kept_out, or set the kind to conformal or width."
    )
    many, known = fit_recalibration(normal(1.0), X, y, config=config_of("auto"), blocks=np.repeat(np.arange(50), 4))
    assert many is not None
    assert not known.warnings(["y"], config_of("auto"))


# --- details ----------------------------------------------------------------------------------------------------------


def test_rows_of_a_group_are_in_one_fold() -> None:
    groups = np.repeat(np.arange(30), 4)
    folds = folds_of(120, groups, seed=1)
    assert np.all(folds.reshape(30, 4) == folds.reshape(30, 4)[:, :1])
    assert sorted(set(folds)) == list(range(FOLDS))


def test_equal_ranks_make_no_infinite_slope() -> None:
    mapped = map_of(np.zeros(100))  # every observation is below all that the model allows
    assert np.all(np.isfinite(mapped.log_slope(np.linspace(0, 1, 101)[None])))
    assert np.all(np.diff(mapped.places) > 0)


def test_small_groups_are_counted_and_take_the_map_of_all_rows() -> None:
    site = np.repeat([0.0, 1.0, 2.0], [100, 38, 39])
    groups, num_small = large_groups(site[:, None])
    assert (groups.ravel().tolist(), num_small) == ([0.0, 2.0], 1)
    known = Recalibrating(177, 2, 1, (MapOfTarget(True, -0.05, 0.01),))
    costs, small = known.warnings(["y"], config_of("conformal", by="site"))
    assert costs == (
        "the map of 'y' costs 0.050 ± 0.010 nats per row on rows that did not fit it: its probabilities were right "
        "before. Set training.calibration.kind to auto or width."
    )
    assert small == (
        "1 of 3 groups of 'site' have fewer than 39 kept-out rows; they have the map of all rows, whose coverage does "
        "not hold in each of them. Raise training.calibration.kept_out."
    )
    assert not Recalibrating(100, 0, 0, (MapOfTarget(True, -0.005, 0.01),)).warnings(["y"], config_of("conformal"))


def test_a_single_target_is_a_marginal() -> None:
    random = np.random.default_rng(9)
    X = random.normal(size=(60, 1))
    maps, known = fitted(normal(1.0), X, X + random.normal(size=(60, 1)), config=config_of("conformal"))
    assert known.num_rows == 60
    assert isinstance(maps.apply(normal(1.0)(X), X), RecalibratedMarginal)


@pytest.mark.parametrize("dependence", [0.0, 0.8])
def test_joint_regions_cover_several_targets_together(dependence: float) -> None:
    """The model has independent targets and too small an sd; the truth depends, and its regions cover all the same."""
    random, n, new, repeats = np.random.default_rng(10), 199, 400, 12
    coverage, before, factor = (
        np.empty(repeats),
        np.empty(repeats),
        np.linalg.cholesky([[1, dependence], [dependence, 1]]),
    )
    for k in range(repeats):
        X = random.normal(size=(n + new, 2))
        y = X[:, :1] + random.normal(size=(n + new, 2)) @ factor.T
        maps, _ = fitted(normal(0.7, 2), X[:n], y[:n], config=config_of("conformal"))
        forecast = maps.apply(normal(0.7, 2)(X[n:]), X[n:])
        coverage[k] = np.mean(forecast.hpd_level(y[n:], num_samples=200, seed=k) <= 0.9)
        before[k] = np.mean(normal(0.7, 2)(X[n:]).hpd_level(y[n:], num_samples=200, seed=k) <= 0.9)
    exact = beta(180, 20)  # ceil(0.9 * 200) of 199 rows
    error = np.sqrt((exact.var() + 0.09 / new) / repeats)
    draws = 2.0 / 200  # a mass is known to one draw, and some masses are equal
    assert 0.9 - STANDARD_ERRORS * error - draws < coverage.mean() < 0.905 + STANDARD_ERRORS * error + draws
    assert before.mean() < 0.9 - 2 * STANDARD_ERRORS * error, "without the map they are too small"
