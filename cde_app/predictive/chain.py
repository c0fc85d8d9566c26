"""Several targets one after another: p(y | x) = p(y_1 | x) p(y_2 | x, y_1) ..., where each factor is a mixture.

The joint density and the draws are exact. The marginal distribution of a later target is the average of its factor over
the earlier targets: one Gaussian for each of G low-discrepancy nodes, so that it is a `Mixture` too. At the nodes, the
values of the first target are G evenly spaced quantiles of the row's mixture; `docs/method.md` gives the error.

Letters: N rows, D features, P targets, C components of a factor, G nodes, S draws; k counts the factors.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.special import ndtri

from cde_app.arrays import Array, IndexArray, IntArray
from cde_app.machine.blocks import work_in_blocks
from cde_app.machine.streams import Stream, generator
from cde_app.predictive.component_moments import component_moments
from cde_app.predictive.conditional import conditional_mixture
from cde_app.predictive.ensemble import Ensemble, extend
from cde_app.predictive.forecast import Forecast
from cde_app.predictive.mixture import DRAW_BLOCK, Mixture, draw_blocks
from cde_app.predictive.nodes import uniform_nodes

if TYPE_CHECKING:
    from cde_app.targets import TargetTransform


POINTS_PER_QUANTILE = 9
"""Points of a row's mixture that are sorted per quantile; odd, so that one of them is in the middle."""
GOLDEN_RATIO = 0.5 * (5**0.5 - 1)


@dataclass(frozen=True, repr=False)
class Chain(Forecast):
    """The forecasts of N rows by a chain of factors; it has the methods of a `Mixture`, in the user's units.

    Source: the chain rule; Bishop (1994), "Mixture density networks", has mixtures of Gaussians as a factor.
    """

    factors: tuple[Ensemble, ...]
    """p(y_k | x, y_1 ... y_k-1), one per target, in the order of the chain."""
    order: tuple[int, ...]
    """Index of each factor's target in the table."""
    nodes: Array
    """[G, 2 P], uniform: for each factor the choice of a component, and the draw from it; for the first target only the
    second is used, as the level of its quantile."""
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
        return tuple(self.factors[k].members[0].transforms[0] for k in np.argsort(self.order))

    @property
    def closest_pair(self) -> tuple[int, int]:
        """The first two targets of the chain."""
        return self.order[0], self.order[1]

    def pair(self) -> Chain:
        """Return the chain of the first two factors."""
        names = tuple(self.names[p] for p in self.order[:2]) if self.names else ()
        return replace(self, factors=self.factors[:2], order=(0, 1), nodes=self.nodes[:, :4], names=names)

    def _of_rows(self, rows: Any) -> Chain:
        """Return the forecasts of some rows: a slice, a mask or an index array."""
        return replace(self, X=self.X[rows])

    # --- the joint distribution -----------------------------------------------------------------------------------

    def _log_prob(self, targets: Array) -> Array:
        """Return the joint log density of one observation per row, exact."""
        inputs, log_density = self.X, np.zeros(self.num_rows)
        for k, target in enumerate(self.order):
            mixture = self._first if k == 0 else self.factors[k].predict(inputs)
            log_density = log_density + mixture.log_prob(targets[:, [target]])
            inputs = extend(inputs, mixture.transforms[0].forward(targets[:, target]))
        return log_density

    def _log_prob_at(self, points: Array) -> Array:
        """Return every row's joint log density at the same points; [G, P] to [N, G].

        A factor is evaluated once for each distinct combination of earlier targets, so that grids are cheap.
        """
        points = points[:, list(self.order)]
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
                log_density[:, own] += mixture.log_prob_at(points[own, k : k + 1])
        return log_density

    def sample(self, num_samples: int, *, seed: int = 0, rows: IntArray | None = None) -> Array:
        """Draw each target given the earlier ones; [S, N, P].

        As with a `Mixture`, the draws of a row depend only on `seed` and on its position in the table.
        """
        samples = np.empty((num_samples, self.num_rows, self.num_targets))
        for block, taken, own in draw_blocks(self._positions(rows)):
            random = generator(seed, Stream.DRAWS, block)
            shape = (self.num_targets, DRAW_BLOCK, num_samples)
            uniforms, normals = random.random(shape)[:, taken], random.standard_normal(shape)[:, taken]
            components = [factor.component_at(u) for factor, u in zip(self.factors, uniforms, strict=True)]
            chosen = np.arange(len(normals[0]))[:, None], components[0]
            means, sds = self._first.means[own, :, 0], np.sqrt(self._first.variances[own, :, 0])
            first = means[chosen] + sds[chosen] * normals[0]
            draws = [first, *(z for _, _, z in self._later(own, first, components[1:], normals[1:]))]
            for target, z in zip(self.order, draws, strict=True):
                samples[:, own, target] = self.transforms[target].inverse(z).T
        return samples

    # --- each target by itself ------------------------------------------------------------------------------------

    def marginals(self) -> tuple[Mixture, ...]:
        """Return the marginal mixture of each target: exact for the first of the chain, else an average over nodes."""
        return self._marginals

    def components(self) -> Mixture:
        """Return the Gaussians of all targets at the G nodes: correct for each target, but not jointly."""
        chosen = self.factors[0].component_at(self.nodes[:, 0])
        first = replace(self._first, means=self._first.means[:, chosen], variances=self._first.variances[:, chosen])
        ordered = [(first, *self._in_order[1:])[k] for k in np.argsort(self.order)]
        means = np.concatenate([mixture.means for mixture in ordered], axis=2)
        variances = np.concatenate([mixture.variances for mixture in ordered], axis=2)
        weights = np.full(len(self.nodes), 1 / len(self.nodes))
        return Mixture(weights, means, variances, self.transforms, names=self.names)

    def joint_components(self) -> Mixture:
        """Return one mixture of both targets, with a component per node: each covers its share of the first target.

        The share is taken as uniform, which gives it a variance; given the first target, the second is a Gaussian.
        """
        draws, moments = self._at_nodes
        ranks = np.argsort(np.argsort(self.nodes[:, 1]))
        quantiles = np.sort(draws[0], axis=1)
        widths = np.gradient(quantiles, axis=1)[:, ranks]
        means = np.stack([draws[0], moments[0][0][:, :, 0]], axis=-1)
        variances = np.stack([widths**2 / 12, moments[0][1][:, :, 0]], axis=-1)
        weights = np.full(len(self.nodes), 1 / len(self.nodes))
        table_order = list(np.argsort(self.order))
        return Mixture(weights, means[..., table_order], variances[..., table_order], self.transforms, names=self.names)

    def _cdf(self, targets: Array) -> Array:
        """Return P(y_p <= target) per row and target; [N, P] to [N, P]."""
        return np.concatenate([m.cdf(targets[:, p]) for p, m in enumerate(self._marginals)], axis=1)

    def _quantile(self, levels: Array) -> Array:
        """Return marginal quantiles; levels in (0, 1), [L], to [L, N, P]."""
        return np.concatenate([marginal.quantile(levels) for marginal in self._marginals], axis=2)

    def mean(self) -> Array:
        """Return the predictive mean, [N, P]."""
        return np.concatenate([marginal.mean() for marginal in self._marginals], axis=1)

    def sd(self) -> Array:
        """Return the predictive standard deviation, [N, P]."""
        return np.concatenate([marginal.sd() for marginal in self._marginals], axis=1)

    def _crps(self, targets: Array) -> Array:
        """Return the continuous ranked probability score of each target; [N, P] to [N, P], the target's units."""
        return np.concatenate([m.crps(targets[:, p]) for p, m in enumerate(self._marginals)], axis=1)

    def covariance(self) -> Array:
        """Return the predictive covariance of the targets, [N, P, P].

        The correlations come from the nodes; the random part of each target given the earlier ones is integrated.
        """
        covariance = np.empty((self.num_rows, self.num_targets, self.num_targets))
        table_order, sd = np.argsort(self.order), self.sd()

        def fill(rows: slice) -> None:
            correlation = self._correlation(rows)[:, table_order][:, :, table_order]
            covariance[rows] = correlation * sd[rows, :, None] * sd[rows, None, :]

        work_in_blocks(fill, self.num_rows, len(self.nodes) * 32 * self.num_targets)
        return covariance

    def _correlation(self, rows: slice) -> Array:
        """Return the correlations of n rows' targets in the order of the chain, [n, P, P].

        The mean of each target at the nodes is regressed on the draws of the earlier targets. With the coefficients B
        and the covariance V of the earlier targets, the covariance with them is V B, and the variance is B' V B plus
        the variance around the regression and within the nodes. No correlation therefore exceeds one.
        """
        transforms = [factor.members[0].transforms[0] for factor in self.factors]
        draws = np.stack([t.inverse(z[rows]) for t, z in zip(transforms, self._at_nodes[0], strict=True)], axis=-1)
        draws -= draws.mean(1, keepdims=True)
        scale = draws.std(1, keepdims=True)
        draws /= np.where(scale > 0, scale, 1.0)
        correlation = np.tile(np.eye(self.num_targets), (len(draws), 1, 1))
        for k, mixture in enumerate(self._in_order[1:], start=1):
            mean, variance = component_moments(mixture.means[rows, :, 0], mixture.variances[rows, :, 0], transforms[k])
            mean -= mean.mean(1, keepdims=True)
            before = draws[:, :, :k]
            inverse = np.linalg.pinv(np.einsum("ngi,ngj->nij", before, before), hermitian=True)
            slope = np.einsum("nij,ngj,ng->ni", inverse, before, mean, optimize=True)
            rest = np.mean((mean - np.einsum("ngi,ni->ng", before, slope)) ** 2 + variance, axis=1)
            across = np.einsum("nij,nj->ni", correlation[:, :k, :k], slope)
            own = np.einsum("ni,ni->n", across, slope) + rest
            correlation[:, :k, k] = correlation[:, k, :k] = across / np.sqrt(own)[:, None]
        return correlation

    # --- some targets are known -----------------------------------------------------------------------------------

    def _given(self, indices: Sequence[int], z: Array) -> Forecast:
        """Return the forecast of the other targets: exact while the chain's first targets are given.

        Args:
            indices: A targets.
            z: [N, A], standardised.
        """
        known = dict(zip(indices, z.T, strict=True))
        num_first = next(k for k, target in enumerate(self.order) if target not in known)
        X = self.X
        for target in self.order[:num_first]:
            X = extend(X, known[target])
        factors, order = self.factors[num_first:], self.order[num_first:]
        free = sorted(target for target in order if target not in known)
        names = tuple(self.names[target] for target in free) if self.names else ()
        if len(free) < len(order):
            mixture = conditional_mixture(factors, [known.get(target) for target in order], X)
            return replace(mixture._of_targets(list(np.argsort([t for t in order if t in free]))), names=names)
        if len(factors) == 1:
            return replace(factors[0].predict(X), names=names)
        # Some columns of a low-discrepancy sequence are no good sequence of fewer dimensions.
        nodes = uniform_nodes(len(self.nodes), 2 * len(factors), seed=0)
        return Chain(factors, tuple(map(free.index, order)), nodes, X, names=names)

    # --- the nodes ------------------------------------------------------------------------------------------------

    @cached_property
    def _marginals(self) -> tuple[Mixture, ...]:
        ordered = [self._in_order[k] for k in np.argsort(self.order)]
        return tuple(replace(one, names=self.names[p : p + 1]) for p, one in enumerate(ordered))

    @cached_property
    def _first(self) -> Mixture:
        """The mixture of the first factor, which depends on no other target."""
        return self.factors[0].predict(self.X)

    @cached_property
    def _in_order(self) -> tuple[Mixture, ...]:
        """The marginal mixture of each target, in the order of the chain."""
        weights = np.full(len(self.nodes), 1 / len(self.nodes))
        later = [
            Mixture(weights, mean, variance, factor.members[0].transforms)
            for factor, (mean, variance) in zip(self.factors[1:], self._at_nodes[1], strict=True)
        ]
        return self._first, *later

    @cached_property
    def _node_components(self) -> list[IndexArray]:
        """For each factor but the first, the component at every node, [G]."""
        return [factor.component_at(self.nodes[:, 2 * k]) for k, factor in enumerate(self.factors) if k]

    @cached_property
    def _at_nodes(self) -> tuple[list[Array], list[tuple[Array, Array]]]:
        """The draws of each factor at the nodes, [N, G]; for all but the first, also means and variances, [N, G, 1]."""
        shape = (self.num_rows, len(self.nodes))
        draws = [np.empty(shape) for _ in self.factors]
        moments = [(np.empty((*shape, 1)), np.empty((*shape, 1))) for _ in self.factors[1:]]
        normals = ndtri(self.nodes[:, 3::2].T)[:, None, :]

        def fill(rows: slice) -> None:
            draws[0][rows] = self._first_quantiles(rows)
            later = self._later(rows, draws[0][rows], self._node_components, normals)
            for k, (mean, variance, draw) in enumerate(later):
                moments[k][0][rows, :, 0], moments[k][1][rows, :, 0], draws[k + 1][rows] = mean, variance, draw

        work_in_blocks(fill, self.num_rows, len(self.nodes) * 2 * (self.X.shape[1] + self.num_targets))
        return draws, moments

    def _first_quantiles(self, rows: slice) -> Array:
        """Return the first target's quantile at every node, [n, G], standardised.

        Points of the row's mixture, which are spread evenly over its components and within each of them (a lattice of
        the golden ratio), are sorted. Every node takes the middle point of its share.
        """
        num_nodes = len(self.nodes)
        points = np.arange(num_nodes * POINTS_PER_QUANTILE)
        chosen = slice(None), self.factors[0].component_at((points + 0.5) / len(points))
        normals = ndtri((0.5 + GOLDEN_RATIO * points) % 1.0)
        means, sds = self._first.means[rows, :, 0], np.sqrt(self._first.variances[rows, :, 0])
        values = np.sort(means[chosen] + sds[chosen] * normals, axis=1)
        rank = np.argsort(np.argsort(self.nodes[:, 1]))
        return values[:, rank * POINTS_PER_QUANTILE + POINTS_PER_QUANTILE // 2]

    def _later(
        self, rows: slice, first: Array, components: Sequence[IndexArray], normals: Sequence[Array] | Array
    ) -> Iterator[tuple[Array, Array, Array]]:
        """Draw each target after the first given the earlier ones, S times in each of n rows.

        Args:
            rows: the rows.
            first: draws of the first target, [n, S], standardised.
            components: for each later factor, the components to draw from, [n, S], or [S] if they are the same in all
                rows.
            normals: for each later factor, standard normal draws, [n or 1, S].

        Yields:
            For each later factor, the components' means and variances and the draws, all [n, S], standardised.
        """
        inputs, z = np.repeat(self.X[rows], first.shape[1], axis=0), first
        for k, factor in enumerate(self.factors[1:]):
            inputs = extend(inputs, z.ravel())
            component = np.broadcast_to(components[k], first.shape)
            mean, variance = (m.reshape(first.shape) for m in factor.moments_at(inputs, component.ravel()))
            z = mean + np.sqrt(variance) * normals[k]
            yield mean, variance, z
