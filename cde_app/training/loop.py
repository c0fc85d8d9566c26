"""The training loop: a generator of steps over one compiled function.

Saving, logging, validation and early stopping are left to the caller, who may stop the generator at any step.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass

import gpflow
import numpy as np
import tensorflow as tf
from gpflow.keras import tf_keras
from gpflux.layers import GPLayer

from cde_app import config
from cde_app.arrays import Array, IndexArray
from cde_app.errors import NumericalError
from cde_app.machine.rows import permuted_rows
from cde_app.machine.streams import Stream, generator
from cde_app.model.build import Model
from cde_app.model.moments import WhitenedPosterior
from cde_app.model.objective import bound, posteriors
from cde_app.progress import Progress
from cde_app.training.gpflux_fit import GPfluxFit
from cde_app.training.optimizers import Adam, adam_rate, decay, natural_gradient_step

STEPS_PER_CALL = 25
NATURAL_GRADIENT_WARM_UP = 20
MAX_RETRIES = 5
LARGEST_JITTER = 1e-3
"""The jitter after three retries or more: a thousandth of the variance of a GP that explains a standardised target."""
IMPOSSIBLE = 40.0
"""Limit [nats]: a sum of log q(w) - log p(w) over draws from q is below -40 with a probability of at most e^-40."""


@dataclass(frozen=True)
class Schedule:
    """The settings that depend on the data, resolved."""

    max_steps: int
    batch_size: int
    kl_weight: float
    natural_step: float


class FailedStepsError(Exception):
    """Steps have failed; the trainer is back where it was before them, with smaller steps and a larger jitter."""


class Trainer:
    """A model in training: its data, its optimisers, and the number of steps done."""

    def __init__(
        self, model: Model, settings: config.Training, schedule: Schedule, X: Array, Y: Array, *, seed: int
    ) -> None:
        """Prepare to train from step zero.

        Args:
            model: the model at its starting point.
            settings: the `training` block.
            schedule: its resolved sizes.
            X: [N, D], standardised features of the training rows; read a few batches at a time, so it may be a memory
                map.
            Y: [N, P], standardised targets; likewise.
            seed: for the batches and all draws.
        """
        self.model, self.settings, self.schedule, self.seed = model, settings, schedule, seed
        self._seed = tf.Variable(seed, dtype=tf.int64, trainable=False)
        self.X, self.Y = X, Y
        self._last_epoch: tuple[int, IndexArray] | None = None
        self.step = 0
        self.retries = 0
        self._optimizer: Adam | GPfluxFit
        q_variables = {
            id(variable)
            for term in model.output.terms
            for variable in (term.q_mu.unconstrained_variable, term.q_sqrt.unconstrained_variable)
        }
        uses_natural_gradient = settings.natural_gradient.enabled
        self.variables = [
            variable
            for variable in unique(model.deep_gp.trainable_variables)
            if not (uses_natural_gradient and id(variable) in q_variables)
        ]
        # What an encoder of one's own changes as it trains, such as moving averages, need not be trainable.
        changing = [] if model.own_encoder is None else model.own_encoder.variables
        self.all_variables = unique((*model.deep_gp.trainable_variables, *changing))
        self._shared_variables = unique(model.deep_gp.variables)
        if settings.loop == "gpflux":
            self._compiled = self._optimizer = GPfluxFit(model, settings, max_steps=schedule.max_steps, seed=self._seed)
            return
        inducing = {id(Z) for Z in inducing_variables(model)}
        rates = [settings.inducing_rate if id(variable) in inducing else 1.0 for variable in self.variables]
        self._optimizer = self.adam = Adam(self.variables, rates=rates, clip_norm=settings.clip_norm)
        dtype = gpflow.default_float()
        batches = [tf.TensorSpec([None, schedule.batch_size, values.shape[1]], dtype) for values in (X, Y)]
        signature = [*batches, tf.TensorSpec([], tf.int64), tf.TensorSpec([], dtype)]
        # AutoGraph has nothing to convert here, and takes seconds to find that out.
        self._compiled = tf.function(self._run, input_signature=signature, autograph=False)

    def advance(self, num_steps: int) -> Array:
        """Take steps and return the bound of each.

        After a failure the next call takes the same steps again, from the same state: at half the rates and with ten
        times the jitter, up to `LARGEST_JITTER`, both for the rest of the training.

        Raises:
            FailedStepsError: the bound or a variable is not finite; TensorFlow's Cholesky factor of a matrix that has
                none is NaN.
            NumericalError: the same, after `MAX_RETRIES` retries; or a KL is negative.
        """
        before = self.state()
        rows = self._batches(self.step, num_steps)
        X, Y = (tf.constant(values[rows]) for values in (self.X, self.Y))
        rate = tf.constant(0.5**self.retries, gpflow.default_float())
        for metric in self._metrics():
            metric.reset_state()
        try:
            bounds = self._compiled(X, Y, tf.constant(self.step, tf.int64), rate).numpy()
        except tf.errors.InvalidArgumentError:
            bounds = np.array([np.nan])
        except tf.errors.ResourceExhaustedError as error:
            raise MemoryError("for a step of the training") from error
        except RuntimeError as error:
            if "KeyboardInterrupt" in str(error):  # Ctrl-C while TensorFlow was raising: pybind11 reports both
                raise KeyboardInterrupt from error
            raise
        if np.isfinite(bounds).all() and all(np.isfinite(v.numpy()).all() for v in self.all_variables):
            self.step += num_steps
            self._check_local_kl(num_steps)
            return bounds
        self.restore(before)
        if self.retries == MAX_RETRIES:
            raise NumericalError(
                f"training: the bound and all parameters must be finite; got nan after step {self.step}, also in "
                f"{MAX_RETRIES} retries with steps down to {0.5**MAX_RETRIES:.2g} of their size{self._and_jitter()}. "
                "Look for extreme values with 'cde check', lower training.learning_rate, or lower "
                "model.output.num_inducing."
            )
        self._retry(self.retries + 1)
        raise FailedStepsError(
            f"numbers: the bound or a parameter is not finite after step {self.step}. Retry {self.retries} of "
            f"{MAX_RETRIES} from that step, with steps of {0.5**self.retries:.2g} of their size{self._and_jitter()}."
        )

    def metrics(self) -> dict[str, float]:
        """Return the layers' metrics, averaged over the steps of the last call."""
        return {metric.name: float(metric.result()) for metric in self._metrics()}

    def fits(self, model: Model, schedule: Schedule) -> bool:
        """Return whether `begin` can take another model: its shapes and schedule must be those of the compiled step.

        An encoder of one's own cannot be taken: what it holds besides its variables is part of the compiled step.
        """
        if model.own_encoder is not None or (schedule, model.num_data) != (self.schedule, self.model.num_data):
            return False
        other = unique(model.deep_gp.variables)
        return [variable.shape for variable in self._shared_variables] == [variable.shape for variable in other]

    def begin(self, model: Model, X: Array, Y: Array, *, seed: int) -> None:
        """Start again from another model of the same shapes, without compiling the step again.

        Args:
            model: with the same settings.
            X: [N, D], its features.
            Y: [N, P], its standardised targets.
            seed: for the batches and all draws.
        """
        self.X, self.Y, self._last_epoch = X, Y, None
        for own, other in zip(self._shared_variables, unique(model.deep_gp.variables), strict=True):
            own.assign(other)
        self._optimizer.reset()
        self.step, self.seed = 0, seed
        self._retry(0)
        self._seed.assign(seed)

    def state(self) -> dict[str, Array]:
        """Return everything that a resumed training needs, as arrays."""
        arrays = {f"variable.{index}": variable.numpy() for index, variable in enumerate(self.all_variables)}
        return {**arrays, **self._optimizer.state(), "step": np.array(self.step), "retries": np.array(self.retries)}

    def accepts(self, state: dict[str, Array]) -> bool:
        """Return whether a state is one of variables like these."""
        shapes = [np.shape(value) for name, value in state.items() if name.startswith("variable.")]
        return shapes == [tuple(variable.shape) for variable in self.all_variables]

    def restore(self, state: dict[str, Array]) -> None:
        """Continue from a state."""
        for index, variable in enumerate(self.all_variables):
            variable.assign(state[f"variable.{index}"])
        self._optimizer.restore(state)
        self.step = int(state["step"])
        self._retry(int(state["retries"]))

    def _retry(self, retries: int) -> None:
        """Set how often steps have failed, on which the rates and the jitter depend."""
        self.retries = retries
        if self.settings.loop == "cde":  # GPflux's own has the jitter in its graph
            for layer in gp_layers(self.model):
                layer.jitter.assign(min(gpflow.default_jitter() * 10.0**retries, LARGEST_JITTER))

    def _and_jitter(self) -> str:
        return "" if self.settings.loop == "gpflux" else f" and a jitter of {gp_layers(self.model)[0].jitter.numpy():g}"

    def _metrics(self) -> list[tf_keras.metrics.Metric]:
        return [] if self.model.latent is None else [self.model.latent.local_kl]

    def _check_local_kl(self, num_steps: int) -> None:
        """Refuse a KL below zero by more than its Monte-Carlo error: q or p is then not a density.

        With w_i ~ q_i the product of all p(w_i) / q_i(w_i) has a mean of at most 1, so its logarithm exceeds a > 0 with
        a probability of at most e^-a (Markov), for any family and however the encoder changes between the steps.
        """
        num_draws = num_steps * self.schedule.batch_size * self.settings.objective.num_samples
        for name, value in self.metrics().items():
            if num_draws * value < -IMPOSSIBLE:
                raise NumericalError(
                    f"training: the KL divergence {name} must not be negative; got {value:.4g} after step {self.step}. "
                    "The family's density does not match its draws: choose another model.latent.prior."
                )

    def _batches(self, first_step: int, num_steps: int) -> IndexArray:
        """Return the rows of each batch, [num_steps, B]: each epoch visits every row once, in its own order.

        With `batch_size: full` the rows keep their order, by which the per-row encoder identifies them.
        """
        num_rows, batch_size = len(self.X), self.schedule.batch_size
        if self.settings.batch_size == "full":
            return np.tile(np.arange(num_rows), (num_steps, 1))
        start, stop = first_step * batch_size, (first_step + num_steps) * batch_size
        first_epoch, last_epoch = start // num_rows, (stop - 1) // num_rows
        visits = [
            self._epoch(epoch)[max(start - epoch * num_rows, 0) : stop - epoch * num_rows]
            for epoch in range(first_epoch, last_epoch + 1)
        ]
        return np.concatenate(visits).reshape(num_steps, batch_size)

    def _epoch(self, epoch: int) -> IndexArray:
        """Return the order in which an epoch visits the rows; the last one is cached for the next call."""
        if self._last_epoch is None or self._last_epoch[0] != epoch:
            self._last_epoch = epoch, permuted_rows(generator(self.seed, Stream.BATCHES, epoch), len(self.X))
        return self._last_epoch[1]

    def _run(self, X: tf.Tensor, Y: tf.Tensor, first_step: tf.Tensor, rate: tf.Tensor) -> tf.Tensor:
        """Take a step for every batch in X [steps, B, D] and Y [steps, B, P]; return the bounds, [steps]."""
        num_steps = tf.shape(X)[0]

        def take(index: tf.Tensor, bounds: tf.TensorArray) -> tuple[tf.Tensor, tf.TensorArray]:
            step = first_step + tf.cast(index, tf.int64)
            return index + 1, bounds.write(index, self._one_step(X[index], Y[index], step, rate))

        bounds = tf.TensorArray(gpflow.default_float(), size=num_steps)
        _, bounds = tf.while_loop(lambda index, _: index < num_steps, take, (tf.constant(0), bounds))
        return bounds.stack()

    def _one_step(self, X: tf.Tensor, Y: tf.Tensor, step: tf.Tensor, rate: tf.Tensor) -> tf.Tensor:
        model, objective, kl_weight = self.model, self.settings.objective, self.schedule.kl_weight
        natural = self.settings.natural_gradient
        seed = tf.stack([self._seed, step])
        with tf.GradientTape() as tape:
            q = posteriors(model)
            if natural.enabled:
                q = q._replace(output=[WhitenedPosterior(*map(tf.stop_gradient, own)) for own in q.output])
                tape.watch(q.output)
            loss = -bound(model, objective, X, Y, kl_weight=kl_weight, seed=seed, q=q)
        sources = [self.variables, [list(own) for own in q.output] if natural.enabled else []]
        gradients, q_gradients = tape.gradient(loss, sources, unconnected_gradients=tf.UnconnectedGradients.ZERO)
        progress = tf.cast(step, X.dtype)
        decayed = decay(progress, self.schedule.max_steps, rate)
        learning_rate = adam_rate(self.settings.learning_rate, progress, decayed)
        self.adam.apply(gradients, step=step, learning_rate=learning_rate)
        warm_up = tf.minimum((progress + 1.0) / NATURAL_GRADIENT_WARM_UP, 1.0)
        natural_step = self.schedule.natural_step * decayed * warm_up
        for term, own, gradient in zip(model.output.terms, q.output, q_gradients, strict=False):
            natural_gradient_step(
                term,
                own,
                WhitenedPosterior(*(model.num_data * part for part in gradient)),
                step_size=natural_step,
                kl_weight=kl_weight,
                trust_radius=natural.trust_radius,
            )
        return -loss


def fit(trainer: Trainer) -> Iterator[Progress]:
    """Train to the last step of the schedule, yielding every few steps."""
    compiled = None
    while trainer.step < trainer.schedule.max_steps:
        num_steps = min(STEPS_PER_CALL - trainer.step % STEPS_PER_CALL, trainer.schedule.max_steps - trainer.step)
        try:
            bounds = trainer.advance(num_steps)
        except FailedStepsError as failure:
            yield Progress("warning", str(failure), retries=trainer.retries)
            continue
        now = time.monotonic()
        speed = (trainer.step - compiled[0]) / (now - compiled[1]) if compiled else None
        compiled = compiled or (trainer.step, now)
        yield Progress(
            "training",
            step=trainer.step,
            num_taken=num_steps,
            max_steps=trainer.schedule.max_steps,
            bound=float(bounds.mean()),
            metrics=trainer.metrics(),
            retries=trainer.retries,
            steps_per_second=speed,
            deep_gp=trainer.model.deep_gp,
        )


def inducing_variables(model: Model) -> list[tf.Variable]:
    """Return the variables of all inducing inputs."""
    return [gp.inducing_variable.inducing_variable.Z.unconstrained_variable for gp in gp_layers(model)]


def gp_layers(model: Model) -> list[GPLayer]:
    """Return the GPflux layers of the model, in their order."""
    return [layer.gp for layer in model.inner_layers] + model.output.terms


def unique(variables: tuple[tf.Variable, ...]) -> list[tf.Variable]:
    """Return each variable once, in the given order."""
    return list({id(variable): variable for variable in variables}.values())
