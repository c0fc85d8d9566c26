"""What is explained about every row: numbers that describe its forecast, and its scores.

Letters: N rows, P targets, K panels, G nodes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from cde_app.arrays import Array, IndexArray
from cde_app.config.threshold import Threshold
from cde_app.predictive.forecast import Forecast
from cde_app.predictive.mixture import Mixture
from cde_app.predictive.panels import distribution_on_panels, integrate_rows, panel_edges
from cde_app.predictive.shape import curves_of
from cde_app.predictive.weights import of_rows, present

if TYPE_CHECKING:
    from cde_app.predictive.forecast import Marginal

Values = dict[tuple[str, str], Array]
"""(target, quantity) -> [N]; the target is empty for what concerns all targets together."""

JOINT = ""
"""In place of a target: all targets together."""
SCORES = ("nlpd", "crps")
WIDTH_MASS = 0.9
FEWEST_PANELS, MOST_PANELS = 32, 2048
MASS_TOLERANCE = 1e-6


def probability_name(threshold: Threshold) -> str:
    """Return the name of the quantity, such as `P(y>100)`."""
    return f"P({threshold.text})"


def moments(forecast: Forecast, thresholds: Sequence[Threshold]) -> Values:
    """Return `mean` and `log_sd` of each target and the probability of each threshold.

    Args:
        forecast: N rows, with the names of its targets.
        thresholds: whose limits are numbers.
    """
    mean, sd = forecast.mean(), forecast.sd()
    values: Values = {}
    for p, target in enumerate(forecast.target_names):
        values[target, "mean"], values[target, "log_sd"] = mean[:, p], np.log(sd[:, p])
    for one in thresholds:
        limits = {"above": one.above, "below": one.below}
        values[one.target, probability_name(one)] = forecast.probability(**limits, target=one.target)
    return values


def described(forecast: Forecast, thresholds: Sequence[Threshold]) -> Values:
    """Return `mean`, `width` (of the 90 % interval), `entropy` [nats] of each target, and the probabilities.

    Args:
        forecast: N rows, with the names of its targets.
        thresholds: whose limits are numbers.
    """
    low, high = forecast.interval(WIDTH_MASS)
    own, values = moments(forecast, thresholds), Values()
    for p, (target, marginal) in enumerate(zip(forecast.target_names, forecast.marginals(), strict=True)):
        values[target, "mean"] = own[target, "mean"]
        values[target, "width"] = high[:, p] - low[:, p]
        values[target, "entropy"] = entropy(marginal)
    return values | {key: probability for key, probability in own.items() if key[1] not in ("mean", "log_sd")}


def scored(forecast: Forecast, targets: Array) -> Values:
    """Return `nlpd` [nats] and `crps` of each target, and the joint `nlpd` if there are several.

    Args:
        forecast: N rows, with the names of its targets.
        targets: [N, P], the observations.
    """
    values: Values = {}
    if forecast.num_targets > 1:
        values[JOINT, "nlpd"] = -forecast.log_prob(targets)
    crps = forecast.crps(targets)
    for p, (target, marginal) in enumerate(zip(forecast.target_names, forecast.marginals(), strict=True)):
        values[target, "nlpd"] = -marginal.log_prob(targets[:, p])
        values[target, "crps"] = crps[:, p]
    return values


def entropy(forecast: Marginal) -> Array:
    """Return the differential entropy of one target in every row, -int p log p dy, by Gauss-Legendre quadrature.

    The integral is over the standardised scale z, -int p(z) (log p(z) + log |dz/dy|) dz, on panels that are dense where
    components are narrow. The panels of a row are halved until its density integrates to one within 1e-6.

    Args:
        forecast: N rows of one target; if it is recalibrated, the panels are those of `curves_of`.

    Returns:
        [N], nats, with the target's units.
    """
    if not isinstance(forecast, Mixture):
        curves = curves_of(forecast)
        log_density = np.where(curves.masses > 0, curves.log_density, 0.0)
        return -(curves.masses * log_density).sum(axis=1)
    mixture = forecast
    transform, some = mixture.transforms[0], present(mixture.weights)
    weights, means, variances = (mixture.weights[..., some], mixture.means[:, some, 0], mixture.variances[:, some, 0])

    def integrate(rows: IndexArray, num_panels: int) -> tuple[Array, Array]:
        own, sds = means[rows], np.sqrt(variances[rows])
        edges = panel_edges(own, sds, num_panels)
        nodes, node_weights, density, _, _, masses = distribution_on_panels(edges, of_rows(weights, rows), own, sds)
        slope = transform.log_jacobian_at(nodes.reshape(len(rows), -1)).reshape(nodes.shape)
        some_mass = density > np.finfo(float).tiny
        log_density = np.log(density, where=some_mass, out=np.zeros_like(density)) + np.where(some_mass, slope, 0.0)
        return -(node_weights * density * log_density).sum((1, 2)), masses

    return integrate_rows(integrate, *means.shape, fewest=FEWEST_PANELS, most=MOST_PANELS, tolerance=MASS_TOLERANCE)
