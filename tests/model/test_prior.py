"""Every distribution of TensorFlow Probability: accepted and right, or refused with a reason."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_probability as tfp
from scipy.special import ndtr

from cde_app import config
from cde_app.errors import SettingError
from cde_app.model.prior import EMPIRICAL_DRAWS, FAMILIES, FAMILY, PARAMETERS, REASONS, Prior, build_prior

STANDARD_ERRORS = 4.5
"""Some 300 comparisons are made."""
NUM_DRAWS = 10_000
DISTRIBUTIONS = sorted(
    name
    for name, value in vars(tfp.distributions).items()
    if isinstance(value, type) and issubclass(value, tfp.distributions.Distribution)
)
GIVEN: dict[str, dict[str, float]] = {
    "MultivariateNormalDiag": {"loc": 0.5, "scale_diag": 2},
    "Beta": {"concentration1": 2, "concentration0": 3},
    "Cauchy": {"loc": 0, "scale": 1},
    "Chi": {"df": 3},
    "Chi2": {"df": 3},
    "ExpGamma": {"concentration": 2, "rate": 1},
    "ExpInverseGamma": {"concentration": 2, "log_scale": 0},
    "Exponential": {"rate": 1.5},
    "ExponentiallyModifiedGaussian": {"loc": 0, "scale": 1, "rate": 1},
    "Gamma": {"concentration": 3, "rate": 2},
    "GammaGamma": {"concentration": 3, "mixing_concentration": 4, "mixing_rate": 2},
    "GeneralizedNormal": {"loc": 0, "scale": 1, "power": 1.5},
    "Gumbel": {"loc": 0, "scale": 1},
    "HalfCauchy": {"loc": 1, "scale": 1},
    "HalfNormal": {"scale": 1},
    "HalfStudentT": {"df": 5, "loc": 1, "scale": 1},
    "InverseGamma": {"concentration": 3, "scale": 2},
    "InverseGaussian": {"loc": 1, "concentration": 2},
    "JohnsonSU": {"skewness": 0.5, "tailweight": 1.5, "loc": 0, "scale": 1},
    "Kumaraswamy": {"concentration1": 2, "concentration0": 2},
    "LambertWNormal": {"loc": 0, "scale": 1, "tailweight": 0.1},
    "Laplace": {"loc": 0, "scale": 1},
    "LogLogistic": {"loc": 0, "scale": 0.3},
    "LogNormal": {"loc": 0, "scale": 0.5},
    "Logistic": {"loc": 0, "scale": 0.6},
    "LogitNormal": {"loc": 0, "scale": 1},
    "Moyal": {"loc": 0, "scale": 1},
    "Normal": {"loc": 0.3, "scale": 1.2},
    "NormalInverseGaussian": {"loc": 0, "scale": 1, "tailweight": 2, "skewness": 0.5},
    "PERT": {"low": -1, "high": 1, "peak": 0.3, "temperature": 4},
    "Pareto": {"concentration": 4, "scale": 1},
    "RelaxedBernoulli": {"temperature": 1, "probs": 0.4},
    "SigmoidBeta": {"concentration1": 2, "concentration0": 3},
    "SinhArcsinh": {"loc": 0, "scale": 1, "skewness": 0.3, "tailweight": 1.2},
    "StudentT": {"df": 5, "loc": 0, "scale": 1},
    "TruncatedNormal": {"loc": 0, "scale": 1, "low": -2, "high": 2},
    "TwoPieceNormal": {"loc": 0, "scale": 1, "skewness": 1.5},
    "TwoPieceStudentT": {"df": 5, "loc": 0, "scale": 1, "skewness": 1.5},
    "VonMises": {"loc": 0, "concentration": 2},
    "Weibull": {"concentration": 2, "scale": 1},
    # Refused, whatever is given.
    "Bates": {"total_count": 3, "low": 0, "high": 1},
    "BetaQuotient": {
        "concentration1_numerator": 2,
        "concentration0_numerator": 3,
        "concentration1_denominator": 3,
        "concentration0_denominator": 2,
    },
    "ContinuousBernoulli": {"probs": 0.3},
    "Deterministic": {"loc": 0},
    "DoublesidedMaxwell": {"loc": 0, "scale": 1},
    "GeneralizedExtremeValue": {"loc": 0, "scale": 1, "concentration": 0.1},
    "GeneralizedPareto": {"loc": 0, "scale": 1, "concentration": 0.1},
    "Horseshoe": {"scale": 1},
    "NoncentralChi2": {"df": 3, "noncentrality": 1},
    "Poisson": {"rate": 1},
    "Triangular": {"low": 0, "high": 1, "peak": 0.4},
    "TruncatedCauchy": {"loc": 0, "scale": 1, "low": -2, "high": 2},
    "Uniform": {"low": 0, "high": 1},
    "WishartLinearOperator": {"df": 3, "scale": 1},
}
CDF_OF_TFP_MISSING = {"GammaGamma", "NormalInverseGaussian", "MultivariateNormalDiag"}


def prior_of(family: str, given: dict[str, Any], dim: int = 2) -> Prior:
    prior = {"kind": "tfp", "family": family, "parameters": given}
    return build_prior(config.Latent.model_validate({"dim": dim, "prior": prior}))


def moved(prior: Prior, change: float, names: tuple[str, ...] | None = None) -> tfp.distributions.Distribution:
    """Return a member of the family, its parameters (or those named) moved on their unconstrained scale."""
    parameters = prior.distribution.parameters
    return prior.member(
        [
            b.forward(b.inverse(parameters[name]) + (change if names is None or name in names else 0.0))[None]
            for name, b in prior.bijectors.items()
        ]
    )


def overlap_gap(prior: Prior, q: tfp.distributions.Distribution, seed: int) -> float:
    """Return E_q min(p / q, 2) - E_p min(1, 2 q / p) in standard errors.

    Both are the integral of min(p, 2 q) where p and q are the densities of their draws. Infinite where one of them is
    zero at a draw from the other.
    """
    p = prior.distribution
    values = []
    for sampler, sign, most in ((q, 1, 2.0), (p, -1, 1.0)):
        W = sampler.sample(NUM_DRAWS, seed=tf.constant([seed, sign]))
        log_ratio = (prior.log_prob(p, W) - prior.log_prob(q, W)).numpy().ravel()
        if not np.isfinite(log_ratio).all():
            return np.inf
        values.append(np.minimum(np.exp(sign * log_ratio) * (2 if sign < 0 else 1), most))
    error = np.sqrt(sum(part.var() for part in values) / NUM_DRAWS)
    return float((values[0].mean() - values[1].mean()) / (error + 1e-9))


@pytest.mark.parametrize("family", DISTRIBUTIONS)
def test_every_distribution_of_tfp_is_a_prior_or_refused_with_a_reason(family: str) -> None:
    if family in FAMILIES:
        assert prior_of(family, GIVEN[family]).distribution.dtype == tf.float64
        return
    for given in ({}, GIVEN.get(family, {}), {"loc": 0, "scale": 1}):
        with pytest.raises(SettingError) as caught:
            prior_of(family, given)
        assert caught.value.key == FAMILY
        why = f", {REASONS[family]}" if family in REASONS else ""
        assert caught.value.message == (
            "expected a fully reparameterisable family of continuous scalars with a fixed support; "
            f"got {family!r}{why}. Choose one such as 'Laplace', 'StudentT' or 'Gamma'."
        )


def test_the_table_of_families_is_of_distributions_of_tfp_and_of_their_parameters() -> None:
    assert FAMILIES.keys() <= set(DISTRIBUTIONS)
    assert REASONS.keys() <= set(DISTRIBUTIONS) - FAMILIES.keys()
    for family, learned in FAMILIES.items():
        properties = getattr(tfp.distributions, family).parameter_properties(dtype=tf.float64)
        assert set(learned) <= set(properties)


SLOWEST = ("NormalInverseGaussian", "ExpInverseGamma")
ONE_BY_ONE = [pytest.param(name, marks=pytest.mark.slow) if name in SLOWEST else name for name in FAMILIES]


@pytest.mark.thinned(3)
@pytest.mark.parametrize("family", ONE_BY_ONE)
def test_densities_of_a_family_are_those_of_its_draws_on_one_support_whatever_is_learned(family: str) -> None:
    prior = prior_of(family, GIVEN[family], dim=1)
    for index, name in enumerate(prior.bijectors):
        for change in (-0.5, 0.5):
            q = moved(prior, change, (name,))
            assert abs(overlap_gap(prior, q, index)) < STANDARD_ERRORS, (name, change)


@pytest.mark.parametrize(
    ("family", "name"), [("Pareto", "scale"), ("HalfCauchy", "loc"), ("GeneralizedPareto", "loc"), ("Uniform", "high")]
)
def test_a_parameter_that_moves_the_support_is_told_by_that_very_comparison(family: str, name: str) -> None:
    """The control of the test above; TFP's generalised Pareto density is finite outside its support."""
    given = {key: tf.constant([float(value)], tf.float64) for key, value in GIVEN[family].items()}
    p, bijector = getattr(tfp.distributions, family)(**given), tfp.bijectors.Shift(tf.constant(0.0, tf.float64))
    free = Prior(p, {name: bijector})
    assert max(abs(overlap_gap(free, moved(free, change), 0)) for change in (-0.5, 0.5)) > 2 * STANDARD_ERRORS
    assert name not in FAMILIES.get(family, ())


@pytest.mark.parametrize("family", ONE_BY_ONE)
def test_the_kl_of_a_family_is_that_of_many_draws_and_its_draws_are_differentiable(family: str) -> None:
    prior = prior_of(family, GIVEN[family])
    q = moved(prior, 0.8)
    W = q.sample(NUM_DRAWS, seed=tf.constant([0, 1]))
    log_ratio = (prior.log_prob(q, W) - prior.log_prob(prior.distribution, W)).numpy()[:, 0]
    error = log_ratio.std() / np.sqrt(NUM_DRAWS)
    few = q.sample(NUM_DRAWS, seed=tf.constant([0, 2]))
    assert prior.kl(q, few).shape == [1]
    assert abs(float(prior.kl(q, few)[0]) - log_ratio.mean()) < STANDARD_ERRORS * np.sqrt(2) * error
    assert log_ratio.mean() > STANDARD_ERRORS * error, "the control, a KL of zero, must fail"
    parameters = [tf.identity(q.parameters[name]) for name in prior.bijectors]
    with tf.GradientTape() as tape:
        tape.watch(parameters)
        mean = tf.reduce_mean(prior.member(parameters).sample(64, seed=tf.constant([0, 3])))
    for gradient in tape.gradient(mean, parameters):
        assert np.isfinite(gradient).all()
        assert np.abs(gradient).max() > 0


@pytest.mark.parametrize("family", FAMILIES)
def test_the_nodes_of_a_family_have_its_distribution(family: str) -> None:
    prior = prior_of(family, GIVEN[family])
    scores = np.linspace(-2.5, 2.5, 11)[:, None] * np.ones(2)
    nodes = prior.from_normal_scores(scores)
    assert (np.diff(nodes, axis=0) > 0).all()
    if family not in CDF_OF_TFP_MISSING:
        levels, num_draws = prior.distribution.cdf(tf.constant(nodes)).numpy(), EMPIRICAL_DRAWS
    else:
        draws = prior.distribution.sample(NUM_DRAWS, seed=tf.constant([5, 6])).numpy()
        levels, num_draws = (draws[:, None, :] < nodes).mean(0), NUM_DRAWS
    expected = ndtr(scores)
    error = np.sqrt(expected * (1 - expected) * (1 / num_draws + 1 / EMPIRICAL_DRAWS))
    assert (np.abs(levels - expected) < STANDARD_ERRORS * error + 1e-6).all()


@pytest.mark.parametrize(
    ("family", "given", "key", "message"),
    [
        (
            "TruncatedNormal",
            {"loc": 0, "scale": 1, "low": 2, "high": -2},
            PARAMETERS,
            (
                "expected a proper density; got {'loc': 0.0, 'scale': 1.0, 'low': 2.0, 'high': -2.0}. "
                "TruncatedNormal not defined when `low >= high`."
            ),
        ),
        (
            "Laplace",
            {},
            PARAMETERS,
            (
                "expected values for what the family 'Laplace' needs, of 'loc', 'scale'; got none. "
                "missing a required argument: 'loc'."
            ),
        ),
        (
            "Gamma",
            {"concentration": 1},
            PARAMETERS,
            (
                "expected values for what the family 'Gamma' needs, of 'concentration', 'rate', 'log_rate'; "
                "got 'concentration'. Exactly one of `rate` or `log_rate` must be specified."
            ),
        ),
        (
            "MultivariateNormalDiag",
            {"loc": 0},
            PARAMETERS,
            (
                "expected values for what the family 'MultivariateNormalDiag' needs, of 'loc', 'scale_diag'; "
                "got 'loc'. Write those that training learns: 'loc', 'scale_diag'."
            ),
        ),
        (
            "MultivariateNormalDiag",
            {"loc": 0, "scale_diag": 0},
            (*PARAMETERS, "scale_diag"),
            "expected a value in the parameter's domain; got 0.0. Correct the value.",
        ),
        (
            "Kumaraswamy",
            {},
            PARAMETERS,
            (
                "expected values for what the family 'Kumaraswamy' needs, of 'concentration1', 'concentration0'; "
                "got none. Write those that training learns: 'concentration1', 'concentration0'."
            ),
        ),
        (
            "Unifrom",
            {},
            FAMILY,
            (
                "expected a family of TensorFlow Probability; got 'Unifrom'. "
                "Choose one such as 'Laplace', 'StudentT' or 'Gamma'."
            ),
        ),
        (
            "logistics",
            {},
            FAMILY,
            "expected a family of TensorFlow Probability; got 'logistics'. Did you mean 'Logistic'?",
        ),
    ],
)
def test_values_that_make_no_prior_are_refused_with_what_to_do(
    family: str, given: dict[str, Any], key: tuple[str, ...], message: str
) -> None:
    with pytest.raises(SettingError) as caught:
        prior_of(family, given)
    assert (caught.value.key, caught.value.message) == (key, message)
