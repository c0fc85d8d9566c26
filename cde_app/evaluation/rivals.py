"""The scores of what another forecaster states about a row: draws, quantiles, or a mean and a standard deviation.

Letters: N rows, P targets, S draws, L levels.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from cde_app.arrays import Array
from cde_app.evaluation.scores import (
    COVERAGE_LEVELS,
    INTERVAL_MASS,
    Rows,
    draw_scores,
    interval_score,
    score_rows,
    with_scaled,
)
from cde_app.machine.streams import Stream, generator
from cde_app.predictive.mixture import Mixture
from cde_app.targets import Identity

ENDS = (0.5 * (1 - INTERVAL_MASS), 0.5 * (1 + INTERVAL_MASS))


def score_draws(draws: Array, targets: Array, *, scales: Array, seed: int) -> Rows:
    """Score draws, joint over the targets; the names are those of `score_rows`.

    CRPS, energy score, variogram score and squared error are unbiased estimates of the scores of the distribution from
    which the draws come. Absolute error, interval score and width take quantiles of the draws, so that the first two
    are too large by a share of about 1 / S. The PIT is the rank of the observation among the draws, made continuous at
    random, which is uniform if the forecast is right. Draws have no density: there is no nlpd, cde_loss, entropy or
    density_rank.

    Args:
        draws: [S, N, P], S >= 4.
        targets: [N, P].
        scales: [P], the unit of the energy and the variogram score and of means over targets.
        seed: of the ranks.

    Source: Ferro (2014), "Fair scores for ensemble forecasts", QJRMS 140; Säilynoja, Bürkner and Vehtari (2022),
    "Graphical test for discrete uniformity and its applications in goodness-of-fit evaluation and multiple sample
    comparison", Statistics and Computing 32, for ranks.
    """
    ordered, num_draws = np.sort(draws, axis=0), len(draws)
    low, median, high = np.quantile(ordered, [ENDS[0], 0.5, ENDS[1]], axis=0, method="median_unbiased")
    places = np.arange(1, num_draws + 1) * 2.0 - num_draws - 1
    mean_difference = 2 * np.tensordot(places, ordered, axes=1) / (num_draws * (num_draws - 1))
    crps = np.abs(draws - targets).mean(axis=0) - 0.5 * mean_difference
    marginal = {
        "crps": crps,
        "absolute_error": np.abs(median - targets),
        "interval_score": interval_score(low, high, targets, mass=INTERVAL_MASS),
        "width": high - low,
        "squared_error": (draws.mean(axis=0) - targets) ** 2 - draws.var(axis=0, ddof=1) / num_draws,
    }
    below, equal = (draws < targets).sum(axis=0), (draws == targets).sum(axis=0)
    uniforms = _uniforms(targets.shape, seed)
    joint = {"energy_score": crps[:, 0] / scales[0]}
    if targets.shape[1] > 1:
        joint = draw_scores(draws / scales, targets / scales)
    pit = (below + uniforms * (equal + 1)) / (num_draws + 1)
    return {**with_scaled(marginal, scales), "pit": pit, **joint}


def score_quantiles(levels: Sequence[float], quantiles: Array, targets: Array, *, scales: Array, seed: int) -> Rows:
    """Score quantiles of each target by itself; the names are those of `score_rows`.

    crps is twice the integral of the pinball loss over the level, by a sum over the levels, each with the weight of
    what is nearest to it: exact in the limit of many levels, and proper for any number. Median, interval and width are
    there if their levels are. The PIT is uniform at random between the levels beside the observation, so that the
    coverage of intervals whose ends are levels is exact.

    Args:
        levels: [L], ascending, in (0, 1).
        quantiles: [L, N, P], ascending.
        targets: [N, P].
        scales: [P], the unit of means over targets.
        seed: of the PIT between levels.

    Source: Gneiting and Ranjan (2011), "Comparing density forecasts using threshold- and quantile-weighted scoring
    rules", JBES 29, eq. 14 (CRPS as an integral over levels).
    """
    edges = np.concatenate([[0.0], levels, [1.0]])
    weights = np.diff(np.concatenate([[0.0], 0.5 * (edges[1:-2] + edges[2:-1]), [1.0]]))
    level = np.asarray(levels)[:, None, None]
    pinball = np.maximum(level * (targets - quantiles), (level - 1) * (targets - quantiles))
    marginal: Rows = {"crps": np.asarray(2 * np.tensordot(weights, pinball, axes=1), dtype=np.float64)}
    if (middle := _index(levels, 0.5)) is not None:
        marginal["absolute_error"] = np.abs(quantiles[middle] - targets)
    ends = [_index(levels, end) for end in ENDS]
    if ends[0] is not None and ends[1] is not None:
        low, high = quantiles[ends[0]], quantiles[ends[1]]
        marginal["interval_score"] = interval_score(low, high, targets, mass=INTERVAL_MASS)
        marginal["width"] = high - low
    # A value that several quantiles share has all the probability between them, as zeros of rain have.
    first, last = (quantiles < targets).sum(axis=0), (quantiles <= targets).sum(axis=0)
    pit = edges[first] + _uniforms(targets.shape, seed) * (edges[last + 1] - edges[first])
    joint = {"energy_score": marginal["crps"][:, 0] / scales[0]} if targets.shape[1] == 1 else {}
    return {**with_scaled(marginal, scales), "pit": pit, **joint}


def score_normals(mean: Array, sd: Array, targets: Array, *, scales: Array, seed: int) -> Rows:
    """Score a normal of each target, independent of the others given the row, as `score_rows` does.

    Args:
        mean: [N, P].
        sd: [N, P], positive.
        targets: [N, P].
        scales: [P], the unit of the joint scores and of means over targets.
        seed: of the draws.
    """
    transforms = tuple(Identity(0.0, 1.0) for _ in scales)
    forecast = Mixture(np.ones(1), mean[:, None], np.square(sd)[:, None], transforms)
    return score_rows(forecast, targets, scales=scales, seed=seed)


def known_coverage(levels: Sequence[float]) -> tuple[float, ...]:
    """Return the levels of coverage whose intervals end at given quantiles."""
    return tuple(
        mass for mass in COVERAGE_LEVELS if all(_index(levels, 0.5 * (1 + sign * mass)) is not None for sign in (-1, 1))
    )


def _index(levels: Sequence[float], level: float) -> int | None:
    """Return the place of a level, up to rounding; None if it is not there."""
    near = np.flatnonzero(np.abs(np.asarray(levels) - level) < 1e-9)
    return int(near[0]) if near.size else None


def _uniforms(shape: tuple[int, ...], seed: int) -> Array:
    return generator(seed, Stream.RIVAL_RANKS).random(shape)
