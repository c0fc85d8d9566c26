from __future__ import annotations

import math
from functools import partial

import numpy as np
import pytest
from scipy.integrate import simpson
from scipy.special import ndtr

from cde_app.machine import blocks
from cde_app.predictive import crps as crps_module
from cde_app.predictive.crps import gaussian_mixture_crps, transformed_mixture_crps
from cde_app.predictive.mixture import Mixture
from cde_app.predictive.panels import integrate_rows
from cde_app.targets import Identity, TargetTransform
from cde_app.targets.log import Log
from cde_app.targets.yeo_johnson import YeoJohnson
from tests.transforms import EXAMPLES

IDENTITY = Identity(1.0, 2.0)
TRANSFORMS = {
    **EXAMPLES,
    "wide log": Log(0.2, 1.5, shift=0.0),
    "steepest yeo_johnson": YeoJohnson(0.1, 0.8, exponent=2.0, centre=1.0, spread=2.0),
}


def make_components(shape: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Weights [C], means and variances [3, C]: shapes that trained models have, and worse."""
    random = np.random.default_rng(0)
    match shape:
        case "one":
            return np.ones(1), random.normal(size=(3, 1)), np.full((3, 1), 0.5)
        case "far and narrow":
            return np.array([0.5, 0.5]), np.tile([-4.0, 4.0], (3, 1)), np.full((3, 2), 1e-4)
    num_components = 40
    weights = np.append(np.full(num_components - 2, 0.99 / (num_components - 2)), [0.005, 0.005])
    right = random.random((3, num_components)) < 0.5
    centre, sd = {
        "broad": (1.0, random.uniform(0.3, 1.0, right.shape)),
        "narrow": (3.0, random.uniform(0.02, 0.05, right.shape)),
        "narrow and broad": (3.0, np.where(right, 0.03, 1.0)),
    }[shape]
    means = np.where(right, centre, -centre) + 0.3 * random.normal(size=right.shape)
    sd[:, -2:] = 2.5  # the defensive components
    return weights, means, sd**2


def brute_force(
    weights: np.ndarray, means: np.ndarray, variances: np.ndarray, transform: TargetTransform, targets: np.ndarray
) -> np.ndarray:
    """The integral of (F(t) - 1{t >= y})^2 dt by Simpson's rule on 80,001 points either side of y."""
    scores = []
    for m, sd, y in zip(means, np.sqrt(variances), targets, strict=True):
        low, high = (m - 9.5 * sd).min(), (m + 9.5 * sd).max()
        observed = float(np.clip(transform.forward(y), low, high))
        score = abs(y - np.clip(y, transform.inverse(low), transform.inverse(high)))
        for start, stop, sign in ((low, observed, 1), (observed, high, -1)):
            z = np.linspace(start, stop, 80_001)
            tail = sum(w * ndtr(sign * (z - a) / b) for w, a, b in zip(weights, m, sd, strict=True))
            slope = np.exp(-transform.log_jacobian(transform.inverse(z)))
            score += simpson(tail**2 * slope, dx=(stop - start) / 80_000)
        scores.append(score)
    return np.array(scores)


@pytest.mark.parametrize("shape", ["one", "broad", "narrow", "narrow and broad", "far and narrow"])
def test_the_closed_form_equals_the_integral(shape: str) -> None:
    weights, means, variances = make_components(shape)
    z = np.array([-1.0, 0.2, 9.0])
    expected = brute_force(weights, means, variances, Identity(0.0, 1.0), z)
    np.testing.assert_allclose(gaussian_mixture_crps(weights, means, variances, z), expected, rtol=1e-9)


@pytest.mark.parametrize("shape", ["one", "broad", "narrow", "narrow and broad", "far and narrow"])
def test_many_components_take_panels_where_those_are_as_good_as_pairs(
    monkeypatch: pytest.MonkeyPatch, shape: str
) -> None:
    weights, means, variances = make_components(shape)
    z = np.array([-1.0, 0.2, 9.0])
    pairs = gaussian_mixture_crps(weights, means, variances, z)
    monkeypatch.setattr(crps_module, "MANY_COMPONENTS", 1)
    np.testing.assert_allclose(gaussian_mixture_crps(weights, means, variances, z), pairs, rtol=1e-7)
    monkeypatch.setattr(crps_module, "MASS_TOLERANCE", 1.0)
    monkeypatch.setattr(crps_module, "FEWEST_PANELS", 8)
    coarse = gaussian_mixture_crps(*make_components("narrow"), z)
    monkeypatch.setattr(crps_module, "MANY_COMPONENTS", 1000)
    exact = gaussian_mixture_crps(*make_components("narrow"), z)
    assert np.max(np.abs(coarse / exact - 1)) > 1e-3  # negative control: panels that are too wide are noticed


# Panels are halved until the mass is one within 1e-9; panels' errors may cancel in the mass, hence the margin.
@pytest.mark.parametrize("transform", TRANSFORMS.values(), ids=list(TRANSFORMS))
@pytest.mark.parametrize("shape", ["one", "broad", "narrow", "narrow and broad", "far and narrow"])
def test_the_quadrature_behind_a_transform_equals_the_integral(shape: str, transform: TargetTransform) -> None:
    weights, means, variances = make_components(shape)
    targets = transform.inverse([-1.0, 2.9, 9.0])
    expected = brute_force(weights, means, variances, transform, targets)
    score = transformed_mixture_crps(weights, means, variances, transform, targets)
    np.testing.assert_allclose(score, expected, rtol=1e-6)


def test_without_halving_the_panels_narrow_components_would_be_missed(monkeypatch: pytest.MonkeyPatch) -> None:
    weights, means, variances = make_components("narrow")
    exact = 2.0 * gaussian_mixture_crps(weights, means, variances, np.zeros(3))
    monkeypatch.setattr(crps_module, "integrate_rows", partial(integrate_rows, fewest=8, most=8))
    coarse = transformed_mixture_crps(weights, means, variances, IDENTITY, np.ones(3))
    assert np.max(np.abs(coarse / exact - 1)) > 1e-5


def test_an_observation_outside_the_support_of_a_log_transform_is_at_its_own_distance() -> None:
    transform = Log(0.2, 0.7, shift=3.0)
    mixture = Mixture(np.ones(1), np.zeros((3, 1, 1)), np.ones((3, 1, 1)), (transform,))
    scores = mixture.crps(np.array([[-3.0], [-4.0], [-103.0]]))[:, 0]
    # E|Y - y| = E Y - y there: one unit farther costs one unit more.
    np.testing.assert_allclose(scores - scores[0], [0.0, 1.0, 100.0], rtol=1e-12)
    sd = transform.scale
    mean = math.exp(transform.location + sd**2 / 2)
    assert scores[0] == pytest.approx(mean - mean * (2 * ndtr(sd / math.sqrt(2)) - 1), rel=1e-8)


def test_one_lognormal_component_has_its_closed_form() -> None:
    transform = Log(0.4, 0.8, shift=0.0)
    mixture = Mixture(np.ones(1), np.full((4, 1, 1), 0.3), np.full((4, 1, 1), 0.49), (transform,))
    y, location, sd = np.array([0.01, 1.0, 2.0, 300.0]), 0.4 + 0.8 * 0.3, 0.8 * 0.7
    z = (np.log(y) - location) / sd
    # Baran and Lerch (2015), "Log-normal distribution based EMOS models", QJRMS 141, eq. 5.
    expected = y * (2 * ndtr(z) - 1) - 2 * math.exp(location + sd**2 / 2) * (ndtr(z - sd) + ndtr(sd / math.sqrt(2)) - 1)
    np.testing.assert_allclose(mixture.crps(y[:, None])[:, 0], expected, rtol=1e-8)


def test_rows_that_are_views_of_one_row_have_the_scores_of_copies(monkeypatch: pytest.MonkeyPatch) -> None:
    weights, means, variances = make_components("broad")
    y = np.linspace(-3, 3, 50)
    views = [np.broadcast_to(values[0], (50, len(weights))) for values in (means, variances)]
    copies = gaussian_mixture_crps(weights, *(view.copy() for view in views), y)
    np.testing.assert_allclose(gaussian_mixture_crps(weights, *views, y), copies, rtol=1e-13)
    monkeypatch.setattr(blocks, "FLOATS_IN_CACHE", 100)
    np.testing.assert_allclose(gaussian_mixture_crps(weights, *(view.copy() for view in views), y), copies, rtol=1e-13)


def test_no_rows_have_no_scores() -> None:
    for transform in (IDENTITY, TRANSFORMS["log"]):
        mixture = Mixture(np.ones(2) / 2, np.zeros((0, 2, 1)), np.ones((0, 2, 1)), (transform,))
        assert mixture.crps(np.zeros((0, 1))).shape == (0, 1)
        assert mixture.quantile([0.5]).shape == (1, 0, 1)
        assert mixture.log_prob(np.zeros((0, 1))).shape == (0,)
        assert mixture.sample(3, seed=0).shape == (3, 0, 1)
