"""How x and w are joined for a GP that sees both: a Keras layer for every class of `gp/compositor.py`."""

from __future__ import annotations

from typing import Any

import gpflow
import numpy as np
import tensorflow as tf
from gpflow.keras import tf_keras

from cde_app.gp.compositor import Addition, Compositor, Concatenation, Multiplication, Projected, Warp

STOCK: dict[type[Compositor], type[tf_keras.layers.Layer]] = {
    Concatenation: tf_keras.layers.Concatenate,
    Addition: tf_keras.layers.Add,
    Multiplication: tf_keras.layers.Multiply,
}
"""Keras's own layers, for compositors without arrays. A layer of our own with another name would change the last bits,
because TensorFlow orders sums by the names of operations."""


class WarpLayer(tf_keras.layers.Layer):
    """Join x and the warped w; the warp is learned, its sizes and steepnesses on the log scale."""

    def __init__(self, start: Warp) -> None:
        super().__init__(name="compositor", dtype=gpflow.default_float())
        self.spread = tf.Variable(start.spread, trainable=False)
        self.log_size = tf.Variable(np.log(start.size), name="log_size")
        self.log_steepness = tf.Variable(np.log(start.steepness), name="log_steepness")
        self.centre = tf.Variable(start.centre, name="centre")
        self.slope = tf.Variable(start.slope, name="slope")

    def call(self, inputs: list[tf.Tensor]) -> tf.Tensor:
        """Return c(x, w); x [..., D] and w [..., Dw] to [..., D + Dw]."""
        X, W = inputs
        centre = self.centre + tf.tensordot(X, self.slope, axes=1)
        scaled = (W / self.spread)[..., None, :]
        steps = tf.exp(self.log_size) * tf.tanh(tf.exp(self.log_steepness) * (scaled - centre))
        return tf.concat([X, W + self.spread * tf.reduce_sum(steps, axis=-2)], axis=-1)

    def read(self) -> Warp:
        """Return the warp as plain arrays."""
        size, steepness = (np.exp(part.numpy()) for part in (self.log_size, self.log_steepness))
        return Warp(self.spread.numpy(), size, steepness, self.centre.numpy(), self.slope.numpy())


class ProjectedLayer(tf_keras.layers.Layer):
    """Join x and w B, with B [Dw, D] learned."""

    def __init__(self, start: Projected) -> None:
        super().__init__(name="compositor", dtype=gpflow.default_float())
        self.kind = type(start)
        self.combine = STOCK[self.kind](dtype=gpflow.default_float())
        self.projection = tf.Variable(start.projection, name="projection")

    def call(self, inputs: list[tf.Tensor]) -> tf.Tensor:
        """Return c(x, w); x [..., D] and w [..., Dw] to [..., D]."""
        X, W = inputs
        return self.combine([X, W @ self.projection])

    def read(self) -> Projected:
        """Return the compositor as plain arrays."""
        return self.kind(self.projection.numpy())


LEARNED: dict[type[Compositor], type[Any]] = {
    Warp: WarpLayer,
    Addition: ProjectedLayer,
    Multiplication: ProjectedLayer,
}
"""The layers of compositors with arrays."""


def build_compositor(start: Compositor) -> tf_keras.layers.Layer:
    """Return the layer that joins x and w; it takes [x, w] as a list."""
    if all(value is None for value in vars(start).values()):
        return STOCK[type(start)](dtype=gpflow.default_float())
    return LEARNED[type(start)](start)


def read_compositor(layer: tf_keras.layers.Layer) -> Compositor:
    """Undo `build_compositor`: return the compositor as arrays."""
    if type(layer) in LEARNED.values():
        compositor: Compositor = layer.read()
        return compositor
    return next(kind() for kind, stock in STOCK.items() if type(layer) is stock)
