"""Kernels, and the initial inducing inputs."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from cde_app.config.section import ColumnName, PositiveFloat, Section

LATENT_COLUMN = "latent"
"""The name that stands for the latent variables in a kernel's `columns`."""
NEIGHBOURS_COLUMN = "neighbours"
"""The name that stands for the features from the nearest rows in a kernel's `columns`."""


class KernelSettings(Section):
    """What the checks of the other settings need to know about a kernel."""

    numeric_only: ClassVar[bool] = False
    """Whether it acts on numeric columns only."""


class SquaredExponentialKernel(KernelSettings):
    """Infinitely smooth functions, one lengthscale per input."""

    kind: Literal["squared_exponential"] = "squared_exponential"
    columns: tuple[ColumnName, ...] = ()
    """Inputs the kernel acts on: columns, earlier targets of a chain, neighbours, latent (w); [] = all."""


class MaternKernel(KernelSettings):
    """Rougher functions, one lengthscale per input."""

    kind: Literal["matern12", "matern32", "matern52"]
    columns: tuple[ColumnName, ...] = ()
    """Inputs the kernel acts on: columns, earlier targets of a chain, neighbours, latent (w); [] = all."""


class RationalQuadraticKernel(KernelSettings):
    """Smooth functions that vary on long and short scales, one lengthscale per input."""

    kind: Literal["rational_quadratic"] = "rational_quadratic"
    alpha: PositiveFloat = 1.0
    """Initial exponent; the larger it is, the closer to squared_exponential."""
    columns: tuple[ColumnName, ...] = ()
    """Inputs the kernel acts on: columns, earlier targets of a chain, neighbours, latent (w); [] = all."""


class PeriodicKernel(KernelSettings):
    """Functions that repeat exactly, smooth within a period; numeric columns only."""

    numeric_only = True
    kind: Literal["periodic"] = "periodic"
    period: PositiveFloat
    """Initial period [units of the column; standard deviations for inputs that are not in data.inputs]."""
    columns: tuple[ColumnName, ...] = ()
    """Inputs the kernel acts on: columns, earlier targets of a chain, neighbours, latent (w); [] = all."""


class LinearKernel(KernelSettings):
    """Planes through the origin, one variance per input; they extrapolate beyond the training rows."""

    kind: Literal["linear"] = "linear"
    columns: tuple[ColumnName, ...] = ()
    """Inputs the kernel acts on: columns, earlier targets of a chain, neighbours, latent (w); [] = all."""


class ConstantKernel(Section):
    """One unknown level for all rows."""

    kind: Literal["constant"] = "constant"


class SumKernel(Section):
    """The sum of several kernels: a sum of functions."""

    kind: Literal["sum"] = "sum"
    kernels: tuple[Kernel, ...] = Field(min_length=2)
    """The summands, of any kind."""


class ProductKernel(Section):
    """The product of several kernels: two rows are similar only if every factor finds them similar."""

    kind: Literal["product"] = "product"
    kernels: tuple[Kernel, ...] = Field(min_length=2)
    """The factors, of any kind."""


LeafKernel = SquaredExponentialKernel | MaternKernel | RationalQuadraticKernel | PeriodicKernel | LinearKernel
"""Kernels with `columns`."""
CombinedKernel = SumKernel | ProductKernel
"""Kernels made of kernels."""
Kernel = Annotated[LeafKernel | ConstantKernel | CombinedKernel, Field(discriminator="kind")]
SumKernel.model_rebuild()
ProductKernel.model_rebuild()


class Inducing(Section):
    """Initial inducing inputs: k-means centres, or one by one the row with the largest remaining variance."""

    kind: Literal["kmeans", "greedy_variance"] = "kmeans"
