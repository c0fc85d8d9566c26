"""GP layers: inner layers and the output layer, with their mean functions and linear maps."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field

from cde_app.config.kernel import Inducing, Kernel, MaternKernel, SquaredExponentialKernel, SumKernel
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
    """m(x) = x A + b, trained; starts as pca, or as the least-squares plane in an output layer."""

    kind: Literal["linear"] = "linear"


InnerMean = ZeroMean | IdentityMean | PCAMean | ConstantMean | LinearMean
OutputMean = ZeroMean | IdentityMean | ConstantMean | LinearMean


class InnerLayerSettings(Section):
    """An inner GP layer: x <- m(x) + P f(x), with f a vector of independent GPs."""

    num_gps: PositiveInt = 5
    """Number of independent GPs (at most the number of features)."""
    num_inducing: PositiveInt = 64
    """Number of inducing inputs."""
    inducing: Inducing = Inducing()
    """How the initial inducing inputs are chosen."""
    kernel: Kernel = SquaredExponentialKernel()
    """Kernel of f."""
    mean: InnerMean = Field(default=IdentityMean(), discriminator="kind")
    """identity keeps the width and adds the GPs along the leading principal directions; others reduce it to num_gps."""
    sees_latent: bool = False
    """false = f sees x, and all latent draws of a row share its draw; true = f sees c(x, w)."""


class InputProjectionSettings(Section):
    """Every GP sees x A instead of x; A [D, dim] is learned and starts at the leading principal directions."""

    dim: PositiveInt
    """Width of x A (at most the width of x)."""


class OutputMixing(Section):
    """y = f P + e: each term has num_latent_gps GPs instead of one per target, and a learned P mixes them."""

    num_latent_gps: PositiveInt
    """Number of independent GPs in each term (at most the number of targets)."""


class AdditiveOutput(Section):
    """y = g(x) + h(x, w): two sparse GPs, each with its own inducing inputs."""

    structure: Literal["additive"] = "additive"
    num_inducing: PositiveInt = 128
    """Number of inducing inputs of g."""
    num_inducing_latent: PositiveInt = 64
    """Number of inducing inputs of h."""
    inducing: Inducing = Inducing()
    """How the initial inducing inputs are chosen."""
    kernel: Kernel = SumKernel(kernels=(SquaredExponentialKernel(), MaternKernel(kind="matern32")))
    """Kernel of g."""
    kernel_latent: Kernel = SquaredExponentialKernel()
    """Kernel of h."""
    mixing: OutputMixing | None = None
    """null = one GP per target; {num_latent_gps: 2} = two GPs shared by all targets, which makes them dependent."""
    mean: OutputMean = Field(default=ZeroMean(), discriminator="kind")
    """Mean function, added to g(x) + h(x, w)."""


class JointOutput(Section):
    """y = f(x, w): one sparse GP on c(x, w); with the compositor `concatenate`, the layer of the papers."""

    structure: Literal["joint"] = "joint"
    num_inducing: PositiveInt = 128
    """Number of inducing inputs."""
    inducing: Inducing = Inducing()
    """How the initial inducing inputs are chosen."""
    kernel: Kernel = SquaredExponentialKernel()
    """Kernel of f."""
    mean: OutputMean = Field(default=ZeroMean(), discriminator="kind")
    """Mean function, added to f(x, w)."""
    mixing: OutputMixing | None = None
    """null = one GP per target; {num_latent_gps: 2} = two GPs shared by all targets, which makes them dependent."""


Output = AdditiveOutput | JointOutput
