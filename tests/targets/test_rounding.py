"""What counts as rounded, and how much noise it asks for."""

from __future__ import annotations

import numpy as np
import pytest

from cde_app.targets import Identity, TargetTransform
from cde_app.targets.log import Log
from cde_app.targets.rounding import find_rounding, rounding_step

RANDOM = np.random.default_rng(0)
GRADES = RANDOM.choice([3, 4, 5, 6, 7, 8], 1600, p=[0.01, 0.03, 0.43, 0.40, 0.12, 0.01]).astype(float)
BIKES = RANDOM.poisson(RANDOM.gamma(1.1, 170, 5000)).astype(float)
FEW = RANDOM.poisson(3.0, 2000).astype(float)
ADULTS = RANDOM.normal(80, 20, 5000).round(1)
BABIES = RANDOM.normal(3.4, 0.5, 2000).round(1)
PRINTED = RANDOM.normal(0, 1, 2000).round(4)
HEAPED = np.where(RANDOM.random(2000) < 0.6, 0.0, RANDOM.normal(size=2000))
FEW_ROWS = np.array([3.0, 7.0, 12.0, 20.0, 33.0, 41.0])


def step_of(values: np.ndarray, transform: TargetTransform | None = None) -> float | None:
    found = find_rounding("y", values, transform or Identity.fit(values), "auto")
    return found.step if found else None


@pytest.mark.parametrize(
    ("values", "step"),
    [
        (GRADES, 1.0),
        (GRADES / 3, 1 / 3),
        (GRADES + 0.5, 1.0),
        (FEW, 1.0),
        (BABIES, 0.1),
        (np.array([0.0, 1.0] * 50), 1.0),
        (0.1 * GRADES + 0.2 - 0.2, 0.1),
        (BIKES, None),
        (ADULTS, None),
        (PRINTED, None),
        (HEAPED, None),
        (FEW_ROWS, None),
    ],
    ids=[
        "grades", "thirds", "shifted grades", "few counts", "babies' weights", "two values", "grades with errors",
        "many counts", "adults' weights", "four digits", "heaped at zero", "no repeats",
    ],
)  # fmt: skip
def test_a_target_is_rounded_if_its_values_repeat_and_its_step_matters(values: np.ndarray, step: float | None) -> None:
    assert step_of(values) == (None if step is None else pytest.approx(step))


def with_odd(values: np.ndarray, share: float) -> np.ndarray:
    """Put values off the grid, each of its own, into a share of the rows."""
    odd = values.copy()
    odd[: round(share * len(values))] += np.random.default_rng(2).uniform(1e-7, 0.4, round(share * len(values)))
    return odd


@pytest.mark.parametrize("share", [1 / len(GRADES), 0.02, 0.05])
def test_odd_values_of_a_twentieth_of_the_rows_do_not_hide_the_step(share: float) -> None:
    assert step_of(with_odd(GRADES, share)) == 1.0
    assert step_of(with_odd(GRADES, 0.06)) is None, "the control, more odd values, must fail"


def test_one_odd_value_changes_the_noise_by_as_little_as_the_standard_deviation() -> None:
    odd = np.append(GRADES, 3.0000001)
    plain, found = (find_rounding("y", values, Identity.fit(values), "auto") for values in (GRADES, odd))
    assert plain is not None
    assert found is not None
    assert (found.step, found.num_distinct) == (1.0, 7)
    assert found.variance == pytest.approx(plain.variance * GRADES.var() / odd.var())


@pytest.mark.parametrize(
    ("values", "step"),
    [
        (np.where(np.arange(2000) % 2, 5 * FEW, FEW), 1.0),
        (np.where(BABIES > 3.5, BABIES.round(0), BABIES.round(1)), 0.1),
        (np.where(np.arange(2000) % 100 < 96, 5 * FEW, FEW), 5.0),
    ],
    ids=["half in ones, half in fives", "coarser where large", "nearly all in fives"],
)
def test_of_mixed_steps_the_one_that_most_rows_need_is_taken(values: np.ndarray, step: float) -> None:
    assert rounding_step(values) == pytest.approx(step)


@pytest.mark.parametrize("copies", [1, 2])
def test_continuous_values_have_no_step_that_matters_however_often_a_row_is_repeated(copies: int) -> None:
    values = np.repeat(RANDOM.standard_normal(500), copies)
    assert step_of(values) is None
    assert (rounding_step(values) is None) == (copies == 1)


def test_the_noise_is_that_of_a_uniform_error_in_standardised_units() -> None:
    transform = Identity.fit(GRADES)
    found = find_rounding("y", GRADES, transform, "auto")
    assert found is not None
    assert found.variance == pytest.approx(1 / 12 / np.var(GRADES))
    errors = np.random.default_rng(1).uniform(-0.5, 0.5, 100_000) / transform.scale
    assert found.variance == pytest.approx(errors.var(), rel=0.02)  # 4 sqrt(0.8 / 100,000) = 0.011


def test_where_a_transform_bends_the_noise_fits_the_narrow_steps() -> None:
    transform = Log.fit(FEW, shift=1.0)
    found = find_rounding("y", FEW, transform, "auto")
    assert found is not None
    sd = np.sqrt(12 * found.variance)
    assert sd == pytest.approx(1 / (1 + np.quantile(FEW, 0.75)) / transform.scale)
    assert step_of(BIKES, Log.fit(BIKES, shift=1.0)) is None


def test_a_step_that_is_named_is_taken_and_zero_means_none() -> None:
    transform = Identity(0.0, 2.0)
    found = find_rounding("y", PRINTED, transform, 0.5)
    assert found is not None
    assert found.variance == pytest.approx(0.25**2 / 12)
    assert find_rounding("y", GRADES, transform, 0.0) is None


def test_the_warning_names_the_column_the_step_and_the_way_out() -> None:
    found = find_rounding("grade", GRADES, Identity.fit(GRADES), "auto")
    assert found is not None
    assert found.warning() == (
        "target 'grade' is taken as rounded to steps of 1 (6 distinct values); its noise has at least the variance of "
        "that rounding, so that no density piles up on the values. Judge by CRPS, not by log density; set the target's "
        "rounding to another step, or to 0 for none."
    )


@pytest.mark.parametrize("seed", range(8))
def test_a_target_over_many_decades_is_not_taken_as_rounded(seed: int) -> None:
    random = np.random.default_rng(seed)
    values = np.exp(10 * random.standard_normal(3000))
    assert rounding_step(values) is None
    assert rounding_step(np.sign(values - 1) * random.standard_cauchy(3000) ** 5) is None
    grades = random.integers(3, 9, 300) + random.choice([0.0, 4e-16], 300)
    assert rounding_step(grades) == pytest.approx(1.0), "the control: values that differ by rounding errors are one"
