"""What every mean function fulfils: it is a kind everywhere, and the ways to Keras and into a file lose nothing."""

from __future__ import annotations

from typing import get_args

import numpy as np
import pytest
import tensorflow as tf

from cde_app import config
from cde_app.gp.mean_function import MEAN_FUNCTIONS, MeanFunction
from cde_app.model.layers import MeanLayer
from tests.storing import stored_and_read

RANDOM = np.random.default_rng(0)
X, DIRECTIONS = RANDOM.standard_normal((50, 3)), np.linalg.qr(RANDOM.standard_normal((3, 2)))[0]
Y = X @ RANDOM.standard_normal((3, 3)) + 2.0
SECTIONS = (config.InnerLayerSettings, config.JointOutput)
INNER, OUTPUT = (get_args(section.model_fields["mean"].annotation) for section in SECTIONS)
kinds = pytest.mark.parametrize("kind", MEAN_FUNCTIONS)


def test_every_kind_has_settings_and_a_class() -> None:
    assert [one.model_fields["kind"].default for one in INNER] == list(MEAN_FUNCTIONS)
    assert set(OUTPUT) < set(INNER)


@kinds
def test_a_mean_function_survives_the_way_to_keras_and_back(kind: str) -> None:
    start = MEAN_FUNCTIONS[kind].along(DIRECTIONS)
    layer = MeanLayer(start, is_trained=True)
    np.testing.assert_allclose(layer(tf.constant(X)), start(X), atol=1e-12)
    assert len(layer.trainable_variables) == len(start.trained)
    assert not MeanLayer(start, is_trained=False).trainable_variables
    for variable in layer.trainable_variables:
        variable.assign_add(tf.ones_like(variable))
    again = stored_and_read(layer.read(), MeanFunction)
    assert type(again) is type(start)
    np.testing.assert_allclose(again(X), layer(tf.constant(X)), atol=1e-12)


@kinds
def test_one_of_an_inner_layer_starts_along_the_directions_or_carries_nothing(kind: str) -> None:
    mean_function = MEAN_FUNCTIONS[kind]
    assert mean_function.keeps_width(3, 3) == (kind in ("identity", "linear"))
    assert mean_function.keeps_width(3, 2) == (kind == "identity")
    start = mean_function.along(np.eye(3) if mean_function.keeps_width(3, 2) else DIRECTIONS)
    expected = X if kind == "identity" else (X @ DIRECTIONS) * mean_function.carries_x
    np.testing.assert_allclose(start(X), expected, atol=1e-12)


@pytest.mark.parametrize("settings", OUTPUT)
def test_one_of_an_output_layer_starts_nearest_to_the_targets(settings: type[config.Section]) -> None:
    start = MEAN_FUNCTIONS[settings.model_fields["kind"].default].nearest(X, Y)
    expected = {"zero": 0 * Y, "identity": X, "constant": np.broadcast_to(Y.mean(0), Y.shape), "linear": Y}
    np.testing.assert_allclose(start(X), expected[start.kind], atol=1e-9)
