"""How wide the densities are, judged by rows that the training did not see.

A training that has seen every row trusts itself too much: on a table of some hundred rows its 90 % intervals may hold
80 %. Two numbers, found by maximum likelihood on rows that were not seen, put that right: a factor on the standard
deviations of the components, and the weight of the defensive ones.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize

from cde_app.predictive.ensemble import Ensemble
from cde_app.predictive.mixture import Mixture
from cde_app.predictive.posterior import Posterior

Array = NDArray[np.float64]

SPREAD_PRIOR_SD, WEIGHT_PRIOR_SD = 0.25, 1.0
"""Of the normal priors on the logs of the two numbers, about one and about the configured weight."""
LARGEST_WEIGHT = 0.2
"""Of the defensive components, unless the configuration has more."""


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
    """Factor on the standard deviations of the components, at least one."""
    defensive_weight: float | None
    """None where there are no defensive components."""
    num_rows: int
    """Rows that were not seen; of none, the model stays as it is."""


def calibrate(ensemble: Ensemble, unseen: Sequence[Unseen]) -> tuple[Ensemble, Calibration]:
    """Return the ensemble with the spread and the defensive weight that its unseen rows find likeliest.

    The spread is at least one: rounding may have set a floor on the noise, and rows of a seen group, or rows that have
    chosen the step, are easier than new ones.

    Args:
        ensemble: as it was trained.
        unseen: per member the rows that it did not see, none or more; each row is judged by that member alone.

    Returns:
        The ensemble, every member calibrated alike, and the numbers.
    """
    num_rows = sum(len(rows.X) for rows in unseen)
    defence = ensemble.members[0].defence
    start = None if defence is None else defence.weight
    if num_rows == 0:
        return ensemble, Calibration(1.0, start, 0)
    judged = [
        (member.predict(rows.X), rows.targets)
        for member, rows in zip(ensemble.members, unseen, strict=True)
        if len(rows.X)
    ]

    def numbers(logs: Array) -> tuple[float, float | None]:
        spread = float(np.exp(SPREAD_PRIOR_SD * max(logs[0], 0.0)))
        if start is None:
            return spread, None
        return spread, float(min(start * np.exp(WEIGHT_PRIOR_SD * logs[1]), max(start, LARGEST_WEIGHT)))

    def loss(logs: Array) -> float:
        changed = [(recalibrated(mixture, *numbers(logs)), targets) for mixture, targets in judged]
        return 0.5 * float(logs @ logs) - float(sum(mixture.log_density(y).sum() for mixture, y in changed))

    size = 1 if start is None else 2
    simplex = np.vstack([np.zeros(size), np.eye(size)])
    options = {"initial_simplex": simplex, "xatol": 0.02, "fatol": 0.02}
    found = minimize(loss, np.zeros(size), method="Nelder-Mead", options=options)
    spread, weight = numbers(found.x)
    members = tuple(widened(member, spread, weight) for member in ensemble.members)
    return Ensemble(members), Calibration(spread, weight, num_rows)


def widened(posterior: Posterior, spread: float, defensive_weight: float | None) -> Posterior:
    """Return the posterior with another spread and weight of its defensive components."""
    defence = posterior.defence
    if defence is not None and defensive_weight is not None:
        defence = replace(defence, weight=defensive_weight)
    return replace(posterior, spread=spread, defence=defence)


def recalibrated(mixture: Mixture, spread: float, defensive_weight: float | None) -> Mixture:
    """Return the mixture that the widened posterior predicts, without asking it again."""
    is_defensive = np.zeros(mixture.num_components, bool) if mixture.is_defensive is None else mixture.is_defensive
    factor, weights = np.where(is_defensive, 1.0, spread**2), mixture.weights
    if defensive_weight is not None:
        shares = np.where(is_defensive, defensive_weight, 1.0 - defensive_weight)
        weights = shares / np.where(is_defensive, is_defensive.sum(), (~is_defensive).sum())
    covariances = None if mixture.covariances is None else mixture.covariances * factor[:, None, None]
    variances = mixture.variances * factor[:, None]
    return replace(mixture, weights=weights, variances=variances, covariances=covariances)
