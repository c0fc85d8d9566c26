"""Prediction: the NumPy path against GPflux's sampling loops, and the error of the mixture's log density."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import tensorflow as tf

from cde_app import config
from cde_app.model.build import Model
from cde_app.predictive.ensemble import Ensemble
from cde_app.predictive.nodes import gaussian_nodes, split_outermost
from cde_app.predictive.posterior import Posterior
from cde_app.predictive.predictor import Predictor, assemble_predictor
from cde_app.targets import Identity
from cde_app.training.export import export_posterior
from cde_app.training.tails import fit_defence
from measurements.models import (
    Array,
    Sizes,
    configured,
    configured_trainer,
    gpflux_model,
    our_model,
    synthetic_rows,
    warm_start,
)
from measurements.processes import Options, in_turn, seconds
from measurements.record import Bar, Comparison, Record, ratios

NUM_ROWS = 1000
NUM_SAMPLES = 1000
CALLS = 20
"""Of GPflux's loops; their time is proportional to the number of samples."""
STEPS = 200
REFERENCE_NODES = 2**14
ERROR_ROWS = 200
PLAIN_DRAWS = 1000


def measure(options: Options) -> list[Record]:
    """Clock 1000 rows by 1000 samples: ours whole, GPflux's loops for some of their calls."""
    sizes = Sizes()
    X, Y = synthetic_rows(sizes.num_rows, sizes.num_features, seed=1)
    X_new, _ = synthetic_rows(NUM_ROWS, sizes.num_features, seed=2)
    prediction_model = gpflux_model(X, sizes).as_prediction_model()  # first, so that TensorFlow keeps its own threads
    inputs = tf.constant(X_new)
    settings = two_layers(sizes)
    same = predictor_of(our_model(X, sizes), settings, X, Y)
    usual = predictor_of(configured_trainer(settings, X, Y).model, settings, X, Y)

    def draw() -> tf.Tensor:
        outputs = prediction_model(inputs)
        noise = tf.random.normal(tf.shape(outputs.y_mean), dtype=outputs.y_mean.dtype)
        return outputs.y_mean + tf.sqrt(outputs.y_var) * noise

    compiled = tf.function(draw)
    sides = {
        "GPflux, loop [s]": lambda: loop(draw),
        "GPflux, loop under tf.function [s]": lambda: loop(compiled),
        "cde, the same model [s]": lambda: seconds(lambda: same.predict(X_new).sample(NUM_SAMPLES, seed=0)),
        "cde, default layers [s]": lambda: seconds(lambda: usual.predict(X_new).sample(NUM_SAMPLES, seed=0)),
    }
    for warm_up in (draw, compiled):
        warm_up()
    same.predict(X_new[:10]), usual.predict(X_new[:10])
    raw = in_turn(sides, options.repeats)
    eager, graph, ours_same, ours = raw.values()
    num_components = settings.predict.num_components
    what = (
        f"{NUM_ROWS} rows x {NUM_SAMPLES} samples, latent layer and two GP layers, M = {sizes.num_inducing}, "
        f"C = {num_components}; GPflux's loop calls its prediction model once per sample, {CALLS} calls were clocked"
    )
    usual_layers = "our default layers: inner GPs on x, additive output"
    plain, traced = Bar("at least", 100), Bar("at least", 15)
    return [
        Comparison(
            "prediction", f"GPflux's loop / cde, {usual_layers}; {what}", ratios(eager, ours), raw=raw, bar=plain
        ),
        Comparison(
            "prediction_tf_function",
            f"the loop under tf.function / cde, {usual_layers}; {what}",
            ratios(graph, ours),
            bar=traced,
        ),
        Comparison(
            "prediction_same_model",
            f"GPflux's loop / cde with GPflux's very model, whose D + 1 inner GPs see w; {what}",
            ratios(eager, ours_same),
            bar=plain,
        ),
        Comparison(
            "prediction_same_model_tf_function",
            f"the loop under tf.function / cde with GPflux's very model; {what}",
            ratios(graph, ours_same),
            bar=traced,
        ),
    ]


def loop(draw: Callable[[], tf.Tensor]) -> float:
    """Return the seconds of NUM_SAMPLES draws, by those of CALLS."""
    return seconds(lambda: tf.concat([draw() for _ in range(CALLS)], axis=1).numpy()) * NUM_SAMPLES / CALLS


def two_layers(sizes: Sizes) -> config.Config:
    """Return the default configuration with M inducing inputs in each GP and a warm start of a few iterations."""
    size = sizes.num_inducing
    model = {
        "layers": [{"num_inducing": size}],
        "output": {"structure": "additive", "num_inducing": size, "num_inducing_latent": size},
    }
    return configured(sizes.num_features, model, {"warm_start": {"max_steps": 20}, "ensemble": 1})


def posterior_of(model: Model, settings: config.Config, X: Array, Y: Array, *, num_components: int) -> Posterior:
    """Return the model as arrays."""
    transforms = tuple(Identity.fit(column) for column in Y.T)
    floor, weight = np.zeros(Y.shape[1]), settings.model.defensive_weight
    defence = fit_defence(warm_start(settings, X, Y), X, Y, transforms, noise_floor=floor, weight=weight)
    return export_posterior(model, settings.model, transforms, defence, num_components=num_components, seed=0)


def predictor_of(model: Model, settings: config.Config, X: Array, Y: Array) -> Predictor:
    """Return what predicts by the model, with the default number of components."""
    num_components = settings.predict.num_components
    posterior = posterior_of(model, settings, X, Y, num_components=num_components)
    return assemble_predictor(None, (Ensemble((posterior,)),), (0,), num_components=num_components, seed=0)


def measure_error(options: Options) -> list[Record]:
    """Compare the log density by the default nodes, and by plain draws of them, with that by very many nodes."""
    sizes = Sizes(num_rows=2000)
    X, Y = synthetic_rows(sizes.num_rows, sizes.num_features, seed=1)
    X_new, Y_new = synthetic_rows(ERROR_ROWS, sizes.num_features, seed=2)
    settings = two_layers(sizes)
    trainer = configured_trainer(settings, X, Y)
    trainer.advance(STEPS)
    num_components = settings.predict.num_components
    posterior = posterior_of(trainer.model, settings, X, Y, num_components=num_components)
    latent_dim = posterior.latent_dim
    num_coordinates = latent_dim + posterior.inner_noise.shape[1]

    def log_density(nodes: Array) -> Array:
        nodes, weights = split_outermost(nodes, range(latent_dim))
        places = {"latent_nodes": nodes[:, :latent_dim], "inner_noise": nodes[:, latent_dim:]}
        at_nodes = replace(posterior, node_weights=weights, **places)
        return at_nodes.predict(X_new).log_prob(Y_new)

    exact = log_density(gaussian_nodes(REFERENCE_NODES, num_coordinates, seed=12345))

    def error(nodes: Array) -> float:
        return float(np.sqrt(np.mean((log_density(nodes) - exact) ** 2)))

    ours = [error(gaussian_nodes(num_components, num_coordinates, seed=seed)) for seed in range(options.repeats)]
    plain = [
        error(np.random.default_rng([seed, 1]).standard_normal((PLAIN_DRAWS, num_coordinates)))
        for seed in range(options.repeats)
    ]
    return [
        Comparison(
            "mixture_error",
            f"RMS error of the log density of {ERROR_ROWS} rows with the default {num_components} nodes / with "
            f"{PLAIN_DRAWS} plain draws, against {REFERENCE_NODES} nodes; default layers, trained for {STEPS} steps; "
            "a repeat has nodes and draws of its own",
            ratios(ours, plain),
            raw={f"{num_components} nodes [nats]": ours, f"{PLAIN_DRAWS} plain draws [nats]": plain},
            bar=Bar("below", 1.0),
        )
    ]
