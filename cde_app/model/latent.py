"""The latent variables: prior, encoder, compositor, and GPflux's `LatentVariableLayer` made of them.

Letters: B rows of a batch, K draws per row, D features, P targets, Dw latent variables.
"""

from __future__ import annotations

import gpflow
import tensorflow as tf
import tensorflow_probability as tfp
from gpflow.keras import tf_keras
from gpflux.layers import LatentVariableLayer

from cde_app import config
from cde_app.model.layers import MeanLayer, build_kernel
from cde_app.model.start import EncoderStart, MeanStart, TrendStart

RESIDUAL_RANGE = 4.0
"""Standardised residuals are clipped here, so that an outlier cannot drag its q(w) away from the prior."""


def build_latent_layer(
    settings: config.Latent, start: EncoderStart, *, num_features: int, num_targets: int, seed: int
) -> LatentVariableLayer:
    """Return the layer; its encoder is built, so that all its variables exist."""
    encoder = MLPEncoder(settings.encoder, start, num_features=num_features, seed=seed)
    encoder(tf.zeros([1, num_features + num_targets], gpflow.default_float()))
    return LatentVariableLayer(
        build_prior(settings), encoder, compositor=build_compositor(settings.compositor), name=settings.name
    )


def build_prior(settings: config.Latent) -> tfp.distributions.Distribution:
    """Return p(w), a distribution over vectors of `dim` latent variables."""
    zeros = tf.zeros([settings.dim], gpflow.default_float())
    match settings.prior.kind:
        case "normal":
            return tfp.distributions.MultivariateNormalDiag(loc=zeros, scale_diag=tf.ones_like(zeros))


def build_compositor(settings: config.ConcatenateCompositor) -> tf_keras.layers.Layer:
    """Return the layer that joins x and w."""
    match settings.kind:
        case "concatenate":
            return tf_keras.layers.Concatenate(axis=-1, dtype=gpflow.default_float())


class Trend(tf.Module):
    """The warm start's frozen mean function and noise level."""

    def __init__(self, start: TrendStart) -> None:
        super().__init__(name="trend")
        self.kernel = build_kernel(start.kernel)
        gpflow.set_trainable(self.kernel, False)
        self.inducing_inputs = tf.constant(start.inducing_inputs)
        self.alpha = tf.constant(start.alpha)
        self.mean_function = MeanLayer(MeanStart(start.mean_function, trains_slope=False, trains_offset=False))
        self.noise_sd = tf.constant(start.noise_sd)

    def residual(self, X: tf.Tensor, Y: tf.Tensor) -> tf.Tensor:
        """Return (y - m(x)) / sd, [B, P]."""
        mean = self.kernel(X, self.inducing_inputs) @ self.alpha + self.mean_function(X)
        return (Y - mean) / self.noise_sd


class MLPEncoder(tf_keras.layers.Layer):
    """q(w | x, y) = N(clip(r) B + MLP_mean(x, r), (s exp MLP_sd(x, r))^2), r the standardised residual, or y itself.

    With B and s from the warm start's linear model and the last layer small, q starts as that model's exact posterior.
    """

    def __init__(self, settings: config.MLPEncoder, start: EncoderStart, *, num_features: int, seed: int) -> None:
        super().__init__(name="encoder", dtype=gpflow.default_float())
        self.num_features = num_features
        self.trend = None if start.trend is None else Trend(start.trend)
        self.slope = tf.constant(start.slope)
        self.sd = tf.constant(start.sd)
        initializers = tf_keras.initializers
        self.hidden = [
            tf_keras.layers.Dense(
                units,
                activation=settings.activation,
                kernel_initializer=initializers.GlorotUniform(seed=seed + index),
                dtype=gpflow.default_float(),
            )
            for index, units in enumerate(settings.hidden_units)
        ]
        self.head = tf_keras.layers.Dense(
            2 * start.slope.shape[1],
            kernel_initializer=initializers.RandomNormal(stddev=0.01, seed=seed + len(settings.hidden_units)),
            dtype=gpflow.default_float(),
        )

    def call(self, inputs: tf.Tensor, training: bool | None = None) -> tuple[tf.Tensor, tf.Tensor]:
        """Return the mean and the standard deviation of q(w | x, y); [B, D + P] to two [B, Dw]."""
        X, Y = inputs[:, : self.num_features], inputs[:, self.num_features :]
        residual = Y if self.trend is None else self.trend.residual(X, Y)
        residual = tf.clip_by_value(residual, -RESIDUAL_RANGE, RESIDUAL_RANGE)
        hidden = tf.concat([X, residual], axis=-1)
        for layer in self.hidden:
            hidden = layer(hidden)
        mean, log_sd = tf.split(self.head(hidden), 2, axis=-1)
        return residual @ self.slope + mean, self.sd * tf.exp(tf.clip_by_value(log_sd, -5.0, 5.0))


def stratified_normal(shape: tuple[int, ...], num_samples: int, seed: tf.Tensor) -> tf.Tensor:
    """Draw standard normals whose K values per element fall one into each of K strata; [K, *shape].

    Every element has its own random order of strata and one random shift, so each draw is exactly standard normal.
    """
    order_seed, shift_seed = tf.unstack(tf.random.split(seed, 2))
    order = tf.argsort(tf.random.stateless_uniform([num_samples, *shape], order_seed), axis=0)
    shift = tf.random.stateless_uniform([1, *shape], shift_seed, dtype=gpflow.default_float())
    uniforms = (tf.cast(order, gpflow.default_float()) + shift) / num_samples
    return tf.math.ndtri(tf.clip_by_value(uniforms, 1e-12, 1 - 1e-12))
