"""Draws of all rows together: the function is drawn once for all of them, everything else row by row.

Letters: N rows, D features, P targets, S draws, M inducing inputs, Q GPs; k counts the factors of a chain.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from cde_app.arrays import Array, IndexArray, IntArray
from cde_app.machine.blocks import work_in_blocks
from cde_app.machine.streams import Stream, generator
from cde_app.predictive.ensemble import extend
from cde_app.predictive.mixture import DRAW_BLOCK, draw_blocks

if TYPE_CHECKING:
    from cde_app.predictive.ensemble import Ensemble
    from cde_app.predictive.posterior import Function, Posterior
    from cde_app.predictive.predictor import Predictor


@dataclass(frozen=True)
class Functions:
    """S draws of what the training has learned, each of which all rows share.

    A draw has one member of each ensemble and, for each of its GPs, one v from q(v) (u = L v). Given these, the rows
    are independent: in each of them a component of the member (w and the noise of the inner layers, or a defensive
    component) is drawn, and then the targets, with the variance that the GPs have given v and the noise. By itself, a
    row has the distribution of `Predictor.predict`, whose stored nodes replace the inner layers' uncertainty too.
    `docs/method.md`, section 5, has the formulas.
    """

    predictor: Predictor
    num_draws: int
    """S."""
    seed: int
    """Non-negative."""

    def sample(self, X: Array, rows: IntArray) -> Array:
        """Draw one value per row and target from each function.

        The draws of a row depend only on the seed and on its position in the table.

        Args:
            X: [N, D], from `Predictor.features`.
            rows: [N], positions of the rows in the table, ascending.

        Returns:
            [S, N, P], the user's units.
        """
        factors, order, transforms = self.predictor.factors, self.predictor.order, self.predictor.transforms
        samples = np.empty((self.num_draws, len(X), len(order)))
        uniforms, normals = self._numbers(rows)
        drawn = self._drawn  # here, as every thread would draw them for itself
        targets = [order] if len(factors) == 1 else [(target,) for target in order]

        def fill(draws: slice) -> None:
            for s in range(draws.start, draws.stop):
                inputs = X
                for k, own in enumerate(targets):
                    member, function = drawn[k][s]
                    component = np.searchsorted(_cumulative(member), uniforms[k, s], side="right")
                    mean, variance = member.moments_at(inputs, component, function)
                    Y = mean + np.sqrt(variance) * normals[s][:, own]
                    for p, target in enumerate(own):
                        samples[s, :, target] = transforms[target].inverse(Y[:, p])
                    if k + 1 < len(targets):
                        inputs = extend(inputs, Y[:, 0])

        work_in_blocks(fill, self.num_draws, X.size)
        return samples

    @cached_property
    def _drawn(self) -> list[list[tuple[Posterior, Function]]]:
        """For each factor its member and function in each of the S draws."""
        return [
            draw_members(factor, self.num_draws, generator(self.seed, Stream.FUNCTIONS, k))
            for k, factor in enumerate(self.predictor.factors)
        ]

    def _numbers(self, rows: IntArray) -> tuple[Array, Array]:
        """Return uniform numbers [K, S, N] for the components of K factors, and normal ones [S, N, P]."""
        num_factors, num_targets = len(self.predictor.factors), len(self.predictor.order)
        uniforms = np.empty((num_factors, self.num_draws, len(rows)))
        normals = np.empty((self.num_draws, len(rows), num_targets))
        for block, taken, own in draw_blocks(rows):
            random = generator(self.seed, Stream.TOTALS, block)
            uniforms[:, :, own] = random.random((num_factors, self.num_draws, DRAW_BLOCK))[:, :, taken]
            normals[:, own] = random.standard_normal((self.num_draws, DRAW_BLOCK, num_targets))[:, taken]
        return uniforms, normals


def draw_members(ensemble: Ensemble, num_draws: int, random: np.random.Generator) -> list[tuple[Posterior, Function]]:
    """Draw members, in random order but each of them equally often, and a function of each; [S]."""
    chosen: IndexArray = random.permutation(num_draws) % len(ensemble.members)
    counts = np.bincount(chosen, minlength=len(ensemble.members))
    functions = [
        iter(member.draw_functions(count, random)) for member, count in zip(ensemble.members, counts, strict=True)
    ]
    return [(ensemble.members[e], next(functions[e])) for e in chosen]


def _cumulative(member: Posterior) -> Array:
    """Return the cumulative weights of a member's components, [C]; the last is infinite, against rounding."""
    cumulative = np.cumsum(member.weights)
    cumulative[-1] = np.inf
    return cumulative
