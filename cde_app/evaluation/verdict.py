"""Calibration: do events happen as often as the densities say?

The basis is the probability integral transform u = F(y | x). If the forecasts are right, u is uniform (Dawid, 1984,
"Statistical theory: the prequential approach", JRSS A 147; Gneiting, Balabdaoui and Raftery, 2007, "Probabilistic
forecasts, calibration and sharpness", JRSS B 69).
"""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from cde_app.arrays import Array, BoolArray, IntArray
from cde_app.words import points

BAND_LEVEL = 0.95
# A forecast outside the 95% band is not trusted. One calibrated forecast in twenty is outside too, so a plain "no"
# needs this higher level.
DECISIVE_LEVEL = 0.999
ECDF_POINTS, BAND_SAMPLES = 99, 4000
JOINTLY = " of all targets together"
# With fewer rows no test has enough power.
MIN_ROWS_FOR_A_VERDICT = 20
FEW_ROWS = 100
"""With fewer rows only large errors show, and a standard error is rough: no winner is named."""
FEWEST_GROUPS = 6
"""With fewer groups a standard error over them says nothing; it may be tiny by chance."""
# With very many rows, tests detect errors too small to matter. All limits are differences of probabilities.
HARMLESS_KS = 0.02
HARMLESS_COVERAGE_ERROR = 0.01
HARMLESS_LOCAL_ERROR = 0.02


@dataclass(frozen=True)
class PitHistogram:
    """How many PIT values are in each of B equal bins, and how many are expected.

    Args:
        edges: [B + 1], bin edges from 0 to 1.
        counts: [B], rows in each bin.
        expected: rows expected in each bin.
        lower: [B], lower end of the pointwise 95% band of the counts of a calibrated forecast.
        upper: [B], upper end.
    """

    edges: Array
    counts: IntArray
    expected: float
    lower: Array
    upper: Array


@dataclass(frozen=True)
class CoverageCurve:
    """How often central intervals contain the observation.

    Args:
        nominal: [L], nominal probability of each interval.
        actual: [L], share of the rows inside it.
        lower: [L], lower end of the pointwise 95% band of the share under a calibrated forecast.
        upper: [L], upper end.
    """

    nominal: Array
    actual: Array
    lower: Array
    upper: Array


@dataclass(frozen=True)
class EcdfDifference:
    """How far the distribution of values that should be uniform is from uniform.

    Args:
        points: [K], in (0, 1).
        difference: [K], the share of the rows up to each point, less the point.
        lower: [K], lower end of the simultaneous 95% band: a uniform sample is inside at all points that often.
        upper: [K], upper end.
    """

    points: Array
    difference: Array
    lower: Array
    upper: Array


@dataclass(frozen=True)
class Verdict:
    """Whether the densities can be trusted: the first sentence is the answer, the others give the reasons."""

    trusted: bool
    sentences: list[str]
    worth: list[str] = field(default_factory=list)
    """Those of the sentences that compare the densities with simpler forecasts."""


def pit_histogram(pit: ArrayLike, *, num_bins: int | None = None) -> PitHistogram:
    """Count PIT values in equal bins, with the exact binomial band of a calibrated forecast.

    Args:
        pit: [N], PIT values of one target, in [0, 1].
        num_bins: B; None uses one bin per 25 rows, at least 5 and at most 20.
    """
    pit = np.asarray(pit, dtype=np.float64).ravel()
    bins = int(np.clip(pit.size // 25, 5, 20)) if num_bins is None else num_bins
    counts, edges = np.histogram(pit, bins=bins, range=(0.0, 1.0))
    lower, upper = binomial_band(pit.size, 1.0 / bins)
    return PitHistogram(
        edges=edges,
        counts=counts.astype(np.int64),
        expected=pit.size / bins,
        lower=np.full(bins, float(lower)),
        upper=np.full(bins, float(upper)),
    )


def inside_central_interval(pit: ArrayLike, level: float) -> BoolArray:
    """Return whether each row is inside its central interval of probability `level`: |u - 1/2| <= level / 2.

    Args:
        pit: PIT values, any shape.
        level: probability of the interval [fraction].
    """
    # The tolerance keeps a row on the edge inside despite rounding.
    inside: BoolArray = np.abs(np.asarray(pit, dtype=np.float64) - 0.5) <= 0.5 * level + 1e-12
    return inside


def coverage_curve(pit: ArrayLike, *, levels: ArrayLike | None = None) -> CoverageCurve:
    """Compare the nominal with the actual coverage of central intervals, with the exact binomial band.

    Args:
        pit: [N], PIT values of one target.
        levels: [L], nominal levels; None uses 0.01, 0.02, ... 0.99.
    """
    pit = np.asarray(pit, dtype=np.float64).ravel()
    nominal = np.arange(1, 100) / 100 if levels is None else np.asarray(levels, dtype=np.float64)
    distance = np.sort(np.abs(pit - 0.5))
    actual = np.searchsorted(distance, 0.5 * nominal + 1e-12, side="right") / max(pit.size, 1)
    lower, upper = binomial_band(pit.size, nominal)
    return CoverageCurve(nominal, actual, lower / max(pit.size, 1), upper / max(pit.size, 1))


def ecdf_difference(values: ArrayLike) -> EcdfDifference:
    """Compare the distribution function of values that should be uniform with the diagonal.

    Args:
        values: [N], PIT values of one target, or density ranks.
    """
    values = np.sort(np.asarray(values, dtype=np.float64).ravel())
    points = np.arange(1, ECDF_POINTS + 1) / (ECDF_POINTS + 1)
    counts = np.searchsorted(values, points, side="right")
    lower, upper = simultaneous_band(values.size)
    return EcdfDifference(
        points, counts / values.size - points, lower / values.size - points, upper / values.size - points
    )


@functools.cache
def simultaneous_band(num_rows: int) -> tuple[Array, Array]:
    """Return the ends of the counts of a uniform sample up to each of K points, inside which all are in 95% of samples.

    They are binomial intervals with the same pointwise level, which is the 5% quantile, over simulated samples, of the
    smallest two-sided p-value over the points. With 4000 samples, the 95% are known to 0.35 percentage points.

    Args:
        num_rows: N >= 1.

    Returns:
        Two [K].

    Source: Säilynoja, Bürkner and Vehtari (2022), "Graphical test for discrete uniformity and its applications in
    goodness-of-fit evaluation and multiple sample comparison", Statistics and Computing 32, algorithm 1.
    """
    from scipy.stats import binom  # see `ks_critical_value`

    points = np.arange(1, ECDF_POINTS + 1) / (ECDF_POINTS + 1)
    # The simulation only serves to compute two curves: a fixed seed makes them reproducible.
    cells = np.random.default_rng(0).multinomial(
        num_rows, np.full(ECDF_POINTS + 1, 1 / (ECDF_POINTS + 1)), BAND_SAMPLES
    )
    counts = np.cumsum(cells, axis=1)[:, :-1]
    smallest = np.ones(BAND_SAMPLES)
    for point, reached in zip(points, counts.T, strict=True):
        different, places = np.unique(reached, return_inverse=True)
        tails = np.minimum(binom.cdf(different, num_rows, point), binom.sf(different - 1, num_rows, point))
        smallest = np.minimum(smallest, 2 * tails[places.ravel()])
    pointwise = float(np.quantile(smallest, 1 - BAND_LEVEL, method="lower"))
    lower, upper = binom.interval(1 - pointwise, num_rows, points)
    return lower, upper


def ks_distance(pit: ArrayLike) -> float:
    """Compute the Kolmogorov distance max |F_N(u) - u| of the PIT values from the uniform distribution.

    This is the largest error, averaged over rows, of any probability P(y <= t) that the forecasts state.

    Args:
        pit: [N], PIT values of one target, N >= 1.
    """
    u = np.sort(np.asarray(pit, dtype=np.float64).ravel())
    steps = np.arange(u.size + 1) / u.size
    return float(max(np.max(steps[1:] - u), np.max(u - steps[:-1])))


def ks_critical_value(num_rows: int, *, level: float = BAND_LEVEL) -> float:
    """Return the distance that a calibrated forecast stays below with probability `level` (exact for any N).

    Source: Simard and L'Ecuyer (2011), "Computing the two-sided Kolmogorov-Smirnov distribution" (scipy.stats.kstwo).
    """
    from scipy.stats import kstwo  # takes half a second to load; predictions do not need it

    return float(kstwo.ppf(level, num_rows))


def verdict(metrics: Mapping[str, Any]) -> Verdict:
    """Judge from the held-out scores whether the densities can be trusted.

    Trusted means that the PIT's distance from uniform, and that of the joint density ranks of several targets, is
    below its 95% critical value (split over all of these) or harmless;
    that the coverage of the 90% interval is off by less than three standard errors sqrt(0.9 x 0.1 / N) or a harmless
    amount; that no local fault is proven (`evaluation/local.py`); and that the score is better than that of every
    baseline by two standard errors.

    Args:
        metrics: what `cde evaluate --json` prints; `{}` if no rows were held out.
    """
    num_rows = int(metrics.get("num_rows") or 0)
    if num_rows == 0:
        return Verdict(
            trusted=False,
            sentences=[
                "It is not known whether these densities can be trusted: no rows were held out to check them.",
                "Set data.split.test above 0, or evaluate the run on a table that it has not seen.",
            ],
        )
    if num_rows < MIN_ROWS_FOR_A_VERDICT:
        return Verdict(
            trusted=False,
            sentences=[
                f"Too few held-out rows to tell: {num_rows} rows cannot show whether the densities can be trusted.",
                f"Evaluate the run on at least {MIN_ROWS_FOR_A_VERDICT} unseen rows, preferably several hundred.",
            ],
        )
    calibrated, decisive, calibration_sentences = _judge_calibration(metrics, num_rows)
    useful, skill_sentences = _judge_skill(metrics)
    local = metrics.get("local") or {}
    local_sentences = list(local["sentences"]) if local and local["p_value"] <= local["level"] else []
    if calibrated and local_sentences:
        headline = "With reservations: on average these densities are calibrated, but not for all values of the inputs."
    elif calibrated and useful:
        reach = f", as far as {num_rows} rows can show" if num_rows < FEW_ROWS else ""
        headline = f"Yes{reach}: on the rows held out, these densities can be trusted."
    elif calibrated:
        headline = (
            "With reservations: the densities are calibrated, but not shown to be better than a simpler forecast."
        )
    elif not decisive:
        headline = "With reservations: the densities may be slightly off, or this is one bad draw in twenty."
    else:
        headline = "No: do not take these densities at face value."
    sentences = [headline, *local_sentences, *calibration_sentences, *skill_sentences]
    about_worth = [*skill_sentences, *([metrics["worth"]] if "worth" in metrics else [])]
    sentences += about_worth[len(skill_sentences) :]
    if calibrated and num_rows < FEW_ROWS:
        sentences.append(f"Only {num_rows} rows were held out, so only large errors would have shown.")
    trusted = calibrated and useful and not local_sentences
    return Verdict(trusted=trusted, sentences=sentences, worth=about_worth)


def in_words(metrics: Mapping[str, Any], *, num_seen: int = 0) -> dict[str, Any]:
    """Return what the scores say: the `verdict` in one sentence, its `reasons`, and the sentence on the `worth`.

    Rows that were trained on allow neither verdict nor worth; `num_seen` of the rows were.
    """
    if num_seen:
        why = f"{num_seen} of these {metrics['num_rows']} rows were trained on"
        return {
            "verdict": f"It is not known whether these densities can be trusted: {why}.",
            "reasons": [],
            "worth": f"Whether the deep GP is worth it is unknown: {why}.",
        }
    judged = verdict(metrics)
    elsewhere = {*judged.worth, *(metrics.get("local") or {}).get("sentences", ())}
    reasons = [sentence for sentence in judged.sentences[1:] if sentence not in elsewhere]
    found = {"verdict": judged.sentences[0], "reasons": reasons}
    return found | ({"worth": metrics["worth"]} if "worth" in metrics else {})


def _judge_calibration(metrics: Mapping[str, Any], num_rows: int) -> tuple[bool, bool, list[str]]:
    """Judge PIT and coverage of each target, joint ranks and impossible rows: calibrated? decisively not? why?"""
    sentences = []
    distances = _per_target(metrics, "pit_ks")
    if "rank_ks" in metrics:
        distances |= {JOINTLY: metrics["rank_ks"]["value"]}
    limit = _ks_limit(num_rows, BAND_LEVEL, len(distances))
    far_limit = _ks_limit(num_rows, DECISIVE_LEVEL, len(distances))
    bad_pit = {name: value for name, value in distances.items() if value is None or value >= limit}
    for name, value in bad_pit.items():
        amount = "an unknown amount" if value is None else f"{points(value, digits=1)} on average over the rows"
        sentences.append(
            f"The probabilities stated{_of(name)} are off by up to {amount}; chance alone explains "
            f"{points(limit, digits=1)}."
        )
    bad_coverage = False
    allowed = max(3 * math.sqrt(0.9 * 0.1 / num_rows), HARMLESS_COVERAGE_ERROR)
    covered = _per_target(metrics.get("coverage", {}), "0.9")
    for name, share in covered.items():
        if share is not None and abs(share - 0.9) <= allowed + 1e-12:
            continue
        bad_coverage = True
        actual = "an unknown share" if share is None else f"{share:.0%}"
        which = "too narrow: risks are understated" if (share or 0.0) < 0.9 else "too wide: risks are overstated"
        sentences.append(f"The 90% interval{_of(name)} held {actual} of the rows. The densities are {which}.")
    impossible = int(metrics.get("nlpd", {}).get("num_infinite") or 0)
    if impossible:
        sentences.append(f"{impossible} of {num_rows} rows had values to which the density gives no probability.")
    calibrated = not bad_pit and not bad_coverage and not impossible and bool(distances) and bool(covered)
    if not distances or not covered:
        sentences.append("The calibration scores are missing, so calibration is unknown.")
    if calibrated:
        shares = [value for value in covered.values() if value is not None]
        span = f"{min(shares):.0%}" if len(shares) == 1 else f"{min(shares):.0%} to {max(shares):.0%}"
        worst = max(value for value in distances.values() if value is not None)
        why = "no more than chance" if limit > HARMLESS_KS else "too little to matter"
        sentences.append(
            f"What they call a 90% interval held {span} of {num_rows} held-out rows; the probabilities stated are off "
            f"by up to {points(worst, digits=1)}, {why}."
        )
    far = any(value is None or value >= far_limit for value in distances.values())
    decisive = far or bad_coverage or bool(impossible) or not distances or not covered
    return calibrated, decisive, sentences


def binomial_band(num_rows: int, share: ArrayLike) -> tuple[Array, Array]:
    """Return the ends of the central 95% interval of a count of rows, each counted with probability `share`."""
    from scipy.stats import binom  # see `ks_critical_value`

    lower, upper = binom.interval(BAND_LEVEL, num_rows, share)
    return lower, upper


def _ks_limit(num_rows: int, level: float, num_targets: int) -> float:
    """Return the distance that the worst of several calibrated targets does not reach with probability `level`."""
    return max(ks_critical_value(num_rows, level=1 - (1 - level) / max(num_targets, 1)), HARMLESS_KS)


_BASELINE_WORDS = {
    "climatology": "a forecast that ignores the inputs",
    "linear_gaussian": "a straight line with constant normal noise",
    "nearest_neighbours": "what happened in the nearest training rows",
    "sparse_gp": "one sparse GP with constant noise",
}
# What any density with inputs must beat to be trusted. The others are about the effort: see `worth`.
_SIMPLE = ("climatology", "linear_gaussian")


def _judge_skill(metrics: Mapping[str, Any]) -> tuple[bool, list[str]]:
    """Judge the relative improvement over each baseline: in CRPS, or in energy score for several targets."""
    score = "energy_score" if len(_per_target(metrics, "crps")) > 1 else "crps"
    useful = True
    sentences = []
    for name, skills in metrics.get("skill", {}).items():
        if name in _BASELINE_WORDS and name not in _SIMPLE:
            continue
        entry = skills.get(score) or {}
        value, se = entry.get("value"), entry.get("se")
        other = _BASELINE_WORDS.get(name, f"the baseline '{name}'")
        if value is None:
            useful = False
            sentences.append(f"Whether they are better than {other} is unknown: the score is not finite.")
        elif value <= 0:
            useful = False
            advice = (
                "The inputs say little about the target, or training failed."
                if name == "climatology"
                else "The simpler forecast does as well."
            )
            sentences.append(f"They are not better than {other} (score {abs(value):.1%} worse). {advice}")
        elif se is None or value < 2 * se:
            useful = False
            sentences.append(f"They seem {value:.1%} better than {other}, but that may be chance.")
        else:
            sentences.append(f"They are {value:.1%} better than {other}.")
    return useful, sentences


def worth(metrics: Mapping[str, Any], num_groups: int | None = None) -> str:
    """Say in one sentence whether the deep GP is worth its effort, against the best of the baselines.

    It is if, against every baseline, its CRPS (several targets: energy score) or its log density is better by two
    paired standard errors, and neither is worse by as much. The best baseline has the best score. There must be
    `FEW_ROWS` rows and `FEWEST_GROUPS` groups; of few groups it takes more than two errors, as by Student's t.

    Args:
        metrics: with `skill` against each baseline.
        num_groups: how many groups of rows the standard errors count; None if they count rows.
    """
    score, word = ("energy_score", "energy score") if len(_per_target(metrics, "crps")) > 1 else ("crps", "CRPS")
    num_rows, known = int(metrics.get("num_rows") or 0), dict[str, list[Mapping[str, Any]]]()
    for name, own in metrics.get("skill", {}).items():
        known[name] = [entry for key in (score, "nlpd") if (entry := own.get(key) or {}).get("se")]
    if num_rows < FEW_ROWS or (num_groups or FEWEST_GROUPS) < FEWEST_GROUPS:
        few, needed = f"{num_rows} rows", f"{FEW_ROWS} rows"
        if num_rows >= FEW_ROWS:
            few, needed = f"{num_groups} groups of rows", f"{FEWEST_GROUPS} groups"
        return f"Whether the deep GP is worth it is unknown: {few} are too few to tell; at least {needed} can."
    if not known or not all(known.values()):
        return "Whether the deep GP is worth it is unknown: a score is not finite."
    in_errors = {name: [one["value"] / one["se"] for one in own] for name, own in known.items()}
    hardest = min(known, key=lambda name: known[name][0]["value"])
    against = _BASELINE_WORDS.get(hardest, f"the baseline '{hardest}'")
    parts = []
    for key, what in ((score, word), ("nlpd", "log density")):
        entry = metrics["skill"][hardest].get(key) or {}
        if entry.get("value") is None or entry.get("se") is None:
            continue
        better, amount, error = entry["value"] >= 0, abs(entry["value"]), entry["se"]
        if key == "nlpd":
            parts.append(f"the {what} {amount:.2g} ± {error:.2g} nats {'higher' if better else 'lower'}")
        else:
            parts.append(f"the {what} is {amount:.1%} ± {error:.1%} {'lower' if better else 'higher'}")
    needed_errors = two_errors(num_groups or num_rows)
    beaten = [max(own) >= needed_errors for own in in_errors.values()]
    behind = [min(own) <= -needed_errors for own in in_errors.values()]
    if all(beaten) and not any(behind):
        answer = "The deep GP is worth it on this table"
    elif any(behind) and not max(in_errors[hardest]) >= needed_errors:
        answer = "The deep GP is not worth it on this table"
    else:
        answer = "Whether the deep GP is worth it on this table is not decided"
    return f"{answer}: against its best rival, {against}, {' and '.join(parts)}."


def two_errors(num_values: int) -> float:
    """Return how many standard errors of a mean of N values are as improbable as two that are known exactly."""
    from scipy.stats import norm, t  # see `ks_critical_value`

    return float(t.isf(norm.sf(2.0), num_values - 1))


def _per_target(metrics: Mapping[str, Any], key: str) -> dict[str, float | None]:
    """Return the score of every target by name; the name of a single target is ''."""
    entry = metrics.get(key)
    if not entry:
        return {}
    targets = entry.get("per_target") or {"": entry}
    return {("" if len(targets) == 1 else name): scores.get("value") for name, scores in targets.items()}


def _of(name: str) -> str:
    """Name the target if there are several."""
    return JOINTLY if name == JOINTLY else f" for '{name}'" if name else ""
