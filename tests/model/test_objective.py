"""The objectives against GPflow, GPflux, and each other."""

from __future__ import annotations

from typing import Any

import gpflow
import numpy as np
import pytest
import tensorflow as tf
from pydantic import TypeAdapter

from cde_app import config
from cde_app.model.latent import stratified_normal
from cde_app.model.objective import bound, data_term, posteriors
from tests.small_models import Small, perturb, small_model

STANDARD_ERRORS = 4.0
KERNEL_SETTINGS: dict[str, dict[str, Any]] = {
    "rational_quadratic": {"kind": "rational_quadratic"},
    "periodic": {"kind": "periodic", "period": 3.0},
    "product": {"kind": "product", "kernels": [{"kind": "linear"}, {"kind": "matern12"}]},
    "sum": {"kind": "sum", "kernels": [{"kind": "linear"}, {"kind": "constant"}, {"kind": "matern52"}]},
}
MEANS = ["zero", "constant", "linear", "identity"]


def objective(kind: str, **settings: Any) -> config.Objective:
    return TypeAdapter(config.Objective).validate_python({"kind": kind, **settings})


def seeded_bounds(small: Small, settings: config.Objective, num_seeds: int) -> np.ndarray:
    X, Y = tf.constant(small.X), tf.constant(small.Y)
    compiled = tf.function(lambda seed: bound(small.model, settings, X, Y, kl_weight=1.0, seed=seed), autograph=False)
    return np.array([compiled(tf.constant([3, seed])) for seed in range(num_seeds)])


def svgp_of(small: Small) -> gpflow.models.SVGP:
    """Return GPflow's model with the same kernel, inducing inputs and q(u)."""
    term = small.model.output.terms[0]
    return gpflow.models.SVGP(
        term.kernel,
        small.model.likelihood,
        term.inducing_variable,
        num_latent_gps=small.Y.shape[1],
        q_mu=term.q_mu,
        q_sqrt=term.q_sqrt,
        num_data=len(small.X),
    )


@pytest.mark.parametrize("kind", ["elbo", "importance_weighted"])
@pytest.mark.parametrize(("num_targets", "rtol"), [(1, 1e-9), (2, 1e-9), (2, 1e-5)])
def test_without_latent_and_inner_layers_the_bound_equals_the_elbo_of_gpflow_svgp(
    kind: str, num_targets: int, rtol: float, request: pytest.FixtureRequest
) -> None:
    """To the last digits in double precision; the variances of several GPs, and so the bound, are in single."""
    if rtol == 1e-9:
        request.getfixturevalue("double_forms")
    small = perturb(small_model(num_targets, latent={"dim": 0}))
    svgp = svgp_of(small)
    ours = bound(
        small.model,
        objective(kind),
        tf.constant(small.X),
        tf.constant(small.Y),
        kl_weight=1.0,
        seed=tf.constant([0, 0]),
    )
    np.testing.assert_allclose(ours, svgp.elbo((small.X, small.Y)) / len(small.X), rtol=rtol)


def test_without_latent_and_inner_layers_the_prediction_equals_that_of_gpflow_svgp() -> None:
    small = perturb(small_model(2, latent={"dim": 0}, defensive_weight=0))
    mixture = small.posterior().predict(small.X)
    mean, variance = svgp_of(small).predict_y(small.X)
    assert mixture.num_components == 1
    np.testing.assert_allclose(mixture.means[:, 0], mean, atol=1e-8)
    np.testing.assert_allclose(mixture.variances[:, 0], variance, atol=1e-8)


@pytest.mark.parametrize("structure", ["additive", "joint"])
def test_the_elbo_equals_that_of_gpflux_in_the_mean(structure: str) -> None:
    """GPflux's own `DeepGP.elbo` draws one latent and one inner draw per row, as ours does with K = 1."""
    small = perturb(small_model(2, latent={"dim": 2}, layers=[{}], output={"structure": structure}))
    num_draws = 300
    ours = seeded_bounds(small, objective("elbo"), num_draws)
    data = (tf.constant(small.X), tf.constant(small.Y))
    compiled = tf.function(lambda: small.model.deep_gp.elbo(data), autograph=False)
    theirs = np.array([compiled() for _ in range(num_draws)]) / len(small.X)
    error = np.sqrt((ours.var() + theirs.var()) / num_draws)
    assert abs(ours.mean() - theirs.mean()) < STANDARD_ERRORS * error
    posterior = small.model.latent._inference_posteriors(data)
    latent_kl = posterior.kl_divergence(small.model.latent.prior).numpy().mean()
    wrong = theirs.mean() + latent_kl / 2  # half the latent KL left out
    assert abs(ours.mean() - wrong) > STANDARD_ERRORS * error, "the control must fail"


@pytest.mark.slow
def test_gpflux_fit_trains_the_same_object_and_its_first_loss_is_our_bound() -> None:
    small = small_model(latent={"dim": 1}, layers=[{}])
    expected = seeded_bounds(small, objective("elbo"), 200)
    training_model = small.model.deep_gp.as_training_model()
    training_model.compile(gpflow.keras.tf_keras.optimizers.Adam(1e-12))
    inputs = {"inputs": small.X, "targets": small.Y}
    still = np.array(training_model.fit(inputs, batch_size=40, epochs=30, verbose=0).history["loss"])
    error = expected.std() * np.sqrt(1 / 200 + 1 / 30)
    assert abs(still.mean() + expected.mean()) < STANDARD_ERRORS * error
    training_model.compile(gpflow.keras.tf_keras.optimizers.Adam(0.05))
    losses = training_model.fit(inputs, batch_size=40, epochs=30, verbose=0).history["loss"]
    assert np.mean(losses[-5:]) < np.mean(losses[:5])


def test_the_importance_weighted_bound_lies_above_the_elbo_and_grows_with_its_samples() -> None:
    small = perturb(small_model(latent={"dim": 1}))
    elbo = seeded_bounds(small, objective("elbo"), 100)
    five, fifty = (seeded_bounds(small, objective("importance_weighted", num_samples=k), 100) for k in (5, 50))
    for lower, higher in ((elbo, five), (five, fifty)):
        error = np.sqrt((lower.var() + higher.var()) / 100)
        assert higher.mean() - lower.mean() > STANDARD_ERRORS * error


def test_with_one_sample_the_importance_weighted_bound_is_the_elbo_in_the_mean() -> None:
    small = perturb(small_model(latent={"dim": 1}))
    elbo = seeded_bounds(small, objective("elbo"), 400)
    weighted = seeded_bounds(small, objective("importance_weighted", num_samples=1), 400)
    error = np.sqrt((elbo.var() + weighted.var()) / 400)
    assert abs(elbo.mean() - weighted.mean()) < STANDARD_ERRORS * error


def test_with_many_samples_the_predictive_objective_is_the_log_density_of_the_mixture() -> None:
    """log 1/K sum_k N(y; m_k, v_k + s2) p(w_k)/q(w_k) estimates log p(y | x) under q(u), which the mixture computes."""
    small = small_model(2, latent={"dim": 1}, defensive_weight=0)
    X, Y = tf.constant(small.X), tf.constant(small.Y)
    small.model.latent.encoder.sd.assign(
        3.0 * small.model.latent.encoder.sd
    )  # a proposal wider than the posterior keeps the weights bounded
    settings, num_seeds = objective("predictive", num_samples=500), 20
    estimates = np.array(
        [
            data_term(small.model, settings, posteriors(small.model), X, Y, seed=tf.constant([0, seed]))
            for seed in range(num_seeds)
        ]
    )
    mixture = small.posterior(num_components=4096).predict(small.X)
    log_jacobian = sum(np.log(transform.scale) for transform in mixture.transforms)
    exact = mixture.log_prob(small.Y).mean() + log_jacobian
    error = STANDARD_ERRORS * estimates.std() / np.sqrt(num_seeds) + 1e-3  # the log's bias is of order 1 / num_samples
    assert abs(estimates.mean() - exact) < error
    assert abs(estimates.mean() - exact - 0.05) > error, "the control must fail"


def mean_gradients(small: Small, settings: config.Objective, num_seeds: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the mean gradient and its standard error, the encoder's variables and a q_mu as one vector."""
    q_mu = small.model.output.terms[0].q_mu.unconstrained_variable
    variables = [*small.model.latent.encoder.trainable_variables, q_mu]
    X, Y = tf.constant(small.X), tf.constant(small.Y)

    @tf.function(autograph=False)
    def gradient(seed: tf.Tensor) -> tf.Tensor:
        with tf.GradientTape() as tape:
            value = data_term(small.model, settings, posteriors(small.model), X, Y, seed=seed)
        return tf.concat([tf.reshape(part, [-1]) for part in tape.gradient(value, variables)], axis=0)

    draws = np.stack([gradient(tf.constant([seed, 1])) for seed in range(num_seeds)])
    return draws.mean(0), draws.std(0) / np.sqrt(num_seeds)


def test_the_doubly_reparameterised_gradient_agrees_with_the_plain_one_in_the_mean(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # Stratified draws tighten the bound, so that its gradient is another; the identity holds for independent ones.
    monkeypatch.setattr(
        "cde_app.model.latent.stratified_normal",
        lambda shape, num_samples, seed: tf.random.stateless_normal([num_samples, *shape], seed, dtype=tf.float64),
    )
    small = perturb(small_model(latent={"dim": 1}))
    settings = {"num_samples": 4}
    plain, plain_error = mean_gradients(small, objective("importance_weighted", **settings), 600)
    doubly = objective("importance_weighted", encoder_gradient="doubly_reparameterised", **settings)
    ours, error = mean_gradients(small, doubly, 600)
    independent = (ours - plain) / np.sqrt(error**2 + plain_error**2 + 1e-20)
    # The largest of some 600 standard normals stays below 5.
    assert np.abs(independent).max() < 5.0
    once = (0.5 * ours - plain) / np.sqrt(error**2 + plain_error**2 + 1e-20)
    assert np.abs(once).max() > 5.0, "the control, half the gradient, must fail"


@pytest.mark.thinned(5)
@pytest.mark.parametrize("kind", ["predictive", "importance_weighted", "elbo"])
@pytest.mark.parametrize("structure", ["additive", "joint"])
@pytest.mark.parametrize("latent_dim", [0, 1, 2])
@pytest.mark.parametrize("num_targets", [1, 2])
def test_a_gradient_reaches_every_trainable_variable(
    kind: str, structure: str, latent_dim: int, num_targets: int
) -> None:
    small = perturb(small_model(num_targets, latent={"dim": latent_dim}, layers=[{}], output={"structure": structure}))
    variables = small.model.deep_gp.trainable_variables
    with tf.GradientTape() as tape:
        value = bound(
            small.model,
            objective(kind),
            tf.constant(small.X),
            tf.constant(small.Y),
            kl_weight=1.0,
            seed=tf.constant([0, 0]),
        )
    for variable, gradient in zip(variables, tape.gradient(value, variables), strict=True):
        assert gradient is not None, variable.name
        assert np.isfinite(gradient).all(), variable.name
        assert np.abs(gradient).max() > 0, variable.name


@pytest.mark.parametrize(("kernel", "mean"), list(zip(KERNEL_SETTINGS, MEANS, strict=True)))
def test_a_gradient_reaches_every_variable_of_every_kernel_and_mean(kernel: str, mean: str) -> None:
    settings = KERNEL_SETTINGS[kernel]
    inner = {"kernel": settings, "mean": {"kind": mean}}
    output = {"structure": "joint", "kernel": settings, "mean": {"kind": mean}}
    num_targets = 3 if mean == "identity" else 1  # as many as features
    small = perturb(small_model(num_targets, latent={"dim": 1}, layers=[inner | {"sees_latent": True}], output=output))
    X, Y = tf.constant(small.X), tf.constant(small.Y)
    variables = small.model.deep_gp.trainable_variables
    with tf.GradientTape() as tape:
        value = bound(small.model, objective("elbo"), X, Y, kl_weight=1.0, seed=tf.constant([0, 0]))
    for variable, gradient in zip(variables, tape.gradient(value, variables), strict=True):
        assert np.isfinite(gradient).all(), variable.name
        assert np.abs(gradient).max() > 0, variable.name


def test_the_same_seed_gives_the_same_bound_and_another_seed_another() -> None:
    small = perturb(small_model(latent={"dim": 1}, layers=[{"sees_latent": True}]))
    first, second = (seeded_bounds(small, objective("predictive"), 2) for _ in range(2))
    np.testing.assert_array_equal(first, second)
    assert first[0] != first[1]


def test_stratified_draws_fall_one_into_each_stratum_and_are_standard_normal() -> None:
    num_samples, num_rows = 5, 4000
    draws = stratified_normal([num_rows, 2], num_samples, tf.constant([0, 1])).numpy()
    strata = np.sort(np.floor(0.5 * num_samples * (1 + np.vectorize(erf)(draws / np.sqrt(2)))), axis=0)
    np.testing.assert_array_equal(strata, np.broadcast_to(np.arange(5)[:, None, None], strata.shape))
    each = draws[0].ravel()  # one draw per element: independent standard normals
    assert abs(each.mean()) < STANDARD_ERRORS / np.sqrt(each.size)
    assert abs(each.var() - 1) < STANDARD_ERRORS * np.sqrt(2 / each.size)
    correlation = np.corrcoef(draws[:, :, 0].ravel(), draws[:, :, 1].ravel())[0, 1]
    assert abs(correlation) < STANDARD_ERRORS / np.sqrt(num_rows * num_samples)


def erf(value: float) -> float:
    from math import erf as scalar_erf

    return scalar_erf(value)
