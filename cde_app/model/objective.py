"""The objectives of training: the ELBO, the importance-weighted bound, or the log predictive density.

Letters: B rows of a batch, K latent draws per row, D features, Dw latent variables, P targets, M inducing inputs.
With w_k ~ q(w | x, y), the moments m_k and v_k of the output layer at [x, w_k], and the noise s2, they are per row

    elbo                 1/K sum_k E_q(f) log p(y | f_k) - KL[q(w) || p(w)]          Dutordoir et al. (2018)
    importance_weighted  log 1/K sum_k exp(E_q(f) log p(y | f_k)) p(w_k) / q(w_k)     Salimbeni et al. (2019)
    predictive           log 1/K sum_k N(y; m_k, v_k + s2) p(w_k) / q(w_k)            ours; no bound on log p(y | x)

minus kl_weight KL[q(u) || p(u)] / N, and plus log p(V) / N for noise with its own weights V. For Student's t,
N(y; m, v + s2) becomes E_q(f) t(y | f). If the output layer mixes by P, f P replaces f: the bounds use its marginal
variances v_k P^2, the density its covariance P' diag(v_k) P. The K draws of a row share the functions of the inner
layers.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import gpflow
import tensorflow as tf
from gpflow.keras import tf_keras

from cde_app import config
from cde_app.model.build import Model
from cde_app.model.layers import InnerGPLayer
from cde_app.model.moments import (
    WhitenedPosterior,
    joint_moments,
    moments,
    whitened_kl,
    whitened_posterior,
)


class Posteriors(NamedTuple):
    """q(u) of every GP layer, as q(v) with v = L^-1 u."""

    inner: list[WhitenedPosterior]
    output: list[WhitenedPosterior]
    """One for every term of the output layer."""


def posteriors(model: Model) -> Posteriors:
    """Return q(u) of the inner layers and of the output layer."""
    inner, output = [layer.gp for layer in model.inner_layers], model.output.terms
    return Posteriors([whitened_posterior(gp) for gp in inner], [whitened_posterior(gp) for gp in output])


def log_likelihoods(
    model: Model,
    settings: config.Objective,
    q: Posteriors,
    X: tf.Tensor,
    Y: tf.Tensor,
    W: tf.Tensor,
    seed: tf.Tensor,
) -> tf.Tensor:
    """Return log p(y | x, w_k) as used in the objective; X [B, D], Y [B, P], W [K, B, Dw] to [K, B]."""
    features = (X if model.input_projection is None else X @ model.input_projection.projection)[None]
    noise = inner_noise(model, W, seed)
    for layer, own_q, own_noise in zip(model.inner_layers, q.inner, noise, strict=True):
        features = draw_inner(layer, own_q, own_noise, features, W)
    means, variances = [], []
    for term, sees_latent, own_q in zip(model.output.terms, model.output.sees_latent, q.output, strict=True):
        inputs = join(model.output.compositor, features, W) if sees_latent else features
        mean, variance = moments(term, flat_rows(inputs), own_q)
        shape = [*inputs.shape[:2], mean.shape[-1]]
        means.append(tf.reshape(mean, shape))
        variances.append(tf.reshape(variance, shape))
    mean, variance = sum_broadcast(means), sum_broadcast(variances)
    mean, marginal = model.output.mix(mean, variance)
    mean = model.output.mean(features) + mean
    likelihood = model.likelihood
    if settings.kind != "predictive":
        per_draw = likelihood.expected_log_likelihood(X, Y, mean, marginal)
    elif model.output.mixing is None:
        per_draw = likelihood.log_predictive(X, Y, mean, marginal)
    else:
        per_draw = likelihood.log_predictive_mixed(X, Y, mean, variance, model.output.mixing)
    return tf.broadcast_to(per_draw, [W.shape[0], X.shape[0]])


def log_mean_exp(values: tf.Tensor) -> tf.Tensor:
    """Return log 1/K sum_k exp(values_k); [K, B] to [B]."""
    return tf.reduce_logsumexp(values, axis=0) - tf.math.log(tf.cast(tf.shape(values)[0], values.dtype))


def total_kl(layers: list[WhitenedPosterior]) -> tf.Tensor:
    """Return KL[q(u) || p(u)] of some layers."""
    return tf.add_n([whitened_kl(q) for q in layers]) if layers else tf.zeros([], gpflow.default_float())


def data_term(
    model: Model, settings: config.Objective, q: Posteriors, X: tf.Tensor, Y: tf.Tensor, *, seed: tf.Tensor
) -> tf.Tensor:
    """Return the objective of a batch per row, before KL[q(u) || p(u)] is subtracted; a scalar, nats per row."""
    if model.latent is None:
        W = tf.zeros([1, X.shape[0], 0], X.dtype)
        log_likelihood = log_likelihoods(model, settings, q, X, Y, W, seed)
        return tf.reduce_mean(log_mean_exp(log_likelihood))
    is_doubly = settings.kind == "importance_weighted" and settings.encoder_gradient == "doubly_reparameterised"
    W, log_ratio, _ = model.latent(
        X,
        observations=[X, Y],
        training=True,
        seed=seed,
        num_samples=settings.num_samples,
        encoder_gradient="doubly_reparameterised" if is_doubly else "plain",
    )
    normalised_weights: list[tf.Tensor] = []
    if is_doubly:
        W, log_ratio = (weighted_once_more(part, normalised_weights) for part in (W, log_ratio))
    log_likelihood = log_likelihoods(model, settings, q, X, Y, W, seed)
    if settings.kind == "elbo":
        return tf.reduce_mean(log_likelihood) - tf.add_n(model.latent.losses)
    weights = log_likelihood + log_ratio
    normalised_weights.append(tf.stop_gradient(tf.nn.softmax(weights, axis=0)))
    data = tf.reduce_mean(log_mean_exp(weights))
    losses = model.latent.encoder.losses  # those of an encoder of one's own, such as a penalty on its weights
    return data - tf.add_n(losses) if losses else data


def weighted_once_more(values: tf.Tensor, normalised_weights: list[tf.Tensor]) -> tf.Tensor:
    """Return the values; in the gradient, multiply draw k by its weight r_k once more than the bound does.

    If the log weights reach the encoder only through w, its gradient is then sum_k stop(r_k^2) d log r_k / dw_k.

    Args:
        values: values of every draw, [K, B, ...].
        normalised_weights: r, [K, B], which the caller appends before it computes gradients.

    Source: Tucker et al. (2019), for this model Rudner et al. (2021).
    """

    @tf.custom_gradient
    def weighted(values: tf.Tensor) -> Any:
        def gradient(upstream: tf.Tensor) -> tf.Tensor:
            weights = normalised_weights[0]
            return upstream * tf.reshape(weights, [*weights.shape, *[1] * (len(upstream.shape) - 2)])

        return tf.identity(values), gradient

    return weighted(values)


def penalty(model: Model) -> tf.Tensor:
    """Return the penalty from priors other than that of u: minus the log prior of the noise's weights."""
    return -model.likelihood.log_prior()


def bound(
    model: Model,
    settings: config.Objective,
    X: tf.Tensor,
    Y: tf.Tensor,
    *,
    kl_weight: float,
    seed: tf.Tensor,
    q: Posteriors | None = None,
) -> tf.Tensor:
    """Return the objective per row, which a training maximises, estimated from one batch.

    Args:
        model: the model.
        settings: the objective.
        X: [B, D], standardised features.
        Y: [B, P], standardised targets.
        kl_weight: weight of KL[q(u) || p(u)].
        seed: [2], integers.
        q: the layers' posteriors, if the caller differentiates with respect to their parts; None uses the model's.

    Returns:
        A scalar, nats per row of standardised targets.
    """
    q = posteriors(model) if q is None else q
    data = data_term(model, settings, q, X, Y, seed=seed)
    return data - (kl_weight * total_kl(q.inner + q.output) + penalty(model)) / model.num_data


def inner_noise(model: Model, W: tf.Tensor, seed: tf.Tensor) -> list[tf.Tensor]:
    """Draw the standard normal numbers of every inner layer, [1 or K, B, Q]; K from the first layer that sees w."""
    noise, num_draws = [], 1
    for layer in model.inner_layers:
        num_draws = W.shape[0] if layer.sees_latent else num_draws
        noise.append(layer.noise([num_draws, W.shape[1], layer.gp.q_mu.shape[1]], seed))
    return noise


def draw_inner(
    layer: InnerGPLayer,
    q: WhitenedPosterior,
    noise: tf.Tensor,
    features: tf.Tensor,
    W: tf.Tensor,
) -> tf.Tensor:
    """Draw an inner layer's outputs; the K draws of a row are joint, because they share the function.

    A layer that sees only x has one value per row as long as x has. Otherwise f at the K points of a row is drawn with
    their K x K covariance (Salimbeni et al. 2019, section 3.2).

    Args:
        layer: the layer.
        q: its q(v).
        noise: standard normal, [1 or K, B, Q].
        features: x, [1 or K, B, D].
        W: [K, B, Dw].

    Returns:
        The layer's outputs without w, [1 or K, B, D'].
    """
    inputs = join(layer.compositor, features, W) if layer.sees_latent else features
    if noise.shape[0] == 1:
        mean, variance = moments(layer.gp, flat_rows(inputs), q)
        draws = mean[None] + tf.sqrt(variance)[None] * noise
    else:
        mean, covariance = joint_moments(layer.gp, inputs, q)
        draws = mean + tf.einsum("bqkl,lbq->kbq", tf.linalg.cholesky(covariance), noise)
    return layer.carry(features) + draws @ layer.projection


def join(compositor: tf_keras.layers.Layer, features: tf.Tensor, W: tf.Tensor) -> tf.Tensor:
    """Return c(x, w) for x [1 or K, B, D] and w [K, B, Dw]."""
    return compositor([tf.broadcast_to(features, [W.shape[0], *features.shape[1:]]), W])


def flat_rows(inputs: tf.Tensor) -> tf.Tensor:
    """Return [K, B, D] as [K B, D]."""
    return tf.reshape(inputs, [-1, inputs.shape[-1]])


def sum_broadcast(tensors: list[tf.Tensor]) -> tf.Tensor:
    """Return the sum of tensors that broadcast."""
    total = tensors[0]
    for tensor in tensors[1:]:
        total = total + tensor
    return total
