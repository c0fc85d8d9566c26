"""Several targets one after another: p(y | x) = p(y_1 | x) p(y_2 | x, y_1) ..., each factor a mixture.

The joint density and the draws are exact. A later target's own distribution is the average of its factor over the
targets before it: one Gaussian for each of G low-discrepancy nodes, so that it is a `Mixture` too.

Letters: N rows, D features, P targets, C components of a factor, G nodes, S draws; k counts the factors.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.special import ndtri

from cde_app.predictive.blocks import work_in_blocks
from cde_app.predictive.mixture import DRAW_BLOCK, Mixture, draw_blocks

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from cde_app.data.transform import TargetTransform
    from cde_app.predictive.ensemble import Ensemble

    Array = NDArray[np.float64]

INPUT_RANGE = 6.0
"""A target is an input of the factors after it within so many standard deviations."""


@dataclass(frozen=True)
class Chain:
    """The forecasts of N rows by a chain of factors; answers everything that a `Mixture` answers, in the user's units.

    Source: the chain rule; for mixtures of Gaussians as its factors Bishop (1994), "Mixture density networks", has one.
    """

    factors: tuple[Ensemble, ...]
    """p(y_k | x, y_1 ... y_k-1), one per target, in the order of the chain."""
    order: tuple[int, ...]
    """Place in the table of each factor's target."""
    nodes: Array
    """[G, 2 P], uniform: for each factor the choice of a component, and the draw from it."""
    X: Array
    """[N, D], standardised features."""

    @property
    def num_rows(self) -> int:
        """N."""
        return len(self.X)

    @property
    def num_targets(self) -> int:
        """P."""
        return len(self.order)

    @property
    def transforms(self) -> tuple[TargetTransform, ...]:
        """One per target, in the table's order."""
        return tuple(self.factors[place].members[0].transforms[0] for place in np.argsort(self.order))

    @property
    def closest_pair(self) -> tuple[int, int]:
        """The first two targets of the chain."""
        return self.order[0], self.order[1]

    def pair(self) -> Chain:
        """Return the chain of its first two factors."""
        return replace(self, factors=self.factors[:2], order=(0, 1), nodes=self.nodes[:, :4])

    def __getitem__(self, rows: Any) -> Chain:
        """Return the forecasts of some rows: a slice, a mask or an index array."""
        return replace(self, X=self.X[rows])

    # --- the joint distribution -----------------------------------------------------------------------------------

    def log_density(self, targets: Array) -> Array:
        """Return the joint log density of one observation per row, exact; see `Mixture.log_density`."""
        targets = np.asarray(targets, float)
        inputs, log_density = self.X, np.zeros(self.num_rows)
        for k, place in enumerate(self.order):
            mixture = self._first if k == 0 else self.factors[k].predict(inputs)
            log_density = log_density + mixture.log_density(targets[:, [place]])
            inputs = extend(inputs, mixture.transforms[0].forward(targets[:, place]))
        return log_density

    def log_density_at(self, points: Array) -> Array:
        """Return every row's joint log density at the same points; [G, P] to [N, G].

        A factor is asked once for each different start of a point, so that the points of a grid are cheap.
        """
        points = np.asarray(points, float)[:, list(self.order)]
        log_density = np.zeros((self.num_rows, len(points)))
        for k, factor in enumerate(self.factors):
            starts, of_start = np.unique(points[:, :k], axis=0, return_inverse=True)
            for index, start in enumerate(starts):
                inputs = self.X
                for earlier, value in zip(self.factors[:k], start, strict=True):
                    z = earlier.members[0].transforms[0].forward(value)
                    inputs = extend(inputs, np.full(self.num_rows, z))
                mixture = self._first if k == 0 else factor.predict(inputs)
                own = of_start.ravel() == index
                log_density[:, own] += mixture.log_density_at(points[own, k : k + 1])
        return log_density

    def hpd_level(self, targets: Array, *, num_samples: int, seed: int) -> Array:
        """Estimate the mass of the highest-density region whose edge is the observation; [N, P] to [N]."""
        drawn = [self.log_density(draw) for draw in self.sample(num_samples, seed=seed)]
        return np.mean(np.stack(drawn) > self.log_density(targets), axis=0)

    def sample(self, num_samples: int, *, seed: int, first_row: int = 0) -> Array:
        """Draw each target given the ones before it; [S, N, P].

        As with a `Mixture`, the draws of a row depend on `seed` and on its place in the table alone.
        """
        samples = np.empty((num_samples, self.num_rows, self.num_targets))
        for block, taken, rows in draw_blocks(first_row, self.num_rows):
            random = np.random.default_rng([seed, block])
            shape = (self.num_targets, DRAW_BLOCK, num_samples)
            uniforms, normals = random.random(shape)[:, taken], random.standard_normal(shape)[:, taken]
            components = [factor.component_at(u) for factor, u in zip(self.factors, uniforms, strict=True)]
            draws = self._draws(rows, components, normals)
            for place, (_, _, z) in zip(self.order, draws, strict=True):
                samples[:, rows, place] = self.transforms[place].inverse(z).T
        return samples

    # --- each target by itself ------------------------------------------------------------------------------------

    def marginals(self) -> tuple[Mixture, ...]:
        """Return each target's own mixture: the first of the chain exact, the others averages over the nodes."""
        return self._marginals

    def components(self) -> Mixture:
        """Return the G nodes' Gaussians of all targets: right for each target, not for several together."""
        ordered = [self._at_nodes[place] for place in np.argsort(self.order)]
        means, variances = (np.concatenate([node[i] for node in ordered], axis=2) for i in range(2))
        return Mixture(np.full(len(self.nodes), 1 / len(self.nodes)), means, variances, self.transforms)

    def marginal_log_density(self, targets: Array) -> Array:
        """Return each target's own log density; [N, P] to [N, P], nats per the target's unit."""
        targets = np.asarray(targets, float)
        return np.stack([m.log_density(targets[:, [p]]) for p, m in enumerate(self._marginals)], axis=-1)

    def marginal_log_density_at(self, grid: Array, target: int) -> Array:
        """Return every row's log density of one target on a grid; [G] to [N, G]."""
        return self._marginals[target].marginal_log_density_at(grid, 0)

    def cdf(self, targets: Array) -> Array:
        """Return P(y_p <= target) per row and target; [N, P] to [N, P]."""
        targets = np.asarray(targets, float)
        return np.concatenate([m.cdf(targets[:, [p]]) for p, m in enumerate(self._marginals)], axis=1)

    def quantile(self, levels: Sequence[float] | Array) -> Array:
        """Return marginal quantiles; levels in (0, 1), [L], to [L, N, P]."""
        return np.concatenate([marginal.quantile(levels) for marginal in self._marginals], axis=2)

    def mean(self) -> Array:
        """Return the predictive mean, [N, P]."""
        return np.concatenate([marginal.mean() for marginal in self._marginals], axis=1)

    def sd(self) -> Array:
        """Return the predictive standard deviation, [N, P]."""
        return np.concatenate([marginal.sd() for marginal in self._marginals], axis=1)

    def crps(self, targets: Array) -> Array:
        """Return the continuous ranked probability score of each target; [N, P] to [N, P], the target's units."""
        targets = np.asarray(targets, float)
        return np.concatenate([m.crps(targets[:, [p]]) for p, m in enumerate(self._marginals)], axis=1)

    def covariance(self) -> Array:
        """Return the predictive covariance of the targets, [N, P, P]: off its diagonal by the nodes' draws."""
        draws = self._node_draws
        covariance = np.stack([np.cov(row.T, bias=True).reshape(2 * [self.num_targets]) for row in draws])
        variance = self.sd() ** 2
        scale = np.sqrt(variance / np.diagonal(covariance, axis1=1, axis2=2))
        return covariance * scale[:, :, None] * scale[:, None, :]

    @cached_property
    def _marginals(self) -> tuple[Mixture, ...]:
        weights = np.full(len(self.nodes), 1 / len(self.nodes))
        mixtures = [
            Mixture(weights, mean, variance, factor.members[0].transforms)
            for factor, (mean, variance, _) in zip(self.factors, self._at_nodes, strict=True)
        ]
        mixtures[0] = self._first
        return tuple(mixtures[place] for place in np.argsort(self.order))

    @cached_property
    def _node_components(self) -> list[NDArray[np.intp]]:
        """Per factor the component at every node, [G]."""
        return [factor.component_at(self.nodes[:, 2 * k]) for k, factor in enumerate(self.factors)]

    @cached_property
    def _node_draws(self) -> Array:
        """The draws at the nodes, [N, G, P], the user's units."""
        draws = [self._at_nodes[place][2] for place in np.argsort(self.order)]
        return np.stack([t.inverse(z) for t, z in zip(self.transforms, draws, strict=True)], axis=-1)

    @cached_property
    def _first(self) -> Mixture:
        """The mixture of the first factor, which nothing comes before."""
        return self.factors[0].predict(self.X)

    @cached_property
    def _at_nodes(self) -> list[tuple[Array, Array, Array]]:
        """Per factor the mean and the variance [N, G, 1] at every node, and the standardised draw there [N, G]."""
        shape = (self.num_rows, len(self.nodes))
        found = [(np.empty((*shape, 1)), np.empty((*shape, 1)), np.empty(shape)) for _ in self.factors]
        normals = ndtri(self.nodes[:, 1::2].T)[:, None, :]

        def fill(rows: slice) -> None:
            draws = self._draws(rows, self._node_components, normals)
            for (means, variances, draw), (mean, variance, z) in zip(found, draws, strict=True):
                means[rows, :, 0], variances[rows, :, 0], draw[rows] = mean, variance, z

        work_in_blocks(fill, self.num_rows, len(self.nodes) * 2 * (self.X.shape[1] + self.num_targets))
        return found

    def _draws(
        self, rows: slice, components: Sequence[NDArray[np.intp]], normals: Sequence[Array] | Array
    ) -> list[tuple[Array, Array, Array]]:
        """Draw each target given the ones before it, S times in each of n rows.

        Args:
            rows: which rows.
            components: per factor the components to draw from, [n, S], or [S] for every row the same.
            normals: per factor the standard normal draws, [n or 1, S].

        Returns:
            Per factor the components' means and variances and the draws, all [n, S], standardised.
        """
        num_rows, num_draws = len(self.X[rows]), components[0].shape[-1]
        inputs, found = np.repeat(self.X[rows], num_draws, axis=0), []
        for k, factor in enumerate(self.factors):
            component = np.broadcast_to(components[k], (num_rows, num_draws))
            if k == 0:
                chosen = np.arange(num_rows)[:, None], component
                mean, variance = (values[rows, :, 0][chosen] for values in (self._first.means, self._first.variances))
            else:
                moments = factor.moments_at(inputs, component.ravel())
                mean, variance = (values.reshape(component.shape) for values in moments)
            z = mean + np.sqrt(variance) * normals[k]
            found.append((mean, variance, z))
            inputs = extend(inputs, z.ravel())
        return found


def extend(inputs: Array, z: Array) -> Array:
    """Append a standardised target to the features of the factors after it; [N, D] and [N] to [N, D + 1]."""
    return np.column_stack([inputs, np.clip(z, -INPUT_RANGE, INPUT_RANGE)])
