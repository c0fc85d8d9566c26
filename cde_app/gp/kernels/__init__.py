"""The kernels in NumPy: one class per kind, with everything that is needed outside TensorFlow."""

from __future__ import annotations

from cde_app.gp.kernels.combination import Combination, Product, Sum
from cde_app.gp.kernels.distance import Stationary
from cde_app.gp.kernels.kernel import Kernel, Leaf, Pullback
from cde_app.gp.kernels.linear import Constant, Linear
from cde_app.gp.kernels.periodic import Periodic
from cde_app.gp.kernels.stationary import Matern12, Matern32, Matern52, RationalQuadratic, SquaredExponential

__all__ = [
    "COMBINATIONS",
    "LEAVES",
    "Combination",
    "Constant",
    "Kernel",
    "Leaf",
    "Linear",
    "Matern12",
    "Matern32",
    "Matern52",
    "Periodic",
    "Product",
    "Pullback",
    "RationalQuadratic",
    "SquaredExponential",
    "Stationary",
    "Sum",
]

LEAVES: dict[str, type[Leaf]] = {
    leaf.kind: leaf
    for leaf in (SquaredExponential, Matern12, Matern32, Matern52, RationalQuadratic, Periodic, Linear, Constant)
}
COMBINATIONS: dict[str, type[Combination]] = {combination.kind: combination for combination in (Sum, Product)}
