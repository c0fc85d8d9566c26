"""The trained model of all targets: one factor that has them all, or a chain of factors with one target each."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from cde_app.predictive.chain import Chain, extend
from cde_app.predictive.ensemble import Ensemble
from cde_app.predictive.neighbours import Neighbours
from cde_app.predictive.posterior import Posterior, uniform_nodes

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from cde_app.predictive.forecast import Forecast

    Array = NDArray[np.float64]


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

    neighbours: tuple[Neighbours, ...]
    """Per member of the ensembles where its features of the nearest training rows come from, or one for all members;
    empty where they have no such features."""
    factors: tuple[Ensemble, ...]
    """One, of all targets together; or one per target, each given the targets before it."""
    order: tuple[int, ...]
    """Places in the table of the targets, in the order of the chain."""
    nodes: Array
    """[G, 2 P] for a chain (see `Chain`), else empty."""

    def predict(self, X: Array) -> Forecast:
        """Return the forecast of each row; X [N, D], standardised."""
        X = self._features(X)
        if len(self.factors) == 1:
            return self.factors[0].predict(X)
        return Chain(self.factors, self.order, self.nodes, X)

    def latents(self, X: Array, targets: Array) -> list[Latents]:
        """Return what the first member of each factor that has latent variables says about them.

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
        """Append each member's features of the neighbours; the members know which are theirs."""
        return np.column_stack([X, *(neighbours.features(X) for neighbours in self.neighbours)])

    def to_tree(self) -> dict[str, Any]:
        """Return plain values and arrays; `from_tree` reads them."""
        return {
            "neighbours": [neighbours.to_tree() for neighbours in self.neighbours],
            "factors": [[member.to_tree() for member in factor.members] for factor in self.factors],
            "order": list(self.order),
            "nodes": self.nodes,
        }

    @classmethod
    def from_tree(cls, tree: dict[str, Any]) -> Predictor:
        """Rebuild what `to_tree` returned."""
        neighbours = tuple(map(Neighbours.from_tree, tree["neighbours"]))
        factors = tuple(Ensemble(tuple(map(Posterior.from_tree, members))) for members in tree["factors"])
        return cls(neighbours, factors, tuple(tree["order"]), tree["nodes"])


def member_columns(neighbours: tuple[Neighbours, ...], member: int, *, num_earlier: int) -> NDArray[np.intp]:
    """Return the places of a member's features among a factor's inputs: x, every member's neighbours, earlier targets.

    Args:
        neighbours: per member.
        member: which one.
        num_earlier: targets before the factor's own.
    """
    widths = [neighbours[0].X.shape[1], *(one.num_features for one in neighbours), num_earlier]
    places = np.split(np.arange(sum(widths)), np.cumsum(widths)[:-1])
    return np.concatenate([places[0], places[1 + member], places[-1]])


def assemble_predictor(
    neighbours: tuple[Neighbours, ...],
    factors: tuple[Ensemble, ...],
    order: tuple[int, ...],
    *,
    num_components: int,
    seed: int,
) -> Predictor:
    """Return the predictor of trained factors.

    Args:
        neighbours: per member the source of its neighbours' features, or one for all; empty if they have none.
        factors: one, or one per target.
        order: places of the targets, in the order of the chain.
        num_components: G, nodes over the earlier targets of a chain.
        seed: of the nodes.
    """
    if len(neighbours) > 1:  # else all members see all inputs
        factors = tuple(
            Ensemble(
                tuple(
                    replace(member, columns=member_columns(neighbours, index, num_earlier=place))
                    for index, member in enumerate(factor.members)
                )
            )
            for place, factor in enumerate(factors)
        )
    dim = 2 * len(order) if len(factors) > 1 else 0
    return Predictor(neighbours, factors, order, uniform_nodes(num_components, dim, seed=seed + 1))
