"""The `model.latent` block: prior, encoder and compositor."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, StringConstraints, model_validator

from cde_app.config.section import Fraction, PositiveFloat, PositiveInt, Section
from cde_app.errors import SettingError


class NormalPrior(Section):
    """w ~ N(0, I)."""

    kind: Literal["normal"] = "normal"


class TFPPrior(Section):
    """Every w_j from a family of TensorFlow Probability; q(w | x, y) is of the same family."""

    kind: Literal["tfp"] = "tfp"
    family: Annotated[str, StringConstraints(min_length=1)]
    """Its name there, such as Laplace, Logistic, StudentT, Gumbel, Gamma, LogNormal, Beta or Kumaraswamy."""
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


class ConcatenateCompositor(Section):
    """The GPs that see w see [x, w]."""

    kind: Literal["concatenate"] = "concatenate"


class WarpCompositor(Section):
    """The GPs that see w see [x, w + Σ s tanh(c (w - b - x B))]: s, c, b and B are learned, so that modes can part."""

    kind: Literal["warp"] = "warp"
    num_steps: PositiveInt | Literal["auto"] = "auto"
    """Summands for each latent variable; auto = 1 below 1000 rows of a training, else 2."""

    def resolved_num_steps(self, num_rows: int) -> int:
        """Return the summands in a training of so many rows, those that it leaves out not counted."""
        if self.num_steps == "auto":
            return 1 if num_rows < 1000 else 2
        return self.num_steps


class AddCompositor(Section):
    """The GPs that see w see x + w B; B is learned, and left out where w is as wide as x."""

    kind: Literal["add"] = "add"


class MultiplyCompositor(Section):
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
    """Name of the layer and of its KL metric."""

    @model_validator(mode="after")
    def _per_row_is_normal(self) -> Latent:
        if self.encoder.kind == "per_row" and self.prior.kind != "normal":
            raise SettingError(
                ("prior",),
                "expected 'normal', the only prior for which the encoder 'per_row' has parameters; "
                f"got {self.prior.kind!r}. Choose it, or the encoder 'mlp'.",
            )
        return self
