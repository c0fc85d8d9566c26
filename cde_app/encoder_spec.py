"""What an encoder of one's own is made for, and the name by which a run remembers it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any


@dataclass(frozen=True)
class EncoderSpec:
    """What one training asks of its encoder, which maps [x, y] to the free parameters of q(w | x, y)."""

    num_features: int
    """D, standardised features: the encoded inputs, with those of the neighbours and, in a chain, the earlier
    targets."""
    num_targets: int
    """P, standardised targets; 1 in a chain."""
    latent_dim: int
    """Dw, latent variables."""
    parameters: tuple[str, ...]
    """Names of the free parameters of the prior's family, in their order; (loc, scale_diag) for the normal."""
    num_rows: int
    """N, rows of the training."""
    seed: int
    """Seed of the training; each has its own."""

    @property
    def num_outputs(self) -> int:
        """Width of an encoder that returns all parameters in one tensor."""
        return len(self.parameters) * self.latent_dim


MakeEncoder = Callable[[EncoderSpec], Any]
"""Makes the encoder of one training: a Keras layer that has not been trained."""


def name_of(make_encoder: MakeEncoder | None) -> str | None:
    """Return the qualified name of the function or class, such as `experiments.make_encoder`; None if there is none."""
    if make_encoder is None:
        return None
    made_of = make_encoder.func if isinstance(make_encoder, partial) else make_encoder
    named = made_of if hasattr(made_of, "__qualname__") else type(made_of)
    return f"{named.__module__}.{named.__qualname__}"
