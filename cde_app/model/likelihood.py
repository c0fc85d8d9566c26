"""The likelihood p(y | f): Gaussian noise with one variance per target."""

from __future__ import annotations

import gpflow
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from cde_app import config
from cde_app.model.layers import positive_parameter

LOG_2PI = float(np.log(2 * np.pi))


def build_likelihood(settings: config.GaussianLikelihood, noise: NDArray[np.float64]) -> gpflow.likelihoods.Gaussian:
    """Return GPflow's Gaussian likelihood, [P] variances on the log scale above the floor."""
    floor = settings.variance_floor
    likelihood = gpflow.likelihoods.Gaussian(variance=np.maximum(noise, 2 * floor))
    likelihood.variance = positive_parameter(np.maximum(noise, 2 * floor), lower=floor)
    return likelihood


def log_predictive(Y: tf.Tensor, mean: tf.Tensor, variance: tf.Tensor, noise: tf.Tensor) -> tf.Tensor:
    """Return log N(y; mean, variance + noise), summed over the targets; [..., P] to [...]."""
    total = variance + noise
    return -0.5 * tf.reduce_sum((Y - mean) ** 2 / total + tf.math.log(total) + LOG_2PI, axis=-1)


def expected_log_likelihood(Y: tf.Tensor, mean: tf.Tensor, variance: tf.Tensor, noise: tf.Tensor) -> tf.Tensor:
    """Return E log N(y; f, noise) for f ~ N(mean, variance), summed over the targets; [..., P] to [...].

    Source: Hensman et al. (2013), equation 4.
    """
    return -0.5 * tf.reduce_sum(((Y - mean) ** 2 + variance) / noise + tf.math.log(noise) + LOG_2PI, axis=-1)
