"""The latent variables: GPflux's `LatentVariableLayer` with a prior, an encoder and a compositor.

Every training calls the layer. One method, `LatentLayer.draw`, makes the draws, their densities and the KL.

Letters: B rows of a batch, K draws per row, D features, P targets, Dw latent variables.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import gpflow
import tensorflow as tf
import tensorflow_probability as tfp
from gpflow.keras import tf_keras
from gpflux.layers import LatentVariableLayer

from cde_app import config
from cde_app.model.encoder import build_encoder
from cde_app.model.layers import StepSeeds
from cde_app.model.own_encoder import OwnEncoder
from cde_app.model.prior import Prior, build_prior
from cde_app.model.start import EncoderStart

KL_DRAWS = 1000
"""Draws for estimating a KL without a closed form, if none are given."""


def build_latent_layer(
    settings: config.Latent,
    start: EncoderStart,
    compositor: tf_keras.layers.Layer,
    *,
    num_features: int,
    num_targets: int,
    seed: int,
    own_encoder: OwnEncoder | None = None,
) -> LatentLayer:
    """Return the layer, with all variables of its encoder created.

    Args:
        settings: the `latent` block.
        start: the starting point of the encoder.
        compositor: joins x and w for a GP that sees both.
        num_features: D.
        num_targets: P.
        seed: seed of the encoder's weights, and of draws for which the layer is given no seed.
        own_encoder: takes the place of the configured encoder.
    """
    prior = build_prior(settings)
    encoder = own_encoder or build_encoder(
        settings.encoder, prior, start, num_features=num_features, num_targets=num_targets, seed=seed
    )
    return LatentLayer(prior, encoder, compositor, name=settings.name, seed=seed)


class LatentDraws(NamedTuple):
    """Draws from q(w | x, y) and their densities."""

    W: tf.Tensor
    """[K, B, Dw]."""
    log_ratio: tf.Tensor
    """log p(w) - log q(w), [K, B]."""
    kl: tf.Tensor
    """KL[q(w) || p(w)], [B]."""


class LatentLayer(LatentVariableLayer):
    """GPflux's layer for every prior: q(w | x, y) is built by parameter names, and the KL is summed over dimensions.

    GPflux passes the encoder's output to the family's constructor by position and, if the prior has scalar events,
    averages the KL over the latent dimensions. The layer returns [x, w], which later layers join by their compositors,
    and not c(x, w), from which x and w cannot be recovered.
    """

    def __init__(
        self,
        prior: Prior,
        encoder: tf_keras.layers.Layer,
        compositor: tf_keras.layers.Layer,
        *,
        name: str,
        seed: int,
    ) -> None:
        """Put the parts together.

        Args:
            prior: p(w).
            encoder: maps [x, y] to the free parameters of q(w | x, y).
            compositor: joins x and w for a GP that sees both.
            name: name of the layer and, with the suffix `_local_kl`, of its metric.
            seed: seed of draws for which the caller gives none.
        """
        super().__init__(prior.distribution, encoder, compositor=compositor, name=name)
        self.family = prior
        self.step_seeds = StepSeeds(seed)
        # Made before the first call: a step that is traced with one model is used for others, variable by variable.
        self.local_kl = tf_keras.metrics.Mean(name=f"{name}_local_kl", dtype=gpflow.default_float())

    def call(
        self,
        layer_inputs: tf.Tensor,
        observations: Any = None,
        training: bool | None = None,
        seed: Any = None,
        num_samples: int | None = None,
        encoder_gradient: str = "plain",
    ) -> Any:
        """Draw w, from q(w | x, y) in training and from the prior otherwise.

        The mean KL over the rows is added to the losses and is the metric `<name>_local_kl`; without training, it is 0.

        Args:
            layer_inputs: x, [..., D].
            observations: x and y, [B, D] and [B, P], in training.
            training: whether w is drawn from q(w | x, y).
            seed: seed of the draws, one integer or two; None uses the layer's next own seed.
            num_samples: K, in a training that needs several draws per row and their densities.
            encoder_gradient: see `draw`.

        Returns:
            [x, w], [..., D + Dw], with one draw per row, as in GPflux; the `LatentDraws` if `num_samples` is given.

        Raises:
            ValueError: there are no observations in training.
        """
        if training and observations is None:
            raise ValueError("LatentVariableLayer requires observations when training")
        if training and num_samples is not None:
            draws = self.draw(observations, num_samples=num_samples, seed=seed, encoder_gradient=encoder_gradient)
            self._add_local_kl(tf.reduce_mean(draws.kl))
            return draws
        if training:
            W, loss = self._inference_latent_samples_and_loss(layer_inputs, observations, seed=seed)
        else:
            W, loss = self._prediction_latent_samples(layer_inputs, seed=seed), tf.zeros([], gpflow.default_float())
        self._add_local_kl(loss)
        return tf.concat([layer_inputs, W], axis=-1)

    def draw(
        self, observations: Any, *, num_samples: int, seed: Any = None, encoder_gradient: str = "plain"
    ) -> LatentDraws:
        """Draw w from q(w | x, y), reparameterised; for a normal prior, the K draws of a row are stratified.

        Args:
            observations: x and y, [B, D] and [B, P].
            num_samples: K.
            seed: as for `call`.
            encoder_gradient: with `doubly_reparameterised`, the gradient of `log_ratio` reaches the encoder only
                through w, and the draws are independent: only then is the estimator of Tucker et al. (2019) unbiased.
        """
        seed = self._seed(seed)
        posteriors = self._inference_posteriors(observations, training=True, seed=seed)
        is_doubly = encoder_gradient == "doubly_reparameterised"
        if self.family.is_normal:
            shape = [tf.shape(posteriors.loc)[0] if size is None else size for size in posteriors.loc.shape]
            noise = independent_normal if is_doubly else stratified_normal
            W = posteriors.loc + posteriors.scale.diag * noise(shape, num_samples, seed)
        else:
            W = posteriors.sample(num_samples, seed=tf.cast(seed, tf.int32))
        density = self.family.without_gradient(posteriors) if is_doubly else posteriors
        log_ratio = self.family.log_prob(self.prior, W) - self.family.log_prob(density, W)
        return LatentDraws(W, log_ratio, self._local_kls(posteriors, W))

    def _inference_posteriors(
        self, observations: Any, training: bool | None = None, seed: Any = None
    ) -> tfp.distributions.Distribution:
        """Return q(w | x, y); the seed is for the encoder's dropout."""
        parameters = self.encoder(tf.concat(observations, axis=-1), training=training, seed=seed)
        return self.family.member(parameters)

    def _inference_latent_samples_and_loss(
        self, layer_inputs: tf.Tensor, observations: Any, seed: Any = None
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Draw w from q(w | x, y), [B, Dw], and return it with the mean KL over the rows."""
        draws = self.draw(observations, num_samples=1, seed=seed)
        return draws.W[0], tf.reduce_mean(draws.kl)

    def _local_kls(self, posteriors: tfp.distributions.Distribution, W: tf.Tensor | None = None) -> tf.Tensor:
        """Return KL[q(w) || p(w)] of every row, summed over the latent variables, [B].

        Args:
            posteriors: q(w).
            W: draws from q(w), [K, B, Dw], for a family whose KL has no closed form; None makes `KL_DRAWS` draws.
        """
        if W is None:
            W = posteriors.sample(KL_DRAWS, seed=tf.cast(self._seed(None), tf.int32))
        return self.family.kl(posteriors, W)

    def _add_local_kl(self, loss: tf.Tensor) -> None:
        self.add_loss(loss)
        self.add_metric(loss, name=self.local_kl.name, aggregation="mean")

    def _seed(self, seed: Any) -> tf.Tensor:
        """Return a seed of two integers."""
        if seed is None:
            return self.step_seeds.next_seed()
        return tf.constant([seed, 0]) if isinstance(seed, int) else seed


def independent_normal(shape: list[Any], num_samples: int, seed: tf.Tensor) -> tf.Tensor:
    """Draw standard normals, [K, *shape]."""
    return tf.random.stateless_normal([num_samples, *shape], seed, dtype=gpflow.default_float())


def stratified_normal(shape: list[Any], num_samples: int, seed: tf.Tensor) -> tf.Tensor:
    """Draw standard normals such that each of K strata has one of the K values of every element; [K, *shape].

    Every element has its own random order of the strata and one random shift, so each draw is exactly standard normal.
    """
    order_seed, shift_seed = tf.unstack(tf.random.split(seed, 2))
    order = tf.argsort(tf.random.stateless_uniform([num_samples, *shape], order_seed), axis=0)
    shift = tf.random.stateless_uniform([1, *shape], shift_seed, dtype=gpflow.default_float())
    uniforms = (tf.cast(order, gpflow.default_float()) + shift) / num_samples
    return tf.math.ndtri(tf.clip_by_value(uniforms, 1e-12, 1 - 1e-12))
