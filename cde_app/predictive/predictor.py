"""The trained model of all targets: one factor with all of them, or a chain of factors with one target each."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cde_app.arrays import Array
from cde_app.predictive.chain import Chain
from cde_app.predictive.ensemble import Ensemble, extend
from cde_app.predictive.neighbours import Neighbours
from cde_app.predictive.nodes import uniform_nodes

if TYPE_CHECKING:
    from cde_app.predictive.forecast import Forecast
    from cde_app.targets import TargetTransform


NODES_PER_COMPONENT = 1.5
"""Nodes of a chain per component of its factors; `docs/method.md` shows their effect."""


@dataclass(frozen=True)
class Latents:
    """p(w | x, y) of N rows under one model."""

    target_indices: tuple[int, ...]
    """Indices of the model's targets in the table."""
    mean: Array
    """[N, Dw]."""
    sd: Array
    """[N, Dw], standard deviations."""
    prior_band: Array
    """[2, Dw], ends of the prior's central 68 %."""


@dataclass(frozen=True)
class Predictor:
    """From standardised features to the forecast of every row."""

    neighbours: Neighbours | None
    """Source of the features from the nearest training rows, if the factors use them."""
    factors: tuple[Ensemble, ...]
    """One factor for all targets together, or one per target, given the earlier targets."""
    order: tuple[int, ...]
    """Indices of the targets in the table, in the order of the chain."""
    nodes: Array
    """[G, 2 P] for a chain (see `Chain`), else empty."""

    @property
    def transforms(self) -> tuple[TargetTransform, ...]:
        """[P], transforms of the targets, in the order of the table."""
        in_order = [transform for factor in self.factors for transform in factor.members[0].transforms]
        by_index = dict(zip(self.order, in_order, strict=True))
        return tuple(by_index[index] for index in range(len(by_index)))

    def predict(self, X: Array) -> Forecast:
        """Return the forecast of each row; X [N, D], standardised."""
        return self.forecast(self.features(X))

    def forecast(self, X: Array) -> Forecast:
        """Return the forecast of each row from what `features` returns."""
        if len(self.factors) == 1:
            return self.factors[0].predict(X)
        return Chain(self.factors, self.order, self.nodes, X)

    def latents(self, X: Array, targets: Array) -> list[Latents]:
        """Return p(w | x, y) under the first member of each factor that has latent variables.

        It is computed from the nodes' likelihoods and not by the encoder, which is only a proposal under the
        importance-weighted objectives and several times wider than the posterior.

        Args:
            X: [N, D], standardised features.
            targets: [N, P], the user's units.
        """
        found, X, chained = [], self.features(X), len(self.factors) > 1
        for factor, target in zip(self.factors, self.order, strict=False):
            member, own = factor.members[0], (target,) if chained else tuple(range(len(self.order)))
            if member.latent_dim:
                mean, sd = member.latent_moments(X, targets[:, list(own)])
                found.append(Latents(own, mean, sd, member.latent_prior_band()))
            X = extend(X, member.transforms[0].forward(targets[:, target]))
        return found

    def features(self, X: Array) -> Array:
        """Append the features from the neighbours, if the factors use them; [N, D] to [N, D or D + P + 1]."""
        return X if self.neighbours is None else self.neighbours.extend(X)


def assemble_predictor(
    neighbours: Neighbours | None,
    factors: tuple[Ensemble, ...],
    order: tuple[int, ...],
    *,
    num_components: int,
    seed: int,
) -> Predictor:
    """Return the predictor of trained factors.

    Args:
        neighbours: the source of the neighbours' features, if the factors were trained with them.
        factors: one, or one per target.
        order: indices of the targets, in the order of the chain.
        num_components: C of each factor.
        seed: seed of the nodes for the earlier targets of a chain.
    """
    dim = 2 * len(order) if len(factors) > 1 else 0
    nodes = uniform_nodes(math.ceil(NODES_PER_COMPONENT * num_components), dim, seed=seed + 1)
    return Predictor(neighbours, factors, order, nodes)
