"""The trained model of all targets: one factor that has them all, or a chain of factors with one target each."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cde_app.arrays import Array
from cde_app.predictive.chain import Chain, extend
from cde_app.predictive.ensemble import Ensemble
from cde_app.predictive.neighbours import Neighbours
from cde_app.predictive.nodes import uniform_nodes

if TYPE_CHECKING:
    from cde_app.data.transform import TargetTransform
    from cde_app.predictive.forecast import Forecast


NODES_PER_COMPONENT = 1.5
"""Nodes of a chain for each component of its factors: `docs/method.md` has what they gain."""


@dataclass(frozen=True)
class Latents:
    """p(w | x, y) of N rows under one model."""

    places: tuple[int, ...]
    """Places in the table of the model's targets."""
    mean: Array
    """[N, Dw]."""
    sd: Array
    """[N, Dw], standard deviations."""
    prior_band: Array
    """[2, Dw], the edges of the prior's central 68 %."""


@dataclass(frozen=True)
class Predictor:
    """From standardised features to the forecast of every row."""

    neighbours: Neighbours | None
    """Where the features of the nearest training rows come from, if the factors have them."""
    factors: tuple[Ensemble, ...]
    """One, of all targets together; or one per target, each given the targets before it."""
    order: tuple[int, ...]
    """Places in the table of the targets, in the order of the chain."""
    nodes: Array
    """[G, 2 P] for a chain (see `Chain`), else empty."""

    @property
    def transforms(self) -> tuple[TargetTransform, ...]:
        """[P], of the targets in the order of the table."""
        in_order = [transform for factor in self.factors for transform in factor.members[0].transforms]
        by_place = dict(zip(self.order, in_order, strict=True))
        return tuple(by_place[place] for place in range(len(by_place)))

    def predict(self, X: Array) -> Forecast:
        """Return the forecast of each row; X [N, D], standardised."""
        X = self._features(X)
        if len(self.factors) == 1:
            return self.factors[0].predict(X)
        return Chain(self.factors, self.order, self.nodes, X)

    def latents(self, X: Array, targets: Array) -> list[Latents]:
        """Return what the first member of each factor that has latent variables says about them: p(w | x, y).

        It comes from the nodes' likelihoods and not from the encoder, which is a proposal under the importance-weighted
        objectives, several times wider than the posterior.

        Args:
            X: [N, D], standardised features.
            targets: [N, P], the user's units.
        """
        found, X, chained = [], self._features(X), len(self.factors) > 1
        for factor, place in zip(self.factors, self.order, strict=False):
            member, places = factor.members[0], (place,) if chained else tuple(range(len(self.order)))
            if member.latent_dim:
                mean, sd = member.latent_moments(X, targets[:, list(places)])
                found.append(Latents(places, mean, sd, member.latent_prior_band()))
            X = extend(X, member.transforms[0].forward(targets[:, place]))
        return found

    def _features(self, X: Array) -> Array:
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
        order: places of the targets, in the order of the chain.
        num_components: C, of each factor.
        seed: of the nodes over the earlier targets of a chain.
    """
    dim = 2 * len(order) if len(factors) > 1 else 0
    nodes = uniform_nodes(math.ceil(NODES_PER_COMPONENT * num_components), dim, seed=seed + 1)
    return Predictor(neighbours, factors, order, nodes)
