"""From the settings of a kernel to its starting hyperparameters; column names become the inputs of a layer here.

Letters: D inputs of a layer, P targets.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from cde_app import config
from cde_app.arrays import Array
from cde_app.predictive.compositor import Compositor
from cde_app.predictive.kernels import COMBINATIONS, LEAVES, Constant, Kernel, Stationary


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
    if isinstance(settings, config.CombinedKernel):
        combination = COMBINATIONS[settings.kind]
        shares = zip(settings.kernels, combination.shares(variance, len(settings.kernels)), strict=True)
        return combination(
            tuple(start_kernel(part, axes=axes, variance=share, lengthscales=lengthscales) for part, share in shares)
        )
    columns, scales = None, np.array([axis.scale for axis in axes])
    if isinstance(settings, config.LeafKernel) and settings.columns:
        columns = tuple(index for index, axis in enumerate(axes) if axis.column in settings.columns)
        if not columns:
            return Constant(variance)
        lengthscales, scales = np.minimum(lengthscales[list(columns)], np.sqrt(len(columns))), scales[list(columns)]
    return LEAVES[settings.kind].start(
        settings, variance=variance, lengthscales=lengthscales, scales=scales, columns=columns
    )


def lengthscales_of(kernel: Kernel, num_inputs: int) -> Array:
    """Return the lengthscale of each input in the first stationary kernel that acts on it, sqrt(D) where none does."""
    lengthscales = np.full(num_inputs, np.sqrt(num_inputs))
    for leaf in reversed(kernel.leaves()):
        if isinstance(leaf, Stationary):
            lengthscales[slice(None) if leaf.columns is None else list(leaf.columns)] = leaf.lengthscales
    return lengthscales
