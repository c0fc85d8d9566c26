"""How x and w are joined where a GP sees both, as Keras layers: [x, w], [x, w warped], x + w B or x * (w B)."""

from __future__ import annotations

import gpflow
import numpy as np
import tensorflow as tf
from gpflow.keras import tf_keras

from cde_app.predictive.compositor import Compositor, Warp

LAYERS = {
    "concatenate": tf_keras.layers.Concatenate,
    "add": tf_keras.layers.Add,
    "multiply": tf_keras.layers.Multiply,
}


class ProjectedCompositor(tf_keras.layers.Layer):
    """Join x and w B, B [Dw, D] learned."""

    def __init__(self, kind: str, start: tf.Tensor) -> None:
        super().__init__(name="compositor", dtype=gpflow.default_float())
        self.combine = LAYERS[kind](dtype=gpflow.default_float())
        self.projection = tf.Variable(start, name="projection")

    def call(self, inputs: list[tf.Tensor]) -> tf.Tensor:
        """Return c(x, w); x [..., D] and w [..., Dw] to [..., D]."""
        X, W = inputs
        return self.combine([X, W @ self.projection])


class WarpCompositor(tf_keras.layers.Layer):
    """Join x and w warped; the warp is learned, its sizes and steepnesses on the log scale."""

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


def build_compositor(start: Compositor) -> tf_keras.layers.Layer:
    """Return the layer that joins x and w; it takes [x, w] as a list."""
    if start.warp is not None:
        return WarpCompositor(start.warp)
    if start.projection is not None:
        return ProjectedCompositor(start.kind, start.projection)
    return LAYERS[start.kind](dtype=gpflow.default_float())


def read_compositor(layer: tf_keras.layers.Layer) -> Compositor:
    """Undo `build_compositor`: return the compositor as arrays."""
    if isinstance(layer, WarpCompositor):
        return Compositor("concatenate", warp=layer.read())
    projected = isinstance(layer, ProjectedCompositor)
    combine = layer.combine if projected else layer
    kind = next(kind for kind, layer_class in LAYERS.items() if type(combine) is layer_class)
    return Compositor(kind, layer.projection.numpy() if projected else None)
