"""Proper scores and calibration numbers of forecasts, row by row, so that tables of any length fit in memory.

Call `score_rows` on each chunk, `concatenate_rows` once, and `summarise` and `skill` at the end.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from cde_app.arrays import Array, IntArray
from cde_app.evaluation.verdict import inside_central_interval, ks_distance
from cde_app.machine.blocks import work_in_blocks
from cde_app.predictive.forecast import Forecast

Rows = dict[str, Array]

COVERAGE_LEVELS = (0.5, 0.9, 0.95)
ENERGY_DRAWS = 256
BOOTSTRAP_RESAMPLES = 200


def score_rows(
    forecast: Forecast, targets: ArrayLike, *, scales: ArrayLike, seed: int, rows: IntArray | None = None
) -> Rows:
    """Score every row of a chunk.

    All scores are exact except the energy score of several targets. It is estimated without bias from seeded draws,
    which depend on a row's position in the table and not on the chunks.

    * nlpd: -log p(y | x), joint over the targets.
    * crps: E|Y - y| - E|Y - Y'| / 2 of each target.
    * energy_score: E||Y - y|| - E||Y - Y'|| / 2, targets divided by `scales`; for one target the CRPS / scale, exact.
    * squared_error: (E[Y] - y)^2 of each target.
    * pit: F(y | x) of each target.
    * scaled_crps, scaled_squared_error: means over the targets in units of `scales`.

    Args:
        forecast: forecasts of N rows.
        targets: [N, P], observations [units of the targets].
        scales: [P], standard deviations of the training targets [units of the targets].
        seed: seed of the draws.
        rows: [N], positions of the rows, ascending; None uses 0, 1, ...

    Returns:
        nlpd [N] in nats, crps [N, P], energy_score [N] (pure number), squared_error [N, P], pit [N, P],
        scaled_crps [N], scaled_squared_error [N] (pure numbers).

    Raises:
        ValueError: the shapes disagree, or a scale is not positive.

    Source: Gneiting and Raftery (2007), "Strictly proper scoring rules, prediction, and estimation", JASA 102, eq. 21
    (CRPS), eq. 22 (energy score); Grimit et al. (2006), "The continuous ranked probability score for circular
    variables", QJRMS 132, eq. 5 (closed form for Gaussian mixtures); Dawid (1984), JRSS A 147 (PIT).
    """
    targets = np.asarray(targets, dtype=np.float64)
    scales = np.asarray(scales, dtype=np.float64)
    if targets.shape != (forecast.num_rows, forecast.num_targets) or scales.shape != (forecast.num_targets,):
        raise ValueError(
            f"expected targets {(forecast.num_rows, forecast.num_targets)} and scales {(forecast.num_targets,)}; "
            f"got {targets.shape} and {scales.shape}"
        )
    if not np.all(scales > 0):
        raise ValueError(f"expected positive scales; got {scales.tolist()}")
    crps = forecast.crps(targets)
    squared_error = (forecast.mean() - targets) ** 2
    if forecast.num_targets == 1:
        energy = crps[:, 0] / scales[0]
    else:
        draws = forecast.sample(ENERGY_DRAWS, seed=seed, rows=rows)
        energy = energy_score(draws / scales, targets / scales)
    return {
        "nlpd": -forecast.log_prob(targets),
        "crps": crps,
        "energy_score": energy,
        "squared_error": squared_error,
        "pit": forecast.cdf(targets),
        "scaled_crps": np.mean(crps / scales, axis=1),
        "scaled_squared_error": np.mean(squared_error / scales**2, axis=1),
    }


def energy_score(draws: ArrayLike, targets: ArrayLike) -> Array:
    """Estimate the energy score of each row from draws, without bias (the fair form).

    mean_s ||X_s - y|| - 1 / (2 S (S - 1)) sum_{s != t} ||X_s - X_t||

    Args:
        draws: [S, N, P], S >= 2.
        targets: [N, P].

    Returns:
        [N], in the units of the draws.

    Source: Gneiting and Raftery (2007), eq. 22; Ferro (2014), "Fair scores for ensemble forecasts", QJRMS 140.
    """
    from scipy.spatial.distance import cdist, pdist  # predictions do not need it

    draws = np.asarray(draws, dtype=np.float64)
    targets = np.asarray(targets, dtype=np.float64)
    scores = np.empty(len(targets))

    def fill(rows: slice) -> None:
        for row in range(len(targets))[rows]:
            ensemble = draws[:, row]
            scores[row] = cdist(targets[[row]], ensemble).mean() - 0.5 * pdist(ensemble).mean()

    work_in_blocks(fill, len(targets), len(draws) ** 2 // 2)
    return scores


def concatenate_rows(chunks: Sequence[Mapping[str, ArrayLike]]) -> Rows:
    """Join the per-row scores of consecutive chunks.

    Args:
        chunks: results of `score_rows`, at least one.
    """
    if not chunks:
        raise ValueError("expected at least one chunk of scores; got none")
    return {name: np.concatenate([np.asarray(chunk[name]) for chunk in chunks]) for name in chunks[0]}


def summarise(rows: Mapping[str, Array], *, target_names: Sequence[str] | None = None) -> dict[str, Any]:
    """Average per-row scores, with standard errors, into plain numbers ready for JSON.

    A mean's standard error is sd / sqrt(N). The coverage has that of a calibrated forecast, whose hits are binomial:
    sqrt(level (1 - level) / N), the largest possible one for a mean over targets. The RMSE's is se(mse) / (2 rmse)
    (delta method); the KS distance's is the standard deviation over 200 resamples of the rows. With several targets
    `crps` and `rmse` are means over the targets in units of the training standard deviations (RMSE: of the squares),
    `coverage` and `pit_ks` are means over the targets, and `per_target` holds each target's own numbers in its own
    units. A number that is not finite is None, with the count of the rows responsible under `num_infinite`.

    Args:
        rows: per-row scores of the whole table.
        target_names: [P], keys of `per_target`; None uses "0", "1", ...

    Returns:
        {"num_rows", "nlpd", "crps", "energy_score", "rmse", "coverage": {"0.5", "0.9", "0.95"}, "pit_ks"}, each score
        {"value", "se"}, the marginal ones with {"per_target": {name: {"value", "se"}}}.
    """
    num_rows, num_targets = rows["crps"].shape
    if num_rows == 0:
        return {"num_rows": 0}
    names = [str(p) for p in range(num_targets)] if target_names is None else list(target_names)
    single = num_targets == 1

    def by_target(score: Any) -> dict[str, Any]:
        return {name: score(p) for p, name in enumerate(names)}

    crps = rows["crps"][:, 0] if single else rows["scaled_crps"]
    squared_error = rows["squared_error"][:, 0] if single else rows["scaled_squared_error"]
    inside = {level: inside_central_interval(rows["pit"], level).astype(np.float64) for level in COVERAGE_LEVELS}
    ks = by_target(lambda p: _ks_with_error(rows["pit"][:, p]))
    ks_errors = [entry["se"] for entry in ks.values() if entry["se"] is not None]
    return {
        "num_rows": int(num_rows),
        "nlpd": mean_with_error(rows["nlpd"]),
        "crps": mean_with_error(crps) | {"per_target": by_target(lambda p: mean_with_error(rows["crps"][:, p]))},
        "energy_score": mean_with_error(rows["energy_score"]),
        "rmse": _root_mean_with_error(squared_error)
        | {"per_target": by_target(lambda p: _root_mean_with_error(rows["squared_error"][:, p]))},
        "coverage": {
            str(level): _coverage_with_error(hits.mean(axis=1), level)
            | {"per_target": by_target(lambda p, hits=hits, level=level: _coverage_with_error(hits[:, p], level))}
            for level, hits in inside.items()
        },
        "pit_ks": {
            "value": float(np.mean([entry["value"] for entry in ks.values()])),
            "se": float(np.mean(ks_errors)) if ks_errors else None,
            "per_target": ks,
        },
    }


def score_units(target_names: Sequence[str], units: Sequence[str]) -> dict[str, str]:
    """Return the units of the scores of `summarise`.

    Args:
        target_names: [P].
        units: [P], the targets' units, empty where unknown.

    Returns:
        {"nlpd", "crps", "energy_score", "rmse"}, the targets named in each; the other scores are pure numbers.
    """
    own = ", ".join(f"{name} in {unit}" if unit else name for name, unit in zip(target_names, units, strict=True))
    scaled = f"{', '.join(target_names)} in training sds"
    marginal = own if len(target_names) == 1 else scaled
    return {"nlpd": f"nats, {own}", "crps": marginal, "energy_score": scaled, "rmse": marginal}


def skill(model: Mapping[str, Array], baseline: Mapping[str, Array]) -> dict[str, Any]:
    """Compare the model with a baseline on the same rows; above zero, the model is better.

    crps and energy_score: 1 - mean(model) / mean(baseline), standard error by the delta method over the paired rows,
    sd(model - ratio x baseline) / (sqrt(N) mean(baseline)). nlpd: mean(baseline - model), nats gained per row.

    Args:
        model: per-row scores of the model.
        baseline: per-row scores of the baseline, same rows.

    Returns:
        {"crps", "energy_score", "nlpd"}, each {"value", "se"}.

    Source: Gneiting and Raftery (2007), section 2.3 (skill scores).
    """
    if len(model["nlpd"]) != len(baseline["nlpd"]):
        raise ValueError(f"expected the same rows; got {len(model['nlpd'])} and {len(baseline['nlpd'])}")
    key = "crps" if model["crps"].shape[1] == 1 else "scaled_crps"
    with np.errstate(invalid="ignore"):
        gained = baseline["nlpd"] - model["nlpd"]
    return {
        "crps": skill_with_error(model[key].ravel(), baseline[key].ravel()),
        "energy_score": skill_with_error(model["energy_score"], baseline["energy_score"]),
        "nlpd": mean_with_error(gained),
    }


def _coverage_with_error(hits: Array, level: float) -> dict[str, Any]:
    """Return the share of hits [N], or its mean over targets, with the standard error of a calibrated forecast."""
    share = mean_with_error(hits)
    return share if share["se"] is None else share | {"se": float(np.sqrt(level * (1.0 - level) / len(hits)))}


def mean_with_error(values: Array) -> dict[str, Any]:
    """Return the mean and its standard error sd / sqrt(N)."""
    infinite = int(np.count_nonzero(~np.isfinite(values)))
    if infinite:
        return {"value": None, "se": None, "num_infinite": infinite}
    error = float(np.std(values, ddof=1)) / math.sqrt(values.size) if values.size > 1 else None
    return {"value": float(np.mean(values)), "se": error}


def _root_mean_with_error(squares: Array) -> dict[str, Any]:
    """Return the root of the mean and its standard error by the delta method."""
    mean = mean_with_error(squares)
    if mean["value"] is None:
        return mean
    root = math.sqrt(mean["value"])
    if mean["se"] is None:
        return {"value": root, "se": None}
    return {"value": root, "se": mean["se"] / (2 * root) if root > 0 else 0.0}


def skill_with_error(model: Array, baseline: Array) -> dict[str, Any]:
    """Return 1 - mean(model) / mean(baseline) and its standard error over paired rows."""
    reference = float(np.mean(baseline))
    if not (np.all(np.isfinite(model)) and np.all(np.isfinite(baseline)) and reference > 0):
        return {"value": None, "se": None}
    ratio = float(np.mean(model)) / reference
    error = mean_with_error(model - ratio * baseline)["se"]
    return {"value": 1.0 - ratio, "se": None if error is None else error / reference}


def _ks_with_error(pit: Array) -> dict[str, Any]:
    """Return the KS distance from uniform and its bootstrap standard error, which depends only on the rows."""
    if pit.size < 2:
        return {"value": ks_distance(pit), "se": None}
    ordered = np.sort(pit)
    # The resampling only serves to compute one number: a fixed seed makes it reproducible.
    generator = np.random.default_rng(0)
    distances = np.empty(BOOTSTRAP_RESAMPLES)
    for resample in range(BOOTSTRAP_RESAMPLES):
        counts = np.bincount(generator.integers(0, ordered.size, ordered.size), minlength=ordered.size)
        steps = np.concatenate([[0.0], np.cumsum(counts) / ordered.size])
        distances[resample] = max(np.max(steps[1:] - ordered), np.max(ordered - steps[:-1]))
    return {"value": ks_distance(pit), "se": float(np.std(distances, ddof=1))}
