"""Adam for the hyperparameters, the encoder and the inner layers; natural gradients for the output layer's q(u)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import tensorflow as tf
from gpflux.layers import GPLayer

from cde_app.arrays import Array
from cde_app.model.moments import WhitenedPosterior

BETA_1, BETA_2, EPSILON = 0.9, 0.999, 1e-8
ADAM_WARM_UP = 50


def decay(progress: tf.Tensor, max_steps: int, rate: tf.Tensor) -> tf.Tensor:
    """Return the fraction of a step size after `progress` steps: from `rate` along a cosine to zero."""
    return rate * 0.5 * (1.0 + tf.cos(np.pi * progress / max_steps))


def adam_rate(learning_rate: float, progress: tf.Tensor, decayed: tf.Tensor) -> tf.Tensor:
    """Return Adam's step size after `progress` steps, with its warm-up."""
    return learning_rate * decayed * tf.minimum((progress + 1.0) / ADAM_WARM_UP, 1.0)


class Adam:
    """Adam, one fused operation per variable; the gradient is clipped by its global norm.

    Source: Kingma and Ba (2015), algorithm 1 in the order of computation at the end of section 2.
    """

    def __init__(self, variables: Sequence[tf.Variable], *, rates: Sequence[float], clip_norm: float) -> None:
        """Start with zero moments; `rates` multiply the step size of each variable."""
        self.variables, self.rates, self.clip_norm = list(variables), list(rates), clip_norm
        self.first_moments, self.second_moments = (
            [tf.Variable(tf.zeros_like(variable), trainable=False) for variable in self.variables] for _ in range(2)
        )

    def apply(self, gradients: Sequence[tf.Tensor], *, step: tf.Tensor, learning_rate: tf.Tensor) -> None:
        """Take one step down the gradients; `step` counts from zero."""
        scale = tf.minimum(self.clip_norm / (tf.linalg.global_norm(gradients) + EPSILON), 1.0)
        count = tf.cast(step + 1, learning_rate.dtype)
        for variable, first, second, rate, gradient in zip(
            self.variables, self.first_moments, self.second_moments, self.rates, gradients, strict=True
        ):
            tf.raw_ops.ResourceApplyAdam(
                var=variable.handle,
                m=first.handle,
                v=second.handle,
                beta1_power=BETA_1**count,
                beta2_power=BETA_2**count,
                lr=rate * learning_rate,
                beta1=BETA_1,
                beta2=BETA_2,
                epsilon=EPSILON,
                grad=scale * gradient,
            )

    def state(self) -> dict[str, Array]:
        """Return the moments of all variables, concatenated, as two flat arrays."""
        moments = {"first_moment": self.first_moments, "second_moment": self.second_moments}
        return {name: np.concatenate([part.numpy().ravel() for part in parts]) for name, parts in moments.items()}

    def restore(self, state: Mapping[str, Array]) -> None:
        """Set the moments to those that `state` returned."""
        splits = np.cumsum([np.prod(variable.shape, dtype=int) for variable in self.variables])[:-1]
        for name, parts in (("first_moment", self.first_moments), ("second_moment", self.second_moments)):
            for part, values in zip(parts, np.split(state[name], splits), strict=True):
                part.assign(values.reshape(part.shape))

    def reset(self) -> None:
        """Set the moments to zero."""
        for moment in (*self.first_moments, *self.second_moments):
            moment.assign(tf.zeros_like(moment))


def natural_gradient_step(
    term: GPLayer,
    q: WhitenedPosterior,
    gradients: WhitenedPosterior,
    *,
    step_size: tf.Tensor,
    kl_weight: float,
    trust_radius: float,
) -> None:
    """Move a whitened q(v) = N(mu, S), S = L L', along its natural gradient; S stays positive definite.

    With G = dloss/dS and B = 2 L' G L, the precision moves to L^-T (I + s B + s^2 B^2 / 2) L^-1, a retraction that is
    positive definite for every s; the mean moves by -s S_new dloss/dmu. The step s is cut so that
    s |B| <= trust_radius (Frobenius norm), per target.

    Args:
        term: the GP layer; its `q_mu` and `q_sqrt` are assigned.
        q: its q(v), at which the gradients were taken; S is full.
        gradients: of the negative bound of the whole data set with respect to the parts of q. That of -log |S| / 2 in
            the KL, which affects `scales` alone, is -S^-1 / 2 and is added here in closed form.
        step_size: s before the trust region, scalar.
        kl_weight: weight of the KL.
        trust_radius: largest relative change of the precision.

    Source: Salimbeni, Eleftheriadis and Hensman (2018) for the gradient; Lin, Schmidt and Khan (2020) for the
    retraction.
    """
    factor = tf.convert_to_tensor(term.q_sqrt)
    identity = tf.eye(tf.shape(factor)[-1], dtype=factor.dtype)
    to_S = tf.linalg.set_diag(tf.cast(gradients.covariances, factor.dtype), tf.transpose(gradients.variances))
    change = 2.0 * tf.matmul(factor, to_S @ factor, transpose_a=True) - kl_weight * identity
    change = 0.5 * (change + tf.linalg.matrix_transpose(change))
    norm = tf.norm(change, axis=[-2, -1], keepdims=True)
    step = tf.minimum(step_size, trust_radius / (norm + EPSILON))
    precision = identity + step * change + 0.5 * step**2 * change @ change
    root = tf.linalg.triangular_solve(tf.linalg.cholesky(precision), tf.linalg.matrix_transpose(factor))
    S = tf.matmul(root, root, transpose_a=True)
    mean_gradient = tf.transpose(gradients.q_mu)[..., None]
    term.q_mu.assign(q.q_mu - tf.transpose((step * S @ mean_gradient)[..., 0]))
    term.q_sqrt.assign(tf.linalg.cholesky(S))
