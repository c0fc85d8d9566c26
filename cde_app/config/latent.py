"""The `model.latent` block: prior, encoder and compositor."""

from __future__ import annotations

import re
from typing import Annotated, ClassVar, Literal

from pydantic import Field, StringConstraints, model_validator

from cde_app.config.section import Fraction, PositiveFloat, PositiveInt, Section
from cde_app.errors import SettingError

NAMES_OF_OTHER_LAYERS = ("inputs", "targets", "input_projection", "output", "likelihood_layer")
"""Of the GPflux model; Keras takes a name once."""


class NormalPrior(Section):
    """w ~ N(0, I)."""

    kind: Literal["normal"] = "normal"


class TFPPrior(Section):
    """Every w_j from a family of TensorFlow Probability; q(w | x, y) is of the same family."""

    kind: Literal["tfp"] = "tfp"
    family: Annotated[str, StringConstraints(min_length=1)]
    """Its name there, such as Laplace, StudentT, Gamma, LogNormal, Beta or MultivariateNormalDiag."""
    parameters: dict[str, float | list[float]]
    """Its parameters by name, such as {loc: 0, scale: 1}: a number, or a list with one for each latent variable."""


class MLPEncoder(Section):
    """q(w | x, y) from a small neural network."""

    kind: Literal["mlp"] = "mlp"
    hidden_units: tuple[PositiveInt, ...] = (20, 20)
    """Units of each hidden layer."""
    activation: Literal["tanh", "relu", "elu", "softplus"] = "tanh"
    """Of the hidden layers."""
    residual: bool = True
    """Show the network the warm start's standardised residual in place of y, and start q(w) from it."""
    skip_connections: bool = False
    """Show every later layer the network's inputs too."""
    dropout: Fraction = 0.0
    """Share of the hidden units that are dropped in a training step [fraction]."""
    initial_width: PositiveFloat | None = None
    """Width of q(w) before training; null = the warm start's posterior [scale of the prior]."""


class PerRowEncoder(Section):
    """q(w | x, y) with a mean and a width of its own for each training row; normal prior and full batches only."""

    kind: Literal["per_row"] = "per_row"
    initial_width: PositiveFloat | None = None
    """Width of q(w) before training; null = the warm start's posterior [scale of the prior]."""


class CompositorSettings(Section):
    """What the checks of the other settings ask of a compositor."""

    widens: ClassVar[bool] = False
    """Whether w has inputs of its own, which kernels may name."""


class ConcatenateCompositor(CompositorSettings):
    """The GPs that see w see [x, w]."""

    widens = True
    kind: Literal["concatenate"] = "concatenate"


class WarpCompositor(CompositorSettings):
    """The GPs that see w see [x, w + Σ s tanh(c (w - b - x B))]: s, c, b and B are learned, so that modes can part."""

    widens = True
    kind: Literal["warp"] = "warp"
    num_steps: PositiveInt | Literal["auto"] = "auto"
    """Summands for each latent variable; auto = 1 below 1000 rows of a training, else 2."""

    def resolved_num_steps(self, num_rows: int) -> int:
        """Return the summands in a training of so many rows, those that it leaves out not counted."""
        if self.num_steps == "auto":
            return 1 if num_rows < 1000 else 2
        return self.num_steps


class AddCompositor(CompositorSettings):
    """The GPs that see w see x + w B; B is learned, and left out where w is as wide as x."""

    kind: Literal["add"] = "add"


class MultiplyCompositor(CompositorSettings):
    """The GPs that see w see x * (w B), element by element; B is learned, and left out where w is as wide as x."""

    kind: Literal["multiply"] = "multiply"


Compositor = ConcatenateCompositor | WarpCompositor | AddCompositor | MultiplyCompositor


class Latent(Section):
    """GPflux's LatentVariableLayer, the first layer."""

    dim: Annotated[int, Field(ge=0)] = 1
    """Latent variables per row; 0 leaves the layer out: a plain (deep) GP."""
    prior: NormalPrior | TFPPrior = Field(default=NormalPrior(), discriminator="kind")
    """p(w)."""
    encoder: MLPEncoder | PerRowEncoder = Field(default=MLPEncoder(), discriminator="kind")
    """q(w | x, y)."""
    compositor: Compositor = Field(default=WarpCompositor(), discriminator="kind")
    """How x and w are joined where a GP sees both."""
    name: str = "latent"
    """Name of the layer; its KL is told as <name>_local_kl: letters, digits, `_`, `.` and `-`."""

    @model_validator(mode="after")
    def _name_is_one_for_keras(self) -> Latent:
        is_taken = self.name in NAMES_OF_OTHER_LAYERS or self.name.startswith("inner_")
        if is_taken or not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]*", self.name):
            raise SettingError(
                ("name",),
                "expected letters, digits, '_', '.' and '-', and not the name of another layer; "
                f"got {self.name!r}. Choose another.",
            )
        return self

    @model_validator(mode="after")
    def _per_row_is_normal(self) -> Latent:
        name = "normal" if self.prior.kind == "normal" else self.prior.family
        if self.encoder.kind == "per_row" and name not in ("normal", "MultivariateNormalDiag"):
            raise SettingError(
                ("prior",),
                "expected 'normal' or the family 'MultivariateNormalDiag', the only priors for which the encoder "
                f"'per_row' has parameters; got {name!r}. Choose one of them, or the encoder 'mlp'.",
            )
        return self
