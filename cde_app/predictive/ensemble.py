"""Several trainings of one model, averaged into one `Mixture` per row.

Letters: N rows, D features, C components, P targets, E members.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from cde_app.arrays import Array, IndexArray
from cde_app.machine.blocks import work_in_blocks
from cde_app.predictive.nodes import in_boxes
from cde_app.predictive.posterior import Posterior, average_mixture

if TYPE_CHECKING:
    from cde_app.predictive.mixture import Mixture


INPUT_RANGE = 6.0
"""As an input of later factors of a chain, a target is clipped to this many standard deviations."""


@dataclass(frozen=True)
class Ensemble:
    """p(y | x) = 1/E sum_e p_e(y | x), the average of the members' densities (Lakshminarayanan et al. 2017)."""

    members: tuple[Posterior, ...]
    """E >= 1 posteriors with the same transforms."""

    @cached_property
    def weights(self) -> Array:
        """[C], the weights of all members' components, one member after another."""
        return np.concatenate([member.weights for member in self.members]) / len(self.members)

    def predict(self, X: Array) -> Mixture:
        """Return one mixture per row with the components of all members; X [N, D], standardised."""
        return average_mixture(self.members, X)

    def moments_at(self, X: Array, component: IndexArray) -> tuple[Array, Array]:
        """Return the moments of one component per row; X [n, D], component [n] to two [n, P]."""
        means, variances = np.empty((len(X), self.num_targets)), np.empty((len(X), self.num_targets))
        first = 0
        for member in self.members:
            last = first + len(member.weights)
            own = np.flatnonzero((component >= first) & (component < last))
            means[own], variances[own] = member.moments_at(X[own], component[own] - first)
            first = last
        return means, variances

    def distance(self, X: Array) -> Array | None:
        """Return how far rows are from the training rows, as the warm starts measure it; None without a defence.

        distance(x)^2 = min_a |k(x, .) - sum_n a_n k(x_n, .)|^2 + noise |a|^2, in the Hilbert space of the kernel, with
        training rows x_n. This is the variance of the GP at x. The sparse GP has it up to what its inducing inputs do
        not see of the rows; it is averaged over members and targets.

        Args:
            X: [N, D], standardised features.

        Returns:
            [N], in standard deviations of the targets.

        Source: Rasmussen and Williams (2006), equation 2.26, for the variance, of which this is another reading.
        """
        gps = [member.defence.gp for member in self.members if member.defence is not None]
        if not gps:
            return None
        squares = np.empty(len(X))

        def fill(rows: slice) -> None:
            squares[rows] = np.mean([gp.moments(X[rows])[1].mean(axis=1) for gp in gps], axis=0)

        work_in_blocks(fill, len(X), len(gps[0].inducing_inputs) * gps[0].num_gps)
        return np.sqrt(squares)

    def component_at(self, uniforms: Array) -> IndexArray:
        """Return the component that each uniform number selects, any shape; close numbers select neighbours in w."""
        cumulative = np.cumsum(self.weights[self._order])
        cumulative[-1] = np.inf
        return self._order[np.searchsorted(cumulative, uniforms, side="right")]

    @cached_property
    def _order(self) -> IndexArray:
        """[C], the components one member after another, ordered `in_boxes` of w within each member."""
        order, first = [], 0
        for member in self.members:
            last, others = first + len(member.latent_nodes), first + len(member.weights)
            order += [first + in_boxes(member.latent_nodes), np.arange(last, others)]
            first = others
        return np.concatenate(order)

    @property
    def num_targets(self) -> int:
        """P."""
        return len(self.members[0].transforms)


def extend(inputs: Array, z: Array) -> Array:
    """Append a standardised target to the features for later factors; [N, D] and [N] to [N, D + 1]."""
    return np.column_stack([inputs, np.clip(z, -INPUT_RANGE, INPUT_RANGE)])
