"""Map the probabilities of a trained model to how often they came true, on rows that are kept out of everything else.

Split conformal prediction. Given the model, the probability integral transforms u = F(y | x) of n kept-out rows and of
a new row are exchangeable, if the rows are. So the new one lies below the r-th smallest of the n with probability
r / (n + 1), whatever the model and the distribution of the rows. A map takes those order statistics to a few levels.

Letters: n kept-out rows, P targets, M groups, K pieces of a map.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from cde_app.arrays import Array, BoolArray, IntArray
from cde_app.config import Config
from cde_app.config.training import FEWEST_KEPT_OUT
from cde_app.evaluation.scores import standard_error
from cde_app.evaluation.verdict import FEWEST_GROUPS
from cde_app.machine.rows import blocks_of, draw_rows
from cde_app.machine.streams import Stream, generator
from cde_app.predictive.forecast import Forecast
from cde_app.predictive.probability_map import ProbabilityMap
from cde_app.predictive.recalibration import Recalibration

LEVELS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.975, 0.99)
"""Levels at which coverage holds; few, as each costs 1 / (2 n) nats if the model is right."""
ROWS_BEYOND = 4
"""Fewest kept-out rows that are expected beyond a level that is one of a map's points."""
MOST_ROWS = 20_000
"""Largest number of kept-out rows that are used; a coverage of 0.9 is then known to 0.002."""
REGION_ROWS, REGION_DRAWS = 399, 200
"""Largest number of rows for the map of the joint regions, enough for all levels, and draws per row."""
FOLDS = 10
CLOSEST = 1e-13
"""Share of the identity in every map, so that order statistics that coincide make no infinite slope."""


@dataclass(frozen=True)
class MapOfTarget:
    """What is known of the map of a target."""

    is_applied: bool
    gain: float
    """Held-out gain of the log density by the map [nats per row], by cross-validation within the kept-out rows."""
    gain_se: float | None
    """Its standard error over rows, or over the blocks of them that are independent; None if there are too few."""


@dataclass(frozen=True)
class Recalibrating:
    """How a model was recalibrated."""

    num_rows: int
    """n."""
    num_groups: int
    """Groups with a map of their own; the others have the map of all rows."""
    num_small_groups: int
    """Groups without."""
    targets: tuple[MapOfTarget, ...]
    """[P]."""
    num_blocks: int | None = None
    """Blocks of rows that count as one each in the standard errors; None if rows are independent."""

    def warnings(self, names: Sequence[str], config: Config) -> list[str]:
        """Return what to know about the maps, in one sentence each."""
        found = []
        by = getattr(config.training.calibration, "by", None)
        for name, one in zip(names, self.targets, strict=True):
            if one.is_applied and one.gain_se is not None and one.gain < -one.gain_se:
                found.append(
                    f"the map of {name!r} costs {-one.gain:.3f} ± {one.gain_se:.3f} nats per row on rows that did not "
                    "fit it: its probabilities were right before. Set training.calibration.kind to auto or width."
                )
        if config.training.calibration.kind != "conformal" and any(one.gain_se is None for one in self.targets):
            found.append(
                f"the kept-out rows are from {self.num_blocks} groups or stretches of time, too few to tell whether "
                "maps are a gain, so that there are none. Raise training.calibration.kept_out, or set the kind to "
                "conformal or width."
            )
        if self.num_small_groups:
            found.append(
                f"{self.num_small_groups} of {self.num_groups + self.num_small_groups} groups of {by!r} "
                f"have fewer than {FEWEST_KEPT_OUT} kept-out rows; they have the map of all rows, whose coverage does "
                "not hold in each of them. Raise training.calibration.kept_out."
            )
        return found


def fit_recalibration(
    predict: Callable[[Array], Forecast],
    X: Array,
    targets: Array,
    *,
    config: Config,
    features: tuple[int, ...] = (),
    blocks: IntArray | None = None,
) -> tuple[Recalibration | None, Recalibrating]:
    """Fit the maps of a model; see `ProbabilityMap`.

    Args:
        predict: the trained model; X [N, D] to the forecast of each row.
        X: [n, D], standardised features of the kept-out rows.
        targets: [n, P], the user's units.
        config: the whole configuration, of the kind `conformal` or `auto`.
        features: those of the column `by`; none without it.
        blocks: [n], from 0, the block of each row, if only blocks are independent (groups, stretches of time): the
            folds of the gain keep them together, and its standard error is over them.

    Returns:
        The maps, None if the kind is `auto` and no target gains; what is known of them.

    Source: Vovk, Gammerman and Shafer (2005), "Algorithmic learning in a random world";
    Chernozhukov, Wuethrich and Zhu (2021), "Distributional conformal prediction", PNAS 118.
    """
    rows = draw_rows(len(X), MOST_ROWS, seed=config.seed, stream=Stream.KEPT_OUT_ROWS)
    X, targets = X[rows], targets[rows]
    u = np.concatenate([predict(X[block]).cdf(targets[block]) for block in blocks_of(len(X), 1024)])
    labels, num_small = large_groups(X[:, list(features)])
    none = np.zeros((1, 1, 2))
    map_of_row = np.broadcast_to(Recalibration(none, none, features, labels).map_of_row(X), len(X))
    rows_of_map = [np.ones(len(X), bool), *(map_of_row == 1 + index for index in range(len(labels)))]
    levels = levels_of(min(int(of_map.sum()) for of_map in rows_of_map))
    blocks = None if blocks is None else np.unique(blocks[rows], return_inverse=True)[1].ravel()
    num_blocks = None if blocks is None else int(blocks.max()) + 1
    folds = folds_of(len(X), blocks, seed=config.seed)
    of_target, places = list[MapOfTarget](), list[Array]()
    for column in u.T:
        gains = held_out_gains(column, rows_of_map, map_of_row, folds)
        gain = float(gains.mean())
        gain_se = standard_error(gains, blocks) if num_blocks is None or num_blocks >= FEWEST_GROUPS else None
        is_gain = gain_se is not None and gain > gain_se
        is_applied = config.training.calibration.kind == "conformal" or is_gain
        of_target.append(MapOfTarget(is_applied, gain, gain_se))
        places.append(np.stack([places_of(column[of_map], levels) if is_applied else levels for of_map in rows_of_map]))
    is_needed = any(one.is_applied for one in of_target)
    known = Recalibrating(len(X), len(labels), num_small, tuple(of_target), num_blocks)
    if not is_needed:
        return None, known
    regions = region_places(predict, X, targets, levels, seed=config.seed) if targets.shape[1] > 1 else None
    return Recalibration(levels, np.stack(places), features, labels, regions), known


def region_places(predict: Callable[[Array], Forecast], X: Array, targets: Array, levels: Array, *, seed: int) -> Array:
    """Return the places of the map of the joint highest-density regions; at most `REGION_ROWS` rows are used.

    A mass is a share of `REGION_DRAWS` draws. Half a draw is added, so that equal masses count as covered.
    """
    rows = draw_rows(len(X), REGION_ROWS, seed=seed, stream=Stream.KEPT_OUT_ROWS)
    masses = predict(X[rows]).hpd_level(targets[rows], num_samples=REGION_DRAWS, seed=seed)
    ranks = np.ceil(np.round(levels[1:-1] * (len(rows) + 1), 6))  # a region has one end
    return _places(np.minimum(masses + 0.5 / REGION_DRAWS, 1.0), levels, ranks)


def large_groups(values: Array) -> tuple[Array, int]:
    """Return the groups with enough rows for a map, and how many others there are.

    Args:
        values: [n, features], of the features that tell the groups apart, if any.
    """
    if not values.shape[1]:
        return np.empty((0, 0)), 0
    groups, sizes = np.unique(values, axis=0, return_counts=True)
    is_large = sizes >= FEWEST_KEPT_OUT
    return groups[is_large], int(np.sum(~is_large))


def levels_of(num_rows: int) -> Array:
    """Return the levels of a map's points, from 0 to 1: those with `ROWS_BEYOND` rows expected beyond them."""
    inner = [p for p in LEVELS if round(min(p, 1 - p) * (num_rows + 1), 6) >= ROWS_BEYOND]
    return np.array([0.0, *inner, 1.0])


def places_of(u: Array, levels: Array) -> Array:
    """Return the places of a map's points: order statistics of u, [n], of the levels' ranks, rounded outwards.

    P(u < place) is r / (n + 1), with r = floor(p (n + 1)) below the median and ceil(p (n + 1)) above. So a central
    interval of mass 1 - a between two of the levels covers with a probability from 1 - a to 1 - a + 2 / (n + 1).
    """
    exact = np.round(levels[1:-1] * (len(u) + 1), 6)
    return _places(u, levels, np.where(levels[1:-1] < 0.5, np.floor(exact), np.ceil(exact)))


def _places(u: Array, levels: Array, ranks: Array) -> Array:
    """Return the places of a map's points: the order statistics of some ranks, from 1, and both ends."""
    ordered = np.sort(u)[ranks.astype(int) - 1]
    return np.array([0.0, *((1 - CLOSEST) * ordered + CLOSEST * levels[1:-1]), 1.0])


def held_out_gains(u: Array, rows_of_map: Sequence[BoolArray], map_of_row: IntArray, folds: IntArray) -> Array:
    """Return what maps that are fitted to the other folds add to each row's log density, log g(u), [n].

    Args:
        u: [n].
        rows_of_map: which rows fit each map, [n] each.
        map_of_row: [n], which of them each row takes.
        folds: [n].
    """
    gains = np.zeros(len(u))
    for fold in np.unique(folds):
        for index, of_map in enumerate(rows_of_map):
            judged, fitted = (folds == fold) & (map_of_row == index), of_map & (folds != fold)
            if judged.any() and fitted.sum() >= 2 * ROWS_BEYOND:
                levels = levels_of(int(fitted.sum()))
                mapped = ProbabilityMap(places_of(u[fitted], levels)[None], levels)
                gains[judged] = mapped.log_slope(u[judged][None])[0]
    return gains


def folds_of(num_rows: int, blocks: IntArray | None, *, seed: int) -> IntArray:
    """Return the fold of each row, [n]; rows of a block, from 0, are in one fold."""
    labels = np.arange(num_rows) if blocks is None else blocks
    num_labels = int(labels.max()) + 1
    order = generator(seed, Stream.KEPT_OUT_ROWS, 1).permutation(num_labels)
    return (order % FOLDS)[labels]
