"""The `model.latent` block: prior, encoder and compositor."""

from __future__ import annotations

import re
from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field, StringConstraints, model_validator

from cde_app.config.section import Fraction, PositiveFloat, PositiveInt, Section
from cde_app.errors import SettingError

NAMES_OF_OTHER_LAYERS = ("inputs", "targets", "input_projection", "output", "likelihood_layer")
"""Names of the other layers of the GPflux model; Keras accepts each name once."""


class NormalPrior(Section):
    """w ~ N(0, I)."""

    kind: Literal["normal"] = "normal"


class TFPPrior(Section):
    """Each w_j follows a distribution of TensorFlow Probability; q(w | x, y) is of the same family."""

    kind: Literal["tfp"] = "tfp"
    family: Annotated[str, StringConstraints(min_length=1)]
    """Name of the distribution, such as Laplace, StudentT, Gamma, LogNormal, Beta or MultivariateNormalDiag."""
    parameters: dict[str, float | list[float]]
    """Parameters by name, such as {loc: 0, scale: 1}; each a number, or a list with one per latent variable."""


class MLPEncoderSettings(Section):
    """q(w | x, y) from a small neural network."""

    kind: Literal["mlp"] = "mlp"
    hidden_units: tuple[PositiveInt, ...] = (20, 20)
    """Units of each hidden layer."""
    activation: Literal["tanh", "relu", "elu", "softplus"] = "tanh"
    """Activation function of the hidden layers."""
    residual: bool = True
    """Feed the network the warm start's standardised residual instead of y, and start q(w) from it."""
    skip_connections: bool = False
    """Feed the network's inputs to every later layer too."""
    dropout: Fraction = 0.0
    """Share of hidden units dropped in a training step [fraction]."""
    initial_width: PositiveFloat | None = None
    """Initial width of q(w); null = that of the warm start's posterior [scale of the prior]."""


class PerRowEncoder(Section):
    """q(w | x, y) with its own mean and width for each training row; needs a normal prior and full batches."""

    kind: Literal["per_row"] = "per_row"
    initial_width: PositiveFloat | None = None
    """Initial width of q(w); null = that of the warm start's posterior [scale of the prior]."""


class CompositorSettings(Section):
    """What the checks of the other settings ask of a compositor."""

    widens: ClassVar[bool] = False
    """Whether w has inputs of its own, which kernels may name."""

    def resolved(self, num_rows: int) -> Self:
        """Return the settings without `auto`, for `num_rows` rows per training, left-out rows excluded."""
        return self


class ConcatenateCompositor(CompositorSettings):
    """The GPs that see w see [x, w]."""

    widens = True
    kind: Literal["concatenate"] = "concatenate"


class WarpCompositor(CompositorSettings):
    """The GPs that see w see [x, w + Σ s tanh(c (w - b - x B))]: s, c, b, B learned; separates modes."""

    widens = True
    kind: Literal["warp"] = "warp"
    num_steps: PositiveInt | Literal["auto"] = "auto"
    """Tanh terms per latent variable; auto = 1 below 1000 rows per training, else 2."""

    def resolved(self, num_rows: int) -> Self:
        """Return the settings with a number of tanh terms, for `num_rows` rows per training, left-out rows excluded."""
        if self.num_steps != "auto":
            return self
        return self.model_copy(update={"num_steps": 1 if num_rows < 1000 else 2})


class AddCompositor(CompositorSettings):
    """The GPs that see w see x + w B; B is learned, and omitted if w is as wide as x."""

    kind: Literal["add"] = "add"


class MultiplyCompositor(CompositorSettings):
    """The GPs that see w see x * (w B), elementwise; B is learned, and omitted if w is as wide as x."""

    kind: Literal["multiply"] = "multiply"


Compositor = ConcatenateCompositor | WarpCompositor | AddCompositor | MultiplyCompositor


class Latent(Section):
    """The latent variables w: GPflux's LatentVariableLayer, the first layer."""

    dim: Annotated[int, Field(ge=0)] = 1
    """Latent variables per row; 0 = no latent layer, a plain (deep) GP."""
    prior: NormalPrior | TFPPrior = Field(default=NormalPrior(), discriminator="kind")
    """Prior p(w)."""
    encoder: MLPEncoderSettings | PerRowEncoder = Field(default=MLPEncoderSettings(), discriminator="kind")
    """Approximate posterior q(w | x, y)."""
    compositor: Compositor = Field(default=WarpCompositor(), discriminator="kind")
    """How x and w are combined for the GPs that see both."""
    name: str = "latent"
    """Name of the layer, of letters, digits, `_`, `.` and `-`; its KL is reported as <name>_local_kl."""

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
