"""Adam for the hyperparameters, the encoder and the inner layers; natural gradients for the output layer's q(u)."""

from __future__ import annotations

from collections.abc import Sequence

import gpflow
import numpy as np
import tensorflow as tf
from gpflux.layers import GPLayer

from cde_app.model.objective import OutputState

BETA_1, BETA_2, EPSILON = 0.9, 0.999, 1e-8


class Adam:
    """Adam on all variables as one flat vector, the gradient clipped by its global norm.

    Source: Kingma and Ba (2015), algorithm 1.
    """

    def __init__(self, variables: Sequence[tf.Variable], *, rates: Sequence[float], clip_norm: float) -> None:
        """Start with zero moments; `rates` multiply the step size of each variable."""
        self.variables = list(variables)
        sizes = [int(np.prod(variable.shape)) for variable in self.variables]
        self.sizes = sizes
        self.rates = tf.constant(np.repeat(np.asarray(rates, float), sizes), gpflow.default_float())
        self.clip_norm = clip_norm
        self.first_moment = tf.Variable(tf.zeros(sum(sizes), gpflow.default_float()), trainable=False)
        self.second_moment = tf.Variable(tf.zeros(sum(sizes), gpflow.default_float()), trainable=False)

    def apply(self, gradients: Sequence[tf.Tensor], *, step: tf.Tensor, learning_rate: tf.Tensor) -> None:
        """Take one step down the gradients; `step` counts from zero."""
        gradient = tf.concat([tf.reshape(g, [-1]) for g in gradients], axis=0)
        gradient = gradient * tf.minimum(self.clip_norm / (tf.norm(gradient) + EPSILON), 1.0)
        self.first_moment.assign(BETA_1 * self.first_moment + (1 - BETA_1) * gradient)
        self.second_moment.assign(BETA_2 * self.second_moment + (1 - BETA_2) * gradient**2)
        count = tf.cast(step + 1, gradient.dtype)
        first = self.first_moment / (1 - BETA_1**count)
        second = self.second_moment / (1 - BETA_2**count)
        update = learning_rate * self.rates * first / (tf.sqrt(second) + EPSILON)
        for variable, change in zip(self.variables, tf.split(update, self.sizes), strict=True):
            variable.assign_sub(tf.reshape(change, variable.shape))


def natural_gradient_step(
    term: GPLayer,
    state: OutputState,
    gradients: OutputState,
    *,
    step_size: tf.Tensor,
    kl_weight: float,
    trust_radius: float,
) -> None:
    """Move a whitened q(v) = N(mu, S), S = L L', along its natural gradient; S stays positive definite.

    With G the gradient of the loss to S (kl_weight KL[q(v) || N(0, I)] included) and B = 2 L' G L, the precision moves
    to L^-T (I + s B + s^2 B^2 / 2) L^-1, a retraction that is positive definite for every s; the mean moves by
    -s S_new dloss/dmu. The step s is cut so that s |B| <= trust_radius (Frobenius norm), per target.

    Args:
        term: the GP layer; its `q_mu` and `q_sqrt` are assigned.
        state: q_mu [M, P] and S [P, M, M] at which the gradients were taken.
        gradients: of the negative data term of the whole data set to q_mu and S.
        step_size: s before the trust region, scalar.
        kl_weight: weight of the KL.
        trust_radius: largest relative change of the precision.

    Source: Salimbeni, Eleftheriadis and Hensman (2018) for the gradient; Lin, Schmidt and Khan (2020) for the
    retraction.
    """
    factor = tf.convert_to_tensor(term.q_sqrt)
    identity = tf.eye(tf.shape(factor)[-1], dtype=factor.dtype)
    data_change = 2.0 * tf.matmul(factor, gradients.S @ factor, transpose_a=True)
    change = data_change + kl_weight * (tf.matmul(factor, factor, transpose_a=True) - identity)
    change = 0.5 * (change + tf.linalg.matrix_transpose(change))
    norm = tf.norm(change, axis=[-2, -1], keepdims=True)
    step = tf.minimum(step_size, trust_radius / (norm + EPSILON))
    precision = identity + step * change + 0.5 * step**2 * change @ change
    root = tf.linalg.triangular_solve(tf.linalg.cholesky(precision), tf.linalg.matrix_transpose(factor))
    S = tf.matmul(root, root, transpose_a=True)
    mean_gradient = tf.transpose(gradients.q_mu + kl_weight * state.q_mu)[..., None]
    term.q_mu.assign(state.q_mu - tf.transpose((step * S @ mean_gradient)[..., 0]))
    term.q_sqrt.assign(tf.linalg.cholesky(S))
