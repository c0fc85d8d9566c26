"""The kernels on which every test runs that holds for all of them; each acts on three inputs."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from cde_app.gp.kernels import (
    Constant,
    Kernel,
    Linear,
    Matern12,
    Matern32,
    Matern52,
    Periodic,
    Product,
    RationalQuadratic,
    SquaredExponential,
    Sum,
)

if TYPE_CHECKING:
    import gpflow

LENGTHSCALES = np.array([0.7, 1.5, 2.0])
KERNELS: dict[str, Kernel] = {
    "squared_exponential": SquaredExponential(1.3, LENGTHSCALES),
    "matern12": Matern12(1.3, LENGTHSCALES),
    "matern32": Matern32(1.3, LENGTHSCALES),
    "matern52": Matern52(1.3, LENGTHSCALES),
    "rational_quadratic": RationalQuadratic(1.3, LENGTHSCALES, 0.6),
    "periodic": Periodic(1.3, LENGTHSCALES, np.array([2.0, 3.0, 5.0])),
    "linear": Linear(np.array([0.5, 0.1, 0.9])),
    "constant": Constant(0.7),
    "columns": Matern52(0.8, np.array([0.7, 2.0]), columns=(2, 0)),
    "periodic_columns": Periodic(0.8, np.array([0.7, 1.1]), np.array([2.0, 3.0]), columns=(2, 1)),
    "linear_columns": Linear(np.array([0.4, 0.7]), columns=(0, 2)),
}
KERNELS["sum"] = Sum((KERNELS["squared_exponential"], KERNELS["matern32"]))
KERNELS["product"] = Product((KERNELS["periodic_columns"], KERNELS["matern32"], KERNELS["linear_columns"]))
KERNELS["nested"] = Sum((KERNELS["product"], KERNELS["constant"], Product((KERNELS["sum"], KERNELS["columns"]))))


def gpflow_parameters(kernel: gpflow.kernels.Kernel, ours: Kernel) -> list[gpflow.Parameter]:
    """Return the parameters of GPflow's kernel in the order of the log parameters of ours."""
    return [
        getattr(leaf if hasattr(leaf, name) else leaf.base_kernel, name)
        for leaf, our_leaf in zip(_leaves(kernel), ours.leaves(), strict=True)
        for name in our_leaf.parameter_names()
    ]


def _leaves(kernel: gpflow.kernels.Kernel) -> list[gpflow.kernels.Kernel]:
    import gpflow

    if isinstance(kernel, gpflow.kernels.Combination):
        return [leaf for part in kernel.kernels for leaf in _leaves(part)]
    return [kernel]
