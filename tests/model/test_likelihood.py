"""Every likelihood: its integrals against brute force, and one contract over likelihood, objective and structure."""

from __future__ import annotations

from typing import Any, get_args

import gpflow
import numpy as np
import pytest
import tensorflow as tf
from pydantic import TypeAdapter
from scipy.integrate import quad, simpson
from scipy.stats import norm, t

from cde_app import config
from cde_app.gp.kernels import SquaredExponential
from cde_app.gp.likelihood import NOISES, StudentTNoise
from cde_app.model.likelihood import TRAINED, build_likelihood
from cde_app.model.objective import bound
from cde_app.predictive.nodes import gaussian_nodes, split_outermost
from tests.small_models import perturb, small_model
from tests.storing import stored_and_read

LIKELIHOODS: dict[str, dict[str, Any]] = {
    "gaussian": {},
    "heteroscedastic_gaussian": {"num_inducing": 5},
    "student_t": {"degrees_of_freedom": 4.0},
}
kinds = pytest.mark.parametrize("kind", LIKELIHOODS)


def likelihood_settings(kind: str, **settings: Any) -> config.Likelihood:
    values = {"kind": kind, **LIKELIHOODS[kind], **settings}
    return config.ModelSettings.model_validate({"likelihood": values}).likelihood


def build(kind: str, noise: list[float], *, floor: Any = 0.0, **settings: Any) -> Any:
    """Build a likelihood of its own, without a model around it."""
    Z, values = np.random.default_rng(0).standard_normal((5, 2)), likelihood_settings(kind, **settings)
    floors = np.broadcast_to(np.maximum(floor, values.variance_floor), len(noise))
    start = NOISES[kind].start(
        values, np.array(noise), floors, sparse_prior=lambda _: (SquaredExponential(1.0, np.ones(2)), Z)
    )
    return build_likelihood(start, floors)


def one_row(function: Any, y: float, mean: float, variance: float) -> float:
    row = [tf.constant([[value]], tf.float64) for value in (y, mean, variance)]
    return float(function(tf.zeros([1, 2], tf.float64), *row)[0])


def test_every_kind_has_settings_a_noise_its_likelihood_and_a_test() -> None:
    settings = {one.model_fields["kind"].default: one for one in get_args(config.Likelihood)}
    assert list(settings) == list(NOISES) == list(LIKELIHOODS)
    assert list(TRAINED) == list(NOISES.values())
    for kind, noise in NOISES.items():
        assert hasattr(TRAINED[noise], "log_predictive_mixed") == settings[kind].allows_mixing


@pytest.mark.parametrize("degrees", [2.5, 4.0, 30.0, 1000.0])
@pytest.mark.parametrize(("residual", "variance"), [(0.3, 1e-4), (1.0, 0.2), (-2.0, 5.0), (25.0, 0.1)])
def test_the_predictive_density_of_student_t_equals_its_convolution_with_the_normal(
    degrees: float, residual: float, variance: float
) -> None:
    likelihood = build("student_t", [0.4], degrees_of_freedom=degrees)
    scale, sd = float(likelihood.scale.numpy()[0]), np.sqrt(variance)
    assert scale**2 * degrees / (degrees - 2) == pytest.approx(0.4)

    def integrand(f: float) -> float:
        return float(t.pdf(residual - f, degrees, scale=scale) * norm.pdf(f, scale=sd))

    reach = 12 * sd + abs(residual)
    exact, _ = quad(integrand, -reach, reach, points=[0.0, residual * variance / (variance + 0.4)], epsabs=0)
    ours = one_row(likelihood.log_predictive, residual + 3.0, 3.0, variance)
    assert ours == pytest.approx(np.log(exact), abs=1e-6)


@pytest.mark.parametrize(("residual", "variance"), [(0.3, 1e-4), (1.0, 0.2), (8.0, 0.5)])
def test_the_expected_log_density_of_student_t_equals_brute_force_and_gpflow(residual: float, variance: float) -> None:
    likelihood, sd = build("student_t", [0.4]), np.sqrt(variance)
    f = np.linspace(-10 * sd, 10 * sd, 20_001)
    log_t = t.logpdf(residual - f, 4.0, scale=float(likelihood.scale.numpy()[0]))
    exact = simpson(log_t * norm.pdf(f, scale=sd), x=f)
    assert one_row(likelihood.expected_log_likelihood, residual, 0.0, variance) == pytest.approx(exact, abs=1e-3)
    row = [np.array([[value]]) for value in (0.0, variance, residual)]
    theirs = float(likelihood.variational_expectations(np.zeros((1, 2)), *row)[0])
    assert theirs == pytest.approx(exact, abs=1e-3)


@pytest.mark.parametrize("kind", ["gaussian", "heteroscedastic_gaussian"])
def test_normal_noise_equals_gpflow(kind: str) -> None:
    random = np.random.default_rng(1)
    likelihood, X = build(kind, [0.3, 0.7]), random.standard_normal((6, 2))
    if kind.startswith("hetero"):
        likelihood.variance.weights.assign(random.standard_normal((5, 2)))
        assert np.ptp(likelihood.noise_variance(X).numpy(), axis=0).min() > 0.05
    mean, Y, variance = random.standard_normal((6, 2)), random.standard_normal((6, 2)), random.uniform(0.1, 1, (6, 2))
    tensors = [tf.constant(part) for part in (X, Y, mean, variance)]
    theirs = likelihood.variational_expectations(X, mean, variance, Y)
    np.testing.assert_allclose(likelihood.expected_log_likelihood(*tensors), theirs, rtol=1e-10)
    theirs = likelihood.predict_log_density(X, mean, variance, Y)
    np.testing.assert_allclose(likelihood.log_predictive(*tensors), theirs, rtol=1e-10)


@kinds
def test_the_noise_starts_where_the_warm_start_has_it_and_never_falls_below_its_floor(kind: str) -> None:
    X, degrees = tf.zeros([1, 2], tf.float64), 4.0
    start = build(kind, [0.3, 0.7]).noise_variance(X).numpy().ravel()
    np.testing.assert_allclose(start * (degrees / (degrees - 2) if kind == "student_t" else 1.0), [0.3, 0.7])
    likelihood = build(kind, [0.3, 0.01], floor=np.array([1e-9, 0.2]), variance_floor=1e-3)
    assert likelihood.noise_variance(X).numpy().ravel()[1] > 0.2
    for variable in likelihood.trainable_variables:
        variable.assign(tf.fill(variable.shape, tf.constant(-100.0, tf.float64)))
    np.testing.assert_allclose(likelihood.noise_variance(X).numpy().ravel(), [1e-3, 0.2], rtol=1e-6)


def test_noise_that_varies_with_x_pays_for_its_weights_and_refuses_to_be_trained_without_x() -> None:
    likelihood = build("heteroscedastic_gaussian", [0.3])
    likelihood.variance.weights.assign(np.arange(5.0)[:, None])
    assert float(likelihood.log_prior()) == pytest.approx(-15.0)
    assert float(build("gaussian", [0.3]).log_prior()) == 0.0
    column = np.zeros((3, 1))
    with pytest.raises(ValueError, match="noise that varies with x needs x; GPflux passes X=None"):
        likelihood.variational_expectations(None, column, column + 1, column)


def test_the_factors_of_student_t_average_to_its_density_and_add_no_coordinate_to_others() -> None:
    nodes = gaussian_nodes(4096, 1, seed=0)
    y = np.linspace(-6, 6, 121)
    mixture = norm.pdf(y[:, None], scale=np.sqrt(StudentTNoise(np.ones(1), 4.0).factors(nodes)[:, 0])).mean(1)
    np.testing.assert_allclose(mixture, t.pdf(y, 4.0), rtol=0.01, atol=1e-5)
    posteriors = {kind: small_model(2, likelihood={"kind": kind}).posterior() for kind in LIKELIHOODS}
    assert posteriors["student_t"].noise_factors.shape == (len(posteriors["student_t"].node_weights), 2)
    assert posteriors["gaussian"].noise_factors is None
    latents, _ = split_outermost(gaussian_nodes(16, 1, seed=0), [0])
    for kind in ("gaussian", "heteroscedastic_gaussian"):
        np.testing.assert_array_equal(posteriors[kind].latent_nodes, latents)


def test_the_mixture_of_student_t_equals_the_convolution_by_brute_force() -> None:
    """Without latent variables p(y | x) is t convolved with q(f), which 4096 nodes of lambda must reproduce."""
    small = small_model(latent={"dim": 0}, likelihood={"kind": "student_t"}, defensive_weight=0)
    posterior = small.posterior(num_components=4096)
    mixture = posterior.predict(small.X[:3])
    transform, scale = mixture.transforms[0], float(np.sqrt(posterior.noise.variance[0]))
    mean, variance = small.regression.as_sparse_gp().moments(small.X[:3])
    offsets = scale * np.array([-6.0, -2.0, -0.5, 0.0, 1.0, 4.0])
    for row in range(3):
        f = mean[row, 0] + np.sqrt(variance[row, 0]) * np.linspace(-9, 9, 4001)
        z = mean[row, 0] + offsets
        density = t.pdf(z[:, None] - f, 4.0, scale=scale) * norm.pdf(f, mean[row, 0], np.sqrt(variance[row, 0]))
        exact = simpson(density, x=f) * np.exp(transform.log_jacobian(transform.inverse(z)))
        ours = np.exp(mixture[[row]].log_prob_at(transform.inverse(z)[:, None]))[0]
        np.testing.assert_allclose(ours, exact, rtol=0.01)
        narrower = np.exp(mixture[[row]].log_prob_at(transform.inverse(mean[row] + 0.9 * offsets)[:, None]))[0]
        assert np.abs(narrower / exact - 1).max() > 0.01, "the control must fail"


@pytest.mark.thinned(5)
@kinds
@pytest.mark.parametrize("objective_kind", ["predictive", "importance_weighted", "elbo"])
@pytest.mark.parametrize("structure", ["additive", "joint"])
@pytest.mark.parametrize("num_targets", [1, 2])
def test_every_likelihood_fulfils_the_contract(
    kind: str, objective_kind: str, structure: str, num_targets: int
) -> None:
    settings = {"kind": kind, **LIKELIHOODS[kind]}
    small = perturb(small_model(num_targets, likelihood=settings, output={"structure": structure}))
    objective = TypeAdapter(config.Objective).validate_python({"kind": objective_kind, "num_samples": 3})
    X, Y = tf.constant(small.X), tf.constant(small.Y)

    def value() -> tf.Tensor:
        return bound(small.model, objective, X, Y, kl_weight=1.0, seed=tf.constant([0, 0]))

    variables = small.model.deep_gp.trainable_variables
    assert {id(v) for v in small.model.likelihood.trainable_variables} <= {id(v) for v in variables}
    with tf.GradientTape() as tape:
        first = value()
    assert first.shape == ()
    assert np.isfinite(first)
    np.testing.assert_array_equal(first, value())
    for variable, gradient in zip(variables, tape.gradient(first, variables), strict=True):
        assert np.isfinite(gradient).all(), variable.name
        assert np.abs(gradient).max() > 0, variable.name

    posterior = small.posterior(num_components=32)
    twin = stored_and_read(posterior)
    mixture = posterior.predict(small.X[:4])
    assert mixture.means.shape == mixture.variances.shape == (4, len(posterior.weights), num_targets)
    for name in ("weights", "means", "variances"):
        np.testing.assert_array_equal(getattr(twin.predict(small.X[:4]), name), getattr(mixture, name))
    assert (
        posterior.noise_at(small.X[:4]).shape
        == {
            "gaussian": (1, 1, num_targets),
            "heteroscedastic_gaussian": (4, 1, num_targets),
            "student_t": (1, len(posterior.node_weights), num_targets),
        }[kind]
    )
    exact = small.model.likelihood.noise_variance(X[:4]).numpy()
    factors = 1.0 if posterior.noise_factors is None else posterior.noise_factors
    expected = np.broadcast_to(exact, (4, num_targets))[:, None, :] * factors
    np.testing.assert_allclose(np.broadcast_to(posterior.noise_at(small.X[:4]), expected.shape), expected, rtol=1e-8)
    for target, transform in enumerate(mixture.transforms):
        sd = np.sqrt(mixture.variances[..., target])
        z = np.linspace(
            (mixture.means[..., target] - 9 * sd).min(), (mixture.means[..., target] + 9 * sd).max(), 20_001
        )
        density = np.exp(mixture.marginal(target).log_prob_at(transform.inverse(z)))
        np.testing.assert_allclose(simpson(density, x=transform.inverse(z), axis=1), 1.0, rtol=1e-6)


@kinds
def test_gpflux_holds_the_likelihood_itself(kind: str) -> None:
    model = small_model(likelihood={"kind": kind}).model
    assert model.deep_gp.likelihood_layer.likelihood is model.likelihood
    expected = gpflow.likelihoods.StudentT if kind == "student_t" else gpflow.likelihoods.Gaussian
    assert isinstance(model.likelihood, expected)
