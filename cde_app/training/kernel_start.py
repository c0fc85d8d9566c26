"""From the settings of a kernel to its starting hyperparameters; column names become the inputs of a layer here.

Letters: D inputs of a layer, P targets.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cde_app import config
from cde_app.predictive.compositor import Compositor
from cde_app.predictive.sparse_gp import Kernel, combined

Array = NDArray[np.float64]

STATIONARY = ("squared_exponential", "matern12", "matern32", "matern52", "rational_quadratic")


@dataclass(frozen=True)
class Axis:
    """One input of a layer."""

    column: str
    """The column of the table that it comes from, an input or a target earlier in a chain; `neighbours` for a feature
    of the nearest rows, `latent` for a latent variable, empty for a mixture of columns."""
    scale: float = 1.0
    """Length of one standardised unit [units of an input column]; 1 for all that is no input column."""


def latent_axes(latent_dim: int) -> tuple[Axis, ...]:
    """Return the axes of w."""
    return (Axis(config.LATENT_COLUMN),) * latent_dim


def neighbour_axes(num_targets: int) -> tuple[Axis, ...]:
    """Return the axes of the P + 1 features of the nearest rows."""
    return (Axis(config.NEIGHBOURS_COLUMN),) * (num_targets + 1)


def composed_axes(compositor: Compositor, axes: tuple[Axis, ...], *, latent_dim: int) -> tuple[Axis, ...]:
    """Return the axes of c(x, w); where w is added to x or multiplies it, the features keep their names."""
    return axes + latent_axes(latent_dim) if compositor.widens else axes


def start_kernel(settings: config.Kernel, *, axes: tuple[Axis, ...], variance: float, lengthscales: Array) -> Kernel:
    """Return the kernel that the settings name, with k(x, x) = `variance`, of a linear kernel on average.

    A sum shares the variance equally; in a product the first factor has it and the others 1. The inputs are
    standardised, so that d of them with variances v / d make a linear kernel of variance v. A leaf whose columns are
    none of the axes is constant: so is a kernel of w where the regression on x alone starts, one of a target in the
    factors of a chain up to that target's own, and one of the nearest rows where the screening left them out.

    Args:
        settings: the kernel.
        axes: [D], the inputs of the layer.
        variance: amplitude of the whole kernel.
        lengthscales: [D]; a leaf with columns of its own takes at most the square root of their number.
    """
    if isinstance(settings, config.SumKernel | config.ProductKernel):
        first, others = (variance, 1.0) if settings.kind == "product" else (variance / len(settings.kernels),) * 2
        parts = tuple(
            start_kernel(part, axes=axes, variance=others if index else first, lengthscales=lengthscales)
            for index, part in enumerate(settings.kernels)
        )
        return combined(settings.kind, parts)
    if settings.kind == "constant":
        return Kernel("constant", variance, np.empty(0))
    columns, scales = None, np.array([axis.scale for axis in axes])
    if settings.columns:
        columns = tuple(index for index, axis in enumerate(axes) if axis.column in settings.columns)
        if not columns:
            return Kernel("constant", variance, np.empty(0))
        lengthscales, scales = np.minimum(lengthscales[list(columns)], np.sqrt(len(columns))), scales[list(columns)]
    match settings.kind:
        case "linear":
            return Kernel("linear", np.full(len(scales), variance / len(scales)), np.empty(0), columns=columns)
        case "periodic":
            period = settings.period / scales
            return Kernel("periodic", variance, np.ones(len(scales)), columns=columns, period=period)
        case "rational_quadratic":
            return Kernel(settings.kind, variance, np.array(lengthscales, float), columns=columns, alpha=settings.alpha)
    return Kernel(settings.kind, variance, np.array(lengthscales, float), columns=columns)


def lengthscales_of(kernel: Kernel, num_inputs: int) -> Array:
    """Return the lengthscale of each input in the first stationary kernel that acts on it, sqrt(D) where none does."""
    lengthscales = np.full(num_inputs, np.sqrt(num_inputs))
    for leaf in reversed(kernel.leaves()):
        if leaf.kind in STATIONARY:
            lengthscales[slice(None) if leaf.columns is None else list(leaf.columns)] = leaf.lengthscales
    return lengthscales
