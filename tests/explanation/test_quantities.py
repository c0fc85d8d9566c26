from __future__ import annotations

import numpy as np
import pytest
from scipy.integrate import simpson

from cde_app.config.threshold import parse_thresholds
from cde_app.explanation.quantities import JOINT, described, entropy, moments, scored
from cde_app.predictive.mixture import Mixture
from cde_app.targets import Identity
from cde_app.targets.log import Log
from tests.explanation.simulators import predict, table
from tests.transforms import EXAMPLES

NORMAL = 0.5 * np.log(2 * np.pi * np.e)


def mixture_of(means: list[float], sds: list[float], weights: list[float], transform: object) -> Mixture:
    shape = (1, len(means), 1)
    variances = np.square(sds).reshape(shape)
    return Mixture(np.array(weights), np.reshape(means, shape), variances, (transform,), names=("y",))  # type: ignore[arg-type]


@pytest.mark.parametrize("sd", [1e-4, 1.0, 300.0])
def test_the_entropy_of_a_normal_is_that_of_the_formula(sd: float) -> None:
    assert entropy(mixture_of([2.0], [sd], [1.0], Identity(5.0, 3.0)))[0] == pytest.approx(
        NORMAL + np.log(3.0 * sd), abs=1e-6
    )


def test_two_modes_far_apart_have_the_entropy_of_one_and_of_the_choice() -> None:
    apart = mixture_of([-20.0, 20.0], [0.1, 0.5], [0.25, 0.75], Identity(0.0, 1.0))
    choice = -0.25 * np.log(0.25) - 0.75 * np.log(0.75)
    within = NORMAL + 0.25 * np.log(0.1) + 0.75 * np.log(0.5)
    assert entropy(apart)[0] == pytest.approx(choice + within, abs=1e-6)
    assert abs(entropy(apart)[0] - within) > 0.5, "the control: the choice of the mode is part of it"


def test_the_entropy_is_that_of_the_targets_own_scale() -> None:
    transform = Log(0.4, 0.8, shift=0.0)
    log_normal = mixture_of([0.3], [0.7], [1.0], transform)
    mean_of_log = transform.location + transform.scale * 0.3
    expected = NORMAL + np.log(0.7 * transform.scale) + mean_of_log
    assert entropy(log_normal)[0] == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("transform", EXAMPLES.values(), ids=EXAMPLES.keys())
def test_the_entropy_agrees_with_a_fine_grid(transform: object) -> None:
    mixture = mixture_of([-0.5, 0.4, 1.0], [0.2, 0.5, 0.05], [0.3, 0.6, 0.1], transform)
    z = np.linspace(-5, 5, 200_001)[None]
    log_density = mixture.log_prob_along(z)[0]
    density_of_z = np.exp(log_density - mixture.transforms[0].log_jacobian_at(z)[0])
    terms = np.where(density_of_z > 1e-300, density_of_z * log_density, 0.0)
    assert entropy(mixture)[0] == pytest.approx(-simpson(terms, x=z[0]), abs=1e-5)


def test_rows_are_described_by_the_forecasts_own_numbers() -> None:
    X, _ = table(20, seed=0)
    forecast = predict(X)
    values = described(forecast, parse_thresholds(["y>0.5", "-1<y<1"], ["y"], option="thresholds"))
    assert list(values) == [("y", name) for name in ("mean", "width", "entropy", "P(y>0.5)", "P(-1<y<1)")]
    np.testing.assert_array_equal(values["y", "mean"], X[:, 0])
    np.testing.assert_allclose(values["y", "width"], 2 * 1.6448536 * np.exp(0.6 * X[:, 1]), rtol=1e-6)
    np.testing.assert_allclose(values["y", "entropy"], NORMAL + 0.6 * X[:, 1], atol=1e-6)
    np.testing.assert_array_equal(values["y", "P(-1<y<1)"], forecast.probability(above=-1.0, below=1.0))
    np.testing.assert_allclose(moments(forecast, ())["y", "log_sd"], 0.6 * X[:, 1], atol=1e-12)


def test_several_targets_have_a_joint_score_and_one_has_none() -> None:
    X, y = table(20, seed=0)
    forecast = predict(X)
    assert list(scored(forecast, y)) == [("y", "nlpd"), ("y", "crps")]
    two = Mixture(
        np.ones(1),
        np.tile(forecast.means, 2),
        np.tile(forecast.variances, 2),
        forecast.transforms * 2,
        names=("u", "v"),
    )
    values = scored(two, np.tile(y, 2))
    np.testing.assert_allclose(values[JOINT, "nlpd"], values["u", "nlpd"] + values["v", "nlpd"], rtol=1e-12)
