"""Proper scores and calibration numbers of forecasts, row by row, so that tables of any length fit in memory.

Call `score_rows` on each chunk, `concatenate_rows` once, and `summarise` and `skill` at the end.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from cde_app.arrays import Array, IntArray
from cde_app.evaluation.verdict import inside_central_interval, ks_distance
from cde_app.machine.blocks import work_in_blocks
from cde_app.machine.streams import Stream, generator
from cde_app.predictive.forecast import Forecast
from cde_app.predictive.mixture import DRAW_BLOCK, Mixture, draw_blocks
from cde_app.predictive.squared_density import squared_density_integral

Rows = dict[str, Array]

COVERAGE_LEVELS = (0.5, 0.9, 0.95)
INTERVAL_MASS = 0.9
"""Probability of the interval of the interval score and of the width."""
ENERGY_DRAWS = 256
DENSITY_DRAWS, JOINT_DENSITY_DRAWS = 99, 19
"""Draws at which the density is evaluated, of one target and of several: each draw of a chain needs a prediction of its
own. With one less than a multiple of 20, the levels of `COVERAGE_LEVELS` fall between ranks."""
VARIOGRAM_ORDER = 0.5
BOOTSTRAP_RESAMPLES = 200
ROUNDING = 1e-12
MARGINAL = ("crps", "absolute_error", "interval_score", "width", "squared_error")
"""Scores of each target, [N, P]; `scaled_<name>`, [N], is the mean over the targets in units of their scales."""
DRAWN = ("energy_score", "variogram_score", "cde_loss", "entropy")
"""Scores that may rest on draws; `noise_<name>`, [N], is then half the difference between the two halves of the draws,
whose mean square is the variance of the Monte-Carlo error of a row."""


def score_rows(
    forecast: Forecast, targets: ArrayLike, *, scales: ArrayLike, seed: int, rows: IntArray | None = None
) -> Rows:
    """Score every row of a chunk.

    The scores are those of the density as it is reported, with its number of components. They are exact except those
    for which draws are named. Draws are seeded and depend on a row's position in the table, not on the chunks; what
    rests on them has no bias.

    * nlpd: -log p(y | x), joint over the targets.
    * crps: E|Y - y| - E|Y - Y'| / 2 of each target.
    * energy_score: E||Y - y|| - E||Y - Y'|| / 2, targets divided by `scales`; for one target the CRPS / scale, exact;
      for several from 256 draws.
    * variogram_score (several targets): sum_ij (|y_i - y_j|^p - E|Y_i - Y_j|^p)^2 with p = 1/2, targets divided by
      `scales`; from the same draws.
    * cde_loss: int p(t | x)^2 dt - 2 p(y | x), the squared distance from the true density up to a constant; for several
      targets, these are divided by `scales`. The integral is a closed form or a quadrature, which agrees to eight
      digits (`squared_density_integral`); if there is neither, it is the mean density of 19 draws.
    * absolute_error: |median - y| of each target.
    * interval_score: (u - l) + 20 (l - y)+ + 20 (y - u)+ with the 5 % and 95 % quantiles l and u of each target.
    * width: u - l; entropy: E[-log p(Y | x)], from 99 draws for one target, 19 for several. Both are sharpness: they do
      not depend on y.
    * squared_error: (E[Y] - y)^2 of each target.
    * pit: F(y | x) of each target.
    * density_rank: the probability of the highest-density region that ends at y, joint over the targets
      (`Forecast.hpd_level`): the share of as many draws whose density is higher, made continuous at random, so that it
      is uniform if the densities are right, for any number of draws. Recalibrated regions of several
      targets are ranked among 99 draws.

    Args:
        forecast: forecasts of N rows.
        targets: [N, P], observations [units of the targets].
        scales: [P], standard deviations of the training targets [units of the targets].
        seed: seed of the draws.
        rows: [N], positions of the rows, ascending; None uses 0, 1, ...

    Returns:
        [N, P], of each target: `MARGINAL` and pit. [N]: their `scaled_<name>`, pure numbers; nlpd and entropy, nats;
        energy_score, variogram_score and density_rank, pure numbers; cde_loss, for one target in one over its unit, for
        several a pure number; `noise_<name>` of each score that rests on draws.

    Raises:
        ValueError: the shapes disagree, or a scale is not positive.

    Source: Gneiting and Raftery (2007), "Strictly proper scoring rules, prediction, and estimation", JASA 102, eq. 21
    (CRPS), eq. 22 (energy score), eq. 43 (interval score); Grimit et al. (2006), "The continuous ranked probability
    score for circular variables", QJRMS 132, eq. 5 (closed form for Gaussian mixtures); Scheuerer and Hamill (2015),
    "Variogram-based proper scoring rules for probabilistic forecasts of multivariate quantities", MWR 143 (variogram
    score); Izbicki and Lee (2016), "Nonparametric conditional density estimation in a high-dimensional regression
    setting", JCGS 25 (CDE loss); Dawid (1984), JRSS A 147 (PIT); Hyndman (1996), "Computing and graphing highest
    density regions", The American Statistician 50.
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
    low, median, high = forecast.quantile([0.5 * (1 - INTERVAL_MASS), 0.5, 0.5 * (1 + INTERVAL_MASS)])
    marginal = {
        "crps": forecast.crps(targets),
        "absolute_error": np.abs(median - targets),
        "interval_score": interval_score(low, high, targets, mass=INTERVAL_MASS),
        "width": high - low,
        "squared_error": (forecast.mean() - targets) ** 2,
    }
    return {
        **with_scaled(marginal, scales),
        "pit": forecast.cdf(targets),
        **_joint_scores(forecast, targets, marginal["crps"], scales, seed=seed, rows=rows),
    }


def with_scaled(marginal: Mapping[str, Array], scales: Array) -> Rows:
    """Add `scaled_<name>`, [N], to scores of each target, [N, P]; their units are those of `scales`, or the squares."""
    scaled = {
        f"scaled_{name}": np.mean(values / (scales**2 if name == "squared_error" else scales), axis=1)
        for name, values in marginal.items()
    }
    return {**marginal, **scaled}


def _joint_scores(
    forecast: Forecast, targets: Array, crps: Array, scales: Array, *, seed: int, rows: IntArray | None
) -> Rows:
    """Return the scores of all targets together."""
    log_density, scores = forecast.log_prob(targets), Rows()
    if forecast.num_targets == 1:
        scores["energy_score"] = crps[:, 0] / scales[0]
        draws, log_unit = forecast.sample(DENSITY_DRAWS, seed=seed, rows=rows), 0.0
    else:
        draws = forecast.sample(ENERGY_DRAWS, seed=seed, rows=rows)
        scores |= draw_scores(draws / scales, targets / scales)
        draws, log_unit = draws[:JOINT_DENSITY_DRAWS], float(np.log(scales).sum())
    drawn = np.stack([forecast.log_prob(draw) for draw in draws])
    scores |= _with_noise("entropy", lambda some: -some.mean(axis=0), drawn)
    exact = squared_density_integral(forecast) if isinstance(forecast, Mixture) else None
    if exact is None:
        integral = _with_noise("cde_loss", lambda some: np.exp(some + log_unit).mean(axis=0), drawn)
    else:
        integral = {"cde_loss": exact * np.exp(log_unit)}
    integral["cde_loss"] = integral["cde_loss"] - 2 * np.exp(log_density + log_unit)
    positions, ranking = np.arange(len(targets)) if rows is None else rows, forecast.ranking
    ranked, drawn_ranked = log_density, drawn
    if ranking is not forecast:
        ranked = ranking.log_prob(targets)
        # The map is of masses from 200 draws; ranks among few are a blurred version of these.
        drawn_ranked = np.stack(
            [ranking.log_prob(draw) for draw in ranking.sample(DENSITY_DRAWS, seed=seed, rows=rows)]
        )
    return {
        "nlpd": -log_density,
        **scores,
        **integral,
        "density_rank": forecast.region_probability(_density_rank(drawn_ranked, ranked, positions, seed)),
    }


def draw_scores(draws: Array, targets: Array) -> Rows:
    """Return the scores of several targets that draws suffice for, with their noise; [S, N, P] and [N, P], scaled."""
    return {
        **_with_noise("energy_score", lambda some: energy_score(some, targets), draws),
        **_with_noise("variogram_score", lambda some: variogram_score(some, targets), draws),
    }


def _with_noise(name: str, score: Callable[[Array], Array], draws: Array) -> Rows:
    """Return a score of draws, [S, ...] to [N], and half its difference between the two halves of the draws."""
    half = len(draws) // 2
    return {name: score(draws), f"noise_{name}": 0.5 * (score(draws[:half]) - score(draws[half:]))}


def _density_rank(drawn: Array, observed: Array, positions: IntArray, seed: int) -> Array:
    """Return the rank of each row's log density, [N], among those of its draws, [S, N], in (0, 1)."""
    uniforms = np.empty(len(observed))
    for block, taken, own in draw_blocks(positions):
        uniforms[own] = generator(seed, Stream.DENSITY_RANKS, block).random(DRAW_BLOCK)[taken]
    return (np.sum(drawn > observed, axis=0) + uniforms) / (len(drawn) + 1)


def interval_score(low: Array, high: Array, targets: Array, *, mass: float) -> Array:
    """Return the interval score of central intervals, any shape: their width and a penalty for what they miss.

    Args:
        low: lower ends.
        high: upper ends.
        targets: observations.
        mass: probability of the intervals.

    Source: Gneiting and Raftery (2007), eq. 43.
    """
    missed = np.maximum(low - targets, 0.0) + np.maximum(targets - high, 0.0)
    return high - low + 2.0 / (1.0 - mass) * missed


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


def variogram_score(draws: ArrayLike, targets: ArrayLike) -> Array:
    """Estimate the variogram score of each row from draws, without bias; all pairs of targets have weight one.

    With v = |X_i - X_j|^p over the draws, (|y_i - y_j|^p - mean(v))^2 is on average too large by var(v) / S, which is
    subtracted.

    Args:
        draws: [S, N, P], S >= 2.
        targets: [N, P].

    Returns:
        [N], in the units of the draws to the power of 2p = 1; it may be below zero by chance.

    Source: Scheuerer and Hamill (2015).
    """
    draws, targets = np.asarray(draws, dtype=np.float64), np.asarray(targets, dtype=np.float64)
    scores = np.zeros(len(targets))
    for i, j in zip(*np.triu_indices(targets.shape[1], 1), strict=True):
        variogram = np.abs(draws[..., i] - draws[..., j]) ** VARIOGRAM_ORDER
        observed = np.abs(targets[:, i] - targets[:, j]) ** VARIOGRAM_ORDER
        bias = variogram.var(axis=0, ddof=1) / len(draws)
        scores += 2 * ((observed - variogram.mean(axis=0)) ** 2 - bias)  # the pairs (i, j) and (j, i)
    return scores


def concatenate_rows(chunks: Sequence[Mapping[str, ArrayLike]]) -> Rows:
    """Join the per-row scores of consecutive chunks.

    Args:
        chunks: results of `score_rows`, at least one.
    """
    if not chunks:
        raise ValueError("expected at least one chunk of scores; got none")
    return {name: np.concatenate([np.asarray(chunk[name]) for chunk in chunks]) for name in chunks[0]}


def summarise(
    rows: Mapping[str, Array],
    *,
    target_names: Sequence[str] | None = None,
    groups: IntArray | None = None,
    coverage_levels: Sequence[float] = COVERAGE_LEVELS,
) -> dict[str, Any]:
    """Average per-row scores, with standard errors, into plain numbers ready for JSON.

    A mean has its `standard_error`. The coverage has that of a calibrated forecast, whose hits are binomial:
    sqrt(level (1 - level) / N), the largest possible one for a mean over targets; with groups it has that of a mean.
    The RMSE's is se(mse) / (2 rmse) (delta method); the KS distance's is the standard deviation over 200 resamples of
    the rows or groups. What rests on draws has a `monte_carlo` too, the standard deviation over other draws; the
    standard error contains it. With several targets `crps`, `mae`, `interval_score`, `width` and `rmse` are means over
    the targets in units of the training standard deviations (RMSE: of the squares), `coverage` and `pit_ks` are means
    over the targets, and `per_target` holds each target's own numbers in its own units. `hpd_coverage` is that of the
    joint highest-density regions, and `rank_ks`, with several targets, the KS distance of their probabilities. A number
    that is not finite is None, with the count of the rows responsible under `num_infinite`. What the rows do not have
    is left out.

    Args:
        rows: per-row scores of the whole table.
        target_names: [P], keys of `per_target`; None uses "0", "1", ...
        groups: [N], the group of each row, from 0, if rows of a group count as one; None: each row counts.
        coverage_levels: probabilities of the central intervals whose coverage is counted.

    Returns:
        {"num_rows", "nlpd", "crps", "energy_score", "variogram_score", "cde_loss", "mae", "interval_score", "rmse",
        "width", "entropy", "coverage": {"0.5", "0.9", "0.95"}, "hpd_coverage": the same, "rank_ks", "pit_ks"}, each
        score {"value", "se"}, the marginal ones with {"per_target": {name: {"value", "se"}}}.
    """
    num_rows, num_targets = rows["crps"].shape
    if num_rows == 0:
        return {"num_rows": 0}
    names = [str(p) for p in range(num_targets)] if target_names is None else list(target_names)

    def by_target(score: Callable[[Array], dict[str, Any]], values: Array) -> dict[str, Any]:
        return {name: score(values[:, p]) for p, name in enumerate(names)}

    def mean(values: Array) -> dict[str, Any]:
        return mean_with_error(values, groups)

    def root(values: Array) -> dict[str, Any]:
        return _root_mean_with_error(values, groups)

    def marginal(name: str, score: Callable[[Array], dict[str, Any]]) -> dict[str, Any]:
        overall = rows[name][:, 0] if num_targets == 1 else rows[f"scaled_{name}"]
        return score(overall) | {"per_target": by_target(score, rows[name])}

    def coverage(level: float) -> dict[str, Any]:
        def share(hits: Array) -> dict[str, Any]:
            return _coverage_with_error(hits, level, groups)

        hits = inside_central_interval(rows["pit"], level).astype(np.float64)
        return share(hits.mean(axis=1)) | {"per_target": by_target(share, hits)}

    def hpd_coverage(level: float) -> dict[str, Any]:
        return _coverage_with_error((rows["density_rank"] <= level).astype(np.float64), level, groups)

    ks = by_target(lambda pit: _ks_with_error(pit, groups), rows["pit"])
    ks_errors = [entry["se"] for entry in ks.values() if entry["se"] is not None]
    scores: dict[str, Callable[[], dict[str, Any]]] = {
        "nlpd": lambda: mean(rows["nlpd"]),
        "crps": lambda: marginal("crps", mean),
        "energy_score": lambda: mean(rows["energy_score"]),
        "variogram_score": lambda: mean(rows["variogram_score"]),
        "cde_loss": lambda: mean(rows["cde_loss"]),
        "mae": lambda: marginal("absolute_error", mean),
        "interval_score": lambda: marginal("interval_score", mean),
        "rmse": lambda: marginal("squared_error", root),
        "width": lambda: marginal("width", mean),
        "entropy": lambda: mean(rows["entropy"]),
    }
    sources = {"mae": "absolute_error", "rmse": "squared_error"}
    summary: dict[str, Any] = {"num_rows": int(num_rows)}
    for name, score in scores.items():
        if sources.get(name, name) in rows:
            summary[name] = score() | _monte_carlo(name, rows)
    summary["coverage"] = {str(level): coverage(level) for level in coverage_levels}
    if "density_rank" in rows:
        summary["hpd_coverage"] = {str(level): hpd_coverage(level) for level in COVERAGE_LEVELS}
    if "density_rank" in rows and num_targets > 1:
        summary["rank_ks"] = _ks_with_error(rows["density_rank"], groups)
    return summary | {
        "pit_ks": {
            "value": float(np.mean([entry["value"] for entry in ks.values()])),
            "se": float(np.mean(ks_errors)) if ks_errors else None,
            "per_target": ks,
        },
    }


def _monte_carlo(name: str, rows: Mapping[str, Array]) -> dict[str, Any]:
    """Return the standard deviation of a mean score over other draws, if it rests on draws."""
    noise = rows.get(f"noise_{name}")
    if noise is None or not np.all(np.isfinite(noise)):
        return {}
    return {"monte_carlo": float(np.sqrt(np.sum(noise**2)) / noise.size)}


def blank_rows(num_targets: int) -> Rows:
    """Return meaningless scores of two rows, with every name that `score_rows` has for so many targets."""
    by_target = {name: np.zeros((2, num_targets)) for name in (*MARGINAL, "pit")}
    joint = [name for name in DRAWN if num_targets > 1 or name != "variogram_score"]
    by_row = [f"scaled_{name}" for name in MARGINAL] + ["nlpd", *joint, "density_rank"]
    drawn = joint if num_targets > 1 else ["entropy"]
    return by_target | {name: np.zeros(2) for name in (*by_row, *(f"noise_{name}" for name in drawn))}


def score_units(target_names: Sequence[str], units: Sequence[str]) -> dict[str, str]:
    """Return the units of the scores of `summarise`.

    Args:
        target_names: [P].
        units: [P], the targets' units, empty where unknown.

    Returns:
        Score -> unit, the targets named in each; the scores that are not in it are pure numbers.
    """
    own = ", ".join(f"{name} in {unit}" if unit else name for name, unit in zip(target_names, units, strict=True))
    scaled = f"{', '.join(target_names)} in training sds"
    marginal = own if len(target_names) == 1 else scaled
    nats = dict.fromkeys(("nlpd", "entropy"), f"nats, {own}")
    joint = dict.fromkeys(("energy_score", "variogram_score"), scaled)
    return (
        nats
        | joint
        | {"cde_loss": f"1 / {marginal}"}
        | dict.fromkeys(("crps", "mae", "interval_score", "width", "rmse"), marginal)
    )


def skill(model: Mapping[str, Array], baseline: Mapping[str, Array], groups: IntArray | None = None) -> dict[str, Any]:
    """Compare the model with a baseline on the same rows; above zero, the model is better.

    crps, energy_score, variogram_score, mae and interval_score: 1 - mean(model) / mean(baseline), standard error by the
    delta method over the paired rows, sd(model - ratio x baseline) / (sqrt(N) mean(baseline)). nlpd and cde_loss:
    mean(baseline - model), for nlpd the nats gained per row. What the rows do not have is left out.

    Args:
        model: per-row scores of the model.
        baseline: per-row scores of the baseline, same rows.
        groups: as for `summarise`.

    Returns:
        {"crps", "energy_score", "variogram_score", "mae", "interval_score", "nlpd", "cde_loss"}, each {"value", "se"}.

    Source: Gneiting and Raftery (2007), section 2.3 (skill scores).
    """
    if len(model["crps"]) != len(baseline["crps"]):
        raise ValueError(f"expected the same rows; got {len(model['crps'])} and {len(baseline['crps'])}")
    scaled = "" if model["crps"].shape[1] == 1 else "scaled_"
    ratios = {name: f"{scaled}{name}" for name in ("crps", "interval_score")}
    ratios |= {"mae": f"{scaled}absolute_error"} | {name: name for name in ("energy_score", "variogram_score")}
    both = model.keys() & baseline.keys()
    found = {
        name: skill_with_error(model[key].ravel(), baseline[key].ravel(), groups)
        for name, key in ratios.items()
        if key in both
    }
    with np.errstate(invalid="ignore"):
        gains = {name: baseline[name] - model[name] for name in ("nlpd", "cde_loss") if name in both}
    found |= {name: mean_with_error(gain, groups) for name, gain in gains.items()}
    order = ("crps", "energy_score", "variogram_score", "mae", "interval_score", "nlpd", "cde_loss")
    return {name: found[name] for name in order if name in found}


def _coverage_with_error(hits: Array, level: float, groups: IntArray | None) -> dict[str, Any]:
    """Return the share of hits [N], or its mean over targets, with the standard error of a calibrated forecast."""
    share = mean_with_error(hits, groups)
    if share["se"] is None or groups is not None:
        return share
    return share | {"se": float(np.sqrt(level * (1.0 - level) / len(hits)))}


def mean_with_error(values: Array, groups: IntArray | None = None) -> dict[str, Any]:
    """Return the mean and its `standard_error`."""
    infinite = int(np.count_nonzero(~np.isfinite(values)))
    if infinite:
        return {"value": None, "se": None, "num_infinite": infinite}
    value, error = float(np.mean(values)), standard_error(values, groups)
    if error is not None and error < ROUNDING * abs(value):
        error = 0.0  # all values are the same up to rounding
    return {"value": value, "se": error}


def standard_error(values: Array, groups: IntArray | None = None) -> float | None:
    """Return the standard error of a mean; None if there are fewer than two rows or groups.

    sd / sqrt(N) if the rows are independent. If only the G groups are, sqrt(G / (G - 1) sum_g t_g^2) / N, where t_g is
    the sum of the group's differences from the mean; with one row per group that is the same.

    Args:
        values: [N].
        groups: [N], the group of each row, from 0; None makes each row one.

    Source: Cochran (1977), "Sampling Techniques", section 9A.4 (single-stage cluster sampling, ratio to size).
    """
    if groups is None:
        return float(np.std(values, ddof=1)) / math.sqrt(values.size) if values.size > 1 else None
    number = len(np.unique(groups))
    if number < 2:
        return None
    totals = np.bincount(groups, values - np.mean(values))
    return math.sqrt(number / (number - 1) * float(totals @ totals)) / values.size


def _root_mean_with_error(squares: Array, groups: IntArray | None) -> dict[str, Any]:
    """Return the root of the mean and its standard error by the delta method."""
    mean = mean_with_error(squares, groups)
    if mean["value"] is None:
        return mean
    root = math.sqrt(max(mean["value"], 0.0))  # an unbiased estimate from draws may be negative
    if mean["se"] is None:
        return {"value": root, "se": None}
    return {"value": root, "se": mean["se"] / (2 * root) if root > 0 else 0.0}


def skill_with_error(model: Array, baseline: Array, groups: IntArray | None = None) -> dict[str, Any]:
    """Return 1 - mean(model) / mean(baseline) and its standard error over paired rows."""
    reference = float(np.mean(baseline))
    if not (np.all(np.isfinite(model)) and np.all(np.isfinite(baseline)) and reference > 0):
        return {"value": None, "se": None}
    ratio = float(np.mean(model)) / reference
    error = mean_with_error(model - ratio * baseline, groups)["se"]
    return {"value": 1.0 - ratio, "se": None if error is None else error / reference}


def _ks_with_error(pit: Array, groups: IntArray | None) -> dict[str, Any]:
    """Return the KS distance from uniform and its bootstrap standard error, which depends only on the rows."""
    order = np.argsort(pit, kind="stable")
    ordered, drawn_as_one = pit[order], np.arange(pit.size)
    if groups is not None:
        drawn_as_one = np.unique(groups, return_inverse=True)[1].ravel()[order]
    number = int(drawn_as_one.max()) + 1
    if number < 2:
        return {"value": ks_distance(pit), "se": None}
    # The resampling only serves to compute one number: a fixed seed makes it reproducible.
    generator = np.random.default_rng(0)
    distances = np.empty(BOOTSTRAP_RESAMPLES)
    for resample in range(BOOTSTRAP_RESAMPLES):
        counts = np.bincount(generator.integers(0, number, number), minlength=number)[drawn_as_one]
        steps = np.concatenate([[0.0], np.cumsum(counts) / counts.sum()])
        distances[resample] = max(np.max(steps[1:] - ordered), np.max(ordered - steps[:-1]))
    return {"value": ks_distance(pit), "se": float(np.std(distances, ddof=1))}
