"""The kernels in NumPy: a class for each kind, with all that is to be known of it outside of TensorFlow."""

from __future__ import annotations

from typing import Any

from cde_app.predictive.kernels.combination import Combination, Product, Sum
from cde_app.predictive.kernels.distance import Stationary
from cde_app.predictive.kernels.kernel import Kernel, Leaf, Pullback
from cde_app.predictive.kernels.linear import Constant, Linear
from cde_app.predictive.kernels.periodic import Periodic
from cde_app.predictive.kernels.stationary import Matern12, Matern32, Matern52, RationalQuadratic, SquaredExponential

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
    "kernel_from_tree",
]

LEAVES: dict[str, type[Leaf]] = {
    leaf.kind: leaf
    for leaf in (SquaredExponential, Matern12, Matern32, Matern52, RationalQuadratic, Periodic, Linear, Constant)
}
COMBINATIONS: dict[str, type[Combination]] = {combination.kind: combination for combination in (Sum, Product)}


def kernel_from_tree(tree: dict[str, Any]) -> Kernel:
    """Rebuild what a kernel's `to_tree` returned.

    Raises:
        ValueError: no kernel has that kind.
    """
    kind = tree["kind"]
    if kind in COMBINATIONS:
        return COMBINATIONS[kind](tuple(map(kernel_from_tree, tree["parts"])))
    if kind not in LEAVES:
        raise ValueError(f"kernel kind must be one of {', '.join([*LEAVES, *COMBINATIONS])}; got {kind!r}")
    parameters = {name: value for name, value in tree.items() if name not in ("kind", "columns")}
    return LEAVES[kind](**parameters, columns=None if tree["columns"] is None else tuple(tree["columns"]))
