"""How wide the densities are and how much of them is defensive, judged by rows that the training did not see.

A training that has seen every row trusts itself too much: on a table of some hundred rows its 90 % intervals may hold
80 %, and where it has learned nothing it is worse than the targets by themselves. Four numbers, found by maximum
likelihood on rows that were not seen, put that right: a factor on the standard deviations of the model's components,
and the shares of Student's t, near its centre and far out, and of the climatology.

Letters: n rows, P targets, K = 4 parts of the density: the model, Student's t near its centre and far out, climatology.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar

from cde_app.predictive.defence import Defence
from cde_app.predictive.ensemble import Ensemble
from cde_app.predictive.mixture import Mixture
from cde_app.predictive.posterior import Posterior

Array = NDArray[np.float64]

SPREAD_PRIOR_SD = 0.25
"""Of the normal prior on the log of the spread."""
LARGEST_SPREAD = 8.0
MODEL_ROWS, DEFENCE_ROWS, LEAST_ROWS = 1.0, 0.05, 1e-6
"""So many rows a part is taken to have explained beforehand: few, so that the defence vanishes where it is idle."""
STEPS, TOLERANCE = 500, 1e-7
"""Of expectation maximisation: how many at most, and the change of a share at which it ends."""


@dataclass(frozen=True)
class Unseen:
    """Rows that a training did not see."""

    X: Array
    """[n, D], standardised features."""
    targets: Array
    """[n, P], the user's units."""


@dataclass(frozen=True)
class Calibration:
    """What rows that were not seen say about a model."""

    spread: float
    """Factor on the standard deviations of the model's components, at least one."""
    tails: float | None
    """Share of Student's t in the density; None where there are no defensive components."""
    climatology: float | None
    """Share of the climatology."""
    num_rows: int
    """Rows that were not seen; of none, the model stays as it is."""


def calibrate(ensemble: Ensemble, unseen: Sequence[Unseen]) -> tuple[Ensemble, Calibration]:
    """Return the ensemble with the spread and the shares that its unseen rows find likeliest.

    The spread is at least one: rounding may have set a floor on the noise, and rows of a seen group, or rows that have
    chosen the step, are easier than new ones.

    Args:
        ensemble: as it was trained.
        unseen: per member the rows that it did not see, none or more; each row is judged by that member alone.

    Returns:
        The ensemble, every member calibrated alike, and the numbers.
    """
    judged = [(member, rows) for member, rows in zip(ensemble.members, unseen, strict=False) if len(rows.X)]
    defence = ensemble.members[0].defence
    spread, shares = 1.0, None if defence is None else defence.shares
    if judged:
        parts = [Parts(member, rows) for member, rows in judged]
        log_defence = np.concatenate([part.log_defence for part in parts])

        def likeliest(log_spread: float) -> tuple[Array, float]:
            log_model = np.concatenate([part.log_model(float(np.exp(log_spread))) for part in parts])
            return likeliest_shares(np.column_stack([log_model, log_defence]), rows_before(defence))

        def loss(log_spread: float) -> float:
            return 0.5 * (log_spread / SPREAD_PRIOR_SD) ** 2 - likeliest(log_spread)[1]

        bounds = (0.0, np.log(LARGEST_SPREAD))
        found = minimize_scalar(loss, bounds=bounds, method="bounded", options={"xatol": 0.005}).x
        best = min((0.0, float(found)), key=loss)
        spread = float(np.exp(best))
        if defence is not None:
            shares = likeliest(best)[0]
    members = tuple(recalibrated(member, spread, shares) for member in ensemble.members)
    tails, climatology = (None, None) if shares is None else (float(shares[0] + shares[1]), float(shares[2]))
    return Ensemble(members), Calibration(spread, tails, climatology, sum(len(rows.X) for _, rows in judged))


class Parts:
    """The parts of a member's density at the rows that judge it, in nats per the targets' units.

    Attributes:
        log_defence: [n, 0 or 3], of the near and the far scales of Student's t and of the climatology.
    """

    def __init__(self, member: Posterior, rows: Unseen) -> None:
        mixture, num_nodes = member.predict(rows.X), len(member.latent_nodes)
        self.targets = rows.targets
        self.model = part(mixture, np.arange(num_nodes), member.node_weights)
        self.log_defence = np.empty((len(rows.X), 0))
        defence = member.defence
        if defence is not None:
            tails, is_far, kernels = defence.tail_weights, defence.is_far, defence.climatology.weights
            first, end = num_nodes, num_nodes + len(tails)
            near = first + np.flatnonzero(~is_far), tails[~is_far] / tails[~is_far].sum()
            far = first + np.flatnonzero(is_far), tails[is_far] / (tails[is_far].sum() or 1.0)
            parts = near, far, (np.arange(end, mixture.num_components), kernels)
            self.log_defence = np.full((len(rows.X), len(parts)), -np.inf)
            for place, (components, weights) in enumerate(parts):
                if len(components):
                    self.log_defence[:, place] = part(mixture, components, weights).log_density(rows.targets)

    def log_model(self, spread: float) -> Array:
        """Return the log density of the model's own components with another spread, [n]."""
        model = self.model
        covariances = None if model.covariances is None else model.covariances * spread**2
        model = replace(model, variances=model.variances * spread**2, covariances=covariances)
        return model.log_density(self.targets)


def part(mixture: Mixture, components: NDArray[np.intp], weights: Array) -> Mixture:
    """Return the mixture of some components with weights of their own."""
    covariances = None if mixture.covariances is None else mixture.covariances[:, components]
    means, variances = mixture.means[:, components], mixture.variances[:, components]
    return replace(mixture, weights=weights, means=means, variances=variances, covariances=covariances)


def rows_before(defence: Defence | None) -> Array:
    """Return how many rows each part is taken to have explained beforehand, [K]: far scales as many as they weigh."""
    far = 0.0 if defence is None else float(defence.tail_weights[defence.is_far].sum())
    return np.array([MODEL_ROWS, DEFENCE_ROWS, max(far, LEAST_ROWS), DEFENCE_ROWS])


def likeliest_shares(log_parts: Array, before: Array) -> tuple[Array, float]:
    """Return the shares of the defensive parts that are likeliest under n rows, and the log of their posterior.

    Maximises sum_n log sum_k pi_k p_k(y_n) + sum_k c_k log pi_k, which is concave, by expectation maximisation (the
    mode under a Dirichlet prior).

    Args:
        log_parts: [n, K], log p_k, the model's first; K may be 1. Rows that no part can explain say nothing.
        before: [K], c.
    """
    log_parts = log_parts[np.isfinite(log_parts.max(1))]
    if log_parts.shape[1] == 1:
        return np.empty(0), float(log_parts.sum())
    highest = log_parts.max(1)
    parts = np.exp(log_parts - highest[:, None])
    shares = before / before.sum()
    for _ in range(STEPS):
        joint = parts * shares
        counts = before + (joint / joint.sum(1, keepdims=True)).sum(0)
        last, shares = shares, counts / counts.sum()
        if np.abs(shares - last).max() < TOLERANCE:
            break
    return shares[1:], float((highest + np.log(parts @ shares)).sum() + before @ np.log(shares))


def recalibrated(posterior: Posterior, spread: float, shares: Array | None) -> Posterior:
    """Return the posterior with another spread and other shares of its defensive parts."""
    defence = posterior.defence
    if defence is not None and shares is not None:
        defence = defence.with_shares(shares)
    return replace(posterior, spread=spread, defence=defence)
