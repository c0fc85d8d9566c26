"""The starting point of a model: plain arrays from which `build_model` makes every layer.

Letters: D features, Dw latent variables, P targets, Q GPs of a layer, M inducing inputs.
"""

from __future__ import annotations

from dataclasses import dataclass

from cde_app.arrays import Array
from cde_app.gp.compositor import Compositor
from cde_app.gp.kernels import Kernel
from cde_app.gp.likelihood import Noise
from cde_app.gp.mean_function import MeanFunction


@dataclass(frozen=True)
class GPStart:
    """One sparse GP: hyperparameters, inducing inputs, whitened q(v)."""

    kernel: Kernel
    inducing_inputs: Array
    """[M, D], or with the width of c(x, w)."""
    q_mu: Array
    """[M, Q]."""
    q_sqrt: Array
    """[Q, M, M] lower triangular, or [M, Q] standard deviations of a diagonal q(v)."""
    sees_latent: bool

    @property
    def num_gps(self) -> int:
        """Q."""
        return self.q_mu.shape[1]


@dataclass(frozen=True)
class InnerStart:
    """One inner layer: x <- m(x) + f(.) P."""

    gp: GPStart
    mean: MeanFunction
    """m, [D] to [D']."""
    projection: Array
    """P, [Q, D']."""
    compositor: Compositor
    """c(x, w), the input of f if it sees w."""


@dataclass(frozen=True)
class TrendStart:
    """The warm start's mean k(x, Z) alpha + m(x), which the encoder subtracts from y."""

    kernel: Kernel
    inducing_inputs: Array
    """[M, D]."""
    alpha: Array
    """[M, P]."""
    mean_function: MeanFunction
    """m, [D] to [P]."""
    noise_sd: Array
    """[P], standard deviation of the residual of y."""


@dataclass(frozen=True)
class EncoderStart:
    """q(w | x, y) before training: mean = clip(r) B, sd = s, where r is the standardised residual."""

    trend: TrendStart | None
    """If None, the encoder sees [x, y] and r = y."""
    slope: Array
    """B, [P, Dw]."""
    sd: Array
    """s, [Dw]."""
    means: Array
    """clip(r) B for every training row, [N, Dw]."""


@dataclass(frozen=True)
class ModelStart:
    """The whole model before its first training step."""

    inner_layers: tuple[InnerStart, ...]
    output_terms: tuple[GPStart, ...]
    """Each has one GP per target, or Q GPs that `mixing` mixes."""
    encoder: EncoderStart | None
    """None without latent variables."""
    compositor: Compositor
    """c(x, w), the input of the output terms that see w."""
    noise: Noise
    noise_floor: Array
    """[P], lower limits of the noise variances in training."""
    num_data: int
    """Training rows."""
    output_mean: MeanFunction
    """Added to the output terms, [D'] to [P]."""
    input_projection: Array | None = None
    """A, [D, D']: every GP sees x A; None if they see x."""
    mixing: Array | None = None
    """P, [Q, P]: y = f P + e; None if each target has its own GPs."""
