"""The predictive density p(y | x): per row a mixture of Gaussians, from which everything else follows exactly.

Letters: N rows, C components, P targets, S draws, L quantile levels, G grid points.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.special import logsumexp, ndtr

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from cde_app.data.transform import TargetTransform

    Array = NDArray[np.float64]

LOG_2PI = float(np.log(2 * np.pi))
DRAW_BLOCK = 256
"""Rows that share one random stream, so that draws depend on a row's place in the table and not on the chunk size."""
HERMITE_NODES = 32
CRPS_GRID = 512
PAIRS_IN_MEMORY = 2_000_000


@dataclass(frozen=True)
class Mixture:
    """A C-component Gaussian mixture per row over the P transformed, standardised targets.

    Every method takes and returns the user's units; the transforms' log-Jacobians are included.
    """

    weights: Array
    """[C], non-negative, sum one."""
    means: Array
    """[N, C, P], standardised."""
    variances: Array
    """[N, C, P], standardised."""
    transforms: tuple[TargetTransform, ...]
    """One per target: user's units to standardised and back."""
    covariances: Array | None = None
    """[N or 1, C, P, P] where the targets depend on each other within a component; `variances` is its diagonal."""

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

    def __getitem__(self, rows: Any) -> Mixture:
        """Return the mixture of some rows: a slice, a mask or an index array."""
        covariances = self.covariances
        if covariances is not None and covariances.shape[0] > 1:
            covariances = covariances[rows]
        return replace(self, means=self.means[rows], variances=self.variances[rows], covariances=covariances)

    # --- densities ------------------------------------------------------------------------------------------------

    def log_density(self, targets: Array) -> Array:
        """Return the joint log density of one observation per row.

        log p(y_n) = log sum_c pi_c N(T(y_n); m_nc, V_nc) + sum_p log |dT_p/dy_p|

        Args:
            targets: [N, P], the user's units.

        Returns:
            [N], nats per the product of the targets' units.
        """
        Y, log_jacobian = self._standardise(targets)
        return self._joint_log_density(Y[:, None, :]) + log_jacobian.sum(-1)

    def marginal_log_density(self, targets: Array) -> Array:
        """Return each target's own log density; [N, P] to [N, P], nats per the target's unit."""
        Y, log_jacobian = self._standardise(targets)
        components = self._log_components(Y[:, None, :])
        return logsumexp(components + self._log_weights[None, :, None], axis=1) + log_jacobian

    def log_density_at(self, points: Array) -> Array:
        """Return every row's joint log density at the same points; [G, P] to [N, G]."""
        Y, log_jacobian = self._standardise(points)
        columns = [self._joint_log_density(Y[g][None, None, :]) for g in range(len(Y))]
        return np.stack(columns, axis=1) + log_jacobian.sum(-1)

    def marginal_log_density_at(self, grid: Array, target: int) -> Array:
        """Return every row's log density of one target on a grid; [G] to [N, G]."""
        transform = self.transforms[target]
        Y = transform.forward(grid)[None, None, :]
        means, variances = self.means[:, :, target, None], self.variances[:, :, target, None]
        components = -0.5 * ((Y - means) ** 2 / variances + np.log(variances) + LOG_2PI)
        return logsumexp(components + self._log_weights[None, :, None], axis=1) + transform.log_jacobian(grid)

    def hpd_level(self, targets: Array, *, num_samples: int, seed: int) -> Array:
        """Estimate the mass of the highest-density region whose edge is the observation; [N, P] to [N].

        Uniform on [0, 1] over the rows if the densities are calibrated (Hyndman 1996).
        """
        samples = self.sample(num_samples, seed=seed)
        observed = self.log_density(targets)
        return np.mean([self.log_density(draw) > observed for draw in samples], axis=0)

    # --- distribution functions -----------------------------------------------------------------------------------

    def cdf(self, targets: Array) -> Array:
        """Return P(y_p <= target) per row and target, the probability integral transform; [N, P] to [N, P]."""
        Y, _ = self._standardise(targets)
        return np.clip(self._standard_cdf(Y), 0.0, 1.0)

    def quantile(self, levels: Sequence[float] | Array) -> Array:
        """Return marginal quantiles; levels in (0, 1), [L], to [L, N, P].

        Newton's method on the exact cdf inside a bracket that bisection keeps shrinking.
        """
        quantiles = [self._standard_quantile(float(level)) for level in levels]
        return np.stack([self._invert(Y) for Y in quantiles])

    # --- moments --------------------------------------------------------------------------------------------------

    def mean(self) -> Array:
        """Return the predictive mean, [N, P]."""
        return self._expectation(lambda y, _: y)

    def sd(self) -> Array:
        """Return the predictive standard deviation, [N, P]."""
        mean = self.mean()
        return np.sqrt(self._expectation(lambda y, p: (y - mean[:, None, None, p]) ** 2))

    def covariance(self) -> Array:
        """Return the predictive covariance of the targets, [N, P, P]; exact where the transforms are affine.

        Elsewhere the conditional means of the components are exact and the dependence within a component is
        carried over by the delta method; the diagonal is always exact.
        """
        centres = np.stack([self._component_expectation(p, lambda y: y) for p in range(self.num_targets)], axis=-1)
        mean = np.einsum("c,ncp->np", self.weights, centres)
        deviations = centres - mean[:, None, :]
        covariance = np.einsum("c,ncp,ncq->npq", self.weights, deviations, deviations)
        if self.covariances is not None:
            slopes = np.exp(-np.stack([t.log_jacobian(mean[:, p]) for p, t in enumerate(self.transforms)], axis=-1))
            within = np.einsum("c,ncpq->npq", self.weights, np.broadcast_to(self.covariances, self._full_shape))
            covariance += within * slopes[:, :, None] * slopes[:, None, :]
        diagonal = np.arange(self.num_targets)
        covariance[:, diagonal, diagonal] = self.sd() ** 2
        return covariance

    # --- scores and draws -----------------------------------------------------------------------------------------

    def crps(self, targets: Array) -> Array:
        """Return the continuous ranked probability score of each target; [N, P] to [N, P], the target's units.

        CRPS(F, y) = E|Y - y| - E|Y - Y'| / 2, in closed form for a Gaussian mixture. Behind a transform that is not
        affine it is the integral of (F(t) - 1{t >= y})^2, with the exact F, on quantile nodes.

        Source: Grimit et al. (2006), equation 5; Gneiting and Raftery (2007), equation 20.
        """
        Y, _ = self._standardise(targets)
        scores = np.empty_like(Y)
        for p, transform in enumerate(self.transforms):
            if transform.is_affine:
                scores[:, p] = transform.scale * self._closed_form_crps(Y[:, p], p)
            else:
                scores[:, p] = self._integrated_crps(np.asarray(targets, float)[:, p], p)
        return scores

    def sample(self, num_samples: int, *, seed: int, first_row: int = 0) -> Array:
        """Draw from the predictive density.

        The draws of a row depend on `seed` and on its place in the table alone, whatever the chunk size.

        Args:
            num_samples: S.
            seed: non-negative integer.
            first_row: place in the table of this mixture's first row.

        Returns:
            [S, N, P], the user's units.
        """
        stop = first_row + self.num_rows
        cumulative = np.cumsum(self.weights)
        cumulative[-1] = np.inf
        samples = np.empty((num_samples, self.num_rows, self.num_targets))
        for block in range(first_row // DRAW_BLOCK, -(-stop // DRAW_BLOCK)):
            random = np.random.default_rng([seed, block])
            uniforms = random.random((DRAW_BLOCK, num_samples))
            normals = random.standard_normal((DRAW_BLOCK, num_samples, self.num_targets))
            low, high = max(block * DRAW_BLOCK, first_row), min((block + 1) * DRAW_BLOCK, stop)
            taken, rows = (
                slice(low - block * DRAW_BLOCK, high - block * DRAW_BLOCK),
                slice(low - first_row, high - first_row),
            )
            component = np.searchsorted(cumulative, uniforms[taken], side="right")
            draws = self._draw(rows, component, normals[taken])
            samples[:, rows] = np.moveaxis(draws, 1, 0)
        return samples

    # --- arithmetic in standardised units -------------------------------------------------------------------------

    @property
    def _log_weights(self) -> Array:
        with np.errstate(divide="ignore"):
            return np.log(self.weights)

    @property
    def _full_shape(self) -> tuple[int, int, int, int]:
        return (self.num_rows, self.num_components, self.num_targets, self.num_targets)

    def _standardise(self, targets: Array) -> tuple[Array, Array]:
        """Return the standardised targets and each target's log |dz/dy|, both [..., P]."""
        targets = np.asarray(targets, float)
        columns = [(t.forward(targets[..., p]), t.log_jacobian(targets[..., p])) for p, t in enumerate(self.transforms)]
        return np.stack([z for z, _ in columns], axis=-1), np.stack([j for _, j in columns], axis=-1)

    def _invert(self, Y: Array) -> Array:
        """Return standardised values [..., P] in the user's units."""
        return np.stack([t.inverse(Y[..., p]) for p, t in enumerate(self.transforms)], axis=-1)

    def _log_components(self, Y: Array) -> Array:
        """Return log N(y_p; m_cp, v_cp) for Y [N or 1, 1, P], [N, C, P]."""
        return -0.5 * ((Y - self.means) ** 2 / self.variances + np.log(self.variances) + LOG_2PI)

    def _joint_log_density(self, Y: Array) -> Array:
        """Return the log density of the standardised targets Y [N or 1, 1, P], [N]."""
        if self.covariances is None:
            components = self._log_components(Y).sum(-1)
        else:
            factors = np.linalg.cholesky(self.covariances)
            whitened = np.linalg.solve(factors, (Y - self.means)[..., None])[..., 0]
            log_determinant = np.log(np.diagonal(factors, axis1=-2, axis2=-1)).sum(-1)
            components = -0.5 * ((whitened**2).sum(-1) + self.num_targets * LOG_2PI) - log_determinant
        return logsumexp(components + self._log_weights, axis=1)

    def _standard_cdf(self, Y: Array) -> Array:
        """Return the marginal cdf of standardised values, [N, P] to [N, P]."""
        return np.einsum("c,ncp->np", self.weights, ndtr((Y[:, None, :] - self.means) / np.sqrt(self.variances)))

    def _standard_quantile(self, level: float) -> Array:
        """Return the marginal quantile of the standardised targets, [N, P]."""
        sds = np.sqrt(self.variances)
        reach = 1.0 + np.sqrt(2 * np.log(2 / min(level, 1 - level)))
        low, high = (self.means - reach * sds).min(1), (self.means + reach * sds).max(1)
        spread = np.sqrt(np.einsum("c,ncp->np", self.weights, self.variances + self.means**2))
        Y = np.clip(np.einsum("c,ncp->np", self.weights, self.means), low, high)
        for _ in range(100):
            standardised = (Y[:, None, :] - self.means) / sds
            excess = np.einsum("c,ncp->np", self.weights, ndtr(standardised)) - level
            density = np.einsum("c,ncp->np", self.weights, np.exp(-0.5 * standardised**2 - 0.5 * LOG_2PI) / sds)
            low, high = np.where(excess < 0, Y, low), np.where(excess < 0, high, Y)
            if np.all((np.abs(excess) < 1e-13) | (high - low <= 1e-14 * spread)):
                break
            with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
                newton = Y - excess / density
            Y = np.where((newton > low) & (newton < high), newton, 0.5 * (low + high))
        return Y

    def _component_expectation(self, target: int, function: Callable[[Array], Array]) -> Array:
        """Return E[f(y_p)] under every component, [N, C], by Gauss-Hermite quadrature (exact for affine transforms)."""
        nodes, weights = np.polynomial.hermite_e.hermegauss(HERMITE_NODES)
        values = self.means[:, :, target, None] + np.sqrt(self.variances[:, :, target, None]) * nodes
        return function(self.transforms[target].inverse(values)) @ (weights / weights.sum())

    def _expectation(self, function: Callable[[Array, int], Array]) -> Array:
        """Return E[f(y_p, p)], [N, P]."""
        columns = [
            self._component_expectation(p, lambda y, p=p: function(y, p)) @ self.weights  # type: ignore[misc]
            for p in range(self.num_targets)
        ]
        return np.stack(columns, axis=-1)

    def _closed_form_crps(self, Y: Array, target: int) -> Array:
        """Return the CRPS of standardised values [N] by Grimit's closed form."""
        means, variances, weights = self.means[:, :, target], self.variances[:, :, target], self.weights
        distance = _mean_absolute(Y[:, None] - means, variances) @ weights
        same = np.sqrt(variances / np.pi) @ weights**2
        first, second = np.triu_indices(self.num_components, 1)
        pair_weights = weights[first] * weights[second]
        spread = np.empty_like(distance)
        step = max(1, PAIRS_IN_MEMORY // max(1, len(first)))
        for start in range(0, len(Y), step):
            rows = slice(start, start + step)
            m, v = means[rows], variances[rows]
            spread[rows] = _mean_absolute(m[:, first] - m[:, second], v[:, first] + v[:, second]) @ pair_weights
        return distance - same - spread

    def _integrated_crps(self, targets: Array, target: int) -> Array:
        """Return the CRPS of one target [N], in its own units, by quadrature of the exact cdf."""
        transform = self.transforms[target]
        tails = 10.0 ** np.arange(-9, -2, 1.0)
        levels = np.concatenate([tails, np.linspace(0.01, 0.99, CRPS_GRID), 1 - tails[::-1]])
        nodes = self._quantile_nodes(levels, target)
        observed = np.clip(transform.forward(targets), nodes[:, :1][:, 0] - 50, nodes[:, -1] + 50)
        nodes = np.sort(np.concatenate([nodes, observed[:, None]], axis=1), axis=1)
        grid = transform.inverse(nodes)
        means, sds = self.means[:, :, target], np.sqrt(self.variances[:, :, target])
        cdf = np.stack([ndtr((nodes[:, g, None] - means) / sds) @ self.weights for g in range(nodes.shape[1])], axis=1)
        below = nodes[:, 1:] <= observed[:, None]
        integrand_low = np.where(below, cdf[:, :-1] ** 2, (1 - cdf[:, :-1]) ** 2)
        integrand_high = np.where(below, cdf[:, 1:] ** 2, (1 - cdf[:, 1:]) ** 2)
        return (0.5 * (integrand_low + integrand_high) * np.diff(grid, axis=1)).sum(1)

    def _quantile_nodes(self, levels: Array, target: int) -> Array:
        """Return standardised abscissae near the quantiles at `levels`, [N, len(levels)], by interpolating the cdf."""
        means, sds = self.means[:, :, target], np.sqrt(self.variances[:, :, target])
        nodes = np.empty((self.num_rows, len(levels)))
        for n in range(self.num_rows):
            abscissae = np.sort((means[n][:, None] + sds[n][:, None] * np.linspace(-6, 6, 13)).ravel())
            abscissae = abscissae[np.linspace(0, len(abscissae) - 1, CRPS_GRID).astype(int)]
            cdf = ndtr((abscissae[:, None] - means[n]) / sds[n]) @ self.weights
            nodes[n] = np.interp(levels, cdf, abscissae)
        return nodes

    def _draw(self, rows: slice, component: NDArray[np.intp], normals: Array) -> Array:
        """Turn component indices [n, S] and normals [n, S, P] into draws [n, S, P] in the user's units."""
        means = np.take_along_axis(self.means[rows], component[..., None], axis=1)
        if self.covariances is None:
            sds = np.sqrt(np.take_along_axis(self.variances[rows], component[..., None], axis=1))
            return self._invert(means + sds * normals)
        factors = np.linalg.cholesky(self.covariances)
        factors = np.broadcast_to(factors, self._full_shape)[rows]
        chosen = np.take_along_axis(factors, component[..., None, None], axis=1)
        return self._invert(means + np.einsum("nspq,nsq->nsp", chosen, normals))


def _mean_absolute(mean: Array, variance: Array) -> Array:
    """Return E|X| for X ~ N(mean, variance)."""
    sd = np.sqrt(variance)
    ratio = mean / sd
    return mean * (2 * ndtr(ratio) - 1) + sd * np.sqrt(2 / np.pi) * np.exp(-0.5 * ratio**2)
