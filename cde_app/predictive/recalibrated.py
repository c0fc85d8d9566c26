"""Forecasts whose probabilities are mapped: P(y_p <= t) becomes G_p(P(y_p <= t)), for each target by itself.

One target has the density g(F(y)) p(y), with g = G'. Several targets keep their dependence: a draw y of the original
forecast becomes F_p^-1(G_p^-1(F_p(y_p))) in each target, so that the joint density at y is that of the original at the
points s with F_p(s_p) = G_p(F_p(y_p)), times their slopes.

Letters: N rows, P targets, S draws, L levels, G points.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from cde_app.arrays import Array, IntArray
from cde_app.machine.blocks import work_in_blocks
from cde_app.predictive.crps import transformed_mixture_crps
from cde_app.predictive.forecast import Forecast
from cde_app.predictive.mixture import Mixture
from cde_app.predictive.panels import NODES
from cde_app.predictive.probability_map import LARGEST, SMALLEST, ProbabilityMap
from cde_app.predictive.quantiles import mixture_quantiles
from cde_app.predictive.shape import NUM_PANELS, curves_of

if TYPE_CHECKING:
    from cde_app.targets import TargetTransform


@dataclass(frozen=True, repr=False)
class RecalibratedMarginal(Forecast):
    """The recalibrated forecast of one target: the distribution function is G(F(y)), the density g(F(y)) p(y).

    Exact, but for the mean, the standard deviation and the CRPS, which are integrals by quadrature (six digits).

    Source: Chernozhukov, Wuethrich and Zhu (2021), "Distributional conformal prediction", PNAS 118; Kuleshov, Fenner
    and Ermon (2018), "Accurate uncertainties for deep learning using calibrated regression", ICML.
    """

    mixture: Mixture
    """F, of one target."""
    mapped: ProbabilityMap
    """G."""

    @property
    def num_rows(self) -> int:
        """N."""
        return self.mixture.num_rows

    @property
    def num_targets(self) -> int:
        """One."""
        return 1

    @property
    def transforms(self) -> tuple[TargetTransform, ...]:
        """That of the target."""
        return self.mixture.transforms

    def marginals(self) -> tuple[RecalibratedMarginal, ...]:
        """Return the forecast itself."""
        return (self,)

    def _of_rows(self, rows: Any) -> RecalibratedMarginal:
        """Return the forecasts of some rows: a slice, a mask or an index array."""
        return replace(self, mixture=self.mixture[rows], mapped=self.mapped.of_rows(rows))

    # --- densities and distribution functions ---------------------------------------------------------------------

    def _log_prob(self, targets: Array) -> Array:
        """Return the log density of one observation per row; [N, 1] to [N]."""
        return self.mixture.log_prob(targets) + self.mapped.log_slope(self.mixture.cdf(targets))[:, 0]

    def _log_prob_at(self, points: Array) -> Array:
        """Return every row's log density at the same points; [G, 1] to [N, G]."""
        return self.log_prob_along(self._standardised(points[:, 0]))

    def log_prob_along(self, z: Array) -> Array:
        """Return the log density, in the target's units, at points of each row; [N, G], standardised, to [N, G]."""
        return self.mixture.log_prob_along(z) + self.mapped.log_slope(self.mixture.cdf_along(z))

    def cdf_along(self, z: Array) -> Array:
        """Return the distribution function at points of each row; [N, G], standardised, to [N, G]."""
        return self.mapped.forward(self.mixture.cdf_along(z))

    def _cdf(self, targets: Array) -> Array:
        """Return P(y <= target) per row; [N, 1] to [N, 1]."""
        return self.mapped.forward(self.mixture.cdf(targets))

    def mass_between(self, lower: Array, upper: Array) -> Array:
        """Return P(lower < y < upper) per row; [N] and [N] to [N]; small upper tails keep their digits."""
        everything = np.full(self.num_rows, np.inf)
        below = [self.mixture.mass_between(-everything, limit)[:, None] for limit in (lower, upper)]
        above = [self.mixture.mass_between(limit, everything)[:, None] for limit in (lower, upper)]
        from_below = self.mapped.forward(below[1]) - self.mapped.forward(below[0])
        from_above = self.mapped.mirrored.forward(above[0]) - self.mapped.mirrored.forward(above[1])
        return np.maximum(np.where(below[0] < 0.5, from_below, from_above)[:, 0], 0.0)

    def _quantile(self, levels: Array) -> Array:
        """Return quantiles; levels in (0, 1), [L], to [L, N, 1]."""
        v = np.broadcast_to(levels, (self.num_rows, len(levels)))
        return self.transforms[0].inverse(self._solved(self.mapped.inverse(v))).T[:, :, None]

    # --- moments, scores and draws --------------------------------------------------------------------------------

    def mean(self) -> Array:
        """Return the predictive mean, [N, 1]."""
        return self._mean_and_sd[0]

    def sd(self) -> Array:
        """Return the predictive standard deviation, [N, 1]."""
        return self._mean_and_sd[1]

    def covariance(self) -> Array:
        """Return the predictive variance, [N, 1, 1]."""
        return self.sd()[:, :, None] ** 2

    @cached_property
    def _mean_and_sd(self) -> tuple[Array, Array]:
        mean, sd = np.empty((self.num_rows, 1)), np.empty((self.num_rows, 1))

        def fill(rows: slice) -> None:
            curves = curves_of(self[rows])
            masses = curves.masses / curves.masses.sum(axis=1, keepdims=True)
            y = self.transforms[0].inverse(curves.z)
            mean[rows, 0] = (masses * y).sum(axis=1)
            sd[rows, 0] = np.sqrt((masses * (y - mean[rows]) ** 2).sum(axis=1))

        work_in_blocks(fill, self.num_rows, NUM_PANELS * len(NODES) * 4)
        return mean, sd

    def _crps(self, targets: Array) -> Array:
        """Return int (G(F(t)) - 1{t >= y})^2 dt by quadrature; [N, 1] to [N, 1], the target's units."""
        weights, means, variances = self.mixture.weights, self.mixture.means[:, :, 0], self.mixture.variances[:, :, 0]
        scores = transformed_mixture_crps(
            weights, means, variances, self.transforms[0], targets[:, 0], mapped=self.mapped
        )
        return scores[:, None]

    def sample(self, num_samples: int, *, seed: int = 0, rows: IntArray | None = None) -> Array:
        """Draw from the density; [S, N, 1]: those of the mixture, mapped."""
        draws = self.mixture.sample(num_samples, seed=seed, rows=rows)
        return self.from_original(draws[:, :, 0].T).T[:, :, None]

    def _log_prob_of(self, draws: Array) -> Array:
        """Return the log densities of several observations per row; [S, N, 1] to [S, N]."""
        return self.log_prob_along(self.transforms[0].forward(draws[:, :, 0].T)).T

    # --- between the mixture and the recalibrated forecast --------------------------------------------------------

    def from_original(self, y: Array) -> Array:
        """Return what draws of the mixture become, F^-1(G^-1(F(y))); [N, G] to [N, G]."""
        u = np.clip(self.mixture.cdf_along(self.transforms[0].forward(y)), SMALLEST, LARGEST)
        return self.transforms[0].inverse(self._solved(self.mapped.inverse(u)))

    def to_original(self, y: Array) -> tuple[Array, Array]:
        """Return the s with F(s) = G(F(y)), and the log of ds / dy = g(F(y)) p(y) / p(s); [N, G] to two [N, G]."""
        z = self.transforms[0].forward(y)
        u = self.mixture.cdf_along(z)
        s = self._solved(np.clip(self.mapped.forward(u), SMALLEST, LARGEST))
        log_slope = self.mapped.log_slope(u) + self.mixture.log_prob_along(z) - self.mixture.log_prob_along(s)
        return self.transforms[0].inverse(s), log_slope

    def _solved(self, u: Array) -> Array:
        """Return the z with F(z) = u; [N, G] in (0, 1) to [N, G], standardised."""
        mixture = self.mixture
        return mixture_quantiles(mixture.weights, mixture.means[:, :, 0], mixture.variances[:, :, 0], u.T).T

    def _standardised(self, points: Array) -> Array:
        """Return the same points for every row; [G] to [N, G], standardised."""
        return np.broadcast_to(self.transforms[0].forward(points), (self.num_rows, len(points)))

    # --- what one target alone does not have ----------------------------------------------------------------------

    @property
    def closest_pair(self) -> tuple[int, int]:
        """There is none.

        Raises:
            ValueError: always.
        """
        raise ValueError("closest_pair: expected several targets; got one")

    def pair(self) -> Forecast:
        """There is none.

        Raises:
            ValueError: always.
        """
        raise ValueError("pair: expected several targets; got one")

    def components(self) -> Mixture:
        """Refuse; see `Recalibrated.components`."""
        raise no_components()

    def joint_components(self) -> Mixture:
        """Refuse; see `Recalibrated.components`."""
        raise no_components()

    def _given(self, indices: Sequence[int], z: Array) -> Forecast:
        """Refuse; see `Recalibrated._given`."""
        raise no_given()


@dataclass(frozen=True, repr=False)
class Recalibrated(Forecast):
    """The recalibrated forecast of several targets, with the dependence of the original.

    Its joint density integrates to one. A target by itself has G_p(F_p), with the F_p of the original's marginals.
    """

    original: Forecast
    """Of P targets."""
    each: tuple[RecalibratedMarginal, ...]
    """[P], each target by itself."""
    regions: ProbabilityMap | None = None
    """Of the masses of the original's highest-density regions, the same for all rows; None in a pair of the targets."""

    @property
    def num_rows(self) -> int:
        """N."""
        return self.original.num_rows

    @property
    def num_targets(self) -> int:
        """P."""
        return len(self.each)

    @property
    def transforms(self) -> tuple[TargetTransform, ...]:
        """[P]."""
        return self.original.transforms

    def marginals(self) -> tuple[RecalibratedMarginal, ...]:
        """Return the forecast of each target by itself."""
        return tuple(replace(one, names=self.names[p : p + 1]) for p, one in enumerate(self.each))

    @property
    def closest_pair(self) -> tuple[int, int]:
        """The two targets of `pair`: the original's."""
        return self.original.closest_pair

    def pair(self) -> Recalibrated:
        """Return the joint forecast of two targets, `closest_pair`."""
        names = tuple(self.names[p] for p in self.closest_pair) if self.names else ()
        return Recalibrated(self.original.pair(), tuple(self.each[p] for p in self.closest_pair), names=names)

    def _of_rows(self, rows: Any) -> Recalibrated:
        """Return the forecasts of some rows: a slice, a mask or an index array."""
        return replace(self, original=self.original[rows], each=tuple(one[rows] for one in self.each))

    def _log_prob(self, targets: Array) -> Array:
        """Return the joint log density of one observation per row; [N, P] to [N]."""
        moved = [one.to_original(targets[:, [p]]) for p, one in enumerate(self.each)]
        slopes = np.concatenate([log_slope for _, log_slope in moved], axis=1)
        return self.original.log_prob(np.concatenate([s for s, _ in moved], axis=1)) + slopes.sum(axis=1)

    def _log_prob_at(self, points: Array) -> Array:
        """Return every row's joint log density at the same points; [G, P] to [N, G].

        The points of a grid stay a grid, for which a chain evaluates its factors once per distinct value.
        """
        log_density = np.zeros((self.num_rows, len(points)))
        moved = np.empty((self.num_rows, *points.shape))
        for p, one in enumerate(self.each):
            values, place = np.unique(points[:, p], return_inverse=True)
            s, log_slope = one.to_original(np.broadcast_to(values, (self.num_rows, len(values))))
            moved[:, :, p] = s[:, place.ravel()]
            log_density += log_slope[:, place.ravel()]
        for row in range(self.num_rows):
            log_density[row] += self.original[row].log_prob_at(moved[row])[0]
        return log_density

    @property
    def ranking(self) -> Forecast:
        """The forecast whose density says which outcomes are in which region: the original, if there is a map of them.

        (Regions of the recalibrated density would depend on the rows that would have to judge them.)
        """
        return self if self.regions is None else self.original

    def region_probability(self, masses: Array) -> Array:
        """Return the probability of the regions that have a mass by `ranking`; [N] to [N].

        It is that with which such regions held kept-out rows. So {y: hpd_level <= q} covers with a probability from q
        to q + 1 / (n + 1) for the levels q of the map, all targets together, if masses are estimated as for the map.

        Source: Izbicki, Shimizu and Stern (2022), "CD-split and HPD-split", JMLR 23.
        """
        return masses if self.regions is None else self.regions.forward(masses[None])[0]

    def sample(self, num_samples: int, *, seed: int = 0, rows: IntArray | None = None) -> Array:
        """Draw from the joint density; [S, N, P]: the draws of the original, each target mapped."""
        draws = self.original.sample(num_samples, seed=seed, rows=rows)
        return np.stack([one.from_original(draws[:, :, p].T).T for p, one in enumerate(self.each)], axis=-1)

    def _cdf(self, targets: Array) -> Array:
        """Return P(y_p <= target) per row and target; [N, P] to [N, P]."""
        return np.concatenate([one.cdf(targets[:, p]) for p, one in enumerate(self.each)], axis=1)

    def _quantile(self, levels: Array) -> Array:
        """Return marginal quantiles; levels in (0, 1), [L], to [L, N, P]."""
        return np.concatenate([one.quantile(levels) for one in self.each], axis=2)

    def mean(self) -> Array:
        """Return the predictive mean, [N, P]."""
        return np.concatenate([one.mean() for one in self.each], axis=1)

    def sd(self) -> Array:
        """Return the predictive standard deviation, [N, P]."""
        return np.concatenate([one.sd() for one in self.each], axis=1)

    def covariance(self) -> Array:
        """Return the predictive covariance of the targets, [N, P, P], with the correlations of the original."""
        covariance, own, original = self.original.covariance(), self.sd(), self.original.sd()
        scale = own / original
        return covariance * scale[:, :, None] * scale[:, None, :]

    def _crps(self, targets: Array) -> Array:
        """Return the continuous ranked probability score of each target; [N, P] to [N, P], the target's units."""
        return np.concatenate([one.crps(targets[:, p]) for p, one in enumerate(self.each)], axis=1)

    def components(self) -> Mixture:
        """Refuse: the densities are no mixtures of Gaussians.

        Raises:
            ValueError: always.
        """
        raise no_components()

    def joint_components(self) -> Mixture:
        """Refuse; see `components`."""
        raise no_components()

    def _given(self, indices: Sequence[int], z: Array) -> Forecast:
        """Refuse: a map says how often a target is below a level over all rows, and not given other targets.

        Raises:
            ValueError: always.
        """
        raise no_given()


def no_given() -> ValueError:
    """Return the error for who asks a recalibrated forecast for conditional densities."""
    return ValueError(
        "given: expected a model that is not recalibrated, as its maps are not of conditional probabilities; got one "
        "with training.calibration.kind 'conformal'. Train it with the kind 'width'."
    )


def no_components() -> ValueError:
    """Return the error for who asks a recalibrated forecast for its mixture."""
    return ValueError(
        "components: expected a model that is not recalibrated, whose densities are mixtures of Gaussians; got one "
        "with training.calibration.kind 'conformal'. Train it with the kind 'width'."
    )
