from __future__ import annotations

import numpy as np
import pytest
from scipy.integrate import quad

from cde_app.predictive.mixture import Mixture
from cde_app.predictive.squared_density import squared_density_integral
from cde_app.targets import Identity
from tests.transforms import EXAMPLES


def make_mixture(num_targets: int, transforms, *, own_weights: bool = False, seed: int = 0) -> Mixture:
    random = np.random.default_rng(seed)
    weights = random.dirichlet(np.ones(4), size=3 if own_weights else None)
    means = random.normal(size=(3, 4, num_targets))
    return Mixture(weights, means, random.uniform(0.05, 1, means.shape), transforms)


@pytest.mark.parametrize("own_weights", [False, True])
def test_the_closed_form_of_several_targets_is_the_slow_double_sum(own_weights: bool):
    mixture = make_mixture(2, (Identity(1.0, 3.0), Identity(0.0, 0.5)), own_weights=own_weights)
    expected = np.zeros(3)
    for n in range(3):
        weights = mixture.weights[n] if own_weights else mixture.weights
        for c in range(4):
            for d in range(4):
                spread = mixture.variances[n, c] + mixture.variances[n, d]
                distance = (mixture.means[n, c] - mixture.means[n, d]) ** 2 / spread
                height = np.exp(-0.5 * distance.sum()) / (2 * np.pi * np.sqrt(spread.prod()))
                expected[n] += weights[c] * weights[d] * height / (3.0 * 0.5)
    np.testing.assert_allclose(squared_density_integral(mixture), expected, rtol=1e-12)


@pytest.mark.parametrize("transform", EXAMPLES)
def test_for_one_target_it_is_what_adaptive_quadrature_finds_to_eight_digits(transform):
    transform = EXAMPLES[transform]
    mixture = make_mixture(1, (transform,))
    found = squared_density_integral(mixture)
    for n in range(3):
        one = mixture[n]

        def integrand(z: float, one: Mixture = one) -> float:
            log_density = one.log_prob_along(np.array([[z]]))[0, 0]  # of y
            return float(np.exp(2 * log_density - transform.log_jacobian_at(np.array(z))))

        bend = float(np.clip(transform.forward(transform.bend), -9, 9))
        exact = sum(quad(integrand, a, b, epsabs=0, epsrel=1e-11, limit=500)[0] for a, b in ((-12, bend), (bend, 12)))
        assert found[n] == pytest.approx(exact, rel=2e-8)


def test_rows_that_are_views_of_one_row_share_it():
    mixture = make_mixture(1, (Identity(0.0, 2.0),))
    one = mixture[:1]
    shape = (5, 4, 1)
    alike = Mixture(
        one.weights, np.broadcast_to(one.means, shape), np.broadcast_to(one.variances, shape), one.transforms
    )
    np.testing.assert_allclose(
        squared_density_integral(alike), np.full(5, squared_density_integral(one)[0]), rtol=1e-13
    )


def test_joint_densities_without_a_formula_are_left_to_draws():
    assert squared_density_integral(make_mixture(2, (Identity(0.0, 1.0), EXAMPLES["log"]))) is None
    plain = make_mixture(2, (Identity(0.0, 1.0),) * 2)
    correlated = Mixture(
        plain.weights, plain.means, plain.variances, plain.transforms, plain.variances[..., None] * np.eye(2)
    )
    assert squared_density_integral(correlated) is None
    assert squared_density_integral(plain) is not None
