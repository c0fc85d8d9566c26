"""Where kernels start: their amplitude, their columns, their periods."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from pydantic import TypeAdapter

from cde_app import config
from cde_app.gp.kernels import Kernel
from cde_app.training.features import Axis
from cde_app.training.gp_start import lengthscales_of, start_kernel

AXES = (Axis("t", 4.0), Axis("site"), Axis("site"), Axis("latent"))
SMOOTH, LINE = {"kind": "squared_exponential"}, {"kind": "linear"}


def start(settings: dict[str, Any], *, axes: tuple[Axis, ...] = AXES, variance: float = 2.0) -> Kernel:
    kernel = TypeAdapter(config.Kernel).validate_python(settings)
    return start_kernel(kernel, axes=axes, variance=variance, lengthscales=np.arange(1.0, len(axes) + 1))


@pytest.mark.parametrize(
    "settings",
    [
        SMOOTH,
        LINE,
        {"kind": "constant"},
        {"kind": "rational_quadratic", "columns": ["site"]},
        {"kind": "periodic", "period": 1.0},
        {"kind": "sum", "kernels": [SMOOTH, {"kind": "product", "kernels": [LINE, SMOOTH, SMOOTH]}]},
        {"kind": "product", "kernels": [{"kind": "sum", "kernels": [SMOOTH, SMOOTH]}, SMOOTH]},
    ],
)
def test_the_amplitude_of_the_whole_is_what_was_asked_for(settings: dict[str, Any]) -> None:
    corners = np.array([[1.0, -1.0, 1.0, -1.0]])  # every input one standard deviation from its mean
    np.testing.assert_allclose(start(settings).diagonal(corners), 2.0)


def test_a_column_means_all_its_features_and_latent_means_w() -> None:
    assert start({**SMOOTH, "columns": ["site"]}).columns == (1, 2)
    assert start({**LINE, "columns": ["latent", "t"]}).columns == (0, 3)
    assert start(SMOOTH).columns is None


def test_a_kernel_of_w_is_constant_where_there_is_no_w() -> None:
    assert start({**LINE, "columns": ["latent"]}, axes=AXES[:3]).kind == "constant"


def test_a_period_is_in_the_units_of_its_column() -> None:
    np.testing.assert_allclose(start({"kind": "periodic", "period": 2.0, "columns": ["t"]}).period, [0.5])


def test_each_input_has_the_lengthscale_of_the_first_smooth_kernel_that_acts_on_it() -> None:
    site = {"kind": "matern52", "columns": ["site"]}
    kernel = start({"kind": "sum", "kernels": [LINE, site, SMOOTH]})
    np.testing.assert_allclose(lengthscales_of(kernel, 4), [1.0, np.sqrt(2), np.sqrt(2), 4.0])
    np.testing.assert_allclose(lengthscales_of(start(LINE), 4), 2.0)
