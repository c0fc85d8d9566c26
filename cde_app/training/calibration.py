"""Set the width of the densities and the share of their defensive parts by rows that the training did not see.

A model is overconfident on new rows: on a table of a few hundred rows its 90 % intervals may hold 80 %, and if it has
learned nothing it is worse than the targets' own distribution. Four numbers, estimated by maximum likelihood on unseen
rows, correct that: a factor on the standard deviations of the model's components, the scale from which Student's t
keeps its own weights, its share near the centre, where the model may know better, and the share of the climatology.

Letters: n rows, P targets, E scales of Student's t, K parts of the density whose shares are fitted.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from scipy.optimize import minimize_scalar
from scipy.special import logsumexp

from cde_app.arrays import Array, IndexArray
from cde_app.predictive.defence import Defence
from cde_app.predictive.ensemble import Ensemble
from cde_app.predictive.mixture import Mixture
from cde_app.predictive.posterior import Posterior

SPREAD_PRIOR_SD = 0.25
"""Standard deviation of the normal prior on the log of the spread."""
LARGEST_SPREAD = 8.0
MODEL_ROWS, DEFENCE_ROWS = 1.0, 0.05
"""Prior counts of rows explained by the model and by each defensive part: small, so that an idle part vanishes."""
PRICE_OF_FAR_SCALES, PRICE_OF_A_ROW = 2.0, 0.01
"""Largest loss of log likelihood [nats] for which the widest scales keep their own weights, in all and per unseen row.
If Student's t is right, one or two rows reach that far; that none did does not refute it: a likelihood ratio rejects at
five percent. A handful of rows, which could reject nothing, pays no more per row than many do."""
STEPS, TOLERANCE = 500, 1e-7
"""Largest number of steps of expectation maximisation, and the change in a share below which it ends."""


@dataclass(frozen=True)
class Unseen:
    """Rows that a training did not see."""

    X: Array
    """[n, D], standardised features."""
    targets: Array
    """[n, P], the user's units."""


@dataclass(frozen=True)
class Calibration:
    """The calibration of a model by unseen rows."""

    spread: float
    """Factor on the standard deviations of the model's components, at least one."""
    tails: float | None
    """Share of Student's t in the density; None without defensive components."""
    climatology: float | None
    """Share of the climatology."""
    num_rows: int
    """Number of unseen rows; with none, the model stays as it is."""


class Shares(NamedTuple):
    """The defensive shares of a density."""

    first_far: int
    """Index of the scale from which on Student's t keeps its own weights, whatever the other shares."""
    near: float
    """Share of the scales before it, in what the far ones leave."""
    climatology: float
    """Share of the climatology, in what the far ones leave."""


def calibrate(ensemble: Ensemble, unseen: Sequence[Unseen]) -> tuple[Ensemble, Calibration]:
    """Return the ensemble with the spread and the shares that are most likely given its unseen rows.

    The spread is at least one: rounding may have set a floor on the noise, and rows of a known group, or rows that have
    chosen the step, are easier than new ones.

    Args:
        ensemble: as it was trained.
        unseen: per member the rows that it did not see, if any; only that member is judged by them.

    Returns:
        The ensemble, with the same calibration for every member, and the numbers.
    """
    parts = [Parts(member, rows) for member, rows in zip(ensemble.members, unseen, strict=False) if len(rows.X)]
    members, spread = ensemble.members, 1.0
    if parts:
        first_far = choose_first_far(parts)

        def loss(log_spread: float) -> float:
            models = [part.log_model(float(np.exp(log_spread))) for part in parts]
            return 0.5 * (log_spread / SPREAD_PRIOR_SD) ** 2 - likeliest_shares(*densities(parts, models, first_far))[1]

        bounds = (0.0, np.log(LARGEST_SPREAD))
        found = minimize_scalar(loss, bounds=bounds, method="bounded", options={"xatol": 0.005}).x
        spread = float(np.exp(min((0.0, float(found)), key=loss)))
        models = [part.log_model(spread) for part in parts]
        _, *others = likeliest_shares(*densities(parts, models, first_far))[0]
        shares = Shares(first_far, *map(float, others)) if others else None
        members = tuple(recalibrated(member, spread, shares) for member in members)
    defence, num_rows = members[0].defence, sum(len(part.targets) for part in parts)
    if defence is None:
        return Ensemble(members), Calibration(spread, None, None, num_rows)
    tails = float(defence.tail_weights.sum())
    return Ensemble(members), Calibration(spread, tails, defence.climatology_share, num_rows)


class Parts:
    """The parts of a member's density at its unseen rows; log densities are in nats per product of the targets' units.

    Attributes:
        own_weights: [E], the scales' own weights in Student's t; E = 0 without a defence.
        log_scales: [n, E], log density of each scale.
        log_climatology: [n].
    """

    def __init__(self, member: Posterior, rows: Unseen) -> None:
        mixture, num_nodes = member.predict(rows.X), len(member.latent_nodes)
        self.targets = rows.targets
        self.model = part(mixture, np.arange(num_nodes), member.node_weights)
        self.own_weights, self.log_scales = np.empty(0), np.empty((len(rows.X), 0))
        defence = member.defence
        if defence is not None:
            self.own_weights = student_t_weights(defence)
            end = num_nodes + len(self.own_weights)
            scales = [part(mixture, np.array([index]), np.ones(1)) for index in range(num_nodes, end)]
            self.log_scales = np.stack([scale.log_prob(rows.targets) for scale in scales], axis=1)
            kernels = part(mixture, np.arange(end, mixture.num_components), defence.climatology.weights)
            self.log_climatology = kernels.log_prob(rows.targets)

    def log_model(self, spread: float) -> Array:
        """Return the log density of the model's own components with another spread, [n]."""
        model = self.model
        covariances = None if model.covariances is None else model.covariances * spread**2
        model = replace(model, variances=model.variances * spread**2, covariances=covariances)
        return model.log_prob(self.targets)

    def densities(self, model: Array, first_far: int) -> tuple[Array, Array]:
        """Return the log densities of the parts whose shares are fitted, and of the far scales with their weights.

        Args:
            model: [n], of the model.
            first_far: see `Shares`.

        Returns:
            [n, K], of the model, the near scales and the climatology (of the model alone without a defence),
            times what the far scales leave to all three; [n], of the far scales, times their weights.
        """
        if not len(self.own_weights):
            return model[:, None], np.full(len(model), -np.inf)
        near, far = np.split(self.own_weights, [first_far])
        left = np.log1p(-far.sum())
        log_near = logsumexp(self.log_scales[:, :first_far], axis=1, b=near / near.sum())
        log_far = logsumexp(self.log_scales[:, first_far:], axis=1, b=far) if len(far) else np.full(len(model), -np.inf)
        return np.column_stack([model, log_near, self.log_climatology]) + left, log_far


def part(mixture: Mixture, components: IndexArray, weights: Array) -> Mixture:
    """Return the mixture of some components, with other weights."""
    covariances = None if mixture.covariances is None else mixture.covariances[:, components]
    means, variances = mixture.means[:, components], mixture.variances[:, components]
    return replace(mixture, weights=weights, means=means, variances=variances, covariances=covariances)


def student_t_weights(defence: Defence) -> Array:
    """Return the scales' own weights in Student's t, [E], before calibration."""
    return defence.tail_weights / defence.tail_weights.sum()


def densities(parts: Sequence[Parts], models: Sequence[Array], first_far: int) -> tuple[Array, Array]:
    """Return the arguments of `likeliest_shares` for the rows of all parts: [n, K] and [n]."""
    each = [part.densities(model, first_far) for part, model in zip(parts, models, strict=True)]
    return np.concatenate([shared for shared, _ in each]), np.concatenate([fixed for _, fixed in each])


def choose_first_far(parts: Sequence[Parts]) -> int:
    """Return the index of the scale from which on Student's t keeps its own weights.

    A model explains more or less of the tails. Beyond its reach there are few unseen rows, or none, to show how much of
    Student's t is needed; its own weights, fitted to the residuals of all rows, are then the better estimate.
    """
    num_scales = min(len(part.own_weights) for part in parts)
    models = [part.log_model(1.0) for part in parts]
    likelihoods = [likeliest_shares(*densities(parts, models, first))[1] for first in range(1, num_scales + 1)]
    price = min(PRICE_OF_FAR_SCALES, PRICE_OF_A_ROW * sum(len(model) for model in models))
    close = np.array(likelihoods) >= max(likelihoods, default=0.0) - price
    return 1 + int(np.argmax(close)) if num_scales else 0


def likeliest_shares(log_parts: Array, log_fixed: Array) -> tuple[Array, float]:
    """Return the most likely shares of the parts given n rows, [K], and the log of their posterior.

    Maximises sum_n log(f_n + sum_k pi_k p_k(y_n)) + sum_k c_k log pi_k, which is concave, by expectation maximisation
    (the mode under a Dirichlet prior).

    Args:
        log_parts: [n, K], log p_k, first of the model, then of the defensive parts, if any.
        log_fixed: [n], log f, of the part with a fixed share. Rows where all densities are zero are ignored.
    """
    highest = np.maximum(log_parts.max(1), log_fixed)
    possible = np.isfinite(highest)
    highest = highest[possible]
    parts, fixed = np.exp(log_parts[possible] - highest[:, None]), np.exp(log_fixed[possible] - highest)
    before = np.array([MODEL_ROWS] + [DEFENCE_ROWS] * (parts.shape[1] - 1))
    shares = before / before.sum()
    for _ in range(STEPS):
        joint = parts * shares
        counts = before + (joint / (fixed + joint.sum(1))[:, None]).sum(0)
        last, shares = shares, counts / counts.sum()
        if np.abs(shares - last).max() < TOLERANCE:
            break
    return shares, float((highest + np.log(fixed + parts @ shares)).sum() + before @ np.log(shares))


def recalibrated(posterior: Posterior, spread: float, shares: Shares | None) -> Posterior:
    """Return the posterior with another spread and other shares of its defensive parts."""
    defence = posterior.defence
    if defence is not None and shares is not None:
        weights = student_t_weights(defence)
        near, far = np.split(weights, [shares.first_far])
        left = 1.0 - far.sum()
        near = left * shares.near * near / near.sum()
        defence = defence.with_weights(np.concatenate([near, far]), left * shares.climatology)
    return replace(posterior, spread=spread, defence=defence)
