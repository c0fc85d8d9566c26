"""The training step: GPflux's `fit` against `Trainer.advance`, and both gradients on the same draws."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import numpy as np
import tensorflow as tf
from gpflow.keras import tf_keras
from gpflux.layers import GPLayer

from cde_app.model.build import Model
from cde_app.model.latent import stratified_normal
from cde_app.model.objective import bound
from measurements.models import (
    Array,
    Sizes,
    carried_mean,
    configured,
    configured_trainer,
    gpflux_model,
    gpflux_training_model,
    latent_layer,
    our_model,
    our_trainer,
    settings_of_training,
    synthetic_rows,
)
from measurements.processes import Options, companions, in_turn, seconds
from measurements.record import Bar, Comparison, Record, ratios

EPOCHS = 3
NUM_STEPS = EPOCHS * -(-Sizes.num_rows // Sizes.batch_size)
FASTER = Bar("at least", 2.5)


def measure(options: Options) -> list[Record]:
    """Clock all sides in turn, each in a process of its own with its own threads, after each has compiled its step."""
    with companions("training_step", "step_seconds", SIDES) as sides:
        in_turn(sides, 1)  # builds and compiles
        raw = in_turn(sides, options.repeats)
    sizes = Sizes()
    X, Y = synthetic_rows(sizes.num_rows, sizes.num_features, seed=1)
    gpflux, same, near = raw.values()
    model = (
        f"latent layer, inner layer of D + 1 GPs on [x, w], output layer; N = {sizes.num_rows}, "
        f"D = {sizes.num_features}, M = {sizes.num_inducing}, batch {sizes.batch_size}, one draw, Adam; all cores"
    )
    return [
        Comparison("training_step", f"GPflux fit / cde, {model}", ratios(gpflux, same), raw=raw, bar=FASTER),
        Comparison(
            "training_step_configured",
            f"GPflux fit / cde with the nearest model that a configuration makes: D inner GPs, q(v) diagonal; {model}",
            ratios(gpflux, near),
            bar=FASTER,
        ),
        Comparison(
            "gradient_difference",
            "largest relative difference, variable by variable, of the gradients of our bound and of GPflux's ELBO on "
            "the same model and draws",
            [gradient_difference(X, Y, sizes, draws=(seed, seed)) for seed in range(options.repeats)],
            unit="",
            bar=Bar("at most", 1e-6),
        ),
    ]


def step_seconds(side: str) -> float:
    """Return the seconds of a step, by a few epochs."""
    return seconds(lambda: side_built(side)(NUM_STEPS)) / NUM_STEPS


@cache
def side_built(side: str) -> Callable[[int], object]:
    """Return what takes so many steps."""
    return SIDES[side](Sizes())


def gpflux_fit(sizes: Sizes) -> Callable[[int], object]:
    """Return GPflux's `fit`, an epoch at a time."""
    X, Y = synthetic_rows(sizes.num_rows, sizes.num_features, seed=1)
    model = gpflux_training_model(gpflux_model(X, sizes))
    data = {"inputs": X, "targets": Y}
    return lambda steps: model.fit(data, batch_size=sizes.batch_size, epochs=steps * EPOCHS // NUM_STEPS, verbose=0)


def same_model(sizes: Sizes) -> Callable[[int], object]:
    """Return our training of GPflux's very model."""
    return our_trainer(*synthetic_rows(sizes.num_rows, sizes.num_features, seed=1), sizes).advance


def nearest_configured(sizes: Sizes) -> Callable[[int], object]:
    """Return our training of the nearest model that a configuration makes."""
    training = settings_of_training(sizes).model_dump(exclude_unset=True) | {"warm_start": {"enabled": False}}
    inner = {"num_gps": sizes.num_features, "num_inducing": sizes.num_inducing, "sees_latent": True}
    output = {"structure": "joint", "num_inducing": sizes.num_inducing}
    latent = {"compositor": {"kind": "concatenate"}}
    settings = configured(sizes.num_features, {"latent": latent, "layers": [inner], "output": output}, training)
    return configured_trainer(settings, *synthetic_rows(sizes.num_rows, sizes.num_features, seed=1)).advance


SIDES: dict[str, Callable[[Sizes], Callable[[int], object]]] = {
    "GPflux fit [s/step]": gpflux_fit,
    "cde, the same model [s/step]": same_model,
    "cde, as configured [s/step]": nearest_configured,
}


def gradient_difference(X: Array, Y: Array, sizes: Sizes, *, draws: tuple[int, int]) -> float:
    """Return max |a - b| / max |b|, the largest over all variables; a our gradient, b that of GPflux's ELBO.

    Args:
        X: [N, D], features.
        Y: [N, 1], targets.
        sizes: of the model; the first batch is taken.
        draws: seeds of the draws of w and of the inner layer, ours and theirs; the same for the same draws.
    """
    model, rows = our_model(X, sizes), slice(0, sizes.batch_size)
    random = np.random.default_rng(draws)
    variables = list({id(variable): variable for variable in model.deep_gp.trainable_variables}.values())
    for variable in variables:
        variable.assign_add(0.05 * random.standard_normal(variable.shape))
    batch = tf.constant(X[rows]), tf.constant(Y[rows])
    objective = settings_of_training(sizes).objective
    with tf.GradientTape() as tape:
        ours = bound(model, objective, *batch, kl_weight=1.0, seed=tf.constant([draws[0], 0]))
    gradients = tape.gradient(ours, variables)
    with tf.GradientTape() as tape:
        theirs = gpflux_elbo(model, *batch, seed=tf.constant([draws[1], 0]))
    expected = tape.gradient(theirs, variables)
    return max(
        float(np.abs(a.numpy() - b.numpy()).max() / np.abs(b.numpy()).max())
        for a, b in zip(gradients, expected, strict=True)
    )


def gpflux_elbo(model: Model, X: tf.Tensor, Y: tf.Tensor, *, seed: tf.Tensor) -> tf.Tensor:
    """Return the ELBO per row of GPflux's layers over our model's parameters, with the draws that `bound` makes.

    The layers' own methods are called in the order of `DeepGP.elbo`, which leaves no place for given draws.
    """
    (inner,), (outer,), (num_rows, num_features) = model.inner_layers, model.output.terms, X.shape
    noise = stratified_normal((num_rows, 1), 1, seed)[0]
    latent = latent_layer(model.latent.encoder)
    posterior = latent._inference_posteriors([X, Y], training=True)
    W = posterior.loc + posterior.scale.diag * noise
    f = shared_layer(inner.gp, carried_mean(num_features))
    mean, variance = f.predict(tf.concat([X, W], axis=-1))
    seed = tf.random.experimental.stateless_fold_in(seed, 0)
    draws = mean + tf.sqrt(variance) * tf.random.stateless_normal([1, *mean.shape], seed, dtype=X.dtype)[0]
    expectations = model.likelihood.variational_expectations(None, *outer.predict(draws), Y)
    local_kl = tf.reduce_mean(posterior.kl_divergence(latent.prior))
    return tf.reduce_mean(expectations) - local_kl - (f.prior_kl() + outer.prior_kl()) / model.num_data


def shared_layer(gp: GPLayer, mean_function: tf_keras.layers.Layer) -> GPLayer:
    """Return a stock `GPLayer` with the parameters of another one and a mean function of its own."""
    layer = GPLayer(gp.kernel, gp.inducing_variable, gp.num_data, mean_function=mean_function, verbose=False)
    layer.q_mu, layer.q_sqrt = gp.q_mu, gp.q_sqrt
    return layer
