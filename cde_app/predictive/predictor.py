"""The trained model of all targets: one factor with all of them, or a chain of factors with one target each."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from cde_app.arrays import Array
from cde_app.predictive.chain import Chain
from cde_app.predictive.ensemble import Ensemble, extend
from cde_app.predictive.neighbours import Neighbours
from cde_app.predictive.nodes import uniform_nodes
from cde_app.predictive.posterior import warm_start_of
from cde_app.predictive.recalibration import Recalibration

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
    recalibration: Recalibration | None = None
    """The maps of the probabilities; None leaves them as the factors state them."""

    @property
    def transforms(self) -> tuple[TargetTransform, ...]:
        """[P], transforms of the targets, in the order of the table."""
        in_order = [transform for factor in self.factors for transform in factor.members[0].transforms]
        by_index = dict(zip(self.order, in_order, strict=True))
        return tuple(by_index[index] for index in range(len(by_index)))

    def predict(self, X: Array) -> Forecast:
        """Return the forecast of each row; X [N, D], standardised."""
        return self.forecast(self.features(X))

    def sparse_gp(self) -> Predictor | None:
        """Return the warm starts alone: one sparse GP per factor, with constant normal noise and the same transforms.

        They are those of the defences, averaged over the members; None if a model has none, `defensive_weight: 0`.
        """
        factors = []
        for factor in self.factors:
            starts = [warm_start_of(member) for member in factor.members if member.defence is not None]
            if not starts:
                return None
            factors.append(Ensemble(tuple(starts)))
        return replace(self, factors=tuple(factors), recalibration=None)

    def forecast(self, X: Array) -> Forecast:
        """Return the forecast of each row from what `features` returns."""
        chained = len(self.factors) > 1
        forecast = Chain(self.factors, self.order, self.nodes, X) if chained else self.factors[0].predict(X)
        return forecast if self.recalibration is None else self.recalibration.apply(forecast, X)

    def distance(self, X: Array) -> Array | None:
        """Return how far rows are from the training rows, from what `features` returns; see `Ensemble.distance`.

        It is that of the first factor, whose inputs are x alone.
        """
        return self.factors[0].distance(X)

    def latents(self, X: Array, targets: Array) -> list[Latents]:
        """Return p(w | x, y) under the first member of each factor that has latent variables.

        It is computed from the nodes' likelihoods and not by the encoder, which is only a proposal under the
        importance-weighted objectives and several times wider than the posterior.

        Args:
            X: [N, D], standardised features.
            targets: [N, P], the user's units.
        """
        found = []
        for factor, own, features in self.factor_inputs(X, targets):
            member = factor.members[0]
            if member.latent_dim:
                mean, sd = member.latent_moments(features, targets[:, list(own)])
                found.append(Latents(own, mean, sd, member.latent_prior_band()))
        return found

    def factor_inputs(self, X: Array, targets: Array) -> Iterator[tuple[Ensemble, tuple[int, ...], Array]]:
        """Yield each factor, the indices of its targets, and its features of rows whose targets are known.

        Args:
            X: [N, D], standardised features.
            targets: [N, P], the user's units.
        """
        X, chained = self.features(X), len(self.factors) > 1
        for factor, target in zip(self.factors, self.order, strict=False):
            yield factor, (target,) if chained else tuple(range(len(self.order))), X
            X = extend(X, factor.members[0].transforms[0].forward(targets[:, target]))

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
