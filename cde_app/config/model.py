"""The `model` block: the latent-variable deep GP, and the list of its kernels."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal, NamedTuple

from pydantic import Field, model_validator

from cde_app.config.kernel import CombinedKernel, Kernel, LeafKernel
from cde_app.config.latent import Compositor, Latent
from cde_app.config.layer import AdditiveOutput, InnerLayerSettings, InputProjectionSettings, Output
from cde_app.config.likelihood import GaussianLikelihood, Likelihood
from cde_app.config.section import ColumnName, Fraction, PositiveInt, Section
from cde_app.errors import SettingError

FEWEST_ROWS_FOR_NEIGHBOURS, FEWEST_FEATURES_FOR_NEIGHBOURS = 50, 3
"""On a line or in a plane the inducing inputs lie as close as the rows, and neighbours bring nothing but noise."""


class NeighboursSettings(Section):
    """Features from the nearest training rows: the weighted mean of each of their targets, and the distance."""

    enabled: bool | Literal["auto"] = "auto"
    """auto = if they raise a sparse GP's held-out density; needs three or more features, no split by group or time."""
    count: PositiveInt = 8
    """Number of neighbours per row."""


class ModelSettings(Section):
    """The latent-variable deep GP."""

    targets_model: Literal["joint", "chain"] = "chain"
    """Several targets: chain = p(y1 | x) p(y2 | x, y1) ..., one model per target; joint = one model, shared kernels."""
    chain_order: tuple[ColumnName, ...] = ()
    """Order of the targets in the chain; [] = the order of `data.targets`."""
    neighbours: NeighboursSettings = NeighboursSettings()
    latent: Latent = Latent()
    input_projection: InputProjectionSettings | None = None
    """null = the GPs see x; {dim: 3} = they see three learned linear combinations of x (the encoder sees x)."""
    layers: tuple[InnerLayerSettings, ...] = (InnerLayerSettings(),)
    """Inner GP layers; [] = none, the single-layer GP-CDE."""
    output: Output = Field(default=AdditiveOutput(), discriminator="structure")
    """Output layer, the last GP layer."""
    likelihood: Likelihood = Field(default=GaussianLikelihood(), discriminator="kind")
    """Noise around the output layer."""
    defensive_weight: Fraction = 0.02
    """Total weight of Student's t around the warm start and the climatology before calibration; 0 = none [fraction]."""

    @model_validator(mode="after")
    def _mixing_has_normal_noise(self) -> ModelSettings:
        if self.output.mixing is not None and not self.likelihood.allows_mixing:
            raise SettingError(
                ("output", "mixing"),
                f"expected null with the likelihood {self.likelihood.kind!r}, as mixed targets are normal together "
                f"with normal noise only; got {{num_latent_gps: {self.output.mixing.num_latent_gps}}}. "
                "Set it to null, or choose 'gaussian' or 'heteroscedastic_gaussian'.",
            )
        return self

    def screens_neighbours(self, num_rows: int, num_features: int, *, has_exchangeable_rows: bool) -> bool:
        """Return whether fits to the data decide if neighbours are used.

        Args:
            num_rows: training rows.
            num_features: D of the table.
            has_exchangeable_rows: of the split; in a split by group or time, a training row's nearest are of its own
                group or hour, which a new row does not have.
        """
        return (
            self.neighbours.enabled == "auto"
            and has_exchangeable_rows
            and num_rows >= FEWEST_ROWS_FOR_NEIGHBOURS
            and num_features >= FEWEST_FEATURES_FOR_NEIGHBOURS
            and not self.output.mean.keeps_columns  # which has no target for another feature
        )

    def with_compositor(self, compositor: Compositor) -> ModelSettings:
        """Return the settings with another compositor of the latent layer."""
        return self.model_copy(update={"latent": self.latent.model_copy(update={"compositor": compositor})})

    def widest_factor(self, num_features: int, num_targets: int) -> tuple[int, int]:
        """Return the numbers of features and targets of the model, or of the last model of a chain.

        Args:
            num_features: D of the table; the features of neighbours are added if they are switched on.
            num_targets: P of the table.
        """
        if self.neighbours.enabled is True:
            num_features += num_targets + 1
        if self.targets_model == "joint":
            return num_features, num_targets
        return num_features + num_targets - 1, 1


class KernelPlace(NamedTuple):
    """A kernel that may name columns, and its place in the configuration."""

    path: tuple[str | int, ...]
    kernel: LeafKernel
    sees_latent: bool
    """Whether w is one of its inputs; it is not if w is added to x or multiplies x."""
    mixed_by: tuple[str | int, ...] | None
    """The earlier projection or mean function after which the inputs are no longer columns; None if there is none."""


def kernel_places(model: ModelSettings) -> Iterator[KernelPlace]:
    """Yield every kernel of every layer that may name columns."""
    has_latent = model.latent.dim > 0
    mixed_by: tuple[str | int, ...] | None = None if model.input_projection is None else ("model", "input_projection")
    has_axes = has_latent and model.latent.compositor.widens
    for index, layer in enumerate(model.layers):
        here: tuple[str | int, ...] = ("model", "layers", index)
        for path, kernel in _leaf_kernels(layer.kernel, (*here, "kernel")):
            yield KernelPlace(path, kernel, layer.sees_latent and has_axes, mixed_by)
        if mixed_by is None and not layer.mean.keeps_columns:
            mixed_by = (*here, "mean")
    output = model.output
    sees_latent = has_axes and output.structure == "joint"
    for path, kernel in _leaf_kernels(output.kernel, ("model", "output", "kernel")):
        yield KernelPlace(path, kernel, sees_latent, mixed_by)
    if output.structure == "additive" and has_latent:
        for path, kernel in _leaf_kernels(output.kernel_latent, ("model", "output", "kernel_latent")):
            yield KernelPlace(path, kernel, has_axes, mixed_by)
    kernel_of_noise: Kernel | None = getattr(model.likelihood, "kernel", None)
    if kernel_of_noise is not None:
        for path, kernel in _leaf_kernels(kernel_of_noise, ("model", "likelihood", "kernel")):
            yield KernelPlace(path, kernel, False, None)


def _leaf_kernels(kernel: Kernel, path: tuple[str | int, ...]) -> Iterator[tuple[tuple[str | int, ...], LeafKernel]]:
    if isinstance(kernel, CombinedKernel):
        for index, part in enumerate(kernel.kernels):
            yield from _leaf_kernels(part, (*path, "kernels", index))
    elif isinstance(kernel, LeafKernel):
        yield path, kernel
