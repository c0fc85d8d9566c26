"""GPflux's own recipe, trained and scored: what a user of GPflux would do with a table."""

from __future__ import annotations

import time

import gpflow
import gpflux
import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp
from gpflow.keras import tf_keras
from scipy.cluster.vq import kmeans2
from scipy.special import logsumexp, ndtri

from cde_app.arrays import Array
from measurements.panel_table import Clock, load
from measurements.processes import Options

STEPS = 3000
BATCH_SIZE = 512
NUM_INDUCING = 128
LEARNING_RATE = 0.01
NOISE = 0.1
HIDDEN_UNITS = (20, 20)
NODES = 256


class Encoder(tf_keras.layers.Layer):
    """q(w | x, y) from a small network, which serves rows in batches; GPflux brings none."""

    def __init__(self) -> None:
        super().__init__(dtype="float64")
        dense = tf_keras.layers.Dense
        self.layers = [dense(units, activation="tanh", dtype="float64") for units in HIDDEN_UNITS]
        self.head = dense(2, dtype="float64")

    def call(self, inputs: tf.Tensor, training: bool | None = None) -> tuple[tf.Tensor, tf.Tensor]:
        """Return the mean and the standard deviation; [B, D + 1] to two [B, 1]."""
        for layer in self.layers:
            inputs = layer(inputs)
        mean, free = tf.split(self.head(inputs), 2, axis=-1)
        return mean, tf.nn.softplus(free)


def train(options: Options, table: str, seed: int, asked: float) -> dict[str, float]:
    """Train the latent layer and one `GPLayer` on [x, w] by Adam through Keras's `fit`, and score it.

    The recipe is that of GPflux's notebook on conditional density estimation, with a network as encoder in place of
    parameters of every row's own, and inducing inputs at k-means centres.

    Args:
        options: where the data is.
        table: its name.
        seed: of the network, the inducing inputs and the draws.
        asked: when the process was asked for [seconds since the epoch].

    Returns:
        Seconds of imports, compiling and training; the test log density [nats per row, user's units]; steps.
    """
    imports = time.time() - asked
    train_rows, test_rows, settings = load(options, table)
    tf_keras.utils.set_random_seed(seed)
    means, sds = train_rows.mean(), train_rows.std().replace(0.0, 1.0)
    scaled = [(rows - means) / sds for rows in (train_rows, test_rows)]
    (X, Y), (X_test, Y_test) = (
        [rows[columns].to_numpy() for columns in (settings["features"], settings["targets"])] for rows in scaled
    )
    clock = Clock()
    num_inducing = min(NUM_INDUCING, len(np.unique(X, axis=0)))
    centres, _ = kmeans2(X, num_inducing, minit="points", seed=seed)
    Z = np.hstack([centres, np.random.default_rng(seed).standard_normal((num_inducing, 1))])
    latent = gpflux.layers.LatentVariableLayer(
        tfp.distributions.MultivariateNormalDiag(np.zeros(1), np.ones(1)), Encoder()
    )
    gp = gpflux.helpers.construct_gp_layer(len(X), num_inducing, X.shape[1] + 1, 1, z_init=Z)
    likelihood = gpflow.likelihoods.Gaussian(NOISE)
    model = gpflux.models.DeepGP([latent, gp], likelihood, input_dim=X.shape[1], target_dim=1).as_training_model()
    model.compile(tf_keras.optimizers.Adam(LEARNING_RATE))
    clock.stop()
    rows, compiling = {"inputs": X, "targets": Y}, Clock()
    model.fit(rows, batch_size=BATCH_SIZE, epochs=1, verbose=0)
    compiling.stop()
    clock.start()
    epochs = STEPS // -(-len(X) // BATCH_SIZE)
    model.fit(rows, batch_size=BATCH_SIZE, epochs=epochs, verbose=0)
    clock.stop()
    score = log_density(gp, float(likelihood.variance.numpy()), X_test, Y_test)
    score -= float(np.log(sds[settings["targets"]]).sum())
    return {
        "imports": imports,
        "compiling": compiling.elapsed,
        "training": clock.elapsed,
        "score": score,
        "steps": epochs * -(-len(X) // BATCH_SIZE),
    }


def log_density(gp: gpflux.layers.GPLayer, noise: float, X: Array, Y: Array) -> float:
    """Return the mean log density of the exact mixture over the prior's quantiles of w, standardised."""
    nodes = ndtri((np.arange(NODES) + 0.5) / NODES)
    predict = tf.function(gp.predict)
    moments = [predict(tf.constant(np.column_stack([X, np.full(len(X), node)]))) for node in nodes]
    mean, variance = (np.stack([moment[place].numpy()[:, 0] for moment in moments], axis=1) for place in (0, 1))
    log_normal = -0.5 * ((Y - mean) ** 2 / (variance + noise) + np.log(2 * np.pi * (variance + noise)))
    return float(np.mean(logsumexp(log_normal, axis=1) - np.log(NODES)))
