"""From the trained TensorFlow model to the `Posterior` that prediction uses."""

from __future__ import annotations

import numpy as np
from gpflux.layers import GPLayer

from cde_app import config
from cde_app.gp.sparse_gp import SparseGP
from cde_app.model.build import Model
from cde_app.model.compositor import read_compositor
from cde_app.model.kernels import read_kernel
from cde_app.model.moments import whitening_matrix
from cde_app.predictive.defence import Defence
from cde_app.predictive.nodes import gaussian_nodes, split_outermost
from cde_app.predictive.posterior import InnerLayer, Posterior
from cde_app.targets import TargetTransform


def export_posterior(
    model: Model,
    settings: config.ModelSettings,
    transforms: tuple[TargetTransform, ...],
    defence: Defence | None,
    *,
    num_components: int,
    seed: int,
) -> Posterior:
    """Return the model as arrays.

    Args:
        model: the trained model.
        settings: the `model` block.
        transforms: one per target.
        defence: the defensive components.
        num_components: C, nodes of the Sobol sequence; one if the model has no draws.
        seed: for the scrambling of the sequence.
    """
    inner_layers = tuple(
        InnerLayer(
            export_gp(layer.gp, sees_latent=layer.sees_latent),
            layer.mean.read(),
            layer.projection.numpy(),
            read_compositor(layer.compositor) if layer.sees_latent else None,
        )
        for layer in model.inner_layers
    )
    latent_dim = settings.latent.dim
    num_draws = latent_dim + sum(layer.gp.num_gps for layer in inner_layers)
    noise = model.likelihood.read()
    num_coordinates = num_draws + noise.num_coordinates
    # Not the inner noise: it moves the features, whose tails have no effect on those of y.
    tailed = [*range(latent_dim), *range(num_draws, num_coordinates)]
    nodes, node_weights = split_outermost(
        gaussian_nodes(num_components if num_coordinates else 1, num_coordinates, seed=seed), tailed
    )
    latent_nodes = nodes[:, :latent_dim]
    if model.latent is not None:
        latent_nodes = model.latent.family.from_normal_scores(latent_nodes)
    return Posterior(
        inner_layers=inner_layers,
        output_terms=tuple(
            export_gp(term, sees_latent=sees_latent)
            for term, sees_latent in zip(model.output.terms, model.output.sees_latent, strict=True)
        ),
        noise=noise,
        compositor=read_compositor(model.output.compositor),
        latent_nodes=latent_nodes,
        node_weights=node_weights,
        inner_noise=nodes[:, latent_dim:num_draws],
        defence=defence,
        transforms=transforms,
        output_mean=model.output.mean.read(),
        noise_factors=noise.factors(nodes[:, num_draws:]),
        input_projection=None if model.input_projection is None else model.input_projection.projection.numpy(),
        mixing=None if model.output.mixing is None else model.output.mixing.numpy(),
    )


def export_gp(gp: GPLayer, *, sees_latent: bool) -> SparseGP:
    """Return a GPflux `GPLayer` as arrays."""
    whitening = whitening_matrix(gp).numpy()
    factor = gp.q_sqrt.numpy()
    if factor.ndim == 2:
        factor = np.stack([np.diag(deviations) for deviations in factor.T])
    return SparseGP(
        kernel=read_kernel(gp.kernel.kernel),
        inducing_inputs=gp.inducing_variable.inducing_variable.Z.numpy(),
        whitening=whitening,
        q_mu=gp.q_mu.numpy(),
        q_projection=np.swapaxes(factor, -1, -2) @ whitening,
        sees_latent=sees_latent,
    )
