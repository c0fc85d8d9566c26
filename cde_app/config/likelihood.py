"""The noise around the output layer."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from cde_app.config.kernel import Inducing, Kernel, SquaredExponentialKernel
from cde_app.config.section import PositiveFloat, PositiveInt, Section


class NoiseSettings(Section):
    """What the checks of the other settings ask of a likelihood."""

    allows_mixing: ClassVar[bool] = True
    """Whether targets that are mixed have a density in closed form."""
    needs_x: ClassVar[bool] = False
    """Whether the noise varies with x."""


class GaussianLikelihood(NoiseSettings):
    """y = f + e, e normal, one variance per target."""

    kind: Literal["gaussian"] = "gaussian"
    variance_floor: PositiveFloat = 1e-5
    """Smallest noise variance [variance of the standardised target]."""


class HeteroscedasticGaussianLikelihood(NoiseSettings):
    """y = f + e, e normal, with a variance that depends on x: log s^2(x) = b + a(x), one GP a per target."""

    needs_x = True
    kind: Literal["heteroscedastic_gaussian"] = "heteroscedastic_gaussian"
    variance_floor: PositiveFloat = 1e-5
    """Smallest noise variance [variance of the standardised target]."""
    num_inducing: PositiveInt = 32
    """Number of inducing inputs of a."""
    inducing: Inducing = Inducing()
    """How the initial inducing inputs are chosen."""
    kernel: Kernel = SquaredExponentialKernel()
    """Kernel of a."""


class StudentTLikelihood(NoiseSettings):
    """y = f + e, e from Student's t, one scale per target; for tables with outliers."""

    allows_mixing = False
    kind: Literal["student_t"] = "student_t"
    variance_floor: PositiveFloat = 1e-5
    """Smallest squared scale [variance of the standardised target]."""
    degrees_of_freedom: Annotated[float, Field(gt=2)] = 4.0
    """The fewer, the heavier the tails; many = nearly normal."""


Likelihood = GaussianLikelihood | HeteroscedasticGaussianLikelihood | StudentTLikelihood
