"""GPflux's own training in place of ours: `DeepGP.as_training_model` under Keras's `fit`.

The model, the batches and the draws of every step are those of `Trainer`; the layers are called by Keras, which sums
their losses, and Keras's Adam follows all their gradients alike.
"""

from __future__ import annotations

from collections.abc import Mapping

import gpflow
import numpy as np
import tensorflow as tf
from gpflow.keras import tf_keras

from cde_app import config
from cde_app.arrays import Array
from cde_app.model.build import Model
from cde_app.training.optimizers import BETA_1, BETA_2, EPSILON, adam_rate, decay


class GPfluxFit:
    """Takes steps by Keras's `fit`; called, restored and reset like `Trainer`'s compiled step and its Adam."""

    def __init__(self, model: Model, settings: config.Training, *, max_steps: int, seed: tf.Variable) -> None:
        """Compile GPflux's training model.

        Args:
            model: at its starting point.
            settings: the `training` block.
            max_steps: total number of steps.
            seed: for all draws.
        """
        self.step_seeds = [layer.step_seeds for layer in (model.latent, *model.inner_layers) if layer is not None]
        self.seed = seed
        self.learning_rate = AdamRate(settings.learning_rate, max_steps)
        self.optimizer = tf_keras.optimizers.Adam(
            self.learning_rate,
            beta_1=BETA_1,
            beta_2=BETA_2,
            epsilon=EPSILON,
            global_clipnorm=settings.clip_norm,
            jit_compile=False,
        )
        self.training_model = model.deep_gp.as_training_model()
        self.optimizer.build(self.training_model.trainable_variables)
        self.training_model.compile(self.optimizer)

    def __call__(self, X: tf.Tensor, Y: tf.Tensor, first_step: tf.Tensor, rate: tf.Tensor) -> tf.Tensor:
        """Take a step for every batch in X [steps, B, D] and Y [steps, B, P].

        Returns:
            The mean of the bounds for every step, [steps]; Keras keeps only that, in single precision.
        """
        self.learning_rate.rate.assign(rate)
        self.optimizer.iterations.assign(first_step)
        for seeds in self.step_seeds:
            seeds.state.assign(tf.stack([self.seed, first_step]))
        num_steps, batch_size, _ = X.shape
        rows = {name: part.numpy().reshape(-1, part.shape[-1]) for name, part in (("inputs", X), ("targets", Y))}
        history = self.training_model.fit(rows, batch_size=batch_size, shuffle=False, verbose=0).history
        return tf.fill([num_steps], tf.constant(-history["loss"][0], gpflow.default_float()))

    def state(self) -> dict[str, Array]:
        """Return the optimiser's variables."""
        variables = self.optimizer.variables
        return {f"optimizer.{index}": np.array(variable.numpy()) for index, variable in enumerate(variables)}

    def restore(self, state: Mapping[str, Array]) -> None:
        """Set the variables to those that `state` returned."""
        for index, variable in enumerate(self.optimizer.variables):
            variable.assign(state[f"optimizer.{index}"])

    def reset(self) -> None:
        """Set the optimiser's variables to zero."""
        for variable in self.optimizer.variables:
            variable.assign(tf.zeros_like(variable))


class AdamRate(tf_keras.optimizers.schedules.LearningRateSchedule):
    """The step size of `Trainer`'s Adam, for Keras's."""

    def __init__(self, learning_rate: float, max_steps: int) -> None:
        super().__init__()
        self.learning_rate, self.max_steps = learning_rate, max_steps
        self.rate = tf.Variable(1.0, dtype=gpflow.default_float(), trainable=False)

    def __call__(self, step: tf.Tensor) -> tf.Tensor:
        """Return the step size of a step, which counts from zero."""
        progress = tf.cast(step, gpflow.default_float())
        return adam_rate(self.learning_rate, progress, decay(progress, self.max_steps, self.rate))
