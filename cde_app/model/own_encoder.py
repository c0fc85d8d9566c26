"""An encoder of one's own: any Keras layer that maps [x, y] to the free parameters of q(w | x, y).

Letters: B rows of a batch, D features, P targets, Dw latent variables.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import gpflow
import numpy as np
import tensorflow as tf
from gpflow.keras import tf_keras

from cde_app.arrays import Array
from cde_app.encoder_spec import EncoderSpec, MakeEncoder, name_of
from cde_app.errors import UsageError
from cde_app.model.prior import Prior
from cde_app.words import listed


class OwnEncoder(tf_keras.layers.Layer):
    """A layer of the user's, called as `MLPEncoder` is.

    A tuple that the layer returns has the parameters themselves, as GPflux wants them. One tensor, [B, n Dw], has the
    n parameters next to each other, as changes of the prior's on the unconstrained scale: zeros give the prior.
    """

    def __init__(self, layer: tf_keras.layers.Layer, prior: Prior) -> None:
        super().__init__(name="encoder", dtype=gpflow.default_float())
        self.layer = layer
        self.prior = prior
        self.options = {"training", "seed"} & set(inspect.signature(layer.call).parameters)

    def call(
        self, inputs: tf.Tensor, training: bool | None = None, seed: tf.Tensor | None = None
    ) -> tuple[tf.Tensor, ...]:
        """Return the free parameters of q(w | x, y); [B, D + P] to [B, Dw] each.

        Args:
            inputs: [x, y].
            training: passed on if the layer takes it.
            seed: [2], integers, the seed of the step; passed on if the layer takes it.
        """
        return self.read(self.output(inputs, training=training, seed=seed))

    def output(self, inputs: tf.Tensor, **options: Any) -> Any:
        """Return what the layer returns."""
        return self.layer(inputs, **{name: options[name] for name in self.options})

    def read(self, output: Any) -> tuple[tf.Tensor, ...]:
        """Return the parameters in an output of the layer."""
        if isinstance(output, (tuple, list)):
            return tuple(tf.cast(part, gpflow.default_float()) for part in output)
        return self.prior.changed(tf.split(tf.cast(output, gpflow.default_float()), len(self.prior.bijectors), axis=-1))


def build_own_encoder(
    make_encoder: MakeEncoder, spec: EncoderSpec, prior: Prior, rows: Array, *, previous: OwnEncoder | None
) -> OwnEncoder:
    """Return an encoder of the user's with all its variables created, after one call with rows of the training.

    Args:
        make_encoder: returns the layer.
        spec: what the layer is for.
        prior: p(w).
        rows: [x, y], [B, D + P], as in a step.
        previous: the encoder of the previous training, which must be another.

    Raises:
        UsageError: the layer is none, or its output cannot be the parameters.
    """
    name = f"encoder {name_of(make_encoder)}"
    if isinstance(make_encoder, tf_keras.layers.Layer):
        raise UsageError(
            f"encoder: expected a function that returns a new layer for every training; got a layer, "
            f"{type(make_encoder).__name__!r}. Make the layer in the function."
        )
    with _double_precision():
        layer = make_encoder(spec)
        if not isinstance(layer, tf_keras.layers.Layer):
            kind = type(layer)
            raise UsageError(
                f"{name}: expected a layer of Keras 2, `from gpflow.keras import tf_keras`; "
                f"got '{kind.__module__}.{kind.__qualname__}'. Return such a layer."
            )
        if previous is not None and layer is previous.layer:
            raise UsageError(
                f"{name}: expected a new layer for every training; got the layer of the previous one. "
                "Make the layer in the function."
            )
        encoder = OwnEncoder(layer, prior)
        try:
            output = encoder.output(tf.constant(rows), training=False, seed=tf.constant([spec.seed, 0], tf.int64))
        except Exception as error:  # the class depends on the layer
            lines = str(error).strip().splitlines() or [type(error).__name__]
            raise UsageError(
                f"{name}: expected a layer that maps [x, y], {list(rows.shape)}; got an error, {lines[0]!r}. "
                "Correct the layer."
            ) from error
    _check_shapes(name, output, spec, len(rows))
    _check_values(name, encoder.read(output), prior)
    for variable in encoder.trainable_variables:
        if variable.dtype != gpflow.default_float():
            raise UsageError(
                f"{name}: expected trainable variables in double precision; got {variable.dtype.name!r}, "
                f"{variable.name!r}. Make the layers in the function, or pass dtype='float64' to them."
            )
    return encoder


def _check_shapes(name: str, output: Any, spec: EncoderSpec, num_rows: int) -> None:
    """Refuse an output that is neither the parameters nor one tensor as wide as all of them."""
    are_apart = isinstance(output, (tuple, list))
    each, joined = [num_rows, spec.latent_dim], [num_rows, spec.num_outputs]
    shapes = [list(getattr(part, "shape", ())) for part in (output if are_apart else [output])]
    if shapes != ([each] * len(spec.parameters) if are_apart else [joined]):
        got = f"a tuple of {shapes}" if are_apart else str(shapes[0])
        raise UsageError(
            f"{name}: expected a tuple of {listed(spec.parameters)}, {each} each, or one tensor {joined}; got {got}. "
            "Correct what the layer returns."
        )


def _check_values(name: str, parameters: tuple[tf.Tensor, ...], prior: Prior) -> None:
    """Refuse parameters outside their domain."""
    for (parameter, bijector), values in zip(prior.bijectors.items(), parameters, strict=True):
        is_valid = np.isfinite(values) & np.isfinite(bijector.inverse(values))
        if not is_valid.all():
            raise UsageError(
                f"{name}: expected values in the domain of {parameter!r} before the first step; "
                f"got {float(values.numpy()[~is_valid][0])!r}. Map it into its domain, such as by softplus for a scale."
            )


@contextmanager
def _double_precision() -> Iterator[None]:
    """Make double precision the default of Keras in a block, as GPflow's is everywhere."""
    usual = tf_keras.backend.floatx()
    tf_keras.backend.set_floatx(np.dtype(gpflow.default_float()).name)
    try:
        yield
    finally:
        tf_keras.backend.set_floatx(usual)
