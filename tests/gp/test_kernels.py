"""Kernels against their formulas, written out point by point; tests/model has them against GPflow."""

from __future__ import annotations

import math

import numpy as np
import pytest

from cde_app.gp.kernels import LEAVES, Kernel, Product, Sum
from cde_app.trees import from_tree
from tests.kernel_zoo import KERNELS, LENGTHSCALES
from tests.storing import stored_and_read

SMOOTH = ("squared_exponential", "matern12", "matern32", "matern52", "rational_quadratic")


def written_out(kind: str, variance: float, x: np.ndarray, z: np.ndarray) -> float:
    """The kernel of two points: Rasmussen and Williams (2006), equations 4.9, 4.17, D = 1/2 of 4.14, and 4.19."""
    r = math.sqrt(sum(((a - b) / scale) ** 2 for a, b, scale in zip(x, z, LENGTHSCALES, strict=True)))
    return {
        "squared_exponential": variance * math.exp(-(r**2) / 2),
        "matern12": variance * math.exp(-r),
        "matern32": variance * (1 + math.sqrt(3) * r) * math.exp(-math.sqrt(3) * r),
        "matern52": variance * (1 + math.sqrt(5) * r + 5 * r**2 / 3) * math.exp(-math.sqrt(5) * r),
        "rational_quadratic": variance * (1 + r**2 / 1.2) ** -0.6,
    }[kind]


def points(seed: int = 1) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    return random.normal(size=(6, 3)), random.normal(size=(5, 3))


@pytest.mark.parametrize("kind", SMOOTH)
def test_a_kernel_is_its_formula(kind: str) -> None:
    X, Z = (100.0 + 2.0 * rows for rows in points())
    expected = [[written_out(kind, 1.3, x, z) for z in Z] for x in X]
    np.testing.assert_allclose(KERNELS[kind].covariance(X, Z), expected, rtol=1e-10)


@pytest.mark.parametrize("kind", SMOOTH)
def test_the_kernel_of_a_point_with_itself_is_the_variance(kind: str) -> None:
    X, _ = points()
    # Of |x|^2 - 2 x x + |x|^2 rounding leaves 1e-16, and Matern 1/2 takes its root.
    np.testing.assert_allclose(np.diag(KERNELS[kind].covariance(X, X)), 1.3, rtol=1e-7)


def test_a_sum_and_a_product_combine_the_values_of_their_parts() -> None:
    X, Z = points()
    parts = (KERNELS["matern12"], KERNELS["linear_columns"], KERNELS["periodic"])
    one, two, three = (part.covariance(X, Z) for part in parts)
    np.testing.assert_allclose(Sum(parts).covariance(X, Z), one + two + three, rtol=1e-14)
    np.testing.assert_allclose(Product(parts).covariance(X, Z), one * two * three, rtol=1e-14)


@pytest.mark.parametrize("name", KERNELS)
def test_the_covariance_that_comes_with_a_gradient_is_that_of_prediction(name: str) -> None:
    X, Z = points()
    np.testing.assert_allclose(KERNELS[name].with_pullback(X, Z)[0], KERNELS[name].covariance(X, Z), rtol=1e-12)


@pytest.mark.parametrize("name", KERNELS)
def test_the_gradient_of_a_kernel_is_finite_where_points_coincide(name: str) -> None:
    X, _ = points()
    for part in KERNELS[name].with_pullback(X, X)[1](np.ones((6, 6))):
        assert np.isfinite(part).all()


@pytest.mark.parametrize("name", KERNELS)
def test_log_parameters_come_back(name: str) -> None:
    kernel = KERNELS[name]
    logs = kernel.log_parameters() + 0.1
    np.testing.assert_allclose(kernel.with_log_parameters(logs).log_parameters(), logs, rtol=1e-12)


@pytest.mark.parametrize("name", KERNELS)
def test_a_kernel_survives_its_tree(name: str) -> None:
    kernel, (X, Z) = KERNELS[name], points()
    twin = stored_and_read(kernel, Kernel)
    np.testing.assert_array_equal(twin.covariance(X, Z), kernel.covariance(X, Z))
    assert [(leaf.kind, leaf.columns) for leaf in twin.leaves()] == [
        (leaf.kind, leaf.columns) for leaf in kernel.leaves()
    ]
    assert type(twin) is type(kernel)


def test_an_unknown_kernel_is_refused() -> None:
    with pytest.raises(ValueError, match=r"Kernel: kind must be one of .*matern52, .*sum, product; got 'cosine'"):
        from_tree(Kernel, {"kind": "cosine", "variance": 1.0, "columns": None})


def test_the_variance_is_a_leafs_first_parameter() -> None:
    for leaf in LEAVES.values():
        assert leaf.parameter_names()[0] == "variance"
