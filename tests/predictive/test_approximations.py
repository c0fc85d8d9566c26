"""What prediction approximates, and by how much: the numbers of `docs/method.md`, section 4.

Nodes of a chain are held by `test_chain.py`, quantiles, covariances and draws by `test_mixture.py`, the CRPS by
`test_crps.py`, the tables of priors without a quantile function by `tests/model/test_latent.py`.
"""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import ndtr
from scipy.stats import t as student_t

from cde_app.gp.likelihood import StudentTNoise
from cde_app.predictive.component_moments import component_moments
from cde_app.predictive.ensemble import Ensemble
from cde_app.predictive.mixture import Mixture
from cde_app.predictive.nodes import gaussian_nodes
from cde_app.targets.yeo_johnson import YeoJohnson
from tests.small_models import perturb, small_model

NUM_NODES = 256


def average_errors(found: Mixture, truth: Mixture) -> tuple[float, float, float]:
    """Return the mean errors of the distribution function and of the mean [sd], and of the log density, their RMS."""
    levels = np.linspace(0.05, 0.95, 10)
    points = truth.quantile(levels)
    cdf = np.mean([np.abs(found.cdf(y) - level) for y, level in zip(points, levels, strict=True)])
    log_density = np.sqrt(np.mean([(found.log_prob(y) - truth.log_prob(y)) ** 2 for y in points]))
    return float(cdf), float(np.mean(np.abs(found.mean() - truth.mean()) / truth.sd())), float(log_density)


@pytest.mark.parametrize("ensemble", [1, 4])
@pytest.mark.parametrize("inner", [0, 1])
def test_the_nodes_of_w_and_of_the_inner_layers_miss_a_thousandth_of_probability(ensemble: int, inner: int) -> None:
    small = perturb(small_model(layers=[{}] * inner, defensive_weight=0))

    def forecast(num_nodes: int, *, seed: int) -> Mixture:
        """Nodes are shared by the members, which here differ in them alone."""
        count = num_nodes // ensemble
        members = [small.posterior(num_components=count, seed=seed + member) for member in range(ensemble)]
        return Ensemble(tuple(members)).predict(small.X[:8])

    truth = forecast(1 << 12, seed=100)
    errors = np.array([average_errors(forecast(NUM_NODES, seed=10 * seed), truth) for seed in range(3)])
    assert np.all(errors.mean(0) < [0.001, 0.003, 0.01])
    few = np.array([average_errors(forecast(NUM_NODES // 16, seed=10 * seed), truth) for seed in range(3)])
    assert np.all(few.mean(0)[[0, 2]] > [0.001, 0.01]), "the control, a sixteenth of them, must fail"


@pytest.mark.parametrize("degrees", [3.0, 4.0, 10.0])
def test_the_nodes_of_student_t_are_right_within_four_scales_and_fall_short_beyond_eight(degrees: float) -> None:
    y = np.linspace(-8, 8, 321)
    near = np.abs(y) <= 4
    cdf, log_density = np.zeros(len(y)), np.zeros(len(y))
    for seed in range(8):
        variances = StudentTNoise(np.ones(1), degrees).factors(gaussian_nodes(NUM_NODES, 1, seed=seed))[:, 0]
        mixture = np.exp(-0.5 * y[:, None] ** 2 / variances) / np.sqrt(2 * np.pi * variances)
        cdf = np.maximum(cdf, np.abs(ndtr(y[:, None] / np.sqrt(variances)).mean(1) - student_t.cdf(y, degrees)))
        log_density = np.maximum(log_density, np.abs(np.log(mixture.mean(1)) - student_t.logpdf(y, degrees)))
    assert cdf.max() < 0.001
    assert log_density[near].max() < 0.05
    if degrees == 10.0:
        assert log_density.max() > 0.5, "the table of `docs/method.md` says so"


@pytest.mark.parametrize("exponent", [0.0, 0.5, 2.0])
def test_gauss_hermite_moments_behind_yeo_johnson_are_right_to_a_ten_thousandth(exponent: float) -> None:
    transform = YeoJohnson(0.1, 0.9, exponent=exponent, centre=0.0, spread=1.0)
    for sd, tolerance in ((0.1, 1e-6), (0.3, 1e-5), (1.0, 1e-4)):
        for middle in np.linspace(-2, 2, 21):
            z = np.linspace(-10, 10, 20_001)
            weights = np.exp(-0.5 * z**2)
            weights /= weights.sum()
            values = transform.inverse(middle + sd * z)
            mean = weights @ values
            variance = weights @ (values - mean) ** 2
            found = component_moments(np.array([[middle]]), np.array([[sd**2]]), transform)
            assert abs(found[0][0, 0] - mean) < tolerance * np.sqrt(variance)
            assert abs(np.sqrt(found[1][0, 0] / variance) - 1) < tolerance
