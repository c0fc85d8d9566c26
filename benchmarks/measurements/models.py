"""One model made twice, of GPflux's layers and of ours: the sides of the comparisons with GPflux.

w ~ N(0, I), f of D + 1 GPs on [x, w], z = [x, 0] + f, g of one GP on z, y = g + e. Both sides have the same parameters
and the same start; what differs is who trains and who predicts.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import gpflow
import gpflux
import numpy as np
import tensorflow_probability as tfp
from gpflow.keras import tf_keras
from scipy.cluster.vq import kmeans2

from cde_app import config
from cde_app.arrays import Array
from cde_app.gp.compositor import Concatenation
from cde_app.gp.kernels import SquaredExponential
from cde_app.gp.likelihood import NormalNoise
from cde_app.gp.mean_function import PCAMeanFunction, ZeroMeanFunction
from cde_app.machine.threads import spread_operations
from cde_app.model.build import Model, build_model
from cde_app.model.encoder import build_encoder
from cde_app.model.prior import build_prior
from cde_app.model.start import EncoderStart, GPStart, InnerStart, ModelStart
from cde_app.plan import plan_trainings
from cde_app.targets import Identity
from cde_app.training.checkpoint import Unfinished
from cde_app.training.features import Axis, Features
from cde_app.training.loop import Schedule, Trainer
from cde_app.training.member import prepare
from cde_app.training.rows import Factor, TrainingData, standardise
from cde_app.training.warm_start import SparseRegression, fit_sparse_regression

LATENT_DIM = 1
NOISE = 0.1
LEARNING_RATE = 0.01


@dataclass(frozen=True)
class Sizes:
    """How large the model and its data are."""

    num_rows: int = 8000
    num_features: int = 8
    num_inducing: int = 128
    batch_size: int = 512


def synthetic_rows(num_rows: int, num_features: int, *, seed: int) -> tuple[Array, Array]:
    """Draw X [N, D] and Y [N, 1], standardised: a smooth surface with two branches, noise that grows along x."""
    random = np.random.default_rng(seed)
    X = random.standard_normal((num_rows, num_features))
    direction = np.random.default_rng(0).standard_normal((num_features, 2)) / np.sqrt(num_features)
    along, across = np.tanh(X @ direction).T
    branch = np.where(random.random(num_rows) < 0.5, 0.5, -0.5) * (1 + across)
    y = np.sin(2 * along) + branch + 0.1 * np.exp(across) * random.standard_normal(num_rows)
    return X, ((y - y.mean()) / y.std())[:, None]


def settings_of_model() -> config.ModelSettings:
    """Return the `model` block from which both sides take the latent layer; the encoder sees y itself."""
    return config.ModelSettings.model_validate(
        {"latent": {"dim": LATENT_DIM, "encoder": {"kind": "mlp", "residual": False}}}
    )


def settings_of_training(sizes: Sizes) -> config.Training:
    """Return the `training` block that does what GPflux's `fit` does: the ELBO, one latent draw, Adam for all."""
    return config.Training.model_validate(
        {
            "objective": {"kind": "elbo", "num_samples": 1},
            "natural_gradient": {"enabled": False},
            "batch_size": sizes.batch_size,
            "max_steps": 1_000_000,
            "learning_rate": LEARNING_RATE,
        }
    )


def inducing_inputs(X: Array, num_inducing: int) -> tuple[Array, Array]:
    """Return the inducing inputs of f, [M, D + 1], and of g, [M, D + 1]: centres of the rows, w and 0 beside them."""
    centres, _ = kmeans2(X, num_inducing, minit="points", seed=0)
    W = np.random.default_rng(0).standard_normal((num_inducing, LATENT_DIM))
    return np.hstack([centres, W]), np.hstack([centres, 0.1 * W])


def encoder_start(num_rows: int) -> EncoderStart:
    """Return an encoder that starts at the prior."""
    return EncoderStart(None, np.zeros((1, LATENT_DIM)), np.ones(LATENT_DIM), np.zeros((num_rows, LATENT_DIM)))


def gp_start(Z: Array, num_gps: int, *, sees_latent: bool) -> GPStart:
    """Return the start of GPflux's `construct_gp_layer`: unit variance, lengthscales sqrt(D), q(v) the prior."""
    num_inducing, width = Z.shape
    kernel = SquaredExponential(1.0, np.full(width, np.sqrt(width)))
    q_sqrt = np.stack([np.eye(num_inducing)] * num_gps)
    return GPStart(kernel, Z, np.zeros((num_inducing, num_gps)), q_sqrt, sees_latent)


def our_model(X: Array, sizes: Sizes) -> Model:
    """Return the model of our layers."""
    settings, width = settings_of_model(), sizes.num_features + LATENT_DIM
    inner, outer = inducing_inputs(X, sizes.num_inducing)
    joined = Concatenation()
    carried = PCAMeanFunction(np.eye(sizes.num_features, width))  # which is not trained
    start = ModelStart(
        inner_layers=(InnerStart(gp_start(inner, width, sees_latent=True), carried, np.eye(width), joined),),
        output_terms=(gp_start(outer, 1, sees_latent=False),),
        encoder=encoder_start(len(X)),
        compositor=joined,
        noise=NormalNoise(np.array([NOISE])),
        noise_floor=np.full(1, settings.likelihood.variance_floor),
        num_data=len(X),
        output_mean=ZeroMeanFunction(np.zeros((width, 1))),
    )
    return build_model(settings, start, num_features=sizes.num_features, seed=0)


def our_trainer(X: Array, Y: Array, sizes: Sizes) -> Trainer:
    """Return our training loop, at step zero, with the threads of `cde train` if TensorFlow is not yet in use."""
    spread_operations()
    settings = settings_of_training(sizes)
    batch_size = settings.resolved_batch_size(len(X))
    natural_step = settings.resolved_natural_step(len(X))
    schedule = Schedule(settings.resolved_max_steps(len(X)), batch_size, 1.0, natural_step)
    return Trainer(our_model(X, sizes), settings, schedule, X, Y, seed=0)


def gpflux_model(X: Array, sizes: Sizes) -> gpflux.models.DeepGP:
    """Return the model of GPflux's own layers, made by its own constructors.

    GPflux brings no encoder that serves rows in batches, so that its latent layer has ours.
    """
    settings, width = settings_of_model(), sizes.num_features + LATENT_DIM
    encoder = build_encoder(
        settings.latent.encoder,
        build_prior(settings.latent),
        encoder_start(len(X)),
        num_features=sizes.num_features,
        num_targets=1,
        seed=0,
    )
    inner, outer = (
        gpflux.helpers.construct_gp_layer(len(X), sizes.num_inducing, width, num_gps, z_init=Z, name=name)
        for Z, num_gps, name in zip(inducing_inputs(X, sizes.num_inducing), (width, 1), ("f", "g"), strict=True)
    )
    inner.mean_function = carried_mean(sizes.num_features)
    likelihood = gpflow.likelihoods.Gaussian(NOISE)
    return gpflux.models.DeepGP([latent_layer(encoder), inner, outer], likelihood, num_data=len(X))


def latent_layer(encoder: tf_keras.layers.Layer) -> gpflux.layers.LatentVariableLayer:
    """Return GPflux's latent layer, w ~ N(0, I)."""
    zeros = np.zeros(LATENT_DIM)
    prior = tfp.distributions.MultivariateNormalDiag(zeros, np.ones(LATENT_DIM))
    return gpflux.layers.LatentVariableLayer(prior, encoder)


def carried_mean(num_features: int) -> gpflow.mean_functions.Linear:
    """Return m([x, w]) = [x, 0], which does not train."""
    mean = gpflow.mean_functions.Linear(np.diag([1.0] * num_features + [0.0] * LATENT_DIM))
    gpflow.set_trainable(mean, False)
    return mean


def gpflux_training_model(model: gpflux.models.DeepGP) -> Any:
    """Return GPflux's Keras model with Adam, ready for `fit`."""
    training_model = model.as_training_model()
    training_model.compile(tf_keras.optimizers.Adam(LEARNING_RATE))
    return training_model


def configured(num_features: int, model: dict[str, Any], training: dict[str, Any]) -> config.Config:
    """Return a configuration of a table with features x0, x1, ... and one target y."""
    inputs = [f"x{index}" for index in range(num_features)]
    target = {"column": "y", "transform": {"kind": "identity"}}
    data = {"path": "table.csv", "inputs": inputs, "targets": [target]}
    return config.Config.model_validate({"schema_version": 1, "data": data, "model": model, "training": training})


def configured_trainer(settings: config.Config, X: Array, Y: Array) -> Trainer:
    """Return the training loop, with its threads, of the model that `cde train` would make of standardised rows."""
    spread_operations()
    transforms = tuple(Identity.fit(column) for column in Y.T)
    data = TrainingData(features_of(settings, X), Y, X[:0], Y[:0])
    factor = Factor(data, transforms, np.zeros(Y.shape[1]), standardise(transforms, Y))
    regression = warm_start(settings, X, Y)
    plan = replace(
        plan_trainings(settings, num_rows=len(X), num_validation_rows=1, num_features=X.shape[1]), num_left_out=0
    )
    return prepare(settings, plan, factor, Unfinished(regression), seed=settings.seed, previous=None)


def warm_start(settings: config.Config, X: Array, Y: Array) -> SparseRegression:
    """Return the sparse GP from which the configured model starts."""
    features, training = features_of(settings, X), settings.training.warm_start
    return fit_sparse_regression(features, Y, training, settings.model.output, seed=settings.seed)


def features_of(settings: config.Config, X: Array) -> Features:
    """Return X [N, D] with the names of its columns."""
    return Features(X, tuple(Axis(column.column) for column in settings.data.inputs))
