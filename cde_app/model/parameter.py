"""Parameters of GPflow, and how they are stored while they are trained."""

from __future__ import annotations

from typing import Any

import gpflow
import tensorflow as tf
import tensorflow_probability as tfp
from gpflow.utilities import positive


def positive_parameter(value: Any) -> gpflow.Parameter:
    """Return a positive parameter that is optimised on the log scale."""
    return gpflow.Parameter(value, transform=positive(base="exp"), dtype=gpflow.default_float())


class LowerTriangle(tfp.bijectors.Bijector):
    """The lower triangle of a square matrix, stored as the matrix.

    GPflow packs a triangle into a vector, which takes several passes over it, and as many for the gradient, in every
    step.
    """

    def __init__(self) -> None:
        super().__init__(forward_min_event_ndims=2, is_constant_jacobian=True, name="lower_triangle")

    def _forward(self, x: tf.Tensor) -> tf.Tensor:
        return tf.linalg.band_part(x, -1, 0)

    def _inverse(self, y: tf.Tensor) -> tf.Tensor:
        return y
