"""Assemble the model: a GPflux `DeepGP` of a latent layer, inner GP layers, an output layer and a likelihood."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from gpflux.models import DeepGP

from cde_app import config
from cde_app.model.compositor import build_compositor
from cde_app.model.latent import LatentLayer, build_latent_layer
from cde_app.model.layers import InnerGPLayer, InputProjection, OutputGPLayer
from cde_app.model.likelihood import TrainedNoise, build_likelihood
from cde_app.model.own_encoder import OwnEncoder
from cde_app.model.start import ModelStart


@dataclass(frozen=True)
class Model:
    """The layers by their roles; `deep_gp` is the same objects combined in a GPflux model."""

    deep_gp: DeepGP
    latent: LatentLayer | None
    input_projection: InputProjection | None
    inner_layers: tuple[InnerGPLayer, ...]
    output: OutputGPLayer
    likelihood: TrainedNoise
    num_data: int

    @property
    def own_encoder(self) -> OwnEncoder | None:
        """The encoder, if it is one of the user's own."""
        encoder = None if self.latent is None else self.latent.encoder
        return encoder if isinstance(encoder, OwnEncoder) else None


def build_model(
    settings: config.ModelSettings,
    start: ModelStart,
    *,
    num_features: int,
    seed: int,
    own_encoder: OwnEncoder | None = None,
) -> Model:
    """Return the model at its starting point.

    Args:
        settings: the configuration's `model` block.
        start: hyperparameters, inducing inputs and q of every layer.
        num_features: D, standardised features.
        seed: seed of the encoder's initial weights, and of draws for which a layer is given no seed.
        own_encoder: takes the place of the configured encoder.
    """
    with _without_deprecations_of_gpflux():
        num_targets = len(start.noise.variance)
        latent_dim = settings.latent.dim
        compositor = build_compositor(start.compositor)
        latent = None
        if latent_dim and start.encoder is not None:
            latent = build_latent_layer(
                settings.latent,
                start.encoder,
                compositor,
                num_features=num_features,
                num_targets=num_targets,
                seed=seed,
                own_encoder=own_encoder,
            )
        input_projection = None
        if start.input_projection is not None:
            input_projection = InputProjection(start.input_projection, latent_dim=latent_dim)
        inner_layers = tuple(
            InnerGPLayer(inner, index=index, latent_dim=latent_dim, num_data=start.num_data, seed=seed)
            for index, inner in enumerate(start.inner_layers)
        )
        output = OutputGPLayer(
            start.output_terms,
            start.output_mean,
            compositor,
            start.mixing,
            latent_dim=latent_dim,
            num_data=start.num_data,
            name="output",
        )
        likelihood = build_likelihood(start.noise, start.noise_floor)
        layers = [layer for layer in (latent, input_projection, *inner_layers, output) if layer is not None]
        deep_gp = DeepGP(layers, likelihood, input_dim=num_features, target_dim=num_targets, num_data=start.num_data)
        return Model(deep_gp, latent, input_projection, inner_layers, output, likelihood, start.num_data)


@contextmanager
def _without_deprecations_of_gpflux() -> Iterator[None]:
    """Hide the warning that GPflux's own layers use a class that it deprecates."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Call to deprecated class TrackableLayer")
        yield
