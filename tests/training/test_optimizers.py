"""Adam against Keras, and the natural gradient against the optimum it must reach."""

from __future__ import annotations

import gpflow
import numpy as np
import pytest
import tensorflow as tf

from cde_app import config
from cde_app.model.moments import WhitenedPosterior
from cde_app.model.objective import bound, posteriors
from cde_app.training.optimizers import Adam, natural_gradient_step
from tests.small_models import Small, small_model

ELBO = config.ELBOObjective()


def natural_steps(small: Small, num_steps: int, *, step_size: float, trust_radius: float = 3.0) -> list[float]:
    """Take natural gradient steps on the whole data set and return the bound before each."""
    X, Y = tf.constant(small.X), tf.constant(small.Y)

    @tf.function(autograph=False)
    def step() -> tf.Tensor:
        q = posteriors(small.model)
        with tf.GradientTape() as tape:
            tape.watch(q.output)
            value = bound(small.model, ELBO, X, Y, kl_weight=1.0, seed=tf.constant([0, 0]), q=q)
            loss = -len(small.X) * value
        gradients = tape.gradient(loss, [list(own) for own in q.output])
        for term, own, gradient in zip(small.model.output.terms, q.output, gradients, strict=True):
            natural_gradient_step(
                term,
                own,
                WhitenedPosterior(*gradient),
                step_size=tf.constant(step_size, tf.float64),
                kl_weight=1.0,
                trust_radius=trust_radius,
            )
        return value

    return [float(step()) for _ in range(num_steps)]


@pytest.mark.parametrize(("num_targets", "rounding"), [(1, 1e-9), (2, 1e-9), (2, 1e-6)])
def test_natural_gradients_reach_the_optimal_q_of_sparse_gp_regression(
    num_targets: int, rounding: float, request: pytest.FixtureRequest
) -> None:
    """With Gaussian noise the optimal q(u) is known: the bound must reach that of GPflow's SGPR.

    In double precision every step raises it; the variances of several GPs, and so the bound, are in single.
    """
    if rounding == 1e-9:
        request.getfixturevalue("double_forms")
    small = small_model(num_targets, latent={"dim": 0}, warm=False)
    bounds = natural_steps(small, 60, step_size=0.5)
    term = small.model.output.terms[0]
    sgpr = gpflow.models.SGPR(
        (small.X, small.Y), term.kernel.kernel, term.inducing_variable.inducing_variable,
        noise_variance=float(small.model.likelihood.variance.numpy()[0]),
    )  # fmt: skip
    np.testing.assert_allclose(bounds[-1], sgpr.elbo() / len(small.X), rtol=1e-6)
    assert bounds[-1] - bounds[0] > 0.1
    assert np.all(np.diff(bounds) > -rounding), "every step must raise the bound"


def test_a_huge_natural_step_keeps_q_positive_definite() -> None:
    small = small_model(latent={"dim": 0}, warm=False)
    natural_steps(small, 3, step_size=1e3, trust_radius=1e3)
    factor = small.model.output.terms[0].q_sqrt.numpy()
    assert np.isfinite(factor).all()
    assert np.linalg.eigvalsh(factor @ np.swapaxes(factor, -1, -2)).min() > 0


def test_the_trust_region_bounds_the_relative_change_of_the_precision() -> None:
    small = small_model(latent={"dim": 0}, warm=False)
    before = small.model.output.terms[0].q_sqrt.numpy()[0]
    natural_steps(small, 1, step_size=10.0, trust_radius=0.1)
    after = small.model.output.terms[0].q_sqrt.numpy()[0]
    relative = before.T @ np.linalg.inv(after @ after.T) @ before - np.eye(len(before))
    assert np.linalg.norm(relative) <= 0.1 + 0.1**2 / 2 + 1e-9


def test_adam_moves_as_keras_adam_does() -> None:
    random = np.random.default_rng(0)
    start = [random.standard_normal((2, 3)), random.standard_normal(4)]
    ours, theirs = ([tf.Variable(value) for value in start] for _ in range(2))
    adam = Adam(ours, rates=[1.0, 1.0], clip_norm=1e9)
    keras = gpflow.keras.tf_keras.optimizers.Adam(0.1, epsilon=1e-8)
    for step in range(5):
        gradients = [tf.constant(random.standard_normal(value.shape)) for value in start]
        adam.apply(gradients, step=tf.constant(step, tf.int64), learning_rate=tf.constant(0.1, tf.float64))
        keras.apply_gradients(zip(gradients, theirs, strict=True))
    for our, their in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(our, their, rtol=1e-4)  # Keras holds its betas as float32


def test_adam_clips_the_global_norm_and_scales_each_variable_by_its_rate() -> None:
    variables = [tf.Variable([0.0], dtype=tf.float64), tf.Variable([0.0], dtype=tf.float64)]
    adam = Adam(variables, rates=[1.0, 0.5], clip_norm=1.0)
    gradients = [tf.constant([30.0], tf.float64), tf.constant([40.0], tf.float64)]
    adam.apply(gradients, step=tf.constant(0, tf.int64), learning_rate=tf.constant(0.1, tf.float64))
    np.testing.assert_allclose(adam.state()["first_moment"], [0.06, 0.08], rtol=1e-6)
    np.testing.assert_allclose([float(v[0]) for v in variables], [-0.1, -0.05], rtol=1e-5)
