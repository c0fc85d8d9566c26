"""The target transforms: what all of them fulfil, what is each one's own, and the messages of `fit`."""

from __future__ import annotations

import json
import warnings

import numpy as np
import pytest
from scipy.integrate import trapezoid
from scipy.stats import norm, yeojohnson, yeojohnson_llf

from cde_app import config
from cde_app.config_file.schema import variants_of
from cde_app.data.transform import KINDS, Identity, TargetTransform, candidate_transforms, transform_from_json
from cde_app.data.transform.log import Log
from cde_app.data.transform.logit import Logit
from cde_app.data.transform.yeo_johnson import YeoJohnson
from cde_app.errors import DataError
from tests.transforms import EXAMPLES

TRANSFORMS = EXAMPLES | {
    f"yeo_johnson {exponent}": YeoJohnson(location=0.2, scale=1.3, exponent=exponent, centre=4.0, spread=0.5)
    for exponent in (0.0, 1e-13, 1e-9, 1.0, 1.7, 2 - 1e-9, 2.0)
}
transforms = pytest.mark.parametrize("transform", TRANSFORMS.values(), ids=TRANSFORMS.keys())
OPTIONS = {"log": {"shift": 0.0}, "logit": {"lower": 0.0, "upper": 100.0}}


def test_every_transform_of_the_configuration_has_a_class_of_its_name_and_an_example() -> None:
    settings = variants_of(config.Transform)
    assert {config_class.model_fields["kind"].default: transform for config_class, transform in KINDS.items()} == {
        kind: type(EXAMPLES[kind]) for kind in settings if kind != "auto"
    }
    assert all(transform.kind == kind for kind, transform in EXAMPLES.items())


@transforms
def test_the_inverse_undoes_the_transform(transform: TargetTransform) -> None:
    y = np.concatenate([np.linspace(-1.4, 50.0, 301), [4.0]])
    np.testing.assert_allclose(transform.inverse(transform.forward(y)), y, rtol=1e-8, atol=1e-8)


@transforms
def test_the_transform_undoes_the_inverse_and_is_strictly_increasing(transform: TargetTransform) -> None:
    z = np.linspace(-8, 8, 401)
    y = transform.inverse(z)
    assert np.all(np.diff(y) > 0)
    np.testing.assert_allclose(transform.forward(y), z, rtol=1e-6, atol=1e-6)


@transforms
def test_the_log_jacobian_is_the_log_of_the_numerical_derivative(transform: TargetTransform) -> None:
    y = np.linspace(-1.0, 30.0, 57)
    step = 1e-5
    slope = (transform.forward(y + step) - transform.forward(y - step)) / (2 * step)
    np.testing.assert_allclose(transform.log_jacobian(y), np.log(slope), atol=1e-5)


@transforms
def test_a_normal_density_pushed_through_integrates_to_one(transform: TargetTransform) -> None:
    y = transform.inverse(np.linspace(-9, 9, 40001))
    density = np.exp(norm.logpdf(transform.forward(y)) + transform.log_jacobian(y))
    assert trapezoid(density, y) == pytest.approx(1, abs=1e-4)


@transforms
def test_saturation_gives_no_nan_and_no_warning(transform: TargetTransform) -> None:
    extremes = np.array([-np.inf, -1e300, -1e5, 0.0, 1e5, 1e300, np.inf])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        values = [transform.forward(extremes), transform.inverse(extremes), transform.log_jacobian(extremes)]
    with np.errstate(over="ignore"):
        log_density = norm.logpdf(values[0]) + values[2]
    assert not np.isnan(np.stack([*values, log_density])).any()
    assert np.all(np.diff(values[1]) >= 0)


@pytest.mark.parametrize("exponent", [-2.0, 4.0])
def test_an_exponent_with_a_bounded_range_saturates_at_its_edge(exponent: float) -> None:
    transform = YeoJohnson(location=0.0, scale=1.0, exponent=exponent, centre=0.0, spread=1.0)
    y = transform.inverse(np.array([-1e9, -10.0, 0.0, 10.0, 1e9]))
    assert np.all(np.isfinite(y))
    assert np.all(np.diff(y) >= 0)


def test_the_log_density_outside_the_support_of_a_log_transform_is_minus_infinity() -> None:
    transform = Log(location=0.0, scale=1.0, shift=0.0)
    y = np.array([-1.0, 0.0])
    assert np.all(np.isneginf(norm.logpdf(transform.forward(y)) + transform.log_jacobian(y)))


def test_the_log_density_at_and_beyond_the_bounds_of_a_logit_is_minus_infinity() -> None:
    transform = Logit(location=0.0, scale=1.0, lower=-1.0, upper=3.0)
    y = np.array([-2.0, -1.0, 3.0, 4.0])
    assert np.all(np.isneginf(norm.logpdf(transform.forward(y)) + transform.log_jacobian(y)))


def test_nan_stays_nan() -> None:
    for transform in TRANSFORMS.values():
        assert np.isnan([transform.forward(np.nan), transform.inverse(np.nan), transform.log_jacobian(np.nan)]).all()


def test_the_yeo_johnson_map_equals_scipys() -> None:
    t = np.random.default_rng(0).normal(size=200)
    for exponent in (0.0, 0.4, 1.0, 2.0):
        ours = YeoJohnson(location=0.0, scale=1.0, exponent=exponent, centre=0.0, spread=1.0).forward(t)
        np.testing.assert_allclose(ours, yeojohnson(t, exponent), rtol=1e-10)


def test_the_exponent_maximises_the_likelihood_within_its_bounds() -> None:
    y = np.random.default_rng(1).gamma(4.0, size=500)
    fitted = YeoJohnson.fit(y)
    t = (y - fitted.centre) / fitted.spread
    grid = np.linspace(0, 2, 2001)
    best = grid[np.argmax([yeojohnson_llf(exponent, t) for exponent in grid])]
    assert 0 < fitted.exponent < 1
    assert fitted.exponent == pytest.approx(best, abs=2e-3)


@pytest.mark.parametrize("sign", [1, -1])
def test_a_very_skewed_target_keeps_an_unbounded_range(sign: int) -> None:
    y = sign * np.random.default_rng(2).pareto(1.2, size=500)
    fitted = YeoJohnson.fit(y)
    assert 0 <= fitted.exponent <= 2
    assert np.all(np.isfinite(fitted.inverse(np.linspace(-8, 8, 9))))


@pytest.mark.parametrize("transform", KINDS.values(), ids=lambda transform: transform.kind)
def test_a_fitted_transform_standardises_the_training_targets(transform: type[TargetTransform]) -> None:
    y = np.random.default_rng(3).lognormal(size=300)
    z = transform.fit(y, **OPTIONS.get(transform.kind, {})).forward(y)
    assert np.mean(z) == pytest.approx(0, abs=1e-10)
    assert np.std(z) == pytest.approx(1)


def test_the_exponent_does_not_depend_on_the_units() -> None:
    y = np.random.default_rng(4).gamma(2.0, size=300)
    exponents = [YeoJohnson.fit(scale * y + 7).exponent for scale in (1.0, 1e6, 1e-6)]
    assert exponents == pytest.approx([exponents[0]] * 3, abs=1e-4)


def test_atoms_with_no_interquartile_range_are_spread_by_the_standard_deviation() -> None:
    y = np.concatenate([np.zeros(90), np.arange(10.0)])
    assert YeoJohnson.fit(y).spread == pytest.approx(np.std(y))


def test_the_candidates_have_a_log_only_if_every_target_is_positive() -> None:
    assert [t.kind for t in candidate_transforms([1.0, 2.0, 5.0])] == ["identity", "log", "yeo_johnson"]
    assert [t.kind for t in candidate_transforms([0.0, 2.0, 5.0])] == ["identity", "yeo_johnson"]


@transforms
def test_json_round_trips(transform: TargetTransform) -> None:
    assert transform_from_json(json.loads(json.dumps(transform.to_json()))) == transform


def test_only_the_identity_is_affine() -> None:
    assert {t.kind for t in TRANSFORMS.values() if t.is_affine} == {"identity"}


def test_a_log_of_a_target_that_is_not_positive_names_the_value_and_the_way_out() -> None:
    with pytest.raises(DataError) as caught:
        Log.fit([1.0, -0.5], shift=0.25, label="a.csv: column 'y'")
    assert str(caught.value) == (
        "a.csv: column 'y': must be above -0.25 for its log transform; got -0.5. "
        "Raise the shift, or choose yeo_johnson or identity."
    )


@pytest.mark.parametrize("value", [0.0, 1.0, 1.5])
def test_a_logit_of_a_target_on_or_beyond_its_bounds_names_the_value_and_the_way_out(value: float) -> None:
    with pytest.raises(DataError) as caught:
        Logit.fit([0.5, value], label="a.csv: column 'y'", lower=0.0, upper=1.0)
    assert str(caught.value) == (
        f"a.csv: column 'y': must lie strictly between 0 and 1 for its logit transform; got {value:g}. "
        "Widen the bounds, or choose yeo_johnson or identity."
    )


def test_a_constant_target_is_refused() -> None:
    with pytest.raises(DataError, match="the target: must vary over the training rows; got 2 in each"):
        Identity.fit([2.0, 2.0])


def test_a_gap_in_the_target_is_refused() -> None:
    with pytest.raises(DataError, match="must be finite numbers in every training row; got nan"):
        Identity.fit([2.0, np.nan])
