"""The encoder q(w | x, y): a network shared by all rows, or separate parameters for each row.

Letters: B rows of a batch, D features, P targets, Dw latent variables.
"""

from __future__ import annotations

import gpflow
import numpy as np
import tensorflow as tf
from gpflow.keras import tf_keras
from gpflux.encoders import DirectlyParameterizedNormalDiag

from cde_app import config
from cde_app.model.kernels import build_kernel
from cde_app.model.layers import MeanLayer
from cde_app.model.prior import Prior
from cde_app.model.start import EncoderStart, TrendStart

RESIDUAL_RANGE = 4.0
"""Standardised residuals are clipped here, so that an outlier cannot drag its q(w) away from the prior."""
DROPOUT_STREAM = 1000
"""Folded into the seed of a step, so that dropout and the draws of w are independent."""


def build_encoder(
    settings: config.MLPEncoderSettings | config.PerRowEncoder,
    prior: Prior,
    start: EncoderStart,
    *,
    num_features: int,
    num_targets: int,
    seed: int,
) -> tf_keras.layers.Layer:
    """Return the encoder with all its variables created."""
    match settings.kind:
        case "mlp":
            network = MLPEncoder(settings, prior, start, num_features=num_features, seed=seed)
            network(tf.zeros([1, num_features + num_targets], gpflow.default_float()))
            if prior.is_normal:
                loc, _ = prior.loc_and_scale
                network.head.bias.assign(np.concatenate([loc, np.zeros_like(loc)]))
            return network
        case "per_row":
            loc, scale = prior.loc_and_scale
            per_row = DirectlyParameterizedNormalDiag(*start.means.shape, means=loc + scale * start.means)
            per_row.stds.assign(np.broadcast_to(scale * start.sd, per_row.stds.shape))
            return per_row


class Trend(tf.Module):
    """The warm start's frozen mean function and noise level."""

    def __init__(self, start: TrendStart) -> None:
        super().__init__(name="trend")
        self.kernel = build_kernel(start.kernel)
        gpflow.set_trainable(self.kernel, False)
        self.inducing_inputs = tf.Variable(start.inducing_inputs, trainable=False)
        self.alpha = tf.Variable(start.alpha, trainable=False)
        self.mean_function = MeanLayer(start.mean_function, is_trained=False)
        self.noise_sd = tf.Variable(start.noise_sd, trainable=False)

    def residual(self, X: tf.Tensor, Y: tf.Tensor) -> tf.Tensor:
        """Return (y - m(x)) / sd, [B, P]."""
        mean = self.kernel(X, self.inducing_inputs) @ self.alpha + self.mean_function(X)
        return (Y - mean) / self.noise_sd


class MLPEncoder(tf_keras.layers.Layer):
    """q(w | x, y) from a network of x and r, where r is the standardised residual, or y itself.

    For a normal prior it is N(clip(r) B + MLP_mean(x, r), (s exp MLP_sd(x, r))^2), with B and s in units of the prior's
    scale, and MLP_mean initially near its location. Since B and s come from the warm start's linear model and the last
    layer is small, q starts as the exact posterior of that model. For another family, each parameter is its initial
    value plus the network's output, on the unconstrained scale of the parameter. The initial values are the prior's
    parameters, except loc + scale clip(r) B and s scale if the family has a location and a scale.
    """

    def __init__(
        self, settings: config.MLPEncoderSettings, prior: Prior, start: EncoderStart, *, num_features: int, seed: int
    ) -> None:
        super().__init__(name="encoder", dtype=gpflow.default_float())
        self.num_features = num_features
        self.prior = prior
        self.skips = settings.skip_connections
        self.dropout = settings.dropout
        self.trend = None if start.trend is None else Trend(start.trend)
        scale = prior.loc_and_scale[1] if prior.is_normal else 1.0
        self.slope = tf.Variable(scale * start.slope, trainable=False)
        self.sd = tf.Variable(scale * start.sd, trainable=False)
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
            len(prior.bijectors) * start.slope.shape[1],
            kernel_initializer=initializers.RandomNormal(stddev=0.01, seed=seed + len(settings.hidden_units)),
            dtype=gpflow.default_float(),
        )

    def call(
        self, inputs: tf.Tensor, training: bool | None = None, seed: tf.Tensor | None = None
    ) -> tuple[tf.Tensor, ...]:
        """Return the free parameters of q(w | x, y), for a normal the mean and sd; [B, D + P] to [B, Dw] each.

        Args:
            inputs: [x, y].
            training: whether hidden units are dropped.
            seed: [2], integers, seed of the dropout; if None, TensorFlow's global generator draws one, as TFP's
                samplers do.
        """
        X, Y = inputs[:, : self.num_features], inputs[:, self.num_features :]
        residual = Y if self.trend is None else self.trend.residual(X, Y)
        residual = tf.clip_by_value(residual, -RESIDUAL_RANGE, RESIDUAL_RANGE)
        seen = hidden = tf.concat([X, residual], axis=-1)
        if training and self.dropout:
            seed = tf.random.uniform([2], maxval=tf.int32.max, dtype=tf.int32) if seed is None else seed
            seed = tf.random.experimental.stateless_fold_in(seed, DROPOUT_STREAM)
        for index, layer in enumerate(self.hidden):
            hidden = layer(hidden)
            if training and self.dropout:
                hidden = dropped(hidden, self.dropout, tf.random.experimental.stateless_fold_in(seed, index))
            hidden = tf.concat([hidden, seen], axis=-1) if self.skips else hidden
        changes = tf.split(self.head(hidden), len(self.prior.bijectors), axis=-1)
        if self.prior.is_normal:
            mean, log_sd = changes
            return residual @ self.slope + mean, self.sd * tf.exp(tf.clip_by_value(log_sd, -5.0, 5.0))
        starts = {name: self.prior.distribution.parameters[name] for name in self.prior.bijectors}
        if self.prior.starts_from_residual:
            starts["loc"] = starts["loc"] + starts["scale"] * (residual @ self.slope)
            starts["scale"] = starts["scale"] * self.sd
        bijectors = self.prior.bijectors.items()
        return tuple(
            bijector.forward(bijector.inverse(starts[name]) + change)
            for (name, bijector), change in zip(bijectors, changes, strict=True)
        )


def dropped(values: tf.Tensor, rate: float, seed: tf.Tensor) -> tf.Tensor:
    """Set a share of the values to zero and scale up the others, so that the mean stays the same."""
    kept = tf.random.stateless_uniform(tf.shape(values), seed, dtype=values.dtype) >= rate
    return tf.where(kept, values / (1.0 - rate), 0.0)
