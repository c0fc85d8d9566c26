"""A step of the loop against the bound that it is to climb, in value and in gradient."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from cde_app import config
from cde_app.model.objective import bound
from cde_app.training.loop import NATURAL_GRADIENT_WARM_UP, Schedule, Trainer
from cde_app.training.optimizers import BETA_1
from tests.small_models import perturb, small_model

SEED, KL_WEIGHT, NATURAL_STEP = 5, 0.7, 0.2
MODELS: dict[str, dict[str, Any]] = {
    "default": {},
    "inner": {"layers": [{"sees_latent": True}, {}]},
    "no_latent": {"latent": {"dim": 0}},
    "varying_noise": {"likelihood": {"kind": "heteroscedastic_gaussian"}},
    "mixing": {"output": {"mixing": {"num_latent_gps": 2}}},
    "joint": {"output": {"structure": "joint"}},
    "student_t": {"likelihood": {"kind": "student_t"}},
}
DOUBLY = {"kind": "importance_weighted", "encoder_gradient": "doubly_reparameterised"}


@pytest.mark.parametrize(
    ("name", "objective", "natural"),
    [
        ("default", {"kind": "elbo"}, True),
        ("default", {"kind": "importance_weighted"}, True),
        ("default", DOUBLY, True),
        ("default", {"kind": "predictive"}, True),
        ("default", {"kind": "predictive"}, False),
        ("mixing", {"kind": "predictive"}, True),
        pytest.param("inner", {"kind": "predictive"}, True, marks=pytest.mark.slow),
        pytest.param("no_latent", {"kind": "elbo"}, True, marks=pytest.mark.slow),
        pytest.param("varying_noise", {"kind": "predictive"}, True, marks=pytest.mark.slow),
        pytest.param("joint", {"kind": "predictive"}, True, marks=pytest.mark.slow),
        pytest.param("student_t", {"kind": "elbo"}, True, marks=pytest.mark.slow),
    ],
)
def test_a_step_climbs_the_bound(name: str, objective: dict[str, str], *, natural: bool) -> None:
    small = perturb(small_model(2, **MODELS[name]))
    model, (X, Y) = small.model, (tf.constant(small.X), tf.constant(small.Y))
    settings = config.Training.model_validate(
        {
            "batch_size": "full",
            "objective": objective,
            "natural_gradient": {"enabled": natural, "trust_radius": 1e9},
            "clip_norm": 1e9,
        }
    )
    trainer = Trainer(model, settings, Schedule(100, len(X), KL_WEIGHT, NATURAL_STEP), small.X, small.Y, seed=SEED)
    terms = model.output.terms
    with tf.GradientTape() as tape:
        value = bound(model, settings.objective, X, Y, kl_weight=KL_WEIGHT, seed=tf.constant([SEED, 0], tf.int64))
    of_terms = [[term.q_mu.unconstrained_variable, term.q_sqrt.unconstrained_variable] for term in terms]
    gradients, of_terms = tape.gradient(value, [trainer.variables, of_terms], unconnected_gradients="zero")
    of_terms = [
        [to_mean.numpy(), term.q_sqrt.transform.forward(to_factor).numpy()]  # a triangle, packed into a vector
        for term, (to_mean, to_factor) in zip(terms, of_terms, strict=True)
    ]
    before = [(term.q_mu.numpy(), term.q_sqrt.numpy()) for term in terms]

    # Single precision is in the forms of several GPs, and XLA-free graphs may add in another order.
    np.testing.assert_allclose(trainer.advance(1), [value], rtol=1e-6)
    for moment, gradient in zip(trainer.adam.first_moments, gradients, strict=True):
        scale = float(tf.reduce_max(tf.abs(gradient))) + 1e-9
        np.testing.assert_allclose(moment / (1 - BETA_1), -gradient, rtol=1e-4, atol=1e-4 * scale)
    if natural:
        step = NATURAL_STEP / NATURAL_GRADIENT_WARM_UP
        for term, (mean, factor), (to_mean, to_factor) in zip(terms, before, of_terms, strict=True):
            for q in range(len(factor)):
                expected = natural_step(
                    mean[:, q], factor[q], -len(X) * to_mean[:, q], -len(X) * np.tril(to_factor[q]), step
                )
                found = term.q_mu.numpy()[:, q], term.q_sqrt.numpy()[q] @ term.q_sqrt.numpy()[q].T
                for ours, other, old in zip(found, expected, (mean[:, q], factor[q] @ factor[q].T), strict=True):
                    moved = np.abs(other - old).max()
                    assert moved > 1e-6
                    np.testing.assert_allclose(ours, other, atol=1e-3 * moved)


def natural_step(
    mean: np.ndarray, factor: np.ndarray, to_mean: np.ndarray, to_factor: np.ndarray, step: float
) -> tuple[np.ndarray, np.ndarray]:
    """Return the mean and the covariance after a natural step, from the loss's gradients to the mean and the factor.

    The gradient to L is the lower triangle of 2 G L, and the lower triangle of L' tril(2 G L) is that of B = 2 L' G L.
    """
    lower = np.tril(factor.T @ to_factor)
    change = lower + lower.T - np.diag(np.diag(lower))
    inverse = np.linalg.inv(factor)
    precision = inverse.T @ (np.eye(len(mean)) + step * change + 0.5 * step**2 * change @ change) @ inverse
    covariance = np.linalg.inv(precision)
    return mean - step * covariance @ to_mean, covariance
