"""No unit and no offset of a column changes what is learned of it: only its name for a value changes.

A float has 53 bits: with an offset of r spreads a value is rounded to 2^-53 r spreads. Tolerances are some of those.
"""

from __future__ import annotations

import itertools

import numpy as np
import pandas as pd
import pytest

from cde_app import config
from cde_app.arrays import Array
from cde_app.data.encoding import encode_inputs, fit_contract
from cde_app.data.readers import TargetReader
from cde_app.errors import DataError
from cde_app.evaluation.baselines import fit_climatology, fit_linear_gaussian
from cde_app.evaluation.scores import score_rows, summarise
from cde_app.report.densities import _padded_grid
from cde_app.targets import KINDS, Identity, TargetTransform, candidate_transforms
from cde_app.targets.log import Log
from cde_app.targets.logit import Logit
from cde_app.targets.rounding import find_rounding, rounding_step

UNITS = (1e-15, 1e-12, 1e-9, 1e-3, 0.7, 1e6, 1e15)
OFFSETS = (0.0, 1.0, -1e3, 1e6, -1e9, 1e9)
scales = pytest.mark.parametrize(("unit", "offset"), list(itertools.product(UNITS, OFFSETS)))


def drawn(seed: int = 0, num_rows: int = 300) -> Array:
    """Values of mean about zero and spread about one, skewed."""
    return np.random.default_rng(seed).gamma(4.0, 0.5, num_rows) - 2.0


def rounding_of(offset: float, *, times: float = 20) -> float:
    return times * 2.0**-53 * (8 + abs(offset))


def features_of(values: Array, **settings: object) -> Array:
    data = config.Data.model_validate({"path": "a.csv", "inputs": [{"column": "x", **settings}], "targets": ["y"]})
    contract = fit_contract(data, lambda place: values, [()], [None], source="a.csv")
    assert contract.dropped == ()
    return encode_inputs(contract, pd.DataFrame({"x": values}), source="a.csv")


@scales
def test_numbers_give_the_same_feature_in_every_unit_and_with_every_offset(unit: float, offset: float) -> None:
    found = features_of((drawn() + offset) * unit)
    np.testing.assert_allclose(found, features_of(drawn()), rtol=0, atol=rounding_of(offset))


@pytest.mark.parametrize("unit", UNITS)
def test_a_cycle_gives_the_same_features_in_every_unit(unit: float) -> None:
    hours = np.random.default_rng(0).uniform(0, 48, 100)
    found = features_of(unit * hours, kind="cyclic", period=24.0 * unit)
    np.testing.assert_allclose(found, features_of(hours, kind="cyclic", period=24.0), atol=1e-13)


@pytest.mark.parametrize("step", ["1ms", "10ms", "1s"])
def test_dates_that_lie_close_together_vary(step: str) -> None:
    dates = pd.Series(pd.date_range("2026-03-29T01:02:03", periods=100, freq=step))
    data = config.Data.model_validate(
        {"path": "a.csv", "inputs": [{"column": "t", "kind": "datetime"}], "targets": ["y"]}
    )
    days = (dates - pd.Timestamp("1970-01-01")) / pd.Timedelta("1D")
    contract = fit_contract(data, lambda place: days.to_numpy(), [()], [None], source="a.csv")
    assert "t" in contract.feature_names
    assert contract.dropped == ()
    times = encode_inputs(contract, pd.DataFrame({"t": dates}), source="a.csv")[:, 0]
    expected = np.arange(100) - 49.5
    spacing = pd.Timedelta(step) / pd.Timedelta("1D")
    np.testing.assert_allclose(times, expected / expected.std(), atol=4 * np.spacing(20541.0) / spacing / 28.9)


def test_the_same_hour_of_many_days_is_a_constant_turn() -> None:
    days = 20000 + np.arange(500) + 1 / 3
    data = config.Data.model_validate(
        {"path": "a.csv", "inputs": [{"column": "t", "kind": "datetime"}], "targets": ["y"]}
    )
    names = fit_contract(data, lambda place: days, [()], [None], source="a.csv").feature_names
    assert names == ("t", "t_week_sin", "t_week_cos", "t_year_sin", "t_year_cos")


@pytest.mark.parametrize("value", [0.0, 1e-15, 3.3, 1e15])
def test_constant_means_that_no_two_values_differ(value: float) -> None:
    with pytest.raises(DataError, match="must vary over the training rows"):
        features_or_error(np.full(9, value))
    features_or_error(np.append(np.full(9, value), np.nextafter(value, np.inf) if value else 1e-60))


def features_or_error(values: Array) -> None:
    """Take the values as an input and as a target, as training does."""
    reader = TargetReader(config.TargetColumn(column="y"), form=config.TableFormat(), allows_gaps=False, source="a.csv")
    reader.read(pd.DataFrame({"y": values}))
    if faults := reader.faults():
        assert faults == [f"a.csv: column 'y' must vary; got {values[0]:g} in every row. Choose another target."]
    transform = Identity.fit(values, label="a.csv: column 'y'")
    assert np.isfinite(transform.forward(values)).all()
    assert np.isfinite(features_of(values)).all()


UNBOUNDED = [transform for transform in KINDS.values() if transform not in (Log, Logit)]


@scales
@pytest.mark.parametrize("transform", UNBOUNDED, ids=lambda transform: transform.kind)
def test_a_target_has_the_same_standardised_values_and_density_in_every_unit(
    transform: type[TargetTransform], unit: float, offset: float
) -> None:
    y, z = drawn(), np.linspace(-3, 3, 7)
    plain, other = transform.fit(y), transform.fit((y + offset) * unit)
    tolerance = rounding_of(offset) + (0 if transform.is_affine else 1e-5)  # to which the parameters are sought
    np.testing.assert_allclose(other.forward((y + offset) * unit), plain.forward(y), rtol=0, atol=tolerance)
    jacobian = other.log_jacobian((y + offset) * unit) + np.log(unit)
    np.testing.assert_allclose(jacobian, plain.log_jacobian(y), rtol=0, atol=10 * tolerance)
    np.testing.assert_allclose(other.inverse(z) / unit - offset, plain.inverse(z), rtol=0, atol=10 * tolerance)


@pytest.mark.parametrize("unit", UNITS)
@pytest.mark.parametrize(
    ("transform", "options"), [(Log, {"shift": 0.5}), (Logit, {"lower": -1.0, "upper": 20.0})], ids=["log", "logit"]
)
def test_a_target_with_bounds_is_the_same_in_every_unit(
    transform: type[TargetTransform], options: dict[str, float], unit: float
) -> None:
    y = drawn() + 3
    plain = transform.fit(y, **options)
    other = transform.fit(y * unit, **{name: value * unit for name, value in options.items()})
    np.testing.assert_allclose(other.forward(y * unit), plain.forward(y), rtol=0, atol=1e-12)
    np.testing.assert_allclose(other.log_jacobian(y * unit) + np.log(unit), plain.log_jacobian(y), rtol=0, atol=1e-12)


@pytest.mark.parametrize("unit", UNITS)
def test_auto_chooses_among_the_same_transforms_in_every_unit(unit: float) -> None:
    for y in (drawn(), drawn() + 3, drawn() + 1e6):
        assert [t.kind for t in candidate_transforms(y * unit)] == [t.kind for t in candidate_transforms(y)]


def test_a_logarithm_that_leaves_no_digits_is_no_candidate_and_is_refused() -> None:
    y = np.append(np.full(9, 1e15), np.nextafter(1e15, np.inf))
    assert [transform.kind for transform in candidate_transforms(y)] == ["identity", "yeo_johnson"]
    message = r"^a: must vary over the training rows after its log transform; got 34.5388 in each. Choose yeo_johnson"
    with pytest.raises(DataError, match=message):
        Log.fit(y, label="a", shift=0.0)


@scales
def test_grades_are_grades_in_every_unit_and_with_every_offset(unit: float, offset: float) -> None:
    grades = np.random.default_rng(0).integers(1, 7, 300).astype(float)
    for step in (0.1, 1.0):
        y = (step * grades + offset * step * 1.7) * unit
        assert rounding_step(y) == pytest.approx(step * unit, rel=rounding_of(offset))
        found = find_rounding("y", y, Identity.fit(y), "auto")
        plain = find_rounding("y", grades, Identity.fit(grades), "auto")
        assert found is not None
        assert plain is not None
        assert found.num_distinct == plain.num_distinct
        assert found.variance == pytest.approx(plain.variance, rel=10 * rounding_of(offset))


@scales
def test_values_that_are_not_rounded_stay_so(unit: float, offset: float) -> None:
    assert rounding_step((drawn() + offset) * unit) is None


@scales
def test_the_baselines_score_the_same_in_every_unit(unit: float, offset: float) -> None:
    x = np.random.default_rng(1).standard_normal((300, 1))
    y = drawn()[:, None] + x
    for name in ("climatology", "linear_gaussian"):
        scores = []
        for one, shift in ((1.0, 0.0), (unit, offset)):
            targets = (y + shift) * one
            if name == "climatology":
                forecast = fit_climatology(targets).predict(300)
            else:
                forecast = fit_linear_gaussian(x, targets).predict(x)
            rows = score_rows(forecast, targets, scales=targets.std(0, ddof=1), seed=0)
            found = summarise(rows)
            scores.append(
                [
                    found["nlpd"]["value"] - np.log(one),
                    found["crps"]["value"] / one,
                    found["rmse"]["value"] / one,
                    found["energy_score"]["value"],
                    found["pit_ks"]["value"],
                    found["coverage"]["0.9"]["value"],
                ]
            )
        np.testing.assert_allclose(scores[1], scores[0], rtol=0, atol=1e-9 + 10 * rounding_of(offset))


@pytest.mark.parametrize("unit", UNITS)
def test_the_axes_of_pictures_scale_with_the_unit(unit: float) -> None:
    for values in (drawn(), np.full(3, 2.0)):
        np.testing.assert_allclose(_padded_grid(values * unit, 9) / unit, _padded_grid(values, 9), rtol=1e-9, atol=1e-9)
