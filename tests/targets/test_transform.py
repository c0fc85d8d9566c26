"""The target transforms: what all of them fulfil, what is each one's own, and the messages of `fit`."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from scipy.integrate import trapezoid
from scipy.stats import johnsonsu, norm, yeojohnson, yeojohnson_llf

from cde_app import config
from cde_app.config_file.schema import variants_of
from cde_app.errors import DataError
from cde_app.targets import KINDS, Identity, TargetTransform, candidate_transforms
from cde_app.targets.arcsinh import Arcsinh
from cde_app.targets.log import Log
from cde_app.targets.logit import Logit
from cde_app.targets.standardisation import sample_sds
from cde_app.targets.yeo_johnson import YeoJohnson
from tests.storing import stored_and_read
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


def test_a_normal_behind_arcsinh_is_johnsons_unbounded_distribution() -> None:
    transform = Arcsinh(location=0.7, scale=0.6, centre=3.0, width=2.0)
    truth = johnsonsu(-0.7 / 0.6, 1 / 0.6, loc=3.0, scale=2.0)
    y = np.linspace(-40, 60, 101)
    np.testing.assert_allclose(norm.logpdf(transform.forward(y)) + transform.log_jacobian(y), truth.logpdf(y))
    np.testing.assert_allclose(transform.normal_moments(np.zeros(1), np.ones(1)), [[truth.mean()], [truth.var()]])


def test_moments_behind_arcsinh_are_exact_near_the_centre_and_finite_far_from_it() -> None:
    transform = Arcsinh(location=0.0, scale=1.0, centre=0.0, width=2.0)
    means = np.array([-1e-9, 1e-9, 1e5, -1e5])
    mean, variance = transform.normal_moments(means, np.array([1e-6, 1e-6, 1.0, 1e5]))
    np.testing.assert_allclose(mean[:2], 2 * np.exp(5e-7) * means[:2], rtol=1e-12)
    np.testing.assert_allclose(variance[:2], 4e-6, rtol=1e-5)
    assert np.isfinite(mean).all()
    assert not np.isnan(variance).any()


# The standard errors are those of 40 samples.
@pytest.mark.parametrize(("tail", "standard_error"), [(0.3, 0.4), (1.0, 0.1), (3.0, 0.1)])
def test_the_width_of_arcsinh_maximises_the_likelihood(tail: float, standard_error: float) -> None:
    y = 5 + 2 * np.sinh(tail * np.random.default_rng(5).standard_normal(4000))
    fitted = Arcsinh.fit(y)
    widths = 2 * np.geomspace(0.1, 10, 401)

    def log_likelihood(width: float) -> float:
        u = np.arcsinh((y - fitted.centre) / width)
        return -0.5 * np.log(np.var(u)) - np.mean(np.log(np.hypot(y - fitted.centre, width)))

    best = widths[np.argmax([log_likelihood(width) for width in widths])]
    assert fitted.width == pytest.approx(best, rel=0.02)
    assert abs(fitted.width - 2.0) < 4 * standard_error


def test_arcsinh_is_nearly_the_identity_on_uniform_targets_which_have_no_tails() -> None:
    y = np.random.default_rng(6).uniform(size=500)
    np.testing.assert_allclose(Arcsinh.fit(y).forward(y), Identity.fit(y).forward(y), atol=1e-3)


@pytest.mark.parametrize(
    "y",
    [
        np.append(np.random.default_rng(7).standard_normal(300), 1e150),
        np.append(np.full(9, 1e15), np.nextafter(1e15, np.inf)),
        np.array([0.0, 0.0, 0.0, 5.0]),
        np.array([-5.0, 5.0]),
        np.concatenate([np.zeros(60), np.random.default_rng(8).standard_normal(40)]),
        np.concatenate([np.zeros(60), 1e15 * np.array([1.0, np.nextafter(1, 2)])]),
        np.array([-1e150, -1e-300, 0.0, 1e-300, 1e150]),
        1e-300 * np.random.default_rng(9).standard_cauchy(1000),
    ],
    ids=["outlier", "last digit", "one off", "two values", "heap", "heap and last digit", "huge and tiny", "tiny"],
)
def test_arcsinh_is_finite_for_all_targets_that_vary(y: np.ndarray) -> None:
    fitted = Arcsinh.fit(y)
    assert np.isfinite([fitted.location, fitted.scale, fitted.centre, fitted.width]).all()
    assert min(fitted.scale, fitted.width) > 0
    assert np.isfinite([fitted.forward(y), fitted.log_jacobian(y), fitted.inverse(fitted.forward(y))]).all()


def test_a_heap_at_the_median_does_not_narrow_arcsinh() -> None:
    y = np.random.default_rng(10).standard_normal(400)
    heaped = np.concatenate([y, np.full(600, np.median(y))])
    assert Arcsinh.fit(heaped).width == pytest.approx(Arcsinh.fit(y).width)


def test_the_candidates_have_a_log_only_if_every_target_is_positive() -> None:
    assert [t.kind for t in candidate_transforms([1.0, 2.0, 5.0])] == ["identity", "log", "yeo_johnson"]
    assert [t.kind for t in candidate_transforms([0.0, 2.0, 5.0])] == ["identity", "yeo_johnson"]


@transforms
def test_json_round_trips(transform: TargetTransform) -> None:
    assert stored_and_read(transform, TargetTransform) == transform


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


@pytest.mark.parametrize("unit", [1.0, 1e-300, 1e150])
def test_sample_standard_deviations_do_not_underflow(unit: float) -> None:
    values = np.random.default_rng(0).standard_normal((50, 2)) + 1.0
    np.testing.assert_allclose(sample_sds(values * unit) / unit, values.std(0, ddof=1), rtol=1e-12)
    np.testing.assert_array_equal(sample_sds(values), values.std(0, ddof=1))
