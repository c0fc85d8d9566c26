"""GP layers, inner ones and the output layer, with their mean functions and linear maps."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field

from cde_app.config.kernel import Inducing, Kernel, Matern, SquaredExponential, SumKernel
from cde_app.config.section import PositiveInt, Section


class MeanSettings(Section):
    """What is asked of a mean function beside its start and its values."""

    keeps_columns: ClassVar[bool] = False
    """Whether the outputs are the inputs one by one: as many, and kernels behind may name their columns."""


class ZeroMean(MeanSettings):
    """m(x) = 0."""

    kind: Literal["zero"] = "zero"


class IdentityMean(MeanSettings):
    """m(x) = x."""

    keeps_columns = True
    kind: Literal["identity"] = "identity"


class PCAMean(MeanSettings):
    """m(x) = x A, A the leading principal directions of the training inputs."""

    kind: Literal["pca"] = "pca"


class ConstantMean(MeanSettings):
    """m(x) = b, trained."""

    kind: Literal["constant"] = "constant"


class LinearMean(MeanSettings):
    """m(x) = x A + b, trained; starts as pca or, in an output layer, as the least-squares plane."""

    kind: Literal["linear"] = "linear"


InnerMean = ZeroMean | IdentityMean | PCAMean | ConstantMean | LinearMean
OutputMean = ZeroMean | IdentityMean | ConstantMean | LinearMean


class InnerLayer(Section):
    """An inner GP layer: x <- m(x) + P f(x), f made of independent GPs."""

    num_gps: PositiveInt = 5
    """Independent GPs (at most as many as there are features)."""
    num_inducing: PositiveInt = 64
    """Inducing inputs."""
    inducing: Inducing = Inducing()
    """Where the inducing inputs start."""
    kernel: Kernel = SquaredExponential()
    """Kernel of f."""
    mean: InnerMean = Field(default=IdentityMean(), discriminator="kind")
    """identity keeps the width and adds the GPs along the leading principal directions; others narrow to num_gps."""
    sees_latent: bool = False
    """False: f sees x and its draw is shared by all latent draws of a row. True: f sees c(x, w)."""


class InputProjection(Section):
    """Every GP sees x A in place of x, A [D, dim] learned; it starts at the leading principal directions."""

    dim: PositiveInt
    """Width of x A (at most that of x)."""


class OutputMixing(Section):
    """y = f P + e: each term has num_latent_gps GPs in place of one per target, and a learned P mixes them."""

    num_latent_gps: PositiveInt
    """Independent GPs of each term (at most as many as there are targets)."""


class AdditiveOutput(Section):
    """y = g(x) + h(x, w): two sparse GPs, each with inducing inputs of its own."""

    structure: Literal["additive"] = "additive"
    num_inducing: PositiveInt = 128
    """Inducing inputs of g."""
    num_inducing_latent: PositiveInt = 64
    """Inducing inputs of h."""
    inducing: Inducing = Inducing()
    """Where the inducing inputs start."""
    kernel: Kernel = SumKernel(kernels=(SquaredExponential(), Matern(kind="matern32")))
    """Kernel of g."""
    kernel_latent: Kernel = SquaredExponential()
    """Kernel of h."""
    mixing: OutputMixing | None = None
    """null = a GP per target; {num_latent_gps: 2} = GPs that the targets share, so that they depend on each other."""
    mean: OutputMean = Field(default=ZeroMean(), discriminator="kind")
    """Added to g(x) + h(x, w)."""


class JointOutput(Section):
    """y = f(x, w): one sparse GP on c(x, w); as in the papers with the compositor `concatenate`."""

    structure: Literal["joint"] = "joint"
    num_inducing: PositiveInt = 128
    """Inducing inputs."""
    inducing: Inducing = Inducing()
    """Where the inducing inputs start."""
    kernel: Kernel = SquaredExponential()
    """Kernel of f."""
    mean: OutputMean = Field(default=ZeroMean(), discriminator="kind")
    """Added to f(x, w)."""
    mixing: OutputMixing | None = None
    """null = a GP per target; {num_latent_gps: 2} = GPs that the targets share, so that they depend on each other."""


Output = AdditiveOutput | JointOutput
