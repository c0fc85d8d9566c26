"""The predictive density p(y | x): a mixture of Gaussians per row, from which everything else follows exactly.

Letters: N rows, C components, P targets, S draws, L quantile levels, G grid points.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property, reduce
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.special import ndtr, softmax

from cde_app.arrays import Array, IndexArray, IntArray
from cde_app.machine.blocks import cache_blocks, work_in_blocks
from cde_app.machine.streams import Stream, generator
from cde_app.predictive.component_moments import HERMITE_DEGREE, component_moments, hermite_coefficients
from cde_app.predictive.crps import gaussian_mixture_crps, transformed_mixture_crps
from cde_app.predictive.forecast import Forecast
from cde_app.predictive.panels import SMALLEST_LOG
from cde_app.predictive.quantiles import mixture_quantiles
from cde_app.predictive.weights import average, axes_of, chosen_components, of_rows

if TYPE_CHECKING:
    from cde_app.targets import TargetTransform


LOG_2PI = float(np.log(2 * np.pi))
FEWEST_COMPONENTS, FEWEST_SHARE = 100, 0.1
"""Given some targets, fewer effective components, or a smaller share of them, make a rough density."""
DRAW_BLOCK = 256
"""Rows that share one random stream, so that draws depend on a row's position in the table, not on the chunk size."""


@dataclass(frozen=True, repr=False)
class Mixture(Forecast):
    """A C-component Gaussian mixture per row over the P transformed, standardised targets.

    Every method takes and returns the user's units; the transforms' log-Jacobians are included.
    """

    weights: Array
    """[C], or [N, C] if each row has its own; non-negative, sum one."""
    means: Array
    """[N, C, P], standardised."""
    variances: Array
    """[N, C, P], standardised."""
    transforms: tuple[TargetTransform, ...]
    """One per target: user's units to standardised and back."""
    covariances: Array | None = None
    """[N or 1, C, P, P] if the targets depend on each other within a component; `variances` is its diagonal."""

    @property
    def num_rows(self) -> int:
        """N."""
        return self.means.shape[0]

    @property
    def num_components(self) -> int:
        """C."""
        return self.means.shape[1]

    @property
    def num_targets(self) -> int:
        """P."""
        return self.means.shape[2]

    @property
    def effective_components(self) -> Array:
        """[N], the number of equal weights that would vary as much as the row's: 1 / sum of squares (Kish 1965)."""
        return np.broadcast_to(1.0 / np.sum(self.weights**2, axis=-1), self.num_rows)

    @property
    def num_rough(self) -> int:
        """The number of rows in which what is given leaves few components, so that the density is rough."""
        if self.weights.ndim == 1:
            return 0
        fewest = min(FEWEST_COMPONENTS, FEWEST_SHARE * self.num_components)
        return int(np.sum(~(self.effective_components >= fewest)))

    @property
    def closest_pair(self) -> tuple[int, int]:
        """The two targets of `pair`: the first two."""
        return 0, 1

    def pair(self) -> Mixture:
        """Return the joint mixture of the first two targets."""
        return self._of_targets([0, 1])

    def marginals(self) -> tuple[Mixture, ...]:
        """Return the marginal mixture of each target."""
        return tuple(self._of_targets([p]) for p in range(self.num_targets))

    def marginal(self, target: str | int) -> Mixture:
        """Return the mixture of one target by itself, by its name or its index."""
        return self._of_targets([self._index(target)])

    def components(self) -> Mixture:
        """Return the mixture itself."""
        return self

    def joint_components(self) -> Mixture:
        """Return the mixture itself."""
        return self

    def _given(self, indices: Sequence[int], z: Array) -> Mixture:
        """Return the mixture of the other targets, given some of them.

        The weight of a component is multiplied by its density of what is given, and what is left of it is the
        conditional normal (Bishop 2006, equations 2.81 and 2.82).

        Args:
            indices: A targets.
            z: [N, A], standardised.
        """
        given, rest = list(indices), [p for p in range(self.num_targets) if p not in indices]
        deviations = z[:, None] - self.means[:, :, given]
        means, covariances = self.means[:, :, rest], None
        if self.covariances is None:
            factor, variances = np.sqrt(self.variances[:, :, given]), self.variances[:, :, rest]
            whitened, log_determinant = deviations / factor, np.log(factor).sum(-1)
        else:
            blocks = [
                [self.covariances[:, :, rows][..., columns] for columns in (given, rest)] for rows in (given, rest)
            ]
            factor = np.linalg.cholesky(blocks[0][0])
            whitened = np.linalg.solve(factor, deviations[..., None])[..., 0]
            log_determinant = np.log(np.diagonal(factor, axis1=-2, axis2=-1)).sum(-1)
            shared = np.linalg.solve(factor, blocks[0][1])
            means = means + np.einsum("...ab,...a->...b", shared, whitened)
            covariances = blocks[1][1] - np.einsum("...ab,...ac->...bc", shared, shared)
            variances = np.broadcast_to(np.diagonal(covariances, axis1=-2, axis2=-1), means.shape)
        with np.errstate(divide="ignore"):
            exponents = np.log(self.weights) - 0.5 * np.square(whitened).sum(-1) - log_determinant
        return Mixture(
            softmax(exponents, axis=1),
            means,
            variances,
            tuple(self.transforms[p] for p in rest),
            covariances if len(rest) > 1 else None,
            names=tuple(self.names[p] for p in rest) if self.names else (),
        )

    def _of_rows(self, rows: Any) -> Mixture:
        """Return the mixture of some rows: a slice, a mask or an index array."""
        covariances = self.covariances
        if covariances is not None and covariances.shape[0] > 1:
            covariances = covariances[rows]
        weights, means = of_rows(self.weights, rows), self.means[rows]
        return replace(self, weights=weights, means=means, variances=self.variances[rows], covariances=covariances)

    # --- densities ------------------------------------------------------------------------------------------------

    def _log_prob(self, targets: Array) -> Array:
        """Return the joint log density of one observation per row.

        log p(y_n) = log sum_c pi_c N(T(y_n); m_nc, V_nc) + sum_p log |dT_p/dy_p|

        Args:
            targets: [N, P], the user's units.

        Returns:
            [N], nats per product of the targets' units.
        """
        Y, log_jacobian = self._standardise(targets)
        return self._joint_log_density(Y[:, None, :])[:, 0] + log_jacobian.sum(-1)

    def _log_prob_at(self, points: Array) -> Array:
        """Return every row's joint log density at the same points; [G, P] to [N, G]."""
        Y, log_jacobian = self._standardise(points)
        return self._joint_log_density(Y[None]) + log_jacobian.sum(-1)

    def _log_prob_of(self, draws: Array) -> Array:
        """Return the joint log densities of several observations per row; [S, N, P] to [S, N]."""
        Y, log_jacobian = self._standardise(draws)
        return self._joint_log_density(np.moveaxis(Y, 0, 1)).T + log_jacobian.sum(-1)

    # --- distribution functions -----------------------------------------------------------------------------------

    def _cdf(self, targets: Array) -> Array:
        """Return P(y_p <= target) per row and target; [N, P] to [N, P]."""
        Y, _ = self._standardise(targets)
        return np.clip(self._standard_cdf(Y), 0.0, 1.0)

    def mass_between(self, lower: Array, upper: Array) -> Array:
        """Return P(lower < y < upper) of one target; [N] and [N] to [N].

        The upper tail is that of the mirrored components, whose small probabilities keep their digits.
        """
        edges = [self._standardise(limit[:, None])[0][:, 0] for limit in (lower, upper)]
        masses = np.empty(self.num_rows)

        def fill(rows: slice) -> None:
            means, sds = self.means[rows, :, 0], np.sqrt(self.variances[rows, :, 0])
            with np.errstate(over="ignore"):  # of a limit far away, the probability is 0 or 1
                low, high = ((edge[rows, None] - means) / sds for edge in edges)
            in_upper_tail = low > 0
            low, high = np.where(in_upper_tail, -high, low), np.where(in_upper_tail, -low, high)
            mass = average(np.maximum(ndtr(high) - ndtr(low), 0.0), of_rows(self.weights, rows))
            masses[rows] = np.minimum(mass, 1.0)

        work_in_blocks(fill, self.num_rows, 2 * self.num_components)
        return masses

    def log_prob_along(self, z: Array) -> Array:
        """Return one target's log density, in its units, at points of each row; [N, G], standardised, to [N, G]."""
        return self._joint_log_density(z[..., None]) + self.transforms[0].log_jacobian_at(z)

    def cdf_along(self, z: Array) -> Array:
        """Return one target's distribution function at points of each row; [N, G], standardised, to [N, G]."""
        cdf = np.empty(z.shape)

        def fill(rows: slice) -> None:
            weights, sds = of_rows(self.weights, rows), np.sqrt(self.variances[rows, None, :, 0])
            with np.errstate(over="ignore"):
                standardised = (z[rows, :, None] - self.means[rows, None, :, 0]) / sds
            cdf[rows] = np.clip(np.einsum(f"ngc,{axes_of(weights)}->ng", ndtr(standardised), weights), 0.0, 1.0)

        work_in_blocks(fill, self.num_rows, z.shape[1] * self.num_components)
        return cdf

    def _quantile(self, levels: Array) -> Array:
        """Return marginal quantiles; levels in (0, 1), [L], to [L, N, P]."""
        columns = [
            mixture_quantiles(self.weights, self.means[:, :, p], self.variances[:, :, p], levels)
            for p in range(self.num_targets)
        ]
        return self._invert(np.stack(columns, axis=-1))

    # --- moments --------------------------------------------------------------------------------------------------

    def mean(self) -> Array:
        """Return the predictive mean, [N, P]."""
        return self._mean_and_sd[0]

    def sd(self) -> Array:
        """Return the predictive standard deviation, [N, P]."""
        return self._mean_and_sd[1]

    def covariance(self) -> Array:
        """Return the predictive covariance of the targets, [N, P, P].

        Within a component cov(g(y_1), h(y_2)) = sum_k rho^k g_k h_k, with the Hermite coefficients g_k and h_k of the
        inverse transforms and the correlation rho (Mehler's formula). If a transform is affine only the first term is
        nonzero; otherwise the first 16 are used.
        """
        covariance = np.empty((self.num_rows, self.num_targets, self.num_targets))

        def fill(rows: slice) -> None:
            covariance[rows] = self[rows]._covariance()

        work_in_blocks(fill, self.num_rows, self.num_targets * self._width)
        return covariance

    # --- scores and draws -----------------------------------------------------------------------------------------

    def _crps(self, targets: Array) -> Array:
        """Return the continuous ranked probability score of each target; [N, P] to [N, P], the target's units.

        E|Y - y| - E|Y - Y'| / 2 = int (F(t) - 1{t >= y})^2 dt. If the transform is affine, the first form is used, in
        closed form (to eight digits with many components); otherwise the second, by quadrature to six digits.

        Source: Grimit et al. (2006), equation 5; Gneiting and Raftery (2007), equation 20.
        """
        scores = np.empty(targets.shape)
        for p, transform in enumerate(self.transforms):
            means, variances, y = self.means[:, :, p], self.variances[:, :, p], targets[:, p]
            if transform.is_affine:
                standardised = gaussian_mixture_crps(self.weights, means, variances, transform.forward(y))
                scores[:, p] = transform.scale * standardised
            else:
                scores[:, p] = transformed_mixture_crps(self.weights, means, variances, transform, y)
        return scores

    def sample(self, num_samples: int, *, seed: int = 0, rows: IntArray | None = None) -> Array:
        """Draw from the predictive density.

        The draws of a row depend only on `seed` and on its position in the table, not on the chunk size.

        Args:
            num_samples: S.
            seed: non-negative integer.
            rows: [N], positions of this mixture's rows in the table, ascending; None uses 0, 1, ...

        Returns:
            [S, N, P], the user's units.
        """
        samples = np.empty((num_samples, self.num_rows, self.num_targets))
        draws = draw_blocks(self._positions(rows))

        def fill(some: slice) -> None:
            for block, taken, own in draws[some]:
                random = generator(seed, Stream.DRAWS, block)
                uniforms = random.random((DRAW_BLOCK, num_samples))[taken]
                normals = random.standard_normal((DRAW_BLOCK, num_samples, self.num_targets))[taken]
                component = chosen_components(of_rows(self.weights, own), uniforms)
                samples[:, own] = np.moveaxis(self._draw(own, component, normals), 1, 0)

        work_in_blocks(fill, len(draws), DRAW_BLOCK * num_samples * self.num_targets)
        return samples

    # --- arithmetic in standardised units -------------------------------------------------------------------------

    @cached_property
    def _mean_and_sd(self) -> tuple[Array, Array]:
        """The predictive mean and standard deviation, two [N, P], the user's units."""
        shape = (self.num_rows, self.num_targets)
        mean, sd = np.empty(shape), np.empty(shape)

        def fill(rows: slice) -> None:
            weights = of_rows(self.weights, rows)
            for p, transform in enumerate(self.transforms):
                means, variances = component_moments(self.means[rows, :, p], self.variances[rows, :, p], transform)
                mean[rows, p] = average(means, weights)
                means -= mean[rows, p, None]
                sd[rows, p] = np.sqrt(average(variances + means**2, weights))

        work_in_blocks(fill, self.num_rows, self._width)
        return mean, sd

    @property
    def _width(self) -> int:
        """The approximate number of values that the moments of a row hold."""
        return self.num_components * (4 if all(transform.is_affine for transform in self.transforms) else 32)

    def _of_targets(self, targets: list[int]) -> Mixture:
        """Return the mixture of some targets, one or more."""
        covariances = self.covariances
        if covariances is not None:
            covariances = covariances[:, :, targets][:, :, :, targets] if len(targets) > 1 else None
        return replace(
            self,
            means=self.means[:, :, targets],
            variances=self.variances[:, :, targets],
            transforms=tuple(self.transforms[p] for p in targets),
            covariances=covariances,
            names=tuple(self.names[p] for p in targets) if self.names else (),
        )

    def _standardise(self, targets: Array) -> tuple[Array, Array]:
        """Return the standardised targets and each target's log |dz/dy|, both [..., P]."""
        targets = np.asarray(targets, float)
        columns = [(t.forward(targets[..., p]), t.log_jacobian(targets[..., p])) for p, t in enumerate(self.transforms)]
        return np.stack([z for z, _ in columns], axis=-1), np.stack([j for _, j in columns], axis=-1)

    def _invert(self, Y: Array) -> Array:
        """Convert standardised values [..., P] to the user's units."""
        return np.stack([t.inverse(Y[..., p]) for p, t in enumerate(self.transforms)], axis=-1)

    def _joint_log_density(self, Y: Array) -> Array:
        """Return the log density of standardised targets; [N or 1, G, P] to [N, G]."""
        num_points = Y.shape[1]
        log_density = np.empty((self.num_rows, num_points))

        def fill(rows: slice) -> None:
            own, points = self[rows], Y[rows] if len(Y) > 1 else Y
            means = np.ascontiguousarray(np.moveaxis(own.means, -1, 0))
            whitening, log_heights = own._whitening()
            for columns in cache_blocks(num_points, means[0].size):
                whitened: dict[int, Array] = {}
                for (p, q), factor in whitening.items():
                    term = points[:, columns, None, q] - means[q, :, None, :]
                    term *= factor[:, None, :]
                    whitened[p] = whitened[p] + term if p in whitened else term
                with np.errstate(over="ignore"):  # very far away the density is zero
                    exponents = reduce(np.add, [np.square(value, out=value) for value in whitened.values()])
                exponents *= -0.5
                exponents += log_heights[:, None, :]
                log_density[rows, columns] = _log_sum_exp(exponents)

        work_in_blocks(fill, self.num_rows, self.num_components * max(1, num_points))
        return log_density

    def _whitening(self) -> tuple[dict[tuple[int, int], Array], Array]:
        """Return the factors that make components standard normal, and the logs of their weighted heights.

        The factors are the entries (p, q) of the inverse Cholesky factors or, without covariances, 1 / sd at (p, p).
        Each of them, and the heights, are [N or 1, C].
        """
        targets = range(self.num_targets)
        if self.covariances is None:
            factors = {(p, p): 1.0 / np.sqrt(self.variances[:, :, p]) for p in targets}
        else:
            inverse = np.linalg.inv(np.linalg.cholesky(self.covariances))
            factors = {(p, q): np.ascontiguousarray(inverse[:, :, p, q]) for p in targets for q in range(p + 1)}
        with np.errstate(divide="ignore"):
            log_weights = np.log(self.weights) - 0.5 * self.num_targets * LOG_2PI
        return factors, log_weights + sum(np.log(factors[p, p]) for p in targets)

    def _standard_cdf(self, Y: Array) -> Array:
        """Return the marginal cdf of standardised values, [N, P] to [N, P]."""
        values = np.empty(Y.shape)

        def fill(rows: slice) -> None:
            standardised = (Y[rows, None, :] - self.means[rows]) / np.sqrt(self.variances[rows])
            weights = of_rows(self.weights, rows)
            values[rows] = np.einsum(f"{axes_of(weights)},ncp->np", weights, ndtr(standardised))

        work_in_blocks(fill, self.num_rows, self.num_components * self.num_targets)
        return values

    def _covariance(self) -> Array:
        """Return `covariance` for a block of rows that fits into memory."""
        targets = range(self.num_targets)
        columns = [component_moments(self.means[:, :, p], self.variances[:, :, p], self.transforms[p]) for p in targets]
        deviations = np.stack([means for means, _ in columns], axis=-1) - self.mean()[:, None, :]
        axes = axes_of(self.weights)
        covariance = np.einsum(f"{axes},ncp,ncq->npq", self.weights, deviations, deviations)
        for p in targets:
            covariance[:, p, p] += average(columns[p][1], self.weights)
        if self.covariances is not None:
            sds = np.sqrt(np.diagonal(self.covariances, axis1=-2, axis2=-1))
            coefficients = [
                hermite_coefficients(self.means[:, :, p], self.variances[:, :, p], self.transforms[p]) for p in targets
            ]
            for p, q in zip(*np.triu_indices(self.num_targets, 1), strict=True):
                correlation = self.covariances[..., p, q] / (sds[..., p] * sds[..., q])
                powers = correlation[..., None] ** np.arange(1, HERMITE_DEGREE + 1)
                term = np.einsum(
                    "nck,nck,nck->nc",
                    np.broadcast_to(powers, coefficients[p].shape),
                    *(coefficients[i] for i in (p, q)),
                )
                covariance[:, p, q] += average(term, self.weights)
                covariance[:, q, p] = covariance[:, p, q]
        return covariance

    def _draw(self, rows: slice, component: IndexArray, normals: Array) -> Array:
        """Turn component indices [n, S] and normals [n, S, P] into draws [n, S, P] in the user's units."""
        chosen = np.arange(len(component))[:, None], component
        means = self.means[rows][chosen]
        if self.covariances is None:
            return self._invert(means + np.sqrt(self.variances[rows][chosen]) * normals)
        factors = np.linalg.cholesky(self.covariances if len(self.covariances) == 1 else self.covariances[rows])
        factors = np.broadcast_to(factors, (len(means), *factors.shape[1:]))
        return self._invert(means + np.einsum("nspq,nsq->nsp", factors[chosen], normals))


def draw_blocks(rows: IntArray) -> list[tuple[int, IntArray, slice]]:
    """List the blocks of rows that share a random stream.

    Args:
        rows: [N], positions in the table, ascending.

    Returns:
        For each block its number, its requested rows, and their slice of the N.
    """
    numbers = rows // DRAW_BLOCK
    edges = [0, *(np.flatnonzero(np.diff(numbers)) + 1), len(rows)] if len(rows) else [0]
    return [(int(numbers[low]), rows[low:high] % DRAW_BLOCK, slice(low, high)) for low, high in pairwise(edges)]


def _log_sum_exp(exponents: Array) -> Array:
    """Return log sum exp over the last axis, -inf if all entries are; overwrites its argument."""
    greatest = exponents.max(-1)
    exponents -= np.where(np.isneginf(greatest), 0.0, greatest)[..., None]
    np.maximum(exponents, SMALLEST_LOG, out=exponents)
    np.exp(exponents, out=exponents)
    return np.log(exponents.sum(-1)) + greatest
