"""The latent variables: GPflux's `LatentVariableLayer` of a prior, an encoder and a compositor.

Letters: B rows of a batch, K draws per row, D features, P targets, Dw latent variables.
"""

from __future__ import annotations

from typing import Any

import gpflow
import tensorflow as tf
import tensorflow_probability as tfp
from gpflow.keras import tf_keras
from gpflux.layers import LatentVariableLayer

from cde_app import config
from cde_app.model.encoder import build_encoder
from cde_app.model.prior import Prior, build_prior
from cde_app.model.start import EncoderStart


def build_latent_layer(
    settings: config.Latent,
    start: EncoderStart,
    compositor: tf_keras.layers.Layer,
    *,
    num_features: int,
    num_targets: int,
    carries: bool,
    seed: int,
) -> LatentLayer:
    """Return the layer; its encoder is built, so that all its variables exist."""
    prior = build_prior(settings)
    encoder = build_encoder(
        settings.encoder, prior, start, num_features=num_features, num_targets=num_targets, seed=seed
    )
    return LatentLayer(prior, encoder, compositor, carries=carries, name=settings.name)


class LatentLayer(LatentVariableLayer):
    """GPflux's layer for every prior: q(w | x, y) built by the parameters' names, the KL summed over the dimensions.

    GPflux hands the encoder's output to the family's constructor by position and, where the prior has scalar events,
    averages the KL over the latent dimensions.
    """

    def __init__(
        self,
        prior: Prior,
        encoder: tf_keras.layers.Layer,
        compositor: tf_keras.layers.Layer,
        *,
        carries: bool,
        name: str,
    ) -> None:
        """Put the parts together.

        Args:
            prior: p(w).
            encoder: [x, y] to the free parameters of q(w | x, y).
            compositor: joins x and w.
            carries: call the layer for [x, w], which the layers behind it join by their compositors, in place of
                c(x, w), from which x and w could not be told apart.
            name: of the layer and of its metric.
        """
        super().__init__(prior.distribution, encoder, compositor=compositor, name=name)
        self.family = prior
        self.carries = carries

    def call(
        self, layer_inputs: tf.Tensor, observations: Any = None, training: bool | None = None, seed: Any = None
    ) -> tf.Tensor:
        """Draw w, from q(w | x, y) when training and from the prior otherwise, and join it to x.

        The mean KL over the rows joins the losses and is the metric `<name>_local_kl`; both are 0 unless training.

        Source: gpflux/layers/latent_variable_layer.py, but for `carries`.

        Raises:
            ValueError: no observations when training.
        """
        if not self.carries:
            return super().call(layer_inputs, observations=observations, training=training, seed=seed)
        if training and observations is None:
            raise ValueError("LatentVariableLayer requires observations when training")
        if training:
            W, loss = self._inference_latent_samples_and_loss(layer_inputs, observations, seed=seed)
        else:
            W = self._prediction_latent_samples(layer_inputs, seed=seed)
            loss = tf.zeros([], gpflow.default_float())
        self.add_loss(loss)
        self.add_metric(loss, name=f"{self.name}_local_kl", aggregation="mean")
        return tf.concat([layer_inputs, W], axis=-1)

    def _inference_posteriors(
        self, observations: Any, training: bool | None = None, seed: Any = None
    ) -> tfp.distributions.Distribution:
        """Return q(w | x, y); the seed is that of the encoder's dropout."""
        parameters = self.encoder(tf.concat(observations, axis=-1), training=training, seed=seed)
        return self.family.member(parameters)

    def _inference_latent_samples_and_loss(
        self, layer_inputs: tf.Tensor, observations: Any, seed: Any = None
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Draw w from q(w | x, y), [B, Dw], and return it with the mean KL over the rows."""
        dropout_seed = seed if tf.is_tensor(seed) else None
        posteriors = self._inference_posteriors(observations, training=True, seed=dropout_seed)
        W = posteriors.sample(seed=seed)
        return W, tf.reduce_mean(self.family.kl(posteriors, W[None]))


def stratified_normal(shape: tuple[int, ...], num_samples: int, seed: tf.Tensor) -> tf.Tensor:
    """Draw standard normals whose K values per element fall one into each of K strata; [K, *shape].

    Every element has its own random order of strata and one random shift, so each draw is exactly standard normal.
    """
    order_seed, shift_seed = tf.unstack(tf.random.split(seed, 2))
    order = tf.argsort(tf.random.stateless_uniform([num_samples, *shape], order_seed), axis=0)
    shift = tf.random.stateless_uniform([1, *shape], shift_seed, dtype=gpflow.default_float())
    uniforms = (tf.cast(order, gpflow.default_float()) + shift) / num_samples
    return tf.math.ndtri(tf.clip_by_value(uniforms, 1e-12, 1 - 1e-12))
