from __future__ import annotations

import numpy as np
import pytest
from scipy.interpolate import CubicSpline

from cde_app.arrays import Array
from cde_app.predictive.condensed import condense
from cde_app.predictive.emulator import fit_emulator
from cde_app.predictive.mixture import Mixture
from cde_app.predictive.page import differences, fit_page_model
from cde_app.targets.identity import Identity
from cde_app.targets.log import Log

NUM_COMPONENTS = 150
AFFINE, LOG = Identity(location=3.0, scale=2.0), Log(location=0.5, scale=0.4, shift=0.0)


def predict(X: Array, num_targets: int = 1) -> Mixture:
    """A mixture whose components are smooth in x: two modes that part, and noise that grows."""
    w = (np.arange(NUM_COMPONENTS) + 0.5) / NUM_COMPONENTS
    slope, level = np.sin(X[:, :1]), np.tanh(X.sum(axis=1, keepdims=True))
    first = slope + (1 + level) * np.sign(w - 0.4) + 0.3 * (w - 0.5)
    means = np.stack([first, 0.5 * first + np.cos(9 * w), -first][:num_targets], axis=-1)
    variances = np.broadcast_to(np.exp(0.5 * level - 2)[..., None], means.shape)
    weights = np.full(NUM_COMPONENTS, 1 / NUM_COMPONENTS)
    return Mixture(weights, means, variances, (AFFINE, LOG, AFFINE)[:num_targets])


@pytest.mark.parametrize("num_targets", [1, 2])
@pytest.mark.parametrize("num_groups", [1, 5, 40])
def test_groups_of_components_keep_the_mean_and_the_covariance(num_targets: int, num_groups: int) -> None:
    X = np.random.default_rng(0).normal(size=(30, 2))
    mixture = predict(X, num_targets)
    part = condense(mixture, num_groups)
    values, K = part(mixture), len(part.weights)
    assert len(part.weights) <= num_groups
    assert part.weights.sum() == pytest.approx(1)
    means = np.stack([values[:, 2 * p * K : (2 * p + 1) * K] for p in range(num_targets)], axis=-1)
    sds = np.exp(np.stack([values[:, (2 * p + 1) * K : (2 * p + 2) * K] for p in range(num_targets)], axis=-1))
    centre = np.einsum("k,nkp->np", part.weights, means)
    exact = np.einsum("c,ncp->np", mixture.weights, mixture.means)
    assert np.allclose(centre, exact)
    across = np.einsum("k,nkp,nkq->npq", part.weights, means, means)
    for p in range(num_targets):
        across[:, p, p] += sds[:, :, p] ** 2 @ part.weights
    if num_targets == 2:
        inner = (np.tanh(values[:, 4 * K :]) * sds.prod(-1)) @ part.weights
        across[:, 0, 1] += inner
        across[:, 1, 0] += inner
    wanted = np.einsum("c,ncp,ncq->npq", mixture.weights, mixture.means, mixture.means)
    wanted += np.einsum("c,ncp,pq->npq", mixture.weights, mixture.variances, np.eye(num_targets))
    assert np.allclose(across, wanted, atol=2e-3 if num_groups == 40 else 1e-8)


def test_in_one_dimension_the_emulator_is_the_natural_cubic_spline() -> None:
    x = np.sort(np.random.default_rng(1).uniform(-2, 2, 25))
    values = np.stack([np.sin(3 * x), np.exp(x)], axis=1)
    emulator = fit_emulator(x[:, None], values, np.array([1e-4, 1e-4]), np.array([2.0]))
    between = np.linspace(x[0], x[-1], 101)
    spline = CubicSpline(x, values, bc_type="natural")(between)
    assert np.allclose(emulator(between[:, None]), spline, atol=1e-6)
    assert np.allclose(emulator(x[:, None]), values, atol=1e-6)
    other = CubicSpline(x, values, bc_type="clamped")(between)
    assert not np.allclose(emulator(between[:, None]), other, atol=1e-2), "the control"


def test_features_that_sum_to_one_are_no_obstacle() -> None:
    random = np.random.default_rng(2)
    label = random.integers(0, 3, 60)
    X = np.column_stack([random.normal(size=60), np.eye(3)[label]])
    values = (np.sin(X[:, 0]) + label)[:, None]
    emulator = fit_emulator(X, values, np.array([1e-4]), np.ones(4))
    assert np.allclose(emulator(X), values, atol=1e-5)


@pytest.mark.parametrize("num_targets", [1, 2, 3])
def test_the_page_is_as_near_to_the_model_as_it_says(num_targets: int) -> None:
    """The interpolated distribution functions against the exact ones; a page with few sites must look worse."""
    random = np.random.default_rng(3)
    checked = random.uniform(-2, 2, (60, 2))

    def found(num_sites: int) -> tuple[float, float]:
        sites = np.random.default_rng(4).uniform(-2, 2, (num_sites, 2))
        page = fit_page_model(lambda X: predict(X, num_targets), sites, sites)
        result = differences(page, lambda X: predict(X, num_targets), checked, num_joint=20, num_draws=100, seed=0)
        joint = float(result.joint.mean()) if num_targets > 1 else 0.0
        return float(np.quantile(result.probability, 0.95)), joint

    many, joint = found(400)
    assert many < 0.01
    assert joint < 0.15
    assert found(12)[0] > 0.03, "the control"


def test_differences_are_those_of_the_distribution_functions() -> None:
    """A model shifted by one standard deviation: max |Phi(z) - Phi(z - 1)| = 2 Phi(1/2) - 1 = 0.383."""

    def shifted(X: Array, by: float = 0.0) -> Mixture:
        one = np.ones(1)
        return Mixture(one, np.zeros((len(X), 1, 1)) + X[:, :1, None] + by, np.ones((len(X), 1, 1)), (AFFINE,))

    sites = np.linspace(-1, 1, 20)[:, None]
    page = fit_page_model(shifted, sites, sites)
    exact = differences(page, shifted, sites[3:6] + 0.01, num_joint=1, num_draws=1, seed=0)
    assert exact.probability.max() < 1e-4
    moved = differences(page, lambda X: shifted(X, 1.0), sites[3:6], num_joint=1, num_draws=1, seed=0)
    assert moved.probability == pytest.approx(0.3829, abs=2e-3)
