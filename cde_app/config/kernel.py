"""Kernels, and where their inducing inputs start."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from cde_app.config.section import ColumnName, PositiveFloat, Section

LATENT_COLUMN = "latent"
"""The name of the latent variables among a kernel's columns."""
NEIGHBOURS_COLUMN = "neighbours"
"""The name of the features from the nearest rows there."""


class SquaredExponential(Section):
    """Infinitely smooth functions, one lengthscale per input."""

    kind: Literal["squared_exponential"] = "squared_exponential"
    columns: tuple[ColumnName, ...] = ()
    """Inputs that the kernel acts on: columns, targets before it in a chain, neighbours, latent (w); [] = all."""


class Matern(Section):
    """Rougher functions, one lengthscale per input."""

    kind: Literal["matern12", "matern32", "matern52"]
    columns: tuple[ColumnName, ...] = ()
    """Inputs that the kernel acts on: columns, targets before it in a chain, neighbours, latent (w); [] = all."""


class RationalQuadratic(Section):
    """Smooth functions that vary on long and short scales, one lengthscale per input."""

    kind: Literal["rational_quadratic"] = "rational_quadratic"
    alpha: PositiveFloat = 1.0
    """Where the exponent starts; the larger, the nearer to squared_exponential."""
    columns: tuple[ColumnName, ...] = ()
    """Inputs that the kernel acts on: columns, targets before it in a chain, neighbours, latent (w); [] = all."""


class Periodic(Section):
    """Functions that repeat themselves for ever, smooth within a period; of numeric columns."""

    kind: Literal["periodic"] = "periodic"
    period: PositiveFloat
    """Where the period starts [units of the column; standard deviations of what is no column of data.inputs]."""
    columns: tuple[ColumnName, ...] = ()
    """Inputs that the kernel acts on: columns, targets before it in a chain, neighbours, latent (w); [] = all."""


class Linear(Section):
    """Planes through the origin, one variance per input; they go on beyond the training rows."""

    kind: Literal["linear"] = "linear"
    columns: tuple[ColumnName, ...] = ()
    """Inputs that the kernel acts on: columns, targets before it in a chain, neighbours, latent (w); [] = all."""


class ConstantKernel(Section):
    """One unknown level for all rows."""

    kind: Literal["constant"] = "constant"


class SumKernel(Section):
    """The sum of several kernels: a sum of functions."""

    kind: Literal["sum"] = "sum"
    kernels: tuple[Kernel, ...] = Field(min_length=2)
    """The summands, of any kind."""


class ProductKernel(Section):
    """The product of several kernels: a function that needs all of them to be near."""

    kind: Literal["product"] = "product"
    kernels: tuple[Kernel, ...] = Field(min_length=2)
    """The factors, of any kind."""


LeafKernel = SquaredExponential | Matern | RationalQuadratic | Periodic | Linear
"""Those that name columns."""
CombinedKernel = SumKernel | ProductKernel
"""Those that have kernels."""
Kernel = Annotated[LeafKernel | ConstantKernel | CombinedKernel, Field(discriminator="kind")]
SumKernel.model_rebuild()
ProductKernel.model_rebuild()


class Inducing(Section):
    """Where the inducing inputs start: at centres of clusters, or where the GP varies most given those before."""

    kind: Literal["kmeans", "greedy_variance"] = "kmeans"
