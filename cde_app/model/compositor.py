"""How x and w are joined where a GP sees both, as Keras layers: [x, w], x + w B or x * (w B), B learned."""

from __future__ import annotations

import gpflow
import tensorflow as tf
from gpflow.keras import tf_keras

from cde_app.predictive.compositor import Compositor

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


def build_compositor(start: Compositor) -> tf_keras.layers.Layer:
    """Return the layer that joins x and w; it takes [x, w] as a list."""
    if start.projection is not None:
        return ProjectedCompositor(start.kind, start.projection)
    return LAYERS[start.kind](dtype=gpflow.default_float())


def read_compositor(layer: tf_keras.layers.Layer) -> Compositor:
    """Undo `build_compositor`: return the compositor as arrays."""
    projected = isinstance(layer, ProjectedCompositor)
    combine = layer.combine if projected else layer
    kind = next(kind for kind, layer_class in LAYERS.items() if type(combine) is layer_class)
    return Compositor(kind, layer.projection.numpy() if projected else None)
